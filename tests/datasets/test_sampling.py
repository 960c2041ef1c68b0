"""Which windows become clips: strides, even starts, splits and the published sampling."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojobench.datasets.sampling import (
    Window,
    all_windows,
    assign_split,
    clip_actions,
    even_starts,
    previous_action,
    split_window95,
    spread,
    stride_for,
    uniform_over_datasets,
)
from dojobench.protocol.errors import BadInputError

ACTIONS = np.arange(20, dtype=np.float32)[:, None] * [1.0, -1.0]


@pytest.mark.parametrize(
    ("dataset", "wanted", "stride"), [(20, 10, 2), (30, 10, 3), (5, 5, 1), (30, 7.5, 4)]
)
def test_stride(dataset, wanted, stride):
    assert stride_for(dataset, wanted) == stride


def test_ntsc_rates_are_whole_strides():
    assert stride_for(30000 / 1001, 30000 / 1001 / 3) == 3
    assert stride_for(29.97, 10) == 3  # 0.1 % off is the video clock, not another rate


@pytest.mark.parametrize(("dataset", "wanted"), [(20, 15), (5, 10), (30, 4), (20, 0)])
def test_no_whole_stride_is_refused(dataset, wanted):
    with pytest.raises(BadInputError):
        stride_for(dataset, wanted)


def test_no_whole_stride_names_both_rates_and_the_choices():
    with pytest.raises(BadInputError, match=r"20 Hz into 15 Hz; choose one of 20, 10, 6\.66"):
        stride_for(20, 15)


def test_first_action_is_the_one_at_the_clip_frame():
    assert clip_actions(ACTIONS, 3, 2, 5)[:, 0].tolist() == [3, 5, 7, 9]


def test_last_action_is_the_one_before_the_next_clip_frame():
    assert clip_actions(ACTIONS, 3, 2, 5, "last")[:, 0].tolist() == [4, 6, 8, 10]


def test_concatenated_actions_leave_nothing_out():
    together = clip_actions(ACTIONS, 3, 2, 5, "concat")
    assert together.shape == (4, 4)
    assert together[0].tolist() == [3, -3, 4, -4]
    assert together[:, ::2].flatten().tolist() == list(range(3, 11))


def test_with_stride_one_all_rules_agree():
    rows = [clip_actions(ACTIONS, 2, 1, 6, rule) for rule in ("first", "last", "concat")]
    assert (rows[0] == rows[1]).all()
    assert (rows[0] == rows[2]).all()


def test_the_step_before_the_clip():
    assert previous_action(ACTIONS, 3, 2)[0] == 1
    assert previous_action(ACTIONS, 3, 2, "last")[0] == 2
    assert previous_action(ACTIONS, 1, 2) is None
    assert previous_action(ACTIONS, 2, 2)[0] == 0


@given(
    first=st.integers(0, 5),
    room=st.integers(0, 400),
    count=st.none() | st.integers(1, 20),
    spacing=st.integers(1, 120),
)
def test_even_starts_stay_inside_and_apart(first, room, count, spacing):
    starts = even_starts(first, first + room, count=count, spacing=spacing)
    assert starts
    assert all(first <= start <= first + room for start in starts)
    assert all(b - a >= spacing for a, b in pairwise(starts))
    if count is None:
        assert len(starts) == room // spacing + 1
    if len(starts) > 1:
        gaps = np.diff(starts)
        assert (starts[0], starts[-1]) == (first, first + room)
        assert gaps.max() - gaps.min() <= 1


def test_no_start_where_nothing_fits():
    assert even_starts(0, -1, count=None, spacing=1) == ()
    assert even_starts(0, 10, count=1, spacing=1) == (5,)


def test_a_split_does_not_change_when_episodes_are_added():
    shares = {"val": 0.2, "train": 0.8}
    before = {str(i): assign_split("d", str(i), shares) for i in range(50)}
    after = {str(i): assign_split("d", str(i), shares) for i in range(500)}
    assert before.items() <= after.items()
    share = sum(split == "val" for split in after.values()) / 500
    assert abs(share - 0.2) < 0.06
    other = {str(i): assign_split("d", str(i), shares, seed=1) for i in range(50)}
    assert other != before


def test_windows_are_those_whose_last_needed_frame_is_inside():
    """The published rule: ``base + 49 * 2 < length`` for 49 frames and one step before them."""
    windows = all_windows({"a": 98, "b": 99, "c": 101}, steps=50, stride=2, lead=1)
    assert windows == [Window("b", 2), Window("c", 2), Window("c", 3), Window("c", 4)]


@pytest.mark.parametrize("count", [1, 19, 20, 21, 100, 1234])
def test_window95_cuts_where_the_released_loader_cuts(count):
    windows = [Window("a", start) for start in range(count)]
    parts = split_window95(windows)
    assert parts["train"] == windows[: -len(windows) // 20]
    assert parts["test"] == windows[-len(windows) // 20 :]


def test_window95_leaks_by_design():
    parts = split_window95(all_windows({"only": 300}, steps=49, stride=2))
    assert {window.episode for window in parts["train"]} == {"only"}
    assert {window.episode for window in parts["test"]} == {"only"}


@pytest.mark.parametrize(
    "sizes", [[1000], [57, 400, 10], [10] * 10, [13, 99, 1234, 77, 50, 40, 33]]
)
@pytest.mark.parametrize("count", [10, 100])
def test_uniform_sampling_is_the_released_loader(sizes, count):
    share = count / len(sizes)
    if min(sizes) < share:
        with pytest.raises(BadInputError, match="must offer"):
            uniform_over_datasets(sizes, count)
        return
    expected = [
        (int(i / share), int((i % share) / share * sizes[int(i / share)])) for i in range(count)
    ]
    drawn = uniform_over_datasets(sizes, count)
    assert drawn == expected
    assert len(set(drawn)) == count
    assert all(0 <= index < sizes[dataset] for dataset, index in drawn)


def test_spread_is_even():
    windows = [Window("a", start) for start in range(10)]
    assert [window.start for window in spread(windows, 5)] == [0, 2, 4, 6, 8]
    for count in (10, 11, 99, 100):
        assert spread(windows, count) == windows, "each once, where there are no more"
    many = [Window("a", start) for start in range(99)]
    assert spread(many, 100) == many
