"""``dojobench reproduce``: the reference model from nothing, and the paper's tables, small."""

import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.subcommands import Run, Subcommand, dispatch
from dojobench.slurm.run_cli import JobFlags, go

if TYPE_CHECKING:
    from dojobench.reference_model.reproduction.rows import Scoring

G1_SUITE = "g1-real-sample"
_ROW = re.compile(r"[a-z0-9._-]+/[a-z0-9][a-z0-9.-]{2,63}")
"""A row of the leaderboard, such as ``dojo-mini/hold-1``."""
_ROWS = "A row of the leaderboard is a target too, as SUITE/SUBMISSION."
_Sets = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True, kw_only=True)
class _Flags(JobFlags):
    """What running a chain and running a table have in common."""

    slurm: bool = False
    """Hand the jobs to Slurm; without it they run on this machine."""
    minutes: int | None = None
    """On this machine: save everything and stop after so many minutes; the same command goes on.
    With --slurm: time limit of one attempt of each job."""


@dataclass(frozen=True, kw_only=True)
class ReproduceNanoCommand(_Flags):
    """Makes nano from nothing: data, tokenizer, latent actions, three phases, scores, report.

    What is done already in its folder is not done again, and a training that was stopped goes on
    from its last checkpoint.
    """

    out: Path = Path("runs/nano")
    """Folder of the run; an unfinished run in it goes on."""
    smoke: bool = False
    """Tiny settings: minutes instead of hours, to see that everything works here."""


@dataclass(frozen=True, kw_only=True)
class ReproduceG1Command(_Flags):
    """Post-trains nano on video of a real Unitree G1 and scores it on episodes held out.

    The video is read from DOJOBENCH_DATA/g1_real (`dojobench data list` says where it is from).
    """

    out: Path = Path("runs/g1")
    """Folder of the run; an unfinished run in it goes on."""
    base: Path = Path("runs/nano")
    """The run of nano whose tokenizer and pretrained network are begun from."""
    recipe: str = "g1"
    """A name, or a .json or .toml file."""


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    recipe: str = "nano"
    """Recipe that all rows begin from: a name, or a .json or .toml file."""
    set: _Sets = field(default=())
    """A value to set in it, such as posttrain.loop.steps=1500; may be given many times."""


@dataclass(frozen=True, kw_only=True)
class _Scores:
    suite: str = "dojo-v1"
    """Suite to score on."""
    clips: int | None = None
    """At most so many clips of each split."""
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg")
    """Metrics to compute."""
    weights: Path | None = None
    """Folder with the backbone weights of LPIPS. Default: torch's cache."""
    device: str = "cpu"
    """Where models are scored: cpu, cuda, cuda:1; training takes a GPU where there is one."""


@dataclass(frozen=True, kw_only=True)
class ReproduceTableCommand(_Scores, _Recipe, _Flags):
    """Trains the rows of one of the paper's tables, scores and compares them.

    Data, tokenizer, latent actions and latents are made once, or taken from a run. Each row and
    seed is a job of its own, and on Slurm a task of a job array.
    """

    out: Path | None = None  # type: ignore[assignment]
    """Folder of the table; an unfinished one in it goes on. Default: runs/TABLE."""
    base: Path | None = None
    """A run of `dojobench reproduce nano` (or train) whose data, tokenizer, latent actions and
    latents are used. Default: made in the table's folder."""
    seeds: int = 3
    """Trainings of each row: seeds 0, 1, …"""


@dataclass(frozen=True, kw_only=True)
class PartCommand(_Scores, _Recipe):
    """Trains one part of a table with one seed and scores its rows: a job of a table."""

    table: tyro.conf.Positional[str]
    """Name of the table."""
    part: str
    """Name of the part."""
    seed: int = 0
    """Of its training."""
    out: Path
    """Folder of the table."""
    base: Path
    """Run with data, tokenizer, latent actions and latents."""
    minutes: float | None = None
    """Stop training after so many minutes, with a checkpoint and exit code 75."""


