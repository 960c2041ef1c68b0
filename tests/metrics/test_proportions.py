"""Shares against published tables, statsmodels and closed form."""

import math

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from dojobench.metrics.intervals import agresti_caffo, clustered_share, wilson

# Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3, 95 %.
NEWCOMBE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("successes", "n", "low", "high"), NEWCOMBE)
def test_wilson_agrees_with_the_table(successes, n, low, high):
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.mean == successes / n


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 5), (3, 7), (50, 50), (999, 1000), (1, 1)])
def test_wilson_agrees_with_statsmodels(successes, n, level):
    found = wilson(successes, n, level=level)
    reference = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert (found.low, found.high) == pytest.approx(reference, abs=1e-12)


def test_wilson_with_no_success_and_all_successes():
    none, every = wilson(0, 10), wilson(10, 10)
    assert none.low == 0.0
    assert none.high == pytest.approx(1 - every.low)
    assert every.high == 1.0
    assert 0 < every.low < 1


def test_wilson_without_trials_is_the_whole_range():
    found = wilson(0, 0)
    assert math.isnan(found.mean)
    assert (found.low, found.high, found.n) == (0.0, 1.0, 0)
    assert found.method.startswith("none: no trials")
    assert not found.is_defined


def test_wilson_takes_ties_as_halves():
    assert wilson(4.5, 10).mean == 0.45


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (math.nan, 3), (0, -1)])
def test_what_makes_no_share_is_refused(successes, n):
    with pytest.raises(ValueError, match="make no share"):
        wilson(successes, n)
    with pytest.raises(ValueError, match="make no share"):
        agresti_caffo(1, 2, successes, n)


@pytest.mark.parametrize(
    "arms", [(56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 10), (0, 10, 0, 20), (6, 7, 2, 7)]
)
def test_agresti_caffo_agrees_with_statsmodels(arms):
    found = agresti_caffo(*arms)
    low, high = confint_proportions_2indep(*arms, method="agresti-caffo", compare="diff")
    assert (found.low, found.high) == pytest.approx((max(low, -1), min(high, 1)), abs=1e-12)
    assert found.mean == pytest.approx(arms[0] / arms[1] - arms[2] / arms[3])


def test_agresti_caffo_turns_with_its_arms():
    forward, back = agresti_caffo(9, 10, 3, 12), agresti_caffo(3, 12, 9, 10)
    assert (forward.low, forward.high) == pytest.approx((-back.high, -back.low))


def test_agresti_caffo_stays_within_its_range():
    found = agresti_caffo(1, 1, 0, 1)
    assert found.mean == 1.0
    assert -1 <= found.low <= found.high <= 1


def test_agresti_caffo_with_an_empty_arm_is_the_whole_range():
    found = agresti_caffo(0, 0, 3, 5)
    assert math.isnan(found.mean)
    assert (found.low, found.high) == (-1.0, 1.0)
    assert found.method.startswith("none: an arm without trials")


# Clustered shares.


def test_clusters_of_one_are_nearly_wilson():
    values = np.repeat([0.0, 1.0], [60, 140])
    found = clustered_share(values, np.arange(200))
    plain = wilson(140, 200)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=2e-3)
    assert found.low < plain.low  # Student's quantile instead of the normal one


def test_copies_do_not_narrow_a_share():
    values = np.repeat([0.0, 1.0], [6, 14])
    once = clustered_share(values, np.arange(20))
    copied = clustered_share(np.repeat(values, 10), np.repeat(np.arange(20), 10))
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=0.02)


def test_all_right_counts_clusters_not_clips():
    found = clustered_share(np.ones(100), np.repeat(np.arange(10), 10))
    assert found.high == 1.0
    assert found.low < wilson(10, 10).low
    assert found.low == pytest.approx(0.66, abs=0.02)


def test_all_ties_of_half():
    found = clustered_share(np.full(20, 0.5), np.repeat(np.arange(10), 2))
    assert found.mean == 0.5
    assert found.low < 0.3 < 0.7 < found.high


def test_shares_that_agree_across_clusters_are_no_better_than_independent():
    values = np.tile([0.0, 1.0], 10)
    found = clustered_share(values, np.repeat(np.arange(10), 2))
    plain = wilson(10, 20)
    assert found.low < plain.low
    assert found.high > plain.high


@pytest.mark.parametrize(
    ("values", "clusters", "why"),
    [
        ([], [], "none: no trials"),
        ([1.0], [0], "none: one cluster"),
        ([1.0, 0.0], [0, 0], "none: one cluster"),
        ([1.0, math.nan], [0, 1], "none: 1 of 2 values are NaN"),
    ],
)
def test_shares_that_cannot_be_known_are_the_whole_range(values, clusters, why):
    found = clustered_share(values, clusters)
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.method.startswith(why)


def test_values_outside_a_share_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        clustered_share([1.2, 0.0], [0, 1])
