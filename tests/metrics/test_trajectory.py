"""The marker detector against known positions, and track errors against closed form."""

import math

import numpy as np
import pytest
import torch

from dojobench.metrics.trajectory import (
    MAGENTA,
    Marker,
    Track,
    detect_markers,
    dtw_cost,
    trajectory_scores,
)


def _grey(frames=1, side=32, level=120):
    return torch.full((frames, 3, side, side), level, dtype=torch.uint8)


def _paint(frames, x, y, colour, size=3, frame=0):
    for channel, value in enumerate(colour):
        frames[frame, channel, y : y + size, x : x + size] = round(255 * value)
    return frames


def _track(positions):
    array = np.asarray(positions, dtype=float)
    found = np.isfinite(array).all(axis=1)
    return Track(positions=array, found=found, area=np.where(found, 9.0, 0.0))


# The detector.


@pytest.mark.parametrize("as_float", [False, True])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (10, 20), (29, 29), (29, 3)])
def test_finds_the_centre_of_a_square(x, y, as_float):
    frames = _paint(_grey(), x, y, (1, 0, 1))
    (track,) = detect_markers(frames / 255 if as_float else frames, [MAGENTA])
    assert track.found.tolist() == [True]
    assert track.area.tolist() == [9]
    assert track.positions[0] == pytest.approx([x + 1, y + 1])


def test_follows_the_hand_within_half_a_pixel(shapes):
    for world in shapes:
        for branch in range(len(world.truth)):
            (track,) = detect_markers(world.truth[branch], [MAGENTA])
            assert track.found.all()
            gaps = np.linalg.norm(track.positions - world.hand[branch], axis=1)
            assert gaps.mean() < 0.15
            assert gaps.max() < 0.5


def test_shading_does_not_move_the_marker():
    frames = _paint(_grey(), 8, 8, (1, 0, 1), size=6)
    shaded = frames.float()
    shaded[..., 8:11] *= 0.5
    (track,) = detect_markers(shaded.to(torch.uint8), [MAGENTA])
    assert track.positions[0] == pytest.approx([10.5, 10.5])


def test_finds_several_markers_at_once():
    frames = _paint(_paint(_grey(), 4, 5, (1, 0, 1)), 20, 22, (0, 1, 1))
    pink, cyan = detect_markers(frames, [MAGENTA, Marker(colour=(0, 1, 1))])
    assert pink.positions[0] == pytest.approx([5, 6])
    assert cyan.positions[0] == pytest.approx([21, 23])


def test_takes_the_largest_patch_and_not_the_mean_of_two():
    frames = _paint(_paint(_grey(), 2, 2, (1, 0, 1), size=2), 24, 24, (1, 0, 1), size=5)
    (track,) = detect_markers(frames, [MAGENTA])
    assert track.positions[0] == pytest.approx([26, 26])


@pytest.mark.parametrize("size", [0, 1])
def test_too_small_is_not_found(size):
    frames = _grey()
    if size:
        _paint(frames, 10, 10, (1, 0, 1), size=size)
    (track,) = detect_markers(frames, [MAGENTA])
    assert not track.found[0]
    assert np.isnan(track.positions).all()
    assert track.area[0] == size


@pytest.mark.parametrize("colour", [(0.46, 0.22, 0.70), (0.86, 0.13, 0.12), (0.12, 0.33, 0.85)])
def test_other_colours_are_not_magenta(colour):
    (track,) = detect_markers(_paint(_grey(), 10, 10, colour, size=8), [MAGENTA])
    assert not track.found[0]


@pytest.mark.parametrize("level", [0, 30, 255])
def test_no_colour_is_not_found(level):
    (track,) = detect_markers(_grey(level=level), [MAGENTA])
    assert not track.found[0]


def test_survives_blur_and_noise():
    frames = _paint(_grey(side=64), 30, 20, (1, 0, 1), size=7).float()
    blurred = torch.nn.functional.avg_pool2d(frames, 3, stride=1, padding=1)
    noisy = blurred + 8 * torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    (track,) = detect_markers(noisy.clamp(0, 255).to(torch.uint8), [MAGENTA])
    assert track.positions[0] == pytest.approx([33, 23], abs=0.3)


def test_many_frames_at_once_are_the_same():
    frames = torch.cat([_paint(_grey(), k % 28, 5, (1, 0, 1)) for k in range(70)])
    (track,) = detect_markers(frames, [MAGENTA])
    assert track.positions[:, 0] == pytest.approx([k % 28 + 1 for k in range(70)])


@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (1.0, 0.8, 0.9), (2, 0, 0)])
def test_markers_without_a_colour_are_refused(colour):
    with pytest.raises(ValueError, match="colour"):
        Marker(colour=colour)


def test_what_is_no_video_is_refused():
    with pytest.raises(ValueError, match="give \\[time, 3, height, width\\]"):
        detect_markers(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [MAGENTA])


# Dynamic time warping.


def _plain_dtw(a, b):
    cost = np.full((len(a) + 1, len(b) + 1), np.inf)
    cost[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            best = min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
            cost[i + 1, j + 1] = np.linalg.norm(a[i] - b[j]) + best
    return cost[-1, -1]


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (7, 4), (12, 12)])
def test_warping_agrees_with_the_plain_recursion(n, m):
    rng = np.random.default_rng(n * 10 + m)
    a, b = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
    assert dtw_cost(a, b) == pytest.approx(_plain_dtw(a, b))
    assert dtw_cost(a, b) == pytest.approx(dtw_cost(b, a))


