"""The recipes that have a name."""

from dataclasses import replace

from dojobench.reference_model.training.dojo_episodes import DojoDataConfig, nano_groups
from dojobench.reference_model.training.latent_action_stage import LatentActionStageConfig
from dojobench.reference_model.training.latents import LatentConfig
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.recipe import Recipe
from dojobench.reference_model.training.stage import OptimizerConfig
from dojobench.reference_model.training.tokenizer_stage import TokenizerStageConfig
from dojobench.reference_model.training.world_model_stage import WorldModelStageConfig

_SMOKE_LOOP = LoopConfig(
    steps=6, batch=2, log_every=2, validate_every=0, sample_every=0, tensorboard=False
)


def _nano() -> Recipe:
    return Recipe(
        name="nano",
        data=DojoDataConfig(groups=nano_groups(robot=2400, human=480)),
        tokenizer=TokenizerStageConfig(loop=_loop(steps=5000, batch=20)),
        latent_actions=LatentActionStageConfig(
            loop=_loop(steps=1000, batch=16), optimizer=OptimizerConfig(lr=1e-3, clip=0.3)
        ),
        pretrain=WorldModelStageConfig(loop=_loop(steps=3000, batch=16)),
        posttrain=replace(WorldModelStageConfig.posttraining(), loop=_loop(steps=9000, batch=16)),
    )


def _loop(*, steps: int, batch: int) -> LoopConfig:
    return LoopConfig(
        steps=steps, batch=batch, precision="bfloat16", validate_every=500, sample_every=1000
    )


def _smoke() -> Recipe:
    return Recipe(
        name="smoke",
        data=DojoDataConfig(groups=nano_groups(robot=4, human=4, held_out=2), seed="smoke"),
        tokenizer=TokenizerStageConfig(
            loop=_SMOKE_LOOP, validation_clips=2, statistics_clips=8, crop=16
        ),
        latent_actions=LatentActionStageConfig(loop=_SMOKE_LOOP, validation_pairs=2),
        latents=LatentConfig(every=4),
        pretrain=WorldModelStageConfig(loop=_SMOKE_LOOP, validation_windows=2),
        posttrain=replace(
            WorldModelStageConfig.posttraining(), loop=_SMOKE_LOOP, validation_windows=2
        ),
    )


RECIPES: dict[str, Recipe] = {"nano": _nano(), "smoke": _smoke()}
"""By name: ``nano`` is the model that is shipped, ``smoke`` tries every stage in minutes."""
