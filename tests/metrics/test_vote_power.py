"""Power: textbook numbers where votes are independent, and where no number is enough."""

import math

import numpy as np
import pytest
from scipy.special import expit

from dojobench.metrics.vote_power import (
    PowerDesign,
    components,
    design_effect,
    detectable_rate,
    independent_votes_needed,
    power,
    raters_needed,
    votes_needed,
)

DESIGN = PowerDesign(raters=12, clips=50)


def test_55_percent_needs_about_780_independent_votes():
    assert independent_votes_needed(DESIGN) == pytest.approx(780, abs=5)
    by_hand = (1.959964 + 0.841621) ** 2 * 0.55 * 0.45 / 0.05**2
    assert independent_votes_needed(DESIGN) == pytest.approx(by_hand, abs=4)


def test_components_are_those_of_drawn_votes():
    design = PowerDesign(raters=12, clips=50, rate=0.7, ties=0.2)
    found = components(design)
    rng = np.random.default_rng(0)
    rater, clip = 0.6 * rng.standard_normal((2, 2000))
    decided = (0.7 - 0.1) / 0.8
    grid = np.add.outer(rater, clip)
    low, high = -5.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(middle + grid).mean() < decided else (low, middle)
    chance = 0.8 * expit(low + grid) + 0.1
    assert chance.mean() == pytest.approx(0.7, abs=1e-6)
    assert found.raters == pytest.approx(chance.mean(axis=1).var(), rel=0.1)
    assert found.clips == pytest.approx(chance.mean(axis=0).var(), rel=0.1)
    # A tie is worth 1/2: variance of a vote in {0, 1/2, 1}.
    wins, losses = 0.8 * decided, 0.8 * (1 - decided)
    assert found.total == pytest.approx(wins + 0.2 / 4 - 0.7**2)
    assert wins + losses + 0.2 == pytest.approx(1)


def test_twelve_raters_cannot_find_55_percent():
    assert votes_needed(DESIGN) is None
    assert power(DESIGN, 600) < 0.3
    more = raters_needed(PowerDesign(raters=12, clips=100))
    assert more is not None
    assert power(PowerDesign(raters=more, clips=100), more * 100) >= 0.8
    assert power(PowerDesign(raters=more - 1, clips=100), (more - 1) * 100) < 0.8


def test_five_clips_are_too_few_for_any_number_of_raters():
    assert raters_needed(PowerDesign(raters=12, clips=5)) is None


def test_votes_needed_is_the_fewest():
    design = PowerDesign(raters=100, clips=100, rate=0.6)
    found = votes_needed(design)
    assert found is not None
    assert power(design, found) >= 0.8 > power(design, found - 1)


def test_more_votes_of_the_same_people_help_less_and_less():
    gains = [power(PowerDesign(raters=12, clips=50, rate=0.6), n) for n in (75, 150, 300, 600)]
    assert gains == sorted(gains)
    assert gains[1] - gains[0] > gains[3] - gains[2]
    assert design_effect(DESIGN, 600) > design_effect(DESIGN, 100) > 1


def test_without_effects_the_design_does_not_matter():
    alone = PowerDesign(raters=780, clips=780, rater_effect=0, clip_effect=0)
    assert design_effect(alone, 600) == pytest.approx(1)
    assert power(alone, 780) == pytest.approx(0.8, abs=0.005)


def test_detectable_rate_is_where_the_power_is():
    found = detectable_rate(DESIGN, 600)
    assert found is not None
    assert power(PowerDesign(raters=12, clips=50, rate=found), 600) == pytest.approx(0.8, abs=1e-6)
    assert detectable_rate(PowerDesign(raters=2, clips=2, ties=0.9), 4) is None


def test_no_difference_is_found_as_often_as_the_level_says():
    same = PowerDesign(raters=12, clips=50, rate=0.5, against=0.5)
    assert power(same, 600) == pytest.approx(0.05, abs=0.002)
    assert math.isfinite(power(PowerDesign(raters=12, clips=50, rate=0.999), 600))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": 1.0}, "must lie between"), ({"ties": 1.0}, "share of ties"),
        ({"raters": 1}, "at least 2 raters"), ({"rater_effect": -1.0}, "not be negative"),
        ({"against": 0.0}, "strictly between"),
    ],
)  # fmt: skip
def test_designs_that_cannot_be_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        components(PowerDesign(**{"raters": 12, "clips": 50, **change}))
