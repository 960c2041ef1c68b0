"""Do frames belong to their actions? The faults that cost published numbers are looked for here.

The evaluator released with DreamDojo compared frames that began with the conditioning frame of
each chunk, so that a chunk's frames stood one late; a model that answers so is named.
"""

from collections.abc import Iterator

import torch

from dojobench.protocol.conformance_probe import (
    Broken,
    Finding,
    Probe,
    difference,
    fail,
    note,
    ok,
    skip,
)
from dojobench.protocol.spec import Frames

_REPEAT = 0.02
"""A frame that moves less than this part of the usual motion is a repeat."""

_NEARLY = 0.25
"""One that moves less than this part may be a repeat that noise or a tokenizer has touched."""


def check_alignment(probe: Probe) -> Iterator[Finding]:
    """The first frame of a rollout and of a chunk is new, and answers its own action."""
    frames = probe.roll()
    motion = _motion(probe, frames)
    at_start, at_border = _repeats(motion, 0), _repeats(motion, probe.chunk)
    hardly = _repeats(motion, 0, _NEARLY) or _repeats(motion, probe.chunk, _NEARLY)
    follows = probe.spec.deterministic and _last_action_shows(probe, frames, back=2)
    late = follows and not _last_action_shows(probe, frames, back=1)
    lost = "drop it, for every frame after it stands one late"
    if at_border:
        also = " and the rollout with the last context frame" if at_start else ""
        yield fail(
            "alignment",
            f"A chunk begins with the last frame of the chunk before it{also}: {lost}.",
        )
    elif at_start and (late or not follows):
        yield fail("alignment", f"The first frame is the last context frame again: {lost}.")
    elif hardly and late:
        yield fail(
            "alignment",
            "A rollout or a chunk begins with nearly the frame before it, and the last action of "
            f"a step shows in no frame of it: {lost}.",
        )
    elif late:
        yield note(
            "alignment",
            "The last action of a step shows in no frame of it, the one before does: the model "
            "acts one step late, or its frames come one late.",
        )
    elif at_start:
        yield note("alignment", "The first frame still looks like the last context frame.")
    elif hardly:
        yield note(
            "alignment",
            "The first frame of a rollout or of a chunk hardly moves, beside those after it: if "
            f"it is the frame before it again, {lost}.",
        )
    else:
        yield ok("alignment", "The first frame of a rollout and of a chunk is a new one.")


def _motion(probe: Probe, frames: Frames) -> torch.Tensor:
    """Mean change from each frame to the next, the last context frame first; ``[2, n]``."""
    whole = torch.cat([probe.context[:, -1:], frames], dim=1).float()
    return (whole[:, 1:] - whole[:, :-1]).abs().mean(dim=(2, 3, 4))


def _repeats(motion: torch.Tensor, position: int, share: float = _REPEAT) -> bool:
    """Whether both clips stand still at ``position`` and nowhere else inside a chunk.

    Args:
        motion: Mean change to each frame, ``[2, n]``.
        position: Of the frame.
        share: What part of the usual motion still counts as standing still.
    """
    chunk = motion.shape[1] // 2
    inner = [k for k in range(motion.shape[1]) if k not in (0, chunk)]
    if not inner:
        return False
    usual = motion[:, inner].median(dim=1).values
    moving = bool((motion[:, inner] > share * usual[:, None]).all())
    return moving and bool((motion[:, position] <= share * usual).all())


def _last_action_shows(probe: Probe, frames: Frames, *, back: int) -> bool:
    """Whether the last frame changes with the action ``back`` places from the end."""
    actions = probe.actions.clone()
    actions[:, -back] = 0.7 - actions[:, -back]
    return not difference(probe.roll(actions)[:, -1:], frames[:, -1:]).none


def check_borders(probe: Probe) -> Iterator[Finding]:
    """Whether the frames depend on how the actions are cut into steps."""
    if not probe.spec.deterministic:
        yield skip("chunk borders", "Not checked, since the spec says not deterministic.")
        return
    total = 2 * probe.chunk
    whole = probe.roll(chunks=[total])
    free = probe.spec.native_chunk is None
    cut = [1] * total if free else [probe.chunk, probe.chunk]
    words = f"{total} steps of 1 and 1 step of {total}" if free else (
        f"2 steps of {probe.chunk} and 1 step of {total}"
    )  # fmt: skip
    try:
        apart = difference(probe.roll(chunks=cut), whole)
    except Broken as error:
        yield fail("chunk borders", f"A rollout in {len(cut)} steps fails: {error}.")
        return
    if apart.none or apart.rounding:
        yield ok("chunk borders", f"{words} give the same frames.")
    elif free:
        yield fail(
            "chunk borders",
            f"{words} give other frames ({apart}), though the spec has no native chunk; state "
            "native_chunk, or keep what a step leaves behind in the session.",
        )
    else:
        yield note(
            "chunk borders",
            f"{words} give other frames ({apart}): compare runs with the same --steps-at-once.",
        )
