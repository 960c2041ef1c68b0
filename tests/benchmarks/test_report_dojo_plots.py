"""The charts of branches, stability, speed and probes: every mark where its number says."""

import re

import pytest

from dojobench.benchmarks.plot_bars import Group, bars
from dojobench.benchmarks.plot_histogram import histogram
from dojobench.benchmarks.plot_rows import Row, forest
from dojobench.benchmarks.plot_scatter import Point, scatter
from dojobench.benchmarks.plot_survival import Steps, survival
from dojobench.benchmarks.plots import Series, curves

NAN = float("nan")
EVIL = "<b>&\"'</b>"


def attributes(element: str) -> dict[str, str]:
    return dict(re.findall(r'([\w-]+)="([^"]*)"', element))


def elements(svg: str, tag: str, name: str) -> list[dict[str, str]]:
    """Elements of one tag that carry a class."""
    found = [attributes(e) for e in re.findall(rf"<{tag} [^>]*>", svg)]
    return [e for e in found if name in e.get("class", "").split()]


def draw_scatter(*points: Point, width: float = 820) -> str:
    return scatter(
        points, label="l", x_label="x", y_label="y", ideal=(1.0, 1.0), ideal_name="right",
        x_range=(0.0, 1.0), y_range=(0.0, 1.2), width=width,
    )  # fmt: skip


def test_a_perfect_point_lies_in_the_ideal_s_circle() -> None:
    point = Point(label="m", style=2, x=(1.0, 0.9, 1.0), y=(1.0, 0.8, 1.1))
    svg = draw_scatter(point)
    (dot,), (target,) = elements(svg, "circle", "dot"), elements(svg, "circle", "target")
    assert (dot["cx"], dot["cy"]) == (target["cx"], target["cy"])
    assert len(elements(svg, "line", "whisker")) == 2


def test_scatter_keeps_order_and_leaves_out_intervals_that_there_are_not() -> None:
    weak = Point(label="weak", style=0, x=(0.2, NAN, NAN), y=(0.1, 0.0, 0.2), cloud=((0.1, 0.3),))
    good = Point(label="good", style=1, x=(0.9, 0.8, 1.0), y=(0.8, NAN, NAN))
    svg = draw_scatter(weak, good, width=350)
    left, right = elements(svg, "circle", "dot")
    assert float(left["cx"]) < float(right["cx"])
    assert float(left["cy"]) > float(right["cy"])  # up is more
    upright, lying = elements(svg, "line", "whisker")
    assert upright["x1"] == upright["x2"] == left["cx"]
    assert lying["y1"] == lying["y2"] == right["cy"]
    (cloud,) = elements(svg, "circle", "clip")
    assert float(cloud["cx"]) < float(left["cx"])


def test_survival_falls_in_steps_and_marks_what_was_cut() -> None:
    steps = Steps(
        label="m", style=0, times=(10.0, 30.0), share=(0.75, 0.25), low=(0.5, NAN),
        high=(0.9, NAN), cut=(20.0, 60.0, 60.0), end=60.0,
    )  # fmt: skip
    assert [steps.at(t) for t in (0, 9.9, 10.0, 29.0, 30.0, 60.0)] == [1, 1, 0.75, 0.75, 0.25, 0.25]
    svg = survival([steps], label="l", x_label="x", y_label="y")
    (drawn,) = elements(svg, "path", "line")
    assert len(re.findall("V", drawn["d"])) == 2
    heights = [float(v) for v in re.findall(r"V([\d.]+)", drawn["d"])]
    top = float(re.search(r"M[\d.]+ ([\d.]+)", drawn["d"])[1])
    assert top < heights[0] < heights[1]
    assert (heights[1] - top) / (heights[0] - top) == pytest.approx(3, abs=0.01)
    marks = elements(svg, "line", "whisker")
    assert len(marks) == 2  # equal times are one mark
    middle = (float(marks[0]["y1"]) + float(marks[0]["y2"])) / 2
    assert middle == pytest.approx(heights[0], abs=0.02)
    (band,) = elements(svg, "path", "band")
    assert band["d"].count("M") == 1  # only where the interval has both ends


def test_survival_without_breaks_is_a_level_line() -> None:
    svg = survival(
        [Steps(label="m", style=0, times=(), share=(), cut=(60.0,), end=60.0)],
        label="l", x_label="x", y_label="y", width=350,
    )  # fmt: skip
    (drawn,) = elements(svg, "path", "line")
    assert "V" not in drawn["d"]
    assert not elements(svg, "path", "band")


