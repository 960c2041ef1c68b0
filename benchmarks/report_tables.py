"""The section of tables: every run by every metric, overall, against ``hold`` and per split."""

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dojobench.benchmarks.records import MetricSummary
from dojobench.benchmarks.report_data import (
    Comparison,
    Entry,
    better,
    count,
    direction,
    excludes_zero,
    figure,
    info,
    span,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        text: The number, or the sentence that stands where it would.
        interval: Its interval, or an empty text.
        seeds: How far the mean varies from seed to seed, beside the interval.
        order: What to sort by; ``None`` sorts last.
        mark: ``best``, ``tied``, ``better``, ``worse``, ``same`` or an empty text.
        missing: Whether ``text`` is a sentence.
    """

    text: str
    interval: str = ""
    seeds: str = ""
    order: float | None = None
    mark: str = ""
    missing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One row of a table: a run and its cells."""

    label: str
    role: str
    style: int
    cells: tuple[Cell, ...]
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """Head of a metric's column; ``better`` says what good is, such as ``1 is right``."""

    label: str
    unit: str
    direction: str
    better: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of runs by metrics."""

    caption: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Data of the tables' section."""

    overall: Table
    differences: Table | None
    splits: tuple[Table, ...]
    csv: str
    caps: tuple[str, ...]


def scores(comparison: Comparison) -> Scores:
    """Lays out every run by every metric: overall, against ``hold``, and per split."""
    overall = _overall(comparison)
    splits = comparison.splits
    return Scores(
        overall=overall,
        differences=_differences(comparison),
        splits=tuple(_by_split(comparison, s) for s in splits) if len(splits) > 1 else (),
        csv=csv_address(comparison),
        caps=_caps(comparison.metrics),
    )


def _computed(comparison: Comparison) -> tuple[str, ...]:
    """Lists the metrics that some run has; the overall table alone says why the others lack."""
    return tuple(
        m for m in comparison.metrics if any(m in e.summary.metrics for e in comparison.entries)
    )


def _caps(metrics: Iterable[str]) -> tuple[str, ...]:
    """Says what decibels of an exact frame are set to, which would be infinite."""
    capped: dict[float, list[str]] = {}
    for told in map(info, metrics):
        if told.unit == "dB" and told.cap is not None:
            capped.setdefault(told.cap, []).append(told.label)
    return tuple(
        f"{' and '.join(labels)} of an exact frame {'is' if len(labels) == 1 else 'are'} set to "
        f"{cap:g} dB"
        for cap, labels in capped.items()
    )


def _columns(metrics: Iterable[str]) -> tuple[Column, ...]:
    return tuple(
        Column(
            label=info(m).label,
            unit=info(m).unit,
            direction=direction(m),
            better=better(m),
            description=info(m).description,
        )
        for m in metrics
    )


def _cell(metric: str, found: MetricSummary | None, entry: Entry, mark: str = "") -> Cell:
    if found is None:
        reason = entry.summary.not_computed.get(metric, "not computed in this run")
        reason = reason if reason.startswith("not computed") else f"not computed: {reason}"
        return Cell(text=reason, missing=True)
    spread = "" if found.seed_sd is None else f"seed sd {figure(metric, found.seed_sd)}"
    return Cell(
        text=figure(metric, found.mean),
        interval=span(metric, found.low, found.high),
        seeds=spread,
        order=found.mean,
        mark=mark,
    )


def _overall(comparison: Comparison) -> Table:
    return runs_table(
        comparison,
        comparison.metrics,
        caption="All runs, mean over clips with its 95 % interval (resampled by episode)",
    )


def runs_table(
    comparison: Comparison, metrics: Sequence[str], *, caption: str, unit: str = "Clips"
) -> Table:
    """Lays out every run by some metrics.

    Args:
        comparison: The runs.
        metrics: The columns.
        caption: What the table is.
        unit: What a record is of: clips, groups, rollouts.

    Returns:
        The table; what was not computed says why.
    """
    competing = sum(e.role != "control" for e in comparison.entries)

    def mark(metric: str, entry: Entry) -> str:
        leaders = comparison.leaders.get(metric, ())
        # Where nothing is told apart, a mark on everything would say nothing.
        if entry.label not in leaders or len(leaders) == competing:
            return ""
        return "best" if len(leaders) == 1 else "tied"

    lines = [
        Line(
            label=e.label,
            role=e.role,
            style=e.style,
            cells=tuple(_cell(m, e.summary.metrics.get(m), e, mark(m, e)) for m in metrics),
            tail=(f"{e.summary.clips:,}", f"{e.summary.episodes:,}", _seeds(e.summary.seeds)),
        )
        for e in comparison.entries
    ]
    return Table(
        caption=caption,
        columns=_columns(metrics),
        lines=tuple(lines),
        tail=(unit, "Episodes", "Seeds"),
    )


def _seeds(seeds: Sequence[int]) -> str:
    """Counts the seeds and names them, so that seed 0 is not taken for no seed."""
    return f"{len(seeds)} ({', '.join(map(str, seeds))})"


def _difference(comparison: Comparison, entry: Entry, metric: str) -> Cell:
    hold = comparison.hold
    found = comparison.difference(entry, hold, metric) if hold else None
    if found is None:
        return _cell(metric, None, entry)
    interval = span(metric, found.low, found.high, signed=True)
    mark = "same"
    if excludes_zero(found):
        mark = "better" if (found.mean > 0) == info(metric).higher_is_better else "worse"
    return Cell(
        text=figure(metric, found.mean, signed=True), interval=interval, order=found.mean, mark=mark
    )


def _differences(comparison: Comparison) -> Table | None:
    if comparison.hold is None or len(comparison.entries) < 2:
        return None
    metrics = _computed(comparison)
    lines = [
        Line(
            label=e.label,
            role=e.role,
            style=e.style,
            cells=tuple(_difference(comparison, e, m) for m in metrics),
        )
        for e in comparison.entries
        if not e.is_hold
    ]
    return Table(
        caption="Difference to hold on the same clips, with its 95 % interval",
        columns=_columns(metrics),
        lines=tuple(lines),
    )


def _by_split(comparison: Comparison, split: str) -> Table:
    lines, metrics = list[Line](), _computed(comparison)
    clips = [c for c in comparison.entries[0].summary.clip_values if c.split == split]
    for e in comparison.entries:
        found = {m: e.summary.metrics[m].by_split.get(split) for m in e.summary.metrics}
        cells = tuple(_cell(m, found.get(m), e) for m in metrics)
        lines.append(Line(label=e.label, role=e.role, style=e.style, cells=cells))
    episodes = len({comparison.entries[0].clusters[c.clip] for c in clips})
    return Table(
        caption=f"Split {split}: {count(len(clips), 'clip')} from {count(episodes, 'episode')}",
        columns=_columns(metrics),
        lines=tuple(lines),
    )


def csv_address(comparison: Comparison) -> str:
    """Writes the overall table, every number in full, as a ``data:`` address."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("run", "role", "split", "metric", "mean", "low", "high", "clips", "episodes", "method")
    )
    for e in comparison.entries:
        for metric, found in e.summary.metrics.items():
            for split, s in (("all", found), *found.by_split.items()):
                row = (s.mean, s.low, s.high, s.n, s.clusters, s.method)
                writer.writerow((_plain(e.label), e.role, _plain(split), metric, *row))
    encoded = base64.b64encode(text.getvalue().encode()).decode("ascii")
    return f"data:text/csv;base64,{encoded}"


def _plain(text: str) -> str:
    """Keeps a spreadsheet from taking a name for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
