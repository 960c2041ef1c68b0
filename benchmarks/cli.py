"""The commands ``run``, ``score`` and ``report``."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError

RUNS = Path("runs")

Convention = Literal["aligned", "dreamdojo", "pooled", "irasim_gray", "dino_wm"]


@dataclass(frozen=True, kw_only=True)
class _Scoring:
    """What `run` and `score` have in common."""

    out: Path | None = None
    """Run folder; an unfinished run in it is resumed. Default: runs/NAME-SUITE."""
    data: Path | None = None
    """Folder that holds the suite's videos. Default: DOJOBENCH_DATA."""
    splits: tuple[str, ...] | None = None
    """Splits to score. Default: all but the training split."""
    limit: int | None = None
    """At most so many clips, in the suite's order."""
    device: str = "cpu"
    """Where models that can be moved run, and where frames are compared: cpu, cuda, cuda:1."""
    batch: int = 1
    """Clips that are stepped together."""
    convention: Convention = "aligned"
    """How metrics are defined; a result never mixes two."""
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg")
    """Metrics to compute; lpips_alex and lpips_squeeze are known, too."""
    weights: Path | None = None
    """Weights that are not shipped: the model's, where it has an option of that name, or else the
    folder with the backbone weights of LPIPS."""
    lpips_weights: Path | None = None
    """Folder with the backbone weights of LPIPS, beside a model's. Default: torch's cache."""
    adapt: Literal["resize"] | None = None
    """Let frames be resized where resolutions differ; stamped on the result."""
    videos: Literal["none", "selected", "all"] = "selected"
    """Videos to keep: none, those of the best, median and worst clip, or all."""
    baselines: tuple[str, ...] = ("hold",)
    """Models that stand beside this one in the table: hold mean-future nearest-neighbour …"""
    train_split: str = "train"
    """Split that baselines learn from, and that is not scored unasked."""


@dataclass(frozen=True, kw_only=True)
class RunCommand(_Scoring):
    """Scores a world model on a suite."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Registered name, module:factory, checkpoint folder or address (ws://…, http://…)."""
    options: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[KEY=VALUE …]")
    ] = ()
    """Options of the model's factory."""
    suite: str
    """Manifest (.jsonl) or name of a suite."""
    seeds: tuple[int, ...] = (0,)
    """Every clip is rolled out once for each."""
    steps_at_once: str = "chunk"
    """Actions a step gets: chunk (as the model likes it), all, or a number."""
    checks: int = 8
    """Clips that are rolled out again with another clip's actions."""
    benchmarks: tuple[Literal["fidelity", "counterfactual", "stability", "probes"], ...] | None = (
        None
    )
    """Benchmarks to run. Default: all that the suite supports."""
    no_checks: bool = False
    """Do not check whether the model uses its actions."""


@dataclass(frozen=True, kw_only=True)
class ScoreCommand(_Scoring):
    """Scores predictions that a model made elsewhere.

    A clip's prediction is CLIP.mp4, CLIP.npz (uint8 array `frames`) or a folder CLIP of png
    frames; CLIP.s1.mp4 is its prediction with seed 1.
    """

    predictions: tyro.conf.Positional[Path]
    """Folder of predictions, or one file."""
    suite: str | None = None
    """Manifest (.jsonl) or name of the suite that was predicted."""
    truth: Path | None = None
    """Instead of a suite: the true videos, paired by name (endings _pred and _gt do not count)."""
    context: int = 1
    """With --truth: leading frames that the model was given."""
    embodiment: str = "unstated"
    """With --truth: the robot, by name."""
    name: str | None = None
    """The model's name in tables. Default: the folder's."""


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Writes one HTML report of one or more run folders."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders; several stand side by side."""
    out: Path | None = None
    """The HTML file. Default: report.html in the first run folder."""


