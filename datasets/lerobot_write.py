"""Writes LeRobot v2.1 and v3.0 folders, so that a user's own tools open what the dojo makes.

Layouts as in huggingface/lerobot: v2.1 keeps one table and one video per episode and camera;
v3.0 keeps many episodes in one table and in one video, and says in ``meta/episodes`` where each
begins. A folder is written beside its place and renamed when it is whole.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dojobench.datasets.video_encode import VideoQuality, VideoSink
from dojobench.protocol import BadInputError

LeRobotVersion: TypeAlias = Literal["v2.1", "v3.0"]
_EPISODES_PER_VIDEO = 50
_CHUNK_SIZE = 1000


@dataclass(frozen=True, kw_only=True)
class RecordedEpisode:
    """One episode to write.

    Attributes:
        frames: uint8 RGB ``[length, height, width, 3]`` by camera, main camera first.
        actions: float32 ``[length, action_dim]``; row ``k`` is applied at frame ``k``. ``None``
            where the actions are withheld.
        states: float32 ``[length, state_dim]``; a width of 0 where they are withheld.
        task: What the robot was told.
    """

    frames: dict[str, npt.NDArray[np.uint8]]
    actions: npt.NDArray[np.float32] | None
    states: npt.NDArray[np.float32]
    task: str


@dataclass(frozen=True, kw_only=True)
class LeRobotTarget:
    """Where and how to write.

    Attributes:
        root: The folder to make; it must not exist.
        version: ``v2.1`` or ``v3.0``.
        robot_type: Embodiment, written to ``info.json``.
        frame_rate: Whole frames per second.
        quality: ``high`` (H.264, crf 12, 4:2:0) or ``lossless`` (H.264 in RGB).
        action_names: One per action dimension.
        state_names: One per state dimension.
        notes: Further fields for ``info.json`` under ``dojobench``, such as seeds.
    """

    root: Path
    version: LeRobotVersion
    robot_type: str
    frame_rate: int
    quality: VideoQuality = "high"
    action_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


def write_lerobot(target: LeRobotTarget, episodes: Iterable[RecordedEpisode]) -> dict[str, float]:
    """Writes a dataset; episodes are taken one at a time, so they need not fit into memory.

    Args:
        target: Where and how.
        episodes: At least one; all with the same cameras, widths and resolution.

    Returns:
        The codec floor by camera: PSNR in dB of the decoded video against the frames given,
        capped at 100 dB; also kept in ``info.json``.

    Raises:
        BadInputError: If the folder exists or there is no episode.
    """
    if target.root.exists():
        raise BadInputError(f"{target.root} exists already; name a new folder for the dataset")
    part = target.root.with_name(f".{target.root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        writer = _Writer(part, target)
        for episode in episodes:
            writer.add(episode)
        floor = writer.close()
        part.rename(target.root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return floor


class _Writer:
    """Collects small things (tables, counts) and streams the big ones (frames)."""

    def __init__(self, root: Path, target: LeRobotTarget) -> None:
        self._root, self._target = root, target
        self._tables: list[pa.Table] = []
        self._episodes: list[dict[str, Any]] = []
        self._tasks: dict[str, int] = {}
        self._sinks: dict[str, VideoSink] = {}
        self._floors: dict[str, list[tuple[float, int]]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._total = 0
        (root / "meta").mkdir(parents=True)

    def add(self, episode: RecordedEpisode) -> None:
        length, number = len(episode.states), len(self._episodes)
        self._check(episode, length)
        task = self._tasks.setdefault(episode.task, len(self._tasks))
        row: dict[str, Any] = {"episode_index": number, "tasks": [episode.task], "length": length}
        for camera, frames in episode.frames.items():
            row |= self._add_video(camera, frames, number)
        self._tables.append(self._table(episode, number, task, length))
        row |= {"dataset_from_index": self._total, "dataset_to_index": self._total + length}
        self._episodes.append(row)
        self._total += length

    def _check(self, episode: RecordedEpisode, length: int) -> None:
        shapes = {camera: frames.shape[1:] for camera, frames in episode.frames.items()}
        widths = {"state": episode.states.shape[1:]}
        widths["action"] = () if episode.actions is None else episode.actions.shape[1:]
        if self._shapes and self._shapes != shapes | widths:
            raise ValueError(f"episodes differ: {self._shapes} and {shapes | widths}")
        if any(len(frames) != length for frames in episode.frames.values()):
            raise ValueError("an episode needs as many frames as states")
        self._shapes = shapes | widths

    def _add_video(self, camera: str, frames: npt.NDArray[np.uint8], number: int) -> dict[str, Any]:
        shared = self._target.version == "v3.0"
        file = number // _EPISODES_PER_VIDEO if shared else number
        sink = self._sinks.get(camera)
        if sink is None or sink.path != self._video_path(camera, file):
            self._finish(camera)
            sink = self._sinks[camera] = VideoSink(
                self._video_path(camera, file),
                rate=self._target.frame_rate,
                quality=self._target.quality,
            )
        start = sink.frames / self._target.frame_rate
        sink.write(frames)
        key = f"videos/observation.images.{camera}"
        return {
            f"{key}/chunk_index": 0,
            f"{key}/file_index": file,
            f"{key}/from_timestamp": start,
            f"{key}/to_timestamp": sink.frames / self._target.frame_rate,
        }

    def _video_path(self, camera: str, number: int) -> Path:
        key = f"observation.images.{camera}"
        if self._target.version == "v3.0":
            return self._root / f"videos/{key}/chunk-000/file-{number:03d}.mp4"
        chunk = number // _CHUNK_SIZE
        return self._root / f"videos/chunk-{chunk:03d}/{key}/episode_{number:06d}.mp4"

    def _finish(self, camera: str) -> None:
        if sink := self._sinks.pop(camera, None):
            self._floors.setdefault(camera, []).append(sink.close())

    def _table(self, episode: RecordedEpisode, number: int, task: int, length: int) -> pa.Table:
        frame = np.arange(length)
        columns: dict[str, Any] = {}
        if episode.states.shape[1]:
            columns["observation.state"] = episode.states.tolist()
        if episode.actions is not None:
            columns["action"] = episode.actions.tolist()
        columns |= {
            "timestamp": pa.array((frame / self._target.frame_rate).astype(np.float32)),
            "frame_index": frame,
            "episode_index": np.full(length, number),
            "index": frame + self._total,
            "task_index": np.full(length, task),
        }
        return pa.table(columns)

    def close(self) -> dict[str, float]:
        if not self._episodes:
            raise BadInputError(f"there is no episode to write to {self._target.root}")
        for camera in list(self._sinks):
            self._finish(camera)
        floors = {camera: _floor(parts) for camera, parts in self._floors.items()}
        if self._target.version == "v3.0":
            self._write_v3()
        else:
            self._write_v2()
        stats = _stats(pa.concat_tables(self._tables))
        _write_json(self._root / "meta/stats.json", stats)
        _write_json(self._root / "meta/info.json", self._info(floors))
        return floors

    def _write_v2(self) -> None:
        for number, table in enumerate(self._tables):
            chunk = self._root / f"data/chunk-{number // _CHUNK_SIZE:03d}"
            chunk.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, chunk / f"episode_{number:06d}.parquet")
        plain = ("episode_index", "tasks", "length")
        meta = self._root / "meta"
        _write_lines(
            meta / "episodes.jsonl", ({k: row[k] for k in plain} for row in self._episodes)
        )
        _write_lines(
            meta / "tasks.jsonl",
            ({"task_index": index, "task": task} for task, index in self._tasks.items()),
        )
        _write_lines(
            meta / "episodes_stats.jsonl",
            ({"episode_index": n, "stats": _stats(t)} for n, t in enumerate(self._tables)),
        )

    def _write_v3(self) -> None:
        data = self._root / "data/chunk-000/file-000.parquet"
        data.parent.mkdir(parents=True)
        pq.write_table(pa.concat_tables(self._tables), data)
        place = {
            "data/chunk_index": 0,
            "data/file_index": 0,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        episodes = self._root / "meta/episodes/chunk-000/file-000.parquet"
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row | place for row in self._episodes]), episodes)
        tasks = pd.DataFrame({"task_index": list(self._tasks.values())}, index=list(self._tasks))
        tasks.to_parquet(self._root / "meta/tasks.parquet")

    def _info(self, floors: dict[str, float]) -> dict[str, Any]:
        target, shared = self._target, self._target.version == "v3.0"
        episodes, cameras = len(self._episodes), [k for k in self._shapes if k in floors]
        return {
            "codebase_version": target.version,
            "robot_type": target.robot_type,
            "total_episodes": episodes,
            "total_frames": self._total,
            "total_tasks": len(self._tasks),
            "total_videos": episodes * len(cameras),
            "total_chunks": 1 if shared else -(-episodes // _CHUNK_SIZE),
            "chunks_size": _CHUNK_SIZE,
            "fps": target.frame_rate,
            "splits": {"train": f"0:{episodes}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
            if shared
            else "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
            if shared
            else "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
            "features": self._features(cameras),
            "dojobench": {"codec_floor_psnr_db": floors, "quality": target.quality} | target.notes,
        }

    def _features(self, cameras: list[str]) -> dict[str, Any]:
        target = self._target
        features: dict[str, Any] = {
            f"observation.images.{camera}": {
                "dtype": "video",
                "shape": list(self._shapes[camera]),
                "names": ["height", "width", "channel"],
                "info": {"video.fps": target.frame_rate, "video.codec": "h264"},
            }
            for camera in cameras
        }
        for key, width, names in (
            ("observation.state", self._shapes["state"], target.state_names),
            ("action", self._shapes["action"], target.action_names),
        ):
            if width and width[0]:
                listed = list(names) or [f"{key}_{i}" for i in range(width[0])]
                features[key] = {"dtype": "float32", "shape": list(width), "names": listed}
        for key in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
            dtype = "float32" if key == "timestamp" else "int64"
            features[key] = {"dtype": dtype, "shape": [1], "names": None}
        return features


def _floor(parts: list[tuple[float, int]]) -> float:
    """PSNR in dB from squared errors in units of 255 and the number of values, capped at 100."""
    error = sum(e for e, _ in parts) / sum(n for _, n in parts) / 255**2
    return round(float(-10 * np.log10(max(error, 1e-10))), 3)


def _stats(table: pa.Table) -> dict[str, dict[str, list[float]]]:
    stats = {}
    for name in ("observation.state", "action"):
        if name in table.column_names:
            values = np.asarray(table.column(name).to_pylist(), dtype=np.float64)
            stats[name] = {
                "mean": values.mean(0).tolist(),
                "std": values.std(0).tolist(),
                "min": values.min(0).tolist(),
                "max": values.max(0).tolist(),
                "q01": np.quantile(values, 0.01, axis=0).tolist(),
                "q99": np.quantile(values, 0.99, axis=0).tolist(),
                "count": [len(values)],
            }
    return stats


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
