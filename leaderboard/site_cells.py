"""How the site writes numbers: one cell, with its interval, its order for sorting and its mark."""

import math
from dataclasses import dataclass

from dojobench.benchmarks.metric_names import BenchmarkMetric, metric_info
from dojobench.metrics.names import MetricInfo

MINUS = "−"
_DECIMALS = {
    "dB": 2,
    "s": 2,
    "ms": 1,
    "FPS": 2,
    "% of height": 1,
    "levels": 2,
    "%": 1,
    "steps": 1,
    "×": 2,
    "logits": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        name: Key of the metric.
        higher: Whether more is better; ``None`` where there is no better.
        target: The right value, where it is no end of the scale.
    """

    name: str
    label: str
    unit: str = ""
    higher: bool | None = None
    target: float | None = None
    description: str = ""

    @property
    def better(self) -> str:
        """Which way is better, in words."""
        if self.target is not None:
            return f"{self.target:g} is right"
        return (
            ""
            if self.higher is None
            else ("higher is better" if self.higher else "lower is better")
        )

    @property
    def arrow(self) -> str:
        """The same as a sign."""
        if self.target is not None:
            return f"→ {self.target:g}"
        return "" if self.higher is None else ("↑" if self.higher else "↓")

    @property
    def first(self) -> str:
        """How the column sorts at the first press: best rows on top."""
        return "ascending" if self.higher is False else "descending"

    def write(self, value: float) -> str:
        """Writes a value with the decimals of its unit."""
        return written(value, self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell; ``order`` is what it is sorted by, ``missing`` the reason why it is empty."""

    text: str = ""
    interval: str = ""
    rank: str = ""
    mark: str = ""
    order: float | None = None
    missing: str = ""


EMPTY = Cell(missing="–")


def column_of(name: str) -> Column:
    """Makes the column of a metric; one that nobody knows is shown by its own name."""
    info: MetricInfo | None = metric_info(name)
    if info is None:
        return Column(name=name, label=name)
    known = info if isinstance(info, BenchmarkMetric) else None
    return Column(
        name=name,
        label=info.label,
        unit=info.unit,
        higher=info.higher_is_better if known is None or known.ranks else None,
        target=known.target if known else None,
        description=info.description,
    )


def written(value: float, unit: str = "") -> str:
    """Writes a number with the decimals of its unit and a true minus sign."""
    if not math.isfinite(value):
        return "–"
    decimals = _DECIMALS.get(unit, 3)
    if unit == "FPS" and abs(value) >= 100:
        decimals = 0
    if unit == "ms" and 0 < abs(value) < 0.1:
        decimals = 4
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def span(low: float | None, high: float | None, unit: str = "") -> str:
    """Writes an interval; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{written(low, unit)} to {written(high, unit)}"


def signed(value: float, unit: str = "") -> str:
    """Writes a difference with its sign."""
    text = written(value, unit)
    return f"+{text}" if value > 0 and text.strip("0.") else text
