"""Side-by-side video: the right clips, the right panes, at the same frame, byte for byte."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from dojobench.benchmarks.report_clips import COLOURS, GAIN, choose, compose, compose_row
from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.protocol import BadInputError


def clip(name: str, **values: float) -> dict[str, Any]:
    return {"clip": name, "values": values}


def write(file: Path, frames: np.ndarray) -> Path:
    with VideoWriter(file, rate=10, resolution=frames.shape[1:3]) as writer:
        writer.write(torch.from_numpy(frames).permute(0, 3, 1, 2))
    return file


def flat(levels: list[int], height: int = 32, width: int = 48) -> np.ndarray:
    return np.stack([np.full((height, width, 3), level, np.uint8) for level in levels])


def decode(video: bytes) -> np.ndarray:
    with av.open(io.BytesIO(video)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_best_median_and_worst_go_by_the_metric_s_direction() -> None:
    clips = [clip(n, psnr=v, lpips=1 - v) for n, v in zip("abcde", (3, 1, 5, 2, 4), strict=True)]
    found = choose(clips, "psnr", higher_is_better=True)
    assert [(c.role, c.clip) for c in found] == [("best", "c"), ("median", "a"), ("worst", "b")]
    found = choose(clips, "lpips", higher_is_better=False)
    assert [c.clip for c in found] == ["c", "a", "b"]


def test_few_clips_are_each_shown_once() -> None:
    assert choose([], "psnr", higher_is_better=True) == []
    (only,) = choose([clip("a", psnr=1)], "psnr", higher_is_better=True)
    assert only.role == "only"
    two = choose([clip("a", psnr=1), clip("b", psnr=2)], "psnr", higher_is_better=True)
    assert [(c.role, c.clip) for c in two] == [("best", "b"), ("worst", "a")]
    tied = choose([clip(n, psnr=1) for n in "cab"], "psnr", higher_is_better=True)
    assert [c.clip for c in tied] == ["a", "b", "c"]


def test_clips_without_the_metric_are_left_out() -> None:
    clips = [clip("a", ssim=1), clip("b", psnr=float("nan")), clip("c", psnr=2)]
    assert [c.clip for c in choose(clips, "psnr", higher_is_better=True)] == ["c"]


def test_panes_show_truth_prediction_and_amplified_difference(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.mp4", flat([40, 80, 120, 160]))
    prediction = write(tmp_path / "p.mp4", flat([40, 80, 100, 200]))
    made = compose(truth, prediction, context=1)
    # Small panes are doubled, so that H.264's coarse colours do not smear them.
    assert (made.width, made.height, made.frames, made.rate) == (96, 64, 4, 10.0)
    frames = decode(made.video)
    assert frames.shape == (4, 64, 3 * 96, 3)
    for k, (ours, theirs) in enumerate([(40, 40), (80, 80), (120, 100), (160, 200)]):
        left, middle, right = np.split(frames[k, 16:48].astype(int), 3, axis=1)
        assert abs(left[:, 16:80].mean() - ours) < 4
        assert abs(middle[:, 16:80].mean() - theirs) < 4
        colour = COLOURS[min(GAIN * abs(ours - theirs), 255)]
        assert np.abs(right[:, 16:80].mean(axis=(0, 1)) - colour).max() < 12


def test_context_frames_carry_a_line_in_the_prediction_s_pane(tmp_path: Path) -> None:
    file = write(tmp_path / "t.mp4", flat([60] * 4, 64, 64))
    frames = decode(compose(file, file, context=2).video).astype(int)
    edges = frames[:, 0, 128 + 16 : 256 - 16].mean(axis=1)
    for given in edges[:2]:
        assert given[0] - given[2] > 80  # amber: red well above blue
    for predicted in edges[2:]:
        assert abs(predicted[0] - predicted[2]) < 20


def test_the_same_videos_give_the_same_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    file = write(tmp_path / "t.mp4", noise)
    assert compose(file, file, context=1) == compose(file, file, context=1)


def test_wide_panes_are_made_smaller_and_even(tmp_path: Path) -> None:
    file = write(tmp_path / "t.mp4", flat([90, 100], 481, 641))
    made = compose(file, file, context=1)
    assert (made.width, made.height) == (320, 240)
    assert decode(made.video).shape == (2, 240, 3 * 320, 3)


def test_difference_is_taken_before_panes_are_made_smaller(tmp_path: Path) -> None:
    stripes = np.zeros((2, 256, 1024, 3), np.uint8)
    stripes[:, :, ::2] = 60
    truth = write(tmp_path / "t.mp4", stripes)
    prediction = write(tmp_path / "p.mp4", np.roll(stripes, 1, axis=2))
    frames = decode(compose(truth, prediction, context=0).video)
    # Averaged stripes are equal; the difference of the full pictures is not.
    assert frames[0, :, 2 * 320 :].mean() > 100


def test_unequal_videos_are_refused(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.mp4", flat([1, 2, 3]))
    short = write(tmp_path / "short.mp4", flat([1, 2]))
    small = write(tmp_path / "small.mp4", flat([1, 2, 3], 16, 48))
    with pytest.raises(BadInputError, match="unequal numbers of frames"):
        compose(truth, short, context=1)
    with pytest.raises(BadInputError, match="48x16"):
        compose(truth, small, context=1)


def test_a_row_shows_the_truth_and_every_prediction_at_the_same_frame(tmp_path: Path) -> None:
    levels = {"t": [40, 80, 120], "a": [60, 90, 110], "b": [200, 150, 100]}
    files = [write(tmp_path / f"{name}.mp4", flat(own)) for name, own in levels.items()]
    found = compose_row(files[0], files[1:], context=1)
    frames = decode(found.video).astype(int)
    assert frames.shape == (3, found.height, 3 * found.width, 3)
    for pane, own in enumerate(levels.values()):
        middle = frames[:, found.height // 2, pane * found.width + found.width // 2, 0]
        assert np.abs(middle - own).max() < 5
    edges = np.ptp(frames[0, 0, found.width // 2 :: found.width], axis=-1)
    assert edges[0] < 10 < min(edges[1:])  # a line round what was given to a model
    assert compose_row(files[0], files[1:], context=1) == found


def test_a_row_of_unequal_videos_is_refused(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.mp4", flat([1, 2, 3]))
    short = write(tmp_path / "short.mp4", flat([1, 2]))
    with pytest.raises(BadInputError, match=r"short\.mp4 and .*unequal numbers of frames"):
        compose_row(truth, [truth, short], context=1)


def test_missing_and_broken_videos_are_named(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.mp4", flat([1, 2, 3]))
    with pytest.raises(BadInputError, match=r"gone\.mp4 is missing"):
        compose(truth, tmp_path / "gone.mp4", context=1)
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(BadInputError, match=r"text\.mp4 is no readable video"):
        compose(truth, tmp_path / "text.mp4", context=1)


def test_colours_rise_in_lightness() -> None:
    lightness = COLOURS @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) >= 0).all()
    assert COLOURS[0].max() < 10
    assert lightness[-1] > 230
