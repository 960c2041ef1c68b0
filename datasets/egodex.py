"""EgoDex: people's hands at tables, seen from the head, with the poses of their joints.

Layout (apple/ml-egodex): task folders that hold ``N.mp4`` and ``N.hdf5``; ``transforms/<joint>``
is the joint's pose in the world for every frame, ``[frames, 4, 4]``, ``transforms/camera`` the
camera's; the attributes ``llm_type``, ``llm_description``, ``llm_description2`` and
``which_llm_description`` say what is done, the second text being the way back of a reversible
task.

Actions are the 48 numbers of the EgoDex paper (arXiv 2505.11709): for the left hand and then the
right, the wrist's position, the first two columns of its rotation (6D, Zhou et al. 2019), and the
positions of the tips of thumb, index, middle, ring and little finger, in metres. Row ``k`` is
where the hands are at frame ``k + 1`` as the camera of frame ``k`` sees it, which is what leads
from frame ``k`` to frame ``k + 1``; the last row, which leads nowhere, repeats the last pose.
"""

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

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

CAMERA = "head"
SIDES = ("left", "right")
TIPS = ("ThumbTip", "IndexFingerTip", "MiddleFingerTip", "RingFingerTip", "LittleFingerTip")

Poses = npt.NDArray[np.float64]


def action_names() -> tuple[str, ...]:
    """Gives the 48 names of an action's numbers."""
    names: list[str] = []
    for side in SIDES:
        names += [f"{side}_wrist_{axis}" for axis in "xyz"]
        names += [f"{side}_wrist_rot{number}" for number in range(6)]
        names += [f"{side}_{tip}_{axis}" for tip in TIPS for axis in "xyz"]
    return tuple(names)


def has_pairs(root: Path) -> bool:
    """Says whether some ``*.hdf5`` below the folder has its ``*.mp4`` beside it."""
    return any(path.with_suffix(".mp4").is_file() for path in Path(root).rglob("*.hdf5"))


class EgoDexSource:
    """EgoDex; keeps the ``EpisodeSource`` contract.

    Episode ids are ``<task>/<N>``. Files without their partner are left out and reported by
    ``check``.

    Args:
        root: A part of the dataset: the folder of the task folders.
        options: Decoder threads; there is one camera, ``head``, and one kind of action.

    Raises:
        BadInputError: If h5py is not installed or there is no pair of files.
    """

    format = "egodex"

    def __init__(self, root: Path, options: ReadOptions | None = None) -> None:
        load_h5py()
        self.options = options or ReadOptions()
        self.root = Path(root)
        self.name = self.root.resolve().name
        if self.options.action_key is not None:
            raise BadInputError("EgoDex has one kind of action; leave the action key out.")
        self.pool = VideoPool(threads=self.options.threads, max_open=self.options.max_open)
        pairs = [p for p in self.root.rglob("*.hdf5") if p.with_suffix(".mp4").is_file()]
        if not pairs:
            raise BadInputError(
                f"The folder {self.root} holds no N.hdf5 with N.mp4 beside it; name a part of "
                "EgoDex such as 'test'."
            )
        self.poses = {
            path.relative_to(self.root).with_suffix("").as_posix(): path
            for path in sorted(pairs, key=_natural)
        }
        self.episode_ids = tuple(self.poses)
        self.cameras = choose_camera((CAMERA,), self.options.camera, self.root)
        self.action_names = action_names()
        self.action_dim = len(self.action_names)
        index = self.pool.index(self.poses[self.episode_ids[0]].with_suffix(".mp4"))
        self.frame_rate, self.resolution = index.rate, index.resolution

    def episode(self, episode_id: str) -> RecordedEpisode:
        """Opens one episode; see ``EpisodeSource.episode``.

        Raises:
            BadInputError: If there is no such episode or one of its files cannot be read.
        """
        if episode_id not in self.poses:
            raise BadInputError(
                f"The dataset {self.root} has no episode '{episode_id}'; its episodes are "
                f"{self.episode_ids[0]} to {self.episode_ids[-1]}, {len(self.episode_ids)} in all."
            )
        path = self.poses[episode_id]
        streams = {CAMERA: Stream(path=path.with_suffix(".mp4"))}
        rows, instruction = read_header(path)
        return RecordedEpisode(
            id=episode_id,
            length=usable_length(self.pool, streams, rows),
            instruction=instruction,
            success=None,
            streams=streams,
            action_files=(path,),
            pool=self.pool,
            read_actions=partial(read_actions, path),
        )

    def check(self, *, deep: bool = False) -> list[Problem]:
        """Looks for what is wrong; see ``EpisodeSource.check``.

        Args:
            deep: Also decode every video.
        """
        from dojobench.datasets.folder_check import check_egodex

        return check_egodex(self, deep=deep)


