"""LeRobot v3.0: many episodes in one table and in one video file.

Layout (huggingface/lerobot, v3.0): ``meta/info.json``; ``meta/tasks.parquet``, whose text may
be the pandas index; ``meta/episodes/chunk-*/file-*.parquet``, which for each episode gives
``data/chunk_index`` and ``data/file_index``, ``dataset_from_index`` and ``dataset_to_index``, and
for each stream ``videos/<key>/chunk_index``, ``file_index``, ``from_timestamp`` and
``to_timestamp``. Frame ``k`` of an episode is shown at ``from_timestamp + k / fps``.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from dojobench.datasets.lerobot_info import LeRobotInfo
from dojobench.datasets.lerobot_layout import EpisodeEntry, LeRobotLayout
from dojobench.datasets.lerobot_v2 import fill
from dojobench.datasets.reading import Stream
from dojobench.datasets.tables import column_names, read_table, text_column
from dojobench.protocol.errors import BadInputError

_PLAIN = (
    "episode_index",
    "length",
    "tasks",
    "data/chunk_index",
    "data/file_index",
    "dataset_from_index",
    "dataset_to_index",
)


def read_layout(root: Path, info: LeRobotInfo) -> LeRobotLayout:
    """Reads the lists of episodes and tasks.

    Raises:
        BadInputError: If a list is missing or an episode lacks a field.
    """
    files = sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise BadInputError(
            f"The dataset {root} has no meta/episodes/chunk-*/file-*.parquet, which lists the "
            "episodes of a LeRobot v3.0 dataset; fetch the whole meta folder."
        )
    entries: list[EpisodeEntry] = []
    for path in files:
        wanted = [*_PLAIN, *(n for n in column_names(path) if n.startswith("videos/"))]
        for row in read_table(path, wanted).to_pylist():
            entries.append(_entry(root, info, path, row))
    return LeRobotLayout(
        entries=tuple(entries), tasks=_tasks(root), stats=root / "meta" / "stats.json"
    )


def _entry(root: Path, info: LeRobotInfo, path: Path, row: dict[str, Any]) -> EpisodeEntry:
    def number(column: str) -> int:
        value = row.get(column)
        if not isinstance(value, int):
            raise BadInputError(
                f"{path} gives no '{column}' for episode {row.get('episode_index')}; a LeRobot "
                "v3.0 dataset needs it."
            )
        return value

    places = {"chunk_index": number("data/chunk_index"), "file_index": number("data/file_index")}
    first, end = row.get("dataset_from_index"), row.get("dataset_to_index")
    tasks = row.get("tasks")
    return EpisodeEntry(
        index=number("episode_index"),
        length=row.get("length"),
        tasks=tuple(map(str, tasks)) if isinstance(tasks, list) else (),
        data=fill(root, info.data_path, "data_path", places),
        shared=True,
        streams={
            key: _stream(root, info, key, number, row)
            for key in info.video_keys
            if f"videos/{key}/chunk_index" in row
        },
        rows=(first, end) if isinstance(first, int) and isinstance(end, int) else None,
    )


def _stream(root: Path, info: LeRobotInfo, key: str, number: Any, row: dict[str, Any]) -> Stream:
    places = {
        "video_key": key,
        "chunk_index": number(f"videos/{key}/chunk_index"),
        "file_index": number(f"videos/{key}/file_index"),
    }
    start, end = (row.get(f"videos/{key}/{edge}_timestamp") for edge in ("from", "to"))
    return Stream(
        path=fill(root, info.video_path, "video_path", places),
        start_s=float(start or 0.0),
        end_s=None if end is None else float(end),
        frame_rate=info.fps,
    )


def _tasks(root: Path) -> dict[int, str]:
    path = root / "meta" / "tasks.parquet"
    if not path.is_file():
        return {}
    table: pa.Table = read_table(path, column_names(path))
    text = text_column(table, "task")
    if text is None or "task_index" not in table.column_names:
        raise BadInputError(f"{path} needs a column 'task_index' and a column of task texts.")
    indices, texts = (table.column(name).to_pylist() for name in ("task_index", text))
    return {int(index): str(task) for index, task in zip(indices, texts, strict=True)}