def test_a_pause_costs_nothing():
    path = np.column_stack([np.arange(10.0), np.zeros(10)])
    assert dtw_cost(np.repeat(path, 3, axis=0), path) == 0


@pytest.mark.parametrize("bad", [np.zeros((0, 2)), np.full((2, 2), np.nan), np.zeros(3)])
def test_paths_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="path"):
        dtw_cost(bad, np.zeros((3, 2)))


# Errors of tracks.


def test_errors_by_hand():
    truth = _track([[0, 0], [0, 0], [0, 0]])
    found = trajectory_scores(_track([[3, 4], [0, 1], [6, 8]]), truth, unit=2)
    assert found.values["ade"] == pytest.approx((5 + 1 + 10) / 3 / 2)
    assert found.values["fde"] == 5
    assert found.values["detection_rate"] == 1
    # Each predicted position is matched with the same true one.
    assert found.values["ndtw"] == pytest.approx(16 / 3 / 2)


def test_exact_tracks_have_no_error():
    truth = _track(np.random.default_rng(0).normal(size=(20, 2)))
    found = trajectory_scores(truth, truth)
    assert found.values == {"detection_rate": 1, "ade": 0, "fde": 0, "ndtw": 0}


def test_far_tracks_do_not_saturate():
    truth = _track(np.zeros((5, 2)))
    near, far = (trajectory_scores(_track(np.full((5, 2), d)), truth) for d in (1e3, 1e6))
    assert far.values["ndtw"] == pytest.approx(1000 * near.values["ndtw"])


def test_delay_costs_less_when_warped():
    t = np.arange(60)
    path = np.column_stack([10 * np.sin(t / 6), t / 3])
    late = np.concatenate([np.repeat(path[:1], 4, axis=0), path[:-4]])
    found = trajectory_scores(_track(late), _track(path))
    assert found.values["ndtw"] < 0.4 * found.values["ade"]


def test_detection_rate_stands_apart():
    truth = _track([[0, 0], [1, 0], [np.nan, np.nan], [3, 0]])
    found = trajectory_scores(_track([[0, 0], [np.nan] * 2, [5, 5], [4, 0]]), truth)
    assert found.counts == {"frames": 4, "true": 3, "both": 2, "invented": 1}
    assert found.values["detection_rate"] == pytest.approx(2 / 3)
    assert found.values["ade"] == 0.5
    assert found.values["fde"] == 1


def test_hand_lost_at_the_end_has_no_final_error():
    truth = _track([[0, 0], [1, 0]])
    found = trajectory_scores(_track([[0, 0], [np.nan] * 2]), truth)
    assert "fde" not in found.values
    assert "last predicted frame" in found.not_computed["fde"]


def test_never_found():
    truth, none = _track([[0, 0], [1, 0]]), _track([[np.nan] * 2] * 2)
    lost = trajectory_scores(none, truth)
    assert lost.values == {"detection_rate": 0}
    assert set(lost.not_computed) == {"ade", "fde", "ndtw"}
    nothing = trajectory_scores(truth, none)
    assert nothing.values == {}
    assert "never found in the truth" in nothing.not_computed["detection_rate"]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="equal length"):
        trajectory_scores(_track([[0, 0]]), _track([[0, 0], [1, 1]]))
    with pytest.raises(ValueError, match="unit is 0"):
        trajectory_scores(_track([[0, 0]]), _track([[0, 0]]), unit=0)


# Models that are wrong in a known way.


@pytest.fixture(scope="module")
def table(shapes):
    def tracks(films):  # all branches at once
        return detect_markers(films[:2].flatten(0, 1), [MAGENTA])[0]

    def branch(track, k, length):
        part = slice(k * length, (k + 1) * length)
        return Track(
            positions=track.positions[part], found=track.found[part], area=track.area[part]
        )

    truths = [tracks(world.truth) for world in shapes]
    length = shapes[0].truth.shape[1]
    found = {}
    for name in shapes[0].models:
        rows = []
        for world, truth in zip(shapes, truths, strict=True):
            seen = tracks(world.models[name])
            for k in range(2):
                scores = trajectory_scores(branch(seen, k, length), branch(truth, k, length))
                rows.append(scores.values)
        names = ("ade", "fde", "ndtw", "detection_rate")
        found[name] = {m: np.mean([r.get(m, math.nan) for r in rows]) for m in names}
    return found


def test_known_bad_models_rank_right(table):
    ade = {name: row["ade"] for name, row in table.items()}
    assert ade["perfect"] == 0
    for near in ("noise", "blurred", "vanish"):
        assert ade[near] < 0.2
    assert ade["seams"] == pytest.approx(1, abs=0.1)  # two pixels in every other chunk
    assert ade["perfect"] < ade["lag-2"] < ade["lag-8"] < ade["hold"]
    assert ade["under-react"] < ade["hold"]
    assert ade["swap"] > ade["under-react"]
    assert ade["perfect"] < ade["freeze"]
    assert table["lag-2"]["ndtw"] < 0.5 * ade["lag-2"]
    for name in ("perfect", "noise", "blurred", "lag-2", "hold", "swap", "freeze"):
        assert table[name]["detection_rate"] == 1
    # A mean of futures has no hand; it must not be rewarded for that.
    assert table["mean-future"]["detection_rate"] < 0.8


def test_show_the_table(table):
    """Prints the rows that ``docs/measurements.md`` keeps; run with ``-s``."""
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{v:.2f}" for v in row.values()) + " |")  # noqa: T201
    assert len(table) == 15
