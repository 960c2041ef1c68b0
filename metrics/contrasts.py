"""Differences of strengths, each with its intervals, or with why it has none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from dojobench.metrics.comparison_graph import ComparisonGraph
from dojobench.metrics.davidson import Fit, Prior, profile_end
from dojobench.metrics.estimate import Array, Interval
from dojobench.metrics.preference_intervals import normal_quantile, quantile
from dojobench.metrics.strengths import Sandwich, sandwich
from dojobench.metrics.votes import Votes


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """An estimate in logits with its three intervals.

    Attributes:
        clustered: By Student's quantile and the two-way clustered sandwich: the one to report.
        naive: As if votes were independent.
        bootstrap: Ends by bootstrap of raters and clips, brought to the clustered standard error:
            the raw one is too wide where raters and clips agree (Owen and Eckles 2012).
    """

    clustered: Interval
    naive: Interval
    bootstrap: tuple[float, float]

    def turned(self) -> "Contrast":
        """Gives the same for second minus first."""
        low, high = self.bootstrap
        return Contrast(
            clustered=_turned(self.clustered), naive=_turned(self.naive), bootstrap=(-high, -low)
        )


class ContrastTable:
    """Estimates, standard errors and refits of all contrasts."""

    def __init__(
        self, votes: Votes, found: Fit, refits: Array, contrasts: Array, level: float
    ) -> None:
        self.votes, self.level = votes, level
        self.estimate = found.parameters @ contrasts
        self.sandwich: Sandwich = sandwich(votes, found, contrasts)
        self.error = np.sqrt(self.sandwich.two_way.variance)
        self.freedom = self.sandwich.two_way.freedom
        refitted = refits @ contrasts
        spread = refitted.std(axis=0)
        self.deviations = (refitted - refitted.mean(axis=0)) / np.where(spread > 0, spread, 1)

    def contrast(self, k: int) -> Contrast:
        """Gives one contrast with its intervals."""
        estimate, n = float(self.estimate[k]), len(self.votes)
        fewest = min(self.votes.rater_count, self.votes.clip_count)
        z = normal_quantile(self.level)
        half = z * math.sqrt(self.sandwich.naive[k])
        naive = Interval(
            mean=estimate, low=estimate - half, high=estimate + half, n=n, clusters=n,
            level=self.level, method="independent votes",
        )  # fmt: skip
        error = float(self.error[k])
        if not math.isfinite(error):
            itself = half == 0
            none = _none(estimate, n, fewest, self.level, self._why(itself=itself))
            return Contrast(
                clustered=none, naive=none if itself else naive, bootstrap=(math.nan, math.nan)
            )
        t = float(quantile(self.level, self.freedom[k]))
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        # Student's quantile widens the bootstrap as it does the sandwich: raters are few.
        low, high = estimate + error * t / z * np.quantile(self.deviations[:, k], tails)
        if not self.deviations[:, k].any():
            low = high = math.nan
        clustered = Interval(
            mean=estimate, low=estimate - t * error, high=estimate + t * error, n=n,
            clusters=fewest, level=self.level,
            method=f"two-way sandwich, {self.freedom[k]:.3g} degrees of freedom",
        )  # fmt: skip
        return Contrast(clustered=clustered, naive=naive, bootstrap=(float(low), float(high)))

    def _why(self, *, itself: bool) -> str:
        if itself:
            return "none: the model is its own reference"
        if self.votes.rater_count == 1:
            return "none: all votes come from one rater"
        if self.votes.clip_count == 1:
            return "none: all votes are on one clip"
        return "none: a single rater or clip decides it"

    def critical(self, columns: Sequence[int]) -> float:
        """Standard errors that the largest of these contrasts reaches by chance at the level."""
        if not columns:
            return normal_quantile(self.level)
        largest = np.abs(self.deviations[:, list(columns)]).max(axis=1)
        return max(float(np.quantile(largest, self.level)), normal_quantile(self.level))

    def widened(self, k: int, critical: float) -> float:
        """Half width of a contrast when all are to hold at once, in logits; NaN for none."""
        level = 2 * float(ndtr(critical)) - 1
        return float(quantile(level, self.freedom[k])) * float(self.error[k])


class KnownEnds:
    """What is left of an interval where models were never compared, or one never lost.

    Between tiers only one end is known. It comes from a fit in which a pair has no more votes
    than there are independent units: when all votes agree, their dependence cannot be seen.
    """

    def __init__(self, votes: Votes, graph: ComparisonGraph, prior: Prior, level: float) -> None:
        self.votes, self.graph, self.level = votes, graph, level
        self.units = min(votes.rater_count, votes.clip_count)
        if graph.is_separated:
            counts = votes.tally()
            total = counts.sum(axis=-1)
            most = float((total + total.T).max())
            self.thin, self.prior = counts * min(1.0, self.units / most), prior

    def pair(self, found: Contrast, first: int, second: int) -> Contrast:
        """Gives a difference as far as it is known."""
        if self.graph.islands[first] != self.graph.islands[second]:
            return self._unknown(math.nan, "none: the votes do not compare these models")
        above, below = self.graph.above[first, second], self.graph.above[second, first]
        weights = np.zeros(len(self.votes.models))
        weights[first], weights[second] = 1, -1
        return self._one_sided(found, weights, bool(above), bool(below))

    def model(self, found: Contrast, model: int, reference: Array) -> Contrast:
        """Gives a strength as far as it is known."""
        weights = -reference / reference.sum()
        weights[model] += 1
        above = bool((self.graph.above[model] * reference).any())
        below = bool((self.graph.above[:, model] * reference).any())
        if not weights.any():
            return found
        return self._one_sided(found, weights, above, below)

    def _one_sided(self, found: Contrast, weights: Array, above: bool, below: bool) -> Contrast:
        if not above and not below:
            return found
        estimate = found.clustered.mean
        if above and below:
            return self._unknown(estimate, "none: it wins all against some and loses all to others")
        low = min(self._end(weights, -1), estimate) if above else math.nan
        high = max(self._end(weights, +1), estimate) if below else math.nan
        end = "lower" if above else "upper"
        return Contrast(
            clustered=Interval(
                mean=estimate, low=low, high=high, n=len(self.votes), clusters=self.units,
                level=self.level,
                method=f"{end} end only: all votes went one way, {self.units} units",
            ),
            naive=found.naive, bootstrap=(low, high),
        )  # fmt: skip

    def _end(self, weights: Array, side: int) -> float:
        padded = np.concatenate([weights, [0.0, 0.0]])
        deviance = normal_quantile(self.level) ** 2
        return profile_end(self.thin, padded, deviance, side, prior=self.prior)

    def _unknown(self, estimate: float, why: str) -> Contrast:
        none = _none(estimate, len(self.votes), self.units, self.level, why)
        return Contrast(clustered=none, naive=none, bootstrap=(math.nan, math.nan))


def _none(estimate: float, n: int, units: int, level: float, why: str) -> Interval:
    return Interval(
        mean=estimate, low=math.nan, high=math.nan, n=n, clusters=units, level=level, method=why
    )


def _turned(interval: Interval) -> Interval:
    words = {"lower end": "upper end", "upper end": "lower end"}
    method = interval.method
    return replace(
        interval, mean=-interval.mean, low=-interval.high, high=-interval.low,
        method=words.get(method[:9], method[:9]) + method[9:],
    )  # fmt: skip
