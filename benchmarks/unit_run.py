"""Runs a benchmark whose unit of work is more than a clip and its truth: a group, a long rollout.

The run folder, its resumption and its summary are those of every run: a record a unit and seed,
on disk before the next unit starts, and a summary that is derived from all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import torch

from dojobench.benchmarks import plan
from dojobench.benchmarks.compatibility import ResizedModel, require_fit
from dojobench.benchmarks.describe import describe_run
from dojobench.benchmarks.progress import Meter, busy
from dojobench.benchmarks.records import VIDEOS_FOLDER, ExecutionEntry, Record, Run, Summary
from dojobench.benchmarks.rollout import step_lengths
from dojobench.benchmarks.rollouts import Rollouts
from dojobench.benchmarks.run_writer import RunWriter
from dojobench.benchmarks.runner import RunConfig
from dojobench.benchmarks.scoring import make_scorers
from dojobench.benchmarks.summary import summarise
from dojobench.benchmarks.video_writer import PairWriter
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.protocol import BadInputError, Frames, WorldModel

FILMED = 3
"""Units whose videos are kept where videos are ``selected``: the first of the plan."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One piece of work.

    Attributes:
        id: Stands as ``clip`` in its record: a branch group's, or the clip's own.
        clips: The clips that it needs, the first of which lends the record its episode.
    """

    id: str
    clips: tuple[ClipRecord, ...]


Film = Callable[[Frames, Frames], None]
"""Takes true and predicted frames, uint8 ``[n, 3, height, width]`` each, to show."""


class UnitBenchmark(Protocol):
    """What `run_units` runs."""

    @property
    def name(self) -> str:
        """Name of the benchmark, of its folder and in ``run.json``."""
        ...

    @property
    def version(self) -> str:
        """Names the code that makes the numbers."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its numbers."""
        ...

    def units(self, suite: Suite, clips: Sequence[ClipRecord]) -> tuple[Unit, ...]:
        """Chooses the work among the clips to score; none where the suite does not support it."""
        ...

    def unsupported(self, suite: Suite) -> str:
        """Says in one sentence why there is no work."""
        ...

    def score(self, rollouts: Rollouts, unit: Unit, seed: int, film: Film) -> Record:
        """Scores one unit."""
        ...

    def refine(self, run: Run, summary: Summary) -> Summary:
        """Puts in what is no plain mean over units."""
        ...


def planned_units(benchmark: UnitBenchmark, config: RunConfig, suite: Suite) -> tuple[Unit, ...]:
    """Chooses a benchmark's work; ``limit`` counts units."""
    clips = plan.choose_clips(
        suite, splits=config.splits, limit=None, train_split=config.train_split
    )
    return benchmark.units(suite, clips)[: config.limit]


def run_units(config: RunConfig, suite: Suite, model: WorldModel, benchmark: UnitBenchmark) -> None:
    """Runs one benchmark of one model into ``config.out``, or resumes it.

    Raises:
        BadInputError: If anything about the input is wrong; one sentence says what.
    """
    seeds = plan.check_seeds(config.seeds)
    units = planned_units(benchmark, config, suite)
    if not units:
        raise BadInputError(benchmark.unsupported(suite))
    require_fit(model.spec, suite.spec, adapt=config.adapt)
    step_lengths(1, model.spec, config.steps_at_once)
    device = torch.device(config.device)
    clips = tuple({clip.id: clip for unit in units for clip in unit.clips}.values())
    meta = describe_run(
        suite=suite,
        model=model,
        clips=clips,
        scorers=make_scorers("aligned", (), weights=None, chunk=None, device=device),
        reference=config.model,
        options=config.options,
        seeds=seeds,
        splits=tuple(dict.fromkeys(clip.split for clip in clips)),
        limit=config.limit,
        adapt=config.adapt,
        execution=ExecutionEntry(
            device=config.device,
            batch=config.batch,
            steps_at_once=config.steps_at_once,
            train_split=config.train_split,
        ),
        started=_now(),
    ).model_copy(
        update={
            "benchmark": benchmark.name,
            "metrics": benchmark.metrics,
            "metric_version": benchmark.version,
            "clip_ids": tuple(unit.id for unit in units),
        }
    )
    with RunWriter(config.out, meta) as writer:
        pending = [
            (unit, seed) for seed in seeds for unit in units if (unit.id, seed) not in writer.done
        ]
        if pending:
            _prepare(config, suite, model, clips)
            rollouts = Rollouts(
                suite, _placed(model, suite, device), device=device, mode=config.steps_at_once
            )
            filmed = {"none": 0, "selected": FILMED, "all": len(units)}[config.videos]
            _work(rollouts, benchmark, pending, writer, {unit.id for unit in units[:filmed]})
        run = writer.run()
        writer.finish(benchmark.refine(run, summarise(run)), _now())


def _work(
    rollouts: Rollouts,
    benchmark: UnitBenchmark,
    pending: Sequence[tuple[Unit, int]],
    writer: RunWriter,
    filmed: set[str],
) -> None:
    total = len(writer.meta.clip_ids) * len(writer.meta.seeds)
    title = f"{benchmark.name} of {rollouts.model.spec.name} on {rollouts.suite.spec.name}"
    folder, rate = writer.folder / VIDEOS_FOLDER, rollouts.suite.spec.frame_rate
    with Meter(title, total, len(writer.done)) as meter:
        for unit, seed in pending:
            if unit.id in filmed:
                with PairWriter(folder, unit.id, seed, rate=rate) as film:
                    record = benchmark.score(rollouts, unit, seed, film.write)
            else:
                record = benchmark.score(rollouts, unit, seed, _unseen)
            writer.append(record)
            meter.advance(record.frames)


def _unseen(truth: Frames, prediction: Frames) -> None:
    """Shows nothing."""


def _prepare(
    config: RunConfig, suite: Suite, model: WorldModel, clips: Sequence[ClipRecord]
) -> None:
    """Lets a model see the run's clips, or learn from the training split, if it wants to."""
    if callable(prepare := getattr(model, "prepare", None)):
        prepare(suite, clips)
    if callable(fit := getattr(model, "fit", None)):
        with busy(f"{model.spec.name} reads the split {config.train_split}"):
            fit(suite, config.train_split)


def _placed(model: WorldModel, suite: Suite, device: torch.device) -> WorldModel:
    if callable(move := getattr(model, "to", None)):
        move(device)
    if model.spec.resolution in (None, suite.spec.resolution):
        return model
    return ResizedModel(model, suite.spec.resolution)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
