"""Action lag: by how many frames a model's response trails the true one.

A model that shifts its actions by a few steps moves rightly but late, and scores like one that
moves wrongly. Here predictions are compared with the truth at every shift, and the shift that
explains them best is the lag, if it stands out: blocks of time are resampled, and where another
shift wins too often, or motion is periodic, or there is no response, the answer is that nobody
can tell, with the shifts that remain.

The response is either the difference that actions make (between branches, which is sharp), or
the motion energy of single rollouts (for real clips, which have no branches).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from dojobench.metrics.bootstrap import resample_counts
from dojobench.metrics.frames import LEVELS, check_pair, to_levels

Array = npt.NDArray[np.float64]

_BLOCKS = 12
"""Blocks of time that a rollout is cut into for resampling."""
_LEAST_FRAMES = 8
"""Frames that must be left to compare at every shift."""
_SIDE = 32
"""Branch differences are averaged down to at most this many pixels a side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LagConfig:
    """How a lag is looked for, and when it is believed.

    Attributes:
        max_lag: Greatest delay tried, in frames.
        max_lead: Greatest lead tried: a response before its cause speaks of a leak.
        least_correlation: Below this no shift explains the response.
        confidence: Share of the resamples in which the best shift has to win.
        resamples: Resamples of the blocks of time.
        seed: Seed of the resampling.
    """

    max_lag: int = 16
    max_lead: int = 2
    least_correlation: float = 0.1
    confidence: float = 0.95
    resamples: int = 500
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LagEstimate:
    """The lag, or why there is none.

    Attributes:
        lag: Frames by which the prediction trails the truth: 0 is right, negative leads; ``None``
            where it cannot be told.
        correlation: Correlation at the best shift, -1 to 1; NaN without a response.
        lags: The shifts that were tried.
        curve: Correlation at each of them.
        candidates: The shifts that cannot be ruled out; one where the lag is known.
        reason: Empty, or one sentence that says why there is no lag.
        rollouts: How many rollouts (or pairs of branches) were compared.
    """

    lag: int | None
    correlation: float
    lags: list[int]
    curve: list[float]
    candidates: list[int]
    reason: str
    rollouts: int


class _Blocks(NamedTuple):
    """Sums over one block of time at each shift, ``[blocks, shifts]``."""

    cross: Array
    predicted: Array
    true: Array


