"""The site's charts as SVG text: quality against speed, records over time, curves over a rollout.

They carry classes and no colours, like the report's; every chart has a table beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup

from dojobench.benchmarks import plots
from dojobench.benchmarks.report_charts import Chart
from dojobench.benchmarks.svg import (
    STYLES,
    Scale,
    circle,
    line,
    number,
    picture,
    shorten,
    spread,
    text_at,
    ticks,
    y_axis,
)
from dojobench.leaderboard.site_cells import Column, span
from dojobench.leaderboard.site_entries import Curve

WIDE, NARROW = 820, 360
MOST_NAMES = 14
MOST_POINTS = 100
_TABLE_ROWS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row of a trade-off: speed in FPS and quality, each ``(value, low, high)``."""

    label: str
    speed: tuple[float, float, float]
    quality: tuple[float, float, float]
    baseline: bool = False


def trade_off(points: Sequence[Point], column: Column, title: str) -> Chart | None:
    """Draws quality against speed on a logarithmic axis; nothing for no points."""
    if not points:
        return None
    wide, narrow = (_trade_off(points, column, width) for width in (WIDE, NARROW))
    head = ("Model", "Speed (FPS)", column.label + (f" ({column.unit})" if column.unit else ""))
    rows = tuple(
        (p.label, _with_span(p.speed, "FPS"), _with_span(p.quality, column.unit))
        for p in sorted(points, key=lambda p: (-p.quality[0], p.label))
    )
    return Chart(title=title, wide=wide, narrow=narrow, head=head, rows=rows)


def _with_span(value: tuple[float, float, float], unit: str) -> str:
    interval = span(value[1], value[2], unit)
    text = Column(name="", label="", unit=unit).write(value[0])
    return f"{text} ({interval})" if interval else text


def _trade_off(points: Sequence[Point], column: Column, width: int) -> Markup:
    height = 380.0
    signs = 22 if width > 500 else 13
    left, right, top, bottom = 46.0, width - 24 - 6.9 * signs, 30.0, height - 48.0
    qualities = [v for p in points for v in p.quality if math.isfinite(v)]
    marks = ticks(min(qualities), max(qualities), 5)
    y = Scale(low=marks[0], high=marks[-1], start=bottom, end=top)
    speeds = [math.log10(p.speed[0]) for p in points]
    low, high = math.floor(min(speeds)), max(math.ceil(max(speeds)), math.floor(min(speeds)) + 1)
    x = Scale(low=low, high=high, start=left + 6, end=right - 6)
    unit = ", ".join(part for part in (column.unit, column.better) if part)
    body = [text_at(0, 13, f"{column.label}{f' ({unit})' if unit else ''}", "t strong")]
    body += y_axis(marks, y, left, right)
    body.append(line(left, bottom, right, bottom, "axis"))
    for power in range(low, high + 1):
        body.append(line(x(power), top, x(power), bottom, "grid"))
        body.append(text_at(x(power), bottom + 18, _power(power), "t mid"))
    body.append(text_at((left + right) / 2, bottom + 38, "frames per second, logarithmic", "t mid"))
    named = sorted(points, key=lambda p: (p.baseline, -p.quality[0], p.label))[:MOST_NAMES]
    styles = {p.label: k % STYLES for k, p in enumerate(named)}
    for p in points:
        style = f"s{styles.get(p.label, STYLES - 1)}"
        at_x, at_y = x(math.log10(p.speed[0])), y(p.quality[0])
        if all(math.isfinite(v) for v in p.quality):
            body.append(line(at_x, y(p.quality[1]), at_x, y(p.quality[2]), f"whisker {style}"))
        if all(math.isfinite(v) and v > 0 for v in p.speed):
            ends = (x(math.log10(p.speed[1])), x(math.log10(p.speed[2])))
            body.append(line(ends[0], at_y, ends[1], at_y, f"whisker {style}"))
        body.append(circle(at_x, at_y, 5, f"dot {style}"))
    heights = [y(p.quality[0]) for p in named]
    for p, at, own in zip(named, spread(heights, 16, top + 4, bottom), heights, strict=True):
        style = f"s{styles[p.label]}"
        body.append(line(x(math.log10(p.speed[0])) + 6, own, right + 6, at, f"lead thin {style}"))
        body.append(
            text_at(right + 10, at + 4, shorten(p.label, signs), f"t name {style}", p.label)
        )
    return picture(
        width, height, f"{column.label} against speed; the table below has the numbers", body
    )


