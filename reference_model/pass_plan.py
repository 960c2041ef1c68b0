"""What is known of a network's passes before their noise is, and so is computed once for all.

Shapes: P passes, B batch, T latent frames, N tokens of a frame, D width, M modulated layers.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dojobench.reference_model.blocks import Block, Modulation
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.flow_matching import clean_mask

_TABLES_KEPT = 2
_TIMES_KEPT = 16


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything about some passes over the same frames that does not depend on their noise.

    Attributes:
        modulations: ``[P, 3 M, B, T, 1, D]``: shift, 1 + scale and gate of each layer.
        final: ``[P, 2, B, T, 1, D]``: shift and 1 + scale of the last layer.
        base: ``[B, T, N, D]``, what masks and context add to the tokens.
        cosine: ``[T N, 1, 1, K]`` of the positions, float32.
        sine: The same, negated in the first half.
    """

    modulations: Tensor
    final: Tensor
    base: Tensor
    cosine: Tensor
    sine: Tensor

    def following(self, before: "Plan") -> "Plan":
        """Plans a single pass over two frames: the last pass of one, the first of the next.

        Args:
            before: Of the frame before; ``self`` is that of the frame after it.
        """
        return Plan(
            modulations=torch.cat([before.modulations[-1:], self.modulations[:1]], dim=3),
            final=torch.cat([before.final[-1:], self.final[:1]], dim=3),
            base=torch.cat([before.base, self.base], dim=1),
            cosine=torch.cat([before.cosine, self.cosine]),
            sine=torch.cat([before.sine, self.sine]),
        )


