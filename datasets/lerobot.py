"""LeRobot datasets v2.0, v2.1 and v3.0, read from their folder without the lerobot package."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dojobench.datasets import lerobot_v2, lerobot_v3
from dojobench.datasets.lerobot_info import LeRobotInfo, read_info
from dojobench.datasets.lerobot_layout import EpisodeEntry, LeRobotLayout
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
from dojobench.datasets.tables import matrix, read_table
from dojobench.datasets.video import VideoPool
from dojobench.protocol.errors import BadInputError

_LAYOUTS = {
    "v2.0": lerobot_v2.read_layout,
    "v2.1": lerobot_v2.read_layout,
    "v3.0": lerobot_v3.read_layout,
}
_SUCCESS = ("next.success", "is_episode_successful")


class LeRobotSource:
    """A LeRobot dataset; keeps the ``EpisodeSource`` contract.

    Frame ``k`` of a v2 episode is the ``k``-th frame of its video by presentation time; of a v3
    episode the one shown at ``from_timestamp + k / fps``. Row ``k`` of the table is the action
    applied at frame ``k``, as LeRobot records it; video that lags behind the rows is reported by
    ``check`` and left as it is. Streams that ``info.json`` lists without any video on disk are
    left out of ``cameras``.

    Args:
        root: The dataset's folder.
        options: Main camera, action column (``action`` by default), decoder threads.

    Raises:
        BadInputError: If the folder is no readable LeRobot dataset of these versions, or stores
            its camera frames as single images.
    """

    def __init__(self, root: Path, options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        self.root = Path(root)
        self.name = self.root.resolve().name
        self.info: LeRobotInfo = read_info(self.root)
        version = self.info.codebase_version
        if version not in _LAYOUTS:
            raise BadInputError(
                f"The LeRobot dataset {self.root} is of version '{version}', but "
                f"{', '.join(_LAYOUTS)} are read; convert it with lerobot's own scripts."
            )
        self.format = f"lerobot-{version}"
        self.layout: LeRobotLayout = _LAYOUTS[version](self.root, self.info)
        self.frame_rate = self.info.fps
        self.pool = VideoPool(threads=self.options.threads, max_open=self.options.max_open)
        present = _present_streams(self.info, self.layout.entries)
        if not present and self.info.image_keys:
            raise BadInputError(
                f"The dataset {self.root} stores the frames of '{self.info.image_keys[0]}' as "
                "single images, which are not read; convert it to video with lerobot's own tools."
            )
        self.cameras = choose_camera(present, self.options.camera, self.root)
        self.action_key = self.options.action_key or "action"
        self.action_dim, self.action_names = self._action_space()
        self._entries = {str(entry.index): entry for entry in reversed(self.layout.entries)}
        self.episode_ids = tuple(dict.fromkeys(str(entry.index) for entry in self.layout.entries))
        self.resolution = self._resolution()
        self._last_table: tuple[Path, pa.Table] | None = None

    def episode(self, episode_id: str) -> RecordedEpisode:
        """Opens one episode; see ``EpisodeSource.episode``.

        Raises:
            BadInputError: If there is no such episode, or its table or main video is missing.
        """
        entry = self.entry(episode_id)
        rows = self.rows(entry)
        streams = self.streams(entry)
        if self.cameras and self.cameras[0] not in streams:
            missing = entry.streams.get(self.cameras[0])
            where = missing.path if missing else f"of camera '{self.cameras[0]}'"
            raise BadInputError(
                f"The video {where} of episode {episode_id} does not exist; restore it or leave "
                "the episode out."
            )
        length = usable_length(self.pool, streams, rows.num_rows)
        return RecordedEpisode(
            id=episode_id,
            length=length,
            instruction=self._instruction(entry, rows),
            success=_success(rows),
            streams=streams,
            action_files=(entry.data,),
            pool=self.pool,
            read_actions=partial(self.actions, entry),
        )

    def check(self, *, deep: bool = False) -> list[Problem]:
        """Looks for what is wrong; see ``EpisodeSource.check``.

        Args:
            deep: Also decode every video.
        """
        from dojobench.datasets.lerobot_check import check_lerobot

        return check_lerobot(self, deep=deep)

    def entry(self, episode_id: str) -> EpisodeEntry:
        """Gives what the metadata say of an episode.

        Raises:
            BadInputError: If they list no such episode.
        """
        if episode_id not in self._entries:
            ids = self.episode_ids
            known = f"{ids[0]} to {ids[-1]}, {len(ids)} in all" if ids else "none"
            raise BadInputError(
                f"The dataset {self.root} has no episode '{episode_id}'; its episodes are {known}."
            )
        return self._entries[episode_id]

    def streams(self, entry: EpisodeEntry) -> dict[str, Stream]:
        """Gives the streams of an episode whose video file exists, main camera first."""
        listed = {camera: entry.streams.get(camera) for camera in self.cameras}
        return {key: each for key, each in listed.items() if each and each.path.is_file()}

    def rows(self, entry: EpisodeEntry) -> pa.Table:
        """Gives an episode's rows: action, indices and outcome.

        Raises:
            BadInputError: If the table is missing or cannot be read.
        """
        table = self._table(entry.data)
        if not entry.shared:
            return table
        if "episode_index" not in table.column_names:
            raise BadInputError(
                f"The table {entry.data} has no column 'episode_index', which a LeRobot v3.0 "
                "dataset needs."
            )
        return table.filter(pc.equal(table.column("episode_index"), entry.index))

    def actions(self, entry: EpisodeEntry) -> ActionArray:
        """Gives an episode's actions ``[rows, action_dim]``.

        Raises:
            BadInputError: If their width is not the one that ``info.json`` states.
        """
        rows = self.rows(entry)
        if not self.action_dim:
            return no_actions(rows.num_rows)
        values = matrix(rows, self.action_key, entry.data)
        if rows.num_rows and values.shape[1] != self.action_dim:
            raise BadInputError(
                f"The column '{self.action_key}' of {entry.data} is {values.shape[1]} wide, but "
                f"{self.root / 'meta' / 'info.json'} says {self.action_dim}; correct one of them."
            )
        return values

    def _table(self, path: Path) -> pa.Table:
        if self._last_table is None or self._last_table[0] != path:
            wanted = ("timestamp", "frame_index", "episode_index", "index", "task_index")
            self._last_table = (path, read_table(path, [self.action_key, *wanted, *_SUCCESS]))
        return self._last_table[1]

    def _action_space(self) -> tuple[int, tuple[str, ...]]:
        feature = self.info.features.get(self.action_key)
        if feature is not None:
            return feature.width, feature.flat_names()
        if self.options.action_key is None:
            return 0, ()
        known = [key for key, each in self.info.features.items() if each.dtype != "video"]
        raise BadInputError(
            f"{self.root / 'meta' / 'info.json'} lists no feature '{self.action_key}'; choose "
            f"the actions among: {', '.join(known)}."
        )

    def _instruction(self, entry: EpisodeEntry, rows: pa.Table) -> str | None:
        """Prefers the rows' task index, which says what the frames show, over the list."""
        if "task_index" in rows.column_names and rows.num_rows:
            task = self.layout.tasks.get(rows.column("task_index")[0].as_py())
            if task:
                return task
        return next((task for task in entry.tasks if task), None)

    def _resolution(self) -> tuple[int, int]:
        """Asks the first video that can be read, then ``info.json``."""
        if not self.cameras:
            sizes = [self.info.features[key].picture_size() for key in self.info.video_keys]
            return next((size for size in sizes if size), (0, 0))
        camera = self.cameras[0]
        for entry in self.layout.entries:
            stream = entry.streams.get(camera)
            if stream and stream.path.is_file():
                try:
                    return self.pool.index(stream.path).resolution
                except BadInputError:
                    continue
        return self.info.features[camera].picture_size() or (0, 0)


def _present_streams(info: LeRobotInfo, entries: Iterable[EpisodeEntry]) -> tuple[str, ...]:
    """Names the listed streams of which at least one video exists."""
    entries = tuple(entries)
    return tuple(
        key
        for key in info.video_keys
        if any(key in entry.streams and entry.streams[key].path.is_file() for entry in entries)
    )


def _success(rows: pa.Table) -> bool | None:
    """Reads the outcome where a column states it: true if any row says so."""
    for column in _SUCCESS:
        if column in rows.column_names and rows.num_rows:
            return bool(np.asarray(rows.column(column).to_pylist(), dtype=bool).any())
    return None
