"""Windows of a rollout, as a teacher saw them in training.

A teacher is trained on short clips that begin with a latent of one frame by itself. A stretch from
the middle of a rollout begins otherwise: its first latent stands for four frames. So its last
frame is decoded and encoded by itself (``interactive/models/action_video2world_self_forcing.py``
of NVIDIA/DreamDojo at 02f119b), and its actions are told as a clip's that begins there.
"""

from typing import Any

import torch
from torch import Tensor

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import opening_slots
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.net_config import ActionConfig
from dojobench.reference_model.video_tokenizer import VideoTokenizer, to_uint8


@torch.no_grad()
def still_latent(tokenizer: VideoTokenizer, latents: Tensor) -> Tensor:
    """Encodes the last frame of a clip by itself.

    Args:
        tokenizer: Whose latents they are.
        latents: ``[B, C, m, Y, X]`` from the clip's first latent frame on.

    Returns:
        ``[B, C, 1, Y, X]``; no gradient flows through it.
    """
    if latents.shape[2] == 1:
        return latents.detach()
    by_time = latents.detach().transpose(1, 2)
    decoder = tokenizer.stream_decoder()
    decoder.prime(by_time[:, :-1])
    frame = decoder.push(by_time[:, -1:])[:, -1:]
    return tokenizer.encode(frame).transpose(1, 2).to(latents.dtype)


def window_actions(actions: Tensor, config: ActionConfig, *, first: int, stop: int) -> Tensor:
    """Gives the actions of latent frames ``first`` to before ``stop`` as those of a clip.

    Within each group of four they are relative to the step before it, wherever the clip begins.
    Openings of the first group alone are told otherwise, from the middle of their range
    (``ActionEncoder``), so what the groups before have summed to is added to them.

    Args:
        actions: ``[B, n, width]`` of a clip from its first action on.
        config: For the rows per group.
        first: Latent frame that becomes the context.
        stop: One past the last latent frame.

    Returns:
        ``[B, 4 (stop - first - 1), width]``.
    """
    per = config.per_latent
    taken = actions[:, per * first : per * (stop - 1)]
    openings = opening_slots(actions.shape[-1])
    if first == 0 or not openings or not config.relative:
        return taken
    taken = taken.clone()
    before = actions[:, per - 1 : per * first : per][..., openings].sum(dim=1, keepdim=True)
    taken[:, :per, openings] += before
    return taken


def joined_actions(actions: Tensor, others: Tensor, config: ActionConfig) -> Tensor:
    """Goes on with the actions of another clip; undoes for openings what begins a clip.

    Args:
        actions: ``[B, n, width]`` of a clip from its first action on, whole groups.
        others: ``[B, m, width]`` of another, from its first action on.
        config: For the rows per group.

    Returns:
        ``[B, n + m, width]``.
    """
    per = config.per_latent
    openings = opening_slots(actions.shape[-1])
    if openings and config.relative:
        others = others.clone()
        before = actions[:, per - 1 :: per][..., openings].sum(dim=1, keepdim=True)
        others[:, :per, openings] -= before
    return torch.cat([actions, others], dim=1)


def conditions_of(net: WorldModelNet, context: Tensor, text: Tensor | None) -> dict[str, Any]:
    """Gives what a network is told beside latents, times and actions.

    Args:
        net: The network.
        context: ``[B, C, 1, Y, X]``, the clip's first latent frame.
        text: ``[1, L, features]`` for networks that attend to a stored text.

    Raises:
        BadInputError: If the network needs a text and there is none.
    """
    conditions: dict[str, Any] = {}
    if net.config.context_channels:
        conditions["context"] = context[:, :, 0]
    if net.config.text is not None:
        if text is None:
            raise BadInputError(
                f"The world model '{net.config.name}' attends to a text; give its stored embedding."
            )
        conditions["text"] = text.to(context.device).expand(len(context), -1, -1)
    return conditions


@torch.no_grad()
def side_by_side(tokenizer: VideoTokenizer, left: Tensor, right: Tensor) -> Tensor:
    """Decodes two clips of latents ``[1, C, T, Y, X]`` to one video beside the other.

    Returns:
        uint8 ``[1 + 4 (T - 1), 3, height, 2 width]``.
    """
    videos = [tokenizer.decode(each.transpose(1, 2))[0] for each in (left, right)]
    return to_uint8(torch.cat(videos, dim=-1))
