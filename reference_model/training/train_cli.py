"""``dojobench train``: one stage of a recipe."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Runs one stage of a recipe, or goes on with it where it was stopped.

    Stages, in order: data, tokenizer, latent_actions, latents, pretrain, posttrain, trajectories,
    warmup, self_forcing. The folder of a run holds one folder per stage and the recipe with all
    its values.

    SIGTERM, SIGUSR1 and --minutes stop it with a checkpoint and exit code 75, for a scheduler to
    start the same command again.
    """

    stage: tyro.conf.Positional[str]
    """Stage to run."""
    out: Path
    """Folder of the run."""
    config: str | None = None
    """Name of a recipe (nano, smoke), or a .json or .toml file; the run's own where not given."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default=())
    """A value to set in it, such as posttrain.loop.steps=100; may be given many times."""
    base: Path | None = None
    """Folder of another run that this one builds on: what it has made is not made again."""
    take: tuple[str, ...] = ("data", "tokenizer", "latent_actions", "latents")
    """With --base: stages whose products are taken from there."""
    minutes: float | None = None
    """Stop after so many minutes."""
    show: bool = False
    """Print the recipe with all its values and train nothing."""


def train(argv: list[str]) -> int:
    """Runs ``dojobench train``.

    Returns:
        0 once the stage is finished, 75 if it stopped with a checkpoint.
    """
    command = tyro.cli(TrainCommand, args=argv, prog="dojobench train")
    started = time.monotonic()
    from dojobench.reference_model.training.products import set_base
    from dojobench.reference_model.training.recipe import RECIPE, read_recipe, recipe_text
    from dojobench.reference_model.training.recipes import RECIPES
    from dojobench.reference_model.training.stages import run_stage
    from dojobench.reference_model.training.stopping import REQUEUE, TrainingStopped

    reference = command.config
    if reference is None:
        reference = str(command.out / RECIPE)
        if not Path(reference).exists():
            raise BadInputError(
                f"{command.out} holds no run yet; name a recipe, such as --config nano."
            )
    recipe = read_recipe(reference, command.set, named=RECIPES)
    if command.show:
        sys.stdout.write(recipe_text(recipe))
        return 0

    if command.base is not None:
        set_base(command.out, command.base, command.take)

    def time_is_up() -> bool:
        return command.minutes is not None and time.monotonic() - started > 60 * command.minutes

    try:
        made = run_stage(command.stage, recipe, command.out, time_is_up)
    except TrainingStopped as stop:
        sys.stderr.write(
            f"dojobench: {command.stage} stopped after step {stop.step} with a checkpoint; the "
            "same command goes on from there.\n"
        )
        return REQUEUE
    sys.stdout.write(f"{made}\n")
    return 0
