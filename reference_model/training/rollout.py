"""A student's own rollouts, with gradients where training wants them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import StreamDisplacement
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.streaming import (
    LatentStream,
    StreamConfig,
    commit_frame,
    denoise_frame,
)


def draw_noise(
    context: Tensor, frames: int, stream: StreamConfig, generator: torch.Generator
) -> Tensor:
    """Draws ``[frames, draws, B, C, 1, Y, X]``, what ``frames`` new latent frames start from."""
    shape = (frames, stream.draws, *context.shape)
    return torch.randn(shape, generator=generator, device=context.device)


def student_rollout(
    net: WorldModelNet,
    context: Tensor,
    actions: Tensor,
    noise: Tensor,
    /,
    *,
    stream: StreamConfig,
    exits: Sequence[int],
    graded: int = 0,
    **conditions: Any,
) -> Tensor:
    """Rolls a student out, each frame stopped after some steps: Self Forcing (arXiv:2506.08009).

    With all steps and no gradients it is what ``LatentStream`` makes.

    Args:
        net: The student.
        context: ``[B, C, 1, Y, X]``, the clean first latent frame.
        actions: ``[B, n, width]`` from the first action on, at least as many as are needed.
        noise: As ``draw_noise`` gives it, for as many frames as there are exits.
        stream: Window and times.
        exits: Of each new frame, how many steps it takes, 1 to ``len(stream.times)``.
        graded: How many of the last frames carry a gradient, each through its last step alone.
        **conditions: Passed on to the network.

    Returns:
        ``[B, C, 1 + len(exits), Y, X]`` float32, the context first.

    Raises:
        BadInputError: If there are fewer actions than the rollout needs.
    """
    per = net.config.actions.per_latent
    if actions.shape[1] < per * len(exits):
        raise BadInputError(
            f"A rollout of {len(exits)} latent frames needs {per * len(exits)} actions, not "
            f"{actions.shape[1]}; draw longer windows or roll out less."
        )
    batch, _, _, rows, columns = context.shape
    cache = net.new_cache(batch=batch, height=rows, width=columns, window=stream.window)
    mark = context.new_full((batch, 1), float(stream.mark_context))
    commit_frame(net, cache, context, actions[:, :0], condition_mask=mark, **conditions)
    moved = StreamDisplacement(net.config.actions, stream.window)
    wanted = torch.is_grad_enabled()
    made = [context.float()]
    for frame, steps in enumerate(exits, start=1):
        led = actions[:, per * (frame - 1) : per * frame]
        told = {**conditions, "displacement": moved.before}
        own = noise[frame - 1]
        with torch.set_grad_enabled(wanted and len(exits) - frame < graded):
            times = stream.times[:steps]
            fresh = own[1:] if stream.renoise == "fresh" else None
            latent = denoise_frame(net, cache, own[0], led, times, fresh=fresh, **told)
        made.append(latent)
        # Nobody looks back at the last one.
        if frame < len(exits):
            commit_frame(net, cache, latent.detach(), led, **told)
            moved.add(led)
    return torch.cat(made, dim=2)


@torch.no_grad()
def stream_out(
    net: WorldModelNet,
    context: Tensor,
    actions: Tensor,
    noise: Tensor,
    /,
    *,
    stream: StreamConfig,
    **conditions: Any,
) -> Tensor:
    """Rolls a student out as it is used, as far as the noise reaches.

    Args:
        net: The student.
        context: ``[B, C, 1, Y, X]``.
        actions: ``[B, n, width]``, four for each new frame.
        noise: As ``draw_noise`` gives it.
        stream: Window and times.
        **conditions: Passed on to the network.

    Returns:
        ``[B, C, 1 + len(noise), Y, X]`` float32, the context first.
    """
    per = net.config.actions.per_latent
    live = LatentStream(net, context, config=stream, **conditions)
    made = [
        live.step(actions[:, per * frame : per * (frame + 1)], noise=own)
        for frame, own in enumerate(noise)
    ]
    return torch.cat([context.float(), *made], dim=2)