def run(argv: list[str]) -> int:
    """Runs ``dojobench run``."""
    command = parse(RunCommand, argv, "dojobench run")
    from dojobench.benchmarks.benchmark_runs import run_benchmarks
    from dojobench.benchmarks.runner import RunConfig
    from dojobench.protocol.lookup import takes_option
    from dojobench.protocol.options import parse_pairs

    options, lpips_weights = parse_pairs(command.options), command.lpips_weights
    if command.weights is not None and takes_option(command.model, "weights"):
        # Looked for now, since opening the suite may take long.
        if not command.weights.exists():
            raise BadInputError(
                f"there is no {command.weights}, the weights of {command.model}; name them with "
                "--weights"
            )
        options.setdefault("weights", str(command.weights))
    else:
        lpips_weights = lpips_weights or command.weights
    out = command.out or RUNS / f"{_plain(command.model)}-{_plain(command.suite)}"
    outcome = run_benchmarks(
        RunConfig(
            model=command.model,
            options=options,
            suite=command.suite,
            out=out,
            data=command.data,
            seeds=command.seeds,
            splits=command.splits,
            limit=command.limit,
            device=command.device,
            batch=command.batch,
            steps_at_once=command.steps_at_once,
            convention=command.convention,
            metrics=command.metrics,
            weights=lpips_weights,
            adapt=command.adapt,
            videos=command.videos,
            # A baseline needs no copy of itself beside it.
            baselines=tuple(
                name for name in command.baselines if name != command.model or command.options
            ),
            checks=0 if command.no_checks else command.checks,
            train_split=command.train_split,
        ),
        command.benchmarks,
    )
    return _say(out, *outcome.folders.values(), left_out=outcome.left_out)


def score(argv: list[str]) -> int:
    """Runs ``dojobench score``."""
    command = parse(ScoreCommand, argv, "dojobench score")
    from dojobench.benchmarks.predictions_run import PredictionsConfig, score_predictions

    name = command.name or command.predictions.resolve().stem
    against = command.suite or (command.truth or Path()).resolve().stem
    folder = score_predictions(
        PredictionsConfig(
            predictions=command.predictions,
            name=name,
            suite=command.suite,
            truth=command.truth,
            context=command.context,
            embodiment=command.embodiment,
            out=command.out or RUNS / f"{_plain(name)}-{_plain(against)}",
            data=command.data,
            splits=command.splits,
            limit=command.limit,
            device=command.device,
            batch=command.batch,
            convention=command.convention,
            metrics=command.metrics,
            weights=command.lpips_weights or command.weights,
            adapt=command.adapt,
            videos=command.videos,
            baselines=command.baselines,
            train_split=command.train_split,
        )
    )
    return _say(folder, folder)


def report(argv: list[str]) -> int:
    """Runs ``dojobench report``."""
    command = parse(ReportCommand, argv, "dojobench report")
    from dojobench.benchmarks.report import write_report
    from dojobench.protocol import BadInputError

    if not command.runs:
        raise BadInputError("dojobench report needs one or more run folders")
    out = write_report(list(command.runs), command.out or command.runs[0] / "report.html")
    print(f"Report: {out}")
    print("Open it in any browser; it needs no network.")
    return 0


def _plain(text: str) -> str:
    """Makes a folder name of whatever named a model or suite."""
    last = text.rstrip("/").split("://")[-1].split("/")[-1].removesuffix(".jsonl")
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in last) or "run"


def _say(out: Path, *folders: Path, left_out: Mapping[str, str] | None = None) -> int:
    """Prints the tables, where the results are and what to do next."""
    from dojobench.benchmarks.records import load_run
    from dojobench.benchmarks.tables import print_table

    for folder in folders:
        print_table(load_run(folder), file=sys.stdout)
        print(f"\nResult: {folder}\n" if len(folders) > 1 else f"\nResult: {folder}")
    for name, reason in (left_out or {}).items():
        print(f"Left out: {name}, because {reason}.")
    print(f"Next:   dojobench report {shlex.quote(str(out))}")
    return 0
