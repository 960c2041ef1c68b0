"""Intervals of rates: what they reduce to, and where there is none."""

import math

import numpy as np
import pytest
from scipy import stats

from dojobench.metrics.intervals import wilson
from dojobench.metrics.preference_intervals import naive_rate, one_way, rate_interval, two_way
from dojobench.metrics.two_way import two_way_variance


def _drawn(raters=12, clips=50, rater_sd=0.8, clip_sd=0.8, seed=0, share=1.0):
    rng = np.random.default_rng(seed)
    rater, clip = (a.ravel() for a in np.meshgrid(np.arange(raters), np.arange(clips)))
    keep = rng.random(len(rater)) < share
    rater, clip = (np.unique(a[keep], return_inverse=True)[1] for a in (rater, clip))
    leaning = 0.5 + rater_sd * rng.standard_normal(raters)[rater]
    leaning += clip_sd * rng.standard_normal(clips)[clip]
    return (rng.random(len(rater)) < 1 / (1 + np.exp(-leaning))).astype(float), rater, clip


def test_balanced_clusters_are_the_usual_variance_with_student_on_g_minus_1():
    values, rater, _ = _drawn()
    sums = np.bincount(rater, values - values.mean()) / len(values)
    found = one_way(sums[:, None], np.full((12, 1), 1 / 12))
    assert found.variance[0] == pytest.approx(12 / 11 * np.square(sums).sum())
    assert found.freedom[0] == pytest.approx(11)
    # Which is what the standard error of twelve rater means is.
    means = np.bincount(rater, values) / 50
    assert found.variance[0] == pytest.approx(means.var(ddof=1) / 12)


def test_unequal_clusters_have_fewer_degrees_of_freedom_and_more_variance():
    shares = np.array([[0.6], [0.1], [0.1], [0.1], [0.1]])
    sums = np.array([[0.05], [-0.02], [-0.01], [-0.01], [-0.01]])
    found = one_way(sums, shares)
    assert found.freedom[0] < 4
    assert found.variance[0] > 5 / 4 * np.square(sums).sum()


def test_degrees_of_freedom_are_those_of_the_variance():
    """Bell and McCaffrey's, against the spread of the variance of independent votes."""
    sizes = np.array([40, 5, 10, 20, 8, 30])
    codes = np.repeat(np.arange(6), sizes)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        values = rng.standard_normal(len(codes))
        sums = np.bincount(codes, values - values.mean()) / len(codes)
        drawn.append(one_way(sums[:, None], sizes[:, None] / len(codes)))
    variances = np.array([each.variance[0] for each in drawn])
    assert variances.mean() == pytest.approx(1 / len(codes), rel=0.03)
    matched = 2 * variances.mean() ** 2 / variances.var()
    assert drawn[0].freedom[0] == pytest.approx(matched, rel=0.1)


def test_two_way_is_the_sum_less_the_cells_where_effects_are_seen():
    values, rater, clip = _drawn()
    reference = two_way_variance(values, rater, clip)
    found = rate_interval(values, rater, clip)
    z = stats.norm.ppf(0.975)
    assert found.high - found.low == pytest.approx(2 * 2.2 * math.sqrt(reference.total), rel=0.1)
    assert found.high - found.low > 2 * z * math.sqrt(values.var() / len(values)) * 1.5
    assert found.method == "two-way: 12 raters, 50 clips"


def test_without_effects_it_is_wilsons():
    values, rater, clip = _drawn(rater_sd=0, clip_sd=0, seed=2)
    parts = two_way_variance(values, rater, clip)
    assert parts.raters + parts.clips - parts.cells < parts.cells
    found, naive = rate_interval(values, rater, clip), naive_rate(values)
    assert found.low == pytest.approx(naive.low, abs=2e-3)
    assert found.high == pytest.approx(naive.high, abs=2e-3)


def test_one_decisive_cluster_gives_no_variance():
    found = one_way(np.array([[0.1], [0.0]]), np.array([[1.0], [0.0]]))
    assert math.isnan(found.variance[0])
    cells = np.array([0.1])
    assert math.isnan(two_way(found, found, cells, cells, 2).variance[0])


def test_mirror_image():
    values, rater, clip = _drawn(share=0.4)
    there, back = rate_interval(values, rater, clip), rate_interval(1 - values, rater, clip)
    assert there.low == pytest.approx(1 - back.high)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_at_one_end_is_wilson_on_the_fewer(value):
    found = rate_interval(np.full(40, value), np.repeat(range(5), 8), np.tile(range(8), 5))
    reference = wilson(5 * value, 5)
    assert (found.low, found.high) == (reference.low, reference.high)


def test_no_votes_one_rater_one_clip():
    assert rate_interval(np.zeros(0), [], []).method == "none: no votes"
    votes = np.array([1.0, 0.0, 1.0])
    assert rate_interval(votes, ["r"] * 3, [1, 2, 3]).method.endswith("one rater")
    assert rate_interval(votes, [1, 2, 3], ["c"] * 3).method.endswith("one clip")


def test_votes_that_cancel_within_a_cell_still_count():
    votes = np.array([1.0, 0.0] * 6)
    found = rate_interval(votes, np.repeat([0, 1, 2], 4), np.tile([0, 0, 1, 1], 3))
    assert 0 < found.low < 0.5 < found.high < 1


def test_votes_outside_the_range_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        rate_interval(np.array([2.0]), [0], [0])
