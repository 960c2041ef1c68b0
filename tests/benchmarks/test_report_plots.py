"""Charts: round ticks, labels that do not collide, values at the right place, safe text."""

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojobench.benchmarks.plot_rows import MOST_DOTS, Row, forest, strip
from dojobench.benchmarks.plots import Series, curves, sparkline
from dojobench.benchmarks.svg import number, shorten, spread, tick_text, ticks

NAN = float("nan")
levels = st.floats(-1e6, 1e6).map(lambda v: round(v, 6))


@given(levels, levels, st.integers(2, 9))
def test_ticks_are_round_and_cover_the_range(a: float, b: float, count: int) -> None:
    low, high = min(a, b), max(a, b)
    found = ticks(low, high, count)
    step = found[1] - found[0]
    slack = 1e-6 * step
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    assert len(found) <= 2 * count + 3
    lead = step / 10 ** math.floor(math.log10(step * 1.0000001))
    assert min(abs(lead - k) for k in (1, 2, 5, 10)) < 1e-3


@given(st.lists(st.floats(0, 300), min_size=1, max_size=15))
def test_labels_keep_their_order_their_distance_and_the_bounds(places: list[float]) -> None:
    moved = spread(places, 15, 0, 300)
    assert all(-1e-9 <= m <= 300 + 1e-9 for m in moved)
    ordered = [m for _, m in sorted(zip(places, moved, strict=True), key=lambda p: (p[0], p[1]))]
    assert all(b - a >= 15 - 1e-6 for a, b in itertools.pairwise(ordered))


def test_labels_that_do_not_fit_are_set_as_far_apart_as_they_can() -> None:
    moved = spread([5.0] * 5, 100, 0, 40)
    assert moved == pytest.approx([0, 10, 20, 30, 40])


def test_numbers_are_short_and_stable() -> None:
    assert [number(v) for v in (1.0, 1.005, -0.001, 12.3456, 100)] == [
        "1",
        "1",
        "0",
        "12.35",
        "100",
    ]
    assert tick_text(-0.5, 0.5) == "−0.5"
    assert tick_text(20, 5) == "20"
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert len(shorten("x" * 99, 13)) == 13


def points(path: str) -> list[tuple[str, float, float]]:
    return [(m, float(x), float(y)) for m, x, y in re.findall(r"([ML])([-\d.]+) ([-\d.]+)", path)]


def line(svg: str) -> list[tuple[str, float, float]]:
    return points(re.search(r'<path d="([^"]*)" class="line', svg)[1])


def test_a_curve_runs_through_its_values() -> None:
    series = Series(label="m", style=0, mean=(0.0, 10.0, 5.0))
    drawn = line(curves([series], label="c", y_label="", x_label=""))
    assert [p[0] for p in drawn] == ["M", "L", "L"]
    (_, x0, y0), (_, x1, y1), (_, x2, y2) = drawn
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.02)
    assert y1 < y2 < y0  # up is higher
    assert y0 - y1 == pytest.approx(2 * (y0 - y2), abs=0.02)


def test_the_pen_is_lifted_where_there_is_no_value() -> None:
    series = Series(label="m", style=0, mean=(1.0, NAN, 2.0, 3.0))
    svg = curves([series], label="c", y_label="", x_label="")
    assert [p[0] for p in line(svg)] == ["M", "M", "L"]
    assert "nan" not in svg


def test_a_band_without_an_end_is_not_drawn_there() -> None:
    series = Series(label="m", style=0, mean=(1.0, 2.0), low=(NAN, NAN), high=(NAN, NAN))
    svg = curves([series], label="c", y_label="", x_label="")
    assert "band" not in svg
    assert "nan" not in svg


def test_a_single_frame_is_a_dot() -> None:
    series = Series(label="m", style=0, mean=(1.0,))
    assert "<circle" in curves([series], label="c", y_label="", x_label="")


def test_names_are_text_in_every_chart() -> None:
    evil = "<b>&\"'"
    row = Row(label=evil, style=0, value=1, low=0, high=2, points=(0, 1, 2), text=evil)
    drawn = (
        curves([Series(label=evil, style=0, mean=(1, 2))], label=evil, y_label=evil, x_label=evil),
        forest([row], label=evil, zero=evil, unit=evil, better="right"),
        strip([row], label=evil, x_label=evil),
    )
    for svg in drawn:
        assert "<b>" not in svg
        assert "&lt;b&gt;" in svg


def test_forest_puts_rows_on_the_right_side_of_zero() -> None:
    rows = [
        Row(label="up", style=0, value=2, low=1, high=3),
        Row(label="down", style=1, value=-1, low=-2, high=0.5),
        Row(label="alone", style=2, value=1, low=NAN, high=NAN),
    ]
    svg = forest(rows, label="f", zero="hold", unit="dB", better="right")
    zero = float(re.search(r'<line x1="([\d.]+)"[^>]*class="zero"', svg)[1])
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]
    assert dots[0] > zero > dots[1]
    assert svg.count('class="whisker') == 6  # two rows of a line with two ends
    assert "nan" not in svg


def test_forest_points_to_what_lies_off_its_axis() -> None:
    rows = [
        Row(label="near", style=0, value=1, low=0.5, high=1.5),
        Row(label="far", style=1, value=-500, low=-510, high=-490),
    ]
    svg = forest(rows, label="f", zero="hold", unit="dB", better="right", domain=(0, 1.5))
    assert svg.count("<polygon") == 1
    assert svg.count("<circle") == 1


def test_strip_has_a_dot_a_clip_and_bars_for_very_many() -> None:
    few = Row(label="few", style=0, value=1, low=0, high=2, points=tuple(range(7)))
    many = tuple(k / 100 for k in range(MOST_DOTS + 1))
    bars = Row(label="many", style=0, value=1, low=0, high=2, points=many)
    assert strip([few], label="s", x_label="").count("<circle") == 7
    svg = strip([bars], label="s", x_label="")
    assert "<circle" not in svg
    assert svg.count('class="clip') > 10


def test_sparkline_shades_the_context_and_survives_a_constant() -> None:
    svg = sparkline([1.0, 1.0, 1.0], lead=2)
    assert 'class="shade"' in svg
    assert "nan" not in svg
    assert sparkline([], lead=1).startswith("<svg")
