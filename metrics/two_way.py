"""Intervals for votes, where every rater and every clip brings its own leaning.

Two votes are related if they share a rater or a clip, so neither votes, nor raters, nor clips
are independent units. With 12 raters on 50 clips an interval from "independent" votes holds
the truth about two times in three, one clustered by rater alone nine times in ten
(``docs/metrics/intervals.md``).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from dojobench.metrics.estimate import (
    Array,
    Codes,
    Interval,
    Labels,
    as_values,
    check_level,
    cluster_codes,
    without_spread,
)
from dojobench.metrics.proportions import wilson


class TwoWayVariance(NamedTuple):
    """Variance of a mean under two-way clustering, and its parts."""

    total: float
    """The one to use: ``raters + clips - cells``, but never below either of the first two."""
    raters: float
    clips: float
    cells: float


def two_way_clustered(
    values: npt.ArrayLike,
    raters: Labels,
    clips: Labels,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """Estimates a mean of votes with an interval that is clustered by rater and by clip.

    The variance is that of Cameron, Gelbach and Miller (2011), ``V_r + V_c - V_rc``, each part
    times ``G / (G - 1)``; the quantile is Student's with ``min(raters, clips) - 1`` degrees of
    freedom. That difference can be negative in small designs, and is never taken below
    ``max(V_r, V_c)``.

    Args:
        values: One number per vote, ``[n]``; 0, 1/2 and 1 for a preference.
        raters: Who voted, ``[n]``.
        clips: On what, ``[n]``.
        level: Nominal coverage.
        bounds: Range of a vote, such as ``(0, 1)``. The interval is cut to it, and where all
            votes lie at one end it is Wilson's on the smaller of the two counts.

    Returns:
        The interval, whose ``clusters`` is the smaller of raters and clips. Empty, one vote,
        one rater, one clip, values that are not finite: ends are NaN; all votes equal: ends
        are equal unless ``bounds`` says more. ``method`` says so.

    Raises:
        ValueError: If the lists differ in length, or a vote lies outside the bounds.
    """
    check_level(level)
    array = as_values(values)
    rater_codes, rater_count = cluster_codes(raters, len(array), "raters")
    clip_codes, clip_count = cluster_codes(clips, len(array), "clips")
    fewest, n = min(rater_count, clip_count), len(array)
    if bounds is not None and ((array < bounds[0]) | (array > bounds[1])).any():
        raise ValueError(f"a vote lies outside its bounds {bounds}")
    if n > 1 and np.isfinite(array).all() and fewest == 1:
        only = "rater" if rater_count == 1 else "clip"
        return Interval(
            mean=float(array.mean()), low=math.nan, high=math.nan, n=n, clusters=1, level=level,
            method=f"none: all {n} votes come from one {only}",
        )  # fmt: skip
    if (none := without_spread(array, fewest, level)) is not None:
        return _at_the_end(none, bounds) if bounds is not None else none
    variance = two_way_variance(array, rater_codes, clip_codes).total
    mean = float(array.mean())
    half = float(stdtrit(fewest - 1, (1 + level) / 2)) * math.sqrt(variance)
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(
        mean=mean, low=low, high=high, n=n, clusters=fewest, level=level,
        method=f"two-way: {rater_count} raters, {clip_count} clips",
    )  # fmt: skip


def two_way_variance(values: Array, raters: Codes, clips: Codes) -> TwoWayVariance:
    """Computes the variance of the mean of ``values`` and its three parts.

    Args:
        values: Votes, ``[n]``.
        raters: Codes of the raters, ``[n]``.
        clips: Codes of the clips, ``[n]``.

    Returns:
        The parts, with the small-sample factor in each, and their sum, never too small.
    """
    residual = values - values.mean()
    cells = np.unique(raters * (int(clips.max()) + 1) + clips, return_inverse=True)[1]
    by_rater, by_clip, by_cell = (_cluster_variance(residual, c) for c in (raters, clips, cells))
    total = max(by_rater + by_clip - by_cell, by_rater, by_clip)
    return TwoWayVariance(total, by_rater, by_clip, by_cell)


def _cluster_variance(residual: Array, codes: Codes) -> float:
    sums = np.bincount(codes, weights=residual)
    count = len(sums)
    return float(count / (count - 1) * np.square(sums).sum() / len(residual) ** 2)


def _at_the_end(none: Interval, bounds: tuple[float, float]) -> Interval:
    """Widens "all votes at the same end" to what so few raters and clips can show."""
    low, high = bounds
    if none.method.startswith("none:") or none.mean not in bounds:
        return none
    units = none.clusters
    share = wilson(units if none.mean == high else 0, units, level=none.level)
    return Interval(
        mean=none.mean, low=low + (high - low) * share.low, high=low + (high - low) * share.high,
        n=none.n, clusters=units, level=none.level,
        method=f"wilson on {units} units: all {none.n} votes are equal",
    )  # fmt: skip
