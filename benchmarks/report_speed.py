"""The section on speed: does a model keep up with the robot, and what does a frame cost?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dojobench.benchmarks.plot_histogram import histogram
from dojobench.benchmarks.report_charts import NARROW, WIDE, Chart
from dojobench.benchmarks.report_conditions import Facts, flat
from dojobench.benchmarks.report_data import percents
from dojobench.benchmarks.report_gather import Speed

MOST_ROWS = 24
"""Bins in the table under a histogram."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedLine:
    """One measurement in a table: cells of a value and what stands beside it."""

    label: str
    role: str
    style: int
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedData:
    """Data of the section."""

    lines: tuple[SpeedLine, ...]
    costs: tuple[SpeedLine, ...]
    charts: tuple[Chart, ...]
    differ: str
    machines: tuple[tuple[str, int, Facts], ...]


def speed(speeds: Sequence[Speed]) -> SpeedData:
    """Lays out measurements of speed: figures, histograms, costs and machines."""
    return SpeedData(
        lines=tuple(_line(s, _figures(s)) for s in speeds),
        costs=tuple(_line(s, _cost(s)) for s in speeds),
        charts=tuple(_chart(s) for s in speeds),
        differ=_differ(speeds),
        machines=tuple((s.label, s.style, _machine(s)) for s in speeds),
    )


def milliseconds(seconds: object) -> str:
    """Writes a time with three digits or so: ``0.42 ms``, ``12.3 ms``, ``1,204 ms``."""
    value = 1e3 * number(seconds)
    digits = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} ms"


def number(value: object) -> float:
    """Reads a number of a measurement; what is missing is 0."""
    return float(value) if isinstance(value, int | float) else 0.0


def large(value: object) -> str:
    """Writes a count with three digits and its thousands: ``1.37 k``, ``11.2 M``, ``2.05 G``."""
    found = number(value)
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if found >= size:
            return (
                f"{found / size:.3g} {unit}"
                if found < 999.5 * size
                else f"{found / size:,.0f} {unit}"
            )
    return f"{found:.3g}"


def rate(value: object) -> str:
    """Writes frames a second with about three digits."""
    found = number(value)
    return f"{found:,.{0 if found >= 100 else 1 if found >= 10 else 2}f}"


def _line(entry: Speed, cells: tuple[tuple[str, str], ...]) -> SpeedLine:
    return SpeedLine(label=entry.label, role=entry.role, style=entry.style, cells=cells)


def _figures(entry: Speed) -> tuple[tuple[str, str], ...]:
    stats = entry.report.stats
    missed = number(stats["missed_deadlines"])
    return (
        (rate(stats["frames_per_second"]), ""),
        (f"{number(stats['real_time_factor']):,.2f}×", ""),
        (milliseconds(stats["time_to_first_frame"]), ""),
        (milliseconds(stats["p50"]), ""),
        (milliseconds(stats["p95"]), ""),
        (milliseconds(stats["p99"]), ""),
        (milliseconds(stats["jitter"]), ""),
        (
            f"{100 * missed:.1f} %",
            percents(number(stats["missed_low"]), number(stats["missed_high"])),
        ),
        (f"{number(stats['steps']):,.0f}", ""),
    )


def _cost(entry: Speed) -> tuple[tuple[str, str], ...]:
    report = entry.report
    cost, stats = report.cost or {}, report.stats
    passes = cost.get("passes_per_step")
    told = ", ".join(f"{n} × {k}" for k, n in passes.items()) if isinstance(passes, dict) else ""
    peak = stats["peak_bytes"]
    return (
        (large(cost.get("parameters")) if cost else "no network seen", ""),
        (large(cost.get("flops_per_frame")) if cost else "–", ""),
        (told or "–", ""),
        ("on a CPU" if peak is None else f"{number(peak) / 2**30:.2f} GiB", ""),
        ("in process" if stats["transport"] is None else milliseconds(stats["transport"]), ""),
        (milliseconds(report.null["p50"]), ""),
    )


def _chart(entry: Speed) -> Chart:
    stats, steps = entry.report.stats, [1e3 * s for s in entry.report.steps_s]
    budget = 1e3 * number(stats["budget"])
    marks = [
        (1e3 * number(stats[p]), f"{p} {milliseconds(stats[p])}") for p in ("p50", "p95", "p99")
    ]
    wide, narrow = (
        histogram(
            steps,
            style=entry.style,
            label=f"Times of single steps of {entry.label}; the table below has the numbers",
            x_label="milliseconds a step",
            y_label="steps",
            marks=marks,
            limit=(budget, f"deadline {budget:,.0f} ms"),
            width=width,
            height=250,
        )
        for width in (WIDE, NARROW)
    )
    late = sum(s > budget for s in steps)
    return Chart(
        title=f"Latency of {entry.label}",
        wide=wide,
        narrow=narrow,
        head=("Milliseconds a step", "Steps"),
        rows=_bins(steps),
        note=(
            f"{late} of {len(steps)} steps took longer than the {budget:,.0f} ms that their "
            "frames last."
        ),
    )


def _bins(steps: Sequence[float]) -> tuple[tuple[str, str], ...]:
    """Counts steps in bins between the fastest and the slowest."""
    low, high = min(steps), max(steps)
    size = (high - low) / min(MOST_ROWS, max(len(steps) // 4, 1)) or 1.0
    counts: dict[int, int] = {}
    for step in steps:
        place = min(int((step - low) / size), max(int((high - low) / size) - 1, 0))
        counts[place] = counts.get(place, 0) + 1
    return tuple(
        (f"{low + k * size:.3f} to {low + (k + 1) * size:.3f}", str(n))
        for k, n in sorted(counts.items())
    )


def _conditions(conditions: Mapping[str, Any]) -> str:
    height, width = conditions["resolution"]
    return (
        f"{width}×{height}, {conditions['chunk']} frames from {conditions['context_frames']}, "
        f"batch {conditions['batch']}, {conditions['frame_rate']:g} Hz, {conditions['device']}"
    )


def _differ(speeds: Sequence[Speed]) -> str:
    """Says when measurements must not be compared with each other."""
    kinds = {_conditions(s.report.conditions) for s in speeds}
    machines = {repr(sorted(flat(s.report.hardware))) for s in speeds}
    if len(kinds) > 1:
        return "They were timed under different conditions: do not compare them with each other."
    if len(machines) > 1:
        return "They were timed on different machines: do not compare them with each other."
    return ""


def _machine(entry: Speed) -> Facts:
    report = entry.report
    conditions = report.conditions
    return (
        ("Conditions", _conditions(conditions)),
        ("Rollouts and steps", f"{conditions['sessions']} of {conditions['steps']} steps each, "
         f"after {conditions['warmup']} for warm-up"),
        ("Measured", report.measured),
        ("torch", report.packages.get("torch", "not known")),
        *flat(report.hardware),
    )  # fmt: skip
