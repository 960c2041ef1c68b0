"""What an estimate looks like, and the cases in which there is no interval to give.

Every function of the statistics answers with an `Interval`, also where the data cannot bear
one: then its ends are NaN (nothing is known about the spread) or equal (there was no spread
to see), and ``method`` begins with ``none:`` or ``no spread:`` and says why. Nothing is left
to a warning that nobody reads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
"""A numpy array of float64."""

Codes: TypeAlias = npt.NDArray[np.intp]
"""Whole numbers ``0..G-1``, one per value: which of G clusters it belongs to."""

Labels: TypeAlias = npt.NDArray[Any] | Sequence[str] | Sequence[int]
"""One label per value; equal labels make a cluster."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        mean: The estimate, in the unit of the values (a mean unless a statistic was named).
        low: Lower end, or NaN where the data bear none.
        high: Upper end, or NaN where the data bear none.
        n: How many values (clips, votes, trials) it rests on.
        clusters: How many independent units (episodes, raters) they come from.
        level: Nominal coverage, such as 0.95.
        method: How it was made, or why there is none, in a few words.
    """

    mean: float
    low: float
    high: float
    n: int
    clusters: int
    level: float
    method: str

    @property
    def is_defined(self) -> bool:
        """Whether there is an interval that says something about the spread."""
        known = math.isfinite(self.low) and math.isfinite(self.high)
        return known and not self.method.startswith(("none:", "no spread:"))


def check_level(level: float) -> None:
    """Refuses a level that is no probability.

    Raises:
        ValueError: If ``level`` is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, and must lie strictly between 0 and 1, such as 0.95")


def as_values(values: npt.ArrayLike, name: str = "values") -> Array:
    """Reads a list of numbers.

    Raises:
        ValueError: If it is not one-dimensional.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, and must be a list: one number a clip")
    return array


def cluster_codes(labels: Labels, count: int, name: str = "clusters") -> tuple[Codes, int]:
    """Numbers the labels; the one place where labels become clusters.

    Args:
        labels: One label per value.
        count: How many values there are.
        name: What the labels are, for the message.

    Returns:
        The codes and how many different ones there are.

    Raises:
        ValueError: If there are more or fewer labels than values.
    """
    array = np.asarray(labels)
    if array.shape != (count,):
        raise ValueError(
            f"{name} has shape {array.shape} for {count} values, and must name one for each"
        )
    found, codes = np.unique(array, return_inverse=True)
    return codes.astype(np.intp), len(found)


def without_spread(values: Array, clusters: int, level: float) -> Interval | None:
    """Answers for the data that bear no interval.

    Args:
        values: Values, ``[n]``.
        clusters: How many clusters they come from.
        level: Nominal coverage.

    Returns:
        An interval that says why it is none, or ``None`` where one can be made.
    """
    n, nan = len(values), math.nan
    broken = int((~np.isfinite(values)).sum())
    if n == 0:
        mean, low, high, method = nan, nan, nan, "none: no values"
    elif broken:
        mean, low, high = nan, nan, nan
        method = f"none: {broken} of {n} values are not finite"
    elif n == 1:
        mean, low, high, method = float(values[0]), nan, nan, "none: one value"
    elif clusters == 1:
        mean, low, high = float(values.mean()), nan, nan
        method = f"none: all {n} values come from one cluster"
    elif np.ptp(values) == 0:
        mean = low = high = float(values[0])
        method = f"no spread: all {n} values are equal"
    else:
        return None
    return Interval(
        mean=mean, low=low, high=high, n=n, clusters=clusters, level=level, method=method
    )
