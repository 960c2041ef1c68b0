"""Two-way clustering against statsmodels, and Holm and the paired test against theirs."""

import itertools
import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dojobench.metrics.intervals import holm, paired_p_value, two_way_clustered, wilson
from dojobench.metrics.two_way import two_way_variance


def _votes(raters=12, clips=50, seed=0, share=1.0):
    rng = np.random.default_rng(seed)
    rater, clip = (a.ravel() for a in np.meshgrid(np.arange(raters), np.arange(clips)))
    keep = rng.random(len(rater)) < share
    # Numbered anew: a sparse design may leave a clip without a vote.
    rater, clip = (np.unique(a[keep], return_inverse=True)[1] for a in (rater, clip))
    leaning = 0.3 * rng.standard_normal(raters)[rater] + 0.6 * rng.standard_normal(clips)[clip]
    return leaning + rng.standard_normal(len(rater)), rater, clip


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_variance_agrees_with_statsmodels(share):
    values, raters, clips = _votes(share=share)
    fit = sm.OLS(values, np.ones_like(values)).fit(
        cov_type="cluster", cov_kwds={"groups": np.column_stack([raters, clips])}
    )
    found = two_way_variance(values, raters, clips)
    assert found.raters + found.clips - found.cells == pytest.approx(fit.cov_params()[0, 0])
    assert found.total == pytest.approx(fit.cov_params()[0, 0])


@pytest.mark.parametrize("which", ["raters", "clips"])
def test_each_way_agrees_with_statsmodels(which):
    values, raters, clips = _votes(share=0.5)
    groups = raters if which == "raters" else clips
    fit = sm.OLS(values, np.ones_like(values)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = two_way_variance(values, raters, clips)
    assert getattr(found, which) == pytest.approx(fit.cov_params()[0, 0])


def test_interval_is_student_on_the_smaller_count():
    values, raters, clips = _votes()
    found = two_way_clustered(values, raters, clips)
    error = math.sqrt(two_way_variance(values, raters, clips).total)
    low, high = stats.t.interval(0.95, 11, values.mean(), error)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.method == "two-way: 12 raters, 50 clips"
    assert (found.n, found.clusters) == (600, 12)


def test_raters_and_clips_are_exchangeable():
    values, raters, clips = _votes(share=0.6)
    there, back = two_way_clustered(values, raters, clips), two_way_clustered(values, clips, raters)
    assert (there.low, there.high) == pytest.approx((back.low, back.high))


def test_variance_is_never_negative():
    # Raters and clips that balance out exactly: both one-way variances are zero, the cells' not.
    values = np.array([1.0, -1.0, -1.0, 1.0])
    found = two_way_variance(values, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert found.raters + found.clips - found.cells < 0
    assert found.total == 0.0
    values = values + np.array([0.5, 0.5, 0.0, 0.0])
    found = two_way_variance(values, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert found.raters + found.clips - found.cells < 0
    assert found.total == found.raters > 0


# Degenerate cases, by name.


def test_empty():
    found = two_way_clustered([], [], [])
    assert found.method == "none: no values"
    assert math.isnan(found.mean)


def test_one_vote():
    found = two_way_clustered([1.0], ["r"], ["c"])
    assert found.mean == 1.0
    assert math.isnan(found.low)
    assert found.method == "none: one value"


def test_one_rater():
    found = two_way_clustered([1.0, 0.0, 1.0], ["r", "r", "r"], [0, 1, 2])
    assert math.isnan(found.low)
    assert found.method == "none: all 3 votes come from one rater"


def test_one_clip():
    found = two_way_clustered([1.0, 0.0, 1.0], [0, 1, 2], ["c", "c", "c"])
    assert math.isnan(found.high)
    assert found.method == "none: all 3 votes come from one clip"


def test_not_finite():
    found = two_way_clustered([1.0, math.nan], [0, 1], [0, 1])
    assert found.method == "none: 1 of 2 values are not finite"


def test_all_ties():
    raters, clips = zip(*itertools.product(range(3), range(4)), strict=True)
    found = two_way_clustered([0.5] * 12, raters, clips, bounds=(0, 1))
    assert (found.low, found.high) == (0.5, 0.5)
    assert found.method == "no spread: all 12 values are equal"


@pytest.mark.parametrize("vote", [0.0, 1.0])
def test_all_votes_at_one_end_is_wilson_on_the_fewer(vote):
    raters, clips = zip(*itertools.product(range(5), range(8)), strict=True)
    found = two_way_clustered([vote] * 40, raters, clips, bounds=(0, 1))
    reference = wilson(5 * vote, 5)
    assert (found.low, found.high) == (reference.low, reference.high)
    assert found.method == "wilson on 5 units: all 40 votes are equal"


def test_interval_is_cut_to_its_bounds():
    values = np.array([1.0, 1.0, 1.0, 0.0])
    found = two_way_clustered(values, [0, 0, 1, 1], [0, 1, 0, 1], bounds=(0, 1))
    assert (found.low, found.high) == (0.0, 1.0)


def test_votes_outside_their_bounds_are_refused():
    with pytest.raises(ValueError, match="outside its bounds"):
        two_way_clustered([2.0, 0.0], [0, 1], [0, 1], bounds=(0, 1))


# Holm.


@pytest.mark.parametrize("seed", range(5))
def test_holm_agrees_with_statsmodels(seed):
    p_values = np.random.default_rng(seed).random(9) ** 3
    p_values[2] = p_values[5]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])


def test_holm_keeps_tests_that_were_not_made():
    assert holm([]).tolist() == []
    found = holm([0.02, math.nan, 0.04])
    assert found[[0, 2]].tolist() == pytest.approx([0.04, 0.04])
    assert math.isnan(found[1])
    assert np.isnan(holm([math.nan, math.nan])).all()


def test_holm_never_exceeds_one_and_refuses_what_is_no_p_value():
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="must lie in"):
        holm([1.2])


# The paired test.


def test_sign_flips_agree_with_scipy_exactly():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.4, 1, 10), rng.normal(0, 1, 10)
    reference = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_p_value(a, b, np.arange(10)) == pytest.approx(reference.pvalue)


def test_drawn_patterns_agree_with_the_t_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.35, 1, 40), rng.normal(0, 1, 40)
    found = paired_p_value(a, b, np.arange(40), seed=1)
    assert found == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.015)
    assert found == paired_p_value(a, b, np.arange(40), seed=1)


def test_clips_of_one_episode_turn_together():
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(8), 10)
    a = rng.standard_normal(8)[clusters] + 0.2
    honest = paired_p_value(a, np.zeros(80), clusters)
    pretending = paired_p_value(a, np.zeros(80), np.arange(80))
    assert pretending < 0.2 * honest


def test_five_clusters_cannot_be_significant():
    assert paired_p_value(np.ones(5), np.zeros(5), np.arange(5)) == 2 / 2**5


def test_paired_test_in_degenerate_cases():
    assert paired_p_value([1.0, 2.0], [1.0, 2.0], [0, 1]) == 1.0
    assert paired_p_value([1.0, 2.0], [0.0, 0.0], [0, 0]) == 1.0
    assert math.isnan(paired_p_value([], [], []))
    assert math.isnan(paired_p_value([1.0, math.nan], [0.0, 0.0], [0, 1]))
    with pytest.raises(ValueError, match="a pair needs one of each"):
        paired_p_value([1.0], [1.0, 2.0], [0, 1])
