"""The counterfactual benchmark: futures that share a state and differ in their actions.

The unit of work is a branch group and a seed: its branches are rolled out together from the
same context with the same seed, so that whatever differs between them comes from the actions.
``docs/metrics/counterfactual.md`` explains the numbers.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch

from dojobench.benchmarks.branch_tracks import BranchObjects, EffectorTracks
from dojobench.benchmarks.metric_names import BENCHMARK_METRICS, COUNTERFACTUAL
from dojobench.benchmarks.parts import Part
from dojobench.benchmarks.records import Record, Run, Summary, Timings
from dojobench.benchmarks.rollout import StepTimes
from dojobench.benchmarks.rollouts import OpenClip, Rollouts
from dojobench.benchmarks.shares import with_share_intervals
from dojobench.benchmarks.unit_run import Film, Unit
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.metrics.counterfactual import BranchScores, CounterfactualScorer
from dojobench.metrics.psnr import MSE_FLOOR, mean_squared_error
from dojobench.protocol import BadInputError, Frames

_SCORER_NAMES = {
    "retrieval": "branch_retrieval",
    "choice_2afc": "two_way_choice",
    "branch_drop": "shuffle_drop",
    "retrieval_chance": None,
}
"""How the scorer's numbers are called here; ``None`` stays beside the scores, among the checks."""


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """The benchmark; runs on any suite whose clips have a ``branch_group``."""

    name: str = COUNTERFACTUAL
    version: str = "counterfactual 2"
    metrics: tuple[str, ...] = field(
        default_factory=lambda: tuple(
            name for name, info in BENCHMARK_METRICS.items() if info.benchmark == COUNTERFACTUAL
        )
    )

    def units(self, suite: Suite, clips: Sequence[ClipRecord]) -> tuple[Unit, ...]:
        """Puts the clips of each branch group together; single ones are left out."""
        groups: dict[str, list[ClipRecord]] = {}
        for clip in clips:
            if clip.branch_group is not None:
                groups.setdefault(clip.branch_group, []).append(clip)
        return tuple(
            Unit(id=name, clips=tuple(group)) for name, group in groups.items() if len(group) > 1
        )

    def unsupported(self, suite: Suite) -> str:
        """Says why there is no work."""
        return (
            f"suite {suite.spec.name} has no counterfactual clips: none of those to score share a "
            "branch group"
        )

    def score(self, rollouts: Rollouts, unit: Unit, seed: int, film: Film) -> Record:
        """Rolls a group's branches out together and compares them with all true futures."""
        with ExitStack() as stack:
            opened = rollouts.open(unit.clips, stack)
            _require_shared_context(unit, opened)
            scorer = CounterfactualScorer(opened[0].context[-1], factual=None)
            fidelity = BranchFidelity(opened)
            effector, objects = EffectorTracks(opened), BranchObjects(opened)
            jobs = [rollouts.own(each) for each in opened]
            times, position = StepTimes(), 0
            film(_grid([o.context for o in opened]), _grid([o.context for o in opened]))
            for answer in rollouts.roll(jobs, seed, times=times):
                stop = position + answer.shape[1]
                truth = torch.stack([each.read(position, stop) for each in opened])
                scorer.update(answer, truth)
                fidelity.update(answer, truth)
                effector.update(answer, truth)
                objects.update(answer, truth, position)
                film(_grid(list(truth)), _grid(list(answer)))
                position = stop
            parts = fidelity.finish(), effector.finish(), objects.finish()
            return _record(unit, seed, position, times, scorer.finish(), parts)

    def refine(self, run: Run, summary: Summary) -> Summary:
        """Gives the shares the interval of a share; all numbers are means over groups."""
        return with_share_intervals(run, summary)


