"""Distillation in a run's folder: the teacher's trajectories, the warm-up, Self Forcing."""

from collections.abc import Callable, Mapping
from pathlib import Path

from dojobench.datasets.statistics import ActionStatistics
from dojobench.reference_model.checkpoint_io import load_world_model
from dojobench.reference_model.model_folder import fingerprint
from dojobench.reference_model.net_config import ActionConfig
from dojobench.reference_model.text_embedding import text_for
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.latent_source import LatentWindowSource
from dojobench.reference_model.training.latents import LatentStore
from dojobench.reference_model.training.loop import TrainResult, train, training_device
from dojobench.reference_model.training.products import PRODUCTS, product
from dojobench.reference_model.training.self_forcing_stage import (
    SelfForcingStage,
    SelfForcingStageConfig,
)
from dojobench.reference_model.training.stopping import StopSignals, TrainingStopped
from dojobench.reference_model.training.trajectories import TrajectoriesConfig, make_trajectories
from dojobench.reference_model.training.trajectory_store import TrajectorySource
from dojobench.reference_model.training.warmup_stage import WarmupStage, WarmupStageConfig

Until = Callable[[], bool]


def _windows(
    run: Path,
    groups: Mapping[str, float],
    *,
    latents: int,
    actions: ActionConfig,
    seed: int,
    statistics: Mapping[str, ActionStatistics] | None = None,
) -> LatentWindowSource:
    store = LatentStore(EpisodeStore(product(run, "data")), product(run, "latents"))
    return LatentWindowSource(
        store, groups, latent_frames=latents, actions=actions, statistics=statistics, seed=seed
    )


def run_trajectories(
    config: TrajectoriesConfig, run: Path, until: Until, *, text: Path | None = None
) -> Path:
    """Makes the trajectories of a run's post-trained teacher, or what is missing of them.

    Args:
        config: Which.
        run: Folder of the run.
        until: Asked now and then whether to stop.
        text: File of the stored text, for sizes that attend to one.

    Returns:
        Their folder.

    Raises:
        BadInputError: If the teacher, its data or its text are not there, or the folder holds
            others.
        TrainingStopped: If it was stopped before all were made.
    """
    device = training_device("auto")
    weights = product(run, "posttrain")
    teacher = load_world_model(weights, device=device)
    source = _windows(
        run,
        config.groups,
        latents=config.latents,
        actions=teacher.config.actions,
        seed=config.seed,
    )
    folder = run / PRODUCTS["trajectories"]
    files = {"teacher": weights} | ({"text": text} if text is not None else {})
    with StopSignals() as stop:
        whole = make_trajectories(
            config,
            teacher,
            source,
            folder,
            tokenizer=CausalTokenizer.load(product(run, "tokenizer")).eval().to(device),
            text=text_for(teacher.config, text),
            origin={name: fingerprint(file) for name, file in files.items()},
            until=lambda: stop.received is not None or until(),
        )
    if not whole:
        made = len(list(folder.glob("*.safetensors")))
        raise TrainingStopped(made * config.batch * config.shard_batches)
    return folder


def run_warmup(
    config: WarmupStageConfig, run: Path, until: Until, *, text: Path | None = None
) -> TrainResult:
    """Warms a copy of a run's teacher up on its trajectories; arguments as above.

    Raises:
        BadInputError: If they are not there, or too few to hold some out.
    """
    folder = product(run, "trajectories")
    total = TrajectorySource(folder).windows.stop
    train_part, rest = total - config.held_out, range(total - config.held_out, total)
    student = load_world_model(product(run, "posttrain"))
    stage = WarmupStage(
        config,
        student.train(),
        TrajectorySource(folder, stop=train_part, seed=config.loop.seed),
        held_out=TrajectorySource(folder).take(rest) if rest else None,
        tokenizer=CausalTokenizer.load(product(run, "tokenizer")).eval(),
        text=text_for(student.config, text),
    )
    return train(stage, config.loop, run / stage.name, settings=config, until=until)


def run_self_forcing(
    config: SelfForcingStageConfig, run: Path, until: Until, *, text: Path | None = None
) -> TrainResult:
    """Trains a run's warmed-up student on its own rollouts; arguments as above.

    Raises:
        BadInputError: If student, teacher or data are not there.
    """
    teacher = load_world_model(product(run, "posttrain"))
    actions, seed = teacher.config.actions, config.loop.seed
    source = _windows(run, config.groups, latents=config.data_latents, actions=actions, seed=seed)
    held_out = None
    if config.held_out is not None:
        held_out = _windows(
            run,
            {config.held_out: 1.0},
            latents=config.data_latents,
            actions=actions,
            seed=0,
            statistics=source.statistics,
        )
    stage = SelfForcingStage(
        config,
        load_world_model(product(run, "warmup")).train(),
        teacher,
        source,
        tokenizer=CausalTokenizer.load(product(run, "tokenizer")).eval(),
        held_out=held_out,
        text=text_for(teacher.config, text),
    )
    return train(stage, config.loop, run / stage.name, settings=config, until=until)
