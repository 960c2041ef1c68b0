"""The parts of the diffusion transformer, named as in the published checkpoints.

Shapes: B batch, T latent frames, N tokens of a frame, S = T N, D width, H heads, K head dimension,
L text tokens. Source: ``cosmos_predict2/_src/predict2/networks/minimal_v4_dit.py`` of
NVIDIA/DreamDojo at 02f119b; the arithmetic and the parameter names are those, the code is not.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional

from dojobench.reference_model.attention import Backend, BlockCausal, attention
from dojobench.reference_model.kv_cache import BlockCache
from dojobench.reference_model.net_config import WorldModelConfig
from dojobench.reference_model.rope import Rotation, rotate

_EPS = 1e-6


class KeysValues(NamedTuple):
    """Keys and values of a text, ``[B, L, H, K]`` each, computed once per text."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What all blocks share in one pass.

    Attributes:
        embedding: ``[B, T or 1, D]``, normalised sum of time and action embeddings.
        shared: ``[B, T or 1, 3 D]``, what is added to every block's modulation.
        rotation: Positions of the S tokens.
        mask: Which frames see which.
        backend: Attention kernel.
        float32: Whether modulations are computed in float32 whatever autocast says.
    """

    embedding: torch.Tensor
    shared: torch.Tensor
    rotation: Rotation
    mask: BlockCausal | None
    backend: Backend
    float32: bool


def init_linear(layer: nn.Linear, std: float | None = None) -> None:
    """Draws weights from a normal cut off at three deviations of ``1 / sqrt(inputs)``."""
    std = 1.0 / math.sqrt(layer.in_features) if std is None else std
    nn.init.trunc_normal_(layer.weight, std=std, a=-3 * std, b=3 * std)


def precise(x: torch.Tensor, float32: bool) -> AbstractContextManager[object]:
    """Keeps autocast away from a small computation that float32 does not slow down."""
    if not float32 or x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def linear(x: torch.Tensor, layer: nn.Linear, float32: bool) -> torch.Tensor:
    """Applies a layer without bias in float32, or in the layer's own format."""
    if float32:
        return functional.linear(x.float(), layer.weight.float())
    return functional.linear(x.to(layer.weight.dtype), layer.weight)


class Patchify(nn.Module):
    """Cuts latents into tokens: ``[B, C, T, h p, w p]`` to ``[B, T, h w, C p p]``."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Channels vary slowest within a token, then rows, then columns."""
        p = self.patch
        batch, channels, frames, rows, columns = latents.shape
        h, w = rows // p, columns // p
        cut = latents.reshape(batch, channels, frames, h, p, w, p).permute(0, 2, 3, 5, 1, 4, 6)
        return cut.reshape(batch, frames, h * w, channels * p * p)


def unpatchify(tokens: torch.Tensor, *, patch: int, height: int, width: int) -> torch.Tensor:
    """Puts tokens together: ``[B, T, h w, p p C]`` to ``[B, C, T, h p, w p]``.

    Rows vary slowest within a token, then columns, then channels: not the order of ``Patchify``,
    but that of the published weights.
    """
    batch, frames, _, features = tokens.shape
    channels = features // patch**2
    grid = tokens.reshape(batch, frames, height, width, patch, patch, channels)
    rows = grid.permute(0, 6, 1, 2, 4, 3, 5)
    return rows.reshape(batch, channels, frames, height * patch, width * patch)


class PatchEmbed(nn.Module):
    """Projects patches of latents and masks to tokens."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        linear = nn.Linear(channels * patch * patch, width, bias=False)
        self.proj = nn.Sequential(Patchify(patch), linear)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Maps ``[B, C, T, Y, X]`` to ``[B, T, N, D]``."""
        tokens: torch.Tensor = self.proj(latents)
        return tokens


class Sinusoids(nn.Module):
    """Cosines, then sines of times at D / 2 rates from 1 down to 1 / 10000."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rates = width // 2

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        """Maps ``[B, T]`` to ``[B, T, D]``, in float32."""
        steps = torch.arange(self.rates, dtype=torch.float32, device=times.device)
        rates = torch.exp(-math.log(10000) * steps / self.rates)
        angles = times.float().unsqueeze(-1) * rates
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """From sinusoids to what all blocks share; the sinusoids themselves pass through."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, width, bias=False)
        self.activation = nn.SiLU()
        self.linear_2 = nn.Linear(width, 3 * width, bias=False)

    def forward(self, sinusoids: torch.Tensor, float32: bool) -> torch.Tensor:
        """Maps ``[B, T, D]`` to ``[B, T, 3 D]``."""
        hidden = self.activation(linear(sinusoids, self.linear_1, float32))
        return linear(hidden, self.linear_2, float32)


