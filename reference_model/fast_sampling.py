"""The teacher's and the student's sampling on a ``FastNet``: ``generation`` and ``streaming``.

What is computed is the same, in another order; guidance, which nobody evaluates with, is not
offered. The whole solving of a chunk stays in tokens, whose features are those of the latents.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import floor
from typing import NamedTuple

import torch
from torch import Tensor

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import StreamDisplacement
from dojobench.reference_model.dit import Text
from dojobench.reference_model.fast_net import FastNet
from dojobench.reference_model.frame_graph import FrameGraph
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.kv_cache import KVCache
from dojobench.reference_model.pass_plan import Plan
from dojobench.reference_model.samplers import solve
from dojobench.reference_model.streaming import StreamConfig


@lru_cache(maxsize=32)
def told_times(config: SamplerConfig) -> tuple[float, ...]:
    """Lists the times that a solver will tell the network, in order."""
    asked: list[float] = []

    def record(state: Tensor, time: float) -> Tensor:
        asked.append(floor(time * 1000) / 1000 if config.released_times else time)
        return torch.zeros_like(state)

    solve(config.solver, record, torch.zeros(1), config.times())
    return tuple(asked)


def sample_chunk(
    fast: FastNet,
    context: Tensor,
    actions: Tensor,
    *,
    config: SamplerConfig,
    noise: Tensor,
    text: Text | None = None,
) -> Tensor:
    """Samples the latents that follow a context; see ``generation.sample``.

    Args:
        fast: The network.
        context: ``[B, C, c, Y, X]``, clean latents.
        actions: ``[B, n, width]``, four for each latent frame but frame 0.
        config: Solver, steps and shift, without guidance.
        noise: ``[B, C, n / 4 + 1 - c, Y, X]``; of all frames for a network without clean context.
        text: As ``encode_text`` gives it.

    Returns:
        ``[B, C, 1 + n / 4, Y, X]`` float32, the context first.

    Raises:
        BadInputError: If guidance is asked for.
    """
    if config.guidance:
        raise BadInputError(
            f"The sampler's guidance is {config.guidance:g}, which world models here do without; "
            "set it to 0."
        )
    net = fast.net.config
    context = context.float()
    batch, _, given, rows, columns = context.shape
    frames = 1 + actions.shape[1] // net.actions.per_latent
    fixed = context if net.clean_context else context[:, :, :0]
    known = fixed.shape[2]
    plan = fast.planner.plan(
        told_times(config),
        actions,
        batch=batch,
        frames=frames,
        rows=rows,
        columns=columns,
        given=known,
        context=context[:, :, 0] if net.context_channels else None,
    )
    first = fast.to_tokens(fixed)
    passes = iter(range(len(told_times(config))))

    def velocity(state: Tensor, time: float) -> Tensor:
        del time
        tokens = torch.cat([first, state], dim=1)
        return fast.velocity(tokens, plan, next(passes), fixed=known, text=text)

    made = solve(config.solver, velocity, fast.to_tokens(noise), config.times())
    made = fast.to_latents(made[:, given - frames :], rows, columns)
    return torch.cat([context, made], dim=2)


class Unfilled(NamedTuple):
    """A frame that is made, but whose keys and values are not in the cache yet.

    Attributes:
        tokens: ``[B, 1, N, F]``, clean.
        plan: Whose last pass, at time 0, is to fill the cache.
    """

    tokens: Tensor
    plan: Plan


def denoise(
    fast: FastNet,
    plan: Plan,
    draws: Sequence[Tensor],
    times: Sequence[float],
    cache: KVCache,
    text: Text | None = None,
    before: Unfilled | None = None,
) -> Tensor:
    """Makes one latent frame in a few passes; see ``streaming.denoise_frame``.

    Args:
        fast: The network.
        plan: Of the passes.
        draws: Noise ``[B, 1, N, F]`` of the passes, or one for all of them.
        times: Descending, the first 1.
        cache: The frames before.
        text: As ``encode_text`` gives it.
        before: The frame before, where the cache lacks it; the first pass puts it there.

    Returns:
        ``[B, 1, N, F]`` float32.
    """
    state = draws[0]
    for step, time in enumerate(times):
        if step > 0:
            again = draws[step if len(draws) > 1 else 0]
            state = time * again + (1 - time) * state
        if step == 0 and before is not None:
            both = torch.cat([before.tokens, state], dim=1)
            joint = plan.following(before.plan)
            velocity = fast.velocity(both, joint, 0, fixed=1, cache=cache, text=text)
            cache.commit()
        else:
            velocity = fast.velocity(state, plan, step, cache=cache, text=text)
        state = torch.sub(state, velocity, alpha=time)
    return state


class FastStream:
    """A rollout that goes on for as long as actions come; see ``streaming.LatentStream``.

    A frame's keys and values are put into the cache by the first pass of the next frame. So an
    answer does not wait for them, and the weights are read four times a frame instead of five.

    Args:
        fast: The network.
        context: ``[B, C, c, Y, X]``, clean latents of the first ``c`` frames.
        config: Window and steps.
        text: As ``encode_text`` gives it.
        graphed: Whether all passes of a frame, that which fills the cache too, are replayed as
            one CUDA graph once the window is full.

    Attributes:
        cache: Keys and values of the last frames, but perhaps the very last.

    Raises:
        BadInputError: If the network takes no clean context.
    """

    def __init__(
        self,
        fast: FastNet,
        context: Tensor,
        *,
        config: StreamConfig,
        text: Text | None = None,
        graphed: bool = False,
    ) -> None:
        net = fast.net
        if not net.config.clean_context:
            raise BadInputError(
                "A network without clean context cannot stream; train it with 'clean_context'."
            )
        self._fast, self._config, self._text = fast, config, text
        batch, _, given, rows, columns = context.shape
        self._batch, self._rows, self._columns = batch, rows, columns
        self._context = context[:, :, 0].float() if net.config.context_channels else None
        self._graphed = graphed
        self._graph: FrameGraph | None = None
        self._moved = StreamDisplacement(net.config.actions, config.window)
        self._unfilled: Unfilled | None = None
        self.cache = net.new_cache(batch=batch, height=rows, width=columns, window=config.window)
        for frame in range(given):
            plan = self.plan((0.0,), None, given=int(config.mark_context))
            tokens = fast.to_tokens(context[:, :, frame : frame + 1].float())
            fast.remember(tokens, plan, 0, self.cache, text)
            self.cache.commit()

    def step(self, actions: Tensor, noise: Tensor) -> Tensor:
        """Makes the next latent frame and goes on to it.

        Args:
            actions: ``[B, 4, width]`` that lead to it.
            noise: ``[config.draws, B, C, 1, Y, X]``.

        Returns:
            ``[B, C, 1, Y, X]`` float32.
        """
        # Time 0 is that of the pass that fills the cache.
        plan = self.plan((*self._config.times, 0.0), actions)
        draws = [self._fast.to_tokens(each) for each in noise]
        if self._graphed and self.cache.frames >= self.cache.window:
            self._fill()
            if self._graph is None:
                self._graph = FrameGraph(self._frame, plan, draws)
            tokens = self._graph.replay(plan, draws)
            self.cache.commit()
        else:
            tokens = self.denoised(plan, draws)
            self._unfilled = Unfilled(tokens, plan)
        self._moved.add(actions)
        return self._latent(tokens)

    def propose(self, actions: Tensor, noise: Tensor) -> Tensor:
        """Makes the next latent frame without going on to it; otherwise as ``step``."""
        plan = self.plan(self._config.times, actions)
        draws = [self._fast.to_tokens(each) for each in noise]
        return self._latent(self.denoised(plan, draws))

    def denoised(self, plan: Plan, draws: Sequence[Tensor]) -> Tensor:
        """Makes the next frame's tokens; the cache gets the frame before, if it lacks it."""
        before, self._unfilled = self._unfilled, None
        times = self._config.times
        return denoise(self._fast, plan, draws, times, self.cache, self._text, before)

    def _frame(self, plan: Plan, draws: Sequence[Tensor]) -> Tensor:
        """Makes a frame and leaves its keys and values in the cache."""
        tokens = self.denoised(plan, draws)
        last = len(self._config.times)
        self._fast.remember(tokens, plan, last, self.cache, self._text)
        return tokens

    def _fill(self) -> None:
        """Puts into the cache what it lacks."""
        if self._unfilled is not None:
            tokens, plan = self._unfilled
            last = len(self._config.times)
            self._fast.remember(tokens, plan, last, self.cache, self._text)
            self.cache.commit()
            self._unfilled = None

    def plan(
        self,
        times: tuple[float, ...],
        actions: Tensor | None,
        given: int = 0,
    ) -> Plan:
        """Prepares passes over the next frame; ``actions`` lead to it."""
        return self._fast.planner.plan(
            times,
            actions,
            first_frame=self.cache.frames + int(self._unfilled is not None),
            displacement=None if actions is None else self._moved.before,
            context=self._context,
            batch=self._batch,
            frames=1,
            rows=self._rows,
            columns=self._columns,
            given=given,
        )

    def _latent(self, tokens: Tensor) -> Tensor:
        return self._fast.to_latents(tokens, self._rows, self._columns)
