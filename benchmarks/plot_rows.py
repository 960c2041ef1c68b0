"""Charts of one row a run: differences with intervals, and the spread over clips."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dojobench.benchmarks.svg import (
    STYLES,
    WIDE_FROM,
    Scale,
    bar,
    circle,
    finite,
    line,
    number,
    picture,
    ring,
    shorten,
    text_at,
    tick_text,
    ticks,
)

NAME_SIGNS = 24
"""Longer names are cut in their middle; the whole name stands in the tables."""

MOST_DOTS = 300
"""With more clips than this a strip shows a histogram in place of dots."""

BIN = 8
"""Width of a histogram's bin in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a forest or strip chart.

    Attributes:
        label: Name, drawn above the row.
        style: Which of the ``STYLES`` to use.
        value: The estimate, or the median of ``points``.
        low: Lower end of the interval, or the lower quartile.
        high: Upper end of the interval, or the upper quartile.
        points: One value a clip; empty for a forest chart.
        text: What stands at the right of the label, such as ``+1.3 dB``.
        other: A second value of the row, drawn as a ring and joined to ``value``.
    """

    label: str
    style: int
    value: float
    low: float
    high: float
    points: tuple[float, ...] = ()
    text: str = ""
    other: float | None = None


def forest(
    rows: Sequence[Row],
    *,
    label: str,
    zero: str,
    unit: str,
    better: str = "",
    at_value: float = 0.0,
    width: float = 820,
    domain: tuple[float, float] | None = None,
) -> Markup:
    """Draws values with their intervals about a line, such as differences about zero.

    Args:
        rows: At least one.
        label: What the chart shows, for screen readers.
        zero: What the line stands for.
        unit: Quantity or unit of the axis.
        better: ``right`` or ``left``, the side on which a row is better; empty for neither.
        at_value: Where the line is.
        width: In pixels.
        domain: Range that the axis must cover beside the line; a row outside points to its edge.

    Returns:
        The ``<svg>`` element.
    """
    spots = [(r.low, r.high, r.value, r.value if r.other is None else r.other) for r in rows]
    shown = domain or finite(v for spot in spots for v in spot)
    low, high = min([at_value, *shown]), max([at_value, *shown])
    air = 0.06 * (high - low)  # keeps the line off the edge
    ends = (low - air * (low >= at_value), high + air * (high <= at_value))
    sheet = _Sheet.of(rows, width, ends, pitch=36, tall=46)
    body = sheet.grid(f"{unit} · {better} is better" if better else unit)
    x, marks = sheet.x, sheet.marks
    body.append(line(x(at_value), sheet.top - 6, x(at_value), sheet.bottom, "zero"))
    body.append(text_at(x(at_value), sheet.top - 10, zero, "t strong mid"))
    for k, row in enumerate(rows):
        at, style = sheet.at(k), f"s{row.style % STYLES}"
        body += sheet.head(row, k)
        edges = finite((row.low, row.high))
        if len(edges) == 2 and edges[1] >= marks[0] and edges[0] <= marks[-1]:
            body.append(line(x(row.low), at, x(row.high), at, f"whisker {style}"))
            body += [line(x(e), at - 5, x(e), at + 5, f"whisker {style}") for e in edges]
        if row.other is not None:
            body.append(line(x(row.other), at, x(row.value), at, f"whisker {style}"))
            body.append(ring(x(row.other), at, 5, style))
        if marks[0] <= row.value <= marks[-1]:
            body.append(circle(x(row.value), at, 5.5, f"dot {style}"))
        else:
            body.append(_arrow(x(row.value), at, -1 if row.value < marks[0] else 1, f"dot {style}"))
    return picture(width, sheet.bottom + 44, label, body)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """Lays rows out: names at their side where there is room, above them where there is not."""

    x: Scale
    marks: Sequence[float]
    width: float
    top: float
    pitch: float
    rows: int
    wide: bool

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        width: float,
        domain: tuple[float, float],
        *,
        pitch: float,
        tall: float,
    ) -> "_Sheet":
        """Chooses ticks and margins; ``pitch`` is a row's height, ``tall`` with the name above."""
        wide = width > WIDE_FROM
        marks = ticks(*domain, 6 if wide else 4)
        longest = min(max(len(row.label) for row in rows), NAME_SIGNS)
        left = 12 + 7.4 * longest if wide else 16.0
        right = width - 24 - 6.6 * max(len(row.text) for row in rows) if wide else width - 16
        return cls(
            x=Scale(low=marks[0], high=marks[-1], start=left, end=right),
            marks=marks,
            width=width,
            top=26.0,
            pitch=pitch if wide else tall,
            rows=len(rows),
            wide=wide,
        )

    @property
    def bottom(self) -> float:
        return self.top + self.pitch * self.rows

    def at(self, row: int) -> float:
        return self.top + self.pitch * (row + 0.5) + (0 if self.wide else 10)

    def grid(self, name: str) -> list[str]:
        step = self.marks[1] - self.marks[0]
        x, bottom = self.x, self.bottom
        body = [line(x(m), self.top, x(m), bottom, "grid") for m in self.marks]
        body += [text_at(x(m), bottom + 18, tick_text(m, step), "t mid") for m in self.marks]
        return [*body, text_at((x.start + x.end) / 2, bottom + 36, name, "t mid")]

    def head(self, row: Row, k: int) -> list[str]:
        y = self.at(k) + 4 if self.wide else self.at(k) - 0.5 * self.pitch + 3
        name = shorten(row.label, NAME_SIGNS)
        return [
            text_at(0, y, name, "t halo", row.label),
            text_at(self.width, y, row.text, "t end halo num"),
        ]