def _power(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A new best value of a column: when, by whom, how much."""

    day: str
    label: str
    value: float
    text: str


def history(steps: Sequence[Step], column: Column) -> Chart | None:
    """Draws how the best value of a column grew over time; nothing for fewer than two steps."""
    rows = tuple((s.day, s.label, s.text) for s in steps)
    head = ("Date", "Model", "Best so far")
    if len(steps) < 2:
        return None
    wide, narrow = (_history(steps, column, width) for width in (WIDE, NARROW))
    return Chart(
        title=f"Best {column.label} over time", wide=wide, narrow=narrow, head=head, rows=rows
    )


def _history(steps: Sequence[Step], column: Column, width: int) -> Markup:
    height, left, top = 240.0, 46.0, 30.0
    right, bottom = width - 20.0, height - 40.0
    days = [float(date.fromisoformat(s.day).toordinal()) for s in steps]
    marks = ticks(min(s.value for s in steps), max(s.value for s in steps), 4)
    y = Scale(low=marks[0], high=marks[-1], start=bottom, end=top)
    x = Scale(low=days[0] - 1, high=days[-1] + 1, start=left, end=right)
    path = f"M{number(x(days[0]))} {number(y(steps[0].value))}"
    for day, step in zip(days[1:], steps[1:], strict=True):
        path += f"H{number(x(day))}V{number(y(step.value))}"
    body = [text_at(0, 13, f"best {column.label}", "t strong"), *y_axis(marks, y, left, right)]
    body.append(line(left, bottom, right, bottom, "axis"))
    body.append(f'<path d="{path}H{number(right)}" class="line s0"/>')
    body += [circle(x(d), y(s.value), 4, "dot s0") for d, s in zip(days, steps, strict=True)]
    body.append(text_at(left, bottom + 18, steps[0].day, "t"))
    body.append(text_at(right, bottom + 18, steps[-1].day, "t end"))
    return picture(
        width, height, f"Best {column.label} over time; the table below has the steps", body
    )


def _domain(
    mean: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> tuple[float, float]:
    """Makes room for the band, but never so much that the curve itself flattens."""
    least, most = min(mean), max(mean)
    room = max((most - least) / 2, 0.05 * abs(most), 1e-6)
    ends = [v for v in (*low, *high) if math.isfinite(v)] or [least, most]
    return max(min(ends), least - room), min(max(ends), most + room)


def rollout(curve: Curve, column: Column, label: str, rate: float) -> Chart:
    """Draws one curve over the rollout with its band."""
    stride = max(1, math.ceil(len(curve.mean) / MOST_POINTS))
    mean = curve.mean[::stride]
    low, high = (
        tuple(math.nan if v is None else v for v in ends[::stride])
        for ends in (curve.low, curve.high)
    )
    domain = _domain(mean, low, high)
    series = [plots.Series(label=label, style=0, mean=mean, low=low, high=high)]
    unit = ", ".join(part for part in (column.unit, column.better) if part)
    wide, narrow = (
        plots.curves(
            series,
            label=f"{column.label} over the rollout; the table below has the numbers",
            y_label=unit or column.label,
            x_label="seconds predicted",
            first=1 / rate,
            step=stride / rate,
            width=width,
            height=height,
            domain=domain,
        )
        for width, height in ((WIDE, 280), (NARROW, 250))
    )
    wider = any(a < domain[0] or b > domain[1] for a, b in zip(low, high, strict=True))
    every = max(1, math.ceil(len(curve.mean) / _TABLE_ROWS))
    notes = []
    if wider:
        notes.append("Where few clips are that long, the band is wider than the chart.")
    if every > 1:
        notes.append(f"The table has one frame in {every}; the page's JSON has all.")
    shown = sorted({*range(0, len(curve.mean), every), len(curve.mean) - 1})
    return Chart(
        title=f"{column.label} over the rollout",
        wide=wide,
        narrow=narrow,
        head=("Frame", column.label, "95 % interval"),
        rows=tuple(
            (
                str(k + 1),
                column.write(curve.mean[k]),
                span(curve.low[k], curve.high[k], column.unit),
            )
            for k in shown
        ),
        note=" ".join(notes),
    )
