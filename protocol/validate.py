"""Whether a spec, a context, actions and an answer keep the contract; what is wrong, in words.

The server, the clients and the conformance kit all ask here, so that a mistake reads the same
wherever it is found. Every function raises ``BadInputError`` and returns nothing.
"""

import math
from collections.abc import Sequence

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.spec import Actions, Frames, ModelSpec, Views

MAX_SEED = 2**31 - 1
"""Largest seed of ``WorldModel.start``."""


def check_spec(spec: object, *, who: str) -> None:
    """Refuses a spec whose fields contradict themselves.

    Args:
        spec: What should be a ``ModelSpec``.
        who: The model as its user named it, for the message.

    Raises:
        BadInputError: Naming the field and its value.
    """
    if not isinstance(spec, ModelSpec):
        raise BadInputError(
            f"{who} has a spec of type {type(spec).__name__}, it must be a "
            "dojobench.protocol.ModelSpec"
        )
    space, rate, chunk = spec.action_space, spec.frame_rate, spec.native_chunk
    sizes: tuple[int, ...] = spec.resolution if spec.resolution is not None else (1, 1)
    rules: list[tuple[str, object, bool, str]] = [
        ("name", spec.name, bool(spec.name.strip()), "a name to stand in tables"),
        (
            "resolution",
            spec.resolution,
            len(sizes) == 2 and all(map(_whole, sizes)),
            "(height, width), both at least 1, or None",
        ),
        (
            "frame_rate",
            rate,
            rate is None or (math.isfinite(rate) and rate > 0),
            "above 0 Hz, or None",
        ),
        ("context_frames", spec.context_frames, _whole(spec.context_frames), "at least 1"),
        ("native_chunk", chunk, chunk is None or _whole(chunk), "at least 1, or None"),
        (
            "any_chunk",
            spec.any_chunk,
            spec.any_chunk or chunk is not None,
            "true where native_chunk is None",
        ),
    ]
    if space is not None:
        named = f"empty or {space.dim} names, one a dimension"
        rules += [
            ("action_space.dim", space.dim, _whole(space.dim, least=0), "at least 0"),
            ("action_space.names", space.names, len(space.names) in (0, space.dim), named),
        ]
    for field, value, kept, rule in rules:
        if not kept:
            raise BadInputError(f"{who} has the spec field {field} = {value!r}; it must be {rule}")


def check_context(spec: ModelSpec, context: Frames, views: Views | None = None) -> None:
    """Refuses a context that the spec does not allow.

    Args:
        spec: The model's.
        context: Should be uint8 ``[batch, spec.context_frames, 3, height, width]``.
        views: Further cameras; exactly those that the spec names.

    Raises:
        BadInputError: Naming what came and what is wanted.
    """
    _check_frames_in(spec, context, "the context")
    given = views or {}
    if missing := [name for name in spec.views if name not in given]:
        raise BadInputError(
            f"model {spec.name} needs the camera view {missing[0]!r} and was started with "
            f"{', '.join(map(repr, given)) or 'none'}"
        )
    if extra := [name for name in given if name not in spec.views]:
        raise BadInputError(
            f"model {spec.name} takes the camera views {', '.join(spec.views) or 'none'} and was "
            f"started with {extra[0]!r}"
        )
    for name, frames in given.items():
        if frames.ndim == 5 and frames.shape[:2] != context.shape[:2]:
            raise BadInputError(
                f"the camera view {name!r} has batch and time {tuple(frames.shape[:2])} and the "
                f"context {tuple(context.shape[:2])}; they must be equal"
            )
        _check_frames_in(spec, frames, f"the camera view {name!r}", sized=False)


