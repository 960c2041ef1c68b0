"""DROID episodes as Ctrl-World's JSON annotations: three cameras at 5 Hz, actions at 15 Hz.

Layout (Robert-gyj/Ctrl-World, ``dataset_example/extract_latent.py``):
``annotation/<split>/<id>.json`` names the videos of the cameras, which show every third step of
the recording, and holds ``states`` at the video's rate (end effector pose ``x y z`` in metres,
``roll pitch yaw`` in radians, gripper closed fraction: 7 numbers, equal to every third row of
``observation.state``) and the commands ``action.*`` of every step.

Which action leads from frame ``k`` to frame ``k + 1`` is a choice, made by ``action_key``:

- ``command`` (default): the last command given before frame ``k + 1``, raw row ``3 k + 2`` of
  ``action.cartesian_position`` and ``action.gripper_position``. It is known before the outcome.
- ``state``: the pose reached at frame ``k + 1``, row ``k + 1`` of ``states``, as Ctrl-World
  conditions its model. It tells the outcome: a blocked arm does not reach what was commanded.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dojobench.datasets.json_files import read_model
from dojobench.datasets.reading import (
    ActionArray,
    ReadOptions,
    RecordedEpisode,
    Stream,
    choose_camera,
    usable_length,
)
from dojobench.datasets.source import Problem
from dojobench.datasets.video import VideoPool
from dojobench.protocol.errors import BadInputError

ACTION_KEYS = ("command", "state")
ACTION_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_DROID_CAMERAS = ("exterior_1_left", "exterior_2_left", "wrist_left")

Rows = list[list[float]]


class VideoEntry(BaseModel):
    """Where one camera's video lies, relative to the folder that holds ``annotation``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    video_path: str


class Annotation(BaseModel):
    """One episode's JSON file; see the module's text for the meaning of the fields."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    videos: list[VideoEntry]
    states: Rows = []
    texts: list[str] = []
    success: bool | None = None
    video_length: int | None = None
    state_length: int | None = None
    raw_length: int | None = None
    raw_position: Rows = Field(default=[], alias="observation.state.cartesian_position")
    raw_gripper: list[float] = Field(default=[], alias="observation.state.gripper_position")
    command_position: Rows = Field(default=[], alias="action.cartesian_position")
    command_gripper: list[float] = Field(default=[], alias="action.gripper_position")


def find_base(root: Path) -> Path | None:
    """Gives the folder that holds ``annotation``: the root, or the only child that has one."""
    candidates = [root, *sorted(path for path in Path(root).iterdir() if path.is_dir())]
    found = [path for path in candidates if any((path / "annotation").glob("*/*.json"))]
    if root in found:
        return root
    return found[0] if len(found) == 1 else None


class DroidJsonSource:
    """DROID-style annotations; keeps the ``EpisodeSource`` contract.

    Episode ids are ``<split>/<id>``; the order is that of the splits and of the numbers.

    Args:
        root: The folder that holds ``annotation`` and ``videos``, or the one above it.
        options: Main camera; ``action_key`` is ``command`` or ``state``.

    Raises:
        BadInputError: If there are no annotations or the first cannot be read.
    """

    format = "droid-json"

    def __init__(self, root: Path, options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        self.root = Path(root)
        self.name = self.root.resolve().name
        base = find_base(self.root)
        if base is None:
            raise BadInputError(
                f"The folder {self.root} has no annotation/<split>/<id>.json, nor has exactly one "
                "folder in it; name the folder that holds 'annotation'."
            )
        self.base = base
        self.action_key = self.options.action_key or ACTION_KEYS[0]
        if self.action_key not in ACTION_KEYS:
            raise BadInputError(
                f"DROID annotations offer the actions {' and '.join(ACTION_KEYS)}, not "
                f"'{self.action_key}'."
            )
        self.pool = VideoPool(threads=self.options.threads, max_open=self.options.max_open)
        files = (base / "annotation").glob("*/*.json")
        self.annotations = {
            f"{path.parent.name}/{path.stem}": path for path in sorted(files, key=_natural)
        }
        self.episode_ids = tuple(self.annotations)
        self.action_dim = len(ACTION_NAMES)
        self.action_names: tuple[str, ...] = ACTION_NAMES
        self.listed_cameras = _camera_names(len(self._first().videos))
        self.cameras = choose_camera(self._present(), self.options.camera, self.root)
        self.frame_rate, self.resolution = self._first_video()

    def episode(self, episode_id: str) -> RecordedEpisode:
        """Opens one episode; see ``EpisodeSource.episode``.

        Raises:
            BadInputError: If there is no such episode, or its annotation or main video is missing.
        """
        if episode_id not in self.annotations:
            raise BadInputError(
                f"The dataset {self.root} has no episode '{episode_id}'; its episodes are "
                f"{self.episode_ids[0]} to {self.episode_ids[-1]}, {len(self.episode_ids)} in all."
            )
        annotation = self.annotation(episode_id)
        streams = self.streams(annotation)
        if self.cameras and self.cameras[0] not in streams:
            raise BadInputError(
                f"The video of camera '{self.cameras[0]}' that {self.annotations[episode_id]} "
                "names does not exist; restore it or leave the episode out."
            )
        actions = self.actions(episode_id, annotation)
        return RecordedEpisode(
            id=episode_id,
            length=usable_length(self.pool, streams, len(actions)),
            instruction=next((text for text in annotation.texts if text), None),
            success=annotation.success,
            streams=streams,
            action_files=(self.annotations[episode_id],),
            pool=self.pool,
            read_actions=partial(self.actions, episode_id, annotation),
        )

    def check(self, *, deep: bool = False) -> list[Problem]:
        """Looks for what is wrong; see ``EpisodeSource.check``.

        Args:
            deep: Also decode every video.
        """
        from dojobench.datasets.folder_check import check_droid

        return check_droid(self, deep=deep)

    def annotation(self, episode_id: str) -> Annotation:
        """Reads an episode's JSON file.

        Raises:
            BadInputError: If it is missing, no JSON, or lacks a field.
        """
        return read_model(self.annotations[episode_id], Annotation)

    def listed(self, annotation: Annotation) -> dict[str, Path]:
        """Gives the video of each camera that an annotation names, existing or not."""
        names = _camera_names(len(annotation.videos))
        paths = [self._inside(entry.video_path) for entry in annotation.videos]
        return dict(zip(names, paths, strict=True))

    def streams(self, annotation: Annotation) -> dict[str, Stream]:
        """Gives the episode's cameras whose video exists, main camera first."""
        listed = self.listed(annotation)
        return {
            camera: Stream(path=listed[camera])
            for camera in self.cameras
            if camera in listed and listed[camera].is_file()
        }

    def actions(self, episode_id: str, annotation: Annotation) -> ActionArray:
        """Gives an episode's actions at the video's rate, ``[states, 7]``.

        Raises:
            BadInputError: If the annotation lacks the arrays for the chosen ``action_key``.
        """
        path = self.annotations[episode_id]
        states = _rows(annotation.states, path, "states")
        if self.action_key == "state":
            return np.concatenate([states[1:], states[-1:]])
        commands = join(annotation.command_position, annotation.command_gripper, path, "action")
        stride = raw_stride(annotation, path)
        last = np.minimum(stride * np.arange(len(states)) + stride - 1, len(commands) - 1)
        return np.asarray(commands[last], dtype=np.float32)

    def _inside(self, relative: str) -> Path:
        path = self.base / relative
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise BadInputError(
                f"An annotation in {self.base} names the video '{relative}', which lies outside "
                "the dataset; correct it."
            )
        return path

    def _first(self) -> Annotation:
        return self.annotation(self.episode_ids[0])

    def _present(self) -> tuple[str, ...]:
        """Names the cameras of which a video exists, looking no further than needed."""
        missing = set(self.listed_cameras)
        for episode_id in self.episode_ids:
            listed = self.listed(self.annotation(episode_id))
            missing -= {camera for camera, path in listed.items() if path.is_file()}
            if not missing:
                break
        return tuple(camera for camera in self.listed_cameras if camera not in missing)

    def _first_video(self) -> tuple[float, tuple[int, int]]:
        for episode_id in self.episode_ids if self.cameras else ():
            stream = self.streams(self.annotation(episode_id)).get(self.cameras[0])
            if stream is not None:
                index = self.pool.index(stream.path)
                return index.rate, index.resolution
        raise BadInputError(f"None of the videos that {self.base}/annotation names exists.")