class LagEstimator:
    """Collects rollouts, then estimates one lag for all of them."""

    def __init__(self, config: LagConfig | None = None) -> None:
        """Starts without rollouts."""
        self._config = config or LagConfig()
        if self._config.max_lag < 0 or self._config.max_lead < 0:
            raise ValueError("max_lag and max_lead count frames, and are at least 0.")
        self._blocks: list[_Blocks] = []
        self._rollouts = 0
        self._short = 0

    def add_motion(self, prediction: npt.ArrayLike, truth: npt.ArrayLike) -> None:
        """Adds the motion energies of one rollout.

        Args:
            prediction: One number a frame, ``[T]``.
            truth: The same of the truth, ``[T]``.

        Raises:
            ValueError: If the curves differ in length or are not finite.
        """
        p, x = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
        if p.ndim != 1 or p.shape != x.shape:
            raise ValueError(f"curves of shapes {p.shape} and {x.shape} cannot be compared.")
        if not (np.isfinite(p).all() and np.isfinite(x).all()):
            raise ValueError("a motion curve holds values that are not finite.")
        self._add((p - p.mean())[:, None], (x - x.mean())[:, None])

    @torch.no_grad()
    def add_branches(self, predictions: torch.Tensor, truths: torch.Tensor) -> None:
        """Adds one group of branches: the differences that their actions make, pair by pair.

        What counts is how the difference between two branches changes from frame to frame, so
        that an object that was moved once does not answer at every later shift.

        Args:
            predictions: ``[branches, time, channels, height, width]``, uint8 or floating point.
            truths: The same shape and dtype.

        Raises:
            ValueError: If the frames cannot be compared or there are fewer than two branches.
        """
        check_pair(predictions, truths)
        if predictions.ndim != 5 or len(predictions) < 2:
            raise ValueError(
                f"the predictions have shape {list(predictions.shape)}; give two or more "
                "branches, [branches, time, channels, height, width]."
            )
        p, x = _small(predictions), _small(truths)
        for a in range(len(p)):
            for b in range(a + 1, len(p)):
                self._add(np.diff(p[a] - p[b], axis=0), np.diff(x[a] - x[b], axis=0))

    def estimate(self) -> LagEstimate:
        """Estimates the lag of everything that was added."""
        config = self._config
        lags = list(range(-config.max_lead, config.max_lag + 1))
        if not self._blocks:
            reason = (
                f"no rollout is longer than {config.max_lag + config.max_lead + _LEAST_FRAMES} "
                "frames, which these shifts need"
                if self._short
                else "nothing was compared"
            )
            return _unknown(lags, [], reason, 0)
        blocks = _Blocks(*(np.concatenate(part) for part in zip(*self._blocks, strict=True)))
        if blocks.true.sum() == 0:
            return _unknown(lags, [], "the truth does not respond to its actions", self._rollouts)
        if blocks.predicted.sum() <= 1e-12 * blocks.true.sum():
            reason = "the prediction does not respond to its actions"
            return _unknown(lags, [], reason, self._rollouts)
        curve = _correlations(blocks, np.ones((1, len(blocks.cross))))[0]
        drawn = _correlations(
            blocks, resample_counts(len(blocks.cross), config.resamples, config.seed)
        )
        wins = (drawn >= drawn.max(axis=1, keepdims=True) - 1e-9).mean(axis=0)
        return _judge(curve, wins, lags, config, self._rollouts)

    def _add(self, predicted: Array, true: Array) -> None:
        """Adds a response of any width, ``[T, D]`` each."""
        lead, lag = self._config.max_lead, self._config.max_lag
        start, stop = lead, len(true) - lag  # frames of the truth with a partner at every shift
        if stop - start < _LEAST_FRAMES:
            self._short += 1
            return
        self._rollouts += 1
        energy = np.square(predicted).sum(axis=1)
        shifts = range(-lead, lag + 1)
        cross = np.stack(
            [(predicted[start + s : stop + s] * true[start:stop]).sum(axis=1) for s in shifts], 1
        )
        moved = np.stack([energy[start + s : stop + s] for s in shifts], axis=1)
        own = np.repeat(np.square(true[start:stop]).sum(axis=1)[:, None], len(shifts), axis=1)
        starts = np.unique(np.linspace(0, stop - start, _BLOCKS + 1).astype(int)[:-1])
        self._blocks.append(_Blocks(*(np.add.reduceat(v, starts) for v in (cross, moved, own))))


def _judge(
    curve: Array, wins: Array, lags: list[int], config: LagConfig, rollouts: int
) -> LagEstimate:
    """Believes the best shift, or says why not."""
    best = int(curve.argmax())
    candidates = [lag for lag, share in zip(lags, wins, strict=True) if share > 0.025]
    if curve[best] < config.least_correlation:
        reason = f"no shift explains the response: the best correlates {curve[best]:.2f}"
        return _unknown(lags, curve.tolist(), reason, rollouts, candidates, float(curve[best]))
    rivals = np.flatnonzero(wins > 1 - config.confidence)
    if wins[best] < config.confidence or len(rivals) > 1:
        named = ", ".join(map(str, candidates))
        reason = f"shifts of {named} frames explain the response about as well"
        return _unknown(lags, curve.tolist(), reason, rollouts, candidates, float(curve[best]))
    return LagEstimate(
        lag=lags[best], correlation=float(curve[best]), lags=lags, curve=curve.tolist(),
        candidates=[lags[best]], reason="", rollouts=rollouts,
    )  # fmt: skip


def _unknown(
    lags: list[int],
    curve: list[float],
    reason: str,
    rollouts: int,
    candidates: list[int] | None = None,
    correlation: float = float("nan"),
) -> LagEstimate:
    return LagEstimate(
        lag=None, correlation=correlation, lags=lags, curve=curve, candidates=candidates or [],
        reason=reason, rollouts=rollouts,
    )  # fmt: skip


def _correlations(blocks: _Blocks, counts: Array) -> Array:
    """Correlation at each shift for each weighting of the blocks, ``[B, shifts]``."""
    cross, predicted, true = (counts @ part for part in blocks)
    norm = np.sqrt(predicted * true)
    return np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0)


def _small(frames: torch.Tensor) -> Array:
    """Averages frames down and flattens them, ``[branches, time, D]``, scale 0 to 1."""
    height, width = frames.shape[-2:]
    rows = []
    for branch in frames:
        levels = to_levels(branch) / LEVELS
        if max(height, width) > _SIDE:
            size = (min(height, _SIDE), min(width, _SIDE))
            levels = functional.interpolate(levels, size=size, mode="area")
        rows.append(levels.flatten(1).cpu().numpy().astype(np.float64))
    return np.stack(rows)
