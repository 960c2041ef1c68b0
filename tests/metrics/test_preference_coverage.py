"""Coverage of the intervals of votes; ``docs/measurements.d/preferences.md`` holds the tables.

Run with ``pytest -m slow -s tests/metrics/test_preference_coverage.py`` to see them.
"""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from dojobench.metrics.agreement import krippendorff_alpha
from dojobench.metrics.davidson import fit, probabilities
from dojobench.metrics.preference_intervals import naive_rate, rate_interval
from dojobench.metrics.ranking import RankingConfig, rank
from dojobench.metrics.vote_power import PowerDesign, power
from dojobench.metrics.votes import Votes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

RUNS = 2000
# Two points, and three standard errors of a share of .95 in 2,000 runs.
MOST = 0.02 + 0.015

EFFECTS = {"both": (0.6, 0.6), "raters alike": (0.0, 0.6), "none": (0.0, 0.0)}
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def _grid(rng, raters, clips, share):
    rater, clip = (a.ravel() for a in np.meshgrid(np.arange(raters), np.arange(clips)))
    if share == "unequal":
        keep = rng.random(len(rater)) < np.geomspace(0.05, 1, raters)[rater]
    else:
        keep = rng.random(len(rater)) < share
    return rater[keep], clip[keep]


def _rates(rng, raters, clips, share, rate, sds):
    """Votes whose chance has the mean ``rate`` over raters and clips."""
    spread = float(np.hypot(*sds))
    centre = brentq(lambda x: WEIGHTS @ expit(x + spread * NODES) - rate, -9, 9)
    rater, clip = _grid(rng, raters, clips, share)
    lean = sds[0] * rng.standard_normal(raters)[rater] + sds[1] * rng.standard_normal(clips)[clip]
    return (rng.random(len(rater)) < expit(centre + lean)).astype(float), rater, clip


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize(
    ("raters", "clips", "share", "rate"),
    [
        (12, 50, 1.0, 0.5), (12, 50, 1.0, 0.725), (12, 50, 1.0, 0.9), (12, 50, 0.4, 0.725),
        (12, 50, "unequal", 0.725), (6, 50, 1.0, 0.725), (30, 100, 1.0, 0.725),
    ],
)  # fmt: skip
def test_win_rates(raters, clips, share, rate, effects):
    rng = np.random.default_rng([raters, int(1000 * rate), 23])
    held = dict.fromkeys(("naive", "clustered"), 0)
    for _ in range(RUNS):
        votes, rater, clip = _rates(rng, raters, clips, share, rate, EFFECTS[effects])
        for name, made in (
            ("naive", naive_rate(votes)),
            ("clustered", rate_interval(votes, rater, clip)),
        ):
            held[name] += made.low <= rate <= made.high
    shares = {name: count / RUNS for name, count in held.items()}
    cells = " | ".join(f"{100 * each:.1f}" for each in shares.values())
    print(f"| {raters} x {clips} | {share} | {rate} | {effects} | {cells} |")  # noqa: T201
    assert abs(shares["clustered"] - 0.95) < MOST
    if effects == "both":
        assert shares["naive"] < 0.85


STRENGTHS, SIDE, TIE = np.array([0.0, 0.5, 1.5]), 0.1, -1.0


def _ranked(rng, raters, clips, sds):
    """Three models; raters and clips favour each model by a leaning of its own."""
    grid = _grid(rng, raters, clips, 1.0)
    rater, clip = (np.tile(each, 3) for each in grid)
    pairs = np.repeat(np.array(list(combinations(range(3), 2))), len(grid[0]), axis=0)
    turned = rng.random(len(pairs)) < 0.5
    left, right = np.where(turned, pairs[:, 1], pairs[:, 0]), np.where(turned, *pairs.T)
    own, its = (
        sd / np.sqrt(2) * rng.standard_normal((n, 3))
        for sd, n in zip(sds, (raters, clips), strict=True)
    )
    lean = (STRENGTHS + own[rater] + its[clip])[np.arange(len(left)), left]
    lean -= (STRENGTHS + own[rater] + its[clip])[np.arange(len(left)), right]
    odds = np.exp(np.stack([(lean + SIDE) / 2, -(lean + SIDE) / 2, np.full(len(left), TIE)]))
    drawn = (rng.random(len(left)) > (odds / odds.sum(axis=0)).cumsum(axis=0)).sum(axis=0)
    return Votes(
        models=("A", "B", "C"), left=left, right=right, outcome=np.minimum(drawn, 2),
        raters=rater, clips=clip, rater_count=raters, clip_count=clips,
    )  # fmt: skip


