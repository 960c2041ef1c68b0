"""Retrieval and probe on latents of which it is known what they hold."""

from pathlib import Path

import numpy as np
import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.reproduction.latent_transfer import (
    CHOICES,
    MOTION,
    Moves,
    Transfer,
    compare_moves,
    write_transfer,
)


def moves(seed: int, mix: np.ndarray, *, noise: float = 0.0, offset: float = 0.0) -> Moves:
    """Moves whose latents are their motion through a matrix, and noise."""
    random = np.random.default_rng(seed)
    motion = random.normal(size=(360, len(MOTION)))
    latents = motion @ mix + noise * random.normal(size=(360, mix.shape[1])) + offset
    return Moves(latents=latents, motion=motion, episodes=np.repeat(np.arange(30), 12))


def bodies(one: np.ndarray, other: np.ndarray, **more: float) -> Transfer:
    return compare_moves(
        {
            "hand": (moves(0, one), moves(1, one)),
            "arm": (moves(2, other, **more), moves(3, other, **more)),
        }
    )


@pytest.fixture
def mix() -> np.ndarray:
    return np.random.default_rng(9).normal(size=(len(MOTION), 16))


def test_latents_that_hold_the_motion_alone_retrieve_and_explain_it(mix: np.ndarray) -> None:
    found = bodies(mix, mix, offset=3.0)  # a constant difference of looks is no hindrance
    assert found.retrieval["hand → arm"].mean > 0.95
    assert found.probe["hand → arm"].mean > 0.99
    assert all(share > 0.99 for share in found.parts["arm → hand"].values())
    assert found.moves == {"hand": 360, "arm": 360}


def test_latents_of_another_meaning_do_within_a_body_and_not_between(mix: np.ndarray) -> None:
    other = np.random.default_rng(10).normal(size=mix.shape)
    found = bodies(mix, -other)
    assert found.retrieval["arm → arm"].mean > 0.95
    assert found.retrieval["hand → arm"].high < 0.6
    assert found.probe["arm → arm"].mean > 0.99
    assert found.probe["hand → arm"].high < 0.5


def test_latents_of_noise_are_at_chance(mix: np.ndarray) -> None:
    found = bodies(mix, 0 * mix, noise=1.0)
    share = found.retrieval["hand → arm"]
    assert share.low < 1 / CHOICES < share.high
    assert found.probe["arm → arm"].mean < 0.1


def test_the_same_moves_give_the_same_figures(mix: np.ndarray, tmp_path: Path) -> None:
    first, second = bodies(mix, mix, noise=0.5), bodies(mix, mix, noise=0.5)
    assert write_transfer(first, tmp_path / "a") == write_transfer(second, tmp_path / "b")
    for name in ("latent_transfer.json", "latent_transfer.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_moves_without_their_like_are_too_few(mix: np.ndarray) -> None:
    still = moves(0, mix)
    still = Moves(latents=still.latents, motion=0 * still.motion, episodes=still.episodes)
    with pytest.raises(BadInputError, match="compare more episodes"):
        compare_moves({"hand": (still, still), "arm": (moves(1, mix), moves(2, mix))})
