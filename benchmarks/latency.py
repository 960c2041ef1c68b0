"""How fast a model is, as somebody who steers a robot through it would feel it.

The clock runs around one ``step``, with the device synchronised on both sides and warm-up kept
apart. Nothing of the harness is inside: frames are not scored, and what the null model costs
under the same clock stands beside the result.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from dojobench.protocol import Actions, BadInputError, Frames, ModelSpec, Session, WorldModel


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyConfig:
    """What is timed.

    Attributes:
        resolution: ``(height, width)`` of the frames.
        context_frames: Frames in the context.
        chunk: Actions per step.
        action_dim: Width of an action.
        frame_rate: Frames per second that would be real time.
        batch: Rollouts stepped together.
        sessions: How many rollouts are timed.
        steps: Steps timed per rollout, after the first.
        warmup: Rollouts made and not timed.
        seed: Seed of the frames and actions.
        device: Where context and actions are put.
    """

    resolution: tuple[int, int]
    context_frames: int
    chunk: int
    action_dim: int
    frame_rate: float
    batch: int = 1
    sessions: int = 3
    steps: int = 20
    warmup: int = 1
    seed: int = 0
    device: str = "cpu"


PRESETS: dict[str, dict[str, int | tuple[int, int] | float]] = {
    "dreamdojo-teacher": {
        "resolution": (480, 640),
        "context_frames": 1,
        "chunk": 12,
        "frame_rate": 10.0,
        "batch": 1,
    },
    "dreamdojo-student": {
        "resolution": (480, 640),
        "context_frames": 12,
        "chunk": 4,
        "frame_rate": 10.0,
        "batch": 1,
    },
}
"""The conditions of the published figures: 12 frames from 1, and 4 frames from 12."""


@dataclass(kw_only=True)
class SessionTimes:
    """Seconds of one rollout.

    Attributes:
        start_s: Opening the session.
        steps_s: Every step in order; the first one makes the first frames.
        model_s: The part of each step spent in the model, where a server tells; else empty.
        peak_bytes: Highest device memory while it ran; ``None`` on a CPU.
    """

    start_s: float = 0.0
    steps_s: list[float] = field(default_factory=list)
    model_s: list[float] = field(default_factory=list)
    peak_bytes: int | None = None


class NullModel:
    """Answers with zeros at once: what is left is the cost of the clock and of the frames."""

    def __init__(self) -> None:
        self.spec = ModelSpec(name="null")

    def start(
        self, context: Frames, *, seed: int, instruction: str | None = None
    ) -> "_NullSession":
        """Opens a session that makes frames of the context's size."""
        return _NullSession(context)


class _NullSession:
    def __init__(self, context: Frames) -> None:
        self._like = context

    def step(self, actions: Actions) -> Frames:
        shape = (self._like.shape[0], actions.shape[1], *self._like.shape[2:])
        return torch.zeros(shape, dtype=torch.uint8, device=self._like.device)

    def close(self) -> None:
        pass


def time_sessions(
    model: WorldModel, config: LatencyConfig, *, clock: Callable[[], float] = time.perf_counter
) -> Iterator[SessionTimes]:
    """Times rollouts one after the other; warm-up rollouts come first and are not yielded.

    Args:
        model: The model.
        config: The conditions; they must fit the model's spec.
        clock: Seconds that only go forward.

    Yields:
        Times of one rollout.

    Raises:
        BadInputError: If a step answers with another number of frames than it got actions.
    """
    device = torch.device(config.device)
    context, actions = _inputs(config, device)
    for index in range(config.warmup + config.sessions):
        # A collection in the middle of a step would be billed to the model.
        gc.collect()
        gc.disable()
        try:
            times = _time_session(model, context, actions, config, partial(_timed, device, clock))
        finally:
            gc.enable()
        if index >= config.warmup:
            yield times


def _inputs(config: LatencyConfig, device: torch.device) -> tuple[Frames, Actions]:
    generator = torch.Generator().manual_seed(config.seed)
    shape = (config.batch, config.context_frames, 3, *config.resolution)
    context = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    total = config.chunk * (config.steps + 1)
    actions = torch.rand((config.batch, total, config.action_dim), generator=generator) * 2 - 1
    return context.to(device), actions.to(device)


def _time_session(
    model: WorldModel,
    context: Frames,
    actions: Actions,
    config: LatencyConfig,
    timed: Callable[[Callable[[], Any]], tuple[Any, float]],
) -> SessionTimes:
    times, device = SessionTimes(), context.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    session, times.start_s = timed(lambda: model.start(context, seed=config.seed))
    try:
        for chunk in torch.split(actions, config.chunk, dim=1):
            frames, seconds = timed(partial(session.step, chunk))
            _check(model, frames, chunk)
            times.steps_s.append(seconds)
            if (inside := _server_seconds(session)) is not None:
                times.model_s.append(inside)
    finally:
        session.close()
    if device.type == "cuda":
        times.peak_bytes = torch.cuda.max_memory_allocated(device)
    return times


def _timed(
    device: torch.device, clock: Callable[[], float], call: Callable[[], Any]
) -> tuple[Any, float]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    answer = call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return answer, clock() - began


def _check(model: WorldModel, frames: Frames, actions: Actions) -> None:
    if frames.shape[1] != actions.shape[1]:
        raise BadInputError(
            f"model {model.spec.name} answered {actions.shape[1]} actions with "
            f"{frames.shape[1]} frames, so its speed says nothing; run dojobench conform on it"
        )


def _server_seconds(session: Session) -> float | None:
    """Reads what a remote session says its server needed for the last step."""
    seconds = getattr(session, "server_seconds", None)
    return float(seconds) if isinstance(seconds, int | float) else None
