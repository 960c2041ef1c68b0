"""What all readers share: the options a user gives, and an episode made of video and actions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dojobench.datasets.video import VideoPool
from dojobench.datasets.video_index import FrameIndex
from dojobench.protocol.errors import BadInputError

ActionArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How a dataset is read.

    Attributes:
        camera: Main camera; the first whose video exists where ``None``.
        action_key: Which of a dataset's several actions; the format's default where ``None``.
        threads: Decoder threads of each video; 0 lets the decoder choose.
        max_open: Number of videos kept open at a time.
    """

    camera: str | None = None
    action_key: str | None = None
    threads: int = 1
    max_open: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """The stretch of a video file that belongs to one episode and camera.

    Attributes:
        path: The video file.
        start_s: Where the episode begins, in seconds after the file's first frame; ``None``
            where the file holds this episode alone.
        end_s: Where it ends; ``None`` for the end of the file.
        frame_rate: Frames per second at which the episode's frames follow ``start_s``.
    """

    path: Path
    start_s: float | None = None
    end_s: float | None = None
    frame_rate: float = 0.0

    def length(self, index: FrameIndex) -> int:
        """Gives the number of the episode's frames that the file holds."""
        if self.start_s is None:
            return len(index)
        half = 0.5 / self.frame_rate
        end = np.inf if self.end_s is None else self.end_s
        inside = (index.seconds >= self.start_s - half) & (index.seconds < end - half)
        return int(inside.sum())

    def locate(self, index: FrameIndex, frames: Sequence[int]) -> list[int]:
        """Turns frame numbers within the episode into frame numbers of the file.

        Raises:
            BadInputError: If a frame lies outside the episode or the file has none at its time.
        """
        length = self.length(index)
        for frame in frames:
            if not 0 <= frame < length:
                raise BadInputError(
                    f"The video {self.path} has no frame {frame} of this episode: it holds "
                    f"{length} of its frames{index.fault}; ask for fewer or fetch "
                    "the video again."
                )
        if self.start_s is None:
            return [int(frame) for frame in frames]
        times = self.start_s + np.asarray(frames, dtype=np.float64) / self.frame_rate
        found = index.nearest(times)
        far = np.abs(index.seconds[found] - times) > 0.5 / self.frame_rate
        if far.any():
            raise BadInputError(
                f"The video {self.path} shows no frame within half a frame of "
                f"{times[int(np.argmax(far))]:.4f} s; its frame rate or the episode's "
                "from_timestamp is wrong."
            )
        return [int(frame) for frame in found]


@dataclass(kw_only=True)
class RecordedEpisode:
    """One episode on disk; keeps the ``Episode`` contract.

    Attributes:
        id: The dataset's own name of the episode.
        length: Number of frames that every camera with a video and the actions have.
        instruction: What the robot was told, where known.
        success: Whether the task succeeded, where known.
        streams: Where each camera's frames lie.
        action_files: Files that the actions are read from.
    """

    id: str
    length: int
    instruction: str | None
    success: bool | None
    streams: Mapping[str, Stream]
    action_files: tuple[Path, ...]
    pool: VideoPool = field(repr=False)
    read_actions: Callable[[], ActionArray] = field(repr=False)
    _actions: ActionArray | None = field(default=None, repr=False)

    def frames(self, camera: str, indices: Sequence[int]) -> torch.Tensor:
        """Decodes exactly the frames asked for; see ``Episode.frames``."""
        stream = self._stream(camera)
        return self.pool.read(stream.path, stream.locate(self.pool.index(stream.path), indices))

    def actions(self) -> ActionArray:
        """Gives the actions ``[length, action_dim]``; see ``Episode.actions``."""
        if self._actions is None:
            self._actions = np.ascontiguousarray(self.read_actions()[: self.length], np.float32)
        return self._actions

    def files(self, camera: str) -> tuple[Path, ...]:
        """Names the video first, then the files of the actions."""
        return (self._stream(camera).path, *self.action_files)

    def close(self) -> None:
        """Frees this episode's decoders; reading opens them again."""
        for stream in self.streams.values():
            self.pool.close(stream.path)

    def _stream(self, camera: str) -> Stream:
        if camera not in self.streams:
            known = ", ".join(self.streams) or "none"
            raise BadInputError(
                f"Episode {self.id} has no video of a camera '{camera}'; its cameras are: {known}."
            )
        return self.streams[camera]


def usable_length(pool: VideoPool, streams: Mapping[str, Stream], rows: int | None) -> int:
    """Gives the number of frames that all streams and the actions have.

    Args:
        pool: Where the videos are indexed.
        streams: The episode's cameras.
        rows: Number of action rows, ``None`` where the dataset has no actions.

    Raises:
        BadInputError: If a video cannot be read or is cut off.
    """
    for stream in streams.values():
        index = pool.index(stream.path)
        if index.truncated:
            raise BadInputError(
                f"The video {stream.path} is cut off: it holds {index.stored} of "
                f"{index.declared or 'more'} frames; fetch it again or leave the episode out."
            )
    lengths = [stream.length(pool.index(stream.path)) for stream in streams.values()]
    if rows is not None:
        lengths.append(rows)
    return min(lengths, default=0)


def choose_camera(cameras: Sequence[str], wanted: str | None, root: Path) -> tuple[str, ...]:
    """Puts the wanted camera first.

    Raises:
        BadInputError: If the dataset has no such camera.
    """
    if wanted is None:
        return tuple(cameras)
    if wanted not in cameras:
        known = ", ".join(cameras) or "none"
        raise BadInputError(
            f"The dataset {root} has no video of a camera '{wanted}'; its cameras are: {known}."
        )
    return (wanted, *(camera for camera in cameras if camera != wanted))


def no_actions(length: int) -> ActionArray:
    """Gives the actions of a dataset without any: ``[length, 0]``."""
    return np.zeros((length, 0), dtype=np.float32)
