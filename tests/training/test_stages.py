"""The chain of stages on a few simulated episodes: what each leaves, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.checkpoint_io import load_world_model
from dojobench.reference_model.design_choices import DesignChoices
from dojobench.reference_model.lam import LatentActionModel
from dojobench.reference_model.net_config import PRESETS, TextConfig
from dojobench.reference_model.text_embedding import save_text
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.latent_action_stage import (
    LatentActionStage,
    LatentActionStageConfig,
)
from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.products import set_base
from dojobench.reference_model.training.recipe import Recipe
from dojobench.reference_model.training.recipes import RECIPES
from dojobench.reference_model.training.stages import (
    groups_with_latent_actions,
    open_latents,
    product,
    run_stage,
)
from dojobench.reference_model.training.tokenizer_stage import (
    TokenizerStage,
    TokenizerStageConfig,
)
from dojobench.reference_model.training.world_model_stage import (
    WorldModelStage,
    WorldModelStageConfig,
)

SMOKE = RECIPES["smoke"]
GOLDEN = LoopConfig(
    steps=4, batch=2, log_every=1, device="cpu", sample_every=0, tensorboard=False, threads=1
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smoke recipe up to post-training."""
    folder: Path = tmp_path_factory.mktemp("run")
    stages = ("data", "tokenizer", "latent_actions", "latents", "pretrain", "posttrain")
    for stage in stages:
        run_stage(stage, SMOKE, folder)
    return folder


def store_of(run: Path) -> EpisodeStore:
    return EpisodeStore(product(run, "data"))


def world_model_stage(run: Path, config: WorldModelStageConfig, **more: Any) -> WorldModelStage:
    tokenizer = CausalTokenizer.load(product(run, "tokenizer"))
    return WorldModelStage(config, open_latents(run), tokenizer, **more)


def test_the_tokenizers_latents_have_mean_0_and_deviation_1(run: Path) -> None:
    tokenizer = CausalTokenizer.load(product(run, "tokenizer"))
    group = store_of(run).group("arm-train")
    clips = torch.stack([torch.from_numpy(group.frames(n, 0, 9).copy()) for n in range(4)])
    latents = tokenizer.encode(clips)
    assert latents.mean().abs() < 0.5
    assert 0.5 < latents.std() < 2


def test_a_tokenizer_learns_and_is_scored_on_what_was_held_out(run: Path, tmp_path: Path) -> None:
    config = TokenizerStageConfig(
        loop=replace(GOLDEN, steps=40, batch=4, validate_every=40), validation_clips=2
    )
    stage = TokenizerStage(config, store_of(run))
    before = stage.validate(stage.tokenizer)
    train(stage, config.loop, tmp_path, settings=config)
    after = stage.validate(stage.tokenizer)
    assert set(before) == {f"{k}/{g}" for k in ("psnr", "moving") for g in config.held_out}
    assert all(after[key] > before[key] + 1 for key in before)
    shown = stage.show(stage.tokenizer)
    assert shown is not None
    assert shown.shape == (13, 3, 128, 64 * 4)


def test_a_latent_action_model_explains_more_than_nothing(run: Path, tmp_path: Path) -> None:
    config = LatentActionStageConfig(loop=replace(GOLDEN, steps=30, batch=4), validation_pairs=4)
    stage = LatentActionStage(config, store_of(run))
    before = stage.validate(stage.model)
    made = train(stage, config.loop, tmp_path, settings=config).exported
    after = stage.validate(stage.model)
    assert after["explained/arm-val"] > before["explained/arm-val"]
    assert made is not None
    assert LatentActionModel.load(made).config == stage.model.config


def test_post_training_resets_the_first_layer_and_nothing_else(run: Path) -> None:
    before = load_world_model(product(run, "pretrain")).state_dict()
    config = replace(SMOKE.posttrain, reset="first-layer")
    stage = world_model_stage(run, config, pretrained=product(run, "pretrain"))
    after = stage.net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        f"action_embedder_B_{kind}.fc1.{what}"
        for kind in ("D", "3D")
        for what in ("weight", "bias")
    }


@pytest.mark.parametrize(("reset", "layers"), [("none", 0), ("both-layers", 8)])
def test_what_is_reset_is_a_choice(run: Path, reset: str, layers: int) -> None:
    before = load_world_model(product(run, "pretrain")).state_dict()
    config = replace(SMOKE.posttrain, reset=reset)
    after = world_model_stage(run, config, pretrained=product(run, "pretrain")).net.state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) == layers


def test_a_world_model_learns_windows_by_heart(run: Path, tmp_path: Path) -> None:
    loop = replace(GOLDEN, steps=60, batch=8, validate_every=60)
    config = replace(SMOKE.posttrain, start="nothing", loop=loop, held_out=("arm-train",))
    stage = world_model_stage(run, config)
    batch = stage.source.batch(0, 8)

    def loss() -> float:
        with torch.no_grad():
            return float(stage.loss("net", batch, torch.Generator().manual_seed(0))["flow"])

    before = loss()
    train(stage, loop, tmp_path, settings=config)
    assert loss() < 0.8 * before


