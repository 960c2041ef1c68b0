"""Action slots: the published layout, placing, extracting, and what does not fit."""

from pathlib import Path

import pytest
import torch

from dojobench.datasets.embodiments import (
    ACTION_WIDTH,
    EMBODIMENTS,
    embodiment,
    extract,
    place,
    select,
)
from dojobench.datasets.statistics import load_modality
from dojobench.protocol.errors import BadInputError

# Table of the published layout: slot range (inclusive) by embodiment.
PUBLISHED = {
    "gr1": (0, 28),
    "gr1_human": (29, 57),
    "g1": (58, 100),
    "yam": (101, 146),
    "agibot": (147, 168),
    "mano": (220, 351),
    "latent": (352, 383),
}


@pytest.mark.parametrize(("name", "slots"), PUBLISHED.items())
def test_published_slots(name, slots):
    robot = EMBODIMENTS[name]
    assert (robot.start, robot.stop - 1) == slots


def test_no_slot_belongs_to_two():
    taken = [slot for robot in EMBODIMENTS.values() for slot in range(robot.start, robot.stop)]
    assert len(taken) == len(set(taken))
    assert max(taken) < ACTION_WIDTH


def test_own_embodiments_lie_in_the_reserved_range():
    for name in set(EMBODIMENTS) - set(PUBLISHED):
        assert EMBODIMENTS[name].start >= 169
        assert EMBODIMENTS[name].stop <= 220


@pytest.mark.parametrize("name", EMBODIMENTS)
def test_extract_undoes_place_and_the_rest_is_zero(name):
    actions = torch.randn(2, 5, EMBODIMENTS[name].width, generator=torch.Generator().manual_seed(0))
    placed = place(actions, name)
    assert placed.shape == (2, 5, ACTION_WIDTH)
    assert torch.equal(extract(placed, name), actions)
    placed[..., EMBODIMENTS[name].start : EMBODIMENTS[name].stop] = 0
    assert not placed.any()


def test_names_follow_the_slots():
    names = embodiment("gr1").names
    assert names[0] == "left_arm.0"
    assert names[7] == "right_arm.0"
    assert names[-1] == "waist.2"
    assert len(names) == 29


def test_wrong_width_names_both():
    with pytest.raises(BadInputError, match=r"44 wide.*'gr1' takes 29"):
        place(torch.zeros(3, 44), "gr1")
    with pytest.raises(BadInputError, match=r"29 wide.*384"):
        extract(torch.zeros(3, 29), "gr1")


def test_unknown_embodiment_names_the_known():
    with pytest.raises(BadInputError, match=r"'spot' has no action slots.*gr1"):
        place(torch.zeros(3, 7), "spot")


def test_columns_refuse_what_does_not_fit():
    parts = {"left_arm": range(7), "right_arm": range(7, 14)}
    with pytest.raises(BadInputError, match="names no action part 'left_hand'"):
        embodiment("gr1").columns(parts, 44)
    whole = {part.name: range(10, 10 + part.width) for part in embodiment("gr1").parts}
    with pytest.raises(BadInputError, match=r"ends at column .* 12 wide"):
        embodiment("gr1").columns(whole, 12)
    with pytest.raises(BadInputError, match="'left_arm' is 6 wide"):
        embodiment("gr1").columns(whole | {"left_arm": range(6)}, 44)
    with pytest.raises(BadInputError, match="Column 5 was asked for"):
        select(torch.zeros(2, 3), (0, 5))


@pytest.mark.data
def test_gr1_takes_29_of_44(data_dir: Path):
    columns = embodiment("gr1").columns(
        load_modality(data_dir / "gr1_sim" / "meta" / "modality.json"), 44
    )
    assert columns == (
        *range(7), *range(22, 29), *range(7, 13), *range(29, 35), *range(41, 44)
    )  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "name", "width"),
    [
        ("GR1_unified", "gr1", 44),
        ("GR1_human", "gr1_human", 1030),
        ("G1", "g1", 43),
        ("YAM", "yam", 46),
        ("AgiBot", "agibot", 22),
    ],
)
def test_published_modality_files_fit_their_embodiment(data_dir: Path, file, name, width):
    parts = load_modality(data_dir / "dreamdojo_action_stats" / f"{file}_modality.json")
    columns = embodiment(name).columns(parts, width)
    assert len(set(columns)) == embodiment(name).width
