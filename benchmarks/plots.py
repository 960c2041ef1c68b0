"""Curves as SVG text: small, deterministic, styled by the page, legible in both colour modes.

A chart carries no colours of its own: it names classes (``s0`` to ``s7`` for the series, each
with its own dash), and the page's stylesheet gives them one set of colours for light and one
for dark. Every chart is drawn at a stated width in pixels, so that text keeps its size; a page
draws it once wide and once narrow and shows the one that fits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dojobench.benchmarks.svg import (
    STYLES,
    WIDE_FROM,
    Scale,
    circle,
    end_names,
    finite,
    line,
    number,
    path,
    picture,
    text_at,
    ticks,
    x_axis,
    y_axis,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One line with its band.

    Attributes:
        label: Name, drawn beside the line's end.
        style: Which of the ``STYLES`` to use, any integer at least 0.
        mean: Values from left to right.
        low: Lower end of the band, as long as ``mean``; empty for no band.
        high: Upper end of the band.
        mark: Place of a point to be marked with a dot; ``None`` for none.
    """

    label: str
    style: int
    mean: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    mark: int | None = None


def _band(series: Series, xs: Sequence[float], y: Scale) -> str:
    kept = [
        k
        for k, (a, b) in enumerate(zip(series.low, series.high, strict=True))
        if len(finite((a, b))) == 2
    ]
    if len(kept) < 2:
        return ""
    upper = path([xs[k] for k in kept], [y(series.high[k]) for k in kept])
    lower = path([xs[k] for k in reversed(kept)], [y(series.low[k]) for k in reversed(kept)])
    return f'<path d="{upper}{lower.replace("M", "L", 1)}Z" class="band s{series.style % STYLES}"/>'


def curves(
    series: Sequence[Series],
    *,
    label: str,
    y_label: str,
    x_label: str,
    first: float = 1,
    step: float | None = None,
    width: float = 820,
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
        step: What lies between two points along the bottom, such as seconds; frames, counted
            one by one, where ``None``.
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
    signs = min(max(len(s.label) for s in series), 22 if width > WIDE_FROM else 13)
    left, right, top, bottom = 46.0, width - 18 - 6.9 * signs, 30.0, height - 44.0
    y = Scale(low=marks[0], high=marks[-1], start=bottom, end=top)
    count = max(len(s.mean) for s in series)
    pace = 1.0 if step is None else step
    last = first + pace * max(count - 1, 0.5)
    x = Scale(low=first - 0.5 * (count == 1), high=last, start=left, end=right)
    wanted = 6 if width > WIDE_FROM else 4
    body = [text_at(0, 13, y_label, "t strong"), *y_axis(marks, y, left, right)]
    if step is None:
        body += _frame_axis(round(first), count, x, bottom, wanted)
        body.append(text_at((left + right) / 2, height - 6, x_label, "t mid"))
    else:
        body += x_axis(ticks(first, last, wanted), x, bottom, x_label)
    body += [_band(s, [x(first + pace * k) for k in range(len(s.mean))], y) for s in series]
    body += [part for s in series for part in _curve(s, first, pace, x, y)]
    ends = [(s.label, s.style, y(next(iter(finite(reversed(s.mean))), y.low))) for s in series]
    body += end_names(ends, (y.end + 4, y.start), right, signs)
    return picture(width, height, label, body)


def _curve(series: Series, first: float, pace: float, x: Scale, y: Scale) -> list[str]:
    style = f"s{series.style % STYLES}"
    xs = [x(first + pace * k) for k in range(len(series.mean))]
    ys = [y(v) if math.isfinite(v) else v for v in series.mean]
    drawn = [f'<path d="{path(xs, ys)}" class="line {style}"/>']
    if len(finite(ys)) == 1:
        drawn += [
            circle(a, b, 4, f"dot {style}") for a, b in zip(xs, ys, strict=True) if finite((b,))
        ]
    if series.mark is not None:
        drawn.append(circle(xs[series.mark], ys[series.mark], 6, f"dot {style}"))
    return drawn


def _frame_axis(first: int, count: int, x: Scale, bottom: float, wanted: int) -> list[str]:
    step = max(1, round(ticks(0, max(count, 2), wanted)[1]))
    shown = [first] + [k for k in range(first + 1, first + count) if k % step == 0]
    if len(shown) > 1 and shown[1] - shown[0] < step / 2:
        shown.pop(1)
    parts = [line(x.start, bottom, x.end, bottom, "axis")]
    return parts + [text_at(x(k), bottom + 18, str(k), "t mid") for k in shown]


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
    y = Scale(low=low, high=high if high > low else low + 1, start=height - 4, end=4)
    x = Scale(low=0, high=max(total - 1, 1), start=0, end=width)
    drawn_path = path(
        [x(lead + k) for k in range(len(values))], [y(v) if math.isfinite(v) else v for v in values]
    )
    shade = number(x(max(lead - 0.5, 0)))
    return Markup(  # noqa: S704 - made of numbers alone
        f'<svg class="spark" viewBox="0 0 {number(width)} {number(height)}" '
        f'preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="0" y="0" width="{shade}" height="{number(height)}" class="shade"/>'
        f'<path d="{drawn_path}" class="line"/><line x1="0" y1="0" x2="0" y2="{number(height)}" '
        'class="head"/></svg>'
    )
