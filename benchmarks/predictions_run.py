"""Scores a folder of predictions against a suite, or against a folder of true videos."""

from dataclasses import dataclass
from pathlib import Path

from dojobench.benchmarks.pairs import PairSuite, pair_predictions
from dojobench.benchmarks.plan import choose_clips
from dojobench.benchmarks.predictions import PredictedVideos
from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.datasets.suite import Suite
from dojobench.datasets.suites import open_suite
from dojobench.protocol import BadInputError


@dataclass(frozen=True, kw_only=True)
class PredictionsConfig:
    """What to score; fields without a word here are as in ``RunConfig``.

    Attributes:
        predictions: Folder of predictions, or one file.
        name: The model's name in tables.
        suite: Manifest or named suite that was predicted; or
        truth: a folder of true videos, paired by name.
        context: With ``truth``: leading frames that the model was given.
        embodiment: With ``truth``: the robot, by name.
    """

    predictions: Path
    name: str
    out: Path
    suite: str | None = None
    truth: Path | None = None
    context: int = 1
    embodiment: str = "unstated"
    data: Path | None = None
    splits: tuple[str, ...] | None = None
    limit: int | None = None
    device: str = "cpu"
    batch: int = 1
    convention: str = "aligned"
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg")
    weights: Path | None = None
    adapt: str | None = None
    videos: str = "selected"
    baselines: tuple[str, ...] = ("hold",)
    train_split: str = "train"


def score_predictions(config: PredictionsConfig) -> Path:
    """Scores predictions into a run folder like any other.

    Returns:
        The run folder.

    Raises:
        BadInputError: If files are missing, extra, truncated or of another size, each named.
    """
    if (config.suite is None) == (config.truth is None):
        raise BadInputError("give either --suite, or --truth with a folder of true videos")
    suite: Suite
    files = None
    if config.truth is not None:
        suite = pairs = PairSuite(
            config.truth, context=config.context, embodiment=config.embodiment
        )
        files = pair_predictions(config.predictions, pairs)
    else:
        suite = open_suite(config.suite or "", data=config.data)
    clips = choose_clips(
        suite, splits=config.splits, limit=config.limit, train_split=config.train_split
    )
    model = PredictedVideos(
        config.predictions, suite, clips, name=config.name, files=files, adapt=config.adapt
    )
    run = RunConfig(
        model=str(config.predictions),
        suite=config.suite or str(config.truth),
        out=config.out,
        data=config.data,
        seeds=model.seeds,
        splits=config.splits,
        limit=config.limit,
        device=config.device,
        batch=config.batch,
        convention=config.convention,
        metrics=config.metrics,
        weights=config.weights,
        adapt=config.adapt,
        videos=config.videos,
        baselines=config.baselines,
        checks=0,
        train_split=config.train_split,
    )
    return run_benchmark(run, suite=suite, model=model)
