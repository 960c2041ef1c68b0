"""The probes: does a model use its actions, when, and what else changes its answer?

The unit of work is a clip and a seed. The clip is rolled out again and again, each time with one
thing changed: other actions, another seed, a neighbour in the batch. ``docs/metrics/probes.md``
explains the numbers.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch

from dojobench.benchmarks.action_check import wrong_actions
from dojobench.benchmarks.joint_probe import JointProbe
from dojobench.benchmarks.metric_names import BENCHMARK_METRICS, PROBES
from dojobench.benchmarks.palindrome import relative_dimensions
from dojobench.benchmarks.parts import Part
from dojobench.benchmarks.records import Record, Run, Summary, Timings
from dojobench.benchmarks.rollout import StepTimes
from dojobench.benchmarks.rollouts import Job, OpenClip, Rollouts
from dojobench.benchmarks.shares import with_share_intervals
from dojobench.benchmarks.unit_run import Film, Unit
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.metrics.appearance import appearance
from dojobench.metrics.lag import LagConfig, LagEstimate, LagEstimator
from dojobench.metrics.psnr import psnr
from dojobench.protocol import Actions, ActionSpace, Frames

_NOBODY = "not computed: the model sees the truth, and nobody can replay these actions"
_SPARE = 10
"""Frames that a lag estimate needs beyond the shifts it tries."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The benchmark; runs on every suite whose clips carry actions.

    Attributes:
        clips: Clips that are probed, spread evenly over those to score.
        frames: Predicted frames of each; longer clips are cut.
        joint_frames: Predicted frames of the rollouts in which one dimension is changed.
        joints: Most dimensions that are changed one at a time.
    """

    name: str = PROBES
    version: str = "probes 2"
    metrics: tuple[str, ...] = field(
        default_factory=lambda: tuple(
            name for name, info in BENCHMARK_METRICS.items() if info.benchmark == PROBES
        )
    )
    clips: int = 8
    frames: int = 40
    joint_frames: int = 12
    joints: int = 16

    def units(self, suite: Suite, clips: Sequence[ClipRecord]) -> tuple[Unit, ...]:
        """Chooses clips; the branches of a group stand for one, and come with the first."""
        if not suite.spec.action_space.dim:
            return ()
        groups: dict[str, list[ClipRecord]] = {}
        for clip in clips:
            groups.setdefault(clip.branch_group or f"\0{clip.id}", []).append(clip)
        units = [Unit(id=group[0].id, clips=tuple(group)) for group in groups.values()]
        count = min(self.clips, len(units))
        return tuple(units[k * len(units) // count] for k in range(count))

    def unsupported(self, suite: Suite) -> str:
        """Says why there is no work."""
        return f"suite {suite.spec.name} has no actions to probe"

    def score(self, rollouts: Rollouts, unit: Unit, seed: int, film: Film) -> Record:
        """Probes one clip."""
        clip, times = unit.clips[0], StepTimes()
        with ExitStack() as stack:
            group = [self._cut(each) for each in rollouts.open(unit.clips, stack)]
            probe = _Probe(rollouts, group, seed, film)
            parts = [
                probe.own(times),
                *probe.wrong_actions(),
                probe.lag(),
                *probe.harness(),
                JointProbe(rollouts, group[0], frames=self.joint_frames, most=self.joints).part(
                    seed
                ),
            ]
        return Record(
            clip=unit.id,
            seed=seed,
            split=clip.split,
            episode=clip.episode,
            source=clip.source,
            embodiment=clip.embodiment,
            frames=len(group[0].actions),
            values={name: value for part in parts for name, value in part.values.items()},
            curves={name: curve for part in parts for name, curve in part.curves.items()},
            not_computed={n: why for part in parts for n, why in part.not_computed.items()},
            checks={name: value for part in parts for name, value in part.checks.items()},
            timings=Timings(
                start_s=times.start_s,
                steps_s=tuple(times.steps_s),
                step_frames=tuple(times.step_frames),
            ),
        )

    def refine(self, run: Run, summary: Summary) -> Summary:
        """Gives the shares the interval of a share; all numbers are means over clips."""
        return with_share_intervals(run, summary)

    def _cut(self, opened: OpenClip) -> OpenClip:
        return replace(opened, actions=opened.actions[: self.frames])


class _Probe:
    """One clip under probes, with the branches of its group where it has any."""

    def __init__(
        self, rollouts: Rollouts, group: Sequence[OpenClip], seed: int, film: Film
    ) -> None:
        self._rollouts, self._group, self._seed, self._film = rollouts, group, seed, film
        self._clip = group[0]
        self._truth = self._clip.read(0, len(self._clip.actions))
        self._own = self._truth
        self._psnr = math.nan

    def own(self, times: StepTimes) -> Part:
        """Rolls the clip's own actions out: what everything is compared with."""
        job = self._rollouts.own(self._clip)
        answers = [answer[0] for answer in self._rollouts.roll([job], self._seed, times=times)]
        self._own = torch.cat(answers)
        self._psnr = float(psnr(self._own, self._truth))
        self._film(self._clip.context, self._clip.context)
        self._film(self._truth, self._own)
        return Part(checks={"psnr": self._psnr})

    def wrong_actions(self) -> list[Part]:
        """Takes the clip's own actions away, in three ways."""
        actions, space = self._clip.actions, self._rollouts.suite.spec.action_space
        order = torch.randperm(len(actions), generator=torch.Generator().manual_seed(self._seed))
        return [
            self._drop("zero_drop", still_actions(self._clip, space)),
            self._drop("shuffled_drop", actions[order]),
            self._foreign(),
        ]

    def _foreign(self) -> Part:
        """Another branch's actions, whose future is known, or else another episode's."""
        names = ("foreign_drop", "action_change")
        other = next(
            (o for o in self._group[1:] if not torch.equal(o.actions, self._clip.actions)), None
        )
        if other is not None:
            foreign, origin = other.actions, f"the actions of clip {other.record.id}"
        else:
            suite = self._rollouts.suite
            found = wrong_actions(suite, self._clip.record, self._clip.actions, suite.clips)
            if found is None:
                reason = "not computed: no other clip has other actions"
                return Part(not_computed=dict.fromkeys(names, reason))
            foreign, origin = found.actions, found.origin
        job = self._rollouts.job(self._clip, foreign, seen=other)
        if job is None:
            return Part(not_computed=dict.fromkeys(names, _NOBODY))
        answer = self._answer(job)
        return Part(
            values={
                "foreign_drop": self._psnr - float(psnr(answer, self._truth)),
                "action_change": self._change(answer),
            },
            checks={"foreign_actions": origin},
        )

    def _drop(self, name: str, actions: Actions) -> Part:
        if torch.equal(actions, self._clip.actions):
            reason = "not computed: the clip's own actions are no others"
            return Part(not_computed={name: reason})
        job = self._rollouts.job(self._clip, actions)
        if job is None:
            return Part(not_computed={name: _NOBODY})
        return Part(values={name: self._psnr - float(psnr(self._answer(job), self._truth))})

    def lag(self) -> Part:
        """Finds the delay that best explains the response, between branches where there are any."""
        length = len(self._clip.actions)
        config = LagConfig(max_lag=min(16, length - LagConfig().max_lead - _SPARE))
        if config.max_lag < 4:
            reason = f"not computed: {length} frames are too few to look for a delay"
            return Part(not_computed={"action_lag": reason})
        estimator = LagEstimator(config)
        if len(self._group) > 1:
            jobs = [self._rollouts.own(each) for each in self._group]
            truths = torch.stack([each.read(0, length) for each in self._group])
            estimator.add_branches(self._rollouts.answer(jobs, self._seed), truths)
        else:
            estimator.add_motion(
                appearance(self._clip.context, self._own).motion,
                appearance(self._clip.context, self._truth).motion,
            )
        return lag_part(estimator.estimate())

    def harness(self) -> list[Part]:
        """Changes what must not matter, and the seed."""
        job = self._rollouts.own(self._clip)
        again = self._answer(job)
        # The neighbour differs in its actions, so that what leaks from it shows.
        neighbour = replace(job, actions=job.actions.flip(0))
        beside = self._rollouts.answer([neighbour, job], self._seed)[1]
        other = self._rollouts.answer([job], (self._seed + 1) % 2**31)[0]
        return [
            Part(
                values={
                    "repeat_change": self._change(again),
                    "batch_change": self._change(beside),
                    "seed_change": self._change(other),
                },
                checks={
                    "repeats": torch.equal(again, self._own),
                    "batch_invariant": torch.equal(beside, self._own),
                },
            )
        ]

    def _answer(self, job: Job) -> Frames:
        return self._rollouts.answer([job], self._seed)[0]

    def _change(self, answer: Frames) -> float:
        """Mean absolute difference from the answer to the own actions, grey levels."""
        return float((answer.float() - self._own.float()).abs().mean())


