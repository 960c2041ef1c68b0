"""The same frames make the same video, every time."""

from pathlib import Path

import torch

from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.datasets.suites import open_suite


def test_encoding_is_deterministic(tmp_path: Path) -> None:
    suite = open_suite("dojo-mini")
    record = next(clip for clip in suite.clips if clip.id == "val-0001")
    frames, made = suite.open(record).read(0, record.frames), set()
    for k in range(16):
        file = tmp_path / f"{k}.mp4"
        with VideoWriter(file, rate=10, resolution=(64, 64)) as writer:
            writer.write(frames)
        made.add(file.read_bytes())
        torch.rand(100 + k, 1000)  # memory is not what it was
    assert len(made) == 1
