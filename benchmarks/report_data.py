"""Runs of the same clips laid next to each other, and how their numbers are written.

Everything here is derived from the records; a summary that somebody sent along is not
trusted. `dojobench.benchmarks.report_gather` reads the folders.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from dojobench.benchmarks.baselines import BASELINES
from dojobench.benchmarks.metric_names import BenchmarkMetric, metric_info
from dojobench.benchmarks.records import MetricSummary, Run, RunMeta, Summary
from dojobench.metrics.intervals import Interval, paired_difference
from dojobench.protocol.words import count as count

LEVEL = 0.95

LEFT_OUT = frozenset({"mse"})
"""Metrics that no table shows, because another says the same; the CSV has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One run of the report.

    Attributes:
        label: Name that tells it from every other run of the report.
        role: ``model``, ``baseline``, or ``control`` for a model that saw the truth.
        style: Which series style the charts draw it in.
        run: Its records.
        summary: Derived from them.
        clusters: Clip id to what counts as one independent draw.
    """

    label: str
    role: Literal["model", "baseline", "control"]
    style: int
    run: Run
    summary: Summary
    clusters: Mapping[str, str]

    @property
    def meta(self) -> RunMeta:
        """What was run."""
        return self.run.meta

    @property
    def is_hold(self) -> bool:
        """Whether this is the static frame that everything is compared with."""
        return is_baseline(self.run, "hold")

    def values(self, metric: str, split: str | None = None) -> dict[str, float]:
        """Gives a metric per clip, seeds averaged; clips without it are left out."""
        return {
            c.clip: c.values[metric]
            for c in self.summary.clip_values
            if metric in c.values and split in (None, c.split)
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All runs of a report: models in the order given, then baselines, then controls.

    Attributes:
        entries: At least one.
        metrics: Columns of every table, in the order of ``METRICS``.
        primary: The metric that clips are ranked by.
    """

    entries: tuple[Entry, ...]
    metrics: tuple[str, ...]
    primary: str

    @property
    def meta(self) -> RunMeta:
        """What all runs have in common: suite, convention, clips."""
        return self.entries[0].meta

    @property
    def hold(self) -> Entry | None:
        """The run of ``hold``, where there is one."""
        return next((e for e in self.entries if e.is_hold), None)

    @property
    def models(self) -> tuple[Entry, ...]:
        """What is judged: the models, or where there are none, every baseline but ``hold``."""
        models = tuple(e for e in self.entries if e.role == "model")
        return models or tuple(e for e in self.entries if e.role == "baseline" and not e.is_hold)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits in order of first appearance."""
        return tuple(dict.fromkeys(c.split for c in self.entries[0].summary.clip_values))

    @cached_property
    def _differences(self) -> dict[tuple[str, str, str, str | None, float], Interval | None]:
        return {}

    def difference(
        self, a: Entry, b: Entry, metric: str, *, split: str | None = None, level: float = LEVEL
    ) -> Interval | None:
        """Estimates ``a`` minus ``b`` on the clips that both have.

        Returns:
            The episode-clustered paired interval, or ``None`` where no clip has both numbers.
        """
        key = (a.label, b.label, metric, split, level)
        if key not in self._differences:
            ours, theirs = a.values(metric, split), b.values(metric, split)
            clips = [clip for clip in ours if clip in theirs]
            self._differences[key] = (
                _paired(
                    np.array([ours[c] for c in clips]),
                    np.array([theirs[c] for c in clips]),
                    np.array([a.clusters[c] for c in clips]),
                    level,
                )
                if clips
                else None
            )
        return self._differences[key]

    def scale(
        self, ranges: Mapping[str, Sequence[float]], always: Sequence[float] = ()
    ) -> tuple[float, float] | None:
        """Finds an axis on which what matters can be read.

        The models and ``hold`` always fit on it. Other baselines and controls stretch it by at
        most its own length on either side, so that an oracle at the cap or garbage near zero
        does not press everything else into a line.

        Args:
            ranges: Label to all values of that run that would be drawn.
            always: Values of no run that have to fit, such as the truth's.

        Returns:
            The ends of the axis, or ``None`` where there is nothing to draw.
        """
        drawn = {label: kept for label, v in ranges.items() if (kept := _finite(v))}
        core = {e.label for e in (*self.models, *([self.hold] if self.hold else []))}
        inner = [v for label in drawn if label in core for v in drawn[label]]
        inner = inner or [v for values in drawn.values() for v in values]
        inner += _finite(always)
        if not inner:
            return None
        low, high = min(inner), max(inner)
        length = high - low
        for values in drawn.values():
            if min(values) >= low - length and max(values) <= high + length:
                inner += (min(values), max(values))
        return min(inner), max(inner)

    @cached_property
    def leaders(self) -> dict[str, tuple[str, ...]]:
        """Per metric, the labels that cannot be told apart from the best mean.

        Runs that saw the truth do not compete. The level is Bonferroni's over the comparisons
        with the leader, so that a column of many runs crowns nobody by chance.
        """
        found = {}
        for metric in self.metrics:
            runs = [e for e in self.entries if e.role != "control" and metric in e.summary.metrics]
            if len(runs) < 2 or not info(metric).directed:
                continue
            sign = 1 if info(metric).higher_is_better else -1
            best = max(runs, key=lambda e: sign * e.summary.metrics[metric].mean)
            level = 1 - (1 - LEVEL) / (len(runs) - 1)
            rest = (e for e in runs if e is not best)
            tied = [e for e in rest if not self._apart(best, e, metric, level)]
            found[metric] = (best.label, *(e.label for e in tied))
        return found

    def _apart(self, a: Entry, b: Entry, metric: str, level: float) -> bool:
        found = self.difference(a, b, metric, level=level)
        return found is not None and excludes_zero(found)


def _paired(
    ours: npt.NDArray[np.float64],
    theirs: npt.NDArray[np.float64],
    clusters: npt.NDArray[np.str_],
    level: float,
) -> Interval:
    """Estimates a paired difference; one episode has no spread to resample, so no interval."""
    if len(set(clusters)) > 1:
        return paired_difference(ours, theirs, clusters, level=level)
    return Interval(
        mean=float(np.mean(ours - theirs)), low=math.nan, high=math.nan, n=len(ours), clusters=1,
        level=level, method="none: a single episode",
    )  # fmt: skip


_DECIMALS = {"dB": 2, "s": 1, "% of height": 1, "levels": 2, "steps": 1}
"""By unit; three for everything else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """How a metric is written: its name for people, unit, direction and decimals.

    Attributes:
        directed: Whether one end of the scale is better, so that runs can be ranked by it.
        target: The right value where it lies inside the scale.
    """

    label: str
    unit: str
    higher_is_better: bool
    directed: bool
    decimals: int
    cap: float | None
    description: str
    target: float | None = None


