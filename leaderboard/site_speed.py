"""The table of speed: rows under the same conditions only, on the machine that is named."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from scipy.stats import binom

from dojobench.leaderboard.site_cells import EMPTY, Cell, Column, span, written
from dojobench.leaderboard.site_entries import Entry, Speed, SpeedView
from dojobench.leaderboard.site_tables import Table, row_of

FPS = Column(
    name="frames_per_second", label="Speed", unit="FPS", higher=True,
    description="Frames of one rollout over the time of its steps, the first step left out.",
)  # fmt: skip
COLUMNS = (
    FPS,
    Column(name="real_time_factor", label="Real time", unit="×", higher=True,
           description="Speed over the frame rate of the clips; 1 just keeps up."),
    Column(name="p50", label="Step, median", unit="ms", higher=False,
           description="Median time of a step."),
    Column(name="p95", label="Step, 95 %", unit="ms", higher=False,
           description="Time that 95 of 100 steps keep."),
    Column(name="missed_deadlines", label="Missed deadlines", unit="%", higher=False,
           description="Share of steps that took longer than their frames last."),
    Column(name="time_to_first_frame", label="First frames", unit="ms", higher=False,
           description="Median of opening a rollout and its first step; few rollouts are timed, "
           "so no interval is given."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedBoard:
    """Rows under one set of conditions."""

    conditions: str
    table: Table


def speed_boards(entries: Sequence[Entry]) -> list[SpeedBoard]:
    """Makes a table for each set of conditions and machine."""
    found: dict[str, list[tuple[Entry, Speed]]] = {}
    for entry in entries:
        for speed in entry.speeds:
            found.setdefault(conditions_of(speed), []).append((entry, speed))
    return [
        SpeedBoard(conditions=text, table=_table(number, text, found[text]))
        for number, text in enumerate(sorted(found), start=1)
    ]


def conditions_of(speed: Speed) -> str:
    """Says what was timed and on what."""
    c = speed.view.conditions
    size = "×".join(str(each) for each in reversed(_pair(c.get("resolution"))))
    return (
        f"{size}, {c.get('chunk')} frames a step, batch {c.get('batch')}, "
        f"{c.get('frame_rate'):g} FPS wanted, on {speed.run.hardware or 'an unnamed machine'}"
    )


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


def _table(number: int, conditions: str, rows: Sequence[tuple[Entry, Speed]]) -> Table:
    ordered = sorted(rows, key=lambda x: (x[0].withdrawn, -_fps(x[1]), x[0].id))
    return Table(
        id=f"speed-{number}",
        caption=f"Speed: {conditions}",
        columns=COLUMNS,
        rows=tuple(
            row_of(e, [speed_cell(c, s.view) for c in COLUMNS],
                   state="aside" if e.withdrawn else "ranked",
                   note="withdrawn" if e.withdrawn else "")
            for e, s in ordered
        ),
        ranked=False,
    )  # fmt: skip


def _fps(speed: Speed) -> float:
    return speed.view.stats.get("frames_per_second") or 0.0


def fps_interval(view: SpeedView) -> tuple[float, float, float] | None:
    """Gives frames per second with an interval from the spread of the timed steps.

    The mean of ``n`` steps has the standard error ``sd / sqrt(n)``; the speed is its inverse.
    """
    value = view.stats.get("frames_per_second")
    if not value:
        return None
    steps = view.steps_s
    if len(steps) < 2:
        return value, math.nan, math.nan
    mean = sum(steps) / len(steps)
    variance = sum((s - mean) ** 2 for s in steps) / (len(steps) - 1)
    share = 1.96 * math.sqrt(variance / len(steps)) / mean if mean else 0.0
    high = value / (1 - share) if share < 1 else math.inf
    return value, value / (1 + share), high


def speed_cell(column: Column, view: SpeedView) -> Cell:
    """Makes a cell of a measurement."""
    value = view.stats.get(column.name)
    if value is None:
        return EMPTY
    scale = {"ms": 1000.0, "%": 100.0}.get(column.unit, 1.0)
    low, high = _ends(column.name, view)
    return Cell(
        text=written(value * scale, column.unit),
        interval=span(low * scale, high * scale, column.unit),
        order=value,
    )


def _ends(name: str, view: SpeedView) -> tuple[float, float]:
    stats = view.stats
    if name in ("frames_per_second", "real_time_factor"):
        found = fps_interval(view)
        fps, value = stats.get("frames_per_second"), stats.get(name)
        if found is None or not fps or value is None:
            return math.nan, math.nan
        return found[1] * value / fps, found[2] * value / fps
    if name in ("p50", "p95") and view.steps_s:
        return quantile_interval(view.steps_s, 0.5 if name == "p50" else 0.95)
    if name == "missed_deadlines":
        low, high = stats.get("missed_low"), stats.get("missed_high")
        return (math.nan if low is None else low), (math.nan if high is None else high)
    return math.nan, math.nan


def quantile_interval(
    steps: Sequence[float], share: float, level: float = 0.95
) -> tuple[float, float]:
    """Gives the interval of a quantile between order statistics, by the binomial distribution.

    Returns:
        Two of the values; NaN where there are too few of them for the level.
    """
    values, n = sorted(steps), len(steps)
    low, high = _places(n, share, level)
    if low < 1 or high > n:
        return math.nan, math.nan
    return values[low - 1], values[high - 1]


@cache
def _places(n: int, share: float, level: float) -> tuple[int, int]:
    """Gives the order statistics around a quantile, from 1; kept, as few differ."""
    tail = (1 - level) / 2
    return int(binom.ppf(tail, n, share)), int(binom.ppf(1 - tail, n, share)) + 1
