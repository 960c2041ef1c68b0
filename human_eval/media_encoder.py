"""Encodes all media of a study alike, so that a file tells nothing but what it shows.

Every video has the same container, codec settings, size, rate and length, no metadata and no
encoder's name, and only intra frames, so that a player reaches each of them at once. Files of
one clip are padded to the same number of bytes.
"""

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.bitstream import BitStreamFilterContext
from PIL import Image

Frames: TypeAlias = npt.NDArray[np.uint8]
"""RGB, ``[time, height, width, 3]``."""

Scaling: TypeAlias = Literal["nearest", "lanczos"]

WATCHABLE = 384
"""Short sides below this are scaled up by the smallest whole factor that reaches it, as far as the
long side allows."""

LARGEST = 640
"""No long side is larger than this."""

_QUALITY = {"crf": "14", "preset": "fast", "profile": "high"}
_X264 = "keyint=1:scenecut=0:bframes=0:mbtree=0:sliced-threads=0:threads=1:force-cfr=1"
_SEI = "filter_units=remove_types=6"
_PAD_TO = 4096

ENCODING = f"libx264 crf {_QUALITY['crf']} {_QUALITY['preset']} yuv420p, all frames intra, {_X264}"
"""How all videos are encoded, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """How pictures of a study are scaled.

    Attributes:
        height: Height shown, even.
        width: Width shown, even.
        scaling: How small pictures are enlarged: ``nearest`` shows each pixel as it is,
            ``lanczos`` is smoother to look at. Pictures are always made smaller by ``lanczos``.
    """

    height: int
    width: int
    scaling: Scaling = "lanczos"


def watchable(resolution: tuple[int, int], scaling: Scaling = "lanczos") -> Picture:
    """Chooses the size that clips of ``resolution`` (height, width) are shown at."""
    short, long = min(resolution), max(resolution)
    factor = Fraction(-(-WATCHABLE // short)) if short < WATCHABLE else Fraction(1)
    factor = min(factor, Fraction(LARGEST, long))
    height, width = (max(2, 2 * round(side * factor / 2)) for side in resolution)
    return Picture(height=height, width=width, scaling=scaling)


def scale(frames: Frames, picture: Picture) -> Frames:
    """Scales frames to the size of ``picture``."""
    size = (picture.height, picture.width)
    if frames.shape[1:3] == size:
        return frames
    smaller = frames.shape[1] > picture.height
    kind = "lanczos" if smaller else picture.scaling
    method = Image.Resampling.NEAREST if kind == "nearest" else Image.Resampling.LANCZOS
    scaled = [Image.fromarray(each).resize(size[::-1], method) for each in frames]
    return np.stack([np.asarray(each) for each in scaled])


def encode_video(frames: Frames, rate: float) -> bytes:
    """Encodes frames as MP4: H.264, intra frames only, 4:2:0, no metadata.

    Equal frames give equal bytes.

    Args:
        frames: Height and width even.
        rate: Frames per second.
    """
    with tempfile.TemporaryDirectory(prefix="dojobench-") as folder:
        target = Path(folder) / "video.mp4"
        _write(target, frames, rate)
        return target.read_bytes()


def _write(target: Path, frames: Frames, rate: float) -> None:
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    container: Any = av.open(str(target), "w", format="mp4", options=options)
    speed = Fraction(rate).limit_denominator(1001)
    codec = {**_QUALITY, "x264-params": _X264, "flags": "+bitexact+global_header"}
    stream: Any = container.add_stream("libx264", rate=speed, options=codec)
    stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
    stream.codec_context.thread_count = 1
    plain: Any = None
    for picture in [*frames, None]:
        frame = None if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24")
        for packet in stream.encode(frame):
            # x264 writes its version and settings into a message of type 6.
            plain = plain or BitStreamFilterContext(_SEI, stream)
            for filtered in plain.filter(packet):
                filtered.stream = stream
                container.mux(filtered)
    container.close()


def encode_picture(frame: Frames) -> bytes:
    """Encodes one picture ``[height, width, 3]`` as PNG without metadata."""
    target = io.BytesIO()
    Image.fromarray(frame).save(target, format="PNG", optimize=True)
    return target.getvalue()


def pad_alike(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Pads MP4 files to the same length with an empty ``free`` box, which players skip."""
    longest = max(map(len, files.values())) + 8
    length = -(-longest // _PAD_TO) * _PAD_TO
    return {name: content + _free_box(length - len(content)) for name, content in files.items()}


def _free_box(size: int) -> bytes:
    return size.to_bytes(4, "big") + b"free" + bytes(size - 8)
