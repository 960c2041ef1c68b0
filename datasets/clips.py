"""Clips of a dataset on disk: hashed, checked when opened, decoded when read."""

import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from dojobench.datasets.files import file_digest
from dojobench.datasets.reading import RecordedEpisode
from dojobench.datasets.sampling import ActionRule, clip_actions, previous_action
from dojobench.datasets.source import Episode
from dojobench.datasets.suite import ClipRecord
from dojobench.protocol.errors import BadInputError

Fit: TypeAlias = Literal["exact", "crop-resize"]
"""How a video's pictures become the suite's: not at all, or as ``crop_resize`` does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRules:
    """What the clips of a suite have in common, as far as reading them needs it.

    Attributes:
        resolution: ``(height, width)`` that the main camera's frames must have.
        fit: How they get it.
        rule: Which recorded actions lead from one clip frame to the next.
        views: Further cameras.
        names: Names of the action dimensions, for messages.
    """

    resolution: tuple[int, int]
    fit: Fit = "exact"
    rule: ActionRule = "first"
    views: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def clip_hash(
    episode: Episode, record: ClipRecord, actions: npt.NDArray[np.float32], views: Sequence[str]
) -> str:
    """Hashes what a clip is made of.

    That is, in this order: the cameras' names with the SHA-256 of the files that their frames
    and the actions are read from, the numbers of the frames asked for, and the clip's actions
    as little-endian float32. Paths and ids do not enter, so a dataset may be moved and renamed;
    a re-encoded video or a changed action gives another hash.

    Args:
        episode: Where the clip lies.
        record: Its start, stride, frames and camera.
        actions: The clip's actions, ``[frames - 1, dim]``.
        views: Further cameras.

    Returns:
        ``sha256:`` and 64 hexadecimal digits.

    Raises:
        BadInputError: If a file cannot be read.
    """
    digest = hashlib.sha256(b"dojobench clip 1\n")
    for camera in (record.camera, *views):
        files = " ".join(file_digest(path) for path in episode.files(camera))
        digest.update(f"camera {camera} {files}\n".encode())
    digest.update(f"frames {record.start} {record.stride} {record.frames}\n".encode())
    digest.update(f"actions {actions.shape[0]} {actions.shape[1]}\n".encode())
    digest.update(np.ascontiguousarray(actions, dtype="<f4").tobytes())
    return f"sha256:{digest.hexdigest()}"


def crop_resize(frames: torch.Tensor, resolution: tuple[int, int]) -> torch.Tensor:
    """Crops to the target's aspect ratio about the centre, then resizes, as DreamDojo does.

    Bilinear with antialiasing on values in [0, 1], back to uint8 by truncation (NVIDIA/DreamDojo
    ``groot_dreams/data/transform/video.py`` and ``dataset.py``). Frames that have the size
    already stay as they are, bit for bit.

    Args:
        frames: uint8, ``[time, 3, height, width]``.
        resolution: ``(height, width)`` wanted.

    Returns:
        uint8, ``[time, 3, *resolution]``.
    """
    height, width = frames.shape[-2:]
    if (height, width) == tuple(resolution):
        return frames
    ratio = resolution[1] / resolution[0]
    crop_height, crop_width = height, width
    if width / height > ratio:
        crop_width = int(height * ratio)
    elif width / height < ratio:
        crop_height = int(width / ratio)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    cropped = frames[..., top : top + crop_height, left : left + crop_width]
    if (crop_height, crop_width) == tuple(resolution):
        return cropped.contiguous()
    resized = interpolate(
        cropped.float() / 255, size=tuple(resolution), mode="bilinear", antialias=True
    )
    return (resized * 255).clamp(0, 255).to(torch.uint8)


class FrozenClip:
    """A clip of a dataset on disk; keeps the ``Clip`` contract.

    It has decoders of its own, so that clips of one episode can be read in turn without seeking.
    One thread reads a clip at a time; different clips may be read by different threads.

    Attributes:
        record: Its line in the manifest.
        actions: ``[frames - 1, dim]`` float32.
        previous_action: ``[dim]`` float32, the action one clip step before the clip, which
            relative actions start from; ``None`` where the episode begins with the clip.
    """

    def __init__(self, episode: Episode, record: ClipRecord, rules: ClipRules) -> None:
        self.record = record
        self._rules = rules
        self._episode = _with_own_decoders(episode)
        recorded = episode.actions()
        last = record.start + (record.frames - 1) * record.stride
        if last >= episode.length:
            raise BadInputError(
                f"The clip '{record.id}' needs frame {last} of episode {record.episode} of "
                f"{record.source}, which has {episode.length} usable frames; the video or its "
                "actions are shorter than when the suite was frozen, so fetch them again."
            )
        chosen = clip_actions(recorded, record.start, record.stride, record.frames, rules.rule)
        self.actions = torch.from_numpy(chosen)
        before = previous_action(recorded, record.start, record.stride, rules.rule)
        self.previous_action = None if before is None else torch.from_numpy(before.copy())
        self._check_finite()

    def content_hash(self) -> str:
        """Hashes what the clip is made of; see ``clip_hash``."""
        return clip_hash(self._episode, self.record, self.actions.numpy(), self._rules.views)

    def read(self, start: int, stop: int, *, view: str | None = None) -> torch.Tensor:
        """Decodes clip frames ``start..stop-1``; see ``Clip.read``.

        Raises:
            BadInputError: If a frame cannot be decoded or has another size than the suite states.
            ValueError: If the range or the view is not one of the clip's.
        """
        record, rules = self.record, self._rules
        if not 0 <= start <= stop <= record.frames:
            raise ValueError(f"frames {start} to {stop} of a clip of {record.frames}")
        if view is not None and view not in rules.views:
            raise ValueError(f"view {view!r} of a clip with the views {rules.views}")
        camera = record.camera if view is None else view
        wanted = [record.start + k * record.stride for k in range(start, stop)]
        try:
            frames = self._episode.frames(camera, wanted)
        except BadInputError as error:
            raise BadInputError(f"The clip '{record.id}' cannot be read: {error}") from error
        if view is not None:
            return frames
        if rules.fit == "crop-resize":
            return crop_resize(frames, rules.resolution)
        if tuple(frames.shape[-2:]) != rules.resolution:
            height, width = frames.shape[-2:]
            raise BadInputError(
                f"The clip '{record.id}' is {height}x{width}, but its suite states "
                f"{rules.resolution[0]}x{rules.resolution[1]}; freeze the suite again, with "
                "--resolution if the videos differ in size."
            )
        return frames

    def close(self) -> None:
        """Frees the decoders."""
        close = getattr(self._episode, "close", None)
        if close is not None:
            close()

    def _check_finite(self) -> None:
        bad = ~torch.isfinite(self.actions)
        if not bool(bad.any()):
            return
        row, column = (int(each) for each in bad.nonzero()[0])
        value = float(self.actions[row, column])
        names = self._rules.names
        name = f" ({names[column]})" if column < len(names) else ""
        raise BadInputError(
            f"The clip '{self.record.id}' has {'NaN' if math.isnan(value) else 'infinity'} in its "
            f"action {row}, column {column}{name}, episode {self.record.episode} of "
            f"{self.record.source}; repair the data or freeze a suite without that episode."
        )


def _with_own_decoders(episode: Episode) -> Episode:
    """Gives an episode with decoders of its own that shares the indexes of its videos."""
    if isinstance(episode, RecordedEpisode):
        return replace(episode, pool=copy.copy(episode.pool))
    return episode
