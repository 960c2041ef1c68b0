"""What enters the network: latents that fit it, and the channels that say what is known of them.

Shapes: B batch, C latent channels, T latent frames, Y X latent rows and columns.
"""

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.kv_cache import KVCache
from dojobench.reference_model.net_config import WorldModelConfig


def check_latents(
    config: WorldModelConfig, latents: torch.Tensor, cache: KVCache | None, first_frame: int
) -> None:
    """Sees that a network can take latents.

    Raises:
        BadInputError: If they are not ``[B, C, T, Y, X]`` with the network's channels and sides
            that can be cut into patches.
        ValueError: If there is a cache and they are not the one frame that follows it.
    """
    rows, columns = latents.shape[-2:]
    if latents.dim() != 5 or latents.shape[1] != config.latent_channels:
        raise BadInputError(
            f"The world model '{config.name}' takes latents [batch, {config.latent_channels}, "
            f"time, height, width], not {list(latents.shape)}; use the tokenizer it was "
            "trained with."
        )
    if rows % config.patch or columns % config.patch:
        raise BadInputError(
            f"Latents of {rows}x{columns} cannot be cut into {config.patch}x{config.patch} "
            "patches; use a resolution whose latents can."
        )
    if cache is not None and (latents.shape[2] != 1 or first_frame != cache.frames):
        raise ValueError(
            f"A cache of {cache.frames} frames takes frame {cache.frames} alone, not "
            f"{latents.shape[2]} frames from {first_frame}."
        )


def join_channels(
    config: WorldModelConfig,
    latents: torch.Tensor,
    condition_mask: torch.Tensor | None,
    padding: torch.Tensor | None,
    context: torch.Tensor | None,
) -> torch.Tensor:
    """Joins latents, condition mask, padding and context along the channels, in this order.

    Args:
        config: Says which of them there are.
        latents: ``[B, C, T, Y, X]``.
        condition_mask: ``[B, T]``, 1 where a latent frame is given; nowhere where ``None``.
        padding: ``[B, Y, X]``, 1 where a frame is padded; nowhere where ``None``.
        context: ``[B, C, Y, X]`` or ``[B, C, T, Y, X]``, for networks with context channels.

    Returns:
        ``[B, config.input_channels, T, Y, X]``.

    Raises:
        BadInputError: If the network has context channels and there is no context.
    """
    batch, _, frames, rows, columns = latents.shape
    plane = latents.new_zeros(batch, 1, frames, rows, columns)
    given = plane
    if condition_mask is not None:
        given = plane + condition_mask.to(plane.dtype)[:, None, :, None, None]
    channels = [latents, given]
    if config.padding_mask:
        channels.append(plane if padding is None else plane + padding.to(plane)[:, None, None])
    if config.context_channels:
        if context is None:
            raise BadInputError(
                f"The world model '{config.name}' has context channels; pass the latents "
                "of the context frame as 'context'."
            )
        known = context.unsqueeze(2) if context.dim() == 4 else context
        channels.append(known.to(latents).expand(-1, -1, frames, -1, -1))
    return torch.cat(channels, dim=1)
