"""The small parts that charts are drawn with: scales, round ticks, and SVG elements as text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDE_FROM = 500
"""Charts wider than this have room for long names and more ticks."""

STYLES = 8
"""Number of series styles that the stylesheet knows; a ninth series starts over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Maps ``[low, high]`` to pixels ``start..end``, never outside."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Gives the pixel of a value; one outside is put at the nearer edge."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def number(value: float) -> str:
    """Writes a coordinate with two decimals at most and no trailing zeros."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Finds round numbers that cover ``[low, high]`` with about ``count`` steps.

    Returns:
        At least two rising multiples of 1, 2 or 5 times a power of ten, the first at or below
        ``low`` and the last at or above ``high``.
    """
    if not high > low:
        spread = abs(low) * 0.05 or 0.5
        low, high = low - spread, high + spread
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def tick_text(value: float, step: float) -> str:
    """Writes a tick with as many decimals as its step needs and a true minus sign."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{decimals}f}".replace("-", "−")


def shorten(text: str, length: int) -> str:
    """Cuts a name to ``length`` signs with an ellipsis in its middle, so both ends show."""
    if len(text) <= length:
        return text
    head = (length - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def finite(values: Iterable[float]) -> list[float]:
    """Keeps the values that can be drawn."""
    return [v for v in values if math.isfinite(v)]


def picture(width: float, height: float, label: str, body: Iterable[str]) -> Markup:
    """Wraps elements into an ``<svg>`` that screen readers take as one picture."""
    head = (
        f'<svg viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" '
        f'height="{number(height)}" role="img" aria-label="{escape(label)}">'
    )
    return Markup(head + "".join(body) + "</svg>")  # noqa: S704 - every text in it is escaped


def line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    """Draws a straight line of the class ``name``."""
    points = (f'{k}="{number(v)}"' for k, v in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)))
    return f'<line {" ".join(points)} class="{name}"/>'


def text_at(x: float, y: float, text: str, name: str = "t", title: str | None = None) -> str:
    """Writes a text, escaped; ``title`` says it in full where it was cut short."""
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<text x="{number(x)}" y="{number(y)}" class="{name}">{escape(text)}{tip}</text>'


def y_axis(marks: Sequence[float], y: Scale, left: float, right: float) -> list[str]:
    """Draws a grid line and a number at each mark."""
    step = marks[1] - marks[0]
    parts = [line(left, y(m), right, y(m), "grid") for m in marks]
    return parts + [text_at(left - 8, y(m) + 4, tick_text(m, step), "t end") for m in marks]


def x_axis(marks: Sequence[float], x: Scale, bottom: float, name: str) -> list[str]:
    """Draws the line at the bottom with a number at each mark on it, and what is counted."""
    step = marks[1] - marks[0]
    shown = [m for m in marks if x.low - 1e-9 <= m <= x.high + 1e-9]
    parts = [line(x.start, bottom, x.end, bottom, "axis")]
    parts += [text_at(x(m), bottom + 18, tick_text(m, step), "t mid") for m in shown]
    return [*parts, text_at((x.start + x.end) / 2, bottom + 38, name, "t mid")]


def end_names(
    ends: Sequence[tuple[str, int, float]], bounds: tuple[float, float], right: float, signs: int
) -> list[str]:
    """Names every line at its end, moved apart where ends lie close together.

    Args:
        ends: Label, style and pixel height of each line's end.
        bounds: Highest and lowest pixel for a name.
        right: Where the lines end.
        signs: Longer names are cut.

    Returns:
        The elements.
    """
    heights = [end for _, _, end in ends]
    parts = []
    placed = spread(heights, 15, bounds[0], bounds[1])
    for (label, which, end), at in zip(ends, placed, strict=True):
        style = f"s{which % STYLES}"
        parts.append(line(right + 2, end, right + 9, at, f"lead {style}"))
        parts.append(text_at(right + 12, at + 4, shorten(label, signs), f"t name {style}", label))
    return parts


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves label positions apart to at least ``gap``, keeping their order and the bounds."""
    order = sorted(range(len(positions)), key=lambda k: positions[k])
    gap = min(gap, (high - low) / max(len(positions) - 1, 1))
    placed = [0.0] * len(positions)
    floor = low
    for k in order:
        placed[k] = max(positions[k], floor)
        floor = placed[k] + gap
    ceiling = high
    for k in reversed(order):
        placed[k] = min(placed[k], ceiling)
        ceiling = placed[k] - gap
    return placed


def path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Writes a polyline, lifting the pen where a value is not finite."""
    parts: list[str] = []
    pen = False
    for x, y in zip(xs, ys, strict=True):
        if not math.isfinite(y):
            pen = False
            continue
        parts.append(f"{'L' if pen else 'M'}{number(x)} {number(y)}")
        pen = True
    return "".join(parts)


def circle(x: float, y: float, radius: float, name: str) -> str:
    """Draws a dot of the class ``name``."""
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" class="{name}"/>'


def ring(x: float, y: float, radius: float, name: str) -> str:
    """Draws an open circle of the class ``name``."""
    return circle(x, y, radius, f"ring {name}")


def bar(x: float, y: float, width: float, height: float, name: str) -> str:
    """Draws a rectangle of the class ``name``, its corners a little rounded."""
    sides = (("x", x), ("y", y), ("width", width), ("height", height))
    placed = " ".join(f'{k}="{number(v)}"' for k, v in sides)
    return f'<rect {placed} rx="2" class="{name}"/>'
