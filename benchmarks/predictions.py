"""Predictions that a model made elsewhere, scored as if the model were here.

Whether the files include the context frames is told from their number of frames alone, and
stated in the result; a number that fits neither is an error that names the file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dojobench.benchmarks.compatibility import resize_frames
from dojobench.benchmarks.frame_files import FrameFile, fingerprint, list_frame_files, open_frames
from dojobench.datasets.suite import Clip, ClipRecord, Suite
from dojobench.protocol import Actions, BadInputError, Frames, ModelSpec, Session

SEEDED = re.compile(r"(?P<clip>.+)\.s(?P<seed>\d+)$")


@dataclass(frozen=True, kw_only=True)
class PredictionFile:
    """A file of predictions and where in it the first predicted frame lies.

    Attributes:
        path: The file or png folder.
        skip: Leading context frames.
    """

    path: Path
    skip: int


def find_predictions(files: Mapping[str, Path], clips: Sequence[str]) -> dict[int, dict[str, Path]]:
    """Sorts files by seed and clip; ``<clip>`` alone is seed 0, ``<clip>.s3`` is seed 3.

    Args:
        files: Stem to path.
        clips: Ids of all clips of the suite, scored or not.

    Returns:
        Seed to clip id to path.

    Raises:
        BadInputError: If a file belongs to no clip.
    """
    known, found = set(clips), dict[int, dict[str, Path]]()
    for stem, path in files.items():
        match = SEEDED.match(stem)
        if stem in known:
            seed, clip = 0, stem
        elif match and match["clip"] in known:
            seed, clip = int(match["seed"]), match["clip"]
        else:
            raise BadInputError(
                f"{path} belongs to no clip of the suite, whose clips are named like "
                f"{clips[0]}; remove it or rename it to the clip's id"
            )
        if clip in found.setdefault(seed, {}):
            raise BadInputError(f"{path} and {found[seed][clip]} are the same clip and seed")
        found[seed][clip] = path
    return found


class PredictedVideos:
    """A world model whose answers lie in files; it is started with the clips to know which.

    Attributes:
        from_files: Marks that it is given the clips for their names and not for their truth.
        seeds: Seeds for which every clip has a file.
        notes: What a reader of the numbers has to know about the files.
    """

    from_files = True

    def __init__(
        self,
        folder: Path,
        suite: Suite,
        clips: Sequence[ClipRecord],
        *,
        name: str,
        files: Mapping[str, Path] | None = None,
        adapt: str | None = None,
    ) -> None:
        """Looks at all files before the first frame is compared.

        Args:
            folder: Where the predictions lie.
            suite: What they predict.
            clips: The clips to be scored.
            name: The model's name in tables.
            files: Stem to path; what lies in ``folder`` where ``None``.
            adapt: ``resize`` lets them have another size than the truth.

        Raises:
            BadInputError: If a file is missing, truncated, of another size, or too much.
        """
        files = list_frame_files(folder) if files is None else files
        everything = [clip.id for clip in suite.clips]
        found = find_predictions(files, everything)
        self.seeds = tuple(sorted(found))
        wanted = [(seed, clip) for seed in self.seeds for clip in clips]
        missing = [clip.id for seed, clip in wanted if clip.id not in found[seed]]
        if missing or not found:
            lacking = missing or [clip.id for clip in clips]
            raise BadInputError(
                f"{folder} has no prediction of {len(lacking)} clips, such as {lacking[0]}; add "
                f"{lacking[0]}.mp4, {lacking[0]}.npz or a folder {lacking[0]}/ of png frames, or "
                "score fewer with --splits or --limit"
            )
        self._adapt = adapt
        self._files = {
            (clip.id, seed): self._examine(found[seed][clip.id], clip, suite)
            for seed, clip in wanted
        }
        paths = [file.path for file in self._files.values()]
        self.spec = ModelSpec(name=name, weights=fingerprint(paths))
        self.notes = self._describe(suite.spec.context_frames)

    def _examine(self, path: Path, clip: ClipRecord, suite: Suite) -> PredictionFile:
        frames, context = open_frames(path), suite.spec.context_frames
        count, size = frames.count, frames.resolution
        frames.close()
        if count not in (clip.frames, clip.frames - context):
            raise BadInputError(
                f"{path} has {count} frames and clip {clip.id} has {clip.frames}, of which "
                f"{context} are context: write {clip.frames - context} frames, or "
                f"{clip.frames} with the context"
            )
        truth = resolution_of(suite, clip)
        if size != truth and self._adapt != "resize":
            raise BadInputError(
                f"{path} is {size[0]}x{size[1]} and clip {clip.id} is {truth[0]}x{truth[1]} "
                "(height x width); write it at that size or add --adapt resize"
            )
        return PredictionFile(path=path, skip=count - (clip.frames - context))

    def _describe(self, context: int) -> tuple[str, ...]:
        skipped = sum(1 for file in self._files.values() if file.skip)
        total = len(self._files)
        what = "the context frame" if context == 1 else f"the {context} context frames"
        if skipped == total:
            note = f"The prediction files include {what}, which no metric counts as predicted."
        elif skipped:
            note = f"{skipped} of {total} prediction files include {what}, which was left out."
        else:
            note = f"The prediction files do not include {what}."
        kinds = {file.path.suffix.lower() for file in self._files.values()}
        if ".mp4" in kinds:
            return note, "Predictions were read from compressed video, which caps what they score."
        return (note,)

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Refuses: the files can only be found by the clips' names."""
        raise BadInputError("predictions in files are scored with `dojobench score`")

    def start_privileged(self, context: Frames, *, seed: int, clips: list[Clip]) -> Session:
        """Opens the clips' files with this seed."""
        found = [self._files[clip.record.id, seed] for clip in clips]
        size = (int(context.shape[-2]), int(context.shape[-1]))
        return _FileSession([(open_frames(file.path), file.skip) for file in found], size)


class _FileSession:
    def __init__(self, files: Sequence[tuple[FrameFile, int]], resolution: tuple[int, int]) -> None:
        self._files, self._resolution, self._position = files, resolution, 0

    def step(self, actions: Actions) -> Frames:
        start, count = self._position, int(actions.shape[1])
        self._position += count
        frames = [file.read(skip + start, skip + start + count) for file, skip in self._files]
        return torch.stack([resize_frames(each, self._resolution) for each in frames])

    def close(self) -> None:
        for file, _ in self._files:
            file.close()


def resolution_of(suite: Suite, clip: ClipRecord) -> tuple[int, int]:
    """``(height, width)`` of a clip: the suite's, unless it says otherwise clip by clip."""
    sizes: Mapping[str, tuple[int, int]] = getattr(suite, "resolutions", {})
    return sizes.get(clip.id, suite.spec.resolution)
