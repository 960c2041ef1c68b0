"""Davidson's model against his own example, statsmodels and a plain maximum of the likelihood."""

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize

from dojobench.metrics.davidson import Prior, expected, fit, objective, probabilities, profile_end
from dojobench.metrics.strengths import sandwich
from dojobench.metrics.votes import Votes

FLAT = Prior(strength=1e4, side=1e4, tie=1e4)

# Davidson 1970, table 1: brands of chocolate pudding; i, j, i preferred, j preferred, ties.
PUDDINGS = (
    (1, 2, 19, 22, 16), (1, 3, 16, 19, 12), (2, 3, 19, 19, 10), (1, 4, 18, 23, 13),
    (2, 4, 23, 19, 9), (3, 4, 19, 20, 15), (1, 5, 13, 19, 18), (2, 5, 16, 20, 12),
    (3, 5, 16, 15, 17), (4, 5, 17, 14, 16), (1, 6, 18, 21, 12), (2, 6, 22, 20, 12),
    (3, 6, 13, 18, 10), (4, 6, 14, 19, 18), (5, 6, 11, 21, 12),
)  # fmt: skip


def _puddings():
    """Each comparison half in either order, as the example knows no sides."""
    counts = np.zeros((6, 6, 3))
    for i, j, first, second, ties in PUDDINGS:
        counts[i - 1, j - 1] = np.array([first, second, ties]) / 2
        counts[j - 1, i - 1] = np.array([second, first, ties]) / 2
    return counts


