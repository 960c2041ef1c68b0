"""From context latents and actions to the latents that follow, frame after frame: the student.

Each new latent frame starts as noise and takes a few steps: predict the clean frame, noise it
again to the next time, and so on. One more pass at time 0 puts its keys and values into the
rolling cache (``interactive/models/action_video2world_self_forcing.py`` of NVIDIA/DreamDojo at
02f119b). A single counter, the cache's, indexes positions and actions alike: the released code
keeps two, which part after the first chunk, so that its denoising passes get actions of 0.8 s ago.

Nothing in a pass depends on how long the rollout has been: rotary positions act by differences,
and the displacement beside the actions is that within the window. Frame 150 is made as frame 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import StreamDisplacement
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.kv_cache import KVCache
from dojobench.reference_model.samplers import schedule

PUBLISHED_TIMES = (1.0, 0.9375, 0.8333333333333334, 0.625)
"""Times of the published student: 1, 3/4, 1/2 and 1/4 with shift 5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamConfig:
    """How a student streams.

    Attributes:
        window: Earlier latent frames that a frame sees; 3 are the 12 frames of the paper.
        times: Descending times at which a frame is predicted, the first being pure noise.
        renoise: Whether a frame keeps its noise between steps (``same``, as released) or draws
            it afresh (``fresh``, as Self Forcing does).
        mark_context: Whether the context frame is marked as given, as for the teacher.
    """

    window: int = 3
    times: tuple[float, ...] = PUBLISHED_TIMES
    renoise: Literal["same", "fresh"] = "same"
    mark_context: bool = True

    @property
    def draws(self) -> int:
        """How often a latent frame draws noise."""
        return len(self.times) if self.renoise == "fresh" else 1

    @classmethod
    def with_steps(cls, steps: int, shift: float, **settings: Any) -> "StreamConfig":
        """Gives ``1, (n - 1) / n, ... 1 / n`` under a shift; 4 and 5 give the published times."""
        return cls(times=tuple(schedule(steps, shift, last=0.0)[:-1]), **settings)


def denoise_frame(
    net: WorldModelNet,
    cache: KVCache,
    noise: torch.Tensor,
    actions: torch.Tensor | None,
    times: Sequence[float],
    *,
    fresh: torch.Tensor | None = None,
    **conditions: Any,
) -> torch.Tensor:
    """Makes one latent frame in a few steps; gradients flow through the last step alone.

    Args:
        net: The network.
        cache: The frames before; nothing is committed.
        noise: ``[B, C, 1, Y, X]``.
        actions: ``[B, 4, width]`` that lead to this frame, or ``None``.
        times: Descending, the first 1.
        fresh: ``[len(times) - 1, B, C, 1, Y, X]``, noise for each further step; ``noise`` itself
            where ``None``.
        **conditions: Passed on to the network.

    Returns:
        ``[B, C, 1, Y, X]`` float32, the frame's clean prediction.
    """
    wants_gradient = torch.is_grad_enabled()
    state = noise
    for step, time in enumerate(times):
        if step > 0:
            again = noise if fresh is None else fresh[step - 1]
            state = time * again + (1 - time) * state
        with torch.set_grad_enabled(wants_gradient and step == len(times) - 1):
            told = torch.full((len(noise),), time, device=noise.device)
            velocity = net(
                state, told, actions, first_frame=cache.frames, cache=cache, **conditions
            )
            state = state - time * velocity.float()
    return state


@torch.no_grad()
def commit_frame(
    net: WorldModelNet,
    cache: KVCache,
    latent: torch.Tensor,
    actions: torch.Tensor | None,
    **conditions: Any,
) -> None:
    """Makes a clean latent frame part of the context, by one pass at time 0.

    Args:
        net: The network.
        cache: Receives the frame.
        latent: ``[B, C, 1, Y, X]``.
        actions: ``[B, 4, width]`` that led to it; none for frame 0.
        **conditions: Passed on to the network.
    """
    clean = latent.new_zeros(len(latent))
    net(latent, clean, actions, first_frame=cache.frames, cache=cache, **conditions)
    cache.commit()


class LatentStream:
    """A rollout that goes on for as long as actions come.

    Attributes:
        net: The network.
        config: Window and steps.
        cache: Keys and values of the last frames.
    """

    def __init__(
        self,
        net: WorldModelNet,
        context: torch.Tensor,
        /,
        *,
        config: StreamConfig,
        actions: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        **conditions: Any,
    ) -> None:
        """Starts from context latents.

        Args:
            net: The network.
            context: ``[B, C, c, Y, X]``, clean latents of the first ``c`` frames.
            config: Window and steps.
            actions: ``[B, 4 (c - 1), width]`` that led from frame 0 to the last context frame.
            generator: For the noise, on the context's device.
            **conditions: Passed on to the network, such as ``text``.

        Raises:
            BadInputError: If the context's actions are not as many as needed, or the network
                takes no clean context.
        """
        if not net.config.clean_context:
            raise BadInputError(
                "A network without clean context cannot stream; train it with 'clean_context'."
            )
        self.net = net
        self.config = config
        self._generator = generator
        self._conditions = conditions
        self._moved = StreamDisplacement(net.config.actions, config.window)
        if net.config.text is not None and isinstance(conditions.get("text"), torch.Tensor):
            conditions["text"] = net.encode_text(conditions["text"])
        if net.config.context_channels:
            conditions.setdefault("context", context[:, :, 0])
        batch, _, given, rows, columns = context.shape
        self.cache = net.new_cache(batch=batch, height=rows, width=columns, window=config.window)
        self._shape = (batch, net.config.latent_channels, 1, rows, columns)
        per = net.config.actions.per_latent
        needed = per * (given - 1)
        if actions is not None and actions.shape[1] != needed:
            raise BadInputError(
                f"A context of {given} latent frames was led to by {needed} actions, not "
                f"{actions.shape[1]}; pass {per} for each frame but the first."
            )
        mask = context.new_full((batch, 1), float(config.mark_context))
        for frame in range(given):
            led = None if actions is None else actions[:, per * max(frame - 1, 0) : per * frame]
            self._commit(context[:, :, frame : frame + 1].float(), led, condition_mask=mask)

    @torch.no_grad()
    def step(
        self, actions: torch.Tensor | None, *, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Makes the next latent frame.

        Args:
            actions: ``[B, 4, width]`` that lead to it, or ``None`` for a network without.
            noise: ``[config.draws, B, C, 1, Y, X]`` instead of drawing it.

        Returns:
            ``[B, C, 1, Y, X]`` float32.
        """
        latent = self.propose(actions, noise=noise)
        self._commit(latent, actions)
        return latent

    @torch.no_grad()
    def propose(
        self, actions: torch.Tensor | None, *, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Makes the next latent frame without going on to it; otherwise as ``step``."""
        if noise is None:
            shape = (self.config.draws, *self._shape)
            noise = torch.randn(shape, generator=self._generator, device=self.net.device)
        return denoise_frame(
            self.net,
            self.cache,
            noise[0],
            actions,
            self.config.times,
            fresh=noise[1:] if self.config.renoise == "fresh" else None,
            displacement=self._moved.before,
            **self._conditions,
        )

    def _commit(
        self, latent: torch.Tensor, actions: torch.Tensor | None, **conditions: Any
    ) -> None:
        conditions = {**self._conditions, **conditions}
        moved = self._moved.before
        commit_frame(self.net, self.cache, latent, actions, displacement=moved, **conditions)
        self._moved.add(actions)
