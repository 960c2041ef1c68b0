"""LeRobot folders of the simulated world: written, read again, and what is refused."""

import json

import numpy as np
import pytest
import torch

from dojobench.cli import main
from dojobench.datasets import dojo_make
from dojobench.datasets.dojo_data import render_data
from dojobench.datasets.dojo_make import FolderConfig, write_folder
from dojobench.datasets.dojo_plans import MakeConfig, make_plans, parse_held, scene_id
from dojobench.datasets.dojo_suite import DojoSuite
from dojobench.datasets.embodiments import EMBODIMENTS
from dojobench.datasets.formats import open_source
from dojobench.datasets.manifest import read_manifest
from dojobench.protocol.errors import BadInputError
from dojobench.simulator.clips import scene_of
from dojobench.simulator.world import make_embodiment

HERE = ("--workers", "0")


def plans_for(embodiment="arm", episodes=3, **more):
    return make_plans(
        MakeConfig(embodiment=embodiment, episodes=episodes, frames=6, seed="t", **more)
    )


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lossless_folders_hold_what_was_rendered(version, tmp_path):
    plans = plans_for()
    root = tmp_path / "data"
    floor = write_folder(
        FolderConfig(root=root, version=version, quality="lossless", workers=0), plans
    )
    assert floor == {"front": 100.0}
    source = open_source(root)
    assert source.format == f"lerobot-{version}"
    assert source.action_names == make_embodiment("arm").spec.names
    assert source.check(deep=True) == []
    for plan, name in zip(plans, source.episode_ids, strict=True):
        data, episode = render_data(plan, (64, 64)), source.episode(name)
        assert episode.length == 6
        assert len(data.frames) == 7
        frames = episode.frames(source.cameras[0], range(6))
        assert torch.equal(frames, torch.from_numpy(data.frames[:6]))
        assert np.array_equal(episode.actions(), data.actions)
        assert episode.instruction == (data.instruction or "explore")


def test_folders_made_twice_are_equal_and_another_seed_is_not(tmp_path):
    common = ["--episodes", "2", "--frames", "4", *HERE]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["dojo", "make", str(tmp_path / name), "--seed", seed, *common]) == 0
    videos = {
        name: [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.mp4"))]
        for name in "abc"
    }
    assert videos["a"] == videos["b"]
    assert videos["a"] != videos["c"]


def test_the_hand_withholds_its_actions_unless_told(tmp_path, capsys):
    make = ["dojo", "make", "--embodiment", "hand", "--episodes", "1", "--frames", "4", *HERE]
    assert main([*make, str(tmp_path / "video")]) == 0
    assert "actions withheld" in capsys.readouterr().out
    video = open_source(tmp_path / "video")
    assert video.action_dim == 0
    assert [problem.code for problem in video.check(deep=True)] == ["no-actions"]
    features = json.loads((tmp_path / "video/meta/info.json").read_text())["features"]
    assert not {"action", "observation.state"} & set(features)
    assert main([*make, str(tmp_path / "told"), "--with-actions"]) == 0
    assert open_source(tmp_path / "told").action_dim == make_embodiment("hand").spec.dim


def test_the_folder_says_what_it_was_made_from(tmp_path):
    plans = plans_for(episodes=2)
    write_folder(FolderConfig(root=tmp_path / "d", origin="seed t", workers=0), plans)
    notes = json.loads((tmp_path / "d/meta/info.json").read_text())["dojobench"]
    assert notes["dojo"]["scenes"] == [scene_id(plan.seed) for plan in plans]
    assert notes["dojo"]["origin"] == "seed t"
    assert notes["codec_floor_psnr_db"]["front"] > 25


def test_factors_are_held_and_narrowed():
    held = parse_held(["objects.number=2", "object.kind=mug", "light.azimuth=-5..5"])
    for plan in plans_for(episodes=8, held=held):
        scene = scene_of(plan)
        assert [item.kind for item in scene.objects] == ["mug", "mug"]
        assert -5 <= scene["light.azimuth"] <= 5
    assert parse_held(["object.colour=red,blue"]) == {"object.colour": ["red", "blue"]}


@pytest.mark.parametrize("split", ["counterfactual", "uncommon", "palindrome", "dojo-hv"])
def test_every_recipe_makes_training_data(split):
    plans = plans_for(episodes=5, split=split)
    assert len({plan.id for plan in plans}) == 5
    if split == "counterfactual":
        assert [plan.branch for plan in plans[:4]] == ["pick", "push", "pat", "miss"]
        assert len({plan.seed for plan in plans}) == 2
    if split == "uncommon":
        assert [plan.verbs for plan in plans[:2]] == [("slap",), ("wave",)]


def test_scenes_that_do_not_fit_are_passed_over():
    held = {"objects.number": 5, "object.size": 0.04}
    assert len(plans_for(episodes=60, split="dojo-hv", held=held)) == 60


def test_a_suite_can_be_written_as_a_folder(tiny_manifest, tmp_path):
    out = tmp_path / "val"
    make = ["dojo", "make", str(out), "--suite", "dojo-mini", "--split", "val"]
    assert main([*make, "--quality", "lossless", *HERE]) == 0
    source, suite = open_source(out), DojoSuite(read_manifest(tiny_manifest), workers=0)
    clips = [clip for clip in suite.clips if clip.split == "val"]
    for clip, name in zip(clips, source.episode_ids, strict=True):
        frames = source.episode(name).frames(source.cameras[0], range(clip.frames))
        assert torch.equal(frames, suite.open(clip).read(0, clip.frames))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hold", "object.color=red"], "did you mean 'object.colour'"),
        (["--hold", "object.colour=pink"], "cannot be 'pink'"),
        (["--hold", "object.size=0.5"], "must lie in"),
        (["--hold", "objects.number=2..3..4"], "two as in 2..3"),
        (["--hold", "object.size=nan"], "give a number"),
        (["--hold", "red"], "write factor=value"),
        (["--size", "32", "32"], "must lie between 64x64 and 480x640"),
        (["--size", "64", "800"], "must lie between 64x64 and 480x640"),
        (["--split", "vall"], "choose one of train"),
        (["--episodes", "0"], "at least 1 episode"),
        (["--suite", "dojo-v2"], "did you mean"),
        (["--suite", "dojo-mini", "--split", "human"], "no split 'human'"),
    ],
)
def test_bad_input_gets_one_sentence(options, message, tmp_path, capsys):
    out = tmp_path / "x"
    assert main(["dojo", "make", str(out), *HERE, *options]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    assert main(["dojo", "make", str(tmp_path / "x")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["dojo", "make", str(tmp_path / "no" / "x")]) == 2
    assert "make it first" in capsys.readouterr().err


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(plans, *_):
        yield render_data(plans[0], (64, 64))
        raise KeyboardInterrupt

    monkeypatch.setattr(dojo_make, "render_all", interrupted)
    assert main(["dojo", "make", str(tmp_path / "x"), "--episodes", "2", "--frames", "3"]) == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["arm", "arm2"])
def test_robots_have_slots_of_their_own(name):
    assert EMBODIMENTS[name].width == make_embodiment(name).spec.dim


def test_the_held_choice_must_exist_before_anything_is_planned():
    with pytest.raises(BadInputError, match="did you mean"):
        plans_for(embodiment="arms")
