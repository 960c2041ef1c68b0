"""Batches: functions of seed and step alone, true to the weights, and of whole windows."""

from collections import Counter

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.sources import ClipSource, PairSource

WEIGHTS = {"robot": 1.0, "person": 2.0, "video": 10.0}


def places(frames: torch.Tensor) -> torch.Tensor:
    """Reads group, episode and frame number back, ``[batch, time, 3]``."""
    return frames[:, :, :, 0, 0].long()


def test_a_batch_depends_on_seed_and_step_alone(counting_store: EpisodeStore) -> None:
    source = ClipSource(counting_store, WEIGHTS, frames=9, seed=3)
    later = [source.batch(step, 8)["frames"] for step in (5, 4, 5)]
    fresh = ClipSource(counting_store, WEIGHTS, frames=9, seed=3).batch(5, 8)["frames"]
    assert torch.equal(later[0], fresh)
    assert torch.equal(later[2], fresh)
    assert not torch.equal(later[1], fresh)
    other = ClipSource(counting_store, WEIGHTS, frames=9, seed=4).batch(5, 8)["frames"]
    assert not torch.equal(other, fresh)


def test_clips_are_consecutive_frames_of_one_episode(counting_store: EpisodeStore) -> None:
    source = ClipSource(counting_store, {"robot": 1.0}, frames=9, seed=0)
    batch = source.batch(0, 64)["frames"]
    assert batch.shape == (64, 9, 3, 16, 16)
    assert batch.dtype == torch.uint8
    found = places(batch)
    assert (found[..., 2].diff(dim=1) == 1).all()
    assert (found[..., 1] == found[:, :1, 1]).all()
    strided = places(
        ClipSource(counting_store, {"robot": 1.0}, frames=9, stride=2).batch(0, 8)["frames"]
    )
    assert (strided[..., 2].diff(dim=1) == 2).all()


def test_groups_are_drawn_by_weight(counting_store: EpisodeStore) -> None:
    source = ClipSource(counting_store, WEIGHTS, frames=5, seed=1)
    drawn = places(source.batch(0, 13_000)["frames"])[:, 0, 0]
    counts = Counter(drawn.tolist())
    for group, share in enumerate((1, 2, 10)):
        # Three standard deviations of a binomial share.
        spread = 3 * (share / 13 * (1 - share / 13) / 13_000) ** 0.5
        assert abs(counts[group] / 13_000 - share / 13) < spread


def test_every_window_of_a_group_is_as_likely(counting_store: EpisodeStore) -> None:
    source = ClipSource(counting_store, {"video": 1.0}, frames=9, seed=2)
    found = places(source.batch(0, 20_000)["frames"])[:, 0]
    counts = Counter(map(tuple, found[:, 1:].tolist()))
    lengths = counting_store.group("video").lengths
    windows = sum(length - 8 for length in lengths)
    assert len(counts) == windows  # the first and the last of each are among them
    expected = 20_000 / windows
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < windows + 4 * (2 * windows) ** 0.5


def test_pairs_are_one_to_four_steps_apart(counting_store: EpisodeStore) -> None:
    source = PairSource(counting_store, {"robot": 1.0, "person": 1.0}, seed=5)
    batch = source.batch(7, 4000)["frames"]
    assert batch.shape == (4000, 2, 3, 16, 16)
    found = places(batch)
    assert (found[:, 0, :2] == found[:, 1, :2]).all()
    apart = Counter((found[:, 1, 2] - found[:, 0, 2]).tolist())
    assert sorted(apart) == [1, 2, 3, 4]
    assert min(apart.values()) > 880
    assert torch.equal(
        batch,
        PairSource(counting_store, {"robot": 1.0, "person": 1.0}, seed=5).batch(7, 4000)["frames"],
    )


def test_what_cannot_be_drawn_is_refused(counting_store: EpisodeStore) -> None:
    with pytest.raises(BadInputError, match="frames come as 1 \\+ 4k"):
        ClipSource(counting_store, {"robot": 1.0}, frames=8)
    with pytest.raises(BadInputError, match="No episode of the group 'robot' is long enough"):
        ClipSource(counting_store, {"robot": 1.0}, frames=57)
    with pytest.raises(BadInputError, match="weights above 0"):
        ClipSource(counting_store, {"robot": 0.0}, frames=9)
    with pytest.raises(BadInputError, match="at least one group"):
        ClipSource(counting_store, {}, frames=9)
    with pytest.raises(BadInputError, match="no group 'robots'"):
        ClipSource(counting_store, {"robots": 1.0}, frames=9)
    with pytest.raises(BadInputError, match="cannot be 0 to 4 steps apart"):
        PairSource(counting_store, {"robot": 1.0}, skips=(0, 4))
