"""LeRobot v2.0 and v2.1: one table and one video file for each episode.

Layout (huggingface/lerobot, v2.1): ``meta/info.json``, ``meta/episodes.jsonl``,
``meta/tasks.jsonl``, ``meta/stats.json`` (v2.0) or ``meta/episodes_stats.jsonl`` (v2.1), and the
path templates ``data_path`` and ``video_path`` of ``info.json``.
"""

from pathlib import Path
from typing import Any

from dojobench.datasets.json_files import read_json_lines
from dojobench.datasets.lerobot_info import LeRobotInfo
from dojobench.datasets.lerobot_layout import EpisodeEntry, LeRobotLayout
from dojobench.datasets.reading import Stream
from dojobench.protocol.errors import BadInputError


def read_layout(root: Path, info: LeRobotInfo) -> LeRobotLayout:
    """Reads the lists of episodes and tasks.

    Raises:
        BadInputError: If a list is missing or a line of it lacks a field.
    """
    path = root / "meta" / "episodes.jsonl"
    rows = read_json_lines(path)
    entries = tuple(_entry(root, info, path, row) for row in rows)
    new = root / "meta" / "episodes_stats.jsonl"
    stats = root / "meta" / "stats.json" if info.codebase_version == "v2.0" else new
    return LeRobotLayout(entries=entries, tasks=_tasks(root), stats=stats)


def _entry(root: Path, info: LeRobotInfo, path: Path, row: dict[str, Any]) -> EpisodeEntry:
    index = row.get("episode_index")
    if not isinstance(index, int) or index < 0:
        raise BadInputError(
            f"{path} has a line whose 'episode_index' is {index!r}; it must be a whole number."
        )
    tasks = row.get("tasks", [])
    length = row.get("length")
    places: dict[str, Any] = {
        "episode_chunk": index // info.chunks_size,
        "episode_index": index,
        "total_episodes": info.total_episodes or 0,
    }
    return EpisodeEntry(
        index=index,
        length=length if isinstance(length, int) else None,
        tasks=tuple(map(str, tasks)) if isinstance(tasks, list) else (str(tasks),),
        data=fill(root, info.data_path, "data_path", places),
        shared=False,
        streams={
            key: Stream(path=fill(root, info.video_path, "video_path", places | {"video_key": key}))
            for key in info.video_keys
        },
    )


def fill(root: Path, template: str | None, field: str, places: dict[str, Any]) -> Path:
    """Fills a path template of ``info.json``.

    Raises:
        BadInputError: If the template is missing, asks for an unknown name, or leaves the folder.
    """
    info = root / "meta" / "info.json"
    if template is None:
        raise BadInputError(f"{info} lists video streams but no '{field}'; add it.")
    try:
        path = root / template.format(**places)
    except (KeyError, IndexError, ValueError) as error:
        raise BadInputError(
            f"In {info} the field '{field}' is '{template}', which cannot be filled in "
            f"({error}); it may use {', '.join(places)}."
        ) from error
    if ".." in path.relative_to(root).parts if path.is_relative_to(root) else True:
        raise BadInputError(f"In {info} the field '{field}' leads out of the dataset's folder.")
    return path


def _tasks(root: Path) -> dict[int, str]:
    path = root / "meta" / "tasks.jsonl"
    if not path.is_file():
        return {}
    tasks: dict[int, str] = {}
    for number, row in enumerate(read_json_lines(path), start=1):
        index, text = row.get("task_index"), row.get("task")
        if not isinstance(index, int) or not isinstance(text, str):
            raise BadInputError(
                f"{path} line {number} needs a whole number 'task_index' and a text 'task'."
            )
        tasks[index] = text
    return tasks
