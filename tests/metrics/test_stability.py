"""Error curves, breaks, seams and the palindrome by hand, and on known-bad models."""

import math

import numpy as np
import pytest
import torch

from dojobench.metrics.appearance import appearance
from dojobench.metrics.psnr import mean_squared_error
from dojobench.metrics.stability import (
    break_horizon,
    error_growth,
    excess_drift,
    freeze_rate,
    frozen,
    palindrome,
    seam_ratio,
    worse_than_still,
)

# Growth of the error.


def test_growth_of_an_exponential_is_its_rate():
    errors = 1e-3 * np.exp(0.7 * np.arange(30) / 10)
    assert error_growth(errors, frame_rate=10) == pytest.approx(0.7)


def test_growth_agrees_with_polyfit():
    errors = np.random.default_rng(0).random(50) + 0.01
    slope = np.polyfit(np.arange(50) / 5, np.log(errors), 1)[0]
    assert error_growth(errors, frame_rate=5) == pytest.approx(slope)


def test_exact_rollouts_do_not_grow():
    assert error_growth(np.zeros(20), frame_rate=10) == 0


def test_one_frame_has_no_growth():
    assert math.isnan(error_growth([0.1], frame_rate=10))


# Excess drift.


def test_excess_drift_by_hand():
    errors, static = [0.0, 1.0, 3.0], [1.0, 2.0, 2.0]
    assert excess_drift(errors, static) == pytest.approx(4 / 5)
    assert excess_drift(errors, static, tail=1) == pytest.approx(1.5)


def test_excess_drift_of_a_still_scene_is_undefined():
    assert math.isnan(excess_drift([0.1, 0.1], [0.0, 0.0]))


# Breaks.


def test_break_is_the_start_of_a_run_that_is_long_enough():
    flags = [0, 1, 1, 0, 0, 1, 1, 1, 0, 1]
    found = break_horizon(flags, patience=3, frame_rate=5)
    assert (found.frames, found.seconds, found.broken) == (5, 1.0, True)
    assert break_horizon(flags, patience=1, frame_rate=5).frames == 1


def test_never_broken_is_censored():
    found = break_horizon([0, 1, 1, 0, 0, 0], patience=3, frame_rate=2)
    assert (found.frames, found.seconds, found.broken) == (6, 3.0, False)


def test_broken_from_the_start():
    found = break_horizon(np.ones(6), patience=3, frame_rate=2)
    assert (found.frames, found.seconds, found.broken) == (0, 0.0, True)


def test_rollout_shorter_than_the_patience_is_censored():
    found = break_horizon(np.ones(2), patience=3, frame_rate=2)
    assert (found.frames, found.broken) == (2, False)


def test_run_at_the_very_end_counts():
    assert break_horizon([0, 0, 1, 1], patience=2, frame_rate=1).frames == 2


def test_no_skill_is_at_least_the_still_error_and_visible():
    errors = [0.5e-3, 0.2, 0.2, 0.1, 0.2]
    static = [0.0, 0.1, 0.2, 0.2, 0.0]
    # Invisible, worse, equal, better, and worse than a truth that stands still.
    assert worse_than_still(errors, static).tolist() == [False, True, True, False, True]
    assert worse_than_still(errors, static, floor=0).tolist() == [True, True, True, False, True]


# Freezing.


def test_frozen_where_the_truth_moves_and_the_prediction_does_not():
    true = np.r_[np.full(30, 0.02), np.zeros(30)]
    motion = np.r_[np.full(15, 0.02), np.zeros(45)]
    flags = frozen(motion, true, window=1)
    assert np.flatnonzero(flags).tolist() == list(range(15, 30))
    assert freeze_rate(motion, true, window=1) == pytest.approx(0.5)


def test_prediction_that_moves_half_as_much_is_not_frozen():
    true = np.full(30, 0.02)
    assert freeze_rate(true / 2, true) == 0
    assert freeze_rate(true / 20, true) == 1


def test_freeze_rate_of_a_still_truth_is_undefined():
    assert math.isnan(freeze_rate(np.ones(5), np.zeros(5)))


def test_window_longer_than_the_curve():
    assert freeze_rate([0.0, 0.0], [0.1, 0.1], window=10) == 1


# Seams.


def test_seam_ratio_by_hand():
    motion = [9.0, 1, 1, 1, 3, 1, 1, 1, 5, 1]  # the first border, to the context, is left out
    assert seam_ratio(motion, chunk=4, smallest=0) == 4
    assert seam_ratio(np.ones(12), chunk=4) == 1


def test_still_video_has_no_seams():
    assert seam_ratio(np.zeros(12), chunk=4) == 1


def test_jumps_of_a_still_video_are_finite():
    motion = np.zeros(12)
    motion[[4, 8]] = 0.1
    assert 100 < seam_ratio(motion, chunk=4) < math.inf


@pytest.mark.parametrize("frames", [1, 4])
def test_one_chunk_has_no_seam(frames):
    assert math.isnan(seam_ratio(np.ones(frames), chunk=4))


# The palindrome.


def _level(value):
    return torch.full((3, 4, 4), value, dtype=torch.uint8)


def test_palindrome_by_hand():
    # Distances are squares of 10, 40 and 50 levels.
    found = palindrome(_level(100), _level(150), _level(110))
    assert found == pytest.approx(2 * 10**2 / (50**2 + 40**2))