def _arrow(x: float, y: float, side: int, name: str) -> str:
    points = f"{number(x)},{number(y)} {number(x - 11 * side)},{number(y - 6)} "
    return f'<polygon points="{points}{number(x - 11 * side)},{number(y + 6)}" class="{name}"/>'


def _dots(xs: Sequence[float], at: float, style: str) -> list[str]:
    radius = 3.6 if len(xs) <= 60 else 2.4
    heights = _stack(xs, radius)
    return [
        circle(x, at + min(max(dy, -16), 16), radius, f"clip {style}")
        for x, dy in zip(xs, heights, strict=True)
    ]


def _bars(xs: Sequence[float], at: float, style: str) -> list[str]:
    """Draws a histogram about the row's middle, in bins of ``BIN`` pixels."""
    bins: dict[int, int] = {}
    for x in xs:
        bins[int(x // BIN)] = bins.get(int(x // BIN), 0) + 1
    tallest = max(bins.values())
    return [
        bar(k * BIN, at - 16 * n / tallest, BIN - 1, 32 * n / tallest, f"clip {style}")
        for k, n in sorted(bins.items())
    ]


def _stack(xs: Sequence[float], radius: float) -> list[float]:
    """Gives each dot the nearest height at which it touches no dot placed before it."""
    placed: list[tuple[float, float]] = []
    heights = [0.0] * len(xs)
    for k in sorted(range(len(xs)), key=lambda k: xs[k]):
        level = 0
        while True:
            sign = 1 if level % 2 else -1
            height = sign * ((level + 1) // 2) * radius * 1.6
            near = (p for p in placed[-40:] if abs(p[0] - xs[k]) < 2 * radius)
            if level > 12 or all(abs(p[1] - height) >= 1.6 * radius - 1e-9 for p in near):
                break
            level += 1
        heights[k] = height
        placed.append((xs[k], height))
    return heights


def strip(
    rows: Sequence[Row],
    *,
    label: str,
    x_label: str,
    width: float = 820,
    domain: tuple[float, float] | None = None,
) -> Markup:
    """Draws a dot a clip (bars for very many), the quartiles as a box, the median as a line.

    Args:
        rows: At least one, with ``points``.
        label: What the chart shows, for screen readers.
        x_label: Quantity and unit, drawn below.
        width: In pixels.
        domain: Range that the axis must cover; what lies outside is cut at its edge.

    Returns:
        The ``<svg>`` element.
    """
    values = finite(v for row in rows for v in row.points)
    shown = domain or (min(values, default=0.0), max(values, default=1.0))
    sheet = _Sheet.of(rows, width, shown, pitch=46, tall=66)
    body, x = sheet.grid(x_label), sheet.x
    for k, row in enumerate(rows):
        at, style = sheet.at(k), f"s{row.style % STYLES}"
        body += sheet.head(row, k)
        body.append(bar(x(row.low), at - 14, x(row.high) - x(row.low), 28, f"box {style}"))
        xs = [x(v) for v in finite(row.points)]
        body += _dots(xs, at, style) if len(xs) <= MOST_DOTS else _bars(xs, at, style)
        body.append(line(x(row.value), at - 16, x(row.value), at + 16, f"median {style}"))
    return picture(width, sheet.bottom + 44, label, body)
