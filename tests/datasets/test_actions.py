"""Normalised and relative actions against the published arithmetic, written out plainly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dojobench.datasets.actions import (
    ActionEncoder,
    denormalise,
    normalise,
    to_absolute,
    to_relative,
)
from dojobench.datasets.embodiments import embodiment
from dojobench.datasets.statistics import ActionStatistics, load_modality, load_statistics
from dojobench.protocol.errors import BadInputError


def statistics(low, high, name="test.json") -> ActionStatistics:
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    return ActionStatistics(
        name=name, minimum=low, maximum=high, mean=(low + high) / 2, std=np.ones_like(low)
    )


def published_deltas(steps: torch.Tensor) -> torch.Tensor:
    """The released loader's loop: ``steps[0]`` is only the baseline, and so is the last row."""
    groups = [steps[t : t + 4] - steps[t - 1] for t in range(1, len(steps) - 1, 4)]
    return torch.cat(groups)


def test_relative_is_the_published_loop():
    steps = torch.randn(14, 29, generator=torch.Generator().manual_seed(1))
    ours = to_relative(steps[1:13], steps[0])
    assert torch.equal(ours, published_deltas(steps))


def test_relative_of_four_chunks_is_the_published_loop():
    steps = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(to_relative(steps[1:49], steps[0]), published_deltas(steps))


def test_at_the_clip_start_without_a_step_before_the_first_difference_is_zero():
    actions = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    assert to_relative(actions).flatten().tolist() == [0.0, 1.0, 3.0, 7.0, 8.0]


def test_with_a_step_before_the_first_difference_is_from_it():
    actions = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    relative = to_relative(actions, torch.tensor([0.5]))
    assert relative.flatten().tolist() == [0.5, 1.5, 3.5, 7.5, 8.0]


def test_groups_of_one_are_plain_differences():
    actions = torch.arange(6.0).square()[:, None]
    expected = torch.diff(actions, dim=0, prepend=torch.zeros(1, 1))
    assert torch.equal(to_relative(actions, torch.zeros(1), group=1), expected)


def test_a_constant_action_has_no_relative_motion():
    assert not to_relative(torch.full((12, 3), 0.7), torch.full((3,), 0.7)).any()


@settings(max_examples=60, deadline=None)
@given(
    time=st.integers(1, 26),
    group=st.integers(1, 6),
    batch=st.sampled_from([(), (2,), (2, 3)]),
    seed=st.integers(0, 2**16),
)
def test_absolute_undoes_relative(time, group, batch, seed):
    noise = torch.Generator().manual_seed(seed)
    actions = torch.randn(*batch, time, 5, dtype=torch.float64, generator=noise)
    previous = torch.randn(*batch, 5, dtype=torch.float64, generator=noise)
    relative = to_relative(actions, previous, group=group)
    assert relative.shape == actions.shape
    back = to_absolute(relative, previous, group=group)
    torch.testing.assert_close(back, actions)


