"""Whether a model does what the action says: futures that share a state and differ in action.

A simulator can be rewound, so one state has several true futures. A model that predicts their
mean ties a correct but noisy one on PSNR, but it cannot answer differently to different
actions; these metrics look at the differences between its branches.

Everything follows from inner products of predictions and truths of one frame, which are kept
and not the frames, so a rollout is scored as it streams. On uint8 frames the products are
whole numbers that float64 holds exactly: ties are ties, and identical truths are seen as such.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dojobench.metrics.frames import LEVELS, check_frames, check_pair, to_levels
from dojobench.metrics.psnr import MSE_FLOOR, mean_squared_error, psnr

Matrix = npt.NDArray[np.float64]

_ROUNDING = 1e-11
"""Share of the frames' energy below which a squared distance of float frames is rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BranchScores:
    """What a group of branches scored.

    Attributes:
        values: One number a metric; ``docs/metrics/counterfactual.md`` explains each.
        curves: One number a frame: ``cf_psnr``, ``effect_gain`` (NaN while the truths agree).
        not_computed: For each metric without a number, the sentence that stands in its place.
        counts: How many ``branches`` and ``pairs`` there are, how many of them are left out
            because their truths are identical (``branches_alike``, ``pairs_alike``) and how
            many true futures never leave the context frame (``branches_still``).
        distance: Mean squared error of prediction ``i`` against truth ``j``, ``[K, K]``.
        cosine: Effect cosine of each pair, ``[K, K]``; NaN where undefined.
        gain: Effect gain of each pair, ``[K, K]``; NaN where undefined.
    """

    values: dict[str, float]
    curves: dict[str, list[float]]
    not_computed: dict[str, str]
    counts: dict[str, int]
    distance: Matrix
    cosine: Matrix
    gain: Matrix


class _Effects(NamedTuple):
    """Inner products of branch differences, each ``[..., K, K]`` over pairs ``(A, B)``."""

    product: Matrix
    """``<p^A - p^B, x^A - x^B>``."""
    predicted: Matrix
    """``|p^A - p^B|^2``."""
    true: Matrix
    """``|x^A - x^B|^2``."""


class CounterfactualScorer:
    """Scores one group of branches, a chunk of frames at a time.

    Example:
        >>> truth = torch.zeros(2, 3, 3, 8, 8, dtype=torch.uint8)
        >>> truth[0, :, :, :, :4], truth[1, :, :, :, 4:] = 200, 200
        >>> scorer = CounterfactualScorer(torch.zeros(3, 8, 8, dtype=torch.uint8))
        >>> scorer.update(truth // 2, truth)
        >>> scores = scorer.finish()
        >>> scores.values["effect_cosine"], scores.values["effect_gain"]
        (1.0, 0.5)
    """

    def __init__(self, last_context: torch.Tensor, *, factual: int | None = 0) -> None:
        """Starts a group.

        Args:
            last_context: The shared frame before the branch, ``[channels, height, width]``,
                uint8 or floating point in 0 to 1.
            factual: Which branch is like the training data; the others are counterfactual.
                ``None`` where none is, and then all count as counterfactual.
        """
        check_frames(last_context, "the context frame")
        if last_context.ndim != 3:
            raise ValueError(
                f"the context frame has shape {list(last_context.shape)}; give one frame, "
                "[channels, height, width]."
            )
        self._context = last_context
        self._factual = factual
        self._grams: list[Matrix] = []
        self._branches = 0
        # Sums of products of whole numbers below 2^53 are exact in any order.
        self._rounding = 0.0 if last_context.dtype == torch.uint8 else _ROUNDING

    def update(self, predictions: torch.Tensor, truths: torch.Tensor) -> None:
        """Adds the next frames of every branch.

        Args:
            predictions: ``[branches, time, channels, height, width]``, of the context's dtype.
            truths: The same shape and dtype.

        Raises:
            ValueError: If the shapes do not fit, or there are fewer than two branches.
        """
        check_pair(predictions, truths)
        if predictions.ndim != 5 or predictions.shape[2:] != self._context.shape:
            raise ValueError(
                f"the predictions have shape {list(predictions.shape)} and the context frame "
                f"{list(self._context.shape)}; give [branches, time, channels, height, width]."
            )
        branches = predictions.shape[0]
        if branches < 2 or branches != (self._branches or branches):
            raise ValueError(f"there are {branches} branches; give two or more, always as many.")
        if self._factual is not None and not 0 <= self._factual < branches:
            raise ValueError(f"the factual branch is {self._factual}, of {branches} branches.")
        self._branches = branches
        for step in range(predictions.shape[1]):
            rows = torch.cat([predictions[:, step], truths[:, step], self._context[None]])
            levels = to_levels(rows).flatten(1).to(torch.float64)
            self._grams.append((levels @ levels.T).cpu().numpy())

    def finish(self) -> BranchScores:
        """Ends the group and gives its scores.

        Raises:
            ValueError: If there was no frame.
        """
        if not self._grams:
            raise ValueError("no frame was scored; give update at least one frame a branch.")
        white = self._context.numel() * LEVELS**2
        return _scores(np.stack(self._grams), self._branches, self._factual, white, self._rounding)


