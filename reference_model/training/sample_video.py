"""Videos to look at while a training goes on."""

from pathlib import Path

import numpy as np
from torch import Tensor

from dojobench.datasets.video_encode import VideoSink
from dojobench.reference_model.training.checkpoint import writing

_FRAME_RATE = 10


def write_sample(path: Path, video: Tensor) -> None:
    """Writes a video to look at, uint8 ``[time, 3, height, width]``; it appears whole.

    An odd height or width is filled up by repeating the last row or column, as H.264 needs.
    """
    frames = video.permute(0, 2, 3, 1).cpu().numpy()
    edge = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    temporary = path.with_name(f".{path.name}")
    with writing(path):
        try:
            sink = VideoSink(temporary, rate=_FRAME_RATE)
            sink.write(np.pad(frames, edge, mode="edge"))
            sink.close()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
