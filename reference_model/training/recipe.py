"""A recipe: every value that a training run depends on, from the data to the student."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_text
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.config_values import (
    build_config,
    changed_values,
    config_values,
    set_value,
)
from dojobench.reference_model.training.dojo_episodes import DojoDataConfig
from dojobench.reference_model.training.folder_episodes import FolderDataConfig
from dojobench.reference_model.training.latent_action_stage import LatentActionStageConfig
from dojobench.reference_model.training.latents import LatentConfig
from dojobench.reference_model.training.self_forcing_stage import SelfForcingStageConfig
from dojobench.reference_model.training.settings import flat_settings
from dojobench.reference_model.training.tokenizer_stage import TokenizerStageConfig
from dojobench.reference_model.training.trajectories import TrajectoriesConfig
from dojobench.reference_model.training.warmup_stage import WarmupStageConfig
from dojobench.reference_model.training.world_model_stage import WorldModelStageConfig

RECIPE = "recipe.json"
"""Name of the file in a run's folder that holds all values of its recipe."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run from the data to the student; a field for each stage that has something to choose.

    Attributes:
        name: Of the recipe.
        data: Episodes to make.
        tokenizer: How it is trained.
        latent_actions: How the latent action model is trained.
        latents: How episodes are encoded.
        pretrain: Phase 1, on human video.
        posttrain: Phase 2, on a robot.
        trajectories: Phase 3, the teacher's flow to learn from.
        warmup: Phase 3, regression onto it.
        self_forcing: Phase 3, the student's own rollouts.
        folders: Recorded video to train on as well, or alone where ``data`` has no groups; in a
            folder's name, environment variables are put in.
        text: File of the stored text embedding that the sizes 2b and 14b attend to; environment
            variables are put in here, too.
    """

    name: str = "unnamed"
    data: DojoDataConfig = field(default_factory=DojoDataConfig)
    tokenizer: TokenizerStageConfig = field(default_factory=TokenizerStageConfig)
    latent_actions: LatentActionStageConfig = field(default_factory=LatentActionStageConfig)
    latents: LatentConfig = field(default_factory=LatentConfig)
    pretrain: WorldModelStageConfig = field(default_factory=WorldModelStageConfig)
    posttrain: WorldModelStageConfig = field(default_factory=WorldModelStageConfig.posttraining)
    trajectories: TrajectoriesConfig = field(default_factory=TrajectoriesConfig)
    warmup: WarmupStageConfig = field(default_factory=WarmupStageConfig)
    self_forcing: SelfForcingStageConfig = field(default_factory=SelfForcingStageConfig)
    folders: tuple[FolderDataConfig, ...] = ()
    text: str | None = None


def read_recipe(
    reference: str, changes: Sequence[str] = (), *, named: Mapping[str, Recipe]
) -> Recipe:
    """Reads a recipe.

    A file may set as little as it likes; what it leaves out comes from the recipe that its
    ``base`` names, or from the defaults.

    Args:
        reference: Name of a recipe, or a ``.json`` or ``.toml`` file.
        changes: What to set in it, each like ``posttrain.loop.steps=100``.
        named: Recipes by name.

    Raises:
        BadInputError: If there is no such recipe or file, or it sets what does not exist (the
            nearest that does is named) or to a value of the wrong kind.
    """
    if reference in named:
        recipe = named[reference]
    elif Path(reference).suffix in (".json", ".toml"):
        recipe = _from_file(Path(reference), named)
    else:
        raise _no_recipe(reference, named)
    if not changes:
        return recipe
    values = config_values(recipe)
    for each in changes:
        set_value(values, each)
    return build_config(Recipe, values, "--set")


def _no_recipe(name: object, named: Mapping[str, Recipe]) -> BadInputError:
    near = difflib.get_close_matches(str(name), named, n=1, cutoff=0.0)
    hint = f"; the nearest is '{near[0]}'" if near else ""
    return BadInputError(
        f"There is no recipe '{name}'{hint}; give a name or a .json or .toml file."
    )


def _from_file(path: Path, named: Mapping[str, Recipe]) -> Recipe:
    text = read_text(path)
    try:
        values: Any = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise BadInputError(f"{path} cannot be read as a recipe ({error}); correct it.") from error
    if not isinstance(values, dict):
        raise BadInputError(f"{path} is a list or a value, not a recipe; name its settings.")
    base = values.pop("base", None)
    if base is not None:
        if base not in named:
            raise _no_recipe(base, named)
        values = changed_values(named[base], values)
    return build_config(Recipe, values, str(path))


def recipe_text(recipe: Recipe) -> str:
    """Gives a recipe with all its values as JSON, from which ``read_recipe`` makes the same."""
    return json.dumps(config_values(recipe), indent=2) + "\n"


def settle_recipe(run: Path, recipe: Recipe) -> None:
    """Writes a run's recipe into its folder, so that the run can be made again from it.

    A stage that has begun holds its part of the recipe to what it was; the parts of the other
    stages may still change.

    Args:
        run: Folder of the run; it is made.
        recipe: What it is to follow.

    Raises:
        BadInputError: If a stage that has begun followed another recipe; the first value that
            differs is named.
    """
    path = run / RECIPE
    if path.exists():
        former = _parts(read_recipe(str(path), named={}))
        for stage, values in _parts(recipe).items():
            if (run / stage).exists() and former[stage] != values:
                before = former[stage]
                name = next(k for k in before | values if before.get(k) != values.get(k))
                raise BadInputError(
                    f"{run / stage} was made with {name} = {before.get(name)}, and this recipe "
                    f"says {values.get(name)}; set it back, remove that folder, or give another "
                    "--out."
                )
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"The folder {run} cannot be made ({(error.strerror or 'error').lower()}); choose "
            "another --out."
        ) from error
    write_atomically(path, recipe_text(recipe).encode())


def _parts(recipe: Recipe) -> dict[str, dict[str, object]]:
    """Gives each stage's values, less those that may change between two attempts."""
    values = config_values(recipe)
    return {stage: flat_settings(part, stage) for stage, part in values.items() if stage != "name"}
