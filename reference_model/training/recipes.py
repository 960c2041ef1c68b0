"""The recipes that have a name."""

from dataclasses import replace

from dojobench.reference_model.training.dojo_episodes import DojoDataConfig, nano_groups
from dojobench.reference_model.training.folder_episodes import FolderDataConfig
from dojobench.reference_model.training.latent_action_stage import LatentActionStageConfig
from dojobench.reference_model.training.latents import LatentConfig
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.recipe import Recipe
from dojobench.reference_model.training.self_forcing_stage import SelfForcingStageConfig
from dojobench.reference_model.training.stage import OptimizerConfig
from dojobench.reference_model.training.tokenizer_stage import TokenizerStageConfig
from dojobench.reference_model.training.trajectories import TrajectoriesConfig
from dojobench.reference_model.training.warmup_stage import WarmupStageConfig
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
        posttrain=replace(
            WorldModelStageConfig.posttraining(),
            loop=_loop(steps=18_000, batch=16),
            optimizer=OptimizerConfig(muon=1.5e-3),
        ),
        # The teacher as it is scored. More of its steps give sharper and worse frames at this
        # size, and the student would learn those.
        trajectories=TrajectoriesConfig(
            windows=6400, latents=7, solver="euler", solver_steps=4, precision="bfloat16"
        ),
        # The published rates, 3e-5 and 1e-7, are those of a network 400 times as large.
        warmup=WarmupStageConfig(
            clean_past=0.5,
            loop=_loop(steps=3000, batch=16),
            optimizer=OptimizerConfig(lr=3e-4, weight_decay=0.1, ema=0.99, muon=5e-4),
        ),
        self_forcing=SelfForcingStageConfig(
            loop=replace(_loop(steps=2000, batch=4), validate_every=500, sample_every=500),
            critic_clips=2,
            student=OptimizerConfig(lr=2e-5, warmup=0, decay=0.5, ema=0.98),
            critic=OptimizerConfig(lr=1e-4, warmup=0, decay=0.0, ema=0.0),
        ),
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
        # Long enough to be interrupted, to see that it goes on.
        posttrain=replace(
            WorldModelStageConfig.posttraining(),
            loop=replace(_SMOKE_LOOP, steps=40),
            validation_windows=2,
        ),
        trajectories=TrajectoriesConfig(windows=6, batch=2, shard_batches=2, solver_steps=4),
        warmup=WarmupStageConfig(held_out=2, loop=_SMOKE_LOOP),
        self_forcing=SelfForcingStageConfig(
            data_latents=7, longest=7, validation_windows=2, loop=_SMOKE_LOOP
        ),
    )


def _g1() -> Recipe:
    return Recipe(
        name="g1",
        data=DojoDataConfig(groups=()),
        folders=(
            FolderDataConfig(
                name="g1",
                root="$DOJOBENCH_DATA/g1_real",
                embodiment="g1_inspire",
                suite="g1-real-sample",
                size=(48, 64),
            ),
        ),
        tokenizer=TokenizerStageConfig(
            start="base",
            groups={"g1-train": 1.0},
            held_out=("g1-val",),
            loop=_loop(steps=1200, batch=16),
            optimizer=replace(TokenizerStageConfig().optimizer, lr=1e-3),
        ),
        posttrain=replace(
            WorldModelStageConfig.posttraining(),
            groups={"g1-train": 1.0},
            held_out=("g1-val",),
            loop=_loop(steps=2500, batch=16),
        ),
    )


RECIPES: dict[str, Recipe] = {"nano": _nano(), "smoke": _smoke(), "g1": _g1()}
"""By name: ``nano`` is the model that is shipped, ``smoke`` tries every stage in minutes, and
``g1`` post-trains nano on video of a real Unitree G1, whose frames are 4:3."""