def _check_frames_in(spec: ModelSpec, frames: Frames, what: str, *, sized: bool = True) -> None:
    if frames.dtype != torch.uint8:
        raise BadInputError(f"{what} is {_dtype(frames)}, it must be uint8 RGB, 0 to 255")
    if frames.ndim != 5 or frames.shape[2] != 3 or not all(frames.shape):
        raise BadInputError(
            f"{what} has shape {tuple(frames.shape)}, it must be [batch, time, 3, height, width]"
        )
    if frames.shape[1] != spec.context_frames:
        raise BadInputError(
            f"{what} has {frames.shape[1]} frames and model {spec.name} wants "
            f"{spec.context_frames}; give the last {spec.context_frames}"
        )
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    wanted = spec.resolution
    if sized and wanted is not None and wanted != size:
        raise BadInputError(
            f"{what} is {size[0]}x{size[1]} (height x width) and model {spec.name} works at "
            f"{wanted[0]}x{wanted[1]}; resize it"
        )


def check_seed(seed: int) -> None:
    """Refuses a seed that is not in ``0..2**31 - 1``."""
    if not _whole(seed, least=0) or seed > MAX_SEED:
        raise BadInputError(f"the seed is {seed!r}, it must be a whole number 0 to {MAX_SEED}")


def check_actions(spec: ModelSpec, actions: Actions, *, batch: int) -> None:
    """Refuses actions that the spec does not allow.

    Args:
        spec: The model's.
        actions: Should be finite float32 ``[batch, n >= 1, action_dim]``.
        batch: Of the session.

    Raises:
        BadInputError: Naming what came and what is wanted.
    """
    if actions.dtype != torch.float32:
        raise BadInputError(f"the actions are {_dtype(actions)}, they must be float32")
    if actions.ndim != 3 or actions.shape[0] != batch:
        raise BadInputError(
            f"the actions have shape {tuple(actions.shape)}, they must be [{batch}, n, action_dim]"
        )
    count, width = int(actions.shape[1]), int(actions.shape[2])
    if count < 1:
        raise BadInputError("a step has 0 actions; give at least 1, each makes one frame")
    if spec.action_space is not None and width != spec.action_space.dim:
        raise BadInputError(
            f"the actions have width {width} and model {spec.name} takes {spec.action_space.dim} "
            f"({spec.action_space.embodiment})"
        )
    if not spec.any_chunk and spec.native_chunk and count % spec.native_chunk:
        raise BadInputError(
            f"a step has {count} actions and model {spec.name} takes multiples of "
            f"{spec.native_chunk} only"
        )
    finite = torch.isfinite(actions)
    if not bool(finite.all()):
        sample, k, dim = (int(i) for i in (~finite).nonzero()[0])
        raise BadInputError(
            f"action {k} of sample {sample} has {float(actions[sample, k, dim])} in dimension "
            f"{dim}; actions must be finite"
        )


def check_answer(
    frames: object,
    shape: Sequence[int],
    *,
    who: str,
    device: torch.device | None = None,
) -> None:
    """Refuses an answer that is not the frames asked for.

    Args:
        frames: What the session's step returned.
        shape: ``(batch, n, 3, height, width)`` asked for.
        who: Subject of the message, such as ``model blur`` or ``the server at ws://…``.
        device: Where the answer must be; ``None``: anywhere.

    Raises:
        BadInputError: Naming both values.
    """
    if not isinstance(frames, torch.Tensor):
        raise BadInputError(f"{who} answered with a {type(frames).__name__}, not a torch tensor")
    if frames.dtype != torch.uint8:
        bad = frames.is_floating_point() and not bool(torch.isfinite(frames).all())
        raise BadInputError(
            f"{who} answered with {'NaN or infinite values and ' if bad else ''}dtype "
            f"{_dtype(frames)} instead of uint8, 0 to 255; round and convert in the model's step"
        )
    if frames.ndim == 5 and frames.shape[1] != shape[1]:
        raise BadInputError(
            f"{who} answered with {frames.shape[1]} frames to {shape[1]} actions; it owes one "
            "frame an action, without the context"
        )
    if tuple(frames.shape) != tuple(shape):
        raise BadInputError(
            f"{who} answered with frames of shape {tuple(frames.shape)} instead of {tuple(shape)}"
        )
    if device is not None and frames.device.type != device.type:
        raise BadInputError(
            f"{who} answered with frames on {frames.device} to a context on {device}; move them"
        )


def _whole(value: object, *, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
