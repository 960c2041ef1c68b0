"""The sections that show numbers: tables, curves, distribution, conditions.

A section is one function from the comparison to plain data, and one template block that
lays the data out; ``report.SECTIONS`` lists them.
"""

import base64
import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from dojobench.benchmarks import plots
from dojobench.benchmarks.records import CurveSummary, MetricSummary
from dojobench.benchmarks.report_data import Comparison, Entry, excludes_zero, figure, info, span
from dojobench.benchmarks.report_verdict import count

WIDE, NARROW = 820, 350


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        text: The number, or the sentence that stands where it would.
        interval: Its interval, or an empty text.
        order: What to sort by; ``None`` sorts last.
        mark: ``best``, ``tied``, ``better``, ``worse``, ``same`` or an empty text.
        missing: Whether ``text`` is a sentence.
    """

    text: str
    interval: str = ""
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
    """Head of a metric's column."""

    label: str
    unit: str
    direction: str
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
        csv=_csv(comparison),
        caps=tuple(
            f"{info(m).label} of an exact frame is set to {info(m).cap:g} {info(m).unit}".strip()
            for m in comparison.metrics
            if info(m).cap is not None
        ),
    )


def _columns(metrics: Iterable[str]) -> tuple[Column, ...]:
    return tuple(
        Column(
            label=info(m).label,
            unit=info(m).unit,
            direction=("higher" if info(m).higher_is_better else "lower")
            if info(m).directed
            else "",
            description=info(m).description,
        )
        for m in metrics
    )


def _direction(metric: str) -> str:
    told = info(metric)
    if not told.directed:
        return ""
    return "higher" if told.higher_is_better else "lower"


def _cell(metric: str, found: MetricSummary | None, entry: Entry, mark: str = "") -> Cell:
    if found is None:
        reason = entry.summary.not_computed.get(metric, "not computed in this run")
        reason = reason if reason.startswith("not computed") else f"not computed: {reason}"
        return Cell(text=reason, missing=True)
    interval = span(metric, found.low, found.high)
    if found.seed_sd is not None:
        interval += f" seed sd {figure(metric, found.seed_sd)}"
    return Cell(
        text=figure(metric, found.mean), interval=interval.strip(), order=found.mean, mark=mark
    )


def _overall(comparison: Comparison) -> Table:
    def mark(metric: str, entry: Entry) -> str:
        leaders = comparison.leaders.get(metric, ())
        if entry.label not in leaders:
            return ""
        return "best" if len(leaders) == 1 else "tied"

    lines = [
        Line(
            label=e.label,
            role=e.role,
            style=e.style,
            cells=tuple(
                _cell(m, e.summary.metrics.get(m), e, mark(m, e)) for m in comparison.metrics
            ),
            tail=(
                f"{e.summary.clips:,}",
                f"{e.summary.episodes:,}",
                ", ".join(map(str, e.summary.seeds)),
            ),
        )
        for e in comparison.entries
    ]
    return Table(
        caption="All runs, mean over clips with its 95 % interval (resampled by episode)",
        columns=_columns(comparison.metrics),
        lines=tuple(lines),
        tail=("Clips", "Episodes", "Seeds"),
    )


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
    lines = [
        Line(
            label=e.label,
            role=e.role,
            style=e.style,
            cells=tuple(_difference(comparison, e, m) for m in comparison.metrics),
        )
        for e in comparison.entries
        if not e.is_hold
    ]
    return Table(
        caption="Difference to hold on the same clips, with its 95 % interval",
        columns=_columns(comparison.metrics),
        lines=tuple(lines),
    )


def _by_split(comparison: Comparison, split: str) -> Table:
    lines = []
    clips = [c for c in comparison.entries[0].summary.clip_values if c.split == split]
    for e in comparison.entries:
        found = {m: e.summary.metrics[m].by_split.get(split) for m in e.summary.metrics}
        cells = tuple(_cell(m, found.get(m), e) for m in comparison.metrics)
        lines.append(Line(label=e.label, role=e.role, style=e.style, cells=cells))
    episodes = len({comparison.entries[0].clusters[c.clip] for c in clips})
    return Table(
        caption=f"Split {split}: {count(len(clips), 'clip')} from {count(episodes, 'episode')}",
        columns=_columns(comparison.metrics),
        lines=tuple(lines),
    )


