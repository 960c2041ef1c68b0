"""Turns published checkpoints into safetensors: only the weights, checked by name and shape.

Takes a distributed checkpoint's folder (or the iteration's, which holds it as ``model``), a ``.pt``
or Lightning ``.ckpt``, or safetensors. Of a training checkpoint only the wanted weights are read.
Nothing is unpickled, everything is checked before a byte is written, and the file appears whole.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.checkpoint_source import open_source
from dojobench.reference_model.published import ACTION_PARTS, IGNORED, Layout, published_layouts
from dojobench.reference_model.tensor_file import Planned, write_tensors

Weights = Literal["auto", "ema", "raw"]
Track = Callable[[Iterable[str]], Iterable[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """What a conversion did.

    Attributes:
        path: The file.
        layout: Name of the layout.
        weights: ``ema`` or ``raw``, by their prefix in the checkpoint.
        prefix: That prefix; files of averaged weights alone also call them ``net.``.
        tensors: Number of tensors.
        parameters: Number of values.
        drawn: Names of weights that the checkpoint lacked and that were drawn afresh.
    """

    path: Path
    layout: str
    weights: str
    prefix: str
    tensors: int
    parameters: int
    drawn: tuple[str, ...]


def convert_checkpoint(
    source: Path,
    out: Path,
    *,
    layout: Layout | None = None,
    weights: Weights = "auto",
    dtype: torch.dtype | None = None,
    draw_actions: bool = False,
    seed: int = 0,
    track: Track = iter,
) -> Converted:
    """Converts a checkpoint.

    Args:
        source: Folder or file.
        out: Safetensors file to write.
        layout: What it must be; recognised among the published ones where ``None``.
        weights: ``ema`` for the averaged weights, ``raw`` for the last; ``auto`` prefers ``ema``.
        dtype: Number format to write; the checkpoint's own where ``None``.
        draw_actions: Whether action embedders may be missing, as in the base models that
            pretraining starts from; they are drawn afresh, and give zero at first.
        seed: For these.
        track: Wraps names to show progress.

    Raises:
        BadInputError: If the checkpoint is damaged, or not of the layout by name and shape.
    """
    opened = open_source(source)
    found = opened.planned()
    if layout is None:
        layout = _recognise(found, source)
    which, prefix = _choose(found, layout, weights, source)
    own = {n[len(prefix) :]: each for n, each in found.items() if n.startswith(prefix)}
    own = {n: each for n, each in own.items() if not any(part in n for part in IGNORED)}
    own = {n: each for n, each in own.items() if n.startswith(layout.scope)}
    drawn = _drawn(own, layout, seed) if draw_actions else {}
    _check(own, layout, set(drawn), source)
    planned = {
        name: Planned(dtype=dtype or _stored(own, name, drawn), shape=shape)
        for name, shape in layout.shapes.items()
    }
    metadata = {
        "dojobench": layout.kind,
        "config": json.dumps(dict(layout.config), sort_keys=True),
        "converted_from": f"{source.name} ({prefix or 'all'})",
    }

    def read(name: str) -> torch.Tensor:
        return drawn[name] if name in drawn else opened.read(prefix + name)

    write_tensors(out, planned, read, metadata=metadata, track=track)
    return Converted(
        path=out,
        layout=layout.name,
        weights=which,
        prefix=prefix,
        tensors=len(planned),
        parameters=sum(math.prod(shape) for shape in layout.shapes.values()),
        drawn=tuple(sorted(drawn)),
    )


def _recognise(found: Mapping[str, Planned], source: Path) -> Layout:
    """Goes by a shape that no two layouts share."""
    for layout in published_layouts().values():
        name, shape = next(iter(layout.shapes.items()))
        for prefix in layout.prefixes.values():
            if prefix + name in found and found[prefix + name].shape == shape:
                return layout
    raise BadInputError(
        f"{source} is none of the published checkpoints (2b, 14b, lam); its weights have other "
        "names or shapes."
    )


def _choose(
    found: Mapping[str, Planned], layout: Layout, weights: Weights, source: Path
) -> tuple[str, str]:
    wanted = list(layout.prefixes) if weights == "auto" else [weights]
    for which in wanted:
        prefix = layout.prefixes.get(which)
        if prefix is not None and any(name.startswith(prefix) for name in found):
            return which, prefix
    there = sorted({name.split(".")[0] for name in found})
    raise BadInputError(
        f"{source} has no {' or '.join(wanted)} weights of the layout '{layout.name}'; its "
        f"tensors are of: {', '.join(there[:8]) or 'nothing'}."
    )


def _check(own: Mapping[str, Planned], layout: Layout, drawn: set[str], source: Path) -> None:
    for name, shape in layout.shapes.items():
        if name in drawn:
            continue
        if name not in own:
            hint = ""
            if name.startswith(ACTION_PARTS):
                hint = "; for a base model without actions add --new-actions"
            raise BadInputError(
                f"{source} lacks the weight '{name}' of the layout '{layout.name}'{hint}; it is "
                "cut short or another model."
            )
        if own[name].shape != shape:
            raise BadInputError(
                f"{source} has '{name}' of shape {list(own[name].shape)}, but the layout "
                f"'{layout.name}' needs {list(shape)}; it is of another size."
            )
    unknown = sorted(set(own) - set(layout.shapes))
    if unknown:
        raise BadInputError(
            f"{source} has a weight '{unknown[0]}' that the layout '{layout.name}' does not know; "
            "it is another model."
        )


def _drawn(own: Mapping[str, Planned], layout: Layout, seed: int) -> dict[str, torch.Tensor]:
    """Draws missing first layers as PyTorch draws linear layers; last layers are zero."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, shape in layout.shapes.items():
        if name in own or not name.startswith(ACTION_PARTS):
            continue
        values = torch.zeros(shape)
        if ".fc1." in name:
            fan_in = layout.shapes[name.replace(".bias", ".weight")][1]
            values.uniform_(-1, 1, generator=generator).div_(math.sqrt(fan_in))
        drawn[name] = values
    return drawn


def _stored(
    own: Mapping[str, Planned], name: str, drawn: Mapping[str, torch.Tensor]
) -> torch.dtype:
    if name in drawn:
        return next(each.dtype for each in own.values())
    return own[name].dtype
