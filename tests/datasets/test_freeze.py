"""Freezing a dataset, opening it again, and noticing every change in between."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dojobench.datasets.clips import crop_resize
from dojobench.datasets.formats import open_source
from dojobench.datasets.freeze import FreezePlan, freeze
from dojobench.datasets.manifest import (
    encode_manifest,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from dojobench.datasets.suites import FrozenSuite, find_roots, open_suite
from dojobench.protocol.errors import BadInputError

TOP, WRIST = "observation.images.top", "observation.images.wrist"
PLAN = FreezePlan(name="tiny", embodiment="arm", frames=4, stride=2, views=(WRIST,))


@pytest.fixture
def dataset(lerobot_v3) -> Path:
    """Three episodes whose frame ``k`` shows ``k`` and whose action ``k`` is ``[k, e, -k]``."""
    return lerobot_v3(lengths=(12, 22, 9))


@pytest.fixture
def manifest_file(dataset, tmp_path) -> Path:
    frozen = freeze(open_source(dataset), PLAN)
    write_manifest(tmp_path / "tiny.jsonl", frozen.header, frozen.clips)
    return tmp_path / "tiny.jsonl"


def test_clips_hold_the_frames_and_actions_they_state(manifest_file, read_codes):
    suite = open_suite(str(manifest_file))
    assert suite.spec.frame_rate == 10
    assert suite.spec.views == (WRIST,)
    offsets = {"0": 0, "1": 12, "2": 34}
    for record in suite.clips:
        clip = suite.open(record)
        frames = [offsets[record.episode] + record.start + 2 * k for k in range(4)]
        assert read_codes(clip.read(0, 4)) == frames
        assert read_codes(clip.read(1, 3, view=WRIST)) == [number + 100 for number in frames[1:3]]
        assert clip.actions[:, 0].tolist() == frames[:3]
        assert clip.actions.dtype == torch.float32
        assert clip.previous_action[0] == frames[0] - 2
        clip.close()


def test_starts_leave_a_step_before_and_do_not_overlap(manifest_file):
    starts = {
        episode: [
            clip.start for clip in read_manifest(manifest_file).clips if clip.episode == episode
        ]
        for episode in "012"
    }
    assert starts == {"0": [3], "1": [2, 15], "2": [2]}


def test_without_lead_a_clip_may_begin_the_episode(dataset):
    frozen = freeze(
        open_source(dataset), replace(PLAN, lead=0, spacing=100, clips_per_episode=None)
    )
    assert frozen.clips[2].start == 1
    suite = frozen_suite(dataset, replace(PLAN, lead=0, spacing=2))
    first = suite.open(suite.clips[0])
    assert first.record.start == 0
    assert first.previous_action is None


def frozen_suite(dataset: Path, plan: FreezePlan) -> FrozenSuite:
    frozen = freeze(open_source(dataset), plan)
    manifest = parse_manifest(encode_manifest(frozen.header, frozen.clips), "memory")
    return FrozenSuite(manifest, find_roots(manifest, data=dataset.parent))


def test_frozen_twice_gives_the_same_bytes(dataset):
    once, twice = (freeze(open_source(dataset), PLAN) for _ in range(2))
    assert encode_manifest(once.header, once.clips) == encode_manifest(twice.header, twice.clips)


def test_a_moved_dataset_keeps_its_hashes(dataset, tmp_path):
    before = freeze(open_source(dataset), PLAN)
    (tmp_path / "elsewhere").mkdir()
    dataset.rename(tmp_path / "elsewhere" / dataset.name)
    after = freeze(open_source(tmp_path / "elsewhere" / dataset.name), PLAN)
    assert encode_manifest(before.header, before.clips) == encode_manifest(
        after.header, after.clips
    )


def test_splits_go_by_episode(lerobot_v3):
    source = open_source(lerobot_v3(lengths=(12,) * 8))
    plan = replace(PLAN, splits={"val": 0.5, "train": 0.5}, spacing=2)
    clips = freeze(source, plan).clips
    by_episode = {clip.episode: clip.split for clip in clips}
    assert set(by_episode.values()) == {"val", "train"}
    assert all(clip.split == by_episode[clip.episode] for clip in clips)
    assigned = freeze(source, replace(plan, assigned={str(i): "val" for i in range(7)})).clips
    assert all(clip.split == "val" for clip in assigned if clip.episode != "7")


def test_limit_thins_each_split_out_evenly(lerobot_v3):
    source = open_source(lerobot_v3(lengths=(12,) * 8))
    assigned = {str(i): "val" if i < 4 else "train" for i in range(8)}
    clips = freeze(source, replace(PLAN, assigned=assigned, limit=2)).clips
    assert [(clip.split, clip.episode) for clip in clips] == [
        ("val", "0"), ("val", "2"), ("train", "4"), ("train", "6")
    ]  # fmt: skip


def test_window95_gives_the_last_windows_as_test(dataset):
    clips = freeze(open_source(dataset), replace(PLAN, window95=True, limit=50)).clips
    windows = 4 + 14 + 1
    assert sum(clip.split == "test" for clip in clips) == 1
    assert sum(clip.split == "train" for clip in clips) == windows - 1
    assert clips[-1].episode == "2"


def test_short_episodes_are_named_and_none_left_is_refused(dataset):
    frozen = freeze(open_source(dataset), replace(PLAN, frames=6))
    assert frozen.too_short == ("0", "2")  # of 13 frames needed they have 12 and 9
    with pytest.raises(BadInputError, match=r"needs 41 frames and the longest has 22"):
        freeze(open_source(dataset), replace(PLAN, frames=20))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frames": 1}, "nothing to predict"),
        ({"camera": "side"}, "has no camera 'side'"),
        ({"views": ("side",)}, "has no camera 'side'"),
        ({"assigned": {"9": "val"}}, "has no episode '9'"),
        ({"exclude": ("7",)}, "has no episode '7'"),
        ({"splits": {"val": 0.5}}, "must sum to 1"),
        ({"embodiment": "a b"}, "'action_space.embodiment'|'embodiment' is not valid"),
        ({"name": "a/b"}, "'name' is not valid"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(dataset, changes, says):
    with pytest.raises(BadInputError, match=says):
        freeze(open_source(dataset), replace(PLAN, **changes))


def change_actions(dataset: Path, row: int, value: float) -> None:
    path = dataset / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    actions = np.array(table.column("action").to_pylist(), dtype=np.float32)
    actions[row, 1] = value
    column = table.column_names.index("action")
    pq.write_table(table.set_column(column, "action", pa.array(actions.tolist())), path)


def test_nan_actions_are_refused_when_frozen_and_when_opened(dataset, manifest_file):
    change_actions(dataset, 5, np.nan)
    with pytest.raises(
        BadInputError, match=r"'dataset-0-3' has NaN in its action 1, column 1 \(b\)"
    ):
        freeze(open_source(dataset), PLAN)
    suite = open_suite(str(manifest_file))
    with pytest.raises(BadInputError, match=r"'dataset-0-3' has NaN"):
        suite.open(suite.clips[0])
    excluded = freeze(open_source(dataset), replace(PLAN, exclude=("0",)))
    assert {clip.episode for clip in excluded.clips} == {"1", "2"}


def test_changed_actions_are_noticed_with_both_hashes(dataset, manifest_file):
    change_actions(dataset, 5, 77.0)
    suite = open_suite(str(manifest_file))
    with pytest.raises(BadInputError, match=suite.clips[0].sha256) as caught:
        suite.open(suite.clips[0])
    assert str(caught.value).count("sha256:") == 2
    assert "'dataset-0-3'" in str(caught.value)


def test_changed_video_is_noticed(dataset, manifest_file, encode_video):
    encode_video(dataset / f"videos/{WRIST}/chunk-000/file-000.mp4", 43, options={"crf": "40"})
    suite = open_suite(str(manifest_file))
    with pytest.raises(BadInputError, match="are not those that were frozen"):
        suite.open(suite.clips[0])


def test_a_missing_video_is_named(dataset, manifest_file):
    video = dataset / f"videos/{TOP}/chunk-000/file-000.mp4"
    video.unlink()
    suite = open_suite(str(manifest_file))
    with pytest.raises(BadInputError, match=r"observation\.images\.top"):
        suite.open(suite.clips[0])


def test_a_missing_dataset_says_where_to_get_it(manifest_file, tmp_path, monkeypatch):
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    manifest = read_manifest(manifest_file)
    sources = {"dataset": manifest.header.sources["dataset"].model_copy(
        update={"obtain": "https://example.org/set @ 12ab", "root": "gone"})}  # fmt: skip
    header = manifest.header.model_copy(update={"sources": sources})
    write_manifest(manifest_file, header, manifest.clips)
    with pytest.raises(BadInputError, match=r"get it from https://example.org/set @ 12ab"):
        open_suite(str(manifest_file))
    with pytest.raises(BadInputError, match="There is no folder"):
        open_suite(str(manifest_file), data=tmp_path / "nothing")


def test_data_may_be_the_dataset_or_the_folder_above(dataset, manifest_file, tmp_path, monkeypatch):
    (tmp_path / "far").mkdir()
    moved = manifest_file.rename(tmp_path / "far" / "suite.jsonl")
    for data in (dataset, dataset.parent):
        assert open_suite(str(moved), data=data).roots["dataset"] == dataset
    monkeypatch.setenv("DOJOBENCH_DATA", str(dataset.parent))
    assert open_suite(str(moved)).roots["dataset"] == dataset


def test_another_dataset_of_the_same_name_is_refused(dataset, manifest_file):
    info = json.loads((dataset / "meta/info.json").read_text())
    (dataset / "meta/info.json").write_text(json.dumps(info | {"fps": 40}))
    suite = open_suite(str(manifest_file))
    with pytest.raises(BadInputError, match=r"runs at 10 Hz, but .* gives 20 Hz"):
        suite.open(suite.clips[0])


def test_pinned_version(manifest_file):
    version = read_manifest(manifest_file).version
    assert open_suite(f"{manifest_file}@{version[:20]}").spec.version == version
    with pytest.raises(BadInputError, match=f"{version}, but sha256:00000000 was asked for"):
        open_suite(f"{manifest_file}@sha256:00000000")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(BadInputError, match="did you mean 'gr1-sim-sample'"):
        open_suite("gr1_sim_sample")


def test_a_folder_is_not_a_suite_and_says_how_to_make_one(dataset):
    with pytest.raises(BadInputError, match="dojobench data freeze"):
        open_suite(str(dataset))


def test_reading_outside_a_clip_is_a_programming_error(manifest_file):
    suite = open_suite(str(manifest_file))
    clip = suite.open(suite.clips[0])
    assert clip.read(2, 2).shape[0] == 0
    for start, stop in ((0, 5), (-1, 2), (3, 2)):
        with pytest.raises(ValueError, match="of a clip of 4"):
            clip.read(start, stop)
    with pytest.raises(ValueError, match="view 'side'"):
        clip.read(0, 1, view="side")


def test_clips_of_one_video_are_read_from_several_threads(manifest_file, read_codes):
    suite = open_suite(str(manifest_file))
    wrong: list[object] = []

    def work(turn: int) -> None:
        for step in range(6):
            record = suite.clips[(turn + step) % len(suite.clips)]
            clip = suite.open(record)
            offset = {"0": 0, "1": 12, "2": 34}[record.episode] + record.start
            for k in range(4):
                if read_codes(clip.read(k, k + 1)) != [offset + 2 * k]:
                    wrong.append((record.id, k))
            clip.close()

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_interleaved_clips_do_not_seek(manifest_file):
    """Each clip has its own decoder: reading two in turn decodes nothing twice."""
    suite = open_suite(str(manifest_file))
    one, other = (suite.open(clip) for clip in suite.clips[1:3])
    for k in range(4):
        one.read(k, k + 1)
        other.read(k, k + 1)
    pools = [clip._episode.pool for clip in (one, other)]
    assert pools[0] is not pools[1]
    assert pools[0]._indexes is pools[1]._indexes
    for pool in pools:
        (reader,) = pool._readers.values()
        assert reader.decoded <= 8 + 7  # a group of pictures, then the clip's 7 recorded frames


def test_other_sizes_are_cropped_and_resized_only_when_stated(dataset):
    suite = frozen_suite(dataset, replace(PLAN, resolution=(16, 80), views=()))
    assert suite.manifest.header.fit == "crop-resize"
    assert suite.open(suite.clips[0]).read(0, 2).shape == (2, 3, 16, 80)
    same = frozen_suite(dataset, replace(PLAN, resolution=(32, 160), views=()))
    assert same.manifest.header.fit == "exact"
    exact = suite.manifest.header.model_copy(update={"fit": "exact"})
    manifest = suite.manifest.model_copy(update={"header": exact})
    stated = FrozenSuite(manifest, suite.roots)
    clip = stated.open(stated.clips[0])
    with pytest.raises(BadInputError, match=r"is 32x160, but its suite states 16x80"):
        clip.read(0, 1)


def test_crop_resize_is_the_published_transform():
    v2 = pytest.importorskip("torchvision.transforms.v2")
    frames = torch.randint(
        0, 256, (3, 3, 720, 1280), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    cropped = frames[..., 160:1120]  # 16:9 to 4:3 about the centre
    expected = v2.Resize((480, 640), antialias=True)(cropped.float() / 255)
    expected = torch.clamp(expected * 255.0, 0, 255).to(torch.uint8)
    assert torch.equal(crop_resize(frames, (480, 640)), expected)


def test_crop_resize_leaves_the_right_size_alone():
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert crop_resize(frames, (16, 16)) is frames
    tall = torch.zeros(1, 3, 30, 20, dtype=torch.uint8)
    tall[:, :, 10:20] = 200
    assert (crop_resize(tall, (10, 20)) == 200).all()
