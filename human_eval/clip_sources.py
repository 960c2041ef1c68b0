"""Finds each model's videos of each clip, in run folders and in plain folders of videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dojobench.benchmarks.frame_files import list_frame_files, open_frames
from dojobench.benchmarks.predictions import find_predictions
from dojobench.benchmarks.records import RUN_FILE, VIDEOS_FOLDER, read_meta
from dojobench.benchmarks.run_schema import RunMeta
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.human_eval.media_encoder import Frames, Picture, scale
from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVideos:
    """The videos of one model.

    Attributes:
        name: Its name in the study.
        source: As it was named on the command line.
        files: Clip to file or folder of frames.
    """

    name: str
    source: str
    files: Mapping[str, Path]


def find_models(runs: Sequence[str], suite: Suite) -> tuple[ModelVideos, ...]:
    """Finds the videos of all models.

    Args:
        runs: Run folders or folders of videos, each ``PATH`` or ``NAME=PATH``.
        suite: What they predict.

    Raises:
        BadInputError: If a folder holds no videos, is of another suite, or two models would have
            the same name.
    """
    models = tuple(_find_model(run, suite) for run in runs)
    seen: dict[str, str] = {}
    for model in models:
        if model.name in seen:
            raise BadInputError(
                f"{seen[model.name]} and {model.source} are both called '{model.name}'; name one "
                f"of them yourself: --runs other-name={model.source}"
            )
        seen[model.name] = model.source
    if len(models) < 2:
        raise BadInputError("a study compares two models or more; name more folders with --runs")
    return models


def _find_model(run: str, suite: Suite) -> ModelVideos:
    name, equals, path = run.partition("=")
    folder = Path(path if equals else run)
    if not folder.is_dir():
        raise BadInputError(f"there is no folder {folder}; give run folders or folders of videos")
    if not (folder / RUN_FILE).is_file():
        files = _choose(list_frame_files(folder), folder, suite)
        return ModelVideos(name=name if equals else folder.name, source=str(folder), files=files)
    meta = read_meta(folder)
    _require_suite(meta, suite, folder)
    if not (folder / VIDEOS_FOLDER).is_dir():
        raise BadInputError(
            f"{folder} has no videos; run it again with --videos all into a new folder"
        )
    found = list_frame_files(folder / VIDEOS_FOLDER)
    predicted = {
        stem.removesuffix(".pred"): file for stem, file in found.items() if stem.endswith(".pred")
    }
    files = _choose(predicted, folder, suite)
    return ModelVideos(name=name if equals else meta.model.name, source=str(folder), files=files)


def _require_suite(meta: RunMeta, suite: Suite, folder: Path) -> None:
    if meta.suite.version != suite.spec.version:
        raise BadInputError(
            f"{folder} is a run of {meta.suite.name} ({meta.suite.version[:19]}…), and --suite "
            f"names {suite.spec.name} ({suite.spec.version[:19]}…); name the suite that was run"
        )


def _choose(found: Mapping[str, Path], folder: Path, suite: Suite) -> dict[str, Path]:
    """Takes each clip's prediction with the lowest seed."""
    seeds = find_predictions(found, [clip.id for clip in suite.clips])
    files: dict[str, Path] = {}
    for seed in sorted(seeds, reverse=True):
        files |= seeds[seed]
    if not files:
        raise BadInputError(
            f"{folder} holds no videos of the suite's clips; they are called like "
            f"{suite.clips[0].id}.mp4"
        )
    return files


def choose_clips(
    models: Sequence[ModelVideos], suite: Suite, pairs: int, *, seed: int
) -> tuple[ClipRecord, ...]:
    """Draws the clips that are shown: spread over splits, then over episodes, else at random.

    Args:
        models: Only clips that all of them have are drawn.
        suite: The clips.
        pairs: How many.
        seed: Decides the draw.

    Returns:
        The clips in the suite's order.

    Raises:
        BadInputError: If there are fewer.
    """
    shared = [clip for clip in suite.clips if all(clip.id in model.files for model in models)]
    if len(shared) < pairs:
        raise BadInputError(
            f"only {len(shared)} clips have a video from each of the {len(models)} models, and "
            f"--pairs asks for {pairs}; ask for fewer, or run with --videos all"
        )
    rng = np.random.default_rng([seed, 1])
    lots = {clip.id: lot for clip, lot in zip(shared, rng.random(len(shared)), strict=True)}
    turns: dict[str, tuple[int, int, float]] = {}
    splits: dict[str, int] = {}
    episodes: dict[tuple[str, str], int] = {}
    for clip in sorted(shared, key=lambda each: lots[each.id]):
        episode = (clip.source, clip.episode)
        again = episodes[episode] = episodes.get(episode, -1) + 1
        turn = splits[clip.split] = splits.get(clip.split, -1) + 1
        turns[clip.id] = (again, turn, lots[clip.id])
    first = sorted(shared, key=lambda each: turns[each.id])[:pairs]
    drawn = {clip.id for clip in first}
    return tuple(clip for clip in suite.clips if clip.id in drawn)


def read_prediction(
    file: Path, clip: ClipRecord, truth: Frames, *, context: int, count: int
) -> Frames:
    """Reads what a model showed of a clip, its context taken from the truth where it has none.

    Args:
        file: Its video, array or folder of frames.
        clip: The clip.
        truth: Its true frames, at least ``context`` of them.
        context: Leading frames that all models were given.
        count: Frames wanted, context included.

    Returns:
        ``[count, height, width, 3]``; the size is the model's own.

    Raises:
        BadInputError: If the file is damaged or has another number of frames.
    """
    frames = open_frames(file)
    try:
        if frames.count not in (clip.frames, clip.frames - context):
            raise BadInputError(
                f"{file} has {frames.count} frames, and clip {clip.id} has {clip.frames}, of "
                f"which {context} are context; write all of them, or all but the context"
            )
        missing = clip.frames - frames.count
        found = frames.read(0, count - missing).permute(0, 2, 3, 1).numpy()
    finally:
        frames.close()
    return _with_context(_even_rows_cut(found, truth), truth[:missing])


def _even_rows_cut(found: Frames, truth: Frames) -> Frames:
    """Cuts the row or column that videos of odd size got to make it even."""
    height, width = truth.shape[1:3]
    if found.shape[1:3] == (height + height % 2, width + width % 2):
        return found[:, :height, :width]
    return found


def _with_context(found: Frames, given: Frames) -> Frames:
    if not len(given):
        return found
    shown = scale(given, Picture(height=found.shape[1], width=found.shape[2]))
    return np.concatenate([shown, found])
