import dataclasses
import re

import numpy as np
import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.clips import render_clip
from dojobench.simulator.generation import generate
from dojobench.simulator.seeding import commitment
from dojobench.simulator.splits import (
    RECIPES,
    ROBOT_KINDS,
    ROBOT_VERBS,
    SUITES,
    clip_plan,
)
from dojobench.simulator.world import Dojo

MINI = clip_plan("dojo-mini")


def of(split: str) -> list:
    return [plan for plan in MINI if plan.split == split]


def test_both_suites_have_every_split_and_unique_names() -> None:
    for name, suite in SUITES.items():
        plans = clip_plan(name)
        assert {plan.split for plan in plans} == set(RECIPES) == set(suite.counts)
        ids = [plan.id for plan in plans]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", one) for one in ids)
        assert len({plan.digest() for plan in plans}) == len(plans)


def test_splits_never_share_an_episode_and_suites_neither() -> None:
    seen: dict[str, tuple[str, str | None]] = {}
    for name in SUITES:
        for plan in clip_plan(name):
            key = (f"{name}/{plan.split}", plan.branch_group)
            assert seen.setdefault(plan.episode, key) == key


def test_a_plan_is_the_same_for_the_same_seed_only() -> None:
    assert clip_plan("dojo-mini") == MINI
    assert clip_plan("dojo-mini", 1) == MINI
    secret = clip_plan("dojo-mini", "a long secret")
    assert [plan.id for plan in secret] == [plan.id for plan in MINI]
    assert not {plan.episode for plan in secret} & {plan.episode for plan in MINI}
    assert "a long secret" not in repr(secret)
    with pytest.raises(BadInputError, match="did you mean 'dojo-mini'"):
        clip_plan("dojo-mimi")


def test_the_commitment_binds_seed_and_suite() -> None:
    one = commitment("s", suite="dojo-v1")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", one)
    assert one == commitment("s", suite="dojo-v1")
    assert len({one, commitment("t", suite="dojo-v1"), commitment("s", suite="dojo-mini")}) == 3


def test_a_clip_is_the_same_bytes_in_this_process_and_in_others() -> None:
    plans = [of("val")[0], of("dojo-hv")[1], of("counterfactual")[2], of("human")[0]]
    plans = [dataclasses.replace(plan, frames=9) for plan in plans]
    here = [render_clip(plan, segmentation=True) for plan in plans]
    there = list(generate(plans, segmentation=True, workers=2))
    for one, two in zip(here, there, strict=True):
        assert one.plan == two.plan
        assert one.frames.tobytes() == two.frames.tobytes()
        assert one.actions.tobytes() == two.actions.tobytes()
        assert one.segmentation.tobytes() == two.segmentation.tobytes()
        assert one.instruction == two.instruction


def test_simulating_without_rendering_gives_all_but_the_frames() -> None:
    plan = of("in-lab")[0]
    full, quick = render_clip(plan), render_clip(plan, size=None)
    assert quick.frames is None
    assert full.frames.shape == (plan.frames, 64, 64, 3)
    assert quick.actions.tobytes() == full.actions.tobytes()
    assert quick.object_states.tobytes() == full.object_states.tobytes()
    assert (quick.instruction, quick.success) == (full.instruction, full.success)


def test_branches_share_their_context_and_nothing_after_it() -> None:
    group = of("counterfactual")[:4]
    assert len({plan.branch_group for plan in group}) == 1
    clips = [render_clip(plan) for plan in group]
    context = group[0].context
    assert len({clip.frames[:context].tobytes() for clip in clips}) == 1
    assert len({clip.actions[: context - 1].tobytes() for clip in clips}) == 1
    assert len({clip.actions[context - 1].tobytes() for clip in clips}) == 4
    assert len({clip.frames[-1].tobytes() for clip in clips}) == 4
    assert [plan.factual for plan in group] == [True, True, False, False]


def test_playing_the_actions_again_gives_the_clip_again() -> None:
    """Actions are stored in single precision; they are also what was played."""
    from dojobench.simulator.clips import scene_of

    plan = dataclasses.replace(of("val")[1], lead=0)
    clip = render_clip(plan)
    dojo = Dojo(plan.embodiment).reset(plan.seed, scene_of(plan))
    frames = [dojo.observe(plan.camera).rgb]
    for action in clip.actions:
        dojo.step(action)
        frames.append(dojo.observe(plan.camera).rgb)
    assert np.stack(frames).tobytes() == clip.frames.tobytes()


def test_actions_stay_within_bounds() -> None:
    for plan in (of("uncommon")[0], of("palindrome")[0], of("egodex")[0], of("human")[1]):
        clip = render_clip(plan, size=None)
        spec = Dojo(plan.embodiment).embodiment.spec
        assert (clip.actions >= np.array(spec.low) - 1e-6).all()
        assert (clip.actions <= np.array(spec.high) + 1e-6).all()


def test_the_robot_training_data_lacks_what_the_other_splits_ask_for() -> None:
    for plan in of("train"):
        assert set(plan.verbs) == set(ROBOT_VERBS)
        assert set(plan.factors["object.kind"]) == set(ROBOT_KINDS)
    assert not {"pat", "miss", "slap", "wave"} & set(ROBOT_VERBS)
    assert all(plan.actions_withheld == (plan.split == "human") for plan in MINI)
    labels = [render_clip(plan, size=None).labels[0] for plan in of("egodex")]
    assert any("drawer" in label for label in labels)
    assert any("lid" in label for label in labels)


def test_a_palindrome_comes_back_to_where_it_began() -> None:
    for plan in of("palindrome"):
        clip = render_clip(plan)
        away = np.linalg.norm(clip.tip - clip.tip[0], axis=1)
        assert away.max() > 0.08
        assert away[-1] < 0.02
        assert not clip.touched.any()
        error = np.abs(clip.frames[-1].astype(int) - clip.frames[0]).mean()
        assert error < 2.0


def test_a_long_clip_is_long() -> None:
    plan = of("long")[0]
    clip = render_clip(plan, size=None)
    assert len(clip.object_states) == 600
    moved = np.abs(np.diff(clip.object_states[:, :, :3], axis=0)).max(axis=(1, 2)) > 0.001
    assert moved.mean() > 0.2
    assert (clip.object_states[:, :, 2] > -0.01).all(), "something fell off the table"
