"""Intervals for shares: wins, successes, right choices, deadlines missed.

A mean of zeros and ones near 0 or 1 has no symmetric interval, and none at all in a bootstrap
when every trial went the same way; these stay honest there.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from dojobench.metrics.estimate import Interval, Labels, as_values, check_level, cluster_codes


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Estimates a share of independent trials with Wilson's score interval (1927).

    Args:
        successes: How many succeeded; ties may count as halves.
        n: How many trials.
        level: Nominal coverage.

    Returns:
        The interval within [0, 1]; never of width zero for ``n > 0``. Without trials the
        estimate is NaN and the interval all of [0, 1].

    Raises:
        ValueError: If the counts make no share.
    """
    check_level(level)
    _check_counts(successes, n)
    if n == 0:
        return Interval(
            mean=math.nan, low=0.0, high=1.0, n=0, clusters=0, level=level,
            method="none: no trials, so the whole range",
        )  # fmt: skip
    share = successes / n
    low, high = _score_ends(share, float(n), float(ndtri((1 + level) / 2)))
    return Interval(mean=share, low=low, high=high, n=n, clusters=n, level=level, method="wilson")


def agresti_caffo(
    successes_a: float, n_a: int, successes_b: float, n_b: int, *, level: float = 0.95
) -> Interval:
    """Estimates the difference of two independent shares (Agresti and Caffo 2000).

    One success and one failure are added to each arm before the Wald formula. For two models
    judged on the same clips use `paired_difference`: those are not independent.

    Args:
        successes_a: Successes of the first arm.
        n_a: Its trials.
        successes_b: Successes of the second arm.
        n_b: Its trials.
        level: Nominal coverage.

    Returns:
        The plain difference ``a - b`` with its interval within [-1, 1]; an arm without trials
        leaves the estimate NaN and the interval all of [-1, 1].

    Raises:
        ValueError: If the counts make no shares.
    """
    check_level(level)
    _check_counts(successes_a, n_a)
    _check_counts(successes_b, n_b)
    n = n_a + n_b
    if n_a == 0 or n_b == 0:
        return Interval(
            mean=math.nan, low=-1.0, high=1.0, n=n, clusters=n, level=level,
            method="none: an arm without trials, so the whole range",
        )  # fmt: skip
    share_a, share_b = (successes_a + 1) / (n_a + 2), (successes_b + 1) / (n_b + 2)
    variance = share_a * (1 - share_a) / (n_a + 2) + share_b * (1 - share_b) / (n_b + 2)
    half = float(ndtri((1 + level) / 2)) * math.sqrt(variance)
    centre = share_a - share_b
    return Interval(
        mean=successes_a / n_a - successes_b / n_b, low=max(-1.0, centre - half),
        high=min(1.0, centre + half), n=n, clusters=n, level=level, method="agresti-caffo",
    )  # fmt: skip


def clustered_share(values: npt.ArrayLike, clusters: Labels, *, level: float = 0.95) -> Interval:
    """Estimates a share of trials that come in clusters: Wilson at the effective sample size.

    The number of trials is divided by the design effect (the cluster-robust variance over the
    binomial one, at least 1) and by ``(t / z)^2`` for few clusters, as Korn and Graubard (1998)
    do for Clopper-Pearson. Where all trials agree the design effect cannot be seen, and each
    cluster counts as one trial.

    Args:
        values: Outcome of each trial in [0, 1]; ties as fractions, ``[n]``.
        clusters: Episode of each trial, ``[n]``.
        level: Nominal coverage.

    Returns:
        The interval within [0, 1]; all of it where there are no trials or a single cluster.

    Raises:
        ValueError: If a value lies outside [0, 1] or the lengths differ.
    """
    check_level(level)
    array = as_values(values)
    codes, count = cluster_codes(clusters, len(array))
    n = len(array)
    if ((array < 0) | (array > 1)).any():
        raise ValueError("values of a share must lie in [0, 1]")
    why = _no_share(array, count)
    if why:
        mean = float(array.mean()) if n else math.nan
        return Interval(mean=mean, low=0.0, high=1.0, n=n, clusters=count, level=level, method=why)
    share = float(array.mean())
    sums = np.bincount(codes, weights=array - share, minlength=count)
    robust = count / (count - 1) * float(np.square(sums).sum()) / n**2
    binomial = share * (1 - share) / n
    effective = float(count)
    if robust > 0 and binomial > 0:
        effective = min(float(n), n * binomial / robust)
    z = float(ndtri((1 + level) / 2))
    effective *= (z / float(stdtrit(count - 1, (1 + level) / 2))) ** 2
    low, high = _score_ends(share, effective, z)
    return Interval(
        mean=share, low=low, high=high, n=n, clusters=count, level=level,
        method=f"wilson at {effective:.4g} effective trials",
    )  # fmt: skip


def _no_share(values: npt.NDArray[np.float64], clusters: int) -> str:
    """Says why there is no interval for a share, or nothing."""
    broken = int(np.isnan(values).sum())
    if len(values) == 0:
        return "none: no trials, so the whole range"
    if broken:
        return f"none: {broken} of {len(values)} values are NaN, so the whole range"
    if clusters == 1:
        return "none: one cluster, so the whole range"
    return ""


def _score_ends(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's ends; exact 0 and 1 at the borders in spite of rounding."""
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def _check_counts(successes: float, n: int) -> None:
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials make no share")