class Planner:
    """Prepares the passes of a network.

    Args:
        net: The network.
        owned: Whether its weights become views of the joined ones.
    """

    def __init__(self, net: WorldModelNet, *, owned: bool = False) -> None:
        self._net = net
        config = net.config
        layers = [one for block in net.blocks for one in modulations(cast(Block, block))]
        self._down = joined_weights([cast(nn.Linear, layer[1]) for layer in layers], owned)
        self._up = joined_weights([cast(nn.Linear, layer[2]) for layer in layers], owned).view(
            len(layers), 3 * config.width, config.adaln_rank
        )
        self._features = config.latent_channels * config.patch**2
        weight = cast(nn.Linear, net.x_embedder.proj[1]).weight
        self._embed_rest = weight[:, self._features :]
        self._times: OrderedDict[object, tuple[Tensor, Tensor]] = OrderedDict()
        self._places: OrderedDict[tuple[int, ...], tuple[Tensor, Tensor]] = OrderedDict()

    def plan(
        self,
        times: Sequence[float],
        actions: Tensor | None,
        *,
        batch: int,
        frames: int,
        rows: int,
        columns: int,
        given: int = 0,
        first_frame: int = 0,
        displacement: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Plan:
        """Prepares passes over the same frames at some times.

        Args:
            times: Noise level of each pass.
            actions: As for ``WorldModelNet.forward``, like what follows.
            batch: Samples.
            frames: Latent frames.
            rows: Rows of latents.
            columns: Columns of latents.
            given: How many of the first frames are given.
            first_frame: Absolute index of the first latent frame.
            displacement: ``[B, action width]``.
            context: ``[B, C, Y, X]``.
        """
        net = self._net
        mask = clean_mask(torch.empty(batch, 1, frames, 1, 1, device=net.device), given)
        embedding, shared = self._embedded_times(tuple(times), frames, given)
        if actions is not None:
            first, second = net.embed_actions(
                actions,
                mask,
                frames=frames,
                first_frame=first_frame,
                displacement=displacement,
                window=None,
            )
            embedding, shared = embedding + first, shared + second
        embedding = net.normalise_embedding(embedding).expand(-1, batch, frames, -1)
        shared = shared.expand(-1, batch, frames, -1)
        modulations, final = self._modulate(embedding, shared)
        cosine, sine = self._positions(frames, rows, columns, first_frame)
        return Plan(
            modulations=modulations,
            final=final,
            base=self._base(mask, frames, rows, columns, context),
            cosine=cosine,
            sine=sine,
        )

    def _embedded_times(
        self, times: tuple[float, ...], frames: int, given: int
    ) -> tuple[Tensor, Tensor]:
        """Embeds times once and for all, ``[P, 1, T or 1, D]`` and ``[P, 1, T or 1, 3 D]``."""
        key = (times, frames, given)
        if key not in self._times:
            told = torch.tensor(times, device=self._net.device)
            like = torch.empty(len(times), 1, frames, 1, 1, device=self._net.device)
            embedding, shared = self._net.embed_times(told, clean_mask(like, given))
            self._times[key] = embedding.unsqueeze(1), shared.unsqueeze(1)
            if len(self._times) > _TIMES_KEPT:
                self._times.popitem(last=False)
        return self._times[key]

    def _base(
        self, mask: Tensor, frames: int, rows: int, columns: int, context: Tensor | None
    ) -> Tensor:
        """Gives what masks and context add to the tokens, ``[B, T, N, D]``."""
        size = (len(mask), self._net.config.latent_channels, frames, rows, columns)
        empty = torch.zeros(size, device=self._net.device)
        known = self._net.x_embedder.proj[0](self._net.with_masks(empty, mask, None, context))
        return functional.linear(known[..., self._features :], self._embed_rest)

    def _modulate(self, embedding: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Makes the modulations of all passes and layers from ``[P, B, T, D]``."""
        shape = embedding.shape[:3]
        config, last = self._net.config, self._net.final_layer.adaln_modulation
        dtype = torch.float32 if config.float32_modulation else self._net.dtype
        width, layers = config.width, self._up.shape[0]
        active = functional.silu(embedding.to(dtype)).flatten(0, 2)
        shared = shared.to(dtype).flatten(0, 2)
        hidden = functional.linear(active, self._down.to(dtype))
        hidden = hidden.view(len(active), layers, -1).transpose(0, 1)
        own = torch.baddbmm(shared.unsqueeze(0), hidden, self._up.to(dtype).transpose(1, 2))
        made = own.view(layers, *shape, 3, width)
        made[..., 1, :] += 1
        made = made.permute(1, 0, 4, 2, 3, 5).to(self._net.dtype).flatten(1, 2)
        down, up = (cast(nn.Linear, last[at]).weight.to(dtype) for at in (1, 2))
        ends = functional.linear(functional.linear(active, down), up)
        ends = (ends + shared[:, : 2 * width]).view(*shape, 2, width)
        ends[..., 1, :] += 1
        final = ends.permute(0, 3, 1, 2, 4).to(self._net.dtype)
        return made.unsqueeze(4), final.unsqueeze(4)

    def _positions(
        self, frames: int, rows: int, columns: int, first_frame: int
    ) -> tuple[Tensor, Tensor]:
        """Gives the rotations of some frames, made for many frames at a time."""
        height, width = rows // self._net.config.patch, columns // self._net.config.patch
        tokens = height * width
        span = max(frames, min(64, 8192 // tokens))
        start = first_frame // span * span
        if first_frame + frames > start + span:
            start = first_frame
        key = (start, span, height, width)
        if key not in self._places:
            rope = self._net.pos_embedder
            with torch.inference_mode(False), torch.no_grad():
                table = rope.make(span, height, width, start, self._net.device)
                half = table.sine.shape[-1] // 2
                sine = table.sine.clone()
                sine[..., :half].neg_()
            self._places[key] = (table.cosine.unsqueeze(1), sine.unsqueeze(1))
            if len(self._places) > _TABLES_KEPT:
                self._places.popitem(last=False)
        rows_of = slice((first_frame - start) * tokens, (first_frame - start + frames) * tokens)
        cosine, sine = self._places[key]
        return cosine[rows_of], sine[rows_of]


def modulations(block: Block) -> list[Modulation]:
    """Lists a block's adaptive layer norms, in the order of its layers."""
    layers = [block.adaln_modulation_self_attn, block.adaln_modulation_mlp]
    if block.cross_attn is not None:
        layers.insert(1, block.adaln_modulation_cross_attn)
    return layers


def joined_weights(layers: Sequence[nn.Linear], owned: bool) -> Tensor:
    """Joins weights along their outputs; the layers' own become views of it where owned."""
    joined = torch.cat([layer.weight for layer in layers])
    if owned:
        parts = torch.split(joined, [layer.out_features for layer in layers])
        for layer, part in zip(layers, parts, strict=True):
            layer.weight = nn.Parameter(part, requires_grad=False)
    return joined
