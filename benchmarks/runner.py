"""Scores a world model on a suite: the run from the first check to ``summary.json``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from dojobench.benchmarks import plan
from dojobench.benchmarks.action_check import choose_check_clips
from dojobench.benchmarks.background import Background
from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.batch_scorer import BatchScorer, record_videos
from dojobench.benchmarks.compatibility import ResizedModel, require_fit
from dojobench.benchmarks.describe import describe_run
from dojobench.benchmarks.prefetch import Batch
from dojobench.benchmarks.progress import Meter, busy
from dojobench.benchmarks.records import (
    BASELINES_FOLDER,
    VIDEOS_FOLDER,
    ExecutionEntry,
    Summary,
)
from dojobench.benchmarks.report_clips import choose
from dojobench.benchmarks.rollout import step_lengths
from dojobench.benchmarks.run_writer import RunWriter
from dojobench.benchmarks.scoring import make_scorers
from dojobench.benchmarks.stage import Stage
from dojobench.benchmarks.summary import summarise
from dojobench.benchmarks.video_writer import prediction_file
from dojobench.datasets.suite import Suite
from dojobench.datasets.suites import open_suite
from dojobench.metrics.names import METRICS
from dojobench.protocol import BadInputError, WorldModel
from dojobench.protocol.lookup import load_model

VIDEO_CHOICES = ("none", "selected", "all")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What to run.

    Attributes:
        model: Registered name, ``module:factory``, checkpoint folder or address.
        suite: Manifest or named suite.
        out: Run folder; an unfinished run of the same thing in it is resumed.
        options: Options of the model.
        data: Where the suite's videos lie.
        seeds: One rollout of every clip for each.
        splits: Splits to score; ``None``: all but ``train_split``.
        limit: At most so many clips, in the suite's order.
        device: Where context and actions are put and frames are compared.
        batch: Clips that are stepped together.
        steps_at_once: ``chunk`` (the model's native chunk), ``all`` or a number of frames.
        convention: Metric convention.
        metrics: Metrics to compute: ``psnr``, ``ssim``, ``lpips_vgg`` and the like.
        weights: Folder of LPIPS weights; torch's cache where ``None``.
        adapt: ``resize`` lets resolutions differ.
        videos: ``none``, ``all``, or ``selected``: best, median and worst clip.
        baselines: Models that stand beside this one in the table.
        checks: Clips that are rolled out again with wrong actions; 0 for none.
        train_split: What baselines learn from.
    """

    model: str
    suite: str
    out: Path
    options: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None
    seeds: tuple[int, ...] = (0,)
    splits: tuple[str, ...] | None = None
    limit: int | None = None
    device: str = "cpu"
    batch: int = 1
    steps_at_once: str = "chunk"
    convention: str = "aligned"
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg")
    weights: Path | None = None
    adapt: str | None = None
    videos: str = "selected"
    baselines: tuple[str, ...] = ("hold",)
    checks: int = 8
    train_split: str = "train"


def run_benchmark(
    config: RunConfig, *, suite: Suite | None = None, model: WorldModel | None = None
) -> Path:
    """Runs a model and its baselines, or resumes what was stopped.

    Args:
        config: What to run.
        suite: An opened suite, instead of opening ``config.suite``.
        model: A made model, instead of looking up ``config.model``.

    Returns:
        The run folder.

    Raises:
        BadInputError: If anything about the input is wrong; one sentence says what.
    """
    if suite is None:
        suite = open_suite(config.suite, data=config.data)
    # Before anything runs, because a baseline that does not exist would be found hours later.
    baselines = {name: make_baseline(name) for name in config.baselines}
    made = load_model(config.model, config.options) if model is None else model
    try:
        score_model(config, suite, made)
    finally:
        if model is None and callable(close := getattr(made, "close", None)):
            close()
    for name, baseline in baselines.items():
        beside = replace(
            config,
            model=name,
            options={},
            out=config.out / BASELINES_FOLDER / name.replace("/", "_"),
            adapt=None,
            steps_at_once="chunk",
            videos="none",
            checks=0,
        )
        score_model(beside, suite, baseline)
    return config.out


