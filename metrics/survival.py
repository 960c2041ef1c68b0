"""The stable horizon: how long rollouts last, when some are never seen to break.

A rollout that does not break within its T seconds is censored there: its time is a lower bound.
Kaplan and Meier's curve uses it as such. The headline is the restricted mean, the expected
time without a break within T: it exists whatever share breaks, unlike the median.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from dojobench.metrics.bootstrap import cluster_bootstrap
from dojobench.metrics.estimate import Array, Interval, Labels, as_values, check_level
from dojobench.metrics.proportions import wilson

Flags = npt.NDArray[np.bool_]


class SurvivalCurve(NamedTuple):
    """Kaplan and Meier's estimate: a step function, at the times where something broke.

    The interval is pointwise, on the scale ``ln(-ln S)``, with Greenwood's variance; where S is
    0 or 1 that scale has none, and the ends are NaN. It takes rollouts for independent.
    """

    times: Array
    """Times of breaks in order, ``[m]``, in the unit of the input."""
    survival: Array
    """Share that lasts beyond each time, ``[m]``; it is 1 before the first."""
    low: Array
    high: Array
    at_risk: npt.NDArray[np.intp]
    """Rollouts still watched just before each time, ``[m]``."""
    broken: npt.NDArray[np.intp]
    """Rollouts that break at each time, ``[m]``."""


def kaplan_meier(
    times: npt.ArrayLike, broken: npt.ArrayLike, *, level: float = 0.95
) -> SurvivalCurve:
    """Estimates the share of rollouts that last beyond each time (Kaplan and Meier 1958).

    Args:
        times: Time of the break, or of the end of watching, ``[n]``, at least 0.
        broken: Whether the break was seen, ``[n]``; where not, the time is censored. A break
            and a censoring at the same time count as in this order.
        level: Nominal pointwise coverage.

    Returns:
        The curve; without rollouts or breaks it has no steps.

    Raises:
        ValueError: If a time is negative or not finite, or the lists differ in length.
    """
    check_level(level)
    array, flags = _read(times, broken)
    steps, lost = np.unique(array[flags], return_counts=True)
    # Of n sorted times, those from the left insertion point on are at least t.
    at_risk = len(array) - np.searchsorted(np.sort(array), steps, side="left")
    survival: Array = np.cumprod(1.0 - lost / at_risk, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(lost / (at_risk * (at_risk - lost)))
        half = float(ndtri((1 + level) / 2)) * np.sqrt(greenwood) / np.abs(np.log(survival))
        low, high = survival ** np.exp(half), survival ** np.exp(-half)
    inner = (survival > 0) & (survival < 1)
    low, high = np.where(inner, low, np.nan), np.where(inner, high, np.nan)
    return SurvivalCurve(steps, survival, low, high, at_risk.astype(np.intp), lost)


def median_horizon(times: npt.ArrayLike, broken: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    """Estimates the time by which half of the rollouts have broken.

    The interval holds the times at which one half lies within the curve's own interval
    (Brookmeyer and Crowley 1982, on the log-log scale). It takes rollouts for independent.

    Args:
        times: As for `kaplan_meier`.
        broken: As for `kaplan_meier`.
        level: Nominal coverage.

    Returns:
        The median. Where fewer than half break it is infinite, as is an end that was not
        reached: "longer than was watched". Without rollouts all is NaN.
    """
    curve = kaplan_meier(times, broken, level=level)
    array, _ = _read(times, broken)
    n = len(array)
    if n == 0:
        return Interval(
            mean=math.nan, low=math.nan, high=math.nan, n=0, clusters=0, level=level,
            method="none: no rollouts",
        )  # fmt: skip
    # Where S is 0 the scale has no ends, but so late the median is surely past.
    upper = np.where(curve.survival == 0, 0.0, curve.high)
    lower = np.where(curve.survival == 0, 0.0, curve.low)
    first = [_first_at_most(curve.times, s, 0.5) for s in (curve.survival, lower, upper)]
    told = "brookmeyer-crowley"
    if math.isinf(first[0]):
        told += " (fewer than half broke: longer than was watched)"
    return Interval(
        mean=first[0], low=first[1], high=first[2], n=n, clusters=n, level=level, method=told
    )


def restricted_mean(times: npt.ArrayLike, broken: npt.ArrayLike, *, horizon: float) -> float:
    """Integrates the survival curve up to a horizon: the expected time without a break.

    Args:
        times: As for `kaplan_meier`.
        broken: As for `kaplan_meier`.
        horizon: Where to stop, in the unit of the times.

    Returns:
        0 to ``horizon``. Where the last rollout is censored before the horizon the curve is
        carried on as it was, which is the upper bound; NaN without rollouts.
    """
    array, flags = _read(times, broken)
    if not horizon > 0:
        raise ValueError(f"horizon is {horizon}, and must be positive.")
    if len(array) == 0:
        return math.nan
    curve = kaplan_meier(array, flags)
    inside = curve.times < horizon
    edges = np.concatenate([[0.0], curve.times[inside], [horizon]])
    heights = np.concatenate([[1.0], curve.survival[inside]])
    return float(heights @ np.diff(edges))


def stable_horizon(
    times: npt.ArrayLike,
    broken: npt.ArrayLike,
    clusters: Labels,
    *,
    horizon: float,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Estimates the restricted mean with an interval that respects episodes: the headline.

    Each rollout is replaced by its pseudo-value, ``n RM - (n - 1) RM without it`` (Andersen,
    Hansen and Klein 2004), whose mean is the restricted mean, so that the clustered interval
    of means applies. Where nothing is censored before the horizon the pseudo-values are
    the times themselves, cut at the horizon.

    Args:
        times: Time to the break or to the end of watching, ``[n]``, in seconds.
        broken: Whether the break was seen, ``[n]``.
        clusters: Episode of each rollout, ``[n]``.
        horizon: Seconds up to which the mean is taken, such as the rollouts' length.
        level: Nominal coverage.
        resamples: As for `dojobench.metrics.intervals.cluster_bootstrap`.
        seed: As there.

    Returns:
        Seconds, within [0, horizon]. Where no rollout breaks within the horizon the upper end is
        the horizon and the lower one what the worst case leaves: Wilson's lower end for the
        share of episodes that last, times the horizon. Other degenerate cases as there.

    Raises:
        ValueError: If the lists differ in length or a time is negative or not finite.
    """
    array, flags = _read(times, broken)
    seen = flags & (array < horizon)
    mean = restricted_mean(array, flags, horizon=horizon)
    pseudo = _pseudo_values(np.minimum(array, horizon), seen, horizon)
    found = cluster_bootstrap(pseudo, clusters, level=level, resamples=resamples, seed=seed)
    low, high, told = found.low, found.high, f"restricted mean, {found.method}"
    if found.method.startswith("none:"):
        told = found.method
    elif not seen.any():
        share = wilson(found.clusters, found.clusters, level=level)
        low, high = share.low * horizon, horizon
        told = f"worst case: none of {found.n} rollouts was seen to break"
    elif found.method.startswith("no spread:"):
        told = found.method
    return Interval(
        mean=mean, low=max(0.0, low) if math.isfinite(low) else low,
        high=min(horizon, high) if math.isfinite(high) else high, n=found.n,
        clusters=found.clusters, level=level, method=told,
    )  # fmt: skip