def draw_histogram(values: list[float], limit: float) -> str:
    return histogram(
        values, style=0, label="l", x_label="ms", y_label="steps",
        marks=[(sorted(values)[len(values) // 2], "p50")], limit=(limit, "deadline"),
    )  # fmt: skip


def test_histogram_draws_every_step_and_the_deadline_where_it_is() -> None:
    svg = draw_histogram([10.0] * 6 + [11.0] * 2 + [30.0], 20.0)
    columns = elements(svg, "rect", "count")
    heights = sorted(float(c["height"]) for c in columns)
    assert heights[-1] / heights[0] == pytest.approx(6, abs=0.05)
    (deadline,) = elements(svg, "line", "deadline")
    late = [c for c in columns if float(c["x"]) > float(deadline["x1"])]
    assert len(late) == 1
    assert len(elements(svg, "line", "pointer")) == 1


def test_a_deadline_far_away_is_pointed_at() -> None:
    svg = draw_histogram([1.0, 1.1, 1.2], 400.0)
    assert not elements(svg, "line", "deadline")
    assert "deadline →" in svg
    assert draw_histogram([0.0, 0.0], 1.0).startswith("<svg")


def test_bars_are_as_long_as_their_numbers() -> None:
    svg = bars(
        [
            Group(label="dx", bars=((0, 4.0, "model"), (1, 2.0, "other")), mark=3.0),
            Group(label="dy", bars=((0, 1.0, ""),)),
        ],
        label="l",
        x_label="x",
    )
    widths = [float(e["width"]) for e in elements(svg, "rect", "count")]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.01)
    assert widths[0] / widths[2] == pytest.approx(4, rel=0.01)
    (mark,) = elements(svg, "line", "zero")
    start = float(elements(svg, "rect", "count")[0]["x"])
    assert (float(mark["x1"]) - start) / widths[0] == pytest.approx(0.75, rel=0.01)
    assert "4.00 model" in svg
    assert bars([Group(label="still", bars=((0, 0.0, "m"),))], label="l", x_label="x")


def test_a_forest_about_chance_has_its_line_there() -> None:
    rows = [
        Row(label="chance", style=0, value=25.0, low=20.0, high=30.0),
        Row(label="both", style=1, value=75.0, low=NAN, high=NAN, other=50.0),
    ]
    svg = forest(rows, label="l", zero="chance", unit="%", at_value=25.0, domain=(0.0, 100.0))
    (line,) = elements(svg, "line", "zero")
    dots = elements(svg, "circle", "dot")
    assert dots[0]["cx"] == line["x1"]
    (ring,) = elements(svg, "circle", "ring")
    assert float(line["x1"]) < float(ring["cx"]) < float(dots[1]["cx"])
    assert "is better" not in svg
    assert "−20" not in svg  # shares end at 0 and 100
    assert ">120<" not in svg


def test_curves_may_count_seconds_and_mark_a_point() -> None:
    series = Series(label="m", style=0, mean=tuple(float(k) for k in range(11)), mark=7)
    svg = curves([series], label="l", y_label="y", x_label="s", first=-2, step=1.0)
    assert ">−2<" in svg or ">0<" in svg
    (dot,) = elements(svg, "circle", "dot")
    places = re.findall(r"[ML]([\d.]+) ([\d.]+)", elements(svg, "path", "line")[0]["d"])
    assert (dot["cx"], dot["cy"]) == places[7]


def test_names_are_text_in_every_chart() -> None:
    point = Point(label=EVIL, style=0, x=(0.5, NAN, NAN), y=(0.5, NAN, NAN))
    steps = Steps(label=EVIL, style=0, times=(1.0,), share=(0.5,), end=2.0)
    drawn = (
        draw_scatter(point),
        survival([steps], label=EVIL, x_label=EVIL, y_label=EVIL),
        bars([Group(label=EVIL, bars=((0, 1.0, EVIL),))], label=EVIL, x_label=EVIL),
        histogram([1.0], style=0, label=EVIL, x_label=EVIL, y_label=EVIL, marks=[(1.0, EVIL)],
                  limit=(9.0, EVIL)),
    )  # fmt: skip
    for svg in drawn:
        assert "<b>" not in svg
        assert "&lt;b&gt;" in svg
