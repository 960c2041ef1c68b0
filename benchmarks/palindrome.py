"""Actions and then their inverse: does a model find back to where it began?

What undoes an action depends on what its numbers mean. A relative action or a velocity is undone
by its negative, in reverse order. An absolute target is undone by going through the targets
backwards, to the one before the first. In a ``mixed`` space the names decide, by the field's
habit: ``dx``, ``dyaw`` or ``delta_x`` is relative, anything else an absolute target. Contacts
cannot be undone, so where the simulator can play the same actions its own distance is the
yardstick. A suite may also have clips whose recorded actions lead away and back.
"""

import math
import re

import torch

from dojobench.benchmarks.parts import Part
from dojobench.benchmarks.rollouts import OpenClip, Rollouts
from dojobench.metrics.psnr import mean_squared_error
from dojobench.metrics.stability import palindrome
from dojobench.protocol import Actions, ActionSpace, Frames

SECONDS = 3.0
"""Seconds of actions before they are undone."""
_RELATIVE = re.compile(r"^(d(x|y|z|roll|pitch|yaw|[a-z]*\d+)|d_.+|delta.*|.*_delta)$")
_NAMES = ("palindrome", "palindrome_excess")


def relative_dimensions(space: ActionSpace) -> tuple[bool, ...] | None:
    """Says which dimensions of an action are relative; the others are absolute targets.

    Args:
        space: The actions.

    Returns:
        One flag a dimension; ``None`` where nobody can tell.
    """
    if space.kind in ("relative", "velocity"):
        return (True,) * space.dim
    if space.kind == "absolute":
        return (False,) * space.dim
    if space.kind == "mixed" and len(space.names) == space.dim:
        flags = tuple(bool(_RELATIVE.match(name)) for name in space.names)
        return flags if any(flags) else None
    return None


def there_and_back(actions: Actions, before: torch.Tensor, relative: tuple[bool, ...]) -> Actions:
    """Appends what undoes them to actions.

    Args:
        actions: float32 ``[n, action_dim]``.
        before: The action before the first, ``[action_dim]``: where absolute targets go back to.
        relative: Which dimensions are relative.

    Returns:
        ``[2 n, action_dim]``.
    """
    negative = -actions.flip(0)
    targets = torch.cat([before[None], actions[:-1]]).flip(0)
    back = torch.where(torch.tensor(relative)[None], negative, targets)
    return torch.cat([actions, back])


def undone_part(rollouts: Rollouts, opened: OpenClip, seed: int) -> Part:
    """Rolls a clip's first actions out, and what undoes them.

    Args:
        rollouts: The model.
        opened: The clip.
        seed: For the model.

    Returns:
        ``palindrome``, and ``palindrome_excess``: its distance from the simulator's own.
    """
    space, rate = rollouts.suite.spec.action_space, rollouts.suite.spec.frame_rate
    relative = relative_dimensions(space)
    if relative is None or not space.dim:
        return _nothing(f"nobody can tell what undoes actions of kind {space.kind}")
    own = opened.actions[: max(2, round(SECONDS * rate))]
    row = opened.start - 2
    before = opened.clip.actions[row].float() if row >= 0 else own[0]
    actions = there_and_back(own, before, relative)
    job = rollouts.job(opened, actions)
    if job is None:
        return _nothing("the model sees the truth, and nobody can replay these actions")
    frames = rollouts.answer([job], seed)[0]
    start = opened.context[-1]
    played = opened.replay(actions)
    its = math.nan if played is None else palindrome(start, played[len(own) - 1], played[-1])
    return _part(palindrome(start, frames[len(own) - 1], frames[-1]), its)


def recorded_part(opened: OpenClip, frames: Frames) -> Part:
    """Scores a clip whose own actions lead away and back.

    The turning point is where the truth is farthest from its first frame.

    Args:
        opened: The clip; its first frame is where it comes back to.
        frames: What a model answered to its actions, ``[n, 3, height, width]``.

    Returns:
        As ``undone_part``.
    """
    start, truth = opened.context[0], opened.read(0, len(frames))
    turn = int(mean_squared_error(truth, start.expand_as(truth)).argmax())
    its = palindrome(start, truth[turn], truth[-1])
    return _part(palindrome(start, frames[turn], frames[-1]), its)


def _part(found: float, its: float) -> Part:
    if math.isnan(found):
        return _nothing("nothing happens between the actions and their inverse")
    if math.isnan(its):
        reason = "not computed: the simulator does not replay actions"
        return Part(values={"palindrome": found}, not_computed={"palindrome_excess": reason})
    return Part(
        values={"palindrome": found, "palindrome_excess": abs(found - its)},
        checks={"palindrome_of_truth": its},
    )


def _nothing(reason: str) -> Part:
    return Part(not_computed=dict.fromkeys(_NAMES, f"not computed: {reason}"))
