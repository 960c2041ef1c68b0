"""Krippendorff's alpha against the values he published."""

import math

import numpy as np
import pytest

from dojobench.metrics.agreement import krippendorff_alpha

NONE = math.nan
# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), sections A to C.
TWO_BINARY = ([0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0])
TWO_NOMINAL = ("a a b b d c c c e d d a".split(), "b a b b b c c c e d d d".split())
FOUR = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3),
    (NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE),
)


def _rated(table):
    rows = np.array(table, dtype=float)
    raters, units = np.nonzero(~np.isnan(rows))
    return rows[raters, units], units, raters


def test_two_observers_binary_is_095():
    assert krippendorff_alpha(*_rated(TWO_BINARY)).mean == pytest.approx(0.095, abs=5e-4)


def test_two_observers_nominal_is_692():
    numbers = [["abcde".index(word) for word in row] for row in TWO_NOMINAL]
    assert krippendorff_alpha(*_rated(numbers)).mean == pytest.approx(0.692, abs=5e-4)


@pytest.mark.parametrize(
    ("measure", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_four_observers_with_missing_values(measure, published):
    found = krippendorff_alpha(*_rated(FOUR), measure=measure)
    assert found.mean == pytest.approx(published, abs=5e-4)
    assert found.n == 40  # the unit that one observer rated is left out
    assert found.low < found.mean < found.high <= 1


@pytest.mark.parametrize("measure", ["nominal", "ordinal", "interval"])
def test_leaving_out_is_the_same_as_computing_without(measure):
    """The jackknife's shortcuts against alpha of the votes that are left."""
    rng = np.random.default_rng(2)
    units, raters = (a.ravel() for a in np.meshgrid(np.arange(14), np.arange(6)))
    keep = rng.random(len(units)) < 0.5
    units, raters = units[keep], raters[keep]
    values = rng.integers(0, 3, len(units)).astype(float)
    found = krippendorff_alpha(values, units, raters, measure=measure)

    def variance(labels):
        left_out = []
        for label in np.unique(labels):
            rest = labels != label
            left_out.append(_fixed_alpha(values[rest], units[rest], raters[rest], values, measure))
        count = len(left_out)
        return (count - 1) / count * np.square(left_out - np.mean(left_out)).sum(), count - 1

    paired = np.bincount(units)[units] > 1
    values, units, raters = values[paired], units[paired], raters[paired]
    (by_rater, a), (by_clip, b) = variance(raters), variance(units)
    cells = variance(np.arange(len(values)))[0]
    total = by_rater + by_clip - cells
    if total > cells / 2 * (1 + 0.25 * math.sqrt(2 / a + 2 / b)):
        freedom = total**2 / (by_rater**2 / a + by_clip**2 / b + cells**2 / (len(values) - 1))
    else:
        total, freedom = cells / 2, len(values) - 1
    from scipy.stats import t

    assert found.mean - found.low == pytest.approx(
        t.ppf(0.975, freedom) * math.sqrt(total), rel=1e-6
    )


def _fixed_alpha(values, units, raters, all_values, measure):
    """Alpha by its definition, with the distances of the whole data."""
    kept = np.bincount(units, minlength=int(units.max()) + 1)[units] > 1
    names, counts = np.unique(all_values, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    at = {"nominal": None, "ordinal": middle, "interval": names}[measure]

    def far(x, y):
        i, j = int(np.searchsorted(names, x)), int(np.searchsorted(names, y))
        return float(i != j) if at is None else float((at[i] - at[j]) ** 2)

    values, units = values[kept], units[kept]
    observed = 0.0
    for unit in np.unique(units):
        inside = values[units == unit]
        pairs = sum(far(x, y) for x in inside for y in inside)
        observed += pairs / (len(inside) - 1)
    chance = sum(far(x, y) for x in values for y in values)
    return 1 - (len(values) - 1) * observed / chance


def test_perfect_agreement_is_one():
    found = krippendorff_alpha([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], ["a", "b"] * 3)
    assert found.mean == 1.0
    assert found.high == 1.0


def test_all_the_same_has_no_alpha():
    found = krippendorff_alpha([1, 1, 1, 1], [0, 0, 1, 1], ["a", "b"] * 2)
    assert math.isnan(found.mean)
    assert found.method == "none: all 4 ratings are the same"


def test_nothing_rated_twice_has_no_alpha():
    found = krippendorff_alpha([1, 0], [0, 1], ["a", "b"])
    assert found.method == "none: no unit was rated twice"
    assert math.isnan(krippendorff_alpha([], [], []).mean)


def test_one_clip_has_no_interval():
    found = krippendorff_alpha([1, 0, 1], [0, 0, 0], ["a", "b", "c"])
    assert math.isnan(found.low)
    assert found.method == "none: all 3 ratings come from one clip"


def test_missing_ratings_are_left_out_by_the_caller():
    with pytest.raises(ValueError, match="leave missing ratings out"):
        krippendorff_alpha([1.0, NONE], [0, 0], ["a", "b"])