def _pseudo_values(times: Array, broken: Flags, horizon: float) -> Array:
    """Pseudo-values of the restricted mean; equal rollouts have equal ones and are done once."""
    n = len(times)
    if n < 2:
        return times
    whole = restricted_mean(times, broken, horizon=horizon)
    kinds, first, which = np.unique(
        np.column_stack([times, broken]), axis=0, return_index=True, return_inverse=True
    )
    keep = np.ones(n, dtype=bool)
    values = np.empty(len(kinds))
    for kind, index in enumerate(first):
        keep[index] = False
        left = restricted_mean(times[keep], broken[keep], horizon=horizon)
        values[kind] = n * whole - (n - 1) * left
        keep[index] = True
    return values[which.ravel()]


def _first_at_most(times: Array, survival: Array, share: float) -> float:
    """First time at which the survival is at most a share; infinite if there is none."""
    with np.errstate(invalid="ignore"):
        reached = np.flatnonzero(survival <= share + 1e-12)
    return float(times[reached[0]]) if len(reached) else math.inf


def _read(times: npt.ArrayLike, broken: npt.ArrayLike) -> tuple[Array, Flags]:
    array, flags = as_values(times, "times"), np.asarray(broken, dtype=bool)
    if flags.shape != array.shape:
        raise ValueError(f"broken has shape {flags.shape} for {len(array)} times.")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError("times holds values that are negative or not finite.")
    return array, flags
