"""What can be wrong in a LeRobot dataset: metadata that disagree with tables and videos."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dojobench.datasets.checks import (
    EpisodeFacts,
    Expectation,
    array_digest,
    check_episode,
    check_repeats,
    check_video,
    problem,
    relative,
    with_progress,
)
from dojobench.datasets.lerobot import LeRobotSource
from dojobench.datasets.lerobot_layout import EpisodeEntry
from dojobench.datasets.reading import ActionArray, Stream
from dojobench.datasets.source import Problem
from dojobench.protocol.errors import BadInputError

_INFO = "meta/info.json"


def check_lerobot(source: LeRobotSource, *, deep: bool = False) -> list[Problem]:
    """Looks through a LeRobot dataset.

    Args:
        source: The dataset.
        deep: Also decode every video.

    Returns:
        What was found, dataset first, then episode by episode.
    """
    found = [*_check_streams(source), *_check_lists(source), *_check_features(source)]
    expected = _expectation(source)
    rows: dict[str, int] = {}
    digests: dict[str, bytes] = {}
    for episode_id in with_progress(source.episode_ids, "checking episodes"):
        entry = source.entry(episode_id)
        table, problems = _read_rows(source, entry)
        found += problems
        actions: ActionArray | None = None
        if table is not None:
            rows[episode_id] = table.num_rows
            found += _check_rows(source, entry, table)
            actions, problems = _read_actions(source, entry)
            found += problems
        if actions is not None and actions.size:
            digests[episode_id] = array_digest(actions)
        facts = EpisodeFacts(
            id=episode_id,
            where=relative(entry.data, source.root),
            streams=source.streams(entry),
            actions=actions,
            times=None if table is None else _times(table),
        )
        found += _check_missing_videos(source, entry)
        found += _check_segments(source, entry)
        found += check_episode(facts, expected, source.pool, deep=deep)
    found += _check_shared_videos(source, expected, deep=deep)
    found += _check_total(source, rows)
    found += check_repeats(digests, "actions")
    return found


def _expectation(source: LeRobotSource) -> Expectation:
    sizes = {key: source.info.features[key].picture_size() for key in source.cameras}
    return Expectation(
        root=source.root,
        frame_rate=source.info.fps,
        said_by=_INFO,
        resolutions={key: size for key, size in sizes.items() if size},
    )


def _check_streams(source: LeRobotSource) -> Iterator[Problem]:
    missing = [key for key in source.info.video_keys if key not in source.cameras]
    for key in missing:
        yield problem(
            "missing-stream",
            f"{_INFO} features.{key}",
            f"The stream '{key}' is listed but no episode has a video of it; it is left out of "
            "the cameras, so remove it from the list or fetch its videos.",
            "warning" if source.cameras else "error",
        )
    if not source.cameras and not missing:
        yield problem("missing-stream", _INFO, "No video stream is listed.", "error")


def _check_lists(source: LeRobotSource) -> Iterator[Problem]:
    """Compares the list of episodes with what ``info.json`` says of it."""
    info = source.info
    indices = [entry.index for entry in source.layout.entries]
    listed = "meta/episodes" + ("" if source.format == "lerobot-v3.0" else ".jsonl")
    for index, times in sorted(Counter(indices).items()):
        if times > 1:
            yield problem(
                "duplicate-episode",
                listed,
                f"Episode {index} is listed {times} times; the first entry is used, so remove the "
                "others.",
                "error",
            )
    known = set(indices)
    gaps = sorted(set(range(max(known, default=-1) + 1)) - known)
    if gaps:
        yield problem(
            "episode-gaps",
            listed,
            f"Episode ids have gaps: {len(gaps)} of 0 to {max(known)} are absent "
            f"({_ranges(gaps)}); only listed episodes are read.",
        )
    if info.total_episodes is not None and info.total_episodes != len(known):
        yield problem(
            "count-mismatch",
            f"{_INFO} total_episodes",
            f"It says {info.total_episodes} episodes but the list holds {len(known)} and is used.",
        )
    videos = len(known) * len(source.info.video_keys)
    if info.total_videos is not None and videos and info.total_videos != videos:
        yield problem(
            "count-mismatch",
            f"{_INFO} total_videos",
            f"It says {info.total_videos} videos but {len(known)} episodes of "
            f"{len(source.info.video_keys)} streams need {videos}; the files found are used.",
        )
    yield from _check_splits(source, len(known))
    if not source.layout.stats.is_file():
        yield problem(
            "missing-stats",
            relative(source.layout.stats, source.root),
            "There are no statistics; give statistics by name to normalise with.",
        )


def _check_splits(source: LeRobotSource, episodes: int) -> Iterator[Problem]:
    for name, text in source.info.splits.items():
        end = text.partition(":")[2]
        if end.isdigit() and int(end) > episodes:
            yield problem(
                "split-range",
                f"{_INFO} splits.{name}",
                f"The split '{name}' is {text} but {episodes} episodes are listed; make splits "
                "with `dojobench data freeze`.",
            )


def _check_features(source: LeRobotSource) -> Iterator[Problem]:
    feature = source.info.features.get(source.action_key)
    if feature is None:
        yield problem(
            "no-actions",
            _INFO,
            f"No feature '{source.action_key}' is listed; the clips carry no actions.",
        )
    elif feature.names and not source.action_names:
        yield problem(
            "action-names",
            f"{_INFO} features.{source.action_key}",
            f"Its names do not fit its width of {feature.width}; no names are used.",
        )


def _read_rows(source: LeRobotSource, entry: EpisodeEntry) -> tuple[pa.Table | None, list[Problem]]:
    try:
        return source.rows(entry), []
    except BadInputError as error:
        code = "unreadable-table" if entry.data.is_file() else "missing-table"
        return None, [problem(code, relative(entry.data, source.root), str(error), "error")]


def _read_actions(
    source: LeRobotSource, entry: EpisodeEntry
) -> tuple[ActionArray | None, list[Problem]]:
    try:
        return source.actions(entry), []
    except BadInputError as error:
        where = relative(entry.data, source.root)
        return None, [problem("action-width", where, str(error), "error")]


def _check_rows(source: LeRobotSource, entry: EpisodeEntry, table: pa.Table) -> Iterator[Problem]:
    where = relative(entry.data, source.root)
    if entry.length is not None and entry.length != table.num_rows:
        yield problem(
            "count-mismatch",
            where,
            f"Episode {entry.index} is listed with {entry.length} frames but has {table.num_rows} "
            "rows; the rows are used.",
        )
    if entry.rows and entry.rows[1] - entry.rows[0] != table.num_rows:
        yield problem(
            "count-mismatch",
            where,
            f"Episode {entry.index} is listed at rows {entry.rows[0]} to {entry.rows[1]} but has "
            f"{table.num_rows} rows; the rows are used.",
        )
    if not entry.shared and "episode_index" in table.column_names and table.num_rows:
        inside = sorted(set(table.column("episode_index").to_pylist()))
        if inside != [entry.index]:
            yield problem(
                "episode-index",
                where,
                f"The table of episode {entry.index} holds rows of episodes {_ranges(inside)}; "
                "correct its column 'episode_index' or fetch it again.",
                "error",
            )
    if "frame_index" in table.column_names:
        numbers = np.asarray(table.column("frame_index").to_pylist())
        if not np.array_equal(numbers, np.arange(len(numbers))):
            yield problem(
                "frame-index",
                where,
                f"In episode {entry.index} the column 'frame_index' does not count from 0 without "
                "gaps; rows are matched to frames in the order in which they are stored.",
            )


def _check_missing_videos(source: LeRobotSource, entry: EpisodeEntry) -> Iterator[Problem]:
    for rank, camera in enumerate(source.cameras):
        stream = entry.streams.get(camera)
        if stream is None or not stream.path.is_file():
            where = relative(stream.path, source.root) if stream else f"episode {entry.index}"
            yield problem(
                "missing-video",
                where,
                f"Episode {entry.index} has no video of camera '{camera}'; restore it or leave "
                "the episode out.",
                "warning" if rank else "error",
            )


def _check_segments(source: LeRobotSource, entry: EpisodeEntry) -> Iterator[Problem]:
    """Compares the stretch of a shared video with the episode's length (v3.0)."""
    for camera, stream in source.streams(entry).items():
        if stream.start_s is None or stream.end_s is None or entry.length is None:
            continue
        frames = (stream.end_s - stream.start_s) * source.info.fps
        if abs(frames - entry.length) > 0.5:
            yield problem(
                "segment-mismatch",
                f"meta/episodes episode {entry.index}",
                f"From {stream.start_s:.4f} s to {stream.end_s:.4f} s of camera '{camera}' are "
                f"{frames:.1f} frames but the episode has {entry.length}; correct the timestamps.",
            )
            continue
        yield from _check_located(source, entry, camera, stream)


