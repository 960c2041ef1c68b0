"""Baselines that learn from a training split, and from nothing else: no actions, no network.

They say what a number is worth that comes from knowing the data without understanding it.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional

from dojobench.datasets.suite import Clip, ClipRecord, Suite
from dojobench.protocol import Actions, BadInputError, Frames, ModelSpec, Session

MEAN_BYTES = 256 * 2**20
"""Above this size the mean change is kept at a whole fraction of the resolution."""

SIGNATURE = 16
"""Side of the small picture by which frames are compared."""

READ_FRAMES = 32


def _training_clips(suite: Suite, split: str, name: str) -> tuple[ClipRecord, ...]:
    clips = tuple(clip for clip in suite.clips if clip.split == split)
    if not clips:
        raise BadInputError(
            f"baseline {name} learns from the split {split}, which suite {suite.spec.name} does "
            "not have; freeze a suite with one, name another with --train-split, or leave "
            f"{name} out of --baselines"
        )
    return clips


def _blocks(clip: Clip, start: int) -> Iterator[tuple[int, Frames]]:
    for first in range(start, clip.record.frames, READ_FRAMES):
        yield first, clip.read(first, min(first + READ_FRAMES, clip.record.frames))


class MeanFuture:
    """The last context frame plus the mean change that training clips show at each horizon.

    Of all predictions that do not look at the actions this is the best one, in squared error,
    that adds one fixed picture per horizon to the last frame. Beyond the longest training clip
    the last mean change stays.
    """

    spec = ModelSpec(name="mean-future", version="1")

    def __init__(self) -> None:
        self._change: torch.Tensor | None = None

    def fit(self, suite: Suite, split: str) -> None:
        """Averages the training clips' changes since their last context frame.

        Raises:
            BadInputError: If the suite has no such split.
        """
        clips = _training_clips(suite, split, self.spec.name)
        context, (height, width) = suite.spec.context_frames, suite.spec.resolution
        length = max(clip.frames for clip in clips) - context
        side = max(1, math.ceil(math.sqrt(length * 3 * height * width * 4 / MEAN_BYTES)))
        total = torch.zeros(length, 3, height // side, width // side)
        count = torch.zeros(length, 1, 1, 1)
        for record in clips:
            clip = suite.open(record)
            last = clip.read(context - 1, context).float()
            for first, frames in _blocks(clip, context):
                here = slice(first - context, first - context + len(frames))
                total[here] += functional.avg_pool2d(frames.float() - last, side)
                count[here] += 1
            clip.close()
        self._change = total / count.clamp(min=1)

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Opens a session on the last context frame.

        Raises:
            BadInputError: If ``fit`` was not called before.
        """
        if self._change is None:
            raise BadInputError(
                "model mean-future learns from a training split and runs in `dojobench run` only"
            )
        return _MeanSession(context[:, -1].float(), self._change)


class _MeanSession:
    def __init__(self, last: torch.Tensor, change: torch.Tensor) -> None:
        self._last, self._change, self._position = last, change, 0

    def step(self, actions: Actions) -> Frames:
        count = int(actions.shape[1])
        places = torch.arange(self._position, self._position + count)
        change = self._change[places.clamp(max=len(self._change) - 1)].to(self._last.device)
        size = (int(self._last.shape[-2]), int(self._last.shape[-1]))
        if tuple(change.shape[-2:]) != size:
            change = functional.interpolate(change, size, mode="bilinear")
        self._position += count
        return (self._last[:, None] + change[None]).round().clamp(0, 255).to(torch.uint8)

    def close(self) -> None:
        """Holds nothing."""


class NearestNeighbour:
    """Replays what followed the training frame that looks most like the last context frame.

    Frames are compared by squared difference at 16x16 pixels. Candidates are each ``every``-th
    frame of the training clips that has enough frames after it for the longest clip of the run;
    where none has, those with the most. When a replay ends, its last frame stays.
    """

    def __init__(self, every: int = 4) -> None:
        """Takes the distance between candidates within a clip, in frames."""
        if every < 1:
            raise BadInputError(f"nearest-neighbour: every is at least 1 frame, not {every}")
        self.spec = ModelSpec(name="nearest-neighbour", version="1")
        self._every = every
        self._horizon = 0
        self._suite: Suite | None = None
        self._places: list[tuple[ClipRecord, int]] = []
        self._signatures = torch.zeros(0, 3 * SIGNATURE**2)

    def prepare(self, suite: Suite, clips: Sequence[ClipRecord]) -> None:
        """Learns how long the longest prediction of the run is."""
        self._horizon = max(clip.frames for clip in clips) - suite.spec.context_frames

    def fit(self, suite: Suite, split: str) -> None:
        """Takes the signatures of the candidates.

        Raises:
            BadInputError: If the suite has no such split.
        """
        clips = _training_clips(suite, split, self.spec.name)
        longest = max(clip.frames for clip in clips) - suite.spec.context_frames
        needed = min(self._horizon, longest)
        places, signatures = [], []
        for record in clips:
            clip = suite.open(record)
            for place in range(suite.spec.context_frames - 1, record.frames - needed, self._every):
                places.append((record, place))
                signatures.append(_signature(clip.read(place, place + 1)))
            clip.close()
        self._suite, self._places, self._signatures = suite, places, torch.cat(signatures)

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> Session:
        """Opens a session on the nearest candidate of each sample.

        Raises:
            BadInputError: If ``fit`` was not called before.
        """
        if self._suite is None:
            raise BadInputError(
                "model nearest-neighbour learns from a training split and runs in "
                "`dojobench run` only"
            )
        wanted = _signature(context[:, -1].cpu())
        nearest = ((self._signatures[None] - wanted[:, None]) ** 2).sum(-1).argmin(1).tolist()
        found = [self._places[k] for k in nearest]
        clips = [(self._suite.open(record), place + 1) for record, place in found]
        return _ReplaySession(clips, context.device)


class _ReplaySession:
    def __init__(self, clips: Sequence[tuple[Clip, int]], device: torch.device) -> None:
        self._clips, self._device, self._position = clips, device, 0

    def step(self, actions: Actions) -> Frames:
        count, start = int(actions.shape[1]), self._position
        self._position += count
        replayed = []
        for clip, first in self._clips:
            places = torch.arange(first + start, first + start + count)
            places = places.clamp(max=clip.record.frames - 1)
            lowest = int(places[0])
            replayed.append(clip.read(lowest, int(places[-1]) + 1)[places - lowest])
        return torch.stack(replayed).to(self._device)

    def close(self) -> None:
        """Closes the training clips."""
        for clip, _ in self._clips:
            clip.close()


def _signature(frames: Frames) -> torch.Tensor:
    """Shrinks frames ``[n, 3, height, width]`` to vectors, ``[n, 768]``."""
    small = functional.adaptive_avg_pool2d(frames.float(), (SIGNATURE, SIGNATURE))
    return small.flatten(1)