def still_actions(opened: OpenClip, space: ActionSpace) -> Actions:
    """Makes the actions that ask for nothing.

    Args:
        opened: The clip.
        space: Its action space.

    Returns:
        Zeros for relative actions and velocities; absolute targets stay at what was last asked
        for, in a ``mixed`` space those dimensions whose names do not say that they are relative.
    """
    row = opened.start - 2
    before = opened.clip.actions[row].float() if row >= 0 else opened.actions[0]
    relative = relative_dimensions(space) or (True,) * space.dim
    held = torch.where(torch.tensor(relative), torch.zeros_like(before), before)
    return held.expand_as(opened.actions).clone()


def lag_part(found: LagEstimate) -> Part:
    """Turns a lag estimate into numbers, or into the reason why there is none.

    Wherever shifts were compared, ``lag_curve`` has the correlation at each of them, and the check
    ``lag_first`` the first shift.
    """
    checks: dict[str, bool | float | str] = {}
    curves: dict[str, tuple[float, ...]] = {}
    if found.curve:
        curves["lag_curve"] = tuple(found.curve)
        checks["lag_first"] = float(found.lags[0])
    if math.isfinite(found.correlation):
        checks["lag_correlation"] = found.correlation
    if found.candidates:
        checks["lag_candidates"] = ", ".join(map(str, found.candidates))
    if found.lag is None:
        missing = {"action_lag": f"not computed: {found.reason}"}
        return Part(not_computed=missing, checks=checks, curves=curves)
    return Part(values={"action_lag": float(found.lag)}, checks=checks, curves=curves)
