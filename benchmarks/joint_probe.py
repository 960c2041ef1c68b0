"""Changes one action dimension at a time: does each of them do something, and the right thing?"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from dojobench.benchmarks.parts import Part
from dojobench.benchmarks.rollouts import Job, OpenClip, Rollouts
from dojobench.protocol import Frames

_NAMES = ("joints_answered", "joint_retrieval", "joint_cosine")
_LEAST_ANSWER = 0.01
"""Mean change in grey levels from which a dimension counts as answered."""
_SPREAD_FRAMES = 64
_ROWS = 128
"""Responses of larger frames are averaged down by a whole factor to at most so many rows."""


class JointProbe:
    """The rollouts of one clip in which one dimension differs from its own actions."""

    def __init__(self, rollouts: Rollouts, opened: OpenClip, *, frames: int, most: int) -> None:
        """Chooses dimensions and by how much each is changed.

        Args:
            rollouts: The model.
            opened: The clip.
            frames: Frames to predict.
            most: Most dimensions; of more, some spread evenly.
        """
        self._rollouts, self._opened = rollouts, opened
        self._actions = opened.actions[:frames]
        spread = opened.clip.actions[:_SPREAD_FRAMES].float().std(dim=0)
        moving = torch.nonzero(spread > 0).flatten().tolist()
        self._idle = opened.clip.actions.shape[1] - len(moving)
        count = min(most, len(moving))
        self._joints = [moving[k * len(moving) // count] for k in range(count)]
        self._steps = [float(spread[joint]) for joint in self._joints]

    def part(self, seed: int) -> Part:
        """Rolls out and compares.

        Args:
            seed: For the model.

        Returns:
            The share of dimensions that change the frames; and where the simulator can replay
            actions, whether each does what it does there. The checks have the size of each
            response (``joint_NAME``), of the true one (``joint_true_NAME``), both in grey levels,
            and the cosine of the two (``joint_cosine_NAME``).
        """
        if not self._joints:
            reason = "not computed: no action dimension ever changes in the clip"
            return Part(not_computed=dict.fromkeys(_NAMES, reason))
        changed = [self._changed(joint, step) for joint, step in zip(
            self._joints, self._steps, strict=True)]  # fmt: skip
        jobs = [self._job(actions) for actions in (self._actions, *changed)]
        ready = [job for job in jobs if job is not None]
        if len(ready) < len(jobs):
            reason = "not computed: the model sees the truth, and nobody can replay these actions"
            return Part(not_computed=dict.fromkeys(_NAMES, reason))
        base, *answers = [self._rollouts.answer([job], seed)[0] for job in ready]
        responses = [_response(answer, base) for answer in answers]
        labels = [self._label(joint) for joint in self._joints]
        sizes = [_size(answer, base) for answer in answers]
        values = {"joints_answered": float(np.mean([size >= _LEAST_ANSWER for size in sizes]))}
        checks: dict[str, bool | float | str] = {
            f"joint_{label}": size for label, size in zip(labels, sizes, strict=True)
        }
        played = [self._opened.replay(actions) for actions in (self._actions, *changed)]
        true = [frames for frames in played if frames is not None]
        if len(true) < len(played):
            reason = "not computed: the suite has no simulator that replays actions"
            return Part(
                values=values, not_computed=dict.fromkeys(_NAMES[1:], reason), checks=checks
            )
        its = [_response(frames, true[0]) for frames in true[1:]]
        checks |= {
            f"joint_true_{label}": _size(frames, true[0])
            for label, frames in zip(labels, true[1:], strict=True)
        }
        return _compared(values, checks, labels, responses, its)

    def _changed(self, joint: int, step: float) -> torch.Tensor:
        """Moves one dimension by its own spread, towards where it has more room."""
        actions = self._actions.clone()
        sign = -1.0 if float(actions[:, joint].mean()) > 0 else 1.0
        actions[:, joint] += sign * step
        return actions

    def _job(self, actions: torch.Tensor) -> Job | None:
        return self._rollouts.job(self._opened, actions)

    def _label(self, joint: int) -> str:
        names = self._rollouts.suite.spec.action_space.names
        return names[joint] if joint < len(names) else str(joint)


def _size(answer: Frames, base: Frames) -> float:
    """Mean absolute change of the frames, grey levels."""
    return float((answer.float() - base.float()).abs().mean())


def _response(answer: Frames, base: Frames) -> torch.Tensor:
    """What a changed dimension does to the frames, averaged down where they are large."""
    side = -(-int(answer.shape[-2]) // _ROWS)
    return functional.avg_pool2d(answer.float() - base.float(), side)


def _compared(
    values: dict[str, float],
    checks: dict[str, bool | float | str],
    labels: Sequence[str],
    responses: Sequence[torch.Tensor],
    true: Sequence[torch.Tensor],
) -> Part:
    """Compares responses with the true ones; dimensions without a true effect are left out."""
    asked = [k for k, response in enumerate(true) if float(response.abs().mean()) > _LEAST_ANSWER]
    if not asked:
        reason = "not computed: no dimension has a true effect in so few frames"
        return Part(values=values, not_computed=dict.fromkeys(_NAMES[1:], reason), checks=checks)
    mine = torch.stack([responses[k].flatten() for k in asked]).double()
    its = torch.stack([true[k].flatten() for k in asked]).double()
    norms = mine.norm(dim=1)[:, None] * its.norm(dim=1)[None]
    cosine = torch.where(norms > 0, (mine @ its.T) / norms.clamp_min(1e-12), 0.0)
    own, missing = torch.diagonal(cosine), dict[str, str]()
    found = values | {"joint_cosine": float(own.mean())}
    checks = checks | {f"joint_cosine_{labels[k]}": float(own[n]) for n, k in enumerate(asked)}
    if len(asked) > 1:
        best = cosine.max(dim=1, keepdim=True).values
        tied = (cosine >= best - 1e-9).sum(dim=1)
        hits = torch.where(own >= best[:, 0] - 1e-9, 1.0 / tied, 0.0)
        found["joint_retrieval"] = float(hits.mean())
    else:
        missing["joint_retrieval"] = "not computed: one dimension alone has a true effect"
    return Part(values=found, not_computed=missing, checks=checks)
