"""Batches, each a function of the source's seed and the step alone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.stage import Batch
from dojobench.reference_model.video_tokenizer import latent_frames


class Draw(NamedTuple):
    """Where a sample begins.

    Attributes:
        group: Number of the group.
        episode: Number of the episode within it.
        start: Number of the window's start within the episode.
    """

    group: int
    episode: int
    start: int


class WindowSampler:
    """Draws windows: a group by its weight, then any of its windows alike.

    Args:
        weights: Of each group, above 0; they need not sum to 1.
        starts: Of each group the number of windows that each episode has.
        names: Of the groups, for messages.
        what: What a window needs, for messages.
        seed: Of all chance.

    Raises:
        BadInputError: If a weight is not above 0, or no episode of a group is long enough.
    """

    def __init__(
        self,
        weights: Sequence[float],
        starts: Sequence[Sequence[int]],
        *,
        names: Sequence[str],
        what: str,
        seed: int,
    ) -> None:
        if not names or min(weights) <= 0 or not np.isfinite(weights).all():
            raise BadInputError(
                f"The groups {', '.join(names) or '(none)'} have the weights {tuple(weights)}; "
                "give at least one group, and weights above 0."
            )
        for name, counts in zip(names, starts, strict=True):
            if not sum(counts):
                raise BadInputError(
                    f"No episode of the group '{name}' is long enough for {what}; make longer "
                    "episodes or ask for shorter windows."
                )
        self._odds = np.cumsum(np.asarray(weights, np.float64) / np.sum(weights))
        self._windows = [np.cumsum(np.asarray(counts, np.int64)) for counts in starts]
        self._seed = seed

    def generator(self, step: int) -> np.random.Generator:
        """Gives the random stream of a step."""
        return np.random.default_rng((0x70B0, self._seed, step))

    def draw(self, rng: np.random.Generator, size: int) -> list[Draw]:
        """Draws ``size`` windows."""
        groups = np.searchsorted(self._odds, rng.random(size), side="right")
        groups = groups.clip(max=len(self._odds) - 1)
        places = rng.random(size)
        drawn = []
        for group, place in zip(groups.tolist(), places.tolist(), strict=True):
            ends = self._windows[group]
            window = min(int(place * ends[-1]), int(ends[-1]) - 1)
            episode = int(np.searchsorted(ends, window, side="right"))
            before = int(ends[episode - 1]) if episode else 0
            drawn.append(Draw(group, episode, window - before))
        return drawn


class ClipSource:
    """Clips of pixels, for the tokenizer.

    Args:
        store: Where the episodes are.
        groups: Weight of each group by name.
        frames: Frames of a clip, 1 + 4k.
        seed: Of all chance.
        stride: Recorded frames per frame of a clip.

    Raises:
        BadInputError: If a group does not exist or has no episode long enough, or the number of
            frames is not 1 + 4k.
    """

    def __init__(
        self,
        store: EpisodeStore,
        groups: Mapping[str, float],
        *,
        frames: int,
        seed: int = 0,
        stride: int = 1,
    ) -> None:
        latent_frames(frames)
        self._groups = [store.group(name) for name in groups]
        self._span, self._stride = (frames - 1) * stride + 1, stride
        self._sampler = WindowSampler(
            tuple(groups.values()),
            [[max(0, n - self._span + 1) for n in group.lengths] for group in self._groups],
            names=tuple(groups),
            what=f"clips of {frames} frames",
            seed=seed,
        )

    def batch(self, step: int, size: int) -> Batch:
        """Gives ``frames``, uint8 ``[size, frames, 3, height, width]``; see ``Source.batch``."""
        clips = [
            self._groups[group].frames(episode, start, start + self._span)[:: self._stride]
            for group, episode, start in self._sampler.draw(self._sampler.generator(step), size)
        ]
        return {"frames": torch.from_numpy(np.stack(clips))}


class PairSource:
    """Pairs of frames a few steps apart, for the latent action model.

    Args:
        store: Where the episodes are.
        groups: Weight of each group by name; 1 each is uniform over data sets, as published.
        skips: Least and most steps between the two frames, drawn uniformly (published: 1 to 4).
        seed: Of all chance.

    Raises:
        BadInputError: If a group does not exist or has no episode long enough.
    """

    def __init__(
        self,
        store: EpisodeStore,
        groups: Mapping[str, float],
        *,
        skips: tuple[int, int] = (1, 4),
        seed: int = 0,
    ) -> None:
        if not 1 <= skips[0] <= skips[1]:
            raise BadInputError(
                f"Frames cannot be {skips[0]} to {skips[1]} steps apart; give 1 or more, the "
                "smaller number first."
            )
        self._groups = [store.group(name) for name in groups]
        self._skips = skips
        self._sampler = WindowSampler(
            tuple(groups.values()),
            [[max(0, n - skips[1]) for n in group.lengths] for group in self._groups],
            names=tuple(groups),
            what=f"frames {skips[1]} steps apart",
            seed=seed,
        )

    def batch(self, step: int, size: int) -> Batch:
        """Gives ``frames``, uint8 ``[size, 2, 3, height, width]``; see ``Source.batch``."""
        rng = self._sampler.generator(step)
        drawn = self._sampler.draw(rng, size)
        skips = rng.integers(self._skips[0], self._skips[1] + 1, size).tolist()
        pairs = [
            self._groups[group].frames(episode, start, start + skip + 1)[::skip]
            for (group, episode, start), skip in zip(drawn, skips, strict=True)
        ]
        return {"frames": torch.from_numpy(np.stack(pairs))}
