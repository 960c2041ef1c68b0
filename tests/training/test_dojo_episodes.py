"""Episodes of the simulated world: whose scenes they are, and that they are the same each time."""

from pathlib import Path

import numpy as np
import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.dojo_episodes import (
    DojoDataConfig,
    DojoGroup,
    group_plans,
    make_dojo_data,
)
from dojobench.simulator.clips import render_clip
from dojobench.simulator.splits import SUITES, clip_plan

TINY = DojoDataConfig(
    groups=(
        DojoGroup(name="arm-train", embodiment="arm", split="train", episodes=3),
        DojoGroup(name="in-lab", embodiment="hand", split="in-lab", episodes=2),
    ),
    frames=6,
    shard=2,
)


def test_a_store_holds_what_its_plans_say(tmp_path: Path) -> None:
    store = make_dojo_data(TINY, tmp_path, workers=1)
    assert store.names == ("arm-train", "in-lab")
    group = store.group("arm-train")
    assert group.lengths == (6, 6, 6)
    assert (group.info.embodiment, group.info.frame_rate) == ("arm", 10.0)
    for number, plan in enumerate(group_plans(TINY, TINY.groups[0])):
        clip = render_clip(plan)
        assert clip.frames is not None
        assert np.array_equal(group.frames(number), clip.frames.transpose(0, 3, 1, 2))
        assert np.array_equal(group.actions(number), clip.actions)
    human = store.group("in-lab")
    assert human.info.withheld
    assert human.actions(1, withheld=True).shape == (5, 9)


def test_any_number_of_processes_makes_the_same_and_may_be_interrupted(tmp_path: Path) -> None:
    alone = make_dojo_data(TINY, tmp_path / "1", workers=1).group("arm-train")
    together = make_dojo_data(TINY, tmp_path / "2", workers=2).group("arm-train")
    assert alone.digest == together.digest
    lost = together.folder / "shard-00001.json"
    whole = lost.read_bytes()
    lost.unlink()
    assert make_dojo_data(TINY, tmp_path / "2", workers=1).group("arm-train").digest == alone.digest
    assert lost.read_bytes() == whole


def test_the_hands_actions_may_be_left_out(tmp_path: Path) -> None:
    config = DojoDataConfig(groups=TINY.groups[1:], frames=3, keep_withheld=False)
    group = make_dojo_data(config, tmp_path, workers=1).group("in-lab")
    assert group.info.action_dim == 0
    assert not list(group.folder.glob("withheld-*"))


def test_no_scene_of_a_suite_is_trained_on() -> None:
    config = DojoDataConfig()
    seeds = {plan.seed for group in config.groups for plan in group_plans(config, group)}
    assert len(seeds) == sum(group.episodes for group in config.groups)  # and none twice
    for suite in SUITES:
        assert not seeds & {plan.seed for plan in clip_plan(suite)}


def test_no_group_shares_a_scene_with_another_of_the_same_recipe() -> None:
    twins = [DojoGroup(name=name, embodiment="arm", split="val", episodes=5) for name in ("a", "b")]
    first, second = ({plan.seed for plan in group_plans(TINY, twin)} for twin in twins)
    assert not first & second


def test_another_seed_does_not_silently_keep_the_old_episodes(tmp_path: Path) -> None:
    config = DojoDataConfig(groups=TINY.groups[:1], frames=3)
    make_dojo_data(config, tmp_path, workers=1)
    other = DojoDataConfig(groups=TINY.groups[:1], frames=3, seed="other")
    with pytest.raises(BadInputError, match="was made with another 'origin'"):
        make_dojo_data(other, tmp_path, workers=1)


def test_impossible_data_is_refused() -> None:
    with pytest.raises(BadInputError, match="give each a name of its own"):
        DojoDataConfig(groups=TINY.groups[:1] * 2)
    with pytest.raises(BadInputError, match="Episodes of 2 frames are too short"):
        DojoDataConfig(frames=2)
