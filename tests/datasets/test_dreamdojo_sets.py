"""The released sets' sampling, on small datasets in the released layout."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dojobench.datasets import dreamdojo_sets
from dojobench.datasets.dreamdojo_sets import RECIPES, Recipe, find_datasets, freeze_released
from dojobench.datasets.embodiments import embodiment
from dojobench.datasets.suites import open_suite
from dojobench.protocol.errors import BadInputError

KEY = "observation.images.ego_view_freq20"
PARTS = {
    "left_arm": (0, 7), "left_hand": (7, 13), "left_leg": (13, 19), "neck": (19, 22),
    "right_arm": (22, 29), "right_hand": (29, 35), "right_leg": (35, 41), "waist": (41, 44),
}  # fmt: skip


@pytest.fixture
def write_gr1(encode_video: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a LeRobot v2.0 folder as the released ones are; frame ``k`` shows ``k``."""

    def write(root: Path, lengths: Sequence[int], *, height: int = 120) -> Path:
        (root / "meta").mkdir(parents=True)
        (root / "data/chunk-000").mkdir(parents=True)
        for number, length in enumerate(lengths):
            actions = np.zeros((length, 44))
            actions[:] = np.arange(length)[:, None]
            table = {
                "action": actions.tolist(),
                "timestamp": (np.arange(length) / 20).tolist(),
                "task_index": [0] * length,
            }
            pq.write_table(pa.table(table), root / f"data/chunk-000/episode_{number:06d}.parquet")
            video = root / f"videos/chunk-000/{KEY}/episode_{number:06d}.mp4"
            encode_video(video, length, rate=20, height=height)
        episodes = [
            {"episode_index": number, "tasks": ["pick the corn"], "length": length}
            for number, length in enumerate(lengths)
        ]
        text = "\n".join(json.dumps(episode) for episode in episodes)
        (root / "meta/episodes.jsonl").write_text(text + "\n")
        (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "pick the corn"}\n')
        (root / "meta/modality.json").write_text(json.dumps(modality(PARTS)))
        (root / "meta/info.json").write_text(json.dumps(info(len(lengths), sum(lengths), height)))
        return root

    return write


def modality(parts: dict[str, tuple[int, int]]) -> dict:
    action = {name: {"start": start, "end": end} for name, (start, end) in parts.items()}
    return {"action": action, "video": {"ego_view_freq20": {"original_key": KEY}}}


def info(episodes: int, frames: int, height: int) -> dict:
    shape = {"shape": [height, 160, 3], "names": ["height", "width", "channel"]}
    return {
        "codebase_version": "v2.0",
        "robot_type": "GR1",
        "total_episodes": episodes,
        "total_frames": frames,
        "chunks_size": 1000,
        "fps": 20,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
        "features": {
            KEY: {"dtype": "video", **shape},
            "action": {"dtype": "float64", "shape": [44], "names": None},
        },
    }


RECIPE = Recipe(
    name="dreamdojo-test",
    folder="Test_Eval",
    datasets=("gr1_unified.b_robot", "gr1_unified.a_robot"),
    clips=10,
    frames=5,
    resolution=(120, 160),
    description="small",
)


def released_samples(lengths: Sequence[Sequence[int]], clips: int, frames: int) -> list[tuple]:
    """The released loader's steps and draws, as ``(dataset, episode, first video frame)``."""
    all_steps = []
    for episodes in lengths:
        steps = []
        for episode, length in enumerate(episodes):
            for base in range(length):
                if base + 2 * frames >= length:  # max(delta_indices) of frames + 1 steps
                    break
                steps.append((episode, base))
        all_steps.append(steps)
    share = clips / len(all_steps)
    drawn = []
    for sample in range(clips):
        dataset = int(sample / share)
        episode, base = all_steps[dataset][int((sample % share) / share * len(all_steps[dataset]))]
        drawn.append((dataset, str(episode), base + 2))  # the video leaves its first step out
    return drawn


