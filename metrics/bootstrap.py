"""Intervals for means over clips that come from the same few episodes.

Clips of one episode resemble each other, so an interval that takes them for independent is
too narrow: at five clips an episode it holds the truth 70 times in 100 instead of 95
(``docs/metrics/intervals.md``). Whole episodes are resampled here.

The default, ``auto``, is what covered best in simulation: a Student interval from the cluster
jackknife below eight clusters, the studentized bootstrap from eight on, and the expanded BCa
where the studentized one is undefined because too many resamples have no spread (0/1 values
that are nearly all equal). Percentile and BCa are kept under their own names for comparison
with other work; with few clusters both are too narrow.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtrit

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

Method: TypeAlias = Literal["auto", "studentized", "t", "expanded", "bca", "percentile"]
Statistic: TypeAlias = Callable[[Array], float]
CountStatistic: TypeAlias = Callable[[Array], Array]
"""Statistic of each resample, ``[B]``, from how often it drew each cluster, ``[B, G]``."""

FEW_CLUSTERS = 8
"""Below this the studentized bootstrap is several times too wide (see the table in docs)."""
MAX_WITHOUT_SPREAD = 0.01
"""Share of resamples without spread above which a studentized interval means nothing."""
_CACHED_SIZE = 2_000_000


class CurveBand(NamedTuple):
    """A mean curve with pointwise intervals, each ``[T]``."""

    mean: Array
    low: Array
    high: Array
    n: npt.NDArray[np.intp]
    """How many clips reach each step."""


def cluster_bootstrap(
    values: npt.ArrayLike,
    clusters: Labels,
    *,
    method: Method = "auto",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    statistic: Statistic | None = None,
) -> Interval:
    """Estimates a mean (or another statistic) with an interval that respects clusters.

    Args:
        values: One value per clip, ``[n]``. Any that is not finite makes the result undefined:
            leave out what was not computed, and say how many.
        clusters: Label of the episode (or other independent unit) of each value, ``[n]``.
        method: ``auto`` (see the module), ``studentized`` and ``t`` (means only), ``expanded``
            (BCa at levels widened by ``sqrt(G/(G-1)) t/z``; Hesterberg 2015, section 5.3),
            ``bca`` (Efron 1987; acceleration from the cluster jackknife) or ``percentile``.
        resamples: Bootstrap resamples B.
        level: Nominal coverage.
        seed: Seed of the resampling; equal seeds give equal intervals.
        statistic: From values ``[m]`` to a number; the mean if not given. Slower: called B times.

    Returns:
        The interval. Empty, one value, one cluster, values that are not finite: ends are NaN;
        all values equal: ends are equal. ``method`` says so.

    Raises:
        ValueError: If shapes, level, method or resamples do not make sense.
    """
    check_level(level)
    if resamples < 100:
        raise ValueError(f"resamples is {resamples}, and must be at least 100")
    array = as_values(values)
    codes, count = cluster_codes(clusters, len(array))
    if (none := without_spread(array, count, level)) is not None:
        return none
    if statistic is not None:
        of_counts = _statistic_of_counts(array, codes, statistic)
        chosen: Method = "expanded" if method == "auto" else method
        return bootstrap_clusters(
            of_counts, count, n=len(array), method=chosen, resamples=resamples, level=level,
            seed=seed,
        )  # fmt: skip
    return _mean_interval(array, codes, count, method, resamples, level, seed)


def paired_difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    clusters: Labels,
    *,
    method: Method = "auto",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimates the mean of ``a - b`` over the same clips, clustered by episode.

    Args:
        a: Values of one model, ``[n]``, one per clip.
        b: Values of the other on the same clips, in the same order, ``[n]``.
        clusters: Episode of each clip, ``[n]``.
        method: As for `cluster_bootstrap`.
        resamples: As for `cluster_bootstrap`.
        level: As for `cluster_bootstrap`.
        seed: As for `cluster_bootstrap`.

    Returns:
        The interval of the difference, with the degenerate cases of `cluster_bootstrap`.

    Raises:
        ValueError: If the lists differ in length.
    """
    first, second = as_values(a, "a"), as_values(b, "b")
    if first.shape != second.shape:
        raise ValueError(
            f"a has {len(first)} values and b has {len(second)}, and a pair needs one of each"
        )
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is answered in words
        difference = first - second
    return cluster_bootstrap(
        difference, clusters, method=method, resamples=resamples, level=level, seed=seed
    )