def _true_differences(sds):
    """What Davidson's model says of votes averaged over all raters and clips."""
    spread = float(np.hypot(*sds))
    counts = np.zeros((3, 3, 3))
    for i in range(3):
        for j in range(3):
            if i != j:
                two = np.array([STRENGTHS[i], STRENGTHS[j], SIDE, TIE])
                moved = two + spread * NODES[:, None] * np.array([1, 0, 0, 0])
                counts[i, j] = 1e6 * WEIGHTS @ probabilities(moved)[:, 0, 1]
    strengths = fit(counts).strengths
    return {(a, b): strengths[a] - strengths[b] for a in range(3) for b in range(3)}


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize(("raters", "clips", "runs"), [(12, 50, 1000), (30, 100, 200)])
def test_differences_of_strength(raters, clips, runs, effects):
    rng = np.random.default_rng([raters, 29])
    truth = _true_differences(EFFECTS[effects])
    held = dict.fromkeys(("naive", "clustered", "bootstrap"), 0)
    wrong_ranks = 0
    for run in range(runs):
        votes = _ranked(rng, raters, clips, EFFECTS[effects])
        found = rank(votes, RankingConfig(resamples=200, seed=run))
        for each in found.differences:
            true = truth["ABC".index(each.first), "ABC".index(each.second)]
            made = each.difference
            held["naive"] += made.naive.low <= true <= made.naive.high
            held["clustered"] += made.clustered.low <= true <= made.clustered.high
            held["bootstrap"] += made.bootstrap[0] <= true <= made.bootstrap[1]
        places = {each.model: (each.rank_low, each.rank_high) for each in found.strengths}
        wrong_ranks += any(
            not places[name][0] <= place <= places[name][1]
            for name, place in zip("ABC", (3, 2, 1), strict=True)
        )
    shares = {name: count / (3 * runs) for name, count in held.items()}
    cells = " | ".join(f"{100 * each:.1f}" for each in shares.values())
    right = 100 - 100 * wrong_ranks / runs
    print(f"| {raters} x {clips} | {effects} | {cells} | {right:.1f} |")  # noqa: T201
    noise = 3 * np.sqrt(0.05 * 0.95 / runs)
    assert abs(shares["clustered"] - 0.95) < 0.02 + noise
    assert abs(shares["bootstrap"] - 0.95) < 0.025 + noise
    assert wrong_ranks / runs < 0.05 + noise
    if effects == "both":
        assert shares["naive"] < 0.75


def _answers(rng, raters, clips, share, clip_sd, rater_sd):
    rater, clip = _grid(rng, raters, clips, share)
    lean = (
        clip_sd * rng.standard_normal(clips)[clip] + rater_sd * rng.standard_normal(raters)[rater]
    )
    lean += rng.logistic(size=len(rater))
    return np.where(lean > 0.7, 1.0, np.where(lean < -0.7, -1.0, 0.0)), clip, rater


@pytest.mark.parametrize(("clip_sd", "rater_sd"), [(3.0, 0.0), (1.5, 0.6), (0.5, 0.3), (0.0, 0.0)])
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_alpha(share, clip_sd, rater_sd):
    rng = np.random.default_rng([int(10 * clip_sd), 31])
    large = [_answers(rng, 60, 2000, 1.0, clip_sd, rater_sd) for _ in range(8)]
    truth = np.mean([krippendorff_alpha(*each).mean for each in large])
    held, runs = 0, 1000
    for _ in range(runs):
        found = krippendorff_alpha(*_answers(rng, 12, 50, share, clip_sd, rater_sd))
        held += found.low <= truth <= found.high
    print(f"| {truth:.2f} | {share} | {100 * held / runs:.1f} |")  # noqa: T201
    assert 0.93 - 0.02 < held / runs < 0.99


@pytest.mark.parametrize(
    ("design", "votes"),
    [
        (PowerDesign(raters=12, clips=50, rate=0.6), 600),
        (PowerDesign(raters=12, clips=50, rate=0.65), 300),
        (PowerDesign(raters=40, clips=50, rate=0.58, rater_effect=0.3), 800),
        (PowerDesign(raters=30, clips=100, rate=0.55, rater_effect=0.0, clip_effect=0.0), 800),
    ],
)
def test_power_is_what_is_found(design, votes):
    rng = np.random.default_rng(37)
    sds = (design.rater_effect, design.clip_effect)
    found, runs = 0, 1000
    for _ in range(runs):
        drawn, rater, clip = _rates(rng, design.raters, design.clips, 1.0, design.rate, sds)
        kept = rng.permutation(len(drawn))[:votes]
        made = rate_interval(drawn[kept], rater[kept], clip[kept])
        found += not made.low <= design.against <= made.high
    planned = power(design, votes)
    print(  # noqa: T201
        f"| {design.raters} x {design.clips} | {design.rate} | {sds[0]}, {sds[1]} | {votes} "
        f"| {100 * planned:.0f} | {100 * found / runs:.0f} |"
    )
    assert abs(found / runs - planned) < 0.07
