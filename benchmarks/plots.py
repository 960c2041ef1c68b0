"""Charts as SVG text: small, deterministic, styled by the page, legible in both colour modes.

A chart carries no colours of its own: it names classes (``s0`` to ``s7`` for the series, each
with its own dash), and the page's stylesheet gives them one set of colours for light and one
for dark. Every chart is drawn at a stated width in pixels, so that text keeps its size; a page
draws it once wide and once narrow and shows the one that fits.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

STYLES = 8
"""Number of series styles that the stylesheet knows; a ninth series starts over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One line with its band.

    Attributes:
        label: Name, drawn beside the line's end.
        style: Which of the ``STYLES`` to use, any integer at least 0.
        mean: Values from left to right.
        low: Lower end of the band, as long as ``mean``; empty for no band.
        high: Upper end of the band.
    """

    label: str
    style: int
    mean: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


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
    """

    label: str
    style: int
    value: float
    low: float
    high: float
    points: tuple[float, ...] = ()
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """Maps ``[low, high]`` to pixels ``start..end``, never outside."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
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


def _svg(width: float, height: float, label: str, body: Iterable[str]) -> Markup:
    head = (
        f'<svg viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" '
        f'height="{number(height)}" role="img" aria-label="{escape(label)}">'
    )
    return Markup(head + "".join(body) + "</svg>")  # noqa: S704 - every text in it is escaped


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> str:
    points = (f'{k}="{number(v)}"' for k, v in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)))
    return f'<line {" ".join(points)} class="{name}"/>'


def _text(x: float, y: float, text: str, name: str = "t", title: str | None = None) -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<text x="{number(x)}" y="{number(y)}" class="{name}">{escape(text)}{tip}</text>'


def _spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
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


def _path(xs: Sequence[float], ys: Sequence[float]) -> str:
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


def _band(series: Series, xs: Sequence[float], y: _Scale) -> str:
    kept = [
        k
        for k, (a, b) in enumerate(zip(series.low, series.high, strict=True))
        if len(finite((a, b))) == 2
    ]
    if len(kept) < 2:
        return ""
    upper = _path([xs[k] for k in kept], [y(series.high[k]) for k in kept])
    lower = _path([xs[k] for k in reversed(kept)], [y(series.low[k]) for k in reversed(kept)])
    return f'<path d="{upper}{lower.replace("M", "L", 1)}Z" class="band s{series.style % STYLES}"/>'


def _y_axis(marks: Sequence[float], y: _Scale, left: float, right: float) -> list[str]:
    step = marks[1] - marks[0]
    parts = [_line(left, y(m), right, y(m), "grid") for m in marks]
    parts += [_text(left - 8, y(m) + 4, tick_text(m, step), "t end") for m in marks]
    return parts


def curves(
    series: Sequence[Series],
    *,
    label: str,
    y_label: str,
    x_label: str,
    first: int = 1,
    width: float = 720,
    height: float = 320,
    domain: tuple[float, float] | None = None,
) -> Markup:
    """Draws lines with bands over frames, each named at its end.

    Args:
        series: At least one, all of the same length.
        label: What the chart shows, for screen readers.
        y_label: Quantity and unit, drawn above the axis.
        x_label: What is counted along the bottom.
        first: Number of the first point along the bottom.
        width: In pixels.
        height: In pixels.
        domain: Range that the vertical axis must cover; what lies outside is cut at its edge.
            Every finite value where ``None``.

    Returns:
        The ``<svg>`` element.
    """
    values = finite(v for s in series for v in (*s.mean, *s.low, *s.high))
    low, high = domain or (min(values, default=0.0), max(values, default=1.0))
    marks = ticks(low, high, 5 if height > 280 else 4)
    longest = max(len(s.label) for s in series)
    signs = min(longest, 22 if width > 500 else 13)
    left, right, top, bottom = 46.0, width - 18 - 6.9 * signs, 30.0, height - 44.0
    y = _Scale(low=marks[0], high=marks[-1], start=bottom, end=top)
    count = max(len(s.mean) for s in series)
    x = _Scale(
        low=first - 0.5 * (count == 1), high=first + max(count - 1, 0.5), start=left, end=right
    )
    body = [_text(0, 13, y_label, "t strong"), *_y_axis(marks, y, left, right)]
    body += _frame_axis(first, count, x, bottom, 6 if width > 500 else 4)
    body.append(_text((left + right) / 2, height - 6, x_label, "t mid"))
    body += [_band(s, [x(first + k) for k in range(len(s.mean))], y) for s in series]
    for s in series:
        xs, ys = (
            [x(first + k) for k in range(len(s.mean))],
            [y(v) if math.isfinite(v) else v for v in s.mean],
        )
        body.append(f'<path d="{_path(xs, ys)}" class="line s{s.style % STYLES}"/>')
        if len(s.mean) == 1:
            body.append(
                f'<circle cx="{number(xs[0])}" cy="{number(ys[0])}" r="4" class="dot s{s.style % STYLES}"/>'
            )
    ends = [next((y(v) for v in reversed(s.mean) if math.isfinite(v)), bottom) for s in series]
    for s, at, end in zip(series, _spread(ends, 15, top + 4, bottom), ends, strict=True):
        body.append(_line(right + 2, end, right + 9, at, f"lead s{s.style % STYLES}"))
        body.append(
            _text(
                right + 12, at + 4, shorten(s.label, signs), f"t name s{s.style % STYLES}", s.label
            )
        )
    return _svg(width, height, label, body)


def _frame_axis(first: int, count: int, x: _Scale, bottom: float, wanted: int) -> list[str]:
    step = max(1, round(ticks(0, max(count, 2), wanted)[1]))
    shown = [first] + [k for k in range(first + 1, first + count) if k % step == 0]
    if len(shown) > 1 and shown[1] - shown[0] < step / 2:
        shown.pop(1)
    parts = [_line(x.start, bottom, x.end, bottom, "axis")]
    return parts + [_text(x(k), bottom + 18, str(k), "t mid") for k in shown]


def forest(
    rows: Sequence[Row], *, label: str, zero: str, unit: str, better: str, width: float = 720
) -> Markup:
    """Draws differences with their intervals about a line at zero.

    Args:
        rows: At least one.
        label: What the chart shows, for screen readers.
        zero: What the line at zero stands for.
        unit: Unit of the axis.
        better: ``right`` or ``left``, the side on which a row is better than zero.
        width: In pixels.

    Returns:
        The ``<svg>`` element.
    """
    edges = finite(v for row in rows for v in (row.low, row.high, row.value))
    marks = ticks(min([0.0, *edges]), max([0.0, *edges]), 6 if width > 500 else 4)
    pitch, top = 44.0, 26.0
    bottom = top + pitch * len(rows)
    x = _Scale(low=marks[0], high=marks[-1], start=16, end=width - 16)
    step = marks[1] - marks[0]
    body = [_line(x(m), top, x(m), bottom, "grid") for m in marks]
    body += [_text(x(m), bottom + 18, tick_text(m, step), "t mid") for m in marks]
    body.append(_line(x(0), top - 6, x(0), bottom, "zero"))
    side = "end" if x(0) > width / 2 else ""
    body.append(_text(x(0) + (-6 if side else 6), top - 8, zero, f"t strong {side}".strip()))
    body.append(_text(width / 2, bottom + 36, f"{unit} · {better} is better", "t mid"))
    for k, row in enumerate(rows):
        at, style = top + pitch * k + 31, f"s{row.style % STYLES}"
        body.append(
            _text(16, at - 14, shorten(row.label, 60 if width > 500 else 24), "t halo", row.label)
        )
        body.append(_text(width - 16, at - 14, row.text, "t end halo num"))
        body.append(_line(x(row.low), at, x(row.high), at, f"whisker {style}"))
        for edge in (row.low, row.high):
            body.append(_line(x(edge), at - 5, x(edge), at + 5, f"whisker {style}"))
        body.append(
            f'<circle cx="{number(x(row.value))}" cy="{number(at)}" r="5.5" class="dot {style}"/>'
        )
    return _svg(width, bottom + 44, label, body)


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
    width: float = 720,
    domain: tuple[float, float] | None = None,
) -> Markup:
    """Draws one dot a clip, with the quartiles as a box and the median as a line.

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
    low, high = domain or (min(values, default=0.0), max(values, default=1.0))
    marks = ticks(low, high, 7 if width > 500 else 4)
    pitch, top = 62.0, 6.0
    bottom = top + pitch * len(rows)
    x = _Scale(low=marks[0], high=marks[-1], start=16, end=width - 16)
    step = marks[1] - marks[0]
    body = [_line(x(m), top, x(m), bottom, "grid") for m in marks]
    body += [_text(x(m), bottom + 18, tick_text(m, step), "t mid") for m in marks]
    body.append(_text(width / 2, bottom + 36, x_label, "t mid"))
    for k, row in enumerate(rows):
        at, style = top + pitch * k + 38, f"s{row.style % STYLES}"
        radius = 3.6 if len(row.points) <= 60 else 2.4
        body.append(
            _text(16, at - 23, shorten(row.label, 60 if width > 500 else 24), "t halo", row.label)
        )
        body.append(_text(width - 16, at - 23, row.text, "t end halo num"))
        box = f'x="{number(x(row.low))}" y="{number(at - 14)}" width="{number(x(row.high) - x(row.low))}"'
        body.append(f'<rect {box} height="28" rx="3" class="box {style}"/>')
        xs = [x(v) for v in row.points if math.isfinite(v)]
        for cx, dy in zip(xs, _stack(xs, radius), strict=True):
            cy = number(at + min(max(dy, -16), 16))
            body.append(f'<circle cx="{number(cx)}" cy="{cy}" r="{radius}" class="clip {style}"/>')
        body.append(_line(x(row.value), at - 16, x(row.value), at + 16, f"median {style}"))
    return _svg(width, bottom + 44, label, body)