def score_model(config: RunConfig, suite: Suite, model: WorldModel) -> None:
    """Scores one model into ``config.out``, without baselines.

    Raises:
        BadInputError: If anything about the input is wrong; one sentence says what.
    """
    _require_choice("--videos", config.videos, VIDEO_CHOICES)
    _require_choice("--adapt", config.adapt, (None, "resize"))
    seeds = plan.check_seeds(config.seeds)
    clips = plan.choose_clips(
        suite, splits=config.splits, limit=config.limit, train_split=config.train_split
    )
    require_fit(model.spec, suite.spec, adapt=config.adapt)
    step_lengths(1, model.spec, config.steps_at_once)
    device = _device(config.device)
    scorers = make_scorers(
        config.convention,
        config.metrics,
        weights=config.weights,
        chunk=model.spec.native_chunk,
        device=device,
    )
    batches = plan.make_batches(clips, seeds, config.batch)
    meta = describe_run(
        suite=suite,
        model=model,
        clips=clips,
        scorers=scorers,
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
            checks=config.checks,
            train_split=config.train_split,
        ),
        started=_now(),
    )
    with RunWriter(config.out, meta) as writer:
        checked = choose_check_clips(clips, config.checks, suite.spec.action_space.dim)
        job = _Job(
            model=model,
            train_split=config.train_split,
            writer=writer,
            videos="all"
            # A second rollout would be another draw than the one that was scored.
            if config.videos == "selected" and not model.spec.deterministic
            else config.videos,
            scorer=BatchScorer(
                stage=Stage(
                    suite=suite,
                    model=_placed(model, suite, device),
                    device=device,
                    mode=config.steps_at_once,
                ),
                scorers=scorers,
                clips=clips,
                checked=frozenset((clip, seeds[0]) for clip in checked),
            ),
        )
        job.run(plan.pending(batches, writer.done))


def _require_choice(option: str, value: str | None, choices: Sequence[str | None]) -> None:
    if value not in choices:
        names = ", ".join(choice for choice in choices if choice)
        raise BadInputError(f"{option} is one of {names}, not {value}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInputError(f"--device {name} is no device; use cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInputError(f"--device {name}: torch sees no CUDA device here; use --device cpu")
    return device


def _placed(model: WorldModel, suite: Suite, device: torch.device) -> WorldModel:
    """Moves a model that can be moved, and wraps one that works at another size."""
    if callable(move := getattr(model, "to", None)):
        move(device)
    if model.spec.resolution in (None, suite.spec.resolution):
        return model
    return ResizedModel(model, suite.spec.resolution)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One run under way."""

    model: WorldModel
    train_split: str
    writer: RunWriter
    videos: str
    scorer: BatchScorer

    def run(self, batches: Sequence[Batch]) -> None:
        """Scores what is pending, derives the summary and keeps the chosen videos."""
        folder = self.writer.folder / VIDEOS_FOLDER
        if batches:
            self._prepare()
            self._score(
                batches, replace(self.scorer, videos=folder if self.videos == "all" else None)
            )
        summary = summarise(self.writer.run())
        if self.videos == "selected" and (wanted := self._wanted_videos(summary, folder)):
            if not batches:
                self._prepare()
            record_videos(self.scorer.stage, wanted, folder)
        self.writer.finish(summary, _now())

    def _prepare(self) -> None:
        """Lets a model see the run's clips, or learn from the training split, if it wants to."""
        suite = self.scorer.stage.suite
        prepare: Callable[..., None] | None = getattr(self.model, "prepare", None)
        if callable(prepare):
            prepare(suite, self.scorer.clips)
        fit: Callable[..., None] | None = getattr(self.model, "fit", None)
        if callable(fit):
            with busy(f"{self.model.spec.name} reads the split {self.train_split}"):
                fit(suite, self.train_split)

    def _score(self, batches: Sequence[Batch], scorer: BatchScorer) -> None:
        writer, suite = self.writer, scorer.stage.suite
        total = len(writer.meta.clip_ids) * len(writer.meta.seeds)
        title = f"{self.model.spec.name} on {suite.spec.name}"
        with (
            Meter(title, total, len(writer.done)) as meter,
            scorer.stage.load(batches) as loading,
            Background() as background,
        ):
            for loaded in loading:
                for record in scorer.score(loaded, background):
                    writer.append(record)
                    meter.advance(record.frames)

    def _wanted_videos(self, summary: Summary, folder: Path) -> list[Batch]:
        """The best, median and worst clip by the first metric, where not filmed already."""
        values = [row.model_dump() for row in summary.clip_values]
        metric = next((name for name in METRICS if name in summary.metrics), None)
        if metric is None:
            return []
        better, seed = METRICS[metric].higher_is_better, summary.seeds[0]
        chosen = {choice.clip for choice in choose(values, metric, higher_is_better=better)}
        return [
            Batch(clips=(clip,), seed=seed)
            for clip in self.scorer.clips
            if clip.id in chosen and not prediction_file(folder, clip.id, seed).exists()
        ]
