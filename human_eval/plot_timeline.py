"""Votes over time, as columns."""

from collections.abc import Sequence

from markupsafe import Markup

from dojobench.benchmarks.svg import Scale, bar, line, picture, text_at, ticks, y_axis


def timeline(
    counts: Sequence[tuple[str, int]], *, label: str, width: float, height: float = 220
) -> Markup:
    """Draws a column for each span of time.

    Args:
        counts: Beginning of each span as ISO 8601 to the minute, and votes in it; at least one.
        label: What the chart shows, for screen readers.
        width: In pixels.
        height: In pixels.

    Returns:
        The ``<svg>`` element.
    """
    left, right, top, bottom = 46.0, width - 14.0, 12.0, height - 44.0
    marks = ticks(0, max(count for _, count in counts), 4)
    y = Scale(low=0, high=marks[-1], start=bottom, end=top)
    pitch = (right - left) / len(counts)
    body = y_axis(marks, y, left, right)
    for k, (_, count) in enumerate(counts):
        if count:
            x, wide = left + k * pitch, max(pitch - 2, 1.0)
            body.append(bar(x + min(1.0, pitch / 4), y(count), wide, bottom - y(count), "column"))
    body.append(line(left, bottom, right, bottom, "axis"))
    body.append(text_at(left, bottom + 18, _short(counts[0][0]), "t"))
    if len(counts) > 1:
        body.append(text_at(right, bottom + 18, _short(counts[-1][0]), "t end"))
    body.append(text_at((left + right) / 2, bottom + 38, "time (UTC)", "t mid"))
    return picture(width, height, label, body)


def _short(time: str) -> str:
    return time.replace("T", " ").removesuffix("Z")