@settings(max_examples=60, deadline=None)
@given(
    low=st.lists(st.floats(-10, 10), min_size=1, max_size=6),
    span=st.floats(1e-3, 20),
    constant=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_denormalise_undoes_normalise(low, span, constant, seed):
    low = np.asarray(low)
    high = low + span
    if constant:
        high[0] = low[0]
    own = statistics(low, high)
    spread = torch.rand(
        7, len(low), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    actions = torch.from_numpy(low) + spread * torch.from_numpy(high - low)
    scaled = normalise(actions, own)
    assert scaled.abs().max() <= 1 + 1e-9
    torch.testing.assert_close(denormalise(scaled, own), actions)


def test_ends_of_the_range_and_constant_dimensions():
    own = statistics([-2.0, 5.0], [2.0, 5.0])
    scaled = normalise(torch.tensor([[-2.0, 5.0], [2.0, 5.0], [4.0, 9.0]]), own)
    assert scaled.tolist() == [[-1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]  # beyond the range: no clip
    assert denormalise(scaled[:2], own)[:, 1].tolist() == [5.0, 5.0]


def test_widths_that_differ_are_named():
    with pytest.raises(BadInputError, match=r"3 wide, but the statistics 'x.json' are 2 wide"):
        normalise(torch.zeros(4, 3), statistics([0, 0], [1, 1], name="x.json"))
    encoder = ActionEncoder(embodiment="droid", statistics=statistics([0] * 9, [1] * 9))
    with pytest.raises(BadInputError, match=r"9 wide, but the embodiment 'droid' takes 7"):
        encoder.encode(torch.zeros(4, 9))


def test_encoding_chunk_by_chunk_is_encoding_at_once():
    noise = torch.Generator().manual_seed(3)
    encoder = ActionEncoder(embodiment="droid", statistics=statistics([-1] * 7, [1] * 7))
    actions = torch.rand(2, 24, 7, generator=noise)
    previous = torch.rand(2, 7, generator=noise)
    whole = encoder.encode(actions, previous)
    first = encoder.encode(actions[:, :12], previous)
    second = encoder.encode(actions[:, 12:], actions[:, 11])
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(encoder.decode(whole, previous), actions, atol=1e-5, rtol=1e-5)
    with pytest.raises(BadInputError, match="the action before the first one"):
        encoder.decode(whole)


@pytest.mark.data
def test_real_gr1_actions_stay_in_range_and_come_back(data_dir: Path):
    from dojobench.datasets.formats import open_source

    source = open_source(data_dir / "gr1_sim")
    meta = data_dir / "gr1_sim" / "meta"
    columns = embodiment("gr1").columns(load_modality(meta / "modality.json"), source.action_dim)
    encoder = ActionEncoder(
        embodiment="gr1", statistics=load_statistics(meta / "stats.json"), columns=columns
    )
    actions = torch.from_numpy(source.episode("0").actions()[::2][:49])
    placed = encoder.encode(actions[1:], actions[0])
    assert placed.shape == (48, 384)
    assert placed.abs().max() <= 2 + 1e-5
    assert placed[:, :29].any()
    assert not placed[:, 29:].any()
    # Dimensions that the statistics call constant come back as that constant.
    torch.testing.assert_close(
        encoder.decode(placed, actions[0]), actions[1:, list(columns)], atol=1e-4, rtol=0
    )


ARM = statistics([-0.02, -0.04, -0.04, -0.2, 0.0], [0.04, 0.04, 0.02, 0.2, 1.0])
"""Uneven about zero on purpose: moves must not drift for it."""


def test_moves_of_the_arm_become_how_far_its_target_went_since_the_group_began():
    moves = torch.randn(12, 5, generator=torch.Generator().manual_seed(4)) * 0.01
    encoder = ActionEncoder(embodiment="arm", statistics=ARM)
    slots = encoder.encode(moves)[:, 202:207]
    target = moves[:, :4].cumsum(0) / torch.tensor([0.04, 0.04, 0.04, 0.2])
    began = torch.cat([torch.zeros(1, 4), target[3::4]])[:3].repeat_interleave(4, dim=0)
    torch.testing.assert_close(slots[:, :4], target - began)
    # What the network sums is then the target's way since the clip began.
    ends = slots.reshape(3, 4, 5)[:, -1].cumsum(0)
    torch.testing.assert_close(ends[:, :4], target[3::4])


def test_standing_still_is_zero_and_stays_zero():
    still = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.5]]).expand(40, 5)
    encoder = ActionEncoder(embodiment="arm", statistics=ARM)
    assert not encoder.encode(still).any()
    assert not ActionEncoder(embodiment="arm", statistics=ARM, relative=False).encode(still).any()


def test_a_gripper_closed_from_the_first_action_on_is_not_lost():
    closed, opened = torch.zeros(4, 5), torch.zeros(4, 5)
    opened[:, 4] = 1.0
    encoder = ActionEncoder(embodiment="arm", statistics=ARM)
    assert (encoder.encode(closed)[:, 206] == -1).all()
    assert (encoder.encode(opened)[:, 206] == 1).all()
    assert not encoder.encode(opened, opened[0])[:, 206].any()  # known to be open: no change
    joints = ActionEncoder(embodiment="arm2", statistics=statistics([0.0] * 6, [1.0] * 6))
    assert not joints.encode(torch.rand(1, 6).expand(4, 6)).any()  # a pose is where it was


@pytest.mark.parametrize("relative", [True, False])
def test_moves_encoded_chunk_by_chunk_are_those_encoded_at_once_and_come_back(relative):
    noise = torch.Generator().manual_seed(5)
    actions = torch.rand(2, 24, 9, generator=noise) * 0.02 - 0.01
    wide = statistics([-0.01] * 9, [0.02] * 9)
    encoder = ActionEncoder(
        embodiment="hand", statistics=wide, columns=(0, 1, 2, 3, 5), relative=relative
    )
    whole = encoder.encode(actions)
    first, stands = encoder.encode(actions[:, :12]), encoder.standing(actions[:, :12])
    second = encoder.encode(actions[:, 12:], stands)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-5, rtol=1e-5)
    stands = encoder.standing(actions[:, 12:16], stands)
    third = encoder.encode(actions[:, 16:], stands)
    torch.testing.assert_close(third, whole[:, 16:], atol=1e-5, rtol=1e-5)
    own = actions[:, 12:, [0, 1, 2, 3, 5]]
    torch.testing.assert_close(
        encoder.decode(second, encoder.standing(actions[:, :12])), own, atol=1e-6, rtol=1e-4
    )


def test_an_action_given_is_left_as_it_was():
    actions = torch.full((8, 5), 0.01)
    ActionEncoder(embodiment="arm", statistics=ARM).encode(actions, actions[0])
    assert (actions == 0.01).all()


def test_absolute_moves_are_targets_since_the_clip_began():
    moves = torch.full((6, 5), 0.01)
    placed = ActionEncoder(embodiment="arm", statistics=ARM, relative=False).encode(moves)
    expected = torch.arange(1, 7) * 0.01 / 0.04
    torch.testing.assert_close(placed[:, 202], expected)