def score_branches(
    predictions: torch.Tensor,
    truths: torch.Tensor,
    last_context: torch.Tensor,
    *,
    factual: int | None = 0,
) -> BranchScores:
    """Scores one group of branches that lies in memory.

    Args:
        predictions: ``[branches, time, channels, height, width]``, uint8 or floating point.
        truths: The same shape and dtype.
        last_context: The shared frame before the branch, ``[channels, height, width]``.
        factual: As for `CounterfactualScorer`.

    Returns:
        The scores.

    Raises:
        ValueError: If the frames cannot be compared.
    """
    scorer = CounterfactualScorer(last_context, factual=factual)
    scorer.update(predictions, truths)
    return scorer.finish()


def shuffle_drop(prediction: torch.Tensor, shuffled: torch.Tensor, truth: torch.Tensor) -> float:
    """Measures what a model loses when it is given the wrong actions.

    Args:
        prediction: Frames under the true actions, ``[..., channels, height, width]``.
        shuffled: Frames under shuffled (zero, another episode's) actions, the same shape.
        truth: The true frames, the same shape.

    Returns:
        PSNR under the true actions minus PSNR under the others, frame-mean, dB. 0: the model
        ignores its actions; negative: it does better with wrong ones.

    Raises:
        ValueError: If the frames cannot be compared.
    """
    return float(psnr(prediction, truth) - psnr(shuffled, truth))


def action_sensitivity(prediction: torch.Tensor, changed: torch.Tensor) -> float:
    """Measures how far the frames move when only the actions change.

    Args:
        prediction: Frames under one action sequence, ``[..., channels, height, width]``.
        changed: Frames under another, from the same state and seed, the same shape.

    Returns:
        Root mean squared difference on the scale 0 to 1. Only to be read beside the same number
        of the true futures: much is not good in itself, noise has it too.

    Raises:
        ValueError: If the frames cannot be compared.
    """
    return math.sqrt(float(mean_squared_error(prediction, changed).mean()))


def _scores(
    grams: Matrix, k: int, factual: int | None, white: float, rounding: float
) -> BranchScores:
    """Makes the scores of ``k`` branches.

    Args:
        grams: Inner products of predictions, truths and context, ``[T, 2K + 1, 2K + 1]``.
        k: Number of branches.
        factual: The branch like the training data.
        white: Squared norm of a white frame.
        rounding: Share of the energy below which a squared distance is rounding.
    """
    squares = np.diagonal(grams, axis1=1, axis2=2)
    raw = squares[:, :, None] + squares[:, None, :] - 2 * grams
    raw = np.where(raw <= rounding * squares.max(), 0.0, raw)
    errors, static = raw[:, :k, k : 2 * k] / white, raw[:, 2 * k, k : 2 * k] / white
    effects = _effects(grams, raw, k)
    total = _Effects(*(part.sum(axis=0) for part in effects))
    alike = total.true == 0
    cosine, gain = _pairwise(total)
    distance = raw[:, :k, k : 2 * k].sum(axis=0)
    values = _fidelity(errors, static, factual) | _pooled_effect(total)
    values["branch_drop"] = _branch_drop(errors, alike)
    values |= _choices(distance, alike, tie=rounding * float(squares.max()) * len(grams))
    missing = {name: _REASONS[name] for name, value in values.items() if math.isnan(value)}
    if factual is None:
        missing |= dict.fromkeys(_FACTUAL, "not computed: no branch is named as the factual one")
    return BranchScores(
        values={name: value for name, value in values.items() if not math.isnan(value)},
        curves=_curves(errors, effects, factual),
        not_computed=missing,
        counts={
            "branches": k,
            "branches_alike": int((alike.sum(axis=1) > 1).sum()),
            "branches_still": int((static.sum(axis=0) == 0).sum()),
            "pairs": k * (k - 1) // 2,
            "pairs_alike": int(np.triu(alike, 1).sum()),
        },
        distance=distance / (white * len(grams)),
        cosine=cosine,
        gain=gain,
    )


_FACTUAL = ("factual_psnr", "factual_skill", "cf_gap")
_STILL = "not computed: the true futures never leave the context frame"
_ALIKE = "not computed: the true futures of all branches are identical"
_REASONS = (
    dict.fromkeys(("cf_skill", "factual_skill", "cf_gap"), _STILL)
    | dict.fromkeys(("effect_cosine", "effect_gain", "choice_2afc", "branch_drop"), _ALIKE)
    | dict.fromkeys(
        ("retrieval", "retrieval_chance", "mrr"),
        "not computed: each true future has an identical twin",
    )
)