def load_h5py() -> ModuleType:
    """Imports h5py.

    Raises:
        BadInputError: If it is not installed; the sentence says how to install it.
    """
    try:
        import h5py
    except ImportError as error:
        raise BadInputError(
            "EgoDex needs h5py, which is not installed; run: pip install 'dojobench[egodex]'."
        ) from error
    module: ModuleType = h5py
    return module


def read_header(path: Path) -> tuple[int, str | None]:
    """Reads an episode's number of poses and what is done in it.

    Raises:
        BadInputError: If the file cannot be read.
    """
    with _open(path) as file:
        poses = _joint(file, "leftHand", path)
        return int(poses.shape[0]), instruction(dict(file.attrs))


def instruction(attributes: dict[str, Any]) -> str | None:
    """Picks the text that describes the episode from the attributes of its file."""
    texts = {key: _text(value) for key, value in attributes.items()}
    back = texts.get("which_llm_description") == "2" and texts.get("llm_type") == "reversible"
    chosen = texts.get("llm_description2") if back else None
    return chosen or texts.get("llm_description") or None


def read_actions(path: Path) -> ActionArray:
    """Computes an episode's actions.

    Args:
        path: The hdf5 file.

    Returns:
        ``[frames, 48]`` float32, metres; see the module's text.

    Raises:
        BadInputError: If the file cannot be read or lacks a joint.
    """
    with _open(path) as file:
        camera = _poses(file, "camera", path)
        joints = {
            f"{side}{joint}": _poses(file, f"{side}{joint}", path)
            for side in SIDES
            for joint in ("Hand", *TIPS)
        }
    lengths = {len(camera), *(len(poses) for poses in joints.values())}
    if len(lengths) > 1:
        raise BadInputError(f"The joints in {path} have different numbers of poses: {lengths}.")
    try:
        return hands_from_camera(camera, joints)
    except np.linalg.LinAlgError as error:
        raise BadInputError(
            f"In {path} a pose of 'transforms/camera' is no rigid transform; leave the episode out."
        ) from error


def hands_from_camera(camera: Poses, joints: dict[str, Poses]) -> ActionArray:
    """Puts the next frame's hands into this frame's camera.

    Args:
        camera: The camera's pose in the world, ``[frames, 4, 4]``.
        joints: Poses in the world by joint, each ``[frames, 4, 4]``.

    Returns:
        ``[frames, 48]`` float32.
    """
    after = np.minimum(np.arange(len(camera)) + 1, len(camera) - 1)
    to_camera = np.linalg.inv(camera)
    parts: list[Poses] = []
    for side in SIDES:
        wrist = to_camera @ joints[f"{side}Hand"][after]
        parts += [wrist[:, :3, 3], wrist[:, :3, 0], wrist[:, :3, 1]]
        parts += [(to_camera @ joints[f"{side}{tip}"][after])[:, :3, 3] for tip in TIPS]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _open(path: Path) -> Any:
    try:
        return load_h5py().File(path, "r")
    except OSError as error:
        raise BadInputError(f"The file {path} cannot be read as HDF5; fetch it again.") from error


def _joint(file: Any, name: str, path: Path) -> Any:
    key = f"transforms/{name}"
    if key not in file or file[key].shape[1:] != (4, 4):
        raise BadInputError(
            f"The file {path} has no '{key}' of shape [frames, 4, 4], which EgoDex has; fetch it "
            "again."
        )
    return file[key]


def _poses(file: Any, name: str, path: Path) -> Poses:
    return np.asarray(_joint(file, name, path)[()], dtype=np.float64)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    return str(value).strip()


def _natural(path: Path) -> tuple[str, int, str]:
    return str(path.parent), int(path.stem) if path.stem.isdigit() else -1, path.stem