def _check_located(
    source: LeRobotSource, entry: EpisodeEntry, camera: str, stream: Stream
) -> Iterator[Problem]:
    """Sees that the episode's times fall on consecutive frames of the file."""
    try:
        index = source.pool.index(stream.path)
        located = stream.locate(index, range(stream.length(index)))
    except BadInputError as error:
        yield problem("segment-mismatch", relative(stream.path, source.root), str(error), "error")
        return
    if (np.diff(located) != 1).any():
        yield problem(
            "segment-mismatch",
            relative(stream.path, source.root),
            f"The frames of episode {entry.index} of camera '{camera}' do not follow each other "
            f"at {source.info.fps:.4g} frames per second; correct the rate or the timestamps.",
        )


def _check_shared_videos(
    source: LeRobotSource, expected: Expectation, *, deep: bool
) -> Iterator[Problem]:
    """Looks once at each video file that holds several episodes (v3.0)."""
    shared: dict[Path, str] = {}
    for episode_id in source.episode_ids:
        for camera, stream in source.streams(source.entry(episode_id)).items():
            if stream.start_s is not None:
                shared.setdefault(stream.path, camera)
    for path, camera in shared.items():
        try:
            index = source.pool.index(path)
        except BadInputError:
            continue  # reported with the first episode that needs it
        yield from check_video(path, index, expected, camera, deep=deep)


def _check_total(source: LeRobotSource, rows: dict[str, int]) -> Iterator[Problem]:
    total, counted = source.info.total_frames, sum(rows.values())
    if total is not None and total != counted:
        yield problem(
            "count-mismatch",
            f"{_INFO} total_frames",
            f"It says {total} frames but the tables of the listed episodes hold {counted} rows; "
            "the rows are used.",
        )


def _times(table: pa.Table) -> npt.NDArray[np.float64] | None:
    if "timestamp" not in table.column_names:
        return None
    values = np.asarray(table.column("timestamp").to_pylist(), dtype=np.float64)
    return values.reshape(len(values), -1)[:, 0] if len(values) else values


def _ranges(numbers: list[int], limit: int = 6) -> str:
    """Writes rising numbers as ranges, such as ``0, 3-4, 6``, the first few of them."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in spans[:limit]]
    return ", ".join(texts) + (", …" if len(spans) > limit else "")