def test_palindrome_that_finds_back():
    assert palindrome(_level(100), _level(150), _level(100)) == 0


def test_palindrome_that_does_not_turn_round():
    assert palindrome(_level(100), _level(150), _level(150)) == 2
    assert palindrome(_level(100), _level(150), _level(200)) == 4


def test_palindrome_of_a_still_model_is_undefined():
    assert math.isnan(palindrome(_level(100), _level(100), _level(100)))


# Nonsense.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: error_growth([-1.0, 1.0], frame_rate=1), "negative or not finite"),
        (lambda: error_growth([math.nan, 1.0], frame_rate=1), "negative or not finite"),
        (lambda: error_growth([], frame_rate=1), "one number a frame"),
        (lambda: error_growth([1.0, 1.0], frame_rate=0), "frame_rate is 0"),
        (lambda: excess_drift([1.0], [1.0, 2.0]), "cannot be compared"),
        (lambda: excess_drift([1.0], [1.0], tail=2), "tail is 2"),
        (lambda: break_horizon([], patience=1, frame_rate=1), "one flag a frame"),
        (lambda: break_horizon([1], patience=0, frame_rate=1), "patience is 0"),
        (lambda: seam_ratio([1.0, 1.0], chunk=1), "chunk is 1"),
        (lambda: freeze_rate([1.0], [1.0], window=0), "window is 0"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Models that are wrong in a known way.


def _rollout(world, name, branch):
    prediction, truth = world.models[name][branch], world.truth[branch]
    errors = mean_squared_error(prediction, truth).numpy()
    static = mean_squared_error(world.context[-1].expand_as(truth), truth).numpy()
    seen, real = appearance(world.context, prediction), appearance(world.context, truth)
    broken = worse_than_still(errors, static) | frozen(seen.motion, real.motion)
    return {
        "growth": error_growth(errors, frame_rate=world.rate),
        "drift": excess_drift(errors, static, tail=2 * world.rate),
        "seconds": break_horizon(broken, patience=world.rate, frame_rate=world.rate).seconds,
        "freeze": freeze_rate(seen.motion, real.motion),
        "seam": seam_ratio(seen.motion, chunk=world.chunk),
        "sharpness": abs(np.mean(seen.sharpness[-20:]) - np.mean(real.sharpness[-20:])),
        "colour": abs(np.mean(seen.colour_drift[-20:]) - np.mean(real.colour_drift[-20:])),
        "flicker": np.mean(seen.flicker) / np.mean(real.flicker),
    }


@pytest.fixture(scope="module")
def table(shapes):
    found = {}
    for name in shapes[0].models:
        rows = [_rollout(world, name, branch) for world in shapes for branch in range(2)]
        found[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return found


def _column(table, key):
    return {name: row[key] for name, row in table.items()}


def test_errors_rank_right(table):
    drift = _column(table, "drift")
    assert drift["perfect"] == 0
    assert drift["hold"] == 1
    assert drift["noise"] < drift["lag-2"] < drift["lag-8"] < drift["hold"] < drift["swap"]
    assert drift["colour-drift"] > drift["noise"]
    growth = _column(table, "growth")
    assert growth["perfect"] == 0
    assert growth["colour-drift"] > growth["noise"]
    assert growth["freeze"] > growth["noise"]


def test_stable_horizons_rank_right(table):
    seconds = _column(table, "seconds")
    assert seconds["perfect"] == seconds["noise"] == seconds["blurred"] == 12
    # Standing still must not last: it has no skill as soon as the scene has moved.
    assert seconds["hold"] < 1.5
    assert seconds["mean-future"] > seconds["hold"]
    assert 2.5 < seconds["freeze"] < 3.6
    assert seconds["garbage"] < 1.5
    assert seconds["colour-drift"] < 12
    assert seconds["lag-2"] > seconds["lag-8"]


def test_freezing_is_found(table):
    freeze = _column(table, "freeze")
    assert freeze["hold"] == 1
    assert freeze["freeze"] == pytest.approx(0.75, abs=0.06)
    for moving in ("perfect", "noise", "blurred", "lag-2", "swap", "under-react", "garbage"):
        assert freeze[moving] == 0
    assert freeze["lag-8"] < 0.06  # it does stand still for its first 0.8 of 12 seconds


def test_seams_are_found(table):
    seam = _column(table, "seam")
    assert seam["seams"] > 1.5
    assert seam["seams"] > 1.4 * max(v for name, v in seam.items() if name != "seams")
    assert seam["hold"] == 1


def test_blur_noise_and_colour_are_found(table):
    sharpness, colour = _column(table, "sharpness"), _column(table, "colour")
    flicker = _column(table, "flicker")
    assert max(sharpness, key=sharpness.get) in ("blurred", "noise")
    assert min(sharpness["blurred"], sharpness["noise"]) > 1
    for sharp in ("perfect", "lag-2", "swap", "seams", "freeze", "colour-drift"):
        assert sharpness[sharp] < 0.2
    assert max(colour, key=colour.get) == "colour-drift"
    assert colour["perfect"] == 0
    assert max(flicker, key=flicker.get) == "noise"
    assert flicker["hold"] == 0
    assert flicker["perfect"] == 1


def test_show_the_table(table):
    """Prints the rows that ``docs/measurements.md`` keeps; run with ``-s``."""
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{v:.2f}" for v in row.values()) + " |")  # noqa: T201
    assert all(math.isfinite(value) for row in table.values() for value in row.values())
