"""Does one training of a table with one seed, and scores the models it ends in.

It is one job: it stops with a checkpoint when it is told to, and goes on from there.
"""

from dataclasses import dataclass
from pathlib import Path

from dojobench.benchmarks.benchmark_runs import run_benchmarks
from dojobench.benchmarks.metric_names import FIDELITY
from dojobench.benchmarks.runner import RunConfig
from dojobench.datasets.suite import Suite
from dojobench.datasets.suites import open_suite
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.reproduction.tables import TABLES, Row, Table, seeded
from dojobench.reference_model.run_export import export_run
from dojobench.reference_model.training.products import set_base
from dojobench.reference_model.training.recipe import Recipe
from dojobench.reference_model.training.stages import Until, run_stage, text_file

BASE_FOLDER = "base"
"""Folder of a table that holds what its rows share, where no other run has it."""
_BATCH = 4


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the models of a table are scored.

    Attributes:
        suite: A suite with the table's splits.
        clips: At most so many of each split.
        metrics: As for ``dojobench run``.
        weights: Folder with the backbone weights of LPIPS; torch's cache where ``None``.
        device: Where models run.
    """

    suite: str = "dojo-v1"
    clips: int | None = None
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg")
    weights: Path | None = None
    device: str = "cpu"


def find_table(name: str) -> Table:
    """Finds a table.

    Raises:
        BadInputError: If there is none of that name.
    """
    if name not in TABLES:
        raise BadInputError(f"There is no table '{name}'; the tables are {', '.join(TABLES)}.")
    return TABLES[name]


def part_folder(out: Path, part: str, seed: int) -> Path:
    """Says where a training of a table lies."""
    return out / "rows" / part / f"seed-{seed}"


def scores_folder(out: Path, row: Row, seed: int, split: str) -> Path:
    """Says where the run folder of a row on a split lies."""
    return part_folder(out, row.part, seed) / "scores" / f"{row.name}-{split}"


def run_part(
    table: Table,
    part: str,
    seed: int,
    *,
    recipe: Recipe,
    out: Path,
    base: Path,
    scoring: Scoring,
    until: Until = lambda: False,
) -> None:
    """Trains one part of a table and scores its rows, or goes on with it.

    Args:
        table: The table.
        part: Name of the part.
        seed: Of its training.
        recipe: Before the part's change.
        out: Folder of the table.
        base: Run with data, tokenizer, latent actions and latents.
        scoring: How models are scored.
        until: Asked now and then whether to stop.

    Raises:
        BadInputError: If something is missing or does not fit.
        TrainingStopped: If it stopped before its end, with a checkpoint.
    """
    chosen, folder = table.part(part), part_folder(out, part, seed)
    own = chosen.change(seeded(recipe, seed))
    set_base(folder, base)
    for stage in chosen.stages:
        run_stage(stage, own, folder, until)
    suite = open_suite(scoring.suite)
    for row in table.rows_of(part):
        model = folder / "models" / row.name
        name = f"{row.name}-seed-{seed}"
        export_run(folder, model, kind=row.kind, name=name, text=text_file(own))
        for split in table.splits:
            _score(model, scores_folder(out, row, seed, split), suite, split, scoring)


def _score(model: Path, out: Path, suite: Suite, split: str, scoring: Scoring) -> None:
    # A long rollout is also timed, and a model's speed is that of one clip at a time.
    config = RunConfig(
        model=str(model),
        suite=scoring.suite,
        out=out,
        splits=(split,),
        limit=scoring.clips,
        device=scoring.device,
        batch=1 if split == "long" else _BATCH,
        metrics=scoring.metrics,
        weights=scoring.weights,
        videos="none",
        baselines=(),
        checks=0,
    )
    run_benchmarks(config, (FIDELITY,), suite=suite)
