"""Survival of rollouts against statsmodels, closed form, and its degenerate cases by name."""

import math

import numpy as np
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from dojobench.metrics.intervals import cluster_bootstrap, wilson
from dojobench.metrics.survival import (
    kaplan_meier,
    median_horizon,
    restricted_mean,
    stable_horizon,
)


def _rollouts(n=40, seed=0, horizon=60.0):
    """Whole seconds, so that there are ties; some are cut off early."""
    rng = np.random.default_rng(seed)
    until = np.minimum(np.ceil(rng.exponential(50, n)), horizon)
    times = np.ceil(rng.exponential(40, n))
    return np.minimum(times, until), times <= until


@pytest.mark.parametrize("seed", range(4))
def test_curve_agrees_with_statsmodels(seed):
    times, broken = _rollouts(seed=seed)
    curve = kaplan_meier(times, broken)
    reference = SurvfuncRight(times, broken.astype(int))
    kept = np.isin(reference.surv_times, curve.times)
    assert curve.survival == pytest.approx(reference.surv_prob[kept])
    assert curve.at_risk.tolist() == reference.n_risk[kept].tolist()
    assert curve.broken.tolist() == reference.n_events[kept].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_log_log_interval_is_greenwood(seed):
    times, broken = _rollouts(seed=seed)
    curve = kaplan_meier(times, broken)
    reference = SurvfuncRight(times, broken.astype(int))
    error = reference.surv_prob_se[np.isin(reference.surv_times, curve.times)]
    s = curve.survival
    inner = (s > 0) & (s < 1)
    theta = 1.959964 * error[inner] / (s[inner] * np.abs(np.log(s[inner])))
    assert curve.low[inner] == pytest.approx(s[inner] ** np.exp(theta), rel=1e-5)
    assert curve.high[inner] == pytest.approx(s[inner] ** np.exp(-theta), rel=1e-5)


def test_curve_by_hand():
    curve = kaplan_meier([1, 2, 2, 3, 4], [True, True, False, False, True])
    assert curve.times.tolist() == [1, 2, 4]
    assert curve.survival.tolist() == pytest.approx([0.8, 0.6, 0.0])
    assert curve.at_risk.tolist() == [5, 4, 1]


def test_without_censoring_it_is_the_share_that_lasts():
    times = np.random.default_rng(0).exponential(1, 50)
    curve = kaplan_meier(times, np.ones(50, dtype=bool))
    assert curve.survival == pytest.approx([(times > t).mean() for t in curve.times])


@pytest.mark.parametrize("seed", range(4))
def test_median_agrees_with_statsmodels(seed):
    times, broken = _rollouts(60, seed=seed)
    found = median_horizon(times, broken)
    reference = SurvfuncRight(times, broken.astype(int))
    assert found.mean == reference.quantile(0.5)
    low, high = reference.quantile_ci(0.5, method="cloglog")
    # Theirs is a closed set of times, ours the steps at which the curve's ends pass one half.
    assert found.low == pytest.approx(low, abs=4)
    assert found.high == pytest.approx(high, abs=8) or math.isinf(found.high)
    assert found.low <= found.mean <= found.high


def test_median_that_was_not_reached_is_infinite():
    found = median_horizon([5, 10, 10, 10, 10], [True, False, False, False, False])
    assert math.isinf(found.mean)
    assert math.isinf(found.high)
    assert "longer than was watched" in found.method


def test_median_when_all_break_at_once():
    found = median_horizon([3.0] * 10, [True] * 10)
    assert (found.low, found.mean, found.high) == (3, 3, 3)


def test_restricted_mean_by_hand():
    # 1 until 1, then 0.8 until 2, then 0.6 until 3.
    times, broken = [1, 2, 2, 3, 4], [True, True, False, False, True]
    assert restricted_mean(times, broken, horizon=3) == pytest.approx(1 + 0.8 + 0.6)
    assert restricted_mean(times, broken, horizon=10) == pytest.approx(1 + 0.8 + 1.2)


def test_restricted_mean_is_the_mean_of_the_times_when_all_are_watched_to_the_end():
    times = np.minimum(np.random.default_rng(0).exponential(40, 30), 60)
    assert restricted_mean(times, times < 60, horizon=60) == pytest.approx(times.mean())


def test_horizon_without_early_censoring_is_the_interval_of_the_times():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(12), 3)
    times = np.minimum(rng.exponential(40, 36), 60)
    found = stable_horizon(times, times < 60, clusters, horizon=60)
    plain = cluster_bootstrap(times, clusters)
    assert (found.mean, found.low, found.high) == pytest.approx((plain.mean, plain.low, plain.high))
    assert (found.n, found.clusters) == (36, 12)
    assert found.method == "restricted mean, studentized"


def test_horizon_with_early_censoring():
    times, broken = _rollouts(60, seed=3)
    found = stable_horizon(times, broken, np.arange(60), horizon=60)
    assert found.mean == restricted_mean(times, broken, horizon=60)
    assert found.low < found.mean < found.high <= 60
    # To take what was cut off for broken is too short; to leave it out is, too.
    assert found.mean > times.mean()
    assert found.mean > times[broken].mean()


