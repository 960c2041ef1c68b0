"""From what a training leaves behind to a model folder that ``dojobench run`` takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from dojobench.protocol import ActionSpace
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.checkpoint_io import load_world_model, stored_stream
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.model_folder import (
    ModelDescription,
    describe_statistics,
    write_model_folder,
)
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.text_embedding import text_for
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.training.episode_files import GroupInfo
from dojobench.reference_model.training.episodes import EpisodeGroup, EpisodeStore
from dojobench.reference_model.training.latent_source import encoder_of
from dojobench.reference_model.training.products import place_of, product
from dojobench.simulator.world import EMBODIMENTS, make_embodiment

LATEST = {"teacher": ("posttrain", "pretrain"), "student": ("self_forcing", "warmup")}
"""Stages whose weights a model can have, the last first."""


def export_run(
    run: Path,
    out: Path,
    *,
    kind: Literal["teacher", "student"],
    name: str,
    group: str | None = None,
    weights: Path | None = None,
    text: Path | None = None,
    readme: str | None = None,
    dtype: torch.dtype = torch.float16,
    **changes: Any,
) -> Path:
    """Writes the model folder of a run.

    Args:
        run: Folder of the run.
        out: Folder to write.
        kind: Which model.
        name: Name that stands in tables.
        group: Group of the run's data whose robot the model is for, and whose statistics its
            actions are normalised by; where ``None``, the first with actions of its own.
        weights: Weights file; that of the latest stage of the run where ``None``.
        text: File of the stored text, for sizes that attend to one.
        readme: Model card for people; a short one where ``None``.
        dtype: Number format of the weights on disk.
        **changes: Further fields of ``ModelDescription``, such as ``context_frames``, ``stream``
            or ``notes``.

    Returns:
        The folder.

    Raises:
        BadInputError: If the run has not come that far, or what it left does not fit together.
    """
    file = weights or _latest(run, kind)
    net = load_world_model(file)
    tokenizer = CausalTokenizer.load(product(run, "tokenizer"))
    data = find_group(product(run, "data"), group)
    statistics = data.statistics()
    encoder = encoder_of(data, statistics, net.config.actions)
    info = data.info
    description = ModelDescription(
        kind=kind,
        name=name,
        resolution=(info.height, info.width),
        frame_rate=info.frame_rate,
        action_space=action_space(info),
        statistics=describe_statistics(statistics),
        columns=encoder.columns,
        sampler=SamplerConfig.for_net(net.config),
        stream=stored_stream(file) or StreamConfig.with_steps(4, net.config.shift),
    )
    description = replace(description, **changes)
    return write_model_folder(
        out,
        description,
        net=net,
        tokenizer=tokenizer,
        text=text_for(net.config, text),
        readme=readme,
        dtype=dtype,
    )


def find_group(data: Path, name: str | None = None) -> EpisodeGroup:
    """Finds the group of a run's data that has the robot's actions.

    Args:
        data: The run's folder of data.
        name: Of the group; the first with actions that are not withheld where ``None``.

    Raises:
        BadInputError: If there is none.
    """
    store = EpisodeStore(data)
    if name is not None:
        return store.group(name)
    for each in store.names:
        info = store.group(each).info
        if info.action_dim and not info.withheld:
            return store.group(each)
    raise BadInputError(
        f"The data in {data} have no group with actions of its own ({', '.join(store.names)}); "
        "name the group that the model is for."
    )


def action_space(info: GroupInfo) -> ActionSpace:
    """Gives a group's action space: the simulated robots' own, or what is known of a real one."""
    if info.embodiment in EMBODIMENTS:
        return make_embodiment(info.embodiment).spec.space(info.embodiment)
    return ActionSpace(dim=info.action_dim, embodiment=info.embodiment)


def _latest(run: Path, kind: str) -> Path:
    for stage in LATEST[kind]:
        if (path := place_of(run, stage)).is_file():
            return path
    return product(run, LATEST[kind][0])
