"""The share of rollouts that last: Kaplan and Meier's steps, their band, and what was cut off."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dojobench.benchmarks.svg import (
    STYLES,
    WIDE_FROM,
    Scale,
    end_names,
    finite,
    line,
    number,
    picture,
    text_at,
    ticks,
    x_axis,
    y_axis,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """One survival curve.

    Attributes:
        label: Name, drawn at its end.
        style: Which of the ``STYLES`` to use.
        times: Where it falls, rising, in seconds.
        share: What is left after each fall; 1 before the first.
        low: Lower ends of the band after each fall; NaN for none. Empty: no band is drawn.
        high: Upper ends.
        cut: When rollouts were last seen whole.
        end: Until when rollouts were watched.
    """

    label: str
    style: int
    times: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    cut: tuple[float, ...] = ()
    end: float = 0.0

    def at(self, time: float) -> float:
        """Gives the share that lasts beyond a time."""
        left = [s for t, s in zip(self.times, self.share, strict=True) if t <= time + 1e-9]
        return left[-1] if left else 1.0


def survival(
    curves: Sequence[Steps],
    *,
    label: str,
    x_label: str,
    y_label: str,
    width: float = 820,
    height: float = 340,
) -> Markup:
    """Draws a falling step line a run, ticks where rollouts were cut off, names at the ends.

    Args:
        curves: At least one.
        label: What the chart shows, for screen readers.
        x_label: Quantity along the bottom.
        y_label: Quantity up the side.
        width: In pixels.
        height: In pixels.

    Returns:
        The ``<svg>`` element.
    """
    wide = width > WIDE_FROM
    signs = min(max(len(c.label) for c in curves), 22 if wide else 13)
    left, right, top, bottom = 46.0, width - 18 - 6.9 * signs, 30.0, height - 44.0
    longest = max(c.end for c in curves) or 1.0
    x = Scale(low=0, high=longest, start=left, end=right)
    y = Scale(low=0, high=100, start=bottom, end=top)
    body = [text_at(0, 13, y_label, "t strong"), *y_axis((0, 25, 50, 75, 100), y, left, right)]
    body += x_axis(ticks(0, longest, 6 if wide else 4), x, bottom, x_label)
    body += [_band(c, x, y) for c in curves if c.low]
    for c in curves:
        style = f"s{c.style % STYLES}"
        body.append(f'<path d="{_staircase(c.times, c.share, c.end, x, y)}" class="line {style}"/>')
        for time in dict.fromkeys(c.cut):
            at = y(100 * c.at(time))
            body.append(line(x(time), at - 7, x(time), at + 7, f"whisker {style}"))
    ends = [(c.label, c.style, y(100 * c.at(c.end))) for c in curves]
    body += end_names(ends, (top + 4, bottom), right, signs)
    return picture(width, height, label, body)


def _staircase(
    times: Sequence[float], shares: Sequence[float], end: float, x: Scale, y: Scale
) -> str:
    """Writes a path that falls at each time, from 1 at the start to the last share at the end."""
    parts = [f"M{number(x(0))} {number(y(100))}"]
    for time, share in zip(times, shares, strict=True):
        parts.append(f"H{number(x(time))}V{number(y(100 * share))}")
    return "".join([*parts, f"H{number(x(end))}"])


def _band(curve: Steps, x: Scale, y: Scale) -> str:
    """Shades between the ends of the intervals, step by step, where there are any."""
    edges = [*curve.times, curve.end]
    boxes = []
    for k, (low, high) in enumerate(zip(curve.low, curve.high, strict=True)):
        if len(finite((low, high))) == 2 and not math.isclose(edges[k], edges[k + 1]):
            a, b = number(x(edges[k])), number(x(edges[k + 1]))
            boxes.append(
                f"M{a} {number(y(100 * high))}H{b}V{number(y(100 * low))}H{a}Z"
            )  # fmt: skip
    return f'<path d="{"".join(boxes)}" class="band s{curve.style % STYLES}"/>' if boxes else ""
