"""The stability benchmark: rollouts long enough to fall apart, streamed a step at a time.

The unit of work is a long clip and a seed. Nothing is kept of a rollout but one number a frame
and small object masks, so a minute of large frames fits. ``docs/metrics/stability.md`` explains
the numbers.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch

from dojobench.benchmarks.metric_names import BENCHMARK_METRICS, STABILITY
from dojobench.benchmarks.palindrome import recorded_part, undone_part
from dojobench.benchmarks.parts import Part
from dojobench.benchmarks.records import (
    CurveSummary,
    MetricSummary,
    Record,
    Run,
    Summary,
    Timings,
)
from dojobench.benchmarks.rollout import DEFAULT_CHUNK, StepTimes
from dojobench.benchmarks.rollouts import OpenClip, Rollouts
from dojobench.benchmarks.shares import with_share_intervals
from dojobench.benchmarks.stability_scorer import StabilityScorer
from dojobench.benchmarks.unit_run import Film, Unit
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.metrics.survival import kaplan_meier, stable_horizon

LONG_SPLIT, PALINDROME_SPLIT = "long", "palindrome"


@dataclass(frozen=True, kw_only=True)
class Stability:
    """The benchmark; runs on suites with a split ``long`` or clips that are long enough.

    Attributes:
        least_seconds: Predicted seconds from which a clip of another split is long.
    """

    name: str = STABILITY
    version: str = "stability 2"
    metrics: tuple[str, ...] = field(
        default_factory=lambda: tuple(
            name for name, info in BENCHMARK_METRICS.items() if info.benchmark == STABILITY
        )
    )
    least_seconds: float = 20.0

    def units(self, suite: Suite, clips: Sequence[ClipRecord]) -> tuple[Unit, ...]:
        """Takes the clips of the split ``long``; where there is none, all that are long enough.

        Those of the split ``palindrome`` follow, whose actions lead away and back.
        """
        named = [clip for clip in clips if clip.split == LONG_SPLIT]
        least = self.least_seconds * suite.spec.frame_rate + suite.spec.context_frames
        chosen = named or [clip for clip in clips if clip.frames >= least]
        if chosen:
            chosen += [clip for clip in clips if clip.split == PALINDROME_SPLIT]
        return tuple(Unit(id=clip.id, clips=(clip,)) for clip in chosen)

    def unsupported(self, suite: Suite) -> str:
        """Says why there is no work."""
        return (
            f"suite {suite.spec.name} has no long clips: none of those to score is in the split "
            f"{LONG_SPLIT} or at least {self.least_seconds:g} s long"
        )

    def score(self, rollouts: Rollouts, unit: Unit, seed: int, film: Film) -> Record:
        """Rolls one clip out and follows error, look and objects; or its way there and back."""
        clip, times = unit.clips[0], StepTimes()
        with ExitStack() as stack:
            opened = rollouts.open(unit.clips, stack)[0]
            film(opened.context, opened.context)
            if clip.split == PALINDROME_SPLIT:
                part = self._mirror(rollouts, opened, seed, film, times)
            else:
                part = self._long(rollouts, opened, seed, film, times)
        return Record(
            clip=unit.id,
            seed=seed,
            split=clip.split,
            episode=clip.episode,
            source=clip.source,
            embodiment=clip.embodiment,
            frames=len(opened.actions),
            values=part.values,
            curves=part.curves,
            not_computed=part.not_computed,
            checks=part.checks,
            timings=Timings(
                start_s=times.start_s,
                steps_s=tuple(times.steps_s),
                step_frames=tuple(times.step_frames),
            ),
        )

    @staticmethod
    def _long(
        rollouts: Rollouts, opened: OpenClip, seed: int, film: Film, times: StepTimes
    ) -> Part:
        chunk = rollouts.model.spec.native_chunk or DEFAULT_CHUNK
        rate = rollouts.suite.spec.frame_rate
        scorer = StabilityScorer(opened, chunk=chunk, frame_rate=rate)
        position = 0
        for answer in rollouts.roll([rollouts.own(opened)], seed, times=times):
            stop = position + answer.shape[1]
            truth = opened.read(position, stop)
            scorer.update(answer[0], truth, position)
            film(truth, answer[0])
            position = stop
        scores = scorer.finish()
        if any(clip.split == PALINDROME_SPLIT for clip in rollouts.suite.clips):
            return scores
        back = undone_part(rollouts, opened, seed)
        return Part(
            values=scores.values | back.values,
            not_computed=scores.not_computed | back.not_computed,
            checks=scores.checks | back.checks,
            curves=scores.curves,
        )

    @staticmethod
    def _mirror(
        rollouts: Rollouts, opened: OpenClip, seed: int, film: Film, times: StepTimes
    ) -> Part:
        answers = rollouts.roll([rollouts.own(opened)], seed, times=times)
        frames = torch.cat([answer[0] for answer in answers])
        film(opened.read(0, len(frames)), frames)
        return recorded_part(opened, frames)

    def refine(self, run: Run, summary: Summary) -> Summary:
        """Puts in the headline, no plain mean where rollouts are cut off, and its curve.

        The shares get the interval of a share.
        """
        summary = with_share_intervals(run, summary)
        rate = run.meta.suite.frame_rate
        records = [record for record in run.records if "stable_horizon" in record.values]
        whole = horizon_summary(records, rate)
        splits = dict.fromkeys(record.split for record in records)
        by_split = {
            split: horizon_summary([r for r in records if r.split == split], rate)
            for split in splits
        }
        headline = {"stable_horizon": whole.model_copy(update={"by_split": by_split})}
        others = {name: found for name, found in summary.metrics.items() if name not in headline}
        curves = dict(summary.curves) | {"survival": survival_curve(records, rate)}
        return summary.model_copy(update={"metrics": headline | others, "curves": curves})


def horizon_summary(records: Sequence[Record], frame_rate: float) -> MetricSummary:
    """Estimates the stable horizon from when each rollout broke, or was seen not to.

    Args:
        records: Records of the benchmark.
        frame_rate: Frames per second.

    Returns:
        Restricted mean of the Kaplan-Meier curve up to the longest rollout, seconds, with an
        interval that resamples episodes.
    """
    times = np.array([record.values["stable_horizon"] for record in records])
    broken = np.array([bool(record.checks["broken"]) for record in records])
    longest = max(record.frames for record in records) / frame_rate
    found = stable_horizon(times, broken, [r.cluster for r in records], horizon=longest)
    seeds = {record.seed for record in records}
    means = [float(np.mean([t for t, r in zip(times, records, strict=True) if r.seed == seed]))
             for seed in sorted(seeds)]  # fmt: skip
    return MetricSummary(
        mean=found.mean,
        low=found.low if np.isfinite(found.low) else None,
        high=found.high if np.isfinite(found.high) else None,
        n=len({record.clip for record in records}),
        clusters=found.clusters,
        method=found.method,
        level=found.level,
        seed_sd=float(np.std(means, ddof=1)) if len(means) > 1 else None,
    )


def survival_curve(records: Sequence[Record], frame_rate: float) -> CurveSummary:
    """Gives the share of rollouts that last beyond each predicted frame, with its band.

    Args:
        records: Records of the benchmark.
        frame_rate: Frames per second.

    Returns:
        One entry a frame; ``n`` counts the rollouts still watched. The band is pointwise and
        takes rollouts for independent.
    """
    times = [record.values["stable_horizon"] for record in records]
    curve = kaplan_meier(times, [bool(record.checks["broken"]) for record in records])
    frames = max(record.frames for record in records)
    ends = np.arange(1, frames + 1) / frame_rate
    # The state after frame k is that of the last break at or before its end.
    place = np.searchsorted(curve.times, ends + 1e-9, side="right")

    def spread(values: Sequence[float], first: float) -> list[float]:
        return [first if not k else float(values[k - 1]) for k in place]

    def known(values: list[float]) -> tuple[float | None, ...]:
        return tuple(value if np.isfinite(value) else None for value in values)

    watched = [sum(t >= end - 1e-9 for t in times) for end in ends]
    return CurveSummary(
        mean=tuple(spread(list(curve.survival), 1.0)),
        low=known(spread(list(curve.low), float("nan"))),
        high=known(spread(list(curve.high), float("nan"))),
        n=tuple(watched),
    )
