"""What every reader of robot video offers: episodes of frames and actions, read on demand.

A reader is made by the format it reads (LeRobot, a video folder, EgoDex, DROID's JSON) and
says what it found; it never guesses an embodiment and never repairs data in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something wrong in a dataset, found by ``dojobench data check``.

    Attributes:
        code: Stable short name, such as ``missing-stream`` or ``length-mismatch``.
        severity: ``error`` when clips cannot be read, ``warning`` when they can.
        where: File, or file and field, relative to the dataset's root.
        message: One sentence: what is wrong and what to do.
    """

    code: str
    severity: Literal["error", "warning"]
    where: str
    message: str


class Episode(Protocol):
    """One recorded episode.

    Attributes:
        id: The dataset's own name of the episode, as text.
        length: Number of frames that can be used: those that every camera and the actions have.
        instruction: What the robot was told, where it is known.
        success: Whether the task succeeded, where it is known.
    """

    id: str
    length: int
    instruction: str | None
    success: bool | None

    def frames(self, camera: str, indices: Sequence[int]) -> torch.Tensor:
        """Decodes exactly the frames asked for.

        Args:
            camera: One of the dataset's cameras.
            indices: Frame numbers within the episode, in any order.

        Returns:
            uint8 RGB, ``[len(indices), 3, height, width]``.

        Raises:
            BadInputError: If a frame is missing or cannot be decoded.
        """
        ...

    def actions(self) -> npt.NDArray[np.float32]:
        """Gives the whole episode's actions, ``[length, action_dim]``, physical units.

        Row ``k`` is applied at frame ``k``. The width is 0 where the dataset has no actions.
        """
        ...

    def files(self, camera: str) -> tuple[Path, ...]:
        """Names the files that the frames and actions are read from, for hashing."""
        ...


class EpisodeSource(Protocol):
    """A dataset on disk.

    Attributes:
        name: Folder name, or the name in its metadata.
        root: Where it lies.
        format: Such as ``lerobot-v2.1``, ``video-folder``, ``egodex``, ``droid-json``.
        frame_rate: Frames per second of the video.
        cameras: Camera names, main one first; only those whose video exists.
        action_dim: Width of an action, 0 for none.
        action_names: One name per dimension, or empty.
        resolution: ``(height, width)`` of the main camera.
        episode_ids: Ids of all episodes, in the dataset's order.
    """

    name: str
    root: Path
    format: str
    frame_rate: float
    cameras: tuple[str, ...]
    action_dim: int
    action_names: tuple[str, ...]
    resolution: tuple[int, int]
    episode_ids: tuple[str, ...]

    def episode(self, episode_id: str) -> Episode:
        """Opens one episode; no video is decoded yet."""
        ...

    def check(self, *, deep: bool = False) -> list[Problem]:
        """Looks for what is wrong in the dataset; an empty list says nothing was found.

        Args:
            deep: Also decode every video.
        """
        ...
