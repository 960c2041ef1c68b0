"""Steps a model through a batch of clips, with the clock running and every answer checked."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from dojobench.datasets.suite import Clip
from dojobench.protocol import Actions, BadInputError, Frames, ModelSpec, Session, WorldModel
from dojobench.protocol.validate import check_answer

DEFAULT_CHUNK = 16
"""Actions per step for a model without a native chunk: bounds memory on long clips."""


@dataclass(kw_only=True)
class StepTimes:
    """Wall-clock seconds with the device synchronised; ``step_frames`` counts frames a clip."""

    start_s: float = 0.0
    steps_s: list[float] = field(default_factory=list)
    step_frames: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a rollout starts from.

    Attributes:
        names: The clips' ids, for messages.
        context: uint8 ``[batch, context, 3, height, width]``; the model gets the last ones.
        views: Further cameras' contexts.
        actions: float32 ``[batch, frames, action_dim]``.
        seed: For the model.
        instruction: For the model.
        clips: Opened clips, for a privileged model only.
    """

    names: str
    context: Frames
    actions: Actions
    seed: int
    instruction: str | None = None
    views: dict[str, Frames] = field(default_factory=dict)
    clips: tuple[Clip, ...] = ()


def is_privileged(model: WorldModel) -> bool:
    """Whether the model is given the truth: it has ``start_privileged``."""
    return callable(getattr(model, "start_privileged", None))


def step_lengths(frames: int, spec: ModelSpec, mode: str) -> list[int]:
    """Splits ``frames`` into steps.

    Args:
        frames: Number of frames to predict.
        spec: The model's; without a native chunk, ``chunk`` means ``DEFAULT_CHUNK``.
        mode: ``chunk``, ``all`` or a number of frames.

    Raises:
        BadInputError: If ``mode`` is neither, or a number that the model does not take.
    """
    if mode == "all":
        size = frames
    elif mode == "chunk":
        size = spec.native_chunk or DEFAULT_CHUNK
    elif mode.isdecimal() and int(mode) > 0:
        size = int(mode)
        if not spec.any_chunk and spec.native_chunk and size % spec.native_chunk:
            raise BadInputError(
                f"--steps-at-once {size} is no multiple of the {spec.native_chunk} frames that "
                f"model {spec.name} makes at once"
            )
    else:
        raise BadInputError(f"--steps-at-once is chunk, all or a number of frames, not {mode}")
    return [min(size, frames - start) for start in range(0, frames, size)]


def roll_out(
    model: WorldModel, task: Task, *, device: torch.device, mode: str, times: StepTimes
) -> Generator[Frames, None, None]:
    """Yields the model's answers, step by step, checked.

    A model that takes whole chunks only gets the last chunk filled up with its last action,
    and the frames beyond the clip are dropped.

    Args:
        model: The model; a privileged one is started with ``task.clips``.
        task: What to start from.
        device: Where context and actions are put.
        mode: See ``step_lengths``.
        times: Filled in as the rollout goes.

    Yields:
        uint8 ``[batch, n, 3, height, width]``.

    Raises:
        BadInputError: If an answer breaks the contract or memory runs out.
    """
    spec, actions = model.spec, task.actions.to(device)
    lengths = step_lengths(actions.shape[1], spec, mode)
    resolution = (int(task.context.shape[-2]), int(task.context.shape[-1]))
    batch = int(task.context.shape[0])
    with _memory(spec.name, task.names, batch):
        began = _now(device)
        session = _start(model, task, device)
        times.start_s = _now(device) - began
    try:
        position = 0
        for length in lengths:
            given = actions[:, position : position + length]
            if not spec.any_chunk and spec.native_chunk:
                given = _filled(given, spec.native_chunk)
            with _memory(spec.name, task.names, batch):
                began = _now(device)
                frames = session.step(given)
                times.steps_s.append(_now(device) - began)
            times.step_frames.append(length)
            shape = (batch, int(given.shape[1]), 3, *resolution)
            check_answer(frames, shape, who=f"model {spec.name} on clip {task.names}")
            position += length
            yield frames[:, :length]
    finally:
        session.close()


def _start(model: WorldModel, task: Task, device: torch.device) -> Session:
    wanted = model.spec.context_frames
    context = task.context[:, -wanted:].to(device)
    if is_privileged(model):
        start: Callable[..., Session] = model.start_privileged  # type: ignore[attr-defined]
        return start(context, seed=task.seed, clips=list(task.clips))
    keywords: dict[str, Any] = {}
    if model.spec.views:
        keywords["views"] = {
            view: task.views[view][:, -wanted:].to(device) for view in model.spec.views
        }
    return model.start(context, seed=task.seed, instruction=task.instruction, **keywords)


def _filled(actions: Actions, chunk: int) -> Actions:
    lacking = -int(actions.shape[1]) % chunk
    return torch.cat([actions, actions[:, -1:].expand(-1, lacking, -1)], dim=1)


@contextmanager
def _memory(model: str, clips: str, batch: int) -> Iterator[None]:
    """Turns running out of memory into a sentence with the batch size to try."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        advice = (
            f"try --batch {batch // 2}"
            if batch > 1
            else "with one clip at a time there is none to leave out; try a smaller model or "
            "resolution, or --steps-at-once chunk"
        )
        raise BadInputError(
            f"model {model} ran out of memory on clip {clips} with --batch {batch}; {advice} "
            "(what is scored so far is kept)"
        ) from error


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "can't allocate memory" in text or "not enough memory" in text


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
