"""The factories that ``dojobench run`` finds by name: folders, and the models that are shipped."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from dojobench.protocol import ModelSpec
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import action_encoder
from dojobench.reference_model.checkpoint_io import load_world_model
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.model_folder import (
    CARD,
    TEXT,
    TOKENIZER,
    WEIGHTS,
    ModelDescription,
    fingerprint,
    read_description,
    with_steps,
)
from dojobench.reference_model.samplers import Solver
from dojobench.reference_model.session import LatentModel, Parts
from dojobench.reference_model.student_model import StudentModel
from dojobench.reference_model.teacher_model import TeacherModel
from dojobench.reference_model.text_embedding import text_for
from dojobench.reference_model.tokenizer import CausalTokenizer

Precision = Literal["float32", "bfloat16"]

SHIPPED = Path(__file__).parent / "weights"
"""Folder of the models that come with the package."""


def reference_model(
    checkpoint: Path,
    *,
    steps: int | None = None,
    solver: Solver | None = None,
    precision: Precision = "float32",
    compile: bool = False,
    graphs: bool = False,
) -> LatentModel:
    """Opens a model folder.

    Args:
        checkpoint: The folder, as ``write_model_folder`` wrote it.
        steps: Network passes a chunk (teacher) or a latent frame (student); its own where
            ``None``.
        solver: A teacher's solver; its own where ``None``.
        precision: Number format to compute in.
        compile: Whether the network is compiled, which takes a while and then runs faster.
        graphs: Whether a student on a GPU replays its passes as one CUDA graph.

    Raises:
        BadInputError: If the folder is no such model, or a file in it is missing or damaged.
    """
    description = with_steps(read_description(checkpoint), steps)
    if solver is not None:
        if description.kind != "teacher":
            raise BadInputError(
                f"{checkpoint} is a student, whose steps have no solver; leave the option out."
            )
        description = replace(description, sampler=replace(description.sampler, solver=solver))
    _require(checkpoint, WEIGHTS, TOKENIZER)
    dtype = getattr(torch, precision)
    net = load_world_model(checkpoint / WEIGHTS, dtype=dtype)
    if net.config.text is not None:
        _require(checkpoint, TEXT)
    tokenizer = CausalTokenizer.load(checkpoint / TOKENIZER).to(dtype).eval()
    # What convolutions on a CPU work in; otherwise each of them converts its input.
    tokenizer = tokenizer.to(memory_format=torch.channels_last)
    _check_fit(checkpoint, description, net, tokenizer)
    encoder = action_encoder(
        net.config.actions,
        description.action_space.embodiment,
        description.action_statistics(str(checkpoint / CARD)),
        description.columns,
    )
    parts = Parts(
        net=net,
        tokenizer=tokenizer,
        encoder=encoder,
        text=text_for(net.config, checkpoint / TEXT),
        owned=True,
        compiled=compile,
        graphed=graphs,
    )
    weights = fingerprint(checkpoint / WEIGHTS, checkpoint / TOKENIZER)
    return build_model(description, parts, weights=weights)


def _require(checkpoint: Path, *names: str) -> None:
    for name in names:
        if not (checkpoint / name).is_file():
            raise BadInputError(
                f"The model folder {checkpoint} lacks {name}; write it again or fetch it whole."
            )


def _check_fit(
    checkpoint: Path, description: ModelDescription, net: WorldModelNet, tokenizer: CausalTokenizer
) -> None:
    """Sees that frames, tokenizer and network belong together."""
    factor = tokenizer.spatial_factor * net.config.patch
    if any(side % factor for side in description.resolution):
        height, width = description.resolution
        raise BadInputError(
            f"{checkpoint / CARD} says frames of {height}x{width}, but its network takes "
            f"multiples of {factor}; write the folder again."
        )
    if net.config.latent_channels != tokenizer.latent_channels:
        raise BadInputError(
            f"In {checkpoint} the network takes {net.config.latent_channels} latent channels and "
            f"the tokenizer makes {tokenizer.latent_channels}; write the folder again."
        )


def build_model(description: ModelDescription, parts: Parts, *, weights: str) -> LatentModel:
    """Makes a world model of its parts.

    Args:
        description: What the weights are for.
        parts: Network, tokenizer and action encoder.
        weights: Fingerprint for the spec.
    """
    spec = ModelSpec(
        name=description.name,
        version=description.version,
        weights=weights,
        resolution=description.resolution,
        frame_rate=description.frame_rate,
        context_frames=description.context_frames,
        action_space=description.action_space,
    )
    if description.kind == "student":
        return StudentModel(spec, parts, stream=description.stream)
    return TeacherModel(
        spec,
        parts,
        sampler=description.sampler,
        chunk=description.chunk,
        continues=description.continues,
    )


def nano_teacher(
    *,
    steps: int | None = None,
    solver: Solver | None = None,
    precision: Precision = "float32",
    compile: bool = False,
) -> LatentModel:
    """Opens the teacher that comes with the package; options as for ``reference_model``."""
    return reference_model(
        shipped("nano-teacher"), steps=steps, solver=solver, precision=precision, compile=compile
    )


def nano_student(
    *,
    steps: int | None = None,
    precision: Precision = "float32",
    compile: bool = False,
    graphs: bool = False,
) -> LatentModel:
    """Opens the student that comes with the package; options as for ``reference_model``."""
    return reference_model(
        shipped("nano-student"), steps=steps, precision=precision, compile=compile, graphs=graphs
    )


def shipped(name: str) -> Path:
    """Finds a model that comes with the package.

    Raises:
        BadInputError: If this installation lacks its weights.
    """
    folder = SHIPPED / name
    if not (folder / CARD).is_file():
        raise BadInputError(
            f"This installation has no weights of {name} (there is no {folder / CARD}); install a "
            "release, or make them with dojobench reproduce nano and name their folder."
        )
    return folder
