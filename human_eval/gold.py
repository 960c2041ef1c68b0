"""Pairs with a known answer, made from ground truth, so that no expert has to give it.

For physics the true future is set against itself with its frames in another order; for the
action against the true future of other actions, at best from the very same state. A pair whose
fake cannot be told from the truth by eye is no gold and is left out.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dojobench.datasets.suite import ClipRecord
from dojobench.human_eval.media_encoder import Frames
from dojobench.human_eval.study_file import Axis

SHUFFLED = "frame-shuffled"
OTHER_BRANCH = "other-branch"
OTHER_CLIP = "other-clip"

MIN_CHANGE = 2.0
"""Least difference between truth and fake, in grey levels: the mean over the future of the
largest tenth of each frame's pixels."""


class GoldFake(NamedTuple):
    """A spoilt future: how it was made, what it is wrong about, and its frames."""

    kind: str
    axis: Axis
    frames: Frames


def shuffled(truth: Frames, context: int, rng: np.random.Generator) -> GoldFake | None:
    """Puts the frames after the context into another order.

    Args:
        truth: ``[time, height, width, 3]``.
        context: Leading frames that stay.
        rng: Decides the order.

    Returns:
        The fake, or ``None`` where too little moves to see it.
    """
    future = np.arange(context, len(truth))
    order = rng.permutation(future)
    fake = np.concatenate([truth[:context], truth[order]])
    if difference(truth, fake, context) < MIN_CHANGE:
        return None
    return GoldFake(SHUFFLED, "physics", fake)


def partners(clip: ClipRecord, others: Sequence[ClipRecord]) -> list[ClipRecord]:
    """Orders the clips whose future may stand in for another action's: the branches first.

    Args:
        clip: The clip whose command is shown.
        others: Clips to take a future from.

    Returns:
        Those as long as the clip and of its embodiment and camera; if it has branches, only them.
    """
    fitting = [
        other
        for other in others
        if other.id != clip.id
        and other.frames >= clip.frames
        and (other.embodiment, other.camera) == (clip.embodiment, clip.camera)
    ]
    branches = [
        other
        for other in fitting
        if clip.branch_group is not None and other.branch_group == clip.branch_group
    ]
    return branches or [other for other in fitting if other.episode != clip.episode]


def other_future(
    clip: ClipRecord, truth: Frames, futures: Mapping[str, Frames], context: int
) -> GoldFake | None:
    """Takes the future, among those of other actions, that differs most from the truth.

    Args:
        clip: The clip whose command is shown.
        truth: Its frames.
        futures: Whole clips by id, at least as long as the truth.
        context: Leading frames that are not compared.

    Returns:
        The fake, or ``None`` where all look like the truth.
    """
    cut = {name: frames[: len(truth)] for name, frames in futures.items()}
    far = {name: difference(truth, frames, context) for name, frames in cut.items()}
    if not far or max(far.values()) < MIN_CHANGE:
        return None
    best = max(far, key=lambda name: (far[name], name))
    kind = OTHER_BRANCH if clip.branch_group is not None else OTHER_CLIP
    return GoldFake(kind, "action", cut[best])


def difference(truth: Frames, fake: Frames, context: int) -> float:
    """Says how much of a fake's future can be seen to differ, in grey levels."""
    changed = np.abs(truth[context:].astype(np.int16) - fake[context:]).mean(axis=-1)
    flat = changed.reshape(len(changed), -1)
    most = max(1, flat.shape[1] // 10)
    return float(np.partition(flat, -most, axis=1)[:, -most:].mean())
