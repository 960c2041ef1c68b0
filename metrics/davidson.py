"""Strengths from pairwise votes: Bradley and Terry's model with Davidson's ties.

``P(left) : P(right) : P(tie) = exp(d/2) : exp(-d/2) : exp(t)`` with ``d = s_left - s_right + b``
(Davidson 1970, with the order effect of Davidson and Beaver 1977, in logits). ``b`` is the pull of
the left side and ``exp(t)`` Davidson's nu. A weak normal prior on every parameter keeps the
estimate finite where a model never loses, and says nothing where there are votes. The fit takes
many tables of counts at once, so that a bootstrap is a single call.
"""

from dataclasses import dataclass

import numpy as np

from dojobench.metrics.estimate import Array

MAX_STEP = 2.0
"""No parameter moves further than this in a step, in logits, so that Newton cannot overshoot."""

STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Standard deviations of the normal prior, in logits, all with mean 0.

    Attributes:
        strength: Of a model.
        side: Of the pull of the left side.
        tie: Of the logarithm of Davidson's nu.
    """

    strength: float = 2.0
    side: float = 1.0
    tie: float = 3.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fit:
    """Parameters of one or more tables of counts.

    Attributes:
        parameters: ``[..., M + 2]``: strengths, pull of the left side, logarithm of nu; in logits.
        information: Minus the second derivative at the estimate, prior included,
            ``[..., M + 2, M + 2]``.
        ties: Whether a tie is an outcome; without any tie in the data it is none, and the last
            parameter stays 0.
    """

    parameters: Array
    information: Array
    ties: bool

    @property
    def strengths(self) -> Array:
        """Strengths in logits, ``[..., M]``; only differences mean something."""
        return self.parameters[..., :-2]

    @property
    def covariance(self) -> Array:
        """What the covariance would be if votes were independent, ``[..., M + 2, M + 2]``."""
        return np.asarray(np.linalg.inv(self.information), dtype=np.float64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Expected:
    """What the model expects of a vote on each ordered pair, each ``[..., M, M]``.

    A vote is seen through two numbers: ``x = +1/2, -1/2, 0`` for left, right, tie, and
    ``z = 1`` for a tie, else 0; they are what the likelihood depends on.

    Attributes:
        lean: Mean of ``x``.
        tie: Mean of ``z``.
        lean_variance: Variance of ``x``.
        covariance: Covariance of ``x`` and ``z``.
        tie_variance: Variance of ``z``.
    """

    lean: Array
    tie: Array
    lean_variance: Array
    covariance: Array
    tie_variance: Array


def probabilities(parameters: Array, *, ties: bool = True) -> Array:
    """Gives the chance of each outcome.

    Args:
        parameters: As in `Fit`, ``[..., M + 2]``.
        ties: Whether a tie can happen.

    Returns:
        Chances of left, right and tie by left and right model, ``[..., M, M, 3]``.
    """
    strengths, side, log_nu = parameters[..., :-2], parameters[..., -2], parameters[..., -1]
    lean = strengths[..., :, None] - strengths[..., None, :] + side[..., None, None]
    tie = (
        np.broadcast_to(log_nu[..., None, None], lean.shape)
        if ties
        else np.full_like(lean, -np.inf)
    )
    logits = np.stack([lean / 2, -lean / 2, tie], axis=-1)
    logits -= logits.max(axis=-1, keepdims=True)
    odds = np.exp(logits)
    chances: Array = odds / odds.sum(axis=-1, keepdims=True)
    return chances


def expected(parameters: Array, *, ties: bool = True) -> Expected:
    """Gives the mean and covariance of what the likelihood sees of a vote; see `Expected`."""
    left, right, tie = np.moveaxis(probabilities(parameters, ties=ties), -1, 0)
    lean = (left - right) / 2
    return Expected(
        lean=lean, tie=tie, lean_variance=(left + right) / 4 - lean**2,
        covariance=-lean * tie, tie_variance=tie * (1 - tie),
    )  # fmt: skip


def fit(
    counts: Array,
    *,
    prior: Prior | None = None,
    start: Array | None = None,
    tilt: Array | None = None,
) -> Fit:
    """Finds the parameters by Newton's method; the objective is strictly concave.

    Args:
        counts: Votes by left model, right model and outcome (left, right, tie), as numbers that
            need not be whole, ``[..., M, M, 3]``.
        prior: Default: `Prior`'s own values.
        start: Where to begin, ``[..., M + 2]``.
        tilt: Added to the gradient, ``[M + 2]``: finds where the objective falls away along a
            contrast, which is what a profile interval asks.

    Returns:
        The fit, with the leading axes of ``counts``.

    Raises:
        ValueError: If counts are negative, not finite or of another shape.
    """
    _check(counts)
    ties = bool((counts[..., 2] > 0).any())
    size = counts.shape[-2] + 2
    precision = _precision(prior or Prior(), size)
    parameters = np.zeros((*counts.shape[:-3], size)) if start is None else np.array(start)
    parameters = np.broadcast_to(parameters, (*counts.shape[:-3], size)).copy()
    total = counts.sum(axis=-1)
    for _ in range(STEPS):
        gradient, information = _derivatives(counts, total, parameters, precision, ties)
        if tilt is not None:
            gradient += tilt
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        widest = np.abs(step).max(axis=-1, keepdims=True)
        parameters += step * np.minimum(1.0, MAX_STEP / np.maximum(widest, 1e-300))
        if widest.max(initial=0.0) < 1e-9:
            break
    information = _derivatives(counts, total, parameters, precision, ties)[1]
    return Fit(parameters=parameters, information=information, ties=ties)


def objective(found: Fit, counts: Array, *, prior: Prior | None = None) -> Array:
    """Gives the penalised log likelihood at a fit's parameters, ``[...]``."""
    chances = probabilities(found.parameters, ties=found.ties)
    votes = np.where(counts > 0, counts * np.log(np.where(counts > 0, chances, 1.0)), 0.0)
    precision = _precision(prior or Prior(), counts.shape[-2] + 2)
    penalty = (np.square(found.parameters) * precision).sum(axis=-1) / 2
    return np.asarray(votes.sum(axis=(-3, -2, -1)) - penalty, dtype=np.float64)


