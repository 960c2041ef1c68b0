"""Which rows of a table can be told apart, and the range of ranks that each can have.

Rows that were measured on the same clips are compared pair by pair: the differences clip by clip,
added up within an episode, since frames and clips of one episode are no independent draws. With
``G`` episodes and ``N`` clips, and ``u_g`` the episode's sum of (value - mean) / N, the
covariance of two rows' means is ``G / (G - 1) * sum_g u_g v_g``: the variance of a difference
follows from one matrix, however many rows there are. The test is Student's with ``G - 1`` degrees
of freedom, corrected by Bonferroni for a row's comparisons with all others, so that each row's
range holds at the level (Mogstad, Romano, Shaikh and Wilhelm, *Review of Economic Studies* 91,
2024).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]
LEVEL = 0.95
MINIMUM_CLUSTERS = 2
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far the first row is from the second, in the metric's unit, with its interval."""

    mean: float
    low: float
    high: float
    clusters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A row's place.

    Attributes:
        low: Best rank that the data allow, 1 the best.
        high: Worst rank.
        groups: Numbers of the groups whose rows cannot be told apart, 1 the best.
    """

    low: int
    high: int
    groups: tuple[int, ...]

    @property
    def text(self) -> str:
        """The range in a cell."""
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


class Comparison:
    """Rows by one metric on the same clips.

    Args:
        values: ``[rows, clips]``.
        clusters: Episode of each clip, ``[clips]``, as numbers from 0.
    """

    def __init__(self, values: Array, clusters: NDArray[np.int64]) -> None:
        self.rows, self.clips = values.shape
        self.mean: Array = values.mean(axis=1)
        self.clusters = int(clusters.max()) + 1
        deviations = (values - self.mean[:, None]) / self.clips
        sums = np.zeros((self.rows, self.clusters))
        np.add.at(sums.T, clusters, deviations.T)
        scale = self.clusters / max(self.clusters - 1, 1)
        self.covariance: Array = scale * (sums @ sums.T)

    def difference(self, first: int, second: int, level: float = LEVEL) -> Difference:
        """Gives the paired difference of two rows."""
        mean = float(self.mean[first] - self.mean[second])
        c = self.covariance
        variance = c[first, first] + c[second, second] - 2 * c[first, second]
        half = float("inf")
        if self.clusters >= MINIMUM_CLUSTERS:
            half = self._critical(1, level) * float(np.sqrt(max(variance, 0.0)))
        return Difference(mean=mean, low=mean - half, high=mean + half, clusters=self.clusters)

    def standings(self, signs: Array, target: float | None, level: float = LEVEL) -> list[Standing]:
        """Ranks the rows.

        Args:
            signs: One number: 1 where more is better, -1 where less is.
            target: The right value, where it is no end of the scale; then the distance to it
                counts.
            level: Nominal coverage of each row's range.

        Returns:
            One standing a row, in the rows' order.
        """
        goodness, covariance = signs * self.mean, self.covariance
        if target is not None:
            goodness = -np.abs(self.mean - target)
            side = np.where(self.mean > target, -1.0, 1.0)
            covariance = covariance * side[:, None] * side[None, :]
        diagonal = np.diag(covariance)
        variance = np.maximum(diagonal[:, None] + diagonal[None, :] - 2 * covariance, 0.0)
        gap = goodness[:, None] - goodness[None, :]
        better = np.zeros(gap.shape, dtype=bool)
        if self.clusters >= MINIMUM_CLUSTERS:
            critical = self._critical(max(self.rows - 1, 1), level)
            better = (gap > critical * np.sqrt(variance)) & (gap > _EQUAL)
        order = np.lexsort((np.arange(self.rows), -goodness))
        groups = groups_of(better, order)
        return [
            Standing(
                low=1 + int(better[:, row].sum()),
                high=self.rows - int(better[row].sum()),
                groups=groups[row],
            )
            for row in range(self.rows)
        ]

    def _critical(self, comparisons: int, level: float) -> float:
        return _student((1 - level) / (2 * comparisons), self.clusters - 1)


@cache
def _student(tail: float, freedom: int) -> float:
    """Student's quantile; kept, because a thousand pages ask for the same few."""
    return float(student.isf(tail, freedom))


def groups_of(better: NDArray[np.bool_], order: NDArray[np.intp]) -> list[tuple[int, ...]]:
    """Numbers the longest runs of neighbours in the order of which no two can be told apart.

    Args:
        better: Whether a row is better than another, ``[rows, rows]``.
        order: Rows, best first.

    Returns:
        For each row the numbers of its groups, from 1; a row that differs from both its
        neighbours has a group of its own.
    """
    apart = (better | better.T)[np.ix_(order, order)]
    rows = len(order)
    runs: list[tuple[int, int]] = []
    end = 0
    for start in range(rows):
        end = max(end, start + 1)
        while end < rows and not apart[start:end, end].any():
            end += 1
        if not runs or end > runs[-1][1]:
            runs.append((start, end))
    found: list[list[int]] = [[] for _ in range(rows)]
    for number, (start, stop) in enumerate(runs, start=1):
        for place in range(start, stop):
            found[order[place]].append(number)
    return [tuple(each) for each in found]
