"""Writes a clip and its prediction as the pair of videos that a report shows.

H.264, yuv420p, crf 12: small enough to keep and good enough to look at. Numbers never come
from these files. Odd sizes get one more row or column, which the format demands.
"""

import os
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import torch
from torch.nn import functional

# Without mbtree=0 the encoder gives small videos other bytes now and then.
OPTIONS = {
    "crf": "12",
    "preset": "veryfast",
    "threads": "1",
    "x264-params": "sliced-threads=0:mbtree=0",
}


class VideoWriter:
    """One video, written under a temporary name until it is whole; use as a context manager."""

    def __init__(self, file: Path, *, rate: float, resolution: tuple[int, int]) -> None:
        """Opens ``file`` for frames of ``resolution`` (height, width) at ``rate`` Hz."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        self._container: Any = av.open(
            str(self._temporary), "w", format="mp4", options={"fflags": "+bitexact"}
        )
        speed = Fraction(rate).limit_denominator(1001)
        self._stream: Any = self._container.add_stream("libx264", rate=speed, options=OPTIONS)
        height, width = resolution
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1

    def write(self, frames: torch.Tensor) -> None:
        """Appends frames, uint8 ``[n, 3, height, width]``."""
        height, width = frames.shape[-2:]
        if height % 2 or width % 2:
            padded = functional.pad(
                frames.float(), (0, int(width) % 2, 0, int(height) % 2), mode="replicate"
            )
            frames = padded.to(torch.uint8)
        for picture in frames.permute(0, 2, 3, 1).contiguous().cpu().numpy():
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if error is None:
                self._temporary.replace(self._file)
        finally:
            self._temporary.unlink(missing_ok=True)


class PairWriter:
    """A clip's truth and prediction, side by side in a folder; use as a context manager."""

    def __init__(self, folder: Path, clip: str, seed: int, *, rate: float) -> None:
        """Will write both files of ``clip`` and ``seed`` into ``folder`` at ``rate`` Hz."""
        self._files = truth_file(folder, clip), prediction_file(folder, clip, seed)
        self._rate = rate
        self._stack = ExitStack()
        self._writers: list[VideoWriter] = []

    def write(self, truth: torch.Tensor, prediction: torch.Tensor) -> None:
        """Appends as many true as predicted frames, uint8 ``[n, 3, height, width]``."""
        if not self._writers:
            resolution = (int(truth.shape[-2]), int(truth.shape[-1]))
            self._writers = [
                self._stack.enter_context(VideoWriter(file, rate=self._rate, resolution=resolution))
                for file in self._files
            ]
        for writer, frames in zip(self._writers, (truth, prediction), strict=True):
            writer.write(frames)

    def __enter__(self) -> "PairWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def truth_file(folder: Path, clip: str) -> Path:
    """Where a clip's truth lies in a videos folder."""
    return folder / f"{clip}.truth.mp4"


def prediction_file(folder: Path, clip: str, seed: int) -> Path:
    """Where a clip's prediction with a seed lies in a videos folder."""
    return folder / f"{clip}.s{seed}.pred.mp4"