def _effects(grams: Matrix, distances: Matrix, k: int) -> _Effects:
    """Turns inner products of frames into those of branch differences, ``[T, K, K]`` each."""
    cross = grams[:, :k, k : 2 * k]
    own = np.diagonal(cross, axis1=1, axis2=2)
    product = own[:, :, None] + own[:, None, :] - cross - cross.transpose(0, 2, 1)
    predicted, true = distances[:, :k, :k], distances[:, k : 2 * k, k : 2 * k]
    product = np.where((predicted == 0) | (true == 0), 0.0, product)
    return _Effects(product, predicted, true)


def _pairwise(effects: _Effects) -> tuple[Matrix, Matrix]:
    """Effect cosine and gain of each pair; a model without any effect has cosine 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = effects.product / np.sqrt(effects.predicted * effects.true)
        gain = effects.product / effects.true
    cosine = np.where((effects.predicted == 0) & (effects.true > 0), 0.0, cosine)
    return np.clip(cosine, -1, 1), gain


def _pooled_effect(effects: _Effects) -> dict[str, float]:
    """Cosine and gain over all pairs at once, so that pairs weigh by the size of their effect."""
    product, predicted, true = (float(part.sum()) for part in effects)
    if true == 0:
        return {"effect_cosine": math.nan, "effect_gain": math.nan}
    cosine = product / math.sqrt(predicted * true) if predicted > 0 else 0.0
    return {"effect_cosine": min(1.0, max(-1.0, cosine)), "effect_gain": product / true}


def _fidelity(errors: Matrix, static: Matrix, factual: int | None) -> dict[str, float]:
    """PSNR and skill of the factual branch and of the counterfactual ones."""
    k = errors.shape[1]
    own = np.diagonal(errors, axis1=1, axis2=2)
    decibels = _decibels(errors).mean(axis=0)
    moved = static.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        skill = np.where(moved > 0, 1 - own.sum(axis=0) / moved, np.nan)
    cf = np.array([b for b in range(k) if b != factual])
    values = {
        "cf_psnr": float(np.diag(decibels)[cf].mean()),
        "cf_skill": _known_mean(skill[cf]),
    }
    if factual is not None:
        values["factual_psnr"] = float(decibels[factual, factual])
        values["factual_skill"] = float(skill[factual])
        values["cf_gap"] = values["factual_skill"] - values["cf_skill"]
    return values


def _branch_drop(errors: Matrix, alike: npt.NDArray[np.bool_]) -> float:
    """PSNR lost when each true future is met with the predictions for another branch's actions."""
    decibels = _decibels(errors).mean(axis=0)
    drops = [
        decibels[truth, truth] - decibels[~alike[truth], truth].mean()
        for truth in range(len(alike))
        if not alike[truth].all()
    ]
    return float(np.mean(drops)) if drops else math.nan


def _choices(distance: Matrix, alike: npt.NDArray[np.bool_], *, tie: float) -> dict[str, float]:
    """Two-way choice, K-way retrieval and mean reciprocal rank; ties count as fractions."""
    k = len(distance)
    right = np.diag(distance)[:, None]
    won = np.where(np.abs(distance - right) <= tie, 0.5, (right < distance).astype(float))
    choice = float(won[~alike].mean()) if (~alike).any() else math.nan
    # Identical truths are one future: the first of each kind stands for it. A branch with a
    # twin is not asked for, because nobody can tell which of the two was meant.
    first = np.array([not alike[j, :j].any() for j in range(k)])
    asked = np.flatnonzero(alike.sum(axis=1) == 1)
    futures = int(first.sum())
    if len(asked) == 0:
        return dict.fromkeys(("retrieval", "retrieval_chance", "mrr"), math.nan) | {
            "choice_2afc": choice
        }
    hits, ranks = [], []
    for branch in asked:
        others = first & (np.arange(k) != branch)
        gaps = distance[branch, others] - distance[branch, branch]
        closer, tied = int((gaps < -tie).sum()), int((np.abs(gaps) <= tie).sum())
        places = np.arange(closer + 1, closer + tied + 2)
        hits.append(float(closer == 0) / (tied + 1))
        ranks.append(float((1 / places).mean()))
    return {
        "choice_2afc": choice,
        "retrieval": float(np.mean(hits)),
        "retrieval_chance": 1 / futures,
        "mrr": float(np.mean(ranks)),
    }


def _curves(errors: Matrix, effects: _Effects, factual: int | None) -> dict[str, list[float]]:
    cf = [b for b in range(errors.shape[1]) if b != factual]
    own = np.diagonal(errors, axis1=1, axis2=2)[:, cf]
    product, true = effects.product.sum(axis=(1, 2)), effects.true.sum(axis=(1, 2))
    gain = np.divide(product, true, out=np.full_like(true, np.nan), where=true > 0)
    return {"cf_psnr": _decibels(own).mean(axis=1).tolist(), "effect_gain": gain.tolist()}


def _decibels(errors: Matrix) -> Matrix:
    return -10 * np.log10(np.maximum(errors, MSE_FLOOR))


def _known_mean(values: Matrix) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