@dataclass(frozen=True, kw_only=True)
class CompareCommand(_Recipe):
    """Compares the rows of a table that have been run, and writes the table."""

    table: tyro.conf.Positional[str]
    """Name of the table."""
    out: Path
    """Folder of the table."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of training."""


@dataclass(frozen=True, kw_only=True)
class RetentionCommand:
    """Measures what pretraining knew of human video and post-training forgot."""

    run: tyro.conf.Positional[Path]
    """A run that has been post-trained."""
    out: Path | None = None
    """Folder for the result. Default: RUN/retention."""
    group: str = "hand-val"
    """Episodes to ask about, one window of each."""
    steps: int = 4
    """Network passes of a sample."""


@dataclass(frozen=True, kw_only=True)
class TransferCommand:
    """Measures whether latent actions mean the same for the hand and the arm."""

    run: tyro.conf.Positional[Path]
    """A run with data, latent actions and latents."""
    out: Path | None = None
    """Folder for the result. Default: RUN/latent-transfer."""


def nano(argv: list[str]) -> int:
    """Runs ``dojobench reproduce nano``."""
    command = parse(ReproduceNanoCommand, argv, "dojobench reproduce nano")
    from dojobench.slurm.nano import nano_plan

    plan = nano_plan(command.out, smoke=command.smoke)
    code = go(command, plan, here=not command.slurm, stop_after=command.minutes)
    if code == 0 and not command.slurm:
        print(f"\nModels: {command.out / 'models'}")
        print(f"Report: {command.out / 'report.html'}")
        print("Open it in any browser; it needs no network.")
    return code


def g1(argv: list[str]) -> int:
    """Runs ``dojobench reproduce g1``."""
    command = parse(ReproduceG1Command, argv, "dojobench reproduce g1")
    from dojobench.reference_model.reproduction.plan import real_robot_plan
    from dojobench.reference_model.training.products import product
    from dojobench.slurm.plan import plan_from_steps

    for stage in ("tokenizer", "pretrain"):
        product(command.base, stage)
    steps = real_robot_plan(command.recipe, command.out, command.base, suite=G1_SUITE)
    plan = plan_from_steps("g1", steps)
    code = go(command, plan, here=not command.slurm, stop_after=command.minutes)
    if code == 0 and not command.slurm:
        print(f"\nReport: {command.out / 'report.html'}")
    return code


def table(name: str, argv: list[str]) -> int:
    """Runs ``dojobench reproduce`` for one of the paper's tables."""
    command = parse(ReproduceTableCommand, argv, f"dojobench reproduce {name}")
    from dataclasses import replace

    from dojobench.reference_model.reproduction.rows import find_table
    from dojobench.reference_model.reproduction.table_plan import table_plan
    from dojobench.slurm.plan import plan_from_steps

    out = command.out or Path("runs") / name
    command = replace(command, out=out)
    steps = table_plan(
        find_table(name),
        command.recipe,
        out,
        seeds=range(command.seeds),
        base=command.base,
        changes=command.set,
        scoring=_scoring(command),
    )
    plan = plan_from_steps(name, steps)
    code = go(command, plan, here=not command.slurm, stop_after=command.minutes)
    if code == 0 and not command.slurm:
        print(f"\nTable: {out / 'table.html'}, {out / 'table.md'} and {out / 'table.json'}")
    return code


