"""What can be wrong in the formats without a list of episodes: plain folders, EgoDex, DROID."""

from collections.abc import Iterator
from pathlib import Path

from dojobench.datasets.checks import (
    EpisodeFacts,
    Expectation,
    array_digest,
    check_episode,
    check_repeats,
    file_digests,
    problem,
    relative,
    with_progress,
)
from dojobench.datasets.droid_json import Annotation, DroidJsonSource
from dojobench.datasets.egodex import CAMERA as EGODEX_CAMERA
from dojobench.datasets.egodex import EgoDexSource, read_actions
from dojobench.datasets.reading import ActionArray, Stream
from dojobench.datasets.source import Problem
from dojobench.datasets.video_folder import CAMERA, VideoFolderSource, action_file
from dojobench.protocol.errors import BadInputError


def check_video_folder(source: VideoFolderSource, *, deep: bool = False) -> list[Problem]:
    """Looks through a folder of videos.

    Args:
        source: The dataset.
        deep: Also decode every video.
    """
    first = relative(next(iter(source.videos.values())), source.root)
    expected = Expectation(
        root=source.root,
        frame_rate=source.frame_rate,
        said_by=f"the first video {first}",
        resolutions={CAMERA: source.resolution},
        spare_frame=True,
    )
    found: list[Problem] = []
    for episode_id in with_progress(source.episode_ids, "checking videos"):
        path = source.videos[episode_id]
        actions, problems = _folder_actions(source, episode_id)
        found += problems
        facts = EpisodeFacts(
            id=episode_id,
            where=relative(action_file(path) or path, source.root),
            streams={CAMERA: Stream(path=path)},
            actions=actions,
        )
        found += check_episode(facts, expected, source.pool, deep=deep)
    found += check_repeats(file_digests(source.videos), "video files")
    return [_refused(each) for each in found]


def check_egodex(source: EgoDexSource, *, deep: bool = False) -> list[Problem]:
    """Looks through a part of EgoDex.

    Args:
        source: The dataset.
        deep: Also decode every video.
    """
    expected = Expectation(
        root=source.root,
        frame_rate=source.frame_rate,
        said_by="the first episode's video",
        resolutions={EGODEX_CAMERA: source.resolution},
    )
    found = list(_check_partners(source))
    digests: dict[str, bytes] = {}
    for episode_id in with_progress(source.episode_ids, "checking episodes"):
        path = source.poses[episode_id]
        actions: ActionArray | None = None
        try:
            actions = read_actions(path)
            digests[episode_id] = array_digest(actions)
        except BadInputError as error:
            where = relative(path, source.root)
            found.append(problem("unreadable-poses", where, str(error), "error"))
        facts = EpisodeFacts(
            id=episode_id,
            where=relative(path, source.root),
            streams={EGODEX_CAMERA: Stream(path=path.with_suffix(".mp4"))},
            actions=actions,
        )
        found += check_episode(facts, expected, source.pool, deep=deep)
    return found + list(check_repeats(digests, "hand poses"))


def check_droid(source: DroidJsonSource, *, deep: bool = False) -> list[Problem]:
    """Looks through DROID-style annotations.

    Args:
        source: The dataset.
        deep: Also decode every video.
    """
    expected = Expectation(
        root=source.root,
        frame_rate=source.frame_rate,
        said_by="the first episode's video",
        resolutions=dict.fromkeys(source.cameras, source.resolution),
    )
    found = [
        problem(
            "missing-stream",
            relative(source.base / "annotation", source.root),
            f"The camera '{camera}' is named but no episode has a video of it; it is left out.",
        )
        for camera in source.listed_cameras
        if camera not in source.cameras
    ]
    digests: dict[str, bytes] = {}
    for episode_id in with_progress(source.episode_ids, "checking episodes"):
        where = relative(source.annotations[episode_id], source.root)
        try:
            annotation = source.annotation(episode_id)
            actions = source.actions(episode_id, annotation)
            streams = source.streams(annotation)
        except BadInputError as error:
            found.append(problem("unreadable-annotation", where, str(error), "error"))
            continue
        digests[episode_id] = array_digest(actions)
        found += _check_annotation(source, annotation, where)
        facts = EpisodeFacts(id=episode_id, where=where, streams=streams, actions=actions)
        found += check_episode(facts, expected, source.pool, deep=deep)
    return found + list(check_repeats(digests, "actions"))


def _folder_actions(
    source: VideoFolderSource, episode_id: str
) -> tuple[ActionArray | None, list[Problem]]:
    if not source.action_dim:
        return None, []
    path = source.videos[episode_id]
    try:
        return source.actions(episode_id), []
    except BadInputError as error:
        beside = action_file(path)
        code = "missing-actions" if beside is None else "unreadable-actions"
        where = relative(beside or path, source.root)
        return None, [problem(code, where, str(error), "error")]


def _refused(each: Problem) -> Problem:
    """A plain folder has nothing that says which end of a longer video is right: no clip is cut."""
    if each.code != "length-mismatch":
        return each
    told = each.message.rpartition(";")[0]
    message = f"{told}; give one row for each frame, or one fewer."
    return problem(each.code, each.where, message, "error")


def _check_partners(source: EgoDexSource) -> Iterator[Problem]:
    for suffix, other in ((".hdf5", ".mp4"), (".mp4", ".hdf5")):
        for path in sorted(source.root.rglob(f"*{suffix}")):
            if not path.with_suffix(other).is_file():
                yield problem(
                    "unpaired-file",
                    relative(path, source.root),
                    f"There is no {path.stem}{other} beside it; it is left out, so fetch both.",
                )


def _check_annotation(
    source: DroidJsonSource, annotation: Annotation, where: str
) -> Iterator[Problem]:
    counts = {
        "state_length": (annotation.state_length, len(annotation.states)),
        "raw_length": (annotation.raw_length, len(annotation.raw_position)),
    }
    for field, (stated, counted) in counts.items():
        if stated is not None and stated != counted:
            yield problem(
                "count-mismatch",
                f"{where} {field}",
                f"It says {stated} but there are {counted} rows; the rows are used.",
            )
    for camera, path in source.listed(annotation).items():
        yield from _check_listed_video(source, annotation, where, camera, path)


def _check_listed_video(
    source: DroidJsonSource, annotation: Annotation, where: str, camera: str, path: Path
) -> Iterator[Problem]:
    if not path.is_file():
        if camera in source.cameras:
            yield problem(
                "missing-video",
                relative(path, source.root),
                f"{where} names this video of camera '{camera}' but it does not exist; restore it "
                "or leave the episode out.",
                "error" if camera == source.cameras[0] else "warning",
            )
        return
    try:
        frames = len(source.pool.index(path))
    except BadInputError:
        return  # reported with the episode's video
    if annotation.video_length is not None and annotation.video_length != frames:
        yield problem(
            "count-mismatch",
            f"{where} video_length",
            f"It says {annotation.video_length} frames but the video of camera '{camera}' holds "
            f"{frames}; the frames found are used.",
        )