def sparkline(
    values: Sequence[float], *, lead: int, width: float = 600, height: float = 44
) -> Markup:
    """Draws a clip's score over its frames, stretched to its place, with the context shaded.

    Args:
        values: One value a frame after the first ``lead`` frames.
        lead: Leading frames that have no value.
        width: Of the drawing's own grid; the page stretches it.
        height: In pixels.

    Returns:
        The ``<svg>`` element, hidden from screen readers: the numbers are said elsewhere.
    """
    total = lead + len(values)
    drawn = finite(values)
    low, high = min(drawn, default=0.0), max(drawn, default=1.0)
    y = _Scale(low=low, high=high if high > low else low + 1, start=height - 4, end=4)
    x = _Scale(low=0, high=max(total - 1, 1), start=0, end=width)
    path = _path(
        [x(lead + k) for k in range(len(values))], [y(v) if math.isfinite(v) else v for v in values]
    )
    shade = number(x(max(lead - 0.5, 0)))
    return Markup(  # noqa: S704 - made of numbers alone
        f'<svg class="spark" viewBox="0 0 {number(width)} {number(height)}" '
        f'preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="0" y="0" width="{shade}" height="{number(height)}" class="shade"/>'
        f'<path d="{path}" class="line"/><line x1="0" y1="0" x2="0" y2="{number(height)}" '
        'class="head"/></svg>'
    )
