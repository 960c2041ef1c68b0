"""Encodes frames to H.264 as they come, and measures what the encoding costs."""

from pathlib import Path
from typing import Literal, TypeAlias

import av
import numpy as np
import numpy.typing as npt

VideoQuality: TypeAlias = Literal["high", "lossless"]

_CODECS = {
    # 4:2:0 at crf 12 is what every player opens; RGB at crf 0 gives back the same bytes.
    # Without mbtree=0 small videos now and then come out as other bytes.
    "high": (
        "libx264",
        "yuv420p",
        {"crf": "12", "preset": "fast", "x264-params": "mbtree=0"},
    ),
    "lossless": ("libx264rgb", "rgb24", {"crf": "0", "preset": "fast"}),
}
_KEY_EVERY = 20


class VideoSink:
    """A video file under way.

    Attributes:
        path: The file.
        frames: Frames written so far.
    """

    def __init__(self, path: Path, *, rate: int, quality: VideoQuality = "high") -> None:
        """Opens the file; its folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames = path, 0
        codec, self._format, options = _CODECS[quality]
        self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        # One thread, or the bytes would depend on the number of cores.
        options = options | {"threads": "1", "g": str(_KEY_EVERY)}
        stream = self._container.add_stream(codec, rate=rate, options=options)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{codec} is no video codec")
        self._stream = stream
        self._kept: list[npt.NDArray[np.uint8]] = []

    def write(self, frames: npt.NDArray[np.uint8]) -> None:
        """Adds frames, uint8 RGB ``[n, height, width, 3]``; the first becomes a keyframe."""
        if not self.frames:
            self._stream.height, self._stream.width = frames.shape[1:3]
            self._stream.pix_fmt = self._format
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = self.frames
            if index == 0:
                frame.pict_type = av.video.frame.PictureType.I
            self._container.mux(self._stream.encode(frame))
            self.frames += 1
        self._kept.append(frames)

    def close(self) -> tuple[float, int]:
        """Finishes the file and reads it back.

        Returns:
            Sum of squared errors against the frames given, in units of one grey level squared,
            and the number of values compared.
        """
        self._container.mux(self._stream.encode(None))
        self._container.close()
        error, count = 0.0, 0
        given = (picture for frames in self._kept for picture in frames)
        with av.open(str(self.path)) as container:
            for frame, picture in zip(container.decode(video=0), given, strict=True):
                difference = frame.to_ndarray(format="rgb24").astype(np.int32) - picture
                error += float(np.square(difference).sum())
                count += difference.size
        self._kept.clear()
        return error, count
