"""Transformers of the latent action model, named like the published checkpoint's weights.

Shape suffixes: B batch, T frames, S tokens of a frame (the action token and the patches), D width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def patchify(frames: Tensor, size: int) -> Tensor:
    """Cuts frames into patches, row by row; a patch is laid out row, column, colour.

    Args:
        frames: ``[batch, time, 3, height, width]``.
        size: Side of a patch, which divides height and width.

    Returns:
        ``[batch, time, patches, size * size * 3]``.
    """
    batch, time, colours, height, width = frames.shape
    rows, columns = height // size, width // size
    cut = frames.reshape(batch, time, colours, rows, size, columns, size)
    return cut.permute(0, 1, 3, 5, 4, 6, 2).reshape(batch, time, rows * columns, -1)


def unpatchify(patches: Tensor, size: int, height: int, width: int) -> Tensor:
    """Undoes ``patchify``: ``[batch, time, 3, height, width]``."""
    batch, time = patches.shape[:2]
    cut = patches.reshape(batch, time, height // size, width // size, size, size, -1)
    return cut.permute(0, 1, 6, 2, 4, 3, 5).reshape(batch, time, -1, height, width)


def add_positions(x_BTSD: Tensor) -> Tensor:
    """Adds the sinusoidal code of each token's place in its frame, counted from 0.

    In the encoder place 0 is the action token's. The code is
    computed rather than stored, since the published checkpoint has no such entry.
    """
    tokens, width = x_BTSD.shape[2:]
    place = torch.arange(tokens, device=x_BTSD.device, dtype=torch.float32)
    channel = torch.arange(0, width, 2, device=x_BTSD.device, dtype=torch.float32)
    angle = place[:, None] * torch.exp(channel * (-math.log(1e4) / width))
    code = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
    return x_BTSD + code.to(x_BTSD.dtype)


class RotaryEmbedding(nn.Module):
    """Turns neighbouring pairs of channels by an angle that grows with the frame's index."""

    def __init__(self, width: int) -> None:
        super().__init__()
        power = torch.arange(0, width, 2).float() / width
        # A parameter that is never trained, since the published checkpoint lists it as one.
        self.freqs = nn.Parameter(10000.0**-power, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotates ``[..., time, width]``."""
        index = torch.arange(x.shape[-2], device=x.device, dtype=self.freqs.dtype)
        angle = (index[:, None] * self.freqs).float()
        cos, sin = angle.cos(), angle.sin()
        even, odd = x[..., 0::2].float(), x[..., 1::2].float()
        turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
        return turned.flatten(-2).to(x.dtype)


class SelfAttention(nn.Module):
    """Multi-head attention over the second last axis, without biases on query, key and value."""

    def __init__(self, width: int, heads: int, *, rotary: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))
        self.rotary_embedding = RotaryEmbedding(width // heads) if rotary else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[n, tokens, width]`` to the same shape."""
        count, tokens, width = x.shape
        query, key, value = (
            project(x).reshape(count, tokens, self.heads, -1).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        if self.rotary_embedding is not None:
            query, key = self.rotary_embedding(query), self.rotary_embedding(key)
        seen = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(seen.transpose(1, 2).reshape(count, tokens, width))
        return out


def _feed_forward(width: int) -> nn.Sequential:
    # The identity stands where the published network has its dropout (of rate 0), so that the
    # second layer keeps the number 3 that the checkpoint knows it by.
    return nn.Sequential(
        nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width)
    )


class SpatialBlock(nn.Module):
    """Attention within a frame, then a feed-forward layer; both with the norm before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.spatial_attn = SelfAttention(width, heads)
        self.ffn = _feed_forward(width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x_BTSD: Tensor) -> Tensor:
        """Maps ``[B, T, S, D]`` to the same shape."""
        x = x_BTSD.flatten(0, 1)
        x = x + self.spatial_attn(self.norm1(x))
        out: Tensor = x + self.ffn(self.norm2(x))
        return out.reshape(x_BTSD.shape)


class SpatioTemporalBlock(nn.Module):
    """Attention within a frame, attention of each place over time, a feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.spatial_attn = SelfAttention(width, heads)
        self.temporal_attn = SelfAttention(width, heads, rotary=True)
        self.ffn = _feed_forward(width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x_BTSD: Tensor) -> Tensor:
        """Maps ``[B, T, S, D]`` to the same shape."""
        batch, time, tokens, width = x_BTSD.shape
        x = x_BTSD.reshape(batch * time, tokens, width)
        x = x + self.spatial_attn(self.norm1(x))
        x = x.reshape(batch, time, tokens, width).transpose(1, 2)
        x = x.reshape(batch * tokens, time, width)
        x = x + self.temporal_attn(self.norm2(x))
        out: Tensor = x + self.ffn(self.norm3(x))
        return out.reshape(batch, tokens, time, width).transpose(1, 2)


class Transformer(nn.Module):
    """Norm, projection, norm, positions, blocks, projection; ``[B, T, S, in]`` to ``[…, out]``."""

    def __init__(self, widths: tuple[int, int, int], blocks: list[nn.Module]) -> None:
        super().__init__()
        before, width, after = widths
        self.ffn = nn.Sequential(
            nn.LayerNorm(before), nn.Linear(before, width), nn.LayerNorm(width)
        )
        self.transformer_blocks = nn.ModuleList(blocks)
        self.out = nn.Linear(width, after)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps ``[B, T, S, in]`` to ``[B, T, S, out]``."""
        x = add_positions(self.ffn(tokens))
        for block in self.transformer_blocks:
            x = block(x)
        out: Tensor = self.out(x)
        return out