def info(metric: str) -> Info:
    """Looks up a metric; one that this version does not know keeps its bare name."""
    known = metric_info(metric)
    if known is None:
        return Info(
            label=metric, unit="", higher_is_better=True, directed=False, decimals=3, cap=None,
            description="",
        )  # fmt: skip
    ranks, target = True, None
    if isinstance(known, BenchmarkMetric):
        ranks, target = known.ranks and known.target is None, known.target
    return Info(
        label=known.label,
        unit=known.unit,
        higher_is_better=known.higher_is_better,
        directed=ranks,
        decimals=5 if metric == "mse" else _DECIMALS.get(known.unit, 3),
        cap=known.cap,
        description=known.description,
        target=target,
    )


def direction(metric: str) -> str:
    """Names the better direction, ``higher`` or ``lower``; empty where there is none."""
    told = info(metric)
    if not told.directed:
        return ""
    return "higher" if told.higher_is_better else "lower"


def better(metric: str) -> str:
    """Says what good is: ``higher is better``, ``1 is right``, or nothing."""
    told = info(metric)
    if told.target is not None:
        return f"{told.target:g} is right"
    return f"{direction(metric)} is better" if told.directed else ""


def figure(metric: str, value: float, *, signed: bool = False) -> str:
    """Writes a value of a metric with its decimals and a true minus sign, without its unit."""
    if not math.isfinite(value):
        return "n/a"
    text = f"{value:{'+' if signed else ''}.{info(metric).decimals}f}"
    zero = f"{0:.{info(metric).decimals}f}"
    return zero if text.lstrip("+-") == zero else text.replace("-", "−")


def span(metric: str, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Writes an interval as ``[low, high]``, or nothing where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{figure(metric, low, signed=signed)}, {figure(metric, high, signed=signed)}]"


def measured(metric: str, found: MetricSummary, *, signed: bool = False) -> str:
    """Writes a mean with its unit and interval: ``12.4 s [10.1, 14.2]``."""
    unit = f" {info(metric).unit}" if info(metric).unit else ""
    interval = span(metric, found.low, found.high, signed=signed)
    return f"{figure(metric, found.mean, signed=signed)}{unit} {interval}".rstrip()


def percent(share: float) -> str:
    """Writes a share as a whole percentage, ``93 %``."""
    return f"{100 * share:.0f} %"


def percents(low: float | None, high: float | None) -> str:
    """Writes an interval of shares as ``[88, 97]``, in percent; nothing where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


def off_scale(values: Sequence[float], scale: tuple[float, float] | None) -> bool:
    """Whether none of a run's values lies on the axis."""
    kept = _finite(values)
    return scale is not None and bool(kept) and (max(kept) < scale[0] or min(kept) > scale[1])


def _finite(values: Sequence[float]) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def excludes_zero(interval: Interval) -> bool:
    """Whether both ends lie on the same side of zero; false where there is no interval."""
    return interval.low > 0 or interval.high < 0


def is_baseline(run: Run, name: str | None = None) -> bool:
    """Whether a run is one of the baselines that dojobench brings along (or the one named)."""
    reference = run.meta.model.reference
    return reference in BASELINES if name is None else reference == name
