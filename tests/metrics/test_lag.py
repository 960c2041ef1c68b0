"""Planted lags are found, and where nobody can tell, that is what is said."""

import numpy as np
import pytest
import torch

from dojobench.metrics.appearance import appearance
from dojobench.metrics.lag import LagConfig, LagEstimator


def _series(frames=120, seed=0):
    """A rough positive curve, like motion energy."""
    steps = np.random.default_rng(seed).standard_normal(frames + 40)
    return np.abs(np.convolve(steps, np.ones(5) / 5, "valid"))[: frames + 30]


def _planted(lag, frames=120, seed=0, noise=0.0):
    curve = _series(frames, seed)
    extra = noise * np.random.default_rng(seed + 99).standard_normal(frames)
    return curve[20 - lag : 20 - lag + frames] + extra, curve[20 : 20 + frames]


@pytest.mark.parametrize("lag", [-2, -1, 0, 1, 2, 5, 8, 16])
def test_planted_lag_is_found_exactly(lag):
    estimator = LagEstimator()
    estimator.add_motion(*_planted(lag))
    found = estimator.estimate()
    assert found.lag == lag
    assert found.candidates == [lag]
    assert found.correlation == pytest.approx(1, abs=0.15)
    assert found.reason == ""
    assert len(found.curve) == len(found.lags) == 19


@pytest.mark.parametrize("lag", [0, 3, 8])
def test_planted_lag_is_found_in_noise_from_many_rollouts(lag):
    estimator = LagEstimator()
    for seed in range(20):
        estimator.add_motion(*_planted(lag, frames=49, seed=seed, noise=0.15))
    found = estimator.estimate()
    assert found.lag == lag
    assert found.rollouts == 20
    assert 0.5 < found.correlation < 0.95


def test_more_noise_than_response_is_no_guess():
    estimator = LagEstimator()
    estimator.add_motion(*_planted(8, noise=5.0))
    found = estimator.estimate()
    assert found.lag is None
    assert found.reason


def test_unrelated_rollouts_have_no_lag():
    for seed in range(5):
        estimator = LagEstimator()
        estimator.add_motion(_series(seed=seed)[:120], _series(seed=seed + 50)[:120])
        assert estimator.estimate().lag is None


def test_periodic_motion_is_ambiguous():
    wave = np.abs(np.sin(np.arange(140) * np.pi / 6))  # repeats every 6 frames
    estimator = LagEstimator()
    estimator.add_motion(wave[:120], wave[:120])
    found = estimator.estimate()
    assert found.lag is None
    assert found.candidates == [0, 6, 12]
    assert found.reason == "shifts of 0, 6, 12 frames explain the response about as well"


def test_half_a_frame_is_between_two():
    early, truth = _planted(3)
    late, _ = _planted(4)
    estimator = LagEstimator()
    estimator.add_motion((early + late) / 2, truth)
    found = estimator.estimate()
    assert found.lag in (None, 3, 4)
    assert set(found.candidates) <= {3, 4}


def test_still_prediction_does_not_respond():
    estimator = LagEstimator()
    estimator.add_motion(np.full(120, 0.1), _series()[:120])
    found = estimator.estimate()
    assert found.lag is None
    assert found.reason == "the prediction does not respond to its actions"


def test_still_truth():
    estimator = LagEstimator()
    estimator.add_motion(_series()[:120], np.zeros(120))
    assert estimator.estimate().reason == "the truth does not respond to its actions"


def test_too_short_a_rollout_says_what_is_needed():
    estimator = LagEstimator()
    estimator.add_motion(np.arange(20.0), np.arange(20.0))
    assert estimator.estimate().reason == (
        "no rollout is longer than 26 frames, which these shifts need"
    )
    short = LagEstimator(LagConfig(max_lag=4))
    short.add_motion(_series()[:20], _series()[:20])
    assert short.estimate().lag == 0


def test_nothing_was_added():
    found = LagEstimator().estimate()
    assert (found.lag, found.reason, found.rollouts) == (None, "nothing was compared", 0)


def test_seeded():
    made = []
    for _ in range(2):
        estimator = LagEstimator()
        estimator.add_motion(*_planted(8, noise=0.3))
        made.append(estimator.estimate())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.add_motion([1.0], [1.0, 2.0]), "cannot be compared"),
        (lambda e: e.add_motion([np.nan], [1.0]), "not finite"),
        (lambda e: e.add_branches(*[torch.zeros(1, 4, 3, 4, 4)] * 2), "two or more"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(LagEstimator())


def test_negative_shifts_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        LagEstimator(LagConfig(max_lag=-1))


# Models that are wrong in a known way.

PLANTED = {"perfect": 0, "noise": 0, "blurred": 0, "half": 0, "colour-drift": 0, "seams": 0,
           "vanish": 0, "lag-2": 2, "lag-8": 8}  # fmt: skip


@pytest.fixture(scope="module")
def by_branches(shapes):
    found = {}
    for name in shapes[0].models:
        estimator = LagEstimator()
        for world in shapes:
            estimator.add_branches(world.models[name], world.truth)
        found[name] = estimator.estimate()
    return found


@pytest.mark.parametrize(("name", "lag"), PLANTED.items())
def test_planted_lag_is_found_from_branches(by_branches, name, lag):
    assert by_branches[name].lag == lag
    assert by_branches[name].rollouts == 18


@pytest.mark.parametrize("name", ["mean-future", "hold"])
def test_blind_models_do_not_respond(by_branches, name):
    assert by_branches[name].lag is None
    assert by_branches[name].reason == "the prediction does not respond to its actions"


@pytest.mark.parametrize("name", ["swap", "garbage"])
def test_wrong_responses_have_no_lag(by_branches, name):
    assert by_branches[name].lag is None
    assert by_branches[name].reason


@pytest.mark.parametrize("name", ["perfect", "blurred", "lag-2", "lag-8"])
def test_planted_lag_is_found_from_motion(shapes, name):
    estimator = LagEstimator()
    for world in shapes:
        for seen, truth in zip(world.models[name], world.truth, strict=True):
            curves = [appearance(world.context, film).motion for film in (seen, truth)]
            estimator.add_motion(*curves)
    assert estimator.estimate().lag == PLANTED[name]


def test_show_the_table(by_branches):
    """Prints the rows that ``docs/measurements.md`` keeps; run with ``-s``."""
    for name, found in by_branches.items():
        print(f"| {name} | {found.lag} | {found.correlation:.2f} | {found.reason} |")  # noqa: T201
    assert len(by_branches) == 15