# Degenerate cases, by name.


def test_nothing_breaks():
    found = stable_horizon([60.0] * 12, [False] * 12, np.repeat(np.arange(6), 2), horizon=60)
    assert found.mean == found.high == 60
    assert found.low == pytest.approx(60 * wilson(6, 6).low)
    assert found.method == "worst case: none of 12 rollouts was seen to break"


def test_breaks_after_the_horizon_are_none():
    found = stable_horizon([50.0] * 4, [True] * 4, np.arange(4), horizon=30)
    assert found.mean == 30
    assert found.method.startswith("worst case")


def test_all_break_at_once():
    found = stable_horizon([3.0] * 6, [True] * 6, np.arange(6), horizon=60)
    assert (found.low, found.mean, found.high) == (3, 3, 3)
    assert found.method.startswith("no spread:")


def test_all_break_at_the_start():
    found = stable_horizon([0.0] * 6, [True] * 6, np.arange(6), horizon=60)
    assert found.mean == 0
    assert kaplan_meier([0.0] * 6, [True] * 6).survival.tolist() == [0]


def test_empty():
    found = stable_horizon([], [], [], horizon=60)
    assert math.isnan(found.mean)
    assert found.method == "none: no values"
    assert len(kaplan_meier([], []).times) == 0
    assert median_horizon([], []).method == "none: no rollouts"


def test_one_rollout():
    found = stable_horizon([7.0], [True], [0], horizon=60)
    assert found.mean == 7
    assert math.isnan(found.low)
    assert found.method == "none: one value"


def test_one_episode():
    found = stable_horizon([7.0, 9.0], [True, True], [0, 0], horizon=60)
    assert found.mean == 8
    assert math.isnan(found.high)
    assert found.method == "none: all 2 values come from one cluster"


@pytest.mark.parametrize(
    ("times", "broken", "message"),
    [
        ([-1.0], [True], "negative or not finite"),
        ([math.nan], [True], "negative or not finite"),
        ([1.0, 2.0], [True], "broken has shape"),
    ],
)
def test_nonsense_is_refused(times, broken, message):
    with pytest.raises(ValueError, match=message):
        kaplan_meier(times, broken)


def test_horizon_must_be_positive():
    with pytest.raises(ValueError, match="horizon is 0"):
        restricted_mean([1.0], [True], horizon=0)


# Coverage.


def _clustered_breaks(rng, episodes, horizon):
    """Exponential times whose rate differs by episode, three rollouts each.

    The expected time within the horizon is that of a gamma mixture of exponentials (Lomax).
    """
    clusters = np.repeat(np.arange(episodes), 3)
    rate = rng.gamma(3.0, 1 / 90, episodes)[clusters]
    return rng.exponential(1 / rate), clusters


def _expected(horizon):
    """Integral to the horizon of (1 + t / 90) ** -3."""
    return 90 / 2 * (1 - (1 + horizon / 90) ** -2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("censoring", ["at the end", "early as well"])
def test_coverage_of_the_stable_horizon(censoring):
    horizon, runs = 60.0, 1000
    truth = _expected(horizon)
    for episodes in (8, 20, 50):
        rng = np.random.default_rng([episodes, 19])
        held = naive = 0
        for run in range(runs):
            times, clusters = _clustered_breaks(rng, episodes, horizon)
            until = np.full(len(times), horizon)
            if censoring != "at the end":
                until = np.minimum(until, rng.uniform(20, 150, len(times)))
            seen, broken = np.minimum(times, until), times < until
            found = stable_horizon(
                seen, broken, clusters, horizon=horizon, resamples=1000, seed=run % 50
            )
            held += found.low <= truth <= found.high
            plain = cluster_bootstrap(seen, np.arange(len(seen)), method="t")
            naive += plain.low <= truth <= plain.high
        row = f"{100 * held / runs:.1f} | {100 * naive / runs:.1f}"
        print(f"| {censoring} | {episodes} | {row} |")  # noqa: T201
        assert held / runs > 0.93
        assert naive < held


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_coverage_of_the_curve_and_the_median():
    runs, horizon = 2000, 60.0
    rng = np.random.default_rng(23)
    at = np.array([10.0, 30.0, 50.0])
    curve_held, median_held = np.zeros(3), 0
    for _ in range(runs):
        times = rng.exponential(40, 40)
        until = np.minimum(horizon, rng.uniform(20, 150, 40))
        seen, broken = np.minimum(times, until), times < until
        curve = kaplan_meier(seen, broken)
        step = np.searchsorted(curve.times, at, side="right") - 1
        truth = np.exp(-at / 40)
        curve_held += (curve.low[step] <= truth) & (truth <= curve.high[step])
        found = median_horizon(seen, broken)
        median_held += found.low <= 40 * math.log(2) <= found.high
    print(f"| curve at 10, 30, 50 s | {100 * curve_held / runs} |")  # noqa: T201
    print(f"| median | {100 * median_held / runs:.1f} |")  # noqa: T201
    assert (curve_held / runs > 0.93).all()
    assert (curve_held / runs < 0.97).all()
    assert median_held / runs > 0.93
