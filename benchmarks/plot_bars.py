"""Bars in groups: one group a joint, one bar a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dojobench.benchmarks.svg import (
    STYLES,
    WIDE_FROM,
    Scale,
    bar,
    line,
    picture,
    shorten,
    text_at,
    tick_text,
    ticks,
)

BAR, GAP = 13.0, 16.0
"""Pixels of a bar and between groups."""

NAME_SIGNS = 16
"""Longer names of bars are cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Bars that belong together.

    Attributes:
        label: Its name.
        bars: Style, length and name of each bar; an empty name is not written.
        mark: A value to be marked across the group, such as the truth's own.
    """

    label: str
    bars: tuple[tuple[int, float, str], ...]
    mark: float | None = None


def bars(
    groups: Sequence[Group], *, label: str, x_label: str, width: float = 820
) -> Markup:  # fmt: skip
    """Draws lying bars from zero, groups one below the other.

    Args:
        groups: At least one, lengths from 0.
        label: What the chart shows, for screen readers.
        x_label: Quantity along the bottom.
        width: In pixels.

    Returns:
        The ``<svg>`` element.
    """
    wide = width > WIDE_FROM
    signs = min(max(len(g.label) for g in groups), 18 if wide else 9)
    named = min(max((len(n) for g in groups for *_, n in g.bars), default=0), NAME_SIGNS)
    left, right, top = 14 + 7.4 * signs, width - 40.0 - 6.4 * named, 12.0
    lengths = [v for g in groups for _, v, _ in g.bars] + [g.mark or 0.0 for g in groups]
    marks = ticks(0, max(max(lengths, default=1.0), 1e-6), 6 if wide else 4)
    x = Scale(low=0, high=marks[-1], start=left, end=right)
    heights = [BAR * max(len(g.bars), 1) + GAP for g in groups]
    bottom = top + sum(heights)
    step = marks[1] - marks[0]
    body = [line(x(m), top, x(m), bottom, "grid") for m in marks]
    body += [text_at(x(m), bottom + 18, tick_text(m, step), "t mid") for m in marks]
    body.append(text_at((left + right) / 2, bottom + 38, x_label, "t mid"))
    at = top
    for group, height in zip(groups, heights, strict=True):
        middle = at + height / 2
        body.append(text_at(0, middle + 4, shorten(group.label, signs), "t halo", group.label))
        if group.mark is not None:
            body.append(line(x(group.mark), at + 4, x(group.mark), at + height - 4, "zero"))
        for k, (style, value, name) in enumerate(group.bars):
            y = at + GAP / 2 + BAR * k
            body.append(bar(left, y + 1, x(value) - left, BAR - 2, f"count s{style % STYLES}"))
            text = f"{value:.2f}" if value < 10 else f"{value:.1f}"
            whole = f"{text} {shorten(name, NAME_SIGNS)}".rstrip()
            body.append(
                text_at(x(value) + 5, y + BAR - 2.5, whole, "t halo small soft", name or None)
            )
        at += height
    body.append(line(left, top, left, bottom, "axis"))
    return picture(width, bottom + 44, label, body)
