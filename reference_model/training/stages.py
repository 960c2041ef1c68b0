"""The stages by name: what runs each, and where in a run's folder its product lies."""

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel
from dojobench.reference_model.net_config import preset
from dojobench.reference_model.run_export import export_run
from dojobench.reference_model.text_embedding import text_for
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.training.distillation import (
    run_self_forcing,
    run_trajectories,
    run_warmup,
)
from dojobench.reference_model.training.dojo_episodes import make_dojo_data
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.folder_episodes import make_folder_data
from dojobench.reference_model.training.latent_action_stage import LatentActionStage
from dojobench.reference_model.training.latents import (
    LatentStore,
    encode_episodes,
    read_latent_actions,
)
from dojobench.reference_model.training.loop import TrainResult, train, training_device
from dojobench.reference_model.training.products import PRODUCTS, product, read_base
from dojobench.reference_model.training.recipe import Recipe, settle_recipe
from dojobench.reference_model.training.stopping import TrainingStopped
from dojobench.reference_model.training.tokenizer_stage import TokenizerStage
from dojobench.reference_model.training.world_model_stage import (
    WorldModelStage,
    WorldModelStageConfig,
)

Until: TypeAlias = Callable[[], bool]
"""Asked now and then; true once the time is up."""
StageRunner: TypeAlias = Callable[[Recipe, Path, Until], Path]
"""Runs a stage of a recipe in the run's folder, or goes on with it, and gives its product.

It finds the products of earlier stages by ``product`` and ends by ``finished``.
"""


def finished(result: TrainResult) -> Path:
    """Gives the product of a training that came to its end.

    Raises:
        TrainingStopped: If it did not.
    """
    if result.exported is None:
        raise TrainingStopped(result.step)
    return result.exported


def _data(recipe: Recipe, run: Path, until: Until) -> Path:
    del until
    folder = run / PRODUCTS["data"]
    if recipe.data.groups:
        make_dojo_data(recipe.data, folder)
    for each in recipe.folders:
        make_folder_data(replace(each, root=_expanded(each.root)), folder)
    return product(run, "data")


def _expanded(root: str) -> str:
    """Puts environment variables into a folder's name, so that a recipe suits every machine."""
    expanded = os.path.expandvars(root)
    if "$" in expanded:
        raise BadInputError(
            f"The recipe reads {root}, and that variable is not set; set it to the folder that "
            "holds it (of recorded video `dojobench data list` says how to get it)."
        )
    return expanded


def _tokenizer(recipe: Recipe, run: Path, until: Until) -> Path:
    config, begin = recipe.tokenizer, None
    if config.start == "base" and (base := read_base(run)) is not None:
        begin = product(run / base.run, "tokenizer")
    stage = TokenizerStage(config, EpisodeStore(product(run, "data")), pretrained=begin)
    return finished(train(stage, config.loop, run / stage.name, settings=config, until=until))


def _latent_actions(recipe: Recipe, run: Path, until: Until) -> Path:
    config = recipe.latent_actions
    stage = LatentActionStage(config, EpisodeStore(product(run, "data")))
    return finished(train(stage, config.loop, run / stage.name, settings=config, until=until))


def _latents(recipe: Recipe, run: Path, until: Until) -> Path:
    del until
    store, folder = EpisodeStore(product(run, "data")), run / PRODUCTS["latents"]
    device = training_device("auto")
    tokenizer = CausalTokenizer.load(product(run, "tokenizer")).eval().to(device)
    encode_episodes(store, tokenizer, folder, recipe.latents)
    # A run that takes its pretraining from another has none of the groups of that stage.
    wanting = [name for name in groups_with_latent_actions(recipe) if name in store.names]
    if wanting:
        model = LatentActionModel.load(product(run, "latent_actions")).eval().to(device)
        read_latent_actions(store, model, folder, groups=wanting)
    return folder


