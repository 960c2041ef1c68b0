"""A folder of video files, with or without actions beside them.

``clip.mp4`` may have its actions in ``clip.npy`` (``[rows, dim]`` numbers) or ``clip.parquet``
(a column ``action`` of lists, or one number column per dimension), and there must be one row for
each frame, or one fewer: row ``k`` is applied at frame ``k`` and leads to frame ``k + 1``, so the
last frame needs none. Where it is absent the last row is repeated to keep one row a frame.
"""

from functools import partial
from pathlib import Path

import numpy as np

from dojobench.datasets.reading import (
    ActionArray,
    ReadOptions,
    RecordedEpisode,
    Stream,
    choose_camera,
    no_actions,
    usable_length,
)
from dojobench.datasets.source import Problem
from dojobench.datasets.tables import column_names, matrix, read_table, row_count
from dojobench.datasets.video import VideoPool
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.words import count

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v"})
CAMERA = "video"
_MAX_NPY_BYTES = 1024 * 1024 * 1024


def find_videos(root: Path) -> list[Path]:
    """Lists the video files in a folder and below, sorted; hidden ones are left out."""
    found = (
        path
        for path in Path(root).rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    return sorted(found)


class VideoFolderSource:
    """A folder of videos; keeps the ``EpisodeSource`` contract.

    An episode is a file; its id is the path below the folder without the suffix. The frame rate
    and resolution are those of the first readable file; ``check`` names files that differ.

    Args:
        root: The folder, searched with its subfolders.
        options: ``action_key`` names the parquet column, ``action`` by default.

    Raises:
        BadInputError: If there is no video, or none that can be read.
    """

    format = "video-folder"

    def __init__(self, root: Path, options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        self.root = Path(root)
        self.name = self.root.resolve().name
        self.pool = VideoPool(threads=self.options.threads, max_open=self.options.max_open)
        videos = find_videos(self.root)
        if not videos:
            raise BadInputError(
                f"The folder {self.root} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))})."
            )
        self.videos = _by_id(self.root, videos)
        self.episode_ids = tuple(self.videos)
        self.cameras = choose_camera((CAMERA,), self.options.camera, self.root)
        self.frame_rate, self.resolution = self._first_video()
        self.action_dim, self.action_names = self._action_space()

    def episode(self, episode_id: str) -> RecordedEpisode:
        """Opens one episode; see ``EpisodeSource.episode``.

        Raises:
            BadInputError: If there is no such episode, its video cannot be read, or its actions
                are not as many as its frames or one fewer.
        """
        if episode_id not in self.videos:
            raise BadInputError(
                f"The folder {self.root} has no video '{episode_id}'; it has "
                f"{count(len(self.episode_ids), 'video')}, from {self.episode_ids[0]} to "
                f"{self.episode_ids[-1]}."
            )
        path = self.videos[episode_id]
        beside = action_file(path)
        streams = {CAMERA: Stream(path=path)}
        length = usable_length(self.pool, streams, None)
        rows = self.rows(episode_id)
        if rows is not None and rows not in (length, length - 1):
            raise BadInputError(
                f"The actions {beside} have {rows} rows but {path.name} has {length} frames; give "
                "one row for each frame, or one fewer."
            )
        return RecordedEpisode(
            id=episode_id,
            length=length,
            instruction=None,
            success=None,
            streams=streams,
            action_files=(beside,) if beside and self.action_dim else (),
            pool=self.pool,
            read_actions=partial(self._actions_per_frame, episode_id, length),
        )

    def check(self, *, deep: bool = False) -> list[Problem]:
        """Looks for what is wrong; see ``EpisodeSource.check``.

        Args:
            deep: Also decode every video.
        """
        from dojobench.datasets.folder_check import check_video_folder

        return check_video_folder(self, deep=deep)

    def rows(self, episode_id: str) -> int | None:
        """Gives the number of action rows beside a video, ``None`` for no actions.

        Raises:
            BadInputError: If the file cannot be read.
        """
        beside = action_file(self.videos[episode_id])
        if beside is None or not self.action_dim:
            return None
        if beside.suffix == ".parquet":
            return row_count(beside)
        return len(_read_npy(beside))

    def actions(self, episode_id: str) -> ActionArray:
        """Gives the rows of actions as stored, ``[rows, action_dim]``.

        Raises:
            BadInputError: If an action file is missing, or not as wide as the others.
        """
        video = self.videos[episode_id]
        beside = action_file(video)
        if beside is None:
            raise BadInputError(
                f"The video {video} has no actions beside it, but others in {self.root} have; add "
                f"{video.stem}.npy or {video.stem}.parquet."
            )
        values, _ = self._read_actions(beside)
        if values.shape[1] != self.action_dim:
            raise BadInputError(
                f"The actions {beside} are {values.shape[1]} wide, but the first of the dataset "
                f"are {self.action_dim}; make them alike."
            )
        return values

    def _actions_per_frame(self, episode_id: str, length: int) -> ActionArray:
        if not self.action_dim:
            return no_actions(length)
        values = self.actions(episode_id)
        return np.concatenate([values, values[-1:]]) if len(values) == length - 1 else values

    def _first_video(self) -> tuple[float, tuple[int, int]]:
        reasons: list[BadInputError] = []
        for path in self.videos.values():
            try:
                index = self.pool.index(path)
            except BadInputError as error:
                reasons.append(error)
                continue
            return index.rate, index.resolution
        raise reasons[0]

    def _action_space(self) -> tuple[int, tuple[str, ...]]:
        for path in self.videos.values():
            if beside := action_file(path):
                values, names = self._read_actions(beside)
                return values.shape[1], names
        return 0, ()

    def _read_actions(self, path: Path) -> tuple[ActionArray, tuple[str, ...]]:
        if path.suffix == ".npy":
            return _read_npy(path), ()
        columns = column_names(path)
        key = self.options.action_key or "action"
        if key in columns:
            return matrix(read_table(path, [key]), key, path), ()
        if self.options.action_key is not None:
            raise BadInputError(
                f"The table {path} has no column '{key}'; its columns are: {', '.join(columns)}."
            )
        table = read_table(path, columns)
        return np.concatenate([matrix(table, name, path) for name in columns], axis=1), tuple(
            columns
        )


def action_file(video: Path) -> Path | None:
    """Names the file with the actions of a video, ``None`` where there is none."""
    for suffix in (".npy", ".parquet"):
        if (path := video.with_suffix(suffix)).is_file():
            return path
    return None


def _by_id(root: Path, videos: list[Path]) -> dict[str, Path]:
    """Names each video; two that differ in their suffix alone keep it."""
    stems = [path.relative_to(root).with_suffix("").as_posix() for path in videos]
    return {
        (stem if stems.count(stem) == 1 else path.relative_to(root).as_posix()): path
        for stem, path in zip(stems, videos, strict=True)
    }


def _read_npy(path: Path) -> ActionArray:
    """Reads ``[rows, dim]`` numbers; a single column may be one-dimensional."""
    if path.stat().st_size > _MAX_NPY_BYTES:
        raise BadInputError(f"The actions {path} are larger than 1 GiB and are not read.")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInputError(
            f"The actions {path} cannot be read as numbers; save them with numpy.save as an array "
            "[rows, dim] of floats."
        ) from error
    if values.ndim not in (1, 2) or not np.issubdtype(values.dtype, np.number):
        raise BadInputError(
            f"The actions {path} are {values.dtype} of shape {values.shape}; save an array "
            "[rows, dim] of floats."
        )
    columns = values if values.ndim == 2 else values[:, None]
    return np.asarray(columns, dtype=np.float32)
