"""Coverage of the intervals by simulation; ``docs/metrics/intervals.md`` rests on its tables.

Run with ``pytest -m slow -s tests/metrics/test_interval_coverage.py`` to see them.
"""

from collections.abc import Callable

import numpy as np
import pytest

from dojobench.metrics.intervals import (
    cluster_bootstrap,
    clustered_share,
    paired_p_value,
    two_way_clustered,
    wilson,
)

pytestmark = pytest.mark.slow

RUNS = 2000
RESAMPLES = 1000
# Three standard errors of a share of .95 in 2,000 runs are .015.
NOISE = 0.015

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def _normal(rng, episodes):
    """Half of the variance between episodes, five clips each; true mean 0."""
    clusters = np.repeat(np.arange(episodes), 5)
    return rng.standard_normal(episodes)[clusters] + rng.standard_normal(5 * episodes), clusters


def _unequal(rng, episodes):
    """The same with 1 to 9 clips an episode."""
    clusters = np.repeat(np.arange(episodes), rng.integers(1, 10, episodes))
    noise = rng.standard_normal(len(clusters))
    return rng.standard_normal(episodes)[clusters] + noise, clusters


def _skewed(rng, episodes):
    """Lognormal, skewness about 5, like a mean squared error; true mean exp(.445)."""
    clusters = np.repeat(np.arange(episodes), 5)
    logs = 0.8 * rng.standard_normal(episodes)[clusters]
    return np.exp(logs + 0.5 * rng.standard_normal(len(clusters))), clusters


DESIGNS = {"normal": (_normal, 0.0), "unequal": (_unequal, 0.0), "skewed": (_skewed, np.exp(0.445))}


def _coverage(draw: Draw, truth: float, episodes: int, method: str) -> tuple[float, float]:
    """Share of intervals that hold the truth, and their mean width."""
    rng = np.random.default_rng([episodes, 7])
    held, width = 0, 0.0
    for run in range(RUNS):
        values, clusters = draw(rng, episodes)
        if method == "unclustered":
            found = cluster_bootstrap(values, np.arange(len(values)), method="t")
        else:
            found = cluster_bootstrap(
                values, clusters, method=method, resamples=RESAMPLES, seed=run % 50
            )
        held += found.low <= truth <= found.high
        width += found.high - found.low
    return held / RUNS, width / RUNS


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("design", DESIGNS)
def test_clustered_means(design):
    draw, truth = DESIGNS[design]
    methods = ("auto", "t", "expanded", "bca", "percentile", "unclustered")
    table = {}
    for episodes in (5, 8, 20, 50, 100):
        for method in methods:
            table[episodes, method] = _coverage(draw, truth, episodes, method)
        cells = (
            f"{100 * table[episodes, m][0]:.1f} ({table[episodes, m][1]:.2f})" for m in methods
        )
        print(f"| {design} | {episodes} | " + " | ".join(cells) + " |")  # noqa: T201
    shares = {key: share for key, (share, _) in table.items()}
    for episodes in (8, 20, 50, 100):
        # The default is never worse than percentile and BCa, beyond the noise.
        for method in ("percentile", "bca"):
            assert shares[episodes, "auto"] > shares[episodes, method] - NOISE / 2
        assert shares[episodes, "unclustered"] < shares[episodes, "auto"] - 0.12
    assert shares[8, "auto"] > shares[8, "percentile"] + 0.04
    least = {"normal": 0.945, "unequal": 0.92, "skewed": 0.90}[design]
    assert min(shares[e, "auto"] for e in (8, 20, 50, 100)) > least - NOISE
    if design == "normal":
        assert max(shares[e, "auto"] for e in (20, 50, 100)) < 0.95 + NOISE


def _clustered_choices(rng, episodes, share):
    """Right choices, five an episode, with an intraclass correlation of 0.2."""
    clusters = np.repeat(np.arange(episodes), 5)
    chance = rng.beta(4 * share, 4 * (1 - share), episodes)
    return (rng.random(len(clusters)) < chance[clusters]).astype(float), clusters


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_clustered_shares(share):
    for episodes in (5, 8, 20, 50, 100):
        rng = np.random.default_rng([episodes, 11])
        held = dict.fromkeys(("clustered_share", "auto", "percentile", "wilson"), 0)
        for run in range(RUNS):
            values, clusters = _clustered_choices(rng, episodes, share)
            made = {
                "clustered_share": clustered_share(values, clusters),
                "auto": cluster_bootstrap(values, clusters, resamples=RESAMPLES, seed=run % 50),
                "percentile": cluster_bootstrap(
                    values, clusters, method="percentile", resamples=RESAMPLES, seed=run % 50
                ),
                "wilson": wilson(values.sum(), len(values)),
            }
            for name, found in made.items():
                held[name] += found.low <= share <= found.high
        cells = " | ".join(f"{100 * h / RUNS:.1f}" for h in held.values())
        print(f"| {share} | {episodes} | {cells} |")  # noqa: T201
        assert held["clustered_share"] / RUNS > 0.945 - NOISE
        assert held["wilson"] / RUNS < held["clustered_share"] / RUNS - 0.03


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("effects", ["both", "raters alike", "none"])
@pytest.mark.parametrize(("raters", "clips"), [(12, 50), (30, 100)])
def test_votes_of_raters_on_clips(raters, clips, effects):
    rng = np.random.default_rng([raters, 13])
    rater, clip = (a.ravel() for a in np.meshgrid(np.arange(raters), np.arange(clips)))
    by_rater = {"both": 0.6, "raters alike": 0.0, "none": 0.0}[effects]
    by_clip = {"both": 0.6, "raters alike": 0.6, "none": 0.0}[effects]
    held = dict.fromkeys(("votes", "rater", "two-way"), 0)
    for _ in range(RUNS):
        logit = by_rater * rng.standard_normal(raters)[rater]
        logit += by_clip * rng.standard_normal(clips)[clip]
        votes = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(float)
        made = {
            "votes": cluster_bootstrap(votes, np.arange(len(votes)), method="t"),
            "rater": cluster_bootstrap(votes, rater, method="t"),
            "two-way": two_way_clustered(votes, rater, clip, bounds=(0, 1)),
        }
        for name, found in made.items():
            held[name] += found.low <= 0.5 <= found.high
    cells = " | ".join(f"{100 * h / RUNS:.1f}" for h in held.values())
    print(f"| {raters} x {clips} | {effects} | {cells} |")  # noqa: T201
    assert held["two-way"] / RUNS > 0.95 - NOISE
    if effects != "none":
        assert held["votes"] / RUNS < 0.85
        assert held["two-way"] > held["rater"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("episodes", [8, 20, 50])
@pytest.mark.parametrize("design", DESIGNS)
def test_size_of_the_paired_test(design, episodes):
    draw, truth = DESIGNS[design]
    rng = np.random.default_rng([episodes, 17])
    rejected = 0
    for run in range(RUNS):
        values, clusters = draw(rng, episodes)
        rejected += paired_p_value(values, np.full_like(values, truth), clusters, seed=run) <= 0.05
    print(f"| {design} | {episodes} | {100 * rejected / RUNS:.1f} |")  # noqa: T201
    assert rejected / RUNS < {"normal": 0.05, "unequal": 0.05, "skewed": 0.14}[design] + NOISE