def test_samples_are_those_of_the_released_loader(tmp_path, write_gr1, read_codes, monkeypatch):
    lengths = [(20, 11, 10, 31), (40, 26)]
    for name, episodes in zip(RECIPE.datasets, lengths, strict=True):
        write_gr1(tmp_path / "Test_Eval" / name, episodes)
    monkeypatch.setitem(dreamdojo_sets.RECIPES, RECIPE.name, RECIPE)
    suite = open_suite("dreamdojo-test", data=tmp_path)
    drawn = [(RECIPE.datasets.index(clip.source), clip.episode, clip.start) for clip in suite.clips]
    assert drawn == released_samples(lengths, 10, 5)
    assert suite.spec.frame_rate == 10
    assert suite.spec.action_space.embodiment == "gr1"
    for record in suite.clips:
        clip = suite.open(record)
        numbers = [record.start + 2 * k for k in range(5)]
        assert read_codes(clip.read(0, 5)) == numbers
        assert clip.actions[:, 0].tolist() == numbers[:-1]
        assert clip.previous_action[0] == record.start - 2


def test_the_same_files_give_the_same_version(tmp_path, write_gr1):
    for name in RECIPE.datasets:
        write_gr1(tmp_path / "Test_Eval" / name, (20, 20))
    versions = {freeze_released(RECIPE, tmp_path)[0].version for _ in range(2)}
    versions.add(freeze_released(RECIPE, tmp_path / "Test_Eval")[0].version)
    assert len(versions) == 1


def test_pictures_of_another_size_are_cropped_and_resized(tmp_path, write_gr1):
    recipe = replace(RECIPE, datasets=(), resolution=(96, 128))
    write_gr1(tmp_path / "Test_Eval", (20, 20), height=96)
    manifest, roots = freeze_released(recipe, tmp_path)
    assert manifest.header.fit == "crop-resize"
    assert roots == {"Test_Eval": tmp_path / "Test_Eval"}
    from dojobench.datasets.suites import FrozenSuite

    suite = FrozenSuite(manifest, roots)
    assert suite.open(suite.clips[0]).read(0, 1).shape == (1, 3, 96, 128)


def test_the_published_sets():
    for recipe in RECIPES.values():
        assert (recipe.clips, recipe.frames, recipe.stride) == (100, 49, 2)
        assert recipe.resolution == (480, 640)
    assert len(RECIPES["dreamdojo-in-lab"].datasets) == 10


def test_without_data_it_says_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    for name in RECIPES:
        with pytest.raises(BadInputError, match=r"huggingface\.co/datasets/nvidia/Physical"):
            open_suite(name)
        with pytest.raises(BadInputError, match=r"huggingface\.co/datasets/nvidia/Physical"):
            open_suite(name, data=tmp_path)


def test_missing_datasets_are_named(tmp_path, write_gr1):
    write_gr1(tmp_path / "Test_Eval/gr1_unified.a_robot", (20,))
    with pytest.raises(BadInputError, match=r"are missing: gr1_unified\.b_robot"):
        freeze_released(RECIPE, tmp_path)


def test_a_folder_of_other_datasets_is_not_taken_for_a_released_set(tmp_path, write_gr1):
    write_gr1(tmp_path / "my_robot", (20,))
    with pytest.raises(BadInputError, match="finds no LeRobot dataset"):
        find_datasets(RECIPES["dreamdojo-egodex"], tmp_path)


def test_several_datasets_in_a_set_without_a_published_order_go_by_name(tmp_path, write_gr1):
    for name in ("z", "a"):
        write_gr1(tmp_path / "EgoDex_Eval" / name, (20,))
    found = find_datasets(RECIPES["dreamdojo-egodex"], tmp_path)
    assert [root.name for root in found] == ["a", "z"]


def test_too_few_windows_are_refused(tmp_path, write_gr1):
    for name in RECIPE.datasets:
        write_gr1(tmp_path / "Test_Eval" / name, (12,))
    with pytest.raises(BadInputError, match="must offer 5 windows, but the smallest has 2"):
        freeze_released(RECIPE, tmp_path)


def test_another_robot_is_refused(tmp_path, write_gr1):
    root = write_gr1(tmp_path / "EgoDex_Eval", (20,))
    (root / "meta/modality.json").write_text(json.dumps(modality({"arm": (0, 7)})))
    with pytest.raises(BadInputError, match="names no action part 'left_arm'"):
        freeze_released(RECIPES["dreamdojo-egodex"], tmp_path)


def test_the_released_layout_offers_gr1_its_columns():
    parts = {name: range(start, end) for name, (start, end) in PARTS.items()}
    assert len(embodiment("gr1").columns(parts, 44)) == 29