def part(argv: list[str]) -> int:
    """Runs ``dojobench reproduce part``; 75 if it stopped with a checkpoint."""
    started = time.monotonic()
    command = parse(PartCommand, argv, "dojobench reproduce part")
    from dojobench.reference_model.reproduction.rows import find_table, run_part
    from dojobench.reference_model.training.recipe import read_recipe
    from dojobench.reference_model.training.recipes import RECIPES
    from dojobench.reference_model.training.stopping import REQUEUE, TrainingStopped

    def time_is_up() -> bool:
        return command.minutes is not None and time.monotonic() - started > 60 * command.minutes

    try:
        run_part(
            find_table(command.table),
            command.part,
            command.seed,
            recipe=read_recipe(command.recipe, command.set, named=RECIPES),
            out=command.out,
            base=command.base,
            scoring=_scoring(command),
            until=time_is_up,
        )
    except TrainingStopped as stop:
        sys.stderr.write(
            f"dojobench: {command.part} stopped after step {stop.step} with a checkpoint; the same "
            "command goes on from there.\n"
        )
        return REQUEUE
    return 0


def compare(argv: list[str]) -> int:
    """Runs ``dojobench reproduce compare``."""
    command = parse(CompareCommand, argv, "dojobench reproduce compare")
    from dojobench.reference_model.reproduction.compare import compare as compare_rows
    from dojobench.reference_model.reproduction.rows import find_table
    from dojobench.reference_model.reproduction.table_output import write_table

    settings = " ".join((command.recipe, *(f"--set {each}" for each in command.set)))
    compared = compare_rows(
        find_table(command.table), command.out, command.seeds, conditions={"Recipe": settings}
    )
    files = write_table(compared, command.out)
    print("\n".join(compared.sentences))
    print(f"\nTable: {files[-1]}")
    return 0


def retention(argv: list[str]) -> int:
    """Runs ``dojobench reproduce retention``."""
    command = parse(RetentionCommand, argv, "dojobench reproduce retention")
    from dojobench.reference_model.reproduction.retention import measure_retention, write_retention

    found = measure_retention(command.run, group=command.group, steps=command.steps)
    print(write_retention(found, command.out or command.run / "retention"))
    return 0


def latent_transfer(argv: list[str]) -> int:
    """Runs ``dojobench reproduce latent-transfer``."""
    command = parse(TransferCommand, argv, "dojobench reproduce latent-transfer")
    from dojobench.reference_model.reproduction.latent_transfer import (
        measure_transfer,
        write_transfer,
    )

    found = measure_transfer(command.run)
    print(write_transfer(found, command.out or command.run / "latent-transfer"))
    return 0


def _scoring(command: _Scores) -> "Scoring":
    from dojobench.reference_model.reproduction.rows import Scoring

    return Scoring(
        suite=command.suite,
        clips=command.clips,
        metrics=command.metrics,
        weights=command.weights,
        device=command.device,
    )


def _table(name: str) -> Run:
    return lambda argv: table(name, argv)


TARGETS: dict[str, Subcommand] = {
    "nano": Subcommand(nano, "the reference model from nothing, with scores and a report"),
    "g1": Subcommand(g1, "nano post-trained on video of a real robot"),
    "action-signal": Subcommand(_table("action-signal"), "what pretraining is conditioned on"),
    "data-mixture": Subcommand(_table("data-mixture"), "human video of more and more kinds"),
    "ablation": Subcommand(_table("ablation"), "the paper's design choices, one after the other"),
    "distillation": Subcommand(_table("distillation"), "the student beside its teacher"),
    "retention": Subcommand(retention, "what post-training forgets of human video"),
    "latent-transfer": Subcommand(latent_transfer, "whether latent actions fit hand and arm alike"),
    "part": Subcommand(part, "one training of a table: a job"),
    "compare": Subcommand(compare, "a table of what has been run"),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench reproduce``.

    Args:
        argv: Arguments behind ``reproduce``.

    Returns:
        The exit code: 1 where a job failed, 2 for a target that does not exist, 75 where a run
        on this machine was told to stop.
    """
    if argv and _ROW.fullmatch(argv[0]):
        from dojobench.leaderboard.site_cli import reproduce

        return reproduce(argv)
    return dispatch("reproduce", TARGETS, argv, kind="target", more=_ROWS)
