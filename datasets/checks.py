"""What can be wrong with any episode, whatever its format: its video, its actions, its times.

Every finding is a sentence that names a file or field relative to the dataset and says what to
do. Nothing is repaired. Without ``deep`` no frame is decoded: the packets of a video say how many
frames it holds and when they are shown.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from dojobench.datasets.reading import ActionArray, Stream
from dojobench.datasets.source import Problem
from dojobench.datasets.video import VideoPool, VideoReader
from dojobench.datasets.video_index import FrameIndex
from dojobench.protocol.errors import BadInputError

_RATE_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeFacts:
    """What a check needs to know of one episode.

    Attributes:
        id: The episode's name.
        where: Its table or annotation, relative to the dataset.
        streams: Its cameras with an existing video.
        actions: ``[rows, dim]``, ``None`` where the dataset has none or they cannot be read.
        times: When each row was recorded, in seconds, where the dataset says so.
    """

    id: str
    where: str
    streams: Mapping[str, Stream]
    actions: ActionArray | None = None
    times: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What a dataset says that every video is like.

    Attributes:
        root: The dataset's folder.
        frame_rate: Frames per second.
        said_by: Where that is said, for messages.
        resolutions: ``(height, width)`` by camera, where it is said.
        spare_frame: Whether one frame more than action rows is right.
    """

    root: Path
    frame_rate: float
    said_by: str
    resolutions: Mapping[str, tuple[int, int]]
    spare_frame: bool = False


def problem(
    code: str, where: Path | str, message: str, severity: Literal["error", "warning"] = "warning"
) -> Problem:
    """Makes a finding; ``where`` is written with forward slashes."""
    text = where.as_posix() if isinstance(where, Path) else where
    return Problem(code=code, severity=severity, where=text, message=message)


def with_progress(items: Sequence[str], label: str) -> Iterable[str]:
    """Walks through episodes under a progress bar, shown only on a terminal."""
    console = Console(stderr=True)
    return track(items, label, console=console, disable=not console.is_terminal, transient=True)


def relative(path: Path, root: Path) -> str:
    """Names a file by its path below the dataset's folder."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def check_episode(
    facts: EpisodeFacts, expected: Expectation, pool: VideoPool, *, deep: bool
) -> Iterator[Problem]:
    """Looks at one episode's video, actions and times.

    Args:
        facts: The episode.
        expected: What the dataset says of its videos.
        pool: Where videos are indexed.
        deep: Also decode every frame of videos that hold one episode.
    """
    for camera, stream in facts.streams.items():
        where = relative(stream.path, expected.root)
        try:
            index = pool.index(stream.path)
        except BadInputError as error:
            yield problem("unreadable-video", where, str(error), "error")
            continue
        yield from _check_length(facts, stream, index, expected, where)
        if stream.start_s is None:
            yield from check_video(stream.path, index, expected, camera, deep=deep)
    yield from _check_actions(facts)
    yield from _check_times(facts, expected)


def check_video(
    path: Path, index: FrameIndex, expected: Expectation, camera: str, *, deep: bool
) -> Iterator[Problem]:
    """Looks at one video file: is it whole, even, and what the dataset says it is?"""
    where = relative(path, expected.root)
    if index.truncated:
        missing = f"{index.declared} frames but holds {index.stored}"
        detail = f"states {missing}" if index.declared > index.stored else "is cut off"
        yield problem(
            "truncated-video",
            where,
            f"The video {detail}{index.fault}; fetch it again.",
            "error",
        )
    if index.rate and abs(index.rate / expected.frame_rate - 1) > _RATE_TOLERANCE:
        yield problem(
            "frame-rate",
            where,
            f"The video shows {index.rate:.4g} frames per second but {expected.said_by} says "
            f"{expected.frame_rate:.4g}; correct one of them.",
        )
    gaps = np.diff(index.seconds)
    uneven = int((np.abs(gaps * index.rate - 1) > 0.5).sum()) if index.rate else 0
    if uneven:
        yield problem(
            "uneven-frames",
            where,
            f"The time to the next frame is off by more than half a frame {uneven} times; actions "
            "are matched by frame number, so re-encode at a constant rate if they go by time.",
        )
    stated = expected.resolutions.get(camera)
    if stated and stated != index.resolution:
        yield problem(
            "resolution",
            where,
            f"The video is {index.resolution[0]}x{index.resolution[1]} (height x width) but "
            f"{expected.said_by} says {stated[0]}x{stated[1]}; the video's own size is used.",
        )
    if deep:
        try:
            with VideoReader(path, index=index) as reader:
                reader.verify()
        except BadInputError as error:
            yield problem("undecodable-frame", where, str(error), "error")


def check_repeats(seen: Mapping[str, bytes], what: str) -> Iterator[Problem]:
    """Finds episodes whose content is the same to the byte.

    Args:
        seen: A digest of each episode's content.
        what: What was compared, for the message.
    """
    first: dict[bytes, str] = {}
    for episode_id, digest in seen.items():
        if digest in first:
            yield problem(
                "repeated-episode",
                f"episode {episode_id}",
                f"Its {what} equal those of episode {first[digest]} to the byte; keep one of the "
                "two, or both in the same split.",
            )
        first.setdefault(digest, episode_id)


def array_digest(values: ActionArray) -> bytes:
    """Gives a digest of an array's shape and content."""
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).digest()


