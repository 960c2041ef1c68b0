"""Frame-exact random access to video files.

The number of a frame is its rank by presentation time. To reach it, decoding begins at the
keyframe before it and stops at it, and goes on from there when a later frame is asked for
next. A frame is accepted only if its presentation time is the one that was looked for, so
a seek that lands elsewhere costs time and never gives a wrong frame.
"""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from dojobench.datasets.video_index import FrameIndex, index_video, open_video
from dojobench.protocol.errors import BadInputError

# Decoding this many frames that nobody wants is cheaper than a seek, which empties the decoder.
_SKIP_RATHER_THAN_SEEK = 4

_FORKED: list[OrderedDict[Path, "VideoReader"]] = []


class VideoReader:
    """One video file, read by frame number.

    Not safe to share between threads; ``VideoPool`` is.

    Args:
        path: The file.
        index: Its index, where it was made before.
        threads: Decoder threads; 0 lets the decoder choose.

    Attributes:
        index: Which frames the file holds.
        decoded: Number of frames that the decoder has given so far, wanted or not.

    Raises:
        BadInputError: If the file cannot be read as a video.
    """

    def __init__(self, path: Path, *, index: FrameIndex | None = None, threads: int = 1) -> None:
        self.path = Path(path)
        self.index = index_video(self.path) if index is None else index
        self.decoded = 0
        self._threads = threads
        self._to_rgb = VideoReformatter()
        self._container: InputContainer | None = None
        self._packets: Iterator[Packet[Any]] = iter(())
        self._pending: deque[VideoFrame] = deque()
        self._first_tick = 0
        self._counted = 0
        self._at = -1
        self._frame: VideoFrame | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the decoder; a later ``read`` opens the file again."""
        self._frame = None
        self._pending.clear()
        self._packets = iter(())
        self._at = -1
        if self._container is not None:
            self._container.close()
            self._container = None

    def read(self, frames: Sequence[int]) -> torch.Tensor:
        """Decodes exactly the frames asked for.

        Args:
            frames: Frame numbers by presentation time, 0 first, in any order, repeats allowed.

        Returns:
            uint8 RGB, ``[len(frames), 3, height, width]``, contiguous.

        Raises:
            BadInputError: If a frame does not exist or cannot be decoded.
        """
        height, width = self.index.resolution
        out = torch.empty((len(frames), 3, height, width), dtype=torch.uint8)
        target = out.numpy()  # shares memory; numpy moves the channels faster than torch
        places: dict[int, list[int]] = {}
        for place, frame in enumerate(frames):
            places.setdefault(int(frame), []).append(place)
        for frame in sorted(places):
            picture = self._picture(frame)
            for place in places[frame]:
                np.copyto(target[place], picture.transpose(2, 0, 1))
        return out

    def verify(self) -> None:
        """Decodes every frame once, in order.

        Raises:
            BadInputError: If one cannot be decoded; the frame is named.
        """
        for number in range(len(self.index)):
            self._decode(number)

    def _picture(self, number: int) -> npt.NDArray[np.uint8]:
        """Gives one frame as RGB ``[height, width, 3]``."""
        if not 0 <= number < len(self.index):
            raise BadInputError(
                f"The video {self.path} has no frame {number}: it holds {len(self.index)} frames"
                f"{self.index.fault}, so ask for 0 to {len(self.index) - 1}."
            )
        frame = self._to_rgb.reformat(self._decode(number), format="rgb24", threads=self._threads)
        if (frame.height, frame.width) != self.index.resolution:
            raise BadInputError(
                f"Frame {number} of {self.path} is {frame.height}x{frame.width} but the video is "
                f"{self.index.resolution[0]}x{self.index.resolution[1]}; re-encode it at one size."
            )
        return np.asarray(frame.to_ndarray(), dtype=np.uint8)

    def _decode(self, number: int) -> VideoFrame:
        if number == self._at and self._frame is not None:
            return self._frame
        key = self.index.keyframe_before(number)
        ahead = self._container is not None and self._at < number
        try:
            if not (ahead and key <= self._at + 1 + _SKIP_RATHER_THAN_SEEK):
                self._begin_at(key)
            frame = self._advance(number)
            if frame is None and self._first_tick != self.index.ticks[0]:
                # The seek landed late or the keyframe does not restore the decoder in full
                # (intra refresh, damaged container index): the start always does.
                self._begin_at(0)
                frame = self._advance(number)
        except (FFmpegError, OSError) as error:
            self.close()
            raise BadInputError(
                f"Frame {number} of {self.path} cannot be decoded "
                f"({error.strerror or type(error).__name__}); fetch or re-encode the video."
            ) from error
        if frame is None:
            self.close()
            raise BadInputError(
                f"Frame {number} of {self.path} cannot be decoded: its data are damaged; "
                "fetch or re-encode the video."
            )
        self._at, self._frame = number, frame
        return frame

    def _begin_at(self, key: int) -> None:
        """Places the decoder at a keyframe; frame 0 and videos without times start afresh."""
        self._pending.clear()
        self._frame, self._at, self._counted = None, -1, 0
        if key == 0 or self.index.counted or self._container is None:
            self.close()
            self._container, stream = open_video(self.path)
            self._prepare(stream)
        stream = self._container.streams.video[0]
        self._first_tick = int(self.index.ticks[0])
        if key and not self.index.counted:
            self._first_tick = int(self.index.ticks[key])
            self._container.seek(self._first_tick, stream=stream, backward=True)
            self._at = key - 1
        self._packets = self._container.demux(stream)

    def _prepare(self, stream: VideoStream) -> None:
        stream.thread_type = "NONE" if self._threads == 1 else "AUTO"
        stream.codec_context.thread_count = self._threads
        # A damaged slice must be an error, not a picture that the decoder made up.
        stream.codec_context.options = {"err_detect": "explode"}

    def _advance(self, number: int) -> VideoFrame | None:
        """Decodes up to a frame; ``None`` where it does not come or lies behind damage."""
        wanted = int(self.index.ticks[number])
        while True:
            while self._pending:
                frame = self._pending.popleft()
                self.decoded += 1
                tick = self._tick(frame)
                if tick == wanted:
                    return None if frame.is_corrupt else frame
                if tick is not None and tick > wanted:
                    return None
            packet = next(self._packets, None)
            if packet is None:
                return None
            try:
                self._pending.extend(packet.decode())
            except av.error.EOFError:
                return None
            except av.error.InvalidDataError:
                # Frames shown before the keyframe refer to what the seek left out; they are
                # not wanted. Any other damage reaches the wanted frame through prediction.
                if packet.pts is None or packet.pts >= self._first_tick:
                    return None

    def _tick(self, frame: VideoFrame) -> int | None:
        if not self.index.counted:
            return frame.pts
        self._counted += 1
        return self._counted - 1


class VideoPool:
    """The videos of a dataset: indexes kept, decoders opened when needed and few at a time.

    May be shared between threads and carried into a forked or spawned process, where decoders
    are opened afresh.

    Args:
        threads: Decoder threads of each video; 0 lets the decoder choose.
        max_open: Number of videos kept open; the one used longest ago is closed first.
    """

    def __init__(self, *, threads: int = 1, max_open: int = 8) -> None:
        self._threads = threads
        self._max_open = max_open
        self._indexes: dict[Path, FrameIndex] = {}
        self._readers: OrderedDict[Path, VideoReader] = OrderedDict()
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"threads": self._threads, "max_open": self._max_open, "indexes": self._indexes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._threads, self._max_open = state["threads"], state["max_open"]
        self._indexes = state["indexes"]
        self._readers = OrderedDict()
        self._lock = threading.RLock()
        self._process = os.getpid()

    def index(self, path: Path) -> FrameIndex:
        """Gives the index of a video, made on first use.

        Raises:
            BadInputError: If the file cannot be read as a video.
        """
        with self._lock:
            if path not in self._indexes:
                self._indexes[path] = index_video(path)
            return self._indexes[path]

    def read(self, path: Path, frames: Sequence[int]) -> torch.Tensor:
        """Decodes frames of a video; see ``VideoReader.read``."""
        with self._lock:
            return self._reader(path).read(frames)

    def close(self, path: Path | None = None) -> None:
        """Closes one video, or all; they open again when read."""
        with self._lock:
            for each in [path] if path is not None else list(self._readers):
                if reader := self._readers.pop(each, None):
                    reader.close()

    def _reader(self, path: Path) -> VideoReader:
        if self._process != os.getpid():
            # A forked decoder shares its file position with the parent's and lacks its threads:
            # it can be neither used nor freed, so it is put aside for the process's lifetime.
            _FORKED.append(self._readers)
            self._readers = OrderedDict()
            self._process = os.getpid()
        reader = self._readers.pop(path, None)
        if reader is None:
            reader = VideoReader(path, index=self.index(path), threads=self._threads)
        self._readers[path] = reader
        while len(self._readers) > self._max_open:
            self._readers.popitem(last=False)[1].close()
        return reader