class Modulation(nn.Sequential):
    """Adaptive layer norm of low rank: SiLU, D to rank, rank to ``parts`` times D."""

    def __init__(self, width: int, rank: int, parts: int) -> None:
        super().__init__(
            nn.SiLU(),
            nn.Linear(width, rank, bias=False),
            nn.Linear(rank, parts * width, bias=False),
        )
        self.parts = parts

    def init_weights(self) -> None:
        """Draws the first layer afresh; the last starts as zero."""
        init_linear(cast(nn.Linear, self[1]))
        nn.init.zeros_(cast(nn.Linear, self[2]).weight)

    def modulate(self, around: Surroundings) -> tuple[torch.Tensor, ...]:
        """Gives shift, scale and, with three parts, gate, each ``[B, T or 1, 1, D]``."""
        down, up = cast(nn.Linear, self[1]), cast(nn.Linear, self[2])
        with precise(around.embedding, around.float32):
            hidden = linear(self[0](around.embedding), down, around.float32)
            own = linear(hidden, up, around.float32)
            both = own + around.shared[..., : own.shape[-1]]
        return both.unsqueeze(2).chunk(self.parts, dim=-1)


class HeadNorm(nn.RMSNorm):
    """RMS norm over a head, in the number format of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``[..., K]`` to the same shape."""
        # With a weight of another format than the input, PyTorch leaves its fused kernel.
        weight = cast(torch.Tensor, self.weight).to(x.dtype)
        return functional.rms_norm(x, self.normalized_shape, weight, self.eps)


