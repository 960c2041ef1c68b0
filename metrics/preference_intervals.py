"""Intervals for votes of a dozen raters: clustered by rater and by clip, and honest about both.

Two votes are related if they share a rater or a clip, so the variance of anything made from votes
is ``V_raters + V_clips - V_cells`` (Cameron, Gelbach and Miller 2011). With a dozen raters three
refinements decide whether a nominal 95 % is one; each was chosen by simulation
(``docs/measurements.d/preferences.md``):

* raters who voted much weigh their own mean towards themselves, which is undone by dividing by
  one minus their share (the bias-reduced "CR2" of Bell and McCaffrey 2002);
* each part has the degrees of freedom that its few and unequal clusters leave it (theirs, too),
  and the sum has Satterthwaite's;
* where raters and clips add nothing that can be told from noise, the variance is that of
  independent votes. Taking the larger of the two one-way variances instead, as is often done,
  covers 98 to 99 % there.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from dojobench.metrics.estimate import (
    Array,
    Codes,
    Interval,
    Labels,
    as_values,
    check_level,
    cluster_codes,
)
from dojobench.metrics.proportions import wilson

NOISE = 0.25
"""An excess over independent votes below so many of its own standard deviations is noise."""

_FULL = 1 - 1e-9


class OneWay(NamedTuple):
    """Variance of an estimate when clusters of one kind are the independent units."""

    variance: Array
    """``[K]``; NaN where a single cluster decides the estimate."""
    freedom: Array
    """Degrees of freedom of that variance, ``[K]``."""


class TwoWay(NamedTuple):
    """Variance of an estimate under two-way clustering."""

    variance: Array
    """``[K]``; NaN where a single rater or clip decides the estimate."""
    freedom: Array
    """Degrees of freedom for Student's quantile, ``[K]``."""
    raters: Array
    """The raters' part, ``[K]``."""
    clips: Array
    """The clips' part, ``[K]``."""


def one_way(sums: Array, shares: Array) -> OneWay:
    """Estimates a variance from what each cluster adds to an estimate.

    Args:
        sums: Sum of the influences of each cluster's votes on each of K estimates, ``[G, K]``.
        shares: Share of each cluster in the information on each estimate, ``[G, K]``; columns
            sum to 1. For a mean it is the share of votes.

    Returns:
        The bias-reduced variance and Bell and McCaffrey's degrees of freedom for it, where
        independent votes are the working model.
    """
    alone = (shares > _FULL).any(axis=0)
    rest = np.where(alone, 1.0, 1 - shares)
    squares = np.square(shares)
    trace = squares.sum(axis=0) + np.square((squares / rest).sum(axis=0))
    trace -= (np.square(squares) / np.square(rest)).sum(axis=0)
    with np.errstate(divide="ignore"):
        variance = np.where(alone, np.nan, (np.square(sums) / rest).sum(axis=0))
        freedom = np.where(alone, np.nan, 1.0 / trace)
    return OneWay(variance, freedom)


