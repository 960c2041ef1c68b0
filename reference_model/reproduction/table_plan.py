"""The steps of a table: what is shared, each training by itself, the comparison."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.reproduction.plan import Needs, Step, shared_steps
from dojobench.reference_model.reproduction.rows import BASE_FOLDER, Scoring
from dojobench.reference_model.reproduction.tables import Table
from dojobench.reference_model.training.products import SHARED, product


def table_plan(
    table: Table,
    recipe: str,
    out: Path,
    *,
    seeds: Sequence[int],
    base: Path | None = None,
    changes: Sequence[str] = (),
    scoring: Scoring,
) -> tuple[Step, ...]:
    """Gives the steps of a table.

    Args:
        table: Which.
        recipe: Name or file.
        out: Folder of the table.
        seeds: Of training.
        base: A run that has data, tokenizer, latent actions and latents; they are made in the
            table's folder where ``None``.
        changes: What to set in the recipe.
        scoring: How models are scored.

    Returns:
        The steps in an order in which they can run one after the other; trainings are an array.

    Raises:
        BadInputError: If the run to build on lacks something, or seeds are missing or repeated.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise BadInputError("A table needs one or more different seeds, such as --seeds 0 1 2.")
    sets = [word for change in changes for word in ("--set", change)]
    if base is not None:
        for stage in SHARED:
            product(base, stage)
        shared: tuple[Step, ...] = ()
    else:
        shared = shared_steps(recipe, out / BASE_FOLDER)
        shared = tuple(
            replace(step, argv=(*step.argv, *sets), folder=f"{BASE_FOLDER}/{step.folder}")
            for step in shared
        )
    common = [table.name, "--out", str(out)]
    work = [
        *("reproduce", "part", *common, "--recipe", recipe),
        *("--base", str(base or out / BASE_FOLDER)),
        *sets,
        *_scoring_words(scoring),
    ]
    numbers = [str(seed) for seed in seeds]
    rows = Step(
        name="rows",
        argv=tuple(work),
        after=tuple(step.name for step in shared[-1:]),
        array=tuple(
            ("--part", part.name, "--seed", seed) for part in table.parts for seed in numbers
        ),
        folder="rows",
    )
    compare = Step(
        name="compare",
        argv=("reproduce", "compare", *common, "--recipe", recipe, *sets, "--seeds", *numbers),
        after=("rows",),
        resources=Needs(cpus=1, memory_gb=4, minutes=30),
    )
    return (*shared, rows, compare)


def _scoring_words(scoring: Scoring) -> list[str]:
    words = ["--suite", scoring.suite, "--device", scoring.device]
    words += ["--metrics", *scoring.metrics]
    if scoring.clips is not None:
        words += ["--clips", str(scoring.clips)]
    if scoring.weights is not None:
        words += ["--weights", str(scoring.weights)]
    return words
