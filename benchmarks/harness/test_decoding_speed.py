"""Decoding speed beside the plain way, which decodes from the start of the file for each window.

A window is 49 consecutive frames at a random place, as a clip of a suite is. Both ways give the
same frames, which the first test checks; the last states the ratio, measured in one run on a
video that is made here, so that it needs no data. The real videos at ``DOJOBENCH_DATA`` are
timed where they are.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from dojobench.datasets.video import VideoReader

WINDOW, WINDOWS, FRAMES, SIDE = 49, 12, 600, 256
REQUIRED_RATIO = 2.5

REAL = {
    "gr1_sim": "gr1_sim/videos/chunk-000/observation.images.ego_view/episode_000001.mp4",
    "g1_real": "g1_real/videos/chunk-000/observation.images.cam_high/episode_000008.mp4",
}


@pytest.fixture(scope="module")
def made_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 frames of 256x256 that drift, H.264 with B-frames and a keyframe every 30."""
    path = tmp_path_factory.mktemp("video") / "made.mp4"
    scene = np.random.default_rng(0).integers(0, 255, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    picture = scene.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        options = {"g": "30", "bf": "2", "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=20, options=options)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for number in range(FRAMES):
            moved = np.ascontiguousarray(np.roll(picture, (number, 2 * number), axis=(0, 1)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _real(name: str) -> Path:
    root = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("DOJOBENCH_DATA", root)) / REAL[name]
    if not path.is_file():
        pytest.skip(f"there is no {REAL[name]}; set DOJOBENCH_DATA")
    return path


def _starts(frames: int) -> list[int]:
    generator = random.Random(1)
    return [generator.randrange(frames - WINDOW) for _ in range(WINDOWS)]


def _plain(path: Path, starts: list[int]) -> list[torch.Tensor]:
    """Opens the file for each window and decodes from its start, as simple loaders do."""
    windows = []
    for start in starts:
        pictures = []
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number >= start:
                    pictures.append(frame.to_ndarray(format="rgb24"))
                if len(pictures) == WINDOW:
                    break
        windows.append(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous())
    return windows


def _ours(path: Path, starts: list[int], threads: int = 1) -> list[torch.Tensor]:
    """Indexes the file once and reads each window by frame number."""
    with VideoReader(path, threads=threads) as reader:
        return [reader.read(range(start, start + WINDOW)) for start in starts]


def _best(work: Callable[[], Any], rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.benchmark(group="decoding")
def test_both_ways_give_the_same_frames(benchmark: Any, made_video: Path) -> None:
    """Speed counts only where the frames are the same."""
    starts = _starts(FRAMES)[:3]
    ours = benchmark.pedantic(_ours, (made_video, starts), rounds=1)
    for ours_window, plain_window in zip(ours, _plain(made_video, starts), strict=True):
        assert torch.equal(ours_window, plain_window)


@pytest.mark.benchmark(group="decoding")
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("threads", [1, 2])
def test_real_video(benchmark: Any, name: str, threads: int) -> None:
    """Times windows, the whole file in order, and single frames of real robot video."""
    path = _real(name)
    with VideoReader(path) as reader:
        frames = len(reader)
    starts = _starts(frames)
    benchmark.pedantic(_ours, (path, starts, threads), rounds=3, warmup_rounds=1)
    ours = benchmark.stats.stats.min
    plain = _best(lambda: _plain(path, starts), rounds=2)

    def in_order() -> None:
        with VideoReader(path, threads=threads) as reader:
            for start in range(0, frames, WINDOW):
                reader.read(range(start, min(start + WINDOW, frames)))

    def singly() -> None:
        with VideoReader(path, threads=threads) as reader:
            for start in starts:
                reader.read([start])

    wanted = WINDOW * WINDOWS
    benchmark.extra_info |= {
        "windows_frames_per_s": round(wanted / ours),
        "plain_windows_frames_per_s": round(wanted / plain),
        "ratio": round(plain / ours, 2),
        "in_order_frames_per_s": round(frames / _best(in_order)),
        "single_random_frames_per_s": round(WINDOWS / _best(singly)),
    }
    assert ours < plain


@pytest.mark.benchmark(group="decoding")
def test_random_windows_are_several_times_faster(benchmark: Any, made_video: Path) -> None:
    """States the ratio and fails where it is lost."""
    starts = _starts(FRAMES)
    benchmark.pedantic(_ours, (made_video, starts), rounds=3, warmup_rounds=1)
    ratio = _best(lambda: _plain(made_video, starts), rounds=3) / benchmark.stats.stats.min
    benchmark.extra_info["ratio"] = round(ratio, 2)
    assert ratio >= REQUIRED_RATIO, f"{ratio:.2f} times the plain way, not {REQUIRED_RATIO}"
