"""Whether raters agree beyond chance: Krippendorff's alpha, with an interval for few raters.

Alpha is ``1 - D_o / D_e``: observed over expected disagreement among all pairs of values of a
unit, so that raters may be many, different for each unit, and miss some (Krippendorff 2004,
chapter 11; Hayes and Krippendorff 2007). 1 is perfect agreement, 0 is what chance gives.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dojobench.metrics.estimate import Array, Codes, Interval, Labels, check_level, cluster_codes
from dojobench.metrics.preference_intervals import OneWay, quantile, two_way

Level = Literal["nominal", "ordinal", "interval"]
"""What differs between two values: that they differ, how far in rank, or how far in number."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Pieces:
    """What alpha is made of: disagreement within units, and how often each value came."""

    disagreement: Array
    counts: Array


def krippendorff_alpha(
    values: npt.ArrayLike,
    units: Labels,
    raters: Labels,
    *,
    measure: Level = "nominal",
    clips: Labels | None = None,
    level: float = 0.95,
) -> Interval:
    """Computes alpha and its interval.

    The interval comes from leaving out one rater, one clip and one value at a time, joined as in
    `preference_intervals.two_way`; with a dozen raters a bootstrap of units alone is too narrow.

    Args:
        values: One number per rating, ``[n]``; for ``ordinal`` their order counts.
        units: What was rated, ``[n]``; units with one rating say nothing and are left out.
        raters: Who rated, ``[n]``; once per unit.
        measure: What differs between two values.
        clips: Clip of each rating, where several units share a clip; the units themselves if
            left out.
        level: Nominal coverage.

    Returns:
        Alpha, at most 1. Without pairs of ratings NaN; where all ratings are the same value, too:
        without any variation agreement cannot be told from chance. ``method`` says so.

    Raises:
        ValueError: If lists differ in length or a value is not finite.
    """
    check_level(level)
    found = np.asarray(values, dtype=np.float64)
    n = len(found)
    if not np.isfinite(found).all():
        raise ValueError("a rating is not finite; leave missing ratings out")
    unit_codes, _ = cluster_codes(units, n, "units")
    paired = np.bincount(unit_codes)[unit_codes] > 1 if n else np.zeros(0, dtype=bool)
    labels = [np.asarray(x)[paired] for x in (units, raters, units if clips is None else clips)]
    n = int(paired.sum())
    (unit_codes, _), (rater_codes, rater_count), (clip_codes, clip_count) = (
        cluster_codes(x, n) for x in labels
    )
    found, value_codes = np.unique(found[paired], return_inverse=True)
    fewest = min(rater_count, clip_count)

    def give(mean: float, half: float, method: str) -> Interval:
        return Interval(
            mean=mean, low=mean - half, high=min(1.0, mean + half), n=n, clusters=fewest,
            level=level, method=method,
        )  # fmt: skip

    if n == 0:
        return give(math.nan, math.nan, "none: no unit was rated twice")
    if len(found) == 1:
        return give(math.nan, math.nan, f"none: all {n} ratings are the same")
    table = _Table(value_codes.astype(np.intp), unit_codes, found, measure)
    alpha = float(table.alpha(table.whole))
    if fewest == 1:
        only = "rater" if rater_count == 1 else "clip"
        return give(alpha, math.nan, f"none: all {n} ratings come from one {only}")
    by_rater = table.without_raters(rater_codes, rater_count)
    by_clip = table.without_clips(clip_codes, clip_count)
    by_value = table.without_raters(np.arange(n), n)
    cells = _jackknife(by_value).variance
    # Near chance alpha depends on pairs of ratings alone, and leaving one out counts each twice.
    joined = two_way(_jackknife(by_rater), _jackknife(by_clip), cells, cells / 2, n)
    half = float((quantile(level, joined.freedom) * np.sqrt(joined.variance))[0])
    return give(alpha, half, f"jackknife, two-way: {rater_count} raters, {clip_count} clips")


class _Table:
    """Ratings of units, and alpha with some of them left out."""

    def __init__(self, values: Codes, units: Codes, names: Array, measure: Level) -> None:
        self.values, self.units = values, units
        kinds, count = len(names), int(units.max()) + 1
        place = units * kinds + values
        table = np.bincount(place, minlength=count * kinds).reshape(count, kinds)
        self.table = np.asarray(table, dtype=np.float64)
        self.size = self.table.sum(axis=1)
        self.names, self.measure = names, measure
        self.distance = self._distance(self.table.sum(axis=0))
        self.inside = np.einsum("uc,ck,uk->u", self.table, self.distance, self.table)
        self.whole = _Pieces(
            disagreement=(self.inside / (self.size - 1)).sum(), counts=self.table.sum(axis=0)
        )

    def _distance(self, counts: Array) -> Array:
        """Gives the squared differences between values, ``[kinds, kinds]``."""
        if self.measure == "nominal":
            return 1.0 - np.eye(len(self.names))
        if self.measure == "interval":
            return np.square(self.names[:, None] - self.names[None, :])
        # Ordinal: how many ratings lie between the middles of two values.
        middle = np.cumsum(counts) - counts / 2
        return np.square(middle[:, None] - middle[None, :])

    def alpha(self, pieces: _Pieces) -> Array:
        """Computes alpha from its pieces, ``[...]``."""
        counts = pieces.counts
        total = counts.sum(axis=-1)
        chance = np.einsum("...c,ck,...k->...", counts, self.distance, counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1 - (total - 1) * pieces.disagreement / chance)

    def without_clips(self, clips: Codes, count: int) -> Array:
        """Gives alpha without each clip, ``[count]``."""
        of_unit = np.zeros(len(self.size), dtype=np.intp)
        of_unit[self.units] = clips
        lost = _sums(of_unit, self.inside / (self.size - 1), count)
        counts = np.zeros((count, len(self.names)))
        np.add.at(counts, of_unit, self.table)
        return self._without(lost, counts)

    def without_raters(self, raters: Codes, count: int) -> Array:
        """Gives alpha without each rater, ``[count]``; a rating left alone goes, too."""
        size = self.size[self.units]
        towards = np.einsum("vc,vc->v", self.table[self.units], self.distance[self.values])
        inside = self.inside[self.units]
        alone = size == 2
        rest = np.where(alone, 0.0, (inside - 2 * towards) / np.where(alone, 1, size - 2))
        lost = _sums(raters, inside / (size - 1) - rest, count)
        counts = np.zeros((count, len(self.names)))
        own = np.zeros((len(raters), len(self.names)))
        own[np.arange(len(raters)), self.values] = 1
        own = np.where(alone[:, None], self.table[self.units], own)
        np.add.at(counts, raters, own)
        return self._without(lost, counts)

    def _without(self, disagreement: Array, counts: Array) -> Array:
        return self.alpha(
            _Pieces(
                disagreement=self.whole.disagreement - disagreement,
                counts=self.whole.counts - counts,
            )
        )


def _sums(codes: Codes, weights: Array, count: int) -> Array:
    return np.asarray(np.bincount(codes, weights, count), dtype=np.float64)


def _jackknife(left_out: Array) -> OneWay:
    """Gives the jackknife's variance; clusters without which nothing varies tell nothing."""
    known = left_out[np.isfinite(left_out)]
    count = len(known)
    if count < 2:
        return OneWay(np.array([np.nan]), np.array([np.nan]))
    variance = (count - 1) / count * np.square(known - known.mean()).sum()
    return OneWay(np.array([variance]), np.array([float(count - 1)]))
