"""Two numbers of each run against each other, with the interval of both and where ideal lies."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dojobench.benchmarks.svg import (
    STYLES,
    WIDE_FROM,
    Scale,
    circle,
    finite,
    line,
    picture,
    shorten,
    spread,
    text_at,
    ticks,
    x_axis,
    y_axis,
)

AIR = 0.04
"""Share of an axis that is left free beyond what is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One run.

    Attributes:
        label: Name, drawn at its side.
        style: Which of the ``STYLES`` to use.
        x: Value along the bottom, with the ends of its interval (NaN for none).
        y: The same up the side.
        cloud: Pairs of the units behind it, drawn faintly.
    """

    label: str
    style: int
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    cloud: tuple[tuple[float, float], ...] = ()


def scatter(
    points: Sequence[Point],
    *,
    label: str,
    x_label: str,
    y_label: str,
    ideal: tuple[float, float],
    ideal_name: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    width: float = 820,
    height: float = 400,
) -> Markup:
    """Draws a dot a run with whiskers along both axes.

    Args:
        points: At least one.
        label: What the chart shows, for screen readers.
        x_label: Quantity along the bottom.
        y_label: Quantity up the side.
        ideal: The point that a perfect run has.
        ideal_name: Its name.
        x_range: What the bottom must cover; what lies outside is put at its edge.
        y_range: The same up the side.
        width: In pixels.
        height: In pixels.

    Returns:
        The ``<svg>`` element.
    """
    wide = width > WIDE_FROM
    signs = min(max(len(p.label) for p in points), 22 if wide else 14)
    left, right, top, bottom = 46.0, width - 24 - 6.9 * signs, 30.0, height - 48.0
    xs, ys = ticks(*x_range, 6 if wide else 4), ticks(*y_range, 6 if wide else 5)
    x = Scale(low=xs[0] - AIR, high=xs[-1] + AIR, start=left, end=right)
    room = AIR * (ys[-1] - ys[0])
    y = Scale(low=ys[0] - room, high=ys[-1] + room, start=bottom, end=top)
    body = [text_at(0, 13, y_label, "t strong"), *y_axis(ys, y, left, right)]
    body += [line(x(m), top, x(m), bottom, "grid") for m in xs]
    body += x_axis(xs, x, bottom, x_label)
    body += _ideal(x(ideal[0]), y(ideal[1]), (left, right, top, bottom), ideal_name)
    for p in points:
        style = f"s{p.style % STYLES}"
        body += [circle(x(a), y(b), 3, f"clip {style}") for a, b in p.cloud]
        if len(finite(p.x)) == 3:
            body.append(line(x(p.x[1]), y(p.y[0]), x(p.x[2]), y(p.y[0]), f"whisker {style}"))
        if len(finite(p.y)) == 3:
            body.append(line(x(p.x[0]), y(p.y[1]), x(p.x[0]), y(p.y[2]), f"whisker {style}"))
        body.append(circle(x(p.x[0]), y(p.y[0]), 6, f"dot {style}"))
    heights = [y(p.y[0]) for p in points]
    for p, at, own in zip(points, spread(heights, 16, top + 4, bottom), heights, strict=True):
        style = f"s{p.style % STYLES}"
        body.append(line(x(p.x[0]) + 7, own, right + 6, at, f"lead thin {style}"))
        body.append(
            text_at(right + 10, at + 4, shorten(p.label, signs), f"t name {style}", p.label)
        )
    return picture(width, height, label, body)


def _ideal(
    x: float, y: float, box: tuple[float, float, float, float], name: str
) -> list[str]:  # fmt: skip
    """Marks the ideal with dashed lines to both axes and an open circle."""
    left, _, _, bottom = box
    return [
        line(left, y, x, y, "guide"),
        line(x, y, x, bottom, "guide"),
        circle(x, y, 11, "target"),
        text_at(x - 16, y - 9, name, "t end halo small"),
    ]