def groups_with_latent_actions(recipe: Recipe) -> list[str]:
    """Names the groups that a stage of the recipe conditions on latent actions."""
    names: dict[str, None] = {}
    for config in (recipe.pretrain, recipe.posttrain):
        if config.conditioning == "latent":
            names |= dict.fromkeys((*config.groups, *config.held_out))
    return list(names)


def open_latents(run: Path) -> LatentStore:
    """Opens the latents of a run, as the stages of the world model read them."""
    return LatentStore(EpisodeStore(product(run, "data")), product(run, "latents"))


def _pretrain(recipe: Recipe, run: Path, until: Until) -> Path:
    return _world_model(recipe.pretrain, "pretrain", run, until, text_file(recipe))


def _posttrain(recipe: Recipe, run: Path, until: Until) -> Path:
    return _world_model(recipe.posttrain, "posttrain", run, until, text_file(recipe))


def _world_model(
    config: WorldModelStageConfig, name: str, run: Path, until: Until, text: Path | None
) -> Path:
    tokenizer = CausalTokenizer.load(product(run, "tokenizer"))
    pretrained = product(run, "pretrain") if config.start == "pretrained" else None
    stage = WorldModelStage(
        config,
        open_latents(run),
        tokenizer,
        name=name,
        pretrained=pretrained,
        text=text_for(preset(config.size), text),
    )
    return finished(train(stage, config.loop, run / name, settings=config, until=until))


def text_file(recipe: Recipe) -> Path | None:
    """Gives the file of a recipe's stored text, for sizes that attend to one."""
    return None if recipe.text is None else Path(_expanded(recipe.text))


def _trajectories(recipe: Recipe, run: Path, until: Until) -> Path:
    return run_trajectories(recipe.trajectories, run, until, text=text_file(recipe))


def _warmup(recipe: Recipe, run: Path, until: Until) -> Path:
    return finished(run_warmup(recipe.warmup, run, until, text=text_file(recipe)))


def _self_forcing(recipe: Recipe, run: Path, until: Until) -> Path:
    return finished(run_self_forcing(recipe.self_forcing, run, until, text=text_file(recipe)))


def _teacher(recipe: Recipe, run: Path, until: Until) -> Path:
    del until
    return _export(recipe, run, "teacher", of="posttrain")


def _student(recipe: Recipe, run: Path, until: Until) -> Path:
    del until
    return _export(recipe, run, "student", of="self_forcing")


def _export(recipe: Recipe, run: Path, kind: Literal["teacher", "student"], *, of: str) -> Path:
    product(run, of)
    name = f"{recipe.name}-{kind}"
    return export_run(run, run / PRODUCTS[kind], kind=kind, name=name, text=text_file(recipe))


STAGES: dict[str, StageRunner] = {
    "data": _data,
    "tokenizer": _tokenizer,
    "latent_actions": _latent_actions,
    "latents": _latents,
    "pretrain": _pretrain,
    "posttrain": _posttrain,
    "trajectories": _trajectories,
    "warmup": _warmup,
    "self_forcing": _self_forcing,
    "teacher": _teacher,
    "student": _student,
}
"""What runs each stage."""


def run_stage(stage: str, recipe: Recipe, run: Path, until: Until = lambda: False) -> Path:
    """Runs a stage, or goes on with it.

    Args:
        stage: A name of ``STAGES``.
        recipe: Of the whole run; it is kept in the folder.
        run: Folder of the run.
        until: Asked now and then whether to stop.

    Returns:
        The product.

    Raises:
        BadInputError: If there is no such stage, an earlier one has not been run, or the folder
            holds a run of another recipe.
        TrainingStopped: If it stopped before its end, with a checkpoint.
    """
    if stage not in STAGES:
        near = difflib.get_close_matches(stage, STAGES, n=1, cutoff=0.0)
        raise BadInputError(
            f"There is no stage '{stage}'; the nearest is '{near[0]}', and all are "
            f"{', '.join(STAGES)}."
        )
    settle_recipe(run, recipe)
    return STAGES[stage](recipe, run, until)
