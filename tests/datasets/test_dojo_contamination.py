"""Copies of a suite in a training set are found, however they were altered; nothing else is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dojobench.cli import main
from dojobench.datasets.contamination import (
    ContaminationConfig,
    check_contamination,
    trained_scenes,
)
from dojobench.datasets.dojo_data import render_data
from dojobench.datasets.dojo_make import FolderConfig, write_folder
from dojobench.datasets.dojo_plans import MakeConfig, make_plans
from dojobench.datasets.dojo_suite import DojoSuite
from dojobench.datasets.formats import open_source
from dojobench.datasets.lerobot_write import LeRobotTarget, RecordedEpisode, write_lerobot
from dojobench.datasets.manifest import read_manifest
from dojobench.datasets.near_duplicates import Likeness, find_matches, join_prints, take_prints


@pytest.fixture(scope="module")
def suite(tiny_manifest) -> DojoSuite:
    return DojoSuite(read_manifest(tiny_manifest), workers=0)


@pytest.fixture(scope="module")
def others() -> list[np.ndarray]:
    """Frames of training episodes that the suite knows nothing of, ``[8, 96, 128, 3]`` each."""
    plans = make_plans(MakeConfig(embodiment="arm", episodes=8, frames=8, seed="other"))
    return [render_data(plan, (96, 128)).frames[:8].transpose(0, 2, 3, 1) for plan in plans]


def write(root: Path, episodes: list[np.ndarray]) -> Path:
    """Writes frames as a training set, its video encoded with losses."""
    target = LeRobotTarget(root=root, version="v2.1", robot_type="arm", frame_rate=10)
    write_lerobot(
        target,
        [
            RecordedEpisode(
                frames={"front": frames},
                actions=np.zeros((len(frames), 2), np.float32),
                states=np.zeros((len(frames), 2), np.float32),
                task="",
            )
            for frames in episodes
        ],
    )
    return root


def altered(frames: torch.Tensor, gain: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Resizes to 96x128, aspect ratio changed, and brightens or darkens."""
    larger = interpolate(frames.float(), (96, 128), mode="bicubic", antialias=True)
    pixels = (larger * gain + offset).clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def test_planted_copies_are_found_and_nothing_else(suite, others, tmp_path, tiny_manifest, capsys):
    wanted = {"val-0000": (1.0, 0.0), "val-0001": (1.25, 20.0), "counterfactual-0000-pat": (0.7, 0)}
    records = {clip.id: clip for clip in suite.clips}
    copies = [
        altered(suite.open(records[name]).read(0, 8), *change) for name, change in wanted.items()
    ]
    root = write(tmp_path / "train", [*others[:2], *copies, *others[2:4]])
    check = ["dojo", "contamination", str(root), "--suite", str(tiny_manifest)]
    assert main([*check, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    episodes = {each["clip"]: each["episode"] for each in found["copies"]}
    branches = {clip.id for clip in suite.clips if clip.branch_group}
    assert set(wanted) <= set(episodes)
    # Branches share their context, so that a copy of one shows part of the others.
    assert set(episodes) <= set(wanted) | branches
    assert [episodes[name] for name in wanted] == ["2", "3", "4"]
    assert found["found"]
    assert not found["scenes_known"]
    assert main(check) == 1
    said = capsys.readouterr().out
    assert "val-0001: episode 3 shows 3 of its 3 frames" in said
    assert "Seeds of scenes were not compared" in said


def test_other_seeds_of_the_same_world_are_not_copies(
    suite, others, tmp_path, tiny_manifest, capsys
):
    root = write(tmp_path / "train", others)
    assert main(["dojo", "contamination", str(root), "--suite", str(tiny_manifest)]) == 0
    said = capsys.readouterr().out
    assert "No clip is in the training set." in said
    config = ContaminationConfig(clip_step=1)
    found = check_contamination(open_source(root), suite, config)
    assert found.train_frames == 64
    assert found.clip_frames == 6 * 8
    assert found.frames_found == 0
    assert not found.found


def test_scenes_made_from_the_same_seed_are_named(suite, tmp_path, tiny_manifest, capsys):
    plans = [suite.plan(clip) for clip in suite.clips if clip.split in ("val", "train")]
    write_folder(FolderConfig(root=tmp_path / "train", workers=0), plans)
    assert len(trained_scenes(tmp_path / "train")) == 3
    check = ["dojo", "contamination", str(tmp_path / "train"), "--suite", str(tiny_manifest)]
    assert main(check) == 1
    assert "2 clips share the seed of their scene" in capsys.readouterr().out
    assert main([*check, "--splits", "counterfactual"]) == 0
    assert "No clip shares the seed" in capsys.readouterr().out


def test_bad_input_gets_one_sentence(tmp_path, others, tiny_manifest, capsys):
    root = write(tmp_path / "train", others[:1])
    check = ["dojo", "contamination", str(root), "--suite", str(tiny_manifest)]
    for options in (["--splits", "none"], ["--share", "0"], ["--train-step", "0"]):
        assert main([*check, *options]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["dojo", "contamination", str(tmp_path / "no"), "--suite", "dojo-mini"]) == 2


def test_pictures_without_contrast_are_ignored():
    grey = torch.full((3, 3, 32, 32), 128, dtype=torch.uint8)
    prints = take_prints(grey)
    assert not prints.usable.any()
    assert find_matches(prints, prints) == []


def test_a_picture_is_its_own_nearest():
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(20, 3, 6, 8, generator=rng) * 255
    frames = interpolate(small, (48, 64), mode="bicubic").clamp(0, 255).to(torch.uint8)
    prints = join_prints([take_prints(frames[:7]), take_prints(frames[7:])])
    found = find_matches(prints, prints)
    assert [(match.first, match.second, match.bits) for match in found] == [
        (k, k, 0) for k in range(20)
    ]
    assert max(match.distance for match in found) < 1e-3
    assert find_matches(prints, prints, Likeness(contrast=1000.0))
    nothing = join_prints([])
    assert find_matches(prints, nothing) == []


def test_the_distance_is_that_of_the_correlation():
    rng = torch.Generator().manual_seed(1)
    frames = (40 + 150 * torch.rand(2, 3, 16, 16, generator=rng)).to(torch.uint8)
    first, second = take_prints(frames[:1]), take_prints(frames[1:])
    wide = Likeness(bits=64, distance=2.0)
    expected = np.corrcoef(frames[0].reshape(-1).numpy(), frames[1].reshape(-1).numpy())[0, 1]
    found = find_matches(first, second, wide)[0].distance
    assert found == pytest.approx(np.sqrt(2 - 2 * expected), abs=1e-3)