class BranchFidelity:
    """PSNR and skill of the factual branches of a group, and of the counterfactual ones."""

    def __init__(self, opened: Sequence[OpenClip]) -> None:
        """Starts without frames."""
        self._still = torch.stack([each.context[-1:] for each in opened])
        self._factual = [each.factual for each in opened]
        self._errors: list[torch.Tensor] = []
        self._static: list[torch.Tensor] = []

    def update(self, answer: Frames, truth: Frames) -> None:
        """Adds the next frames, uint8 ``[branches, n, 3, height, width]`` each."""
        self._errors.append(mean_squared_error(answer, truth))
        self._static.append(mean_squared_error(self._still.expand_as(truth), truth))

    def finish(self) -> Part:
        """Gives ``cf_psnr``, ``cf_skill`` and ``cf_gap``; without a factual branch all count."""
        errors, static = (torch.cat(e, 1).double().numpy() for e in (self._errors, self._static))
        psnr = -10 * np.log10(np.maximum(errors, MSE_FLOOR)).mean(axis=1)
        moved = static.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            skill = np.where(moved > 0, 1 - errors.sum(axis=1) / moved, np.nan)
        known = all(flag is not None for flag in self._factual)
        factual = np.array([bool(flag) for flag in self._factual])
        split = known and factual.any() and not factual.all()
        away = ~factual if split else np.ones_like(factual)
        values = {"cf_psnr": float(psnr[away].mean()), "cf_skill": _mean(skill[away])}
        reason = "not computed: the suite does not say which branches the training data has"
        if split:
            values["cf_gap"] = _mean(skill[factual]) - values["cf_skill"]
            reason = "not computed: the true futures never leave the context frame"
        elif known:
            reason = "not computed: all branches are factual, or none is"
        checks: dict[str, bool | float | str] = {}
        if split:
            checks["factual_psnr"] = float(psnr[factual].mean())
        return Part(
            values={name: value for name, value in values.items() if math.isfinite(value)},
            not_computed={
                name: reason for name in ("cf_skill", "cf_gap")
                if not math.isfinite(values.get(name, math.nan))
            },
            checks=checks,
        )  # fmt: skip


def nearest_truths(distance: np.ndarray) -> list[str]:
    """Says which true future each branch's answer is nearest to.

    Args:
        distance: Of answer ``i`` from true future ``j``, ``[branches, branches]``.

    Returns:
        The place of the nearest, from 0; empty where several are equally near.
    """
    found = [np.flatnonzero(row == row.min()) for row in distance]
    return [str(places[0]) if len(places) == 1 else "" for places in found]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _require_shared_context(unit: Unit, opened: Sequence[OpenClip]) -> None:
    first = opened[0]
    for other in opened[1:]:
        if len(other.actions) != len(first.actions):
            raise BadInputError(
                f"branch group {unit.id} has branches of {first.record.frames} and "
                f"{other.record.frames} frames (clip {other.record.id}); freeze it with equal ones"
            )
        if not torch.equal(other.context, first.context):
            raise BadInputError(
                f"branch group {unit.id} does not share its context: that of clip "
                f"{other.record.id} differs from that of {first.record.id}, so its futures are no "
                "branches of one state"
            )


def _record(
    unit: Unit,
    seed: int,
    frames: int,
    times: StepTimes,
    scores: BranchScores,
    parts: Sequence[Part],
) -> Record:
    values: dict[str, float] = {}
    checks: dict[str, bool | float | str] = {
        "branches": float(scores.counts["branches"]),
        "branch_names": "|".join(clip.id.removeprefix(f"{unit.id}-") for clip in unit.clips),
        "nearest": "|".join(nearest_truths(scores.distance)),
    }
    for name, value in scores.values.items():
        known = _SCORER_NAMES.get(name, name)
        if known is None:
            checks[name] = value
        else:
            values[known] = value
    renamed = {_SCORER_NAMES.get(name, name): why for name, why in scores.not_computed.items()}
    missing = {name: why for name, why in renamed.items() if name and name in BENCHMARK_METRICS}
    for part in parts:
        values |= part.values
        missing |= part.not_computed
        checks |= part.checks
    clip = unit.clips[0]
    return Record(
        clip=unit.id,
        seed=seed,
        split=clip.split,
        episode=clip.episode,
        source=clip.source,
        embodiment=clip.embodiment,
        frames=frames * len(unit.clips),
        values=values,
        curves={
            name: tuple(curve)
            for name, curve in scores.curves.items()
            if all(math.isfinite(value) for value in curve)
        },
        not_computed={name: why for name, why in missing.items() if name not in values},
        checks=checks,
        timings=Timings(
            start_s=times.start_s,
            steps_s=tuple(times.steps_s),
            step_frames=tuple(n * len(unit.clips) for n in times.step_frames),
        ),
    )


def _grid(videos: Sequence[Frames]) -> Frames:
    """Puts branches side by side, at most four in a row, ``[n, 3, rows * h, columns * w]``."""
    columns = min(len(videos), 4)
    blank = torch.zeros_like(videos[0])
    padded = [*videos, *[blank] * (-len(videos) % columns)]
    rows = [
        torch.cat(padded[k : k + columns], dim=-1) for k in range(0, len(padded), columns)
    ]  # fmt: skip
    return torch.cat(rows, dim=-2)
