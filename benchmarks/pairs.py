"""Two folders of videos, truth and prediction, as a suite: for scoring without a manifest."""

import re
from pathlib import Path

import torch

from dojobench.benchmarks.frame_files import FrameFile, fingerprint, list_frame_files, open_frames
from dojobench.datasets.suite import ClipRecord, SuiteSpec
from dojobench.protocol import ActionSpace, BadInputError, Frames

TRUTH_ENDING = re.compile(r"[._-](gt|truth|true|real|ground_truth)$", re.IGNORECASE)
PREDICTION_ENDING = re.compile(r"[._-](pred|prediction|predicted|gen|generated)$", re.IGNORECASE)
ID = re.compile(r"[A-Za-z0-9._-]+")
DEFAULT_RATE = 10.0
SPLIT = "val"


class PairSuite:
    """True videos as clips; their names, without an ending such as ``_gt``, are the clips' ids.

    Attributes:
        spec: Made from the files; without actions.
        clips: One a file, in order of name.
        resolutions: Height and width of each clip, which may differ.
    """

    def __init__(self, truth: Path, *, context: int = 1, embodiment: str = "unstated") -> None:
        """Looks at the true videos.

        Args:
            truth: A folder of clips, or one file.
            context: Leading frames that the model was given.
            embodiment: The robot, by name, for the record.

        Raises:
            BadInputError: If there are none, or one is damaged or too short.
        """
        files = {
            TRUTH_ENDING.sub("", stem): path
            for stem, path in list_frame_files(truth).items()
            if not PREDICTION_ENDING.search(stem)
        }
        if not files:
            raise BadInputError(f"{truth} has no true clips: mp4, npz or folders of png frames")
        if context < 1:
            raise BadInputError(f"--context is at least 1, not {context}")
        self._files = files
        self.resolutions: dict[str, tuple[int, int]] = {}
        clips, rates = [], []
        version = fingerprint(files.values())
        for clip, path in files.items():
            if not ID.fullmatch(clip):
                raise BadInputError(f"{path}: a clip's name has letters, digits, '.', '_' and '-'")
            frames = open_frames(path)
            self.resolutions[clip] = frames.resolution
            rates.append(frames.frame_rate)
            clips.append(
                ClipRecord(
                    id=clip,
                    source=truth.resolve().name,
                    revision=version,
                    episode=clip,
                    start=0,
                    stride=1,
                    frames=frames.count,
                    split=SPLIT,
                    embodiment=embodiment,
                    camera="main",
                )
            )
            frames.close()
        self.clips = tuple(clips)
        self.spec = SuiteSpec(
            name=truth.resolve().name,
            version=version,
            resolution=next(iter(self.resolutions.values())),
            frame_rate=next((rate for rate in rates if rate), DEFAULT_RATE),
            context_frames=context,
            action_space=ActionSpace(dim=0, embodiment=embodiment, kind="none"),
        )

    def open(self, clip: ClipRecord) -> "PairClip":
        """Opens a true clip."""
        return PairClip(clip, open_frames(self._files[clip.id]))


class PairClip:
    """A true clip without actions."""

    def __init__(self, record: ClipRecord, frames: FrameFile) -> None:
        """Wraps the opened file."""
        self.record = record
        self.actions = torch.zeros(record.frames - 1, 0)
        self._frames = frames

    def read(self, start: int, stop: int, *, view: str | None = None) -> Frames:
        """Reads clip frames ``start..stop-1``, uint8 ``[stop - start, 3, height, width]``."""
        if view is not None:
            raise BadInputError(f"clip {self.record.id} has no camera view {view}")
        return self._frames.read(start, stop)

    def close(self) -> None:
        """Frees the file."""
        self._frames.close()


def pair_predictions(predictions: Path, suite: PairSuite) -> dict[str, Path]:
    """Finds the predictions of a pair suite; a single file pairs with a single clip.

    Returns:
        Clip id (with ``.s<seed>`` where given) to path.

    Raises:
        BadInputError: If the folder has none.
    """
    files = list_frame_files(predictions)
    if predictions.is_file() and len(suite.clips) == 1:
        return {suite.clips[0].id: next(iter(files.values()))}
    found = {
        PREDICTION_ENDING.sub("", stem): path
        for stem, path in files.items()
        if not TRUTH_ENDING.search(stem)
    }
    if not found:
        raise BadInputError(f"{predictions} has no predicted clips beside the true ones")
    return found