def test_validation_tells_samples_from_the_frame_repeated(run: Path) -> None:
    stage = world_model_stage(run, replace(SMOKE.posttrain, start="nothing"))
    scores = stage.validate(stage.net)
    assert set(scores) == {"psnr/arm-val", "hold/arm-val", "swap/arm-val"}
    shown = stage.show(stage.net)
    assert shown is not None
    assert shown.shape == (13, 3, 128, 64 * 2)


def test_held_out_actions_are_scaled_as_in_training(run: Path) -> None:
    stage = world_model_stage(run, replace(SMOKE.posttrain, start="nothing"))
    own = store_of(run).group("arm-train").statistics()
    assert stage.statistics["arm"].maximum == pytest.approx(own.maximum)


def test_a_network_learns_with_a_noised_context(run: Path) -> None:
    choices = DesignChoices(clean_context=False)
    stage = world_model_stage(run, replace(SMOKE.posttrain, start="nothing", choices=choices))
    batch = stage.source.batch(0, 2)
    assert stage.loss("net", batch, torch.Generator().manual_seed(0))["flow"] > 0
    assert set(stage.validate(stage.net)) == {"psnr/arm-val", "hold/arm-val", "swap/arm-val"}


def test_a_size_that_attends_to_a_text_is_trained_with_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = replace(PRESETS["nano"], name="told", text=TextConfig(features=12, width=8))
    monkeypatch.setitem(PRESETS, "told", told)
    posttrain = replace(SMOKE.posttrain, size="told", start="nothing")
    posttrain = replace(posttrain, loop=replace(posttrain.loop, steps=2, validate_every=2))
    recipe = replace(SMOKE, posttrain=posttrain)
    set_base(tmp_path, run)
    with pytest.raises(BadInputError, match="'told' attends to a stored text; set 'text'"):
        run_stage("posttrain", recipe, tmp_path)
    save_text(tmp_path / "empty.safetensors", torch.randn(1, 3, 12))
    monkeypatch.setenv("MY_TEXTS", str(tmp_path))
    made = run_stage("posttrain", replace(recipe, text="$MY_TEXTS/empty.safetensors"), tmp_path)
    assert load_world_model(made).config == told


def test_without_actions_the_network_is_told_none(run: Path) -> None:
    config = replace(SMOKE.pretrain, conditioning="none", start="nothing")
    stage = world_model_stage(run, config)
    assert "swap/hand-val" not in stage.validate(stage.net)


def test_only_what_is_conditioned_on_latent_actions_has_them_read() -> None:
    assert groups_with_latent_actions(SMOKE) == ["in-lab", "egodex", "dojo-hv", "hand-val"]
    without = replace(SMOKE, pretrain=replace(SMOKE.pretrain, conditioning="none"))
    assert groups_with_latent_actions(without) == []


def test_a_pretrained_network_of_another_shape_is_refused(run: Path) -> None:
    config = replace(SMOKE.posttrain, choices=DesignChoices(chunked_actions=False))
    with pytest.raises(BadInputError, match="another configuration"):
        world_model_stage(run, config, pretrained=product(run, "pretrain"))


def test_post_training_without_pretraining_says_what_to_run() -> None:
    assert WorldModelStageConfig.posttraining().start == "pretrained"


def test_a_stage_out_of_turn_names_the_one_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="dojobench train data"):
        run_stage("tokenizer", SMOKE, tmp_path)


def test_a_crop_larger_than_the_frames_is_refused(run: Path) -> None:
    with pytest.raises(BadInputError, match="Crops of 65 pixels"):
        TokenizerStage(TokenizerStageConfig(crop=65), store_of(run))


@pytest.mark.parametrize("bad", [{"size": "huge"}])
@pytest.mark.parametrize(
    "kind", [TokenizerStageConfig, LatentActionStageConfig, WorldModelStageConfig]
)
def test_an_unknown_size_is_refused(kind: Callable[..., object], bad: dict[str, str]) -> None:
    with pytest.raises(BadInputError, match="huge"):
        kind(**bad)


def test_the_first_losses_of_the_tokenizer(run: Path, golden: Callable[..., None]) -> None:
    stage = TokenizerStage(TokenizerStageConfig(validation_clips=1), store_of(run))
    golden("tokenizer", stage, GOLDEN)


def test_the_first_losses_of_the_latent_actions(run: Path, golden: Callable[..., None]) -> None:
    stage = LatentActionStage(LatentActionStageConfig(validation_pairs=1), store_of(run))
    golden("latent_actions", stage, GOLDEN)


def test_the_recipes_are_whole() -> None:
    assert all(isinstance(each, Recipe) and each.name == name for name, each in RECIPES.items())
