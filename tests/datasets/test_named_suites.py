"""The suites that come with the package, on the sample clips that they were frozen from."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from dojobench.datasets.suite import context_batch
from dojobench.datasets.suites import load_named, named_manifests, open_suite
from dojobench.protocol.errors import BadInputError

NAMES = ("droid-real-sample", "g1-real-sample", "gr1-sim-sample")


def test_they_come_with_the_package():
    assert named_manifests() == ("dojo-mini", "dojo-v1", *NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_episode(name):
    clips = load_named(name).clips
    episodes = {
        split: {clip.episode for clip in clips if clip.split == split} for split in ("train", "val")
    }
    assert not episodes["train"] & episodes["val"]
    assert 20 <= sum(clip.split == "val" for clip in clips) <= 30


@pytest.mark.parametrize("name", NAMES)
def test_they_say_where_to_get_their_data(name, monkeypatch):
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    with pytest.raises(BadInputError, match=r"get it from https://github\.com/\S+ @ [0-9a-f]{40}"):
        open_suite(name)


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_every_clip_opens_and_its_hash_is_right(name, data_dir: Path):
    suite = open_suite(name, data=data_dir)
    for record in suite.clips:
        clip = suite.open(record)
        assert clip.actions.shape == (record.frames - 1, suite.spec.action_space.dim)
        clip.close()


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_frames_are_the_strided_ones_of_the_recording(name, data_dir: Path):
    from dojobench.datasets.formats import open_source

    suite = open_suite(name, data=data_dir)
    record = suite.clips[-1]
    clip = suite.open(record)
    frames = clip.read(0, record.frames)
    assert frames.shape == (record.frames, 3, *suite.spec.resolution)
    assert frames.dtype == torch.uint8
    recorded = open_source(data_dir / record.source).episode(record.episode)
    wanted = range(record.start, record.start + record.stride * record.frames, record.stride)
    assert torch.equal(frames, recorded.frames(record.camera, list(wanted)))
    actions = torch.from_numpy(recorded.actions())
    assert torch.equal(clip.actions, actions[list(wanted)[:-1]])
    # Reading piece by piece is reading at once.
    pieces = [clip.read(a, b) for a, b in pairwise([0, 1, 13, record.frames])]
    assert torch.equal(torch.cat(pieces), frames)


@pytest.mark.data
def test_further_views_are_read(data_dir: Path):
    suite = open_suite("droid-real-sample", data=data_dir)
    assert suite.spec.views == ("exterior_2_left", "wrist_left")
    clip = suite.open(suite.clips[0])
    pictures = [clip.read(0, 1), *(clip.read(0, 1, view=view) for view in suite.spec.views)]
    assert all(picture.shape == (1, 3, 192, 320) for picture in pictures)
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[1], pictures[2])


@pytest.mark.data
def test_clips_make_a_context_batch(data_dir: Path):
    suite = open_suite("gr1-sim-sample", data=data_dir)
    batch = context_batch([suite.open(clip) for clip in suite.clips[:3]], 1, 1)
    assert batch.shape == (3, 1, 3, 256, 256)
