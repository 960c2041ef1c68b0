"""Clustered bootstrap against closed form, scipy, and its degenerate cases by name."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from dojobench.metrics.intervals import (
    Interval,
    bootstrap_clusters,
    cluster_bootstrap,
    curve_band,
    paired_difference,
)

METHODS = ("auto", "studentized", "t", "expanded", "bca", "percentile")


def _clips(episodes=20, each=4, seed=0):
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(episodes), each)
    return rng.standard_normal(episodes)[clusters] + rng.standard_normal(len(clusters)), clusters


def test_torch_is_not_imported():
    code = "import sys, dojobench.metrics.intervals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("method", METHODS)
def test_holds_its_mean_and_says_what_it_is(method):
    values, clusters = _clips()
    found = cluster_bootstrap(values, clusters, method=method)
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high
    assert (found.n, found.clusters, found.level) == (80, 20, 0.95)
    assert found.method == ("studentized" if method == "auto" else method)
    assert found.is_defined


@pytest.mark.parametrize("method", METHODS)
def test_seeded(method):
    values, clusters = _clips()
    first = cluster_bootstrap(values, clusters, method=method, seed=3)
    assert first == cluster_bootstrap(values, clusters, method=method, seed=3)
    if method != "t":
        assert first != cluster_bootstrap(values, clusters, method=method, seed=4)


@pytest.mark.parametrize("method", METHODS)
def test_shifts_and_scales_with_the_values(method):
    values, clusters = _clips()
    plain = cluster_bootstrap(values, clusters, method=method)
    moved = cluster_bootstrap(1e3 + 2 * values, clusters, method=method)
    assert moved.low == pytest.approx(1e3 + 2 * plain.low)
    assert moved.high == pytest.approx(1e3 + 2 * plain.high)


@pytest.mark.parametrize("method", METHODS)
def test_labels_and_order_do_not_matter(method):
    values, clusters = _clips()
    named = [f"episode_{c:03d}" for c in clusters]
    order = np.random.default_rng(5).permutation(len(values))
    plain = cluster_bootstrap(values, clusters, method=method)
    shuffled = cluster_bootstrap(values[order], np.array(named)[order], method=method)
    assert plain.low == pytest.approx(shuffled.low)
    assert plain.high == pytest.approx(shuffled.high)


@pytest.mark.parametrize(("method", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
@pytest.mark.parametrize("skewed", [False, True])
def test_unclustered_agrees_with_scipy(method, theirs, skewed):
    rng = np.random.default_rng(1)
    values = rng.lognormal(0, 1, 60) if skewed else rng.normal(20, 3, 60)
    ours = cluster_bootstrap(values, np.arange(60), method=method, resamples=20_000)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=theirs, rng=np.random.default_rng(2)
    ).confidence_interval
    tolerance = 0.03 * (reference.high - reference.low)
    assert ours.low == pytest.approx(reference.low, abs=tolerance)
    assert ours.high == pytest.approx(reference.high, abs=tolerance)


def test_another_statistic_agrees_with_scipy():
    values = np.random.default_rng(1).normal(20, 3, 41)
    ours = cluster_bootstrap(
        values, np.arange(41), method="percentile", resamples=5000,
        statistic=lambda drawn: float(np.median(drawn)),
    )  # fmt: skip
    reference = stats.bootstrap(
        (values,), np.median, n_resamples=5000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.mean == np.median(values)
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=0.15)


@pytest.mark.parametrize("method", ["percentile", "bca", "expanded"])
def test_the_mean_as_a_statistic_is_the_mean(method):
    values, clusters = _clips(12, 3)
    fast = cluster_bootstrap(values, clusters, method=method)
    slow = cluster_bootstrap(values, clusters, method=method, statistic=lambda v: float(v.mean()))
    assert (slow.low, slow.high) == pytest.approx((fast.low, fast.high))


def test_student_is_closed_form_for_one_clip_an_episode():
    values = np.random.default_rng(0).normal(20, 3, 15)
    found = cluster_bootstrap(values, np.arange(15), method="t")
    low, high = stats.t.interval(0.95, 14, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_student_is_closed_form_for_episodes_of_one_size():
    values, clusters = _clips(9, 4)
    means = values.reshape(9, 4).mean(axis=1)
    found = cluster_bootstrap(values, clusters, method="t", level=0.9)
    low, high = stats.t.interval(0.9, 8, means.mean(), stats.sem(means))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_copies_of_a_clip_add_nothing():
    values = np.random.default_rng(0).normal(20, 3, 15)
    once = cluster_bootstrap(values, np.arange(15))
    copied = cluster_bootstrap(np.repeat(values, 10), np.repeat(np.arange(15), 10))
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    pretending = cluster_bootstrap(np.repeat(values, 10), np.arange(150))
    assert pretending.high - pretending.low < 0.4 * (copied.high - copied.low)


def test_few_clusters_take_student():
    values, clusters = _clips(7, 4)
    assert cluster_bootstrap(values, clusters).method == "t"


def test_expanded_is_wider_than_bca_with_few_clusters():
    values, clusters = _clips(8, 4)
    bca = cluster_bootstrap(values, clusters, method="bca")
    expanded = cluster_bootstrap(values, clusters, method="expanded")
    assert expanded.low < bca.low < bca.high < expanded.high


# Degenerate cases, by name.


@pytest.mark.parametrize("method", METHODS)
def test_empty(method):
    found = cluster_bootstrap([], [], method=method)
    assert (found.n, found.clusters) == (0, 0)
    assert math.isnan(found.mean)
    assert math.isnan(found.low)
    assert found.method == "none: no values"
    assert not found.is_defined


@pytest.mark.parametrize("method", METHODS)
def test_one_value(method):
    found = cluster_bootstrap([3.0], ["a"], method=method)
    assert found.mean == 3.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.method == "none: one value"


@pytest.mark.parametrize("method", METHODS)
def test_one_cluster(method):
    found = cluster_bootstrap([1.0, 2.0, 6.0], ["a", "a", "a"], method=method)
    assert found.mean == 3.0
    assert math.isnan(found.low)
    assert found.method == "none: all 3 values come from one cluster"


@pytest.mark.parametrize("method", METHODS)
def test_all_equal(method):
    found = cluster_bootstrap([80.0] * 6, [0, 0, 1, 1, 2, 2], method=method)
    assert (found.low, found.mean, found.high) == (80.0, 80.0, 80.0)
    assert found.method == "no spread: all 6 values are equal"
    assert not found.is_defined


@pytest.mark.parametrize("method", METHODS)
def test_all_clusters_have_the_same_mean(method):
    found = cluster_bootstrap([1.0, 3.0] * 10, np.repeat(np.arange(10), 2), method=method)
    assert (found.low, found.mean, found.high) == (2.0, 2.0, 2.0)
    assert found.method == "no spread: all clusters have the same mean"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite(bad):
    found = cluster_bootstrap([1.0, bad, 2.0], [0, 1, 2])
    assert math.isnan(found.mean)
    assert found.method == "none: 1 of 3 values are not finite"


@pytest.mark.parametrize("method", METHODS)
def test_two_clusters(method):
    found = cluster_bootstrap([1.0, 2.0, 4.0, 5.0], [0, 0, 1, 1], method=method)
    assert found.mean == 3.0
    assert found.low <= 1.5
    assert found.high >= 4.5


def test_nearly_all_zeros_and_ones_equal_falls_back_in_words():
    values = np.ones(20)
    values[3] = 0
    found = cluster_bootstrap(values, np.arange(20))
    assert found.method == "expanded (too many resamples without spread to studentize)"
    assert found.low < 0.95 < found.high <= 1


def test_bca_with_all_resamples_equal_falls_back_in_words():
    found = cluster_bootstrap(
        [0.0, 1.0, 2.0], [0, 1, 2], method="bca", statistic=lambda values: 7.0
    )
    assert (found.mean, found.low, found.high) == (7.0, 7.0, 7.0)
    assert found.method == "no spread: all resamples are equal"


def test_bca_with_a_bias_without_end_falls_back_in_words():
    # Every resample of this one lies above the estimate.
    found = bootstrap_clusters(
        lambda counts: np.square(counts - 1).sum(axis=1) + np.arange(len(counts)) * 1e-9 * (
            len(counts) > 10
        ),
        10, n=10, method="bca",
    )  # fmt: skip
    assert found.method.startswith("percentile (all resamples lie on one side")


def test_statistic_that_is_often_undefined_has_no_interval():
    found = cluster_bootstrap(
        [0.0, 0.0, 1.0], [0, 1, 2], statistic=lambda v: float(v.sum()) or math.nan
    )
    assert math.isnan(found.low)
    assert found.method.startswith("none: the statistic is undefined in ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 1.0}, "level is 1.0"),
        ({"resamples": 3}, "resamples is 3"),
        ({"clusters": [0, 1]}, "clusters has shape"),
        ({"values": [[1.0, 2.0, 3.0]]}, "values has shape"),
        ({"method": "studentised"}, "method is 'studentised'"),
    ],
)
def test_nonsense_is_refused(change, message):
    arguments = {"values": [1.0, 2.0, 4.0], "clusters": [0, 1, 2]} | change
    with pytest.raises(ValueError, match=message):
        cluster_bootstrap(arguments.pop("values"), arguments.pop("clusters"), **arguments)


# Pairs.


def test_pairs_remove_what_clips_share():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 5)
    hard = 5 * rng.standard_normal(100)
    a, b = hard + 0.5 + 0.1 * rng.standard_normal(100), hard + 0.1 * rng.standard_normal(100)
    found = paired_difference(a, b, clusters)
    assert 0.4 < found.low < 0.5 < found.high < 0.6
    assert found == cluster_bootstrap(a - b, clusters)
    reverse = paired_difference(b, a, clusters)
    assert reverse.mean == pytest.approx(-found.mean)
    assert (reverse.low, reverse.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


def test_all_ties():
    found = paired_difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0, 1, 2])
    assert (found.low, found.mean, found.high) == (0, 0, 0)
    assert found.method == "no spread: all 3 values are equal"


def test_pairs_of_infinities_are_undefined():
    found = paired_difference([math.inf, 1.0], [math.inf, 0.0], [0, 1])
    assert found.method == "none: 1 of 2 values are not finite"


def test_pairs_must_pair():
    with pytest.raises(ValueError, match="a has 2 values and b has 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0], [0, 1, 2])


# Curves.


def test_band_is_the_student_interval_of_each_step():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(10), 3)
    curves = rng.standard_normal((30, 7))
    band = curve_band(curves, clusters)
    for step in range(7):
        one = cluster_bootstrap(curves[:, step], clusters, method="t")
        assert (band.mean[step], band.low[step], band.high[step]) == pytest.approx(
            (one.mean, one.low, one.high)
        )
    assert band.n.tolist() == [30] * 7


def test_band_of_clips_of_unequal_length():
    curves = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan], [5.0, 4.0, np.nan]])
    band = curve_band(curves, ["a", "b", "a"])
    assert band.mean[:2].tolist() == [3.0, 3.0]
    assert math.isnan(band.mean[2])
    assert np.isfinite(band.low).tolist() == [True, False, False]
    assert band.n.tolist() == [3, 2, 0]


def test_interval_is_frozen():
    found = Interval(mean=1, low=0, high=2, n=3, clusters=3, level=0.95, method="t")
    with pytest.raises(AttributeError):
        found.mean = 2