def raw_stride(annotation: Annotation, path: Path) -> int:
    """Finds how many recorded steps lie between two frames.

    Args:
        annotation: An episode.
        path: Its file, for the message.

    Returns:
        The smallest stride at which the recorded poses equal ``states``.

    Raises:
        BadInputError: If none does, so that commands cannot be placed in time.
    """
    states = _rows(annotation.states, path, "states")
    raw = join(annotation.raw_position, annotation.raw_gripper, path, "observation.state")
    for stride in range(1, len(raw) + 1):
        picked = raw[::stride]
        if len(picked) == len(states) and np.allclose(picked, states, atol=1e-5):
            return stride
    raise BadInputError(
        f"In {path} no stride turns the {len(raw)} recorded poses into the {len(states)} 'states', "
        "so commands cannot be placed in time; read it with the action key 'state'."
    )


def join(positions: Rows, grippers: list[float], path: Path, field: str) -> ActionArray:
    """Puts poses and gripper positions side by side, ``[steps, 7]``.

    Raises:
        BadInputError: If an array is absent or their lengths differ.
    """
    values = _rows(positions, path, f"{field}.cartesian_position")
    if len(values) != len(grippers):
        raise BadInputError(
            f"In {path} '{field}.cartesian_position' has {len(values)} rows and "
            f"'{field}.gripper_position' {len(grippers)}; they must be equally many."
        )
    gripper = np.asarray(grippers, dtype=np.float32)[:, None]
    return np.concatenate([values, gripper], axis=1)


def _rows(rows: Rows, path: Path, field: str) -> ActionArray:
    width = 7 if field == "states" else 6
    if not rows or any(len(row) != width for row in rows):
        raise BadInputError(
            f"In {path} '{field}' must be rows of {width} numbers and hold at least one."
        )
    return np.asarray(rows, dtype=np.float32)


def _camera_names(count: int) -> tuple[str, ...]:
    """DROID's names for its three cameras in the order in which Ctrl-World writes them."""
    if count == len(_DROID_CAMERAS):
        return _DROID_CAMERAS
    return tuple(f"camera_{number}" for number in range(count))


def _natural(path: Path) -> tuple[str, Any]:
    number = int(path.stem) if path.stem.isdigit() else -1
    return path.parent.name, (number, path.stem)