def _csv(comparison: Comparison) -> str:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart in two widths with the table that says the same."""

    title: str
    wide: Markup
    narrow: Markup
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charts:
    """Data of a section of charts; ``legend`` names the series once for all of them."""

    charts: tuple[Chart, ...]
    legend: tuple[tuple[int, str], ...] = field(default=())


def curves(comparison: Comparison) -> Charts:
    """Draws every per-frame metric over the rollout."""
    drawn = {m for e in comparison.entries for m in e.summary.curves}
    charts = [_curve(comparison, m) for m in comparison.metrics if m in drawn]
    return Charts(charts=tuple(charts), legend=_legend(comparison))


def _legend(comparison: Comparison) -> tuple[tuple[int, str], ...]:
    return tuple((e.style, e.label) for e in comparison.entries)


def _nan(values: Iterable[float | None]) -> tuple[float, ...]:
    return tuple(float("nan") if v is None else v for v in values)


def _domain(series: Iterable[Iterable[float]]) -> tuple[float, float] | None:
    """Gives the range of the runs that compete, so that a control at the cap flattens nobody."""
    values = plots.finite(v for values in series for v in values)
    return (min(values), max(values)) if values else None


def _curve(comparison: Comparison, metric: str) -> Chart:
    pairs = [
        (e, e.summary.curves[metric]) for e in comparison.entries if metric in e.summary.curves
    ]
    series = [
        plots.Series(label=e.label, style=e.style, mean=s.mean, low=_nan(s.low), high=_nan(s.high))
        for e, s in pairs
    ]
    domain = _domain(
        (*s.mean, *_nan(s.low), *_nan(s.high)) for e, s in pairs if e.role != "control"
    )
    longest = max(len(s.mean) for _, s in pairs)
    scored = max(r.frames for r in comparison.entries[0].run.records)
    first = 1 if longest <= scored else 0
    rate = comparison.meta.suite.frame_rate
    title = " ".join(
        x for x in (info(metric).label, f"({info(metric).unit})" * bool(info(metric).unit)) if x
    )
    wide, narrow = (
        plots.curves(
            series,
            label=f"{info(metric).label} by predicted frame; the table below has the numbers",
            y_label=title,
            x_label=f"predicted frame, at {rate:g} a second",
            first=first,
            width=width,
            height=height,
            domain=domain,
        )
        for width, height in ((WIDE, 320), (NARROW, 270))
    )
    return Chart(
        title=info(metric).label,
        wide=wide,
        narrow=narrow,
        head=("Frame", *(e.label for e, _ in pairs)),
        rows=tuple(
            (str(first + k), *(_at(metric, s, k) for _, s in pairs)) for k in range(longest)
        ),
        note=_curve_note(pairs, domain, longest),
    )


def _at(metric: str, curve: CurveSummary, k: int) -> str:
    if k >= len(curve.mean):
        return "–"
    interval = span(metric, curve.low[k], curve.high[k])
    return f"{figure(metric, curve.mean[k])} {interval}".strip()


def _curve_note(
    pairs: Sequence[tuple[Entry, CurveSummary]], domain: tuple[float, float] | None, longest: int
) -> str:
    parts = []
    if domain is not None:
        width = domain[1] - domain[0]
        outside = [
            e.label
            for e, s in pairs
            if e.role == "control"
            and (max(s.mean) > domain[1] + width or min(s.mean) < domain[0] - width)
        ]
        if outside:
            parts.append(
                f"{', '.join(outside)} saw the truth and lies off the scale: drawn at its edge."
            )
    fewer = [k for k in range(longest) for _, s in pairs if k < len(s.n) and s.n[k] < s.n[0]]
    if fewer:
        parts.append(f"From frame {min(fewer) + 1} on, fewer clips are that long.")
    return " ".join(parts)


def distribution(comparison: Comparison) -> Charts:
    """Draws each run's clips, one dot a clip, by the metrics that every clip has."""
    wanted = [m for m in ("psnr", "skill") if m in comparison.metrics] or [comparison.primary]
    charts = [c for m in wanted if (c := _spread(comparison, m)) is not None]
    return Charts(charts=tuple(charts))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _spread(comparison: Comparison, metric: str) -> Chart | None:
    rows, table = [], []
    for e in comparison.entries:
        values = tuple(sorted(e.values(metric).values()))
        if not values:
            continue
        low, middle, high = _quartiles(values)
        numbers = (values[0], low, middle, high, values[-1])
        table.append((e.label, *(figure(metric, v) for v in numbers), f"{len(values):,}"))
        rows.append((e, plots.Row(
            label=e.label, style=e.style, value=middle, low=low, high=high, points=values,
            text=f"median {figure(metric, middle)}",
        )))  # fmt: skip
    if not rows:
        return None
    domain = _domain(row.points for e, row in rows if e.role != "control")
    told = info(metric)
    wide, narrow = (
        plots.strip(
            [row for _, row in rows],
            label=f"{told.label} of every clip; the table below has the quartiles",
            x_label=f"{told.label} {told.unit}".strip() + " of a clip",
            width=width,
            domain=domain,
        )
        for width in (WIDE, NARROW)
    )
    return Chart(
        title=told.label,
        wide=wide,
        narrow=narrow,
        head=("Run", "Lowest", "Lower quartile", "Median", "Upper quartile", "Highest", "Clips"),
        rows=tuple(table),
    )
