"""Solvers of the flow from noise to video: Euler, and UniPC of second order.

Both follow a list of times from 1 down to 0. UniPC (Zhao et al. 2023, arXiv:2302.04867) works on
predictions of the clean latents in the log of the signal-to-noise ratio ``lambda = log((1 - t) /
t)``: each step first corrects the state with the newest prediction, then predicts the next state
with the last two. It is the variant B2(h) with second order that the published models are sampled
with, the same as diffusers' ``UniPCMultistepScheduler`` with flow prediction.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch

Velocity = Callable[[torch.Tensor, float], torch.Tensor]
"""From a state and its time to a velocity of the same shape."""
OnStep = Callable[[int, float, torch.Tensor], None]
"""Told the step's index, its time and the state the step starts from."""
Solver = Literal["unipc", "euler"]

_LARGEST_TIME = 1 - 1e-6


def schedule(steps: int, shift: float, *, first: float = 1.0, last: float = 1e-3) -> list[float]:
    """Gives the times of a run: evenly spaced, shifted, then 0.

    Args:
        steps: Network passes, at least 1.
        shift: Timestep shift, that of training.
        first: Where the even spacing starts; 1 in diffusers, 0.999 in the released sampler.
        last: Where it would arrive after ``steps``; 0.001 in diffusers, 0 in the released sampler.

    Returns:
        ``steps + 1`` times, descending to 0.
    """
    if steps < 1:
        raise ValueError(f"A sampler needs at least 1 step, not {steps}.")
    even = [first - i * (first - last) / steps for i in range(steps)]
    return [shift * t / (1 + (shift - 1) * t) for t in even] + [0.0]


def solve(
    solver: Solver,
    velocity: Velocity,
    noise: torch.Tensor,
    times: Sequence[float],
    *,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Runs a solver over the times.

    Args:
        solver: Which.
        velocity: The flow.
        noise: State at the first time, any shape.
        times: Descending to 0, as ``schedule`` gives them.
        on_step: Called before each step, for saving trajectories.

    Returns:
        The state at time 0.
    """
    if list(times) != sorted(set(times), reverse=True) or times[-1] != 0 or len(times) < 2:
        raise ValueError(f"A sampler's times must descend to 0, not {list(times)}.")
    run = _unipc if solver == "unipc" else _euler
    return run(velocity, noise, times, on_step or _ignore)


def _ignore(step: int, time: float, state: torch.Tensor) -> None:
    del step, time, state


def _euler(
    velocity: Velocity, x: torch.Tensor, times: Sequence[float], on_step: OnStep
) -> torch.Tensor:
    for step, (time, following) in enumerate(pairwise(times)):
        on_step(step, time, x)
        x = x + (following - time) * velocity(x, time)
    return x


def _unipc(
    velocity: Velocity, x: torch.Tensor, times: Sequence[float], on_step: OnStep
) -> torch.Tensor:
    # At time 1 the log signal-to-noise ratio is minus infinity.
    nodes = [min(time, _LARGEST_TIME) for time in times[:-1]]
    clean: dict[int, torch.Tensor] = {}
    before = x
    for step, time in enumerate(nodes):
        on_step(step, time, x)
        newest = x - time * velocity(x, time)
        if step > 0:
            order = _order(step - 1, len(nodes))
            x = _advance(before, nodes, step - 1, clean, order, newest=newest)
        clean[step] = newest
        clean.pop(step - 2, None)
        if step == len(nodes) - 1:
            break
        before = x
        x = _advance(x, nodes, step, clean, _order(step, len(nodes)))
    return newest


def _order(step: int, steps: int) -> int:
    """The first step knows one prediction; the last is of first order for stability."""
    return min(2, step + 1, steps - step)


def _advance(
    x: torch.Tensor,
    nodes: Sequence[float],
    step: int,
    clean: Mapping[int, torch.Tensor],
    order: int,
    newest: torch.Tensor | None = None,
) -> torch.Tensor:
    """Goes from node ``step`` to the next; with ``newest``, the prediction there, as corrector.

    ``clean`` holds the predictions of the clean latents at nodes ``step`` and ``step - 1``.
    """
    now, following = nodes[step], nodes[step + 1]
    h = _log_ratio(following) - _log_ratio(now)
    decay = math.expm1(-h)
    base = (following / now) * x - (1 - following) * decay * clean[step]
    slope = None
    if order == 2:
        ratio = (_log_ratio(nodes[step - 1]) - _log_ratio(now)) / h
        slope = (clean[step - 1] - clean[step]) / ratio
    if newest is None:
        return base if slope is None else base - (1 - following) * decay * 0.5 * slope
    change = newest - clean[step]
    if slope is None:
        return base - (1 - following) * decay * 0.5 * change
    past, present = _corrector_weights(-h, ratio)
    return base - (1 - following) * decay * (past * slope + present * change)


def _log_ratio(time: float) -> float:
    return math.log1p(-time) - math.log(time)


def _corrector_weights(h: float, ratio: float) -> tuple[float, float]:
    """Solves ``[[1, 1], [r, 1]] w = b`` for the second-order corrector."""
    decay = math.expm1(h)
    first = (decay / h - 1) / decay
    second = ((decay / h - 1) / h - 0.5) * 2 / decay
    past = (second - first) / (ratio - 1)
    return past, first - past
