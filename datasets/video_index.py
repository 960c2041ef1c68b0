"""Which frames a video file holds, found by reading its packets once and decoding nothing.

Containers lie: their headers state a frame count that the data need not keep, their packets
come in decoding order, and an edit list hides frames that are stored. The packets themselves
say when every frame is shown, so the number of a frame is its rank by presentation time.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from dojobench.protocol.errors import BadInputError

Ticks = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FrameIndex:
    """The frames of one video in presentation order.

    Attributes:
        ticks: Presentation time of every frame in units of ``tick`` seconds, strictly rising.
        keyframes: Numbers of the frames at which decoding can begin, rising, the first is 0
            wherever the file is sound.
        tick: Seconds in one unit of ``ticks``.
        resolution: ``(height, width)`` as the container states it.
        codec: Name of the codec, such as ``h264``, ``av1``, ``mpeg4``.
        declared: Number of stored frames that the container's header states, 0 for unknown.
        stored: Number of frames found, those hidden by an edit list included.
        counted: True where the packets carry no presentation times: the frames were counted by
            decoding, and ``ticks`` are frame numbers at the container's rate.
        fault: A sentence part that says what is wrong with the data, or empty.
    """

    ticks: Ticks
    keyframes: Ticks
    tick: Fraction
    resolution: tuple[int, int]
    codec: str
    declared: int
    stored: int
    counted: bool = False
    fault: str = ""

    def __len__(self) -> int:
        return len(self.ticks)

    @cached_property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Presentation time of every frame in seconds after the first frame, ``[frames]``."""
        since: npt.NDArray[np.float64] = (self.ticks - self.ticks[0]).astype(np.float64)
        return since * self.tick.numerator / self.tick.denominator

    @property
    def rate(self) -> float:
        """Mean frames per second, 0 where there are fewer than two frames."""
        if len(self.ticks) < 2:
            return 0.0
        return float((len(self.ticks) - 1) / (int(self.ticks[-1] - self.ticks[0]) * self.tick))

    @property
    def truncated(self) -> bool:
        """Whether promised data are missing; counts in AVI headers are not relied on."""
        return bool(self.fault) or (self.declared > self.stored and not self.counted)

    def keyframe_before(self, frame: int) -> int:
        """Gives the number of the last keyframe that is shown no later than ``frame``."""
        rank = int(np.searchsorted(self.keyframes, frame, side="right")) - 1
        return int(self.keyframes[rank]) if rank >= 0 else 0

    def nearest(self, seconds: npt.NDArray[np.float64]) -> Ticks:
        """Gives the number of the frame shown nearest to each time.

        Args:
            seconds: Times after the first frame, any shape.

        Returns:
            Frame numbers of the same shape.
        """
        right = np.clip(np.searchsorted(self.seconds, seconds), 1, max(len(self) - 1, 1))
        right = np.minimum(right, len(self) - 1)
        left = np.maximum(right - 1, 0)
        earlier = np.abs(self.seconds[left] - seconds) <= np.abs(self.seconds[right] - seconds)
        return np.where(earlier, left, right).astype(np.int64)


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Opens a video file and its first video stream.

    Raises:
        BadInputError: If the file is missing, empty, or no video.
    """
    if not path.is_file():
        raise BadInputError(f"The video {path} does not exist; restore it or leave it out.")
    if path.stat().st_size == 0:
        raise BadInputError(f"The video {path} is empty (0 bytes); fetch it again.")
    try:
        container = av.open(str(path), mode="r")
    except (FFmpegError, OSError) as error:
        raise BadInputError(
            f"The file {path} cannot be opened as a video ({_reason(error)}); "
            "it is truncated or in an unknown format, so fetch it again or re-encode it."
        ) from error
    if not container.streams.video:
        container.close()
        raise BadInputError(f"The file {path} holds no video stream; name a video file.")
    return container, container.streams.video[0]


def index_video(path: Path) -> FrameIndex:
    """Lists the frames of a video by reading its packets once.

    Nothing is decoded, except where the packets have no presentation times (AVI).

    Raises:
        BadInputError: If the file cannot be read or holds no frame.
    """
    container, stream = open_video(path)
    with container:
        index = _index_packets(container, stream) or _index_by_decoding(path)
    if not len(index):
        raise BadInputError(f"The video {path} holds no frame{index.fault}; fetch it again.")
    return index


def _index_packets(container: InputContainer, stream: VideoStream) -> FrameIndex | None:
    """Builds the index from packets, or gives ``None`` where one has no presentation time."""
    shown: list[int] = []
    keys: list[int] = []
    stored = 0
    fault = ""
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.is_corrupt:
                fault = f", its data end within stored frame {stored}"
                break
            stored += 1
            if packet.is_discard:
                # Decoding may begin here, but an edit list hides the frame.
                if packet.is_keyframe and packet.pts is not None:
                    keys.append(packet.pts)
                continue
            if packet.pts is None:
                return None
            shown.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    except FFmpegError as error:
        fault = f", its data cannot be read after stored frame {stored} ({_reason(error)})"
    ticks = np.unique(np.asarray(shown, dtype=np.int64))
    keyframes = np.unique(np.searchsorted(ticks, np.asarray(sorted(keys), dtype=np.int64)))
    return FrameIndex(
        ticks=ticks,
        keyframes=keyframes[keyframes < len(ticks)].astype(np.int64),
        tick=Fraction(stream.time_base or 1),
        resolution=(stream.codec_context.height, stream.codec_context.width),
        codec=_codec_name(stream),
        declared=stream.frames,
        stored=stored,
        fault=fault,
    )


def _index_by_decoding(path: Path) -> FrameIndex:
    container, stream = open_video(path)
    count = 0
    fault = ""
    with container:
        rate = Fraction(stream.average_rate or stream.base_rate or 1)
        try:
            for _ in container.decode(stream):
                count += 1
        except FFmpegError as error:
            fault = f", its data cannot be decoded after frame {count} ({_reason(error)})"
        return FrameIndex(
            ticks=np.arange(count, dtype=np.int64),
            keyframes=np.zeros(1, dtype=np.int64),
            tick=1 / rate,
            resolution=(stream.codec_context.height, stream.codec_context.width),
            codec=_codec_name(stream),
            declared=stream.frames,
            stored=count,
            counted=True,
            fault=fault,
        )


def _codec_name(stream: VideoStream) -> str:
    name = stream.codec_context.codec.canonical_name
    return str(name)


def _reason(error: BaseException) -> str:
    """Says why in a few words, without the path that the libraries append."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].lower()