def profile_end(
    counts: Array, weights: Array, deviance: float, side: int, *, prior: Prior | None = None
) -> float:
    """Finds an end of the profile likelihood's interval of a contrast, prior included.

    Args:
        counts: One table of votes, ``[M, M, 3]``.
        weights: Weights of the parameters in the contrast, ``[M + 2]``.
        deviance: How far twice the log likelihood may fall: a quantile of chi-squared.
        side: -1 for the lower end, +1 for the upper.
        prior: As in `fit`.

    Returns:
        The end, in logits.
    """
    best = fit(counts, prior=prior)
    top = float(objective(best, counts, prior=prior))

    def at(push: float) -> tuple[float, float]:
        found = fit(counts, prior=prior, start=best.parameters, tilt=side * push * weights)
        fall = 2 * (top - float(objective(found, counts, prior=prior)))
        return fall, float(found.parameters @ weights)

    low, high = 0.0, 1.0
    while at(high)[0] < deviance:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[0] < deviance else (low, middle)
    return at(high)[1]


def _derivatives(
    counts: Array, total: Array, parameters: Array, precision: Array, ties: bool
) -> tuple[Array, Array]:
    """Gives the gradient and minus the second derivative of the penalised log likelihood."""
    models = counts.shape[-2]
    seen = expected(parameters, ties=ties)
    lean = (counts[..., 0] - counts[..., 1]) / 2 - total * seen.lean
    gradient = -parameters * precision
    gradient[..., :models] += lean.sum(axis=-1) - lean.sum(axis=-2)
    gradient[..., models] += lean.sum(axis=(-2, -1))
    gradient[..., models + 1] += (counts[..., 2] - total * seen.tie).sum(axis=(-2, -1))
    return gradient, information_of(total, seen) + np.diag(precision)


def information_of(total: Array, seen: Expected) -> Array:
    """Gives Fisher's information of votes.

    Args:
        total: Votes by left and right model, ``[..., M, M]``.
        seen: What the model expects of a vote.

    Returns:
        The matrix, ``[..., M + 2, M + 2]``.
    """
    models = total.shape[-1]
    weight = total * seen.lean_variance
    found = np.zeros((*total.shape[:-2], models + 2, models + 2))
    # A difference of strengths: the graph's Laplacian, weighted by each pair's information.
    found[..., :models, :models] = -(weight + np.swapaxes(weight, -1, -2))
    each = np.arange(models)
    found[..., each, each] += weight.sum(axis=-1) + weight.sum(axis=-2)
    side = weight.sum(axis=-1) - weight.sum(axis=-2)
    found[..., :models, models] = found[..., models, :models] = side
    found[..., models, models] = weight.sum(axis=(-2, -1))
    both = total * seen.covariance
    lean = both.sum(axis=-1) - both.sum(axis=-2)
    found[..., :models, models + 1] = found[..., models + 1, :models] = lean
    found[..., models, models + 1] = found[..., models + 1, models] = both.sum(axis=(-2, -1))
    found[..., models + 1, models + 1] = (total * seen.tie_variance).sum(axis=(-2, -1))
    return found


def _precision(prior: Prior, size: int) -> Array:
    deviations = np.full(size, prior.strength)
    deviations[-2:] = prior.side, prior.tie
    if not (deviations > 0).all():
        raise ValueError("the prior's standard deviations must be above 0")
    precision: Array = 1.0 / np.square(deviations)
    return precision


def _check(counts: Array) -> None:
    shape = counts.shape
    if len(shape) < 3 or shape[-1] != 3 or shape[-2] != shape[-3]:
        raise ValueError(f"counts have shape {shape}, and must have [models, models, 3]")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("counts must be finite numbers of at least 0")
