"""Where a LeRobot dataset keeps each episode, the same answer for every version of the format."""

from dataclasses import dataclass
from pathlib import Path

from dojobench.datasets.reading import Stream


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeEntry:
    """One episode as the metadata list it; nothing of it has been looked at.

    Attributes:
        index: The dataset's ``episode_index``.
        length: Number of frames that the metadata state, where they do.
        tasks: Texts that the metadata give for the episode.
        data: The table with its rows.
        shared: Whether the table holds rows of other episodes too.
        rows: ``(first, end)`` of its rows in the dataset's global ``index``, where stated.
        streams: Its stretch of video for each stream that ``info.json`` lists.
    """

    index: int
    length: int | None
    tasks: tuple[str, ...]
    data: Path
    shared: bool
    streams: dict[str, Stream]
    rows: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LeRobotLayout:
    """A dataset's episodes and tasks as its metadata list them.

    Attributes:
        entries: All listed episodes in the metadata's order, repeats included.
        tasks: Task texts by ``task_index``.
        stats: The file that this version keeps its statistics in.
    """

    entries: tuple[EpisodeEntry, ...]
    tasks: dict[int, str]
    stats: Path
