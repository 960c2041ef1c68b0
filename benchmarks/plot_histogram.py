"""How long steps take: a histogram with percentiles and the deadline drawn as lines."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from dojobench.benchmarks.svg import (
    STYLES,
    WIDE_FROM,
    Scale,
    bar,
    line,
    picture,
    spread,
    text_at,
    ticks,
    x_axis,
    y_axis,
)

FAR = 2.5
"""A deadline beyond this many times the slowest step is pointed at, not drawn to scale."""


def histogram(
    values: Sequence[float],
    *,
    style: int,
    label: str,
    x_label: str,
    y_label: str,
    marks: Sequence[tuple[float, str]],
    limit: tuple[float, str],
    width: float = 820,
    height: float = 240,
) -> Markup:
    """Draws how often values occur, with named lines.

    Args:
        values: At least one, none negative.
        style: Which of the ``STYLES`` to use.
        label: What the chart shows, for screen readers.
        x_label: Quantity along the bottom, with its unit.
        y_label: What is counted.
        marks: Values to draw a line at, with their names.
        limit: The deadline and its name; far beyond the values it is named at the edge.
        width: In pixels.
        height: In pixels.

    Returns:
        The ``<svg>`` element.
    """
    wide = width > WIDE_FROM
    slowest = max(values)
    near = limit[0] <= FAR * slowest
    ends = ticks(0.0, max(slowest, limit[0]) if near else slowest, 6 if wide else 4)
    top_line = 64.0 if wide else 82.0
    left, right, bottom = 46.0, width - 14.0, height - 44.0 + (0 if wide else 18)
    height = bottom + 44
    x = Scale(low=0, high=ends[-1], start=left, end=right)
    counts, edges = np.histogram(values, bins=48 if wide else 26, range=(0.0, ends[-1]))
    levels = [m for m in ticks(0, int(counts.max()), 3) if m == round(m)]
    levels = levels if len(levels) > 1 else [0.0, float(counts.max())]
    y = Scale(low=0, high=levels[-1], start=bottom, end=top_line)
    body = [text_at(0, 13, y_label, "t strong"), *y_axis(levels, y, left, right)]
    for k, count in enumerate(counts.tolist()):
        if count:
            a, b = x(float(edges[k])), x(float(edges[k + 1]))
            body.append(
                bar(a, y(count), max(b - a - 1, 1), bottom - y(count), f"count s{style % STYLES}")
            )
    body += x_axis(ends, x, bottom, x_label)
    named = [*marks, limit] if near else list(marks)
    body += _marks(named, limit if near else None, x, (top_line, bottom), right)
    if not near:
        body.append(text_at(right, top_line - 50, f"{limit[1]} →", "t end deadline-name"))
    return picture(width, height, label, body)


def _marks(
    named: Sequence[tuple[float, str]],
    limit: tuple[float, str] | None,
    x: Scale,
    ends: tuple[float, float],
    right: float,
) -> list[str]:
    """Draws lines with their names above, each at a height of its own where they are close."""
    order = sorted(named, key=lambda m: m[0])
    lines, names = [], []
    heights = spread([float(k) for k in range(len(order))], 1, 0, max(len(order) - 1, 0))
    for k, (value, name) in enumerate(order):
        kind = "deadline" if limit is not None and (value, name) == limit else "pointer"
        # Names climb to the right, so that close lines do not write over each other.
        height = 10 + 14 * heights[len(order) - 1 - k]
        at = ends[0] - height
        lines.append(line(x(value), at + 4, x(value), ends[1], kind))
        left_side = x(value) > x.start + 0.62 * (right - x.start)
        side = "end" if left_side else ""
        names.append(
            text_at(
                x(value) + (-5 if left_side else 5),
                at + 10,
                name,
                f"t halo small {side} {kind}-name",
            )
        )
    return [*lines, *names]
