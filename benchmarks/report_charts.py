"""The sections that draw: curves over the rollout and the spread over the clips.

Every chart comes with a table that says the same, for whoever cannot see it.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from dojobench.benchmarks import plot_rows, plots
from dojobench.benchmarks.records import CurveSummary
from dojobench.benchmarks.report_data import (
    Comparison,
    Entry,
    direction,
    figure,
    info,
    off_scale,
    span,
)
from dojobench.benchmarks.svg import finite

WIDE, NARROW = 820, 350


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


def nan(values: Iterable[float | None]) -> tuple[float, ...]:
    """Puts NaN, which is not drawn, where a record has no number."""
    return tuple(float("nan") if v is None else v for v in values)


def _curve(comparison: Comparison, metric: str) -> Chart:
    pairs = [
        (e, e.summary.curves[metric]) for e in comparison.entries if metric in e.summary.curves
    ]
    domain = comparison.scale({e.label: s.mean for e, s in pairs})
    outside = [e for e, s in pairs if off_scale(s.mean, domain)]
    # Bands of every baseline on top of each other would hide what they show.
    banded = [*comparison.models, comparison.hold]
    series = [
        plots.Series(
            label=e.label,
            style=e.style,
            mean=s.mean,
            low=nan(s.low) if e in banded else (),
            high=nan(s.high) if e in banded else (),
        )
        for e, s in pairs
        if e not in outside
    ]
    domain = _with_bands(metric, domain, series)
    longest = max(len(s.mean) for _, s in pairs)
    scored = max(r.frames for r in comparison.entries[0].run.records)
    first = 1 if longest <= scored else 0
    rate = comparison.meta.suite.frame_rate
    better = f"{direction(metric)} is better" if direction(metric) else ""
    wide, narrow = (
        plots.curves(
            series,
            label=f"{info(metric).label} by predicted frame; the table below has the numbers",
            y_label=", ".join(x for x in (info(metric).unit, better) if x),
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
        note=_curve_note(pairs, outside, first),
    )


def _at(metric: str, curve: CurveSummary, k: int) -> str:
    if k >= len(curve.mean):
        return "–"
    interval = span(metric, curve.low[k], curve.high[k])
    return f"{figure(metric, curve.mean[k])} {interval}".strip()


def _with_bands(
    metric: str, domain: tuple[float, float] | None, series: Sequence[plots.Series]
) -> tuple[float, float] | None:
    """Makes room for the bands, but never so much that the curves themselves flatten."""
    bands = finite(v for s in series for v in (*s.low, *s.high))
    if domain is None or not bands:
        return domain
    room = 0.6 * (domain[1] - domain[0])
    low, high = max(min(bands), domain[0] - room), min(max(bands), domain[1] + room)
    cap = info(metric).cap
    if cap is not None and info(metric).higher_is_better:
        high = min(high, max(cap, domain[1]))
    elif cap is not None:
        low = max(low, min(cap, domain[0]))
    return min(low, domain[0]), max(high, domain[1])


def _curve_note(
    pairs: Sequence[tuple[Entry, CurveSummary]], outside: Sequence[Entry], first: int
) -> str:
    parts = [_off_the_scale(outside)] if outside else []
    counts = pairs[0][1].n
    fewer = [k for k, n in enumerate(counts) if n < counts[0]]
    if fewer:
        parts.append(f"From frame {first + fewer[0]} on, fewer clips are that long.")
    return " ".join(parts)


def _off_the_scale(entries: Sequence[Entry]) -> str:
    names = ", ".join(e.label for e in entries)
    return f"Off the scale and not drawn, but in the table: {names}."


def distribution(comparison: Comparison) -> Charts:
    """Draws each run's clips, one dot a clip, by the metrics that every clip has."""
    wanted = [m for m in comparison.metrics if m in ("psnr", "skill")] or [comparison.primary]
    charts = [c for m in wanted if (c := _spread(comparison, m)) is not None]
    return Charts(charts=tuple(charts))


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _spread(comparison: Comparison, metric: str) -> Chart | None:
    found = {e.label: sorted(e.values(metric).values()) for e in comparison.entries}
    domain = comparison.scale(found)
    rows, table, outside = [], [], []
    for e in comparison.entries:
        values = found[e.label]
        if not values:
            continue
        low, middle, high = _quartiles(values)
        numbers = (values[0], low, middle, high, values[-1])
        table.append((e.label, *(figure(metric, v) for v in numbers), f"{len(values):,}"))
        if off_scale(values, domain):
            outside.append(e)
            continue
        rows.append(
            plot_rows.Row(
                label=e.label,
                style=e.style,
                value=middle,
                low=low,
                high=high,
                points=tuple(values),
                text=f"median {figure(metric, middle)}",
            )
        )
    if not rows:
        return None
    told = info(metric)
    wide, narrow = (
        plot_rows.strip(
            rows,
            label=f"{told.label} of every clip; the table below has the quartiles",
            x_label=f"{told.label} of a clip" + (f" ({told.unit})" if told.unit else ""),
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
        note=_off_the_scale(outside) if outside else "",
    )