class Attention(nn.Module):
    """Multi-head attention within the video, or from it to a text."""

    def __init__(self, config: WorldModelConfig, context_width: int | None = None) -> None:
        super().__init__()
        width, context = config.width, context_width or config.width
        self.heads = config.heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(context, width, bias=False)
        self.v_proj = nn.Linear(context, width, bias=False)
        self.output_proj = nn.Linear(width, width, bias=False)
        self.q_norm = HeadNorm(config.head_dim, eps=_EPS) if config.qk_norm else nn.Identity()
        self.k_norm = HeadNorm(config.head_dim, eps=_EPS) if config.qk_norm else nn.Identity()

    def init_weights(self) -> None:
        """Draws weights afresh."""
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.output_proj):
            init_linear(layer)
        for norm in (self.q_norm, self.k_norm):
            if isinstance(norm, HeadNorm):
                norm.reset_parameters()

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], self.heads, -1)

    def keys_values(self, context: torch.Tensor) -> KeysValues:
        """Maps ``[B, L, context width]`` to keys and values."""
        k = self.k_norm(self._heads(self.k_proj(context)))
        v = self._heads(self.v_proj(context))
        return KeysValues(k.to(v.dtype), v)

    def attend_within(
        self, x: torch.Tensor, around: Surroundings, cache: BlockCache | None
    ) -> torch.Tensor:
        """Attends from every token of ``[B, S, D]`` to the tokens it may see."""
        q = self.q_norm(self._heads(self.q_proj(x)))
        k, v = self.keys_values(x)
        q, k = rotate(q, around.rotation).to(v.dtype), rotate(k, around.rotation)
        mask = around.mask
        if cache is not None:
            # The ring holds just what this frame may see, so nothing is left to mask.
            dtype = cache.keys.dtype
            k, v = cache.extend(k.to(dtype), v.to(dtype))
            q, mask = q.to(dtype), None
        joined = attention(q, k, v, mask_spec=mask, backend=around.backend).flatten(2)
        output: torch.Tensor = self.output_proj(joined)
        return output

    def attend_to(self, x: torch.Tensor, text: KeysValues, backend: Backend) -> torch.Tensor:
        """Attends from every token of ``[B, S, D]`` to all tokens of a text."""
        q = self.q_norm(self._heads(self.q_proj(x))).to(text.values.dtype)
        joined = attention(q, text.keys, text.values, backend=backend).flatten(2)
        output: torch.Tensor = self.output_proj(joined)
        return output


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(width, hidden, bias=False)
        self.activation = nn.GELU()
        self.layer2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``[..., D]`` to ``[..., D]``."""
        output: torch.Tensor = self.layer2(self.activation(self.layer1(x)))
        return output


class Block(nn.Module):
    """Self-attention, cross-attention if there is text, feed-forward; each modulated and gated."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width, rank = config.width, config.adaln_rank
        self.layer_norm_self_attn = nn.LayerNorm(width, elementwise_affine=False, eps=_EPS)
        self.self_attn = Attention(config)
        self.adaln_modulation_self_attn = Modulation(width, rank, 3)
        self.cross_attn: Attention | None = None
        if config.text is not None:
            self.layer_norm_cross_attn = nn.LayerNorm(width, elementwise_affine=False, eps=_EPS)
            self.cross_attn = Attention(config, config.text.width)
            self.adaln_modulation_cross_attn = Modulation(width, rank, 3)
        self.layer_norm_mlp = nn.LayerNorm(width, elementwise_affine=False, eps=_EPS)
        self.mlp = FeedForward(width, int(width * config.mlp_ratio))
        self.adaln_modulation_mlp = Modulation(width, rank, 3)

    def init_weights(self) -> None:
        """Draws weights afresh; the modulations' last layers start as zero."""
        self.self_attn.init_weights()
        self.adaln_modulation_self_attn.init_weights()
        if self.cross_attn is not None:
            self.cross_attn.init_weights()
            self.adaln_modulation_cross_attn.init_weights()
        init_linear(self.mlp.layer1)
        init_linear(self.mlp.layer2)
        self.adaln_modulation_mlp.init_weights()

    def forward(
        self,
        x: torch.Tensor,
        around: Surroundings,
        text: torch.Tensor | KeysValues | None,
        cache: BlockCache | None,
    ) -> torch.Tensor:
        """Maps ``[B, T, N, D]`` to the same shape.

        Args:
            x: Tokens.
            around: What all blocks share.
            text: The projected text ``[B, L, text width]``, or this block's keys and values of it.
            cache: This block's frames before this one, when streaming.
        """
        shift, scale, gate = _as(x, self.adaln_modulation_self_attn.modulate(around))
        normed = self.layer_norm_self_attn(x) * (1 + scale) + shift
        attended = self.self_attn.attend_within(normed.flatten(1, 2), around, cache)
        x = x + gate * attended.view_as(x)
        if self.cross_attn is not None and text is not None:
            shift, scale, gate = _as(x, self.adaln_modulation_cross_attn.modulate(around))
            normed = self.layer_norm_cross_attn(x) * (1 + scale) + shift
            if isinstance(text, torch.Tensor):
                text = self.cross_attn.keys_values(text)
            attended = self.cross_attn.attend_to(normed.flatten(1, 2), text, around.backend)
            x = x + gate * attended.view_as(x)
        shift, scale, gate = _as(x, self.adaln_modulation_mlp.modulate(around))
        normed = self.layer_norm_mlp(x) * (1 + scale) + shift
        output: torch.Tensor = x + gate * self.mlp(normed)
        return output


class FinalLayer(nn.Module):
    """Modulated layer norm and projection to patches."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width = config.width
        self.layer_norm = nn.LayerNorm(width, elementwise_affine=False, eps=_EPS)
        self.linear = nn.Linear(width, config.patch**2 * config.latent_channels, bias=False)
        self.adaln_modulation = Modulation(width, config.adaln_rank, 2)

    def init_weights(self) -> None:
        """Draws weights afresh; the modulation's last layer starts as zero."""
        init_linear(self.linear)
        self.adaln_modulation.init_weights()

    def forward(self, x: torch.Tensor, around: Surroundings) -> torch.Tensor:
        """Maps ``[B, T, N, D]`` to ``[B, T, N, patch patch C]``."""
        shift, scale = _as(x, self.adaln_modulation.modulate(around))
        patches: torch.Tensor = self.linear(self.layer_norm(x) * (1 + scale) + shift)
        return patches


def _as(x: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [part.to(x.dtype) for part in parts]