def two_way(raters: OneWay, clips: OneWay, cells: Array, floor: Array, count: int) -> TwoWay:
    """Joins the variances by rater and by clip.

    Args:
        raters: Variance when raters are the units.
        clips: Variance when clips are the units.
        cells: Variance when each combination of both is a unit of its own, ``[K]``.
        floor: Never less than this, ``[K]``: the variance of independent votes.
        count: How many such combinations there are.

    Returns:
        The variance with its degrees of freedom.
    """
    total = raters.variance + clips.variance - cells
    noise = np.sqrt(2 / raters.freedom + 2 / clips.freedom)
    seen = total > floor * (1 + NOISE * noise)
    variance = np.where(seen, total, floor)
    parts = np.square(raters.variance) / raters.freedom + np.square(clips.variance) / clips.freedom
    many = max(count - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.square(variance) / (parts + np.square(cells) / many)
    freedom = np.where(seen, freedom, float(many))
    unknown = np.isnan(raters.variance) | np.isnan(clips.variance)
    return TwoWay(
        np.where(unknown, np.nan, variance), np.where(unknown, np.nan, freedom),
        raters.variance, clips.variance,
    )  # fmt: skip


def quantile(level: float, freedom: Array) -> Array:
    """Gives Student's two-sided quantile for each number of degrees of freedom."""
    found: Array = np.asarray(stdtrit(np.maximum(freedom, 1.0), (1 + level) / 2))
    return found


def rate_interval(values: Array, raters: Labels, clips: Labels, *, level: float = 0.95) -> Interval:
    """Estimates a rate of votes: wins with ties as halves, right answers, votes for the left.

    Wilson's formula at the effective number of votes, which is what independent votes would have
    to be to give the two-way clustered variance, with Student's quantile.

    Args:
        values: One number in [0, 1] per vote, ``[n]``.
        raters: Who voted, ``[n]``.
        clips: On what, ``[n]``.
        level: Nominal coverage.

    Returns:
        The interval within [0, 1]. All votes at one end: Wilson's on the smaller of the counts of
        raters and clips. All ties: as wide as decided votes that these would not have shown.
        No votes, one rater, one clip: ends are NaN. ``method`` says so.

    Raises:
        ValueError: If a value lies outside [0, 1] or lists differ in length.
    """
    check_level(level)
    array = as_values(values)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError("values of a rate must lie in [0, 1]")
    n = len(array)
    rater_codes, rater_count = cluster_codes(raters, n, "raters")
    clip_codes, clip_count = cluster_codes(clips, n, "clips")
    fewest = min(rater_count, clip_count)
    why = _why_none(n, rater_count, clip_count)
    if why:
        mean = float(array.mean()) if n else math.nan
        return Interval(
            mean=mean, low=math.nan, high=math.nan, n=n, clusters=fewest, level=level, method=why
        )
    if np.ptp(array) == 0:
        return _all_equal(float(array[0]), n, fewest, level)
    found = _mean_variance(array, rater_codes, clip_codes, clip_count)
    mean, variance = float(array.mean()), float(found.variance[0])
    factor = float(quantile(level, found.freedom)[0])
    low, high = _score_ends(mean, mean * (1 - mean) / variance, factor)
    return Interval(
        mean=mean, low=low, high=high, n=n, clusters=fewest, level=level,
        method=f"two-way: {rater_count} raters, {clip_count} clips",
    )  # fmt: skip


def naive_rate(values: Array, *, level: float = 0.95) -> Interval:
    """Estimates the same rate as if votes were independent: Wilson's interval, ties as halves."""
    array = as_values(values)
    return wilson(float(array.sum()), len(array), level=level)


def _mean_variance(values: Array, raters: Codes, clips: Codes, clip_count: int) -> TwoWay:
    n = len(values)
    influence = (values - values.mean()) / n
    parts = []
    for codes in (raters, clips):
        sums = np.asarray(np.bincount(codes, weights=influence), dtype=np.float64)
        shares = np.asarray(np.bincount(codes) / n, dtype=np.float64)
        parts.append(one_way(sums[:, None], shares[:, None]))
    cells = np.unique(raters * clip_count + clips, return_inverse=True)[1]
    by_cell = np.bincount(cells, weights=influence)
    count = len(by_cell)
    variance = np.array([count / (count - 1) * np.square(by_cell).sum()])
    # Votes of one rater on one clip may cancel out; they are still so many votes.
    floor = np.maximum(variance, n / (n - 1) * np.square(influence).sum())
    return two_way(parts[0], parts[1], variance, floor, count)


def _why_none(n: int, raters: int, clips: int) -> str:
    if n == 0:
        return "none: no votes"
    if raters == 1:
        return f"none: all {n} votes come from one rater"
    if clips == 1:
        return f"none: all {n} votes are on one clip"
    return ""


def _all_equal(value: float, n: int, units: int, level: float) -> Interval:
    """What so few raters and clips can show when all votes say the same."""
    if value in (0.0, 1.0):
        share = wilson(value * units, units, level=level)
        low, high, what = share.low, share.high, "are equal"
    else:
        # Decided votes may be as many as would go unseen, and all for one side.
        unseen = wilson(0, units, level=level).high
        low, high, what = value * (1 - unseen), value + unseen * (1 - value), "are ties"
    return Interval(
        mean=value, low=low, high=high, n=n, clusters=units, level=level,
        method=f"wilson on {units} units: all {n} votes {what}",
    )  # fmt: skip


def _score_ends(share: float, trials: float, factor: float) -> tuple[float, float]:
    spread = factor**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = factor / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / trials / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def normal_quantile(level: float) -> float:
    """Gives the normal distribution's two-sided quantile."""
    return float(ndtri((1 + level) / 2))