def _drawn(seed=0, models=4, votes=900, ties=True):
    rng = np.random.default_rng(seed)
    left = rng.integers(0, models, votes)
    right = (left + rng.integers(1, models, votes)) % models
    parameters = np.array([*np.linspace(-0.6, 0.7, models), 0.3, -0.8])
    chances = probabilities(parameters, ties=ties)[left, right]
    outcome = (rng.random(votes)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    return Votes(
        models=tuple("ABCDEFGH"[:models]), left=left, right=right, outcome=outcome,
        raters=rng.integers(0, 9, votes), clips=rng.integers(0, 30, votes), rater_count=9,
        clip_count=30,
    )  # fmt: skip


def test_davidsons_own_example():
    found = fit(_puddings(), prior=FLAT)
    worth = np.exp(found.strengths)
    # The paper's estimates, to its digits.
    assert worth / worth.sum() == pytest.approx(
        [0.139, 0.173, 0.162, 0.165, 0.159, 0.202], abs=6e-4
    )
    assert math.exp(found.parameters[-1]) == pytest.approx(0.747, abs=5e-4)
    assert found.parameters[-2] == pytest.approx(0, abs=1e-9)


def test_bradley_terry_is_a_logistic_regression():
    votes = _drawn(ties=False)
    assert votes.tally()[..., 2].sum() == 0
    design = np.zeros((len(votes), 4))
    design[np.arange(len(votes)), votes.left] = 1
    design[np.arange(len(votes)), votes.right] = -1
    design = np.column_stack([design[:, 1:], np.ones(len(votes))])  # the first model is 0
    reference = sm.Logit((votes.outcome == 0).astype(float), design).fit(disp=False)
    found = fit(votes.tally(), prior=FLAT)
    assert found.strengths[1:] - found.strengths[0] == pytest.approx(
        reference.params[:-1], abs=1e-6
    )
    assert found.parameters[-2] == pytest.approx(reference.params[-1], abs=1e-6)
    contrasts = np.zeros((6, 3))
    contrasts[0], contrasts[1:4] = -1, np.eye(3)
    covariance = contrasts.T @ found.covariance @ contrasts
    assert covariance == pytest.approx(reference.cov_params()[:3, :3], rel=1e-4)


@pytest.mark.parametrize("way", ["raters", "clips"])
def test_scores_by_cluster_agree_with_statsmodels(way):
    votes = _drawn(ties=False, votes=3000)
    design = np.zeros((len(votes), 4))
    design[np.arange(len(votes)), votes.left] = 1
    design[np.arange(len(votes)), votes.right] = -1
    design = np.column_stack([design[:, 1:], np.ones(len(votes))])
    groups = getattr(votes, way)
    reference = sm.Logit((votes.outcome == 0).astype(float), design).fit(
        disp=False, cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    contrasts = np.zeros((6, 3))
    contrasts[0], contrasts[1:4] = -1, np.eye(3)
    found = sandwich(votes, fit(votes.tally(), prior=FLAT), contrasts)
    ours = getattr(found.two_way, way)
    count = getattr(votes, f"{way[:-1]}_count")
    # Ours enlarges each cluster by one minus its share, on average by G / (G - 1).
    expected_variance = reference.cov_params().diagonal()[:3] * count / (count - 1)
    assert ours == pytest.approx(expected_variance, rel=0.1)


def test_ties_agree_with_a_plain_maximum():
    votes = _drawn(seed=3)

    def minus_likelihood(x):
        # Davidson's own form, with worths, nu and the order effect of Davidson and Beaver.
        worth, gamma, nu = np.exp([0.0, *x[:3]]), math.exp(x[3]), math.exp(x[4])
        first, second = worth[votes.left] * gamma, worth[votes.right]
        tie = nu * np.sqrt(first * second)
        chance = np.choose(votes.outcome, [first, second, tie]) / (first + second + tie)
        return -np.log(chance).sum()

    reference = minimize(minus_likelihood, np.zeros(5), method="BFGS").x
    found = fit(votes.tally(), prior=FLAT)
    ours = [*(found.strengths[1:] - found.strengths[0]), *found.parameters[-2:]]
    assert ours == pytest.approx(reference, abs=1e-4)


def test_a_tie_is_half_a_win_for_strengths():
    counts = np.zeros((2, 2, 3))
    counts[0, 1], counts[1, 0] = [30, 10, 20], [10, 30, 20]
    halves = np.zeros((2, 2, 3))
    halves[0, 1], halves[1, 0] = [40, 20, 0], [20, 40, 0]
    with_ties, split = (fit(c, prior=FLAT).strengths for c in (counts, halves))
    # Between two models Davidson's estimate is the logit of wins over losses.
    assert with_ties[0] - with_ties[1] == pytest.approx(math.log(3))
    assert split[0] - split[1] == pytest.approx(math.log(2))


def test_means_and_variances_are_those_of_the_outcomes():
    parameters = np.array([0.4, -0.2, 0.0, 0.3, -0.5])
    chances, seen = probabilities(parameters), expected(parameters)
    lean, tie = np.array([0.5, -0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert chances.sum(axis=-1) == pytest.approx(np.ones((3, 3)))
    assert seen.lean == pytest.approx(chances @ lean)
    assert seen.lean_variance == pytest.approx(chances @ lean**2 - (chances @ lean) ** 2)
    assert seen.tie_variance == pytest.approx(chances @ tie - (chances @ tie) ** 2)
    assert seen.covariance == pytest.approx(-(chances @ lean) * (chances @ tie))


def test_the_gradient_vanishes_and_the_information_is_the_curvature():
    counts = _drawn(seed=5).tally()
    found = fit(counts)
    step = 1e-4
    for k in range(6):
        moved = []
        for side in (-1, 1):
            parameters = found.parameters.copy()
            parameters[k] += side * step
            there = replace(found, parameters=parameters)
            moved.append(float(objective(there, counts)))
        top = float(objective(found, counts))
        assert (moved[1] - moved[0]) / (2 * step) == pytest.approx(0, abs=1e-4)
        curvature = (2 * top - moved[0] - moved[1]) / step**2
        assert curvature == pytest.approx(found.information[k, k], rel=1e-3)


def test_many_tables_at_once_are_the_same_as_one_by_one():
    counts = np.stack([_drawn(seed=s).tally() for s in range(5)])
    together = fit(counts)
    for k in range(5):
        alone = fit(counts[k], start=np.full(6, 0.5))
        assert together.parameters[k] == pytest.approx(alone.parameters, abs=1e-8)


def test_weak_prior_says_nothing_where_there_are_votes():
    counts = _drawn(votes=20_000).tally()
    near, flat = fit(counts), fit(counts, prior=FLAT)
    assert near.strengths - near.strengths.mean() == pytest.approx(
        flat.strengths - flat.strengths.mean(), abs=0.002
    )


def test_unbeaten_is_finite_and_wide():
    counts = np.zeros((3, 3, 3))
    counts[0, 1], counts[1, 2] = [10, 0, 0], [5, 5, 0]
    found = fit(counts)
    assert 1 < found.strengths[0] < 3
    assert math.sqrt(found.covariance[0, 0]) > 1


def test_profile_end_is_where_the_deviance_is_spent():
    counts = np.zeros((2, 2, 3))
    counts[0, 1], counts[1, 0] = [30, 20, 0], [20, 30, 0]
    weights = np.array([1.0, -1.0, 0.0, 0.0])
    low = profile_end(counts, weights, 3.84, -1, prior=FLAT)
    high = profile_end(counts, weights, 3.84, 1, prior=FLAT)
    for end in (low, high):
        share = 1 / (1 + math.exp(-end))
        deviance = 2 * (60 * math.log(0.6 / share) + 40 * math.log(0.4 / (1 - share)))
        assert deviance == pytest.approx(3.84, abs=1e-4)
    assert low < math.log(1.5) < high


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3, 3)), -np.ones((2, 2, 3)), np.full((2, 2, 3), np.nan)]
)
def test_counts_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="counts"):
        fit(bad)