def file_digests(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """Gives a digest of each file that shares its size with another; others cannot be equal."""
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    counts: dict[int, int] = {}
    for size in sizes.values():
        counts[size] = counts.get(size, 0) + 1
    digests: dict[str, bytes] = {}
    for name, path in paths.items():
        if counts[sizes[name]] > 1:
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").digest()
    return digests


def _check_length(
    facts: EpisodeFacts, stream: Stream, index: FrameIndex, expected: Expectation, where: str
) -> Iterator[Problem]:
    if facts.actions is None:
        return
    frames, rows = stream.length(index), len(facts.actions)
    if frames == rows or (expected.spare_frame and frames == rows + 1):
        return
    used = min(frames, rows)
    kind = "longer" if frames > rows else "shorter"
    yield problem(
        "length-mismatch",
        where,
        f"The video of episode {facts.id} is {kind} than its rows: {frames} frames and {rows} rows "
        f"in {facts.where}; the first {used} of both are used.",
        "warning" if used else "error",
    )


def _check_actions(facts: EpisodeFacts) -> Iterator[Problem]:
    if facts.actions is None:
        return
    if not len(facts.actions):
        yield problem("no-rows", facts.where, f"Episode {facts.id} has no rows.", "error")
        return
    bad = ~np.isfinite(facts.actions)
    if bad.any():
        row, column = (int(each[0]) for each in np.nonzero(bad))
        yield problem(
            "not-finite",
            facts.where,
            f"Episode {facts.id} has {int(bad.sum())} action values that are not finite, the first "
            f"in row {row}, dimension {column}; leave the episode out or repair them.",
            "error",
        )


def _check_times(facts: EpisodeFacts, expected: Expectation) -> Iterator[Problem]:
    if facts.times is None or len(facts.times) < 2:
        return
    steps = np.diff(facts.times)
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0)) + 1
        yield problem(
            "timestamps",
            facts.where,
            f"In episode {facts.id} time does not rise at row {row} ({facts.times[row - 1]:.4f} s, "
            f"then {facts.times[row]:.4f} s); rows are used in the order in which they are stored.",
        )
        return
    uneven = int((np.abs(steps * expected.frame_rate - 1) > 0.5).sum())
    if uneven:
        yield problem(
            "timestamps",
            facts.where,
            f"In episode {facts.id} {uneven} rows are more than half a frame early or late for "
            f"{expected.frame_rate:.4g} rows per second; rows are matched to frames by number.",
        )
