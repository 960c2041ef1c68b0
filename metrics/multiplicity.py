"""P values for paired comparisons, and what is left of them after looking at many columns."""

import numpy as np
import numpy.typing as npt

from dojobench.metrics.estimate import Array, Labels, as_values, cluster_codes

_ENUMERATED_CLUSTERS = 14
_BLOCK = 4096


def paired_p_value(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    clusters: Labels,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> float:
    """Tests whether two models differ on the same clips: a wild cluster bootstrap.

    Each cluster's summed difference keeps or turns its sign with equal chance, which imposes
    "no difference" and keeps the clustering (Cameron, Gelbach and Miller 2008, Rademacher
    weights). For a mean the studentized and the plain version order the resamples alike, so
    this is also the exact sign-flip test where the differences are symmetric. Up to 14
    clusters all sign patterns are counted, above that ``resamples`` are drawn.

    Args:
        a: Values of one model, ``[n]``.
        b: Values of the other on the same clips, ``[n]``.
        clusters: Episode of each clip, ``[n]``.
        resamples: Patterns drawn when there are too many to count.
        seed: Seed of the draw.

    Returns:
        The two-sided p value. It cannot fall below ``2 / 2^G`` with G clusters (0.0625 with
        five): one cluster gives 1, no difference anywhere gives 1; empty or not finite, NaN.

    Raises:
        ValueError: If the lists differ in length.
    """
    first, second = as_values(a, "a"), as_values(b, "b")
    if first.shape != second.shape:
        raise ValueError(
            f"a has {len(first)} values and b has {len(second)}, and a pair needs one of each"
        )
    codes, count = cluster_codes(clusters, len(first))
    if len(first) == 0 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    sums = np.bincount(codes, weights=first - second, minlength=count).astype(np.float64)
    # Equal up to rounding counts as equal: sums of the same numbers in another order differ.
    target = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    if np.abs(sums).sum() == 0:
        return 1.0
    if count <= _ENUMERATED_CLUSTERS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((2.0 * patterns - 1) @ sums) >= target).mean())
    return (1 + _flips_as_extreme(sums, target, resamples, seed)) / (resamples + 1)


def holm(p_values: npt.ArrayLike) -> Array:
    """Adjusts the p values of one table's columns for having looked at all of them (Holm 1979).

    Args:
        p_values: P values, ``[m]``; NaN marks a test that was not made.

    Returns:
        Adjusted p values in the same order, each at least the original, at most 1. NaN stays
        NaN and does not count among the tests; an empty list stays empty.

    Raises:
        ValueError: If a value lies outside [0, 1].
    """
    array = as_values(p_values, "p_values")
    made = ~np.isnan(array)
    known = array[made]
    if ((known < 0) | (known > 1)).any():
        raise ValueError("p_values must lie in [0, 1]")
    order = np.argsort(known, kind="stable")
    stepped = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1))
    adjusted = np.empty_like(known)
    adjusted[order] = np.minimum(stepped, 1.0)
    result = np.full_like(array, np.nan)
    result[made] = adjusted
    return result


def _flips_as_extreme(sums: Array, target: float, resamples: int, seed: int) -> int:
    """Counts drawn sign patterns that reach the target, in blocks so that memory stays small."""
    generator = np.random.default_rng(seed)
    found = 0
    for start in range(0, resamples, _BLOCK):
        size = (min(_BLOCK, resamples - start), len(sums))
        signs = 2.0 * generator.integers(2, size=size) - 1
        found += int((np.abs(signs @ sums) >= target).sum())
    return found
