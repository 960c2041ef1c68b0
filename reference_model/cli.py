"""``dojobench convert``: published checkpoints into weights files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Converts a published checkpoint to safetensors, checking every name and shape."""

    source: tyro.conf.Positional[Path]
    """Folder of a distributed checkpoint, or a .pt, .ckpt or .safetensors file."""
    out: Path
    """Weights file to write (.safetensors)."""
    layout: Literal["auto", "2b", "14b", "lam"] = "auto"
    """What it must be: a world model's size or the latent action model."""
    weights: Literal["auto", "ema", "raw"] = "auto"
    """Averaged or last weights; the averaged where there are any."""
    dtype: Literal["keep", "bfloat16", "float32"] = "keep"
    """Number format to write."""
    new_actions: bool = False
    """Accept a base model without action embedders and draw them afresh."""
    seed: int = 0
    """Seed of fresh action embedders."""


def convert(argv: list[str]) -> int:
    """Runs ``dojobench convert``."""
    command = tyro.cli(ConvertCommand, args=argv, prog="dojobench convert")
    if command.out.suffix != ".safetensors":
        raise BadInputError(f"The file {command.out} to write must end in .safetensors; rename it.")
    import torch

    from dojobench.datasets.progress import track
    from dojobench.reference_model.convert import convert_checkpoint
    from dojobench.reference_model.published import published_layouts

    layout = None if command.layout == "auto" else published_layouts()[command.layout]
    dtype = None if command.dtype == "keep" else getattr(torch, command.dtype)
    done = convert_checkpoint(
        command.source,
        command.out,
        layout=layout,
        weights=command.weights,
        dtype=dtype,
        draw_actions=command.new_actions,
        seed=command.seed,
        track=lambda names: track(names, "converting", len(list(names))),
    )
    sys.stdout.write(
        f"{done.path}: {done.layout}, weights '{done.prefix}*', {done.tensors} tensors, "
        f"{done.parameters / 1e6:.1f} million parameters\n"
    )
    if done.drawn:
        sys.stdout.write(f"drawn afresh: {', '.join(done.drawn)}\n")
    return 0