def curve_band(curves: npt.ArrayLike, clusters: Labels, *, level: float = 0.95) -> CurveBand:
    """Estimates the mean curve of many clips with pointwise Student intervals by cluster.

    Args:
        curves: One curve per clip, ``[n, T]``; NaN where a clip is too short or undefined.
        clusters: Episode of each clip, ``[n]``.
        level: Nominal coverage at each step (not of the whole curve).

    Returns:
        Mean, ends and count at each step, ``[T]``; NaN ends where fewer than two clusters
        reach, a NaN mean where none does.

    Raises:
        ValueError: If the shapes do not fit.
    """
    check_level(level)
    array = np.asarray(curves, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"curves has shape {array.shape}, and must be [clips, steps]")
    codes, count = cluster_codes(clusters, len(array))
    seen = np.isfinite(array)
    sums, sizes = np.zeros((count, array.shape[1])), np.zeros((count, array.shape[1]))
    np.add.at(sums, codes, np.where(seen, array, 0.0))
    np.add.at(sizes, codes, seen)
    reached = (sizes > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = sizes.sum(axis=0)
        mean = sums.sum(axis=0) / total
        residual = np.square(sums - mean * sizes).sum(axis=0)
        error = np.sqrt(residual * reached / (reached - 1)) / total
        half = stdtrit(np.maximum(reached - 1, 1), (1 + level) / 2) * error
    half = np.where(reached > 1, half, np.nan)
    return CurveBand(mean, mean - half, mean + half, seen.sum(axis=0))


def bootstrap_clusters(
    statistic: CountStatistic,
    clusters: int,
    *,
    n: int,
    method: Method = "expanded",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Makes a percentile, BCa or expanded interval for any statistic of whole clusters.

    Args:
        statistic: From counts ``[B, G]`` (how often each cluster was drawn) to ``[B]``; it is
            called with the resamples, with all ones, and with one cluster left out at a time.
        clusters: Number of clusters G, at least 2.
        n: Number of values behind the clusters, for the record.
        method: ``expanded`` (or ``auto``, the same), ``bca`` or ``percentile``.
        resamples: Resamples B.
        level: Nominal coverage.
        seed: Seed of the resampling.

    Returns:
        The interval; where BCa is undefined it is the percentile one and ``method`` says why.

    Raises:
        ValueError: For a method that needs a standard error.
    """
    if method not in ("auto", "expanded", "bca", "percentile"):
        raise ValueError(f"method is {method!r}, and must be expanded, bca or percentile here")
    chosen = "expanded" if method == "auto" else method
    estimate = float(statistic(np.ones((1, clusters)))[0])
    replicates = statistic(resample_counts(clusters, resamples, seed))
    replicates = replicates[np.isfinite(replicates)]
    lost = resamples - len(replicates)
    if not np.isfinite(estimate) or lost > MAX_WITHOUT_SPREAD * resamples:
        low = high = np.nan
        told = f"none: the statistic is undefined in {lost} of {resamples} resamples"
    else:
        jackknife = statistic(1.0 - np.eye(clusters)) if chosen != "percentile" else None
        probabilities, told = _probabilities(
            estimate, replicates, jackknife, clusters, level, chosen
        )
        low, high = np.quantile(replicates, probabilities)
    return Interval(
        mean=estimate, low=float(low), high=float(high), n=n, clusters=clusters, level=level,
        method=told,
    )  # fmt: skip


def resample_counts(clusters: int, resamples: int, seed: int) -> Array:
    """Draws clusters with replacement.

    Returns:
        How often each resample drew each cluster, ``[B, G]``, rows summing to G; read-only.
    """
    if clusters * resamples <= _CACHED_SIZE:  # the same draw serves every metric of a run
        return _cached_counts(clusters, resamples, seed)
    return _draw_counts(clusters, resamples, seed)


def _draw_counts(clusters: int, resamples: int, seed: int) -> Array:
    drawn = np.random.default_rng(seed).integers(clusters, size=(resamples, clusters))
    drawn += np.arange(resamples)[:, None] * clusters
    tally = np.bincount(drawn.ravel(), minlength=resamples * clusters)
    counts = tally.reshape(resamples, clusters).astype(np.float64)
    counts.setflags(write=False)
    return counts


_cached_counts = functools.lru_cache(maxsize=8)(_draw_counts)


def _mean_interval(
    values: Array,
    codes: Codes,
    clusters: int,
    method: Method,
    resamples: int,
    level: float,
    seed: int,
) -> Interval:
    """Makes the interval of a mean from the sums and sizes of its clusters."""
    sizes = np.bincount(codes, minlength=clusters).astype(np.float64)
    mean = float(values.mean())
    # Sums are taken about the mean, so that large values with a small spread lose no digits.
    sums = np.bincount(codes, weights=values - mean, minlength=clusters).astype(np.float64)
    if np.abs(sums).max() <= 1e-12 * np.abs(values).max() * sizes.max():
        return Interval(
            mean=mean, low=mean, high=mean, n=len(values), clusters=clusters, level=level,
            method="no spread: all clusters have the same mean",
        )  # fmt: skip
    told = method
    if method == "auto":
        told = "t" if clusters < FEW_CLUSTERS else "studentized"
    ends: tuple[float, float] | None = None
    if told == "t":
        ends = _student_ends(sums, sizes, level)
    elif told == "studentized":
        ends = _studentized_ends(sums, sizes, resamples, level, seed)
        if ends is None:
            told = "expanded"
    if ends is not None:
        low, high = mean + ends[0], mean + ends[1]
        return Interval(
            mean=mean, low=low, high=high, n=len(values), clusters=clusters, level=level,
            method=told,
        )  # fmt: skip
    found = bootstrap_clusters(
        lambda counts: mean + (counts @ sums) / (counts @ sizes),
        clusters, n=len(values), method=told, resamples=resamples, level=level, seed=seed,
    )  # fmt: skip
    if method in ("auto", "studentized"):
        return _renamed(found, f"{found.method} (too many resamples without spread to studentize)")
    return found


def _renamed(interval: Interval, method: str) -> Interval:
    return Interval(
        mean=interval.mean, low=interval.low, high=interval.high, n=interval.n,
        clusters=interval.clusters, level=interval.level, method=method,
    )  # fmt: skip


def _student_ends(sums: Array, sizes: Array, level: float) -> tuple[float, float]:
    """Student ends about the mean, with the cluster jackknife's standard error."""
    count = len(sums)
    left_out = -sums / (sizes.sum() - sizes)
    spread = np.square(left_out - left_out.mean()).sum()
    half = stdtrit(count - 1, (1 + level) / 2) * np.sqrt((count - 1) / count * spread)
    return -float(half), float(half)


def _studentized_ends(
    sums: Array, sizes: Array, resamples: int, level: float, seed: int
) -> tuple[float, float] | None:
    """Bootstrap-t ends about the mean (Efron and Tibshirani 1993, section 12.5).

    Returns:
        The ends, or ``None`` where too many resamples have no spread.
    """
    counts = resample_counts(len(sums), resamples, seed)
    moments = counts @ np.column_stack([sums, sizes, sums**2, sums * sizes, sizes**2])
    means = moments[:, 0] / moments[:, 1]
    squares = moments[:, 2] - 2 * means * moments[:, 3] + means**2 * moments[:, 4]
    scale = np.square(sums).sum()
    usable = squares > 1e-12 * scale
    if 1 - usable.mean() > MAX_WITHOUT_SPREAD:
        return None
    errors = np.sqrt(squares[usable]) / moments[usable, 1]
    ratios = means[usable] / errors
    upper, lower = np.quantile(ratios, [(1 + level) / 2, (1 - level) / 2])
    error = np.sqrt(scale) / sizes.sum()
    return -float(upper * error), -float(lower * error)


def _statistic_of_counts(values: Array, codes: Codes, statistic: Statistic) -> CountStatistic:
    """Lets a statistic of values be asked by how often each cluster was drawn."""

    def of_counts(counts: Array) -> Array:
        repeats = counts[:, codes].astype(np.intp)
        return np.array([statistic(np.repeat(values, row)) for row in repeats])

    return of_counts


def _probabilities(
    estimate: float,
    replicates: Array,
    jackknife: Array | None,
    clusters: int,
    level: float,
    method: str,
) -> tuple[Array, str]:
    """Chooses the quantiles of the replicates, and tells in words what was done."""
    z = float(ndtri((1 + level) / 2))
    if method == "expanded":
        z = float(np.sqrt(clusters / (clusters - 1)) * stdtrit(clusters - 1, (1 + level) / 2))
    plain = ndtr(np.array([-z, z]))
    if method == "percentile" or jackknife is None:
        return plain, "percentile"
    if np.ptp(replicates) == 0:
        return plain, "no spread: all resamples are equal"
    below = (replicates < estimate).mean() + (replicates == estimate).mean() / 2
    if not 0 < below < 1:
        return plain, "percentile (all resamples lie on one side, so BCa is undefined)"
    if not np.isfinite(jackknife).all():
        return plain, "percentile (undefined without some cluster, so BCa is undefined)"
    influence = jackknife.mean() - jackknife
    scale = np.square(influence).sum()
    acceleration = float((influence**3).sum() / (6 * scale**1.5)) if scale > 0 else 0.0
    bias = float(ndtri(below))
    shifted = bias + np.array([-z, z])
    room = 1 - acceleration * shifted
    if (room <= 0).any():
        return plain, "percentile (too skew for BCa with so few clusters)"
    return ndtr(bias + shifted / room), method
