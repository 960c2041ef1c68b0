"""The same network for inference alone: what does not depend on the noise is computed once.

At nano's size a pass of ``WorldModelNet`` is mostly the cost of calling it. The times of a
sampler and the actions of a chunk are known before its first pass, so the embeddings and the
modulations of all passes and all blocks are made together, by a few large products, and a pass is
left with what depends on the noise: tokens stay tokens from the first step to the last, queries,
keys and values come from one product, and a frame that only fills the cache stops at the last
block's keys and shares its pass with the first one of the next frame.
``tests/reference_model/test_fast_net.py`` holds it to ``WorldModelNet``.

Shapes: P passes, B batch, T latent frames, N tokens of a frame, D width, M modulated layers, F
features of a patch.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dojobench.reference_model.attention import attention
from dojobench.reference_model.blocks import Block, Modulation
from dojobench.reference_model.dit import Text, WorldModelNet
from dojobench.reference_model.flow_matching import clean_mask
from dojobench.reference_model.kv_cache import KVCache
from dojobench.reference_model.pass_plan import Plan

_EPS = 1e-6
_TABLES_KEPT = 2
_TIMES_KEPT = 16


class FastNet:
    """A network's weights, joined where one product serves for several layers.

    Make another one when the network has been moved or trained on.

    Args:
        net: The network.
        owned: Whether nobody else uses the network. Then its weights become views of the joined
            ones, so that nothing is kept twice.
        compiled: Whether passes are compiled.

    Attributes:
        net: The network.
    """

    def __init__(self, net: WorldModelNet, *, owned: bool = False, compiled: bool = False) -> None:
        self.net = net
        self._backend = net.attention_backend
        # Weights made under inference mode could never be trained on.
        with torch.inference_mode(False), torch.no_grad():
            self._join(net, owned)
        # Only a compiled one is kept: a bound method that its own object holds keeps the weights
        # alive until the garbage collector comes by.
        self._compiled: Callable[..., Tensor] | None = None
        if compiled:
            self._compiled = torch.compile(self._run_blocks, dynamic=False)
        self._times: OrderedDict[object, tuple[Tensor, Tensor]] = OrderedDict()
        self._places: OrderedDict[tuple[int, ...], tuple[Tensor, Tensor]] = OrderedDict()

    def _join(self, net: WorldModelNet, owned: bool) -> None:
        config = net.config
        blocks = [cast(Block, block) for block in net.blocks]
        self._blocks = blocks
        layers = [layer for block in blocks for layer in _modulations(block)]
        self._parts = len(layers) // len(blocks)
        self._down = _joined([cast(nn.Linear, layer[1]) for layer in layers], owned)
        self._up = _joined([cast(nn.Linear, layer[2]) for layer in layers], owned).view(
            len(layers), 3 * config.width, config.adaln_rank
        )
        self._qkv = [
            _joined([each.q_proj, each.k_proj, each.v_proj], owned)
            for each in (block.self_attn for block in blocks)
        ]
        self._norms = [_norms(block) if config.qk_norm else None for block in blocks]
        weight = cast(nn.Linear, net.x_embedder.proj[1]).weight
        features = config.latent_channels * config.patch**2
        self._embed, self._embed_rest = weight[:, :features], weight[:, features:]
        # The last layer's patches are ordered otherwise than the first one's.
        order = torch.arange(features).view(config.patch**2, config.latent_channels).t().flatten()
        self._unembed = net.final_layer.linear.weight[order.to(net.device)]

    def to_tokens(self, latents: Tensor) -> Tensor:
        """Cuts ``[B, C, T, Y, X]`` into ``[B, T, N, F]``."""
        tokens: Tensor = self.net.x_embedder.proj[0](latents)
        return tokens

    def to_latents(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Puts ``[B, T, N, F]`` together to ``[B, C, T, Y, X]``."""
        batch, frames = tokens.shape[:2]
        p, channels = self.net.config.patch, self.net.config.latent_channels
        grid = tokens.reshape(batch, frames, rows // p, columns // p, channels, p, p)
        return grid.permute(0, 4, 1, 2, 5, 3, 6).reshape(batch, channels, frames, rows, columns)

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
        net = self.net
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
            told = torch.tensor(times, device=self.net.device)
            like = torch.empty(len(times), 1, frames, 1, 1, device=self.net.device)
            embedding, shared = self.net.embed_times(told, clean_mask(like, given))
            self._times[key] = embedding.unsqueeze(1), shared.unsqueeze(1)
            if len(self._times) > _TIMES_KEPT:
                self._times.popitem(last=False)
        return self._times[key]

    def _base(
        self, mask: Tensor, frames: int, rows: int, columns: int, context: Tensor | None
    ) -> Tensor:
        """Gives what masks and context add to the tokens, ``[B, T, N, D]``."""
        size = (len(mask), self.net.config.latent_channels, frames, rows, columns)
        empty = torch.zeros(size, device=self.net.device)
        known = self.to_tokens(self.net.with_masks(empty, mask, None, context))
        return functional.linear(known[..., self._embed.shape[1] :], self._embed_rest)

    def _modulate(self, embedding: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Makes the modulations of all passes and layers from ``[P, B, T, D]``."""
        shape = embedding.shape[:3]
        config, last = self.net.config, self.net.final_layer.adaln_modulation
        dtype = torch.float32 if config.float32_modulation else self.net.dtype
        width, layers = config.width, self._up.shape[0]
        active = functional.silu(embedding.to(dtype)).flatten(0, 2)
        shared = shared.to(dtype).flatten(0, 2)
        hidden = functional.linear(active, self._down.to(dtype))
        hidden = hidden.view(len(active), layers, -1).transpose(0, 1)
        own = torch.baddbmm(shared.unsqueeze(0), hidden, self._up.to(dtype).transpose(1, 2))
        made = own.view(layers, *shape, 3, width)
        made[..., 1, :] += 1
        made = made.permute(1, 0, 4, 2, 3, 5).to(self.net.dtype).flatten(1, 2)
        down, up = (cast(nn.Linear, last[at]).weight.to(dtype) for at in (1, 2))
        ends = functional.linear(functional.linear(active, down), up)
        ends = (ends + shared[:, : 2 * width]).view(*shape, 2, width)
        ends[..., 1, :] += 1
        final = ends.permute(0, 3, 1, 2, 4).to(self.net.dtype)
        return made.unsqueeze(4), final.unsqueeze(4)

    def _positions(
        self, frames: int, rows: int, columns: int, first_frame: int
    ) -> tuple[Tensor, Tensor]:
        """Gives the rotations of some frames, made for many frames at a time."""
        height, width = rows // self.net.config.patch, columns // self.net.config.patch
        tokens = height * width
        span = max(frames, min(64, 8192 // tokens))
        start = first_frame // span * span
        if first_frame + frames > start + span:
            start = first_frame
        key = (start, span, height, width)
        if key not in self._places:
            rope = self.net.pos_embedder
            with torch.inference_mode(False), torch.no_grad():
                table = rope.make(span, height, width, start, self.net.device)
                half = table.sine.shape[-1] // 2
                sine = table.sine.clone()
                sine[..., :half].neg_()
            self._places[key] = (table.cosine.unsqueeze(1), sine.unsqueeze(1))
            if len(self._places) > _TABLES_KEPT:
                self._places.popitem(last=False)
        rows_of = slice((first_frame - start) * tokens, (first_frame - start + frames) * tokens)
        cosine, sine = self._places[key]
        return cosine[rows_of], sine[rows_of]

    def velocity(
        self,
        tokens: Tensor,
        plan: Plan,
        index: int,
        *,
        fixed: int = 0,
        cache: KVCache | None = None,
        text: Text | None = None,
    ) -> Tensor:
        """Runs a pass.

        Args:
            tokens: ``[B, T, N, F]``, noisy, or clean where given.
            plan: Of the passes.
            index: Which of them.
            fixed: Leading frames whose velocity is not asked for.
            cache: Earlier frames. Then T is 1; or 2 with one of them fixed, which is clean and
                so far not in the cache: it is there afterwards, and ``commit`` goes on to the
                other.
            text: As ``encode_text`` gives it.

        Returns:
            ``[B, T - fixed, N, F]`` float32.
        """
        asked = tokens.shape[1] - fixed
        x = self._pass(self._embedded(tokens, plan), plan, index, cache, text, asked=asked)
        shift, scale = plan.final[index][:, :, fixed:].unbind(0)
        normed = functional.layer_norm(x, x.shape[-1:], eps=_EPS)
        return functional.linear(torch.addcmul(shift, normed, scale), self._unembed).float()

    def remember(
        self, tokens: Tensor, plan: Plan, index: int, cache: KVCache, text: Text | None = None
    ) -> None:
        """Runs a pass for what it leaves in the cache, whose ``commit`` then goes on."""
        self._pass(self._embedded(tokens, plan), plan, index, cache, text, asked=0)

    def _embedded(self, tokens: Tensor, plan: Plan) -> Tensor:
        return functional.linear(tokens.to(self._embed.dtype), self._embed) + plan.base

    def _pass(
        self,
        x: Tensor,
        plan: Plan,
        index: int,
        cache: KVCache | None,
        text: Text | None,
        *,
        asked: int,
    ) -> Tensor:
        # While the ring fills up, every frame has its own shapes; those are not compiled.
        steady = cache is None or cache.frames >= cache.window
        run = self._compiled if steady and self._compiled is not None else self._run_blocks
        modulations = plan.modulations[index]
        return run(x, modulations, plan.cosine, plan.sine, cache, text, asked)

    def _run_blocks(
        self,
        x: Tensor,
        modulations: Tensor,
        cosine: Tensor,
        sine: Tensor,
        cache: KVCache | None,
        text: Text | None,
        asked: int,
    ) -> Tensor:
        """Runs all blocks; of the last ``asked`` frames the last block gives more than keys."""
        made = modulations.unbind(0)
        batch, frames, tokens, width = x.shape
        heads = self.net.config.heads
        step = 3 * self._parts
        for index, block in enumerate(self._blocks):
            own = made[step * index : step * (index + 1)]
            normed = functional.layer_norm(x, (width,), eps=_EPS)
            normed = torch.addcmul(own[0], normed, own[1])
            joined = functional.linear(normed, self._qkv[index])
            joined = joined.view(batch, frames * tokens, 3, heads, -1)
            q, k = self._rotated(joined[:, :, :2], index, cosine, sine).unbind(2)
            kept = asked if index == len(self._blocks) - 1 else frames
            seen = self._attend(q, k, joined[:, :, 2], index, cache, frames, kept)
            if not kept:
                return x
            if kept < frames:
                x, own = x[:, -kept:], tuple(each[:, -kept:] for each in own)
            attended = functional.linear(
                seen.reshape(x.shape).to(x.dtype), block.self_attn.output_proj.weight
            )
            x = torch.addcmul(x, own[2], attended)
            if block.cross_attn is not None and text is not None:
                normed = functional.layer_norm(x, (width,), eps=_EPS)
                normed = torch.addcmul(own[3], normed, own[4])
                told = block.cross_attn.attend_to(normed.flatten(1, 2), text[index], self._backend)
                x = torch.addcmul(x, own[5], told.view_as(x))
            normed = functional.layer_norm(x, (width,), eps=_EPS)
            normed = torch.addcmul(own[-3], normed, own[-2])
            hidden = functional.gelu(functional.linear(normed, block.mlp.layer1.weight))
            x = torch.addcmul(x, own[-1], functional.linear(hidden, block.mlp.layer2.weight))
        return x

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        index: int,
        cache: KVCache | None,
        frames: int,
        kept: int,
    ) -> Tensor:
        """Attends ``[B, S, H, K]``: everything to everything, or frame after frame to a cache.

        What the last ``kept`` frames see is given; the others are only put into the cache.
        """
        if cache is None:
            tokens = q.shape[1] // frames
            return attention(q[:, (frames - kept) * tokens :], k, v, backend=self._backend)
        ring, seen = cache.blocks[index], []
        each = zip(*(one.chunk(frames, dim=1) for one in (q, k, v)), strict=True)
        for ahead, (asks, key, value) in enumerate(each):
            keys, values = ring.extend(key.to(cache.dtype), value.to(cache.dtype), ahead=ahead)
            if ahead >= frames - kept:
                seen.append(attention(asks.to(cache.dtype), keys, values, backend=self._backend))
        return torch.cat(seen, dim=1) if len(seen) > 1 else (seen or [q])[0]

    def _rotated(self, qk: Tensor, index: int, cosine: Tensor, sine: Tensor) -> Tensor:
        """Normalises and rotates ``[B, S, 2, H, K]`` by position, in float32."""
        norm = self._norms[index]
        if norm is not None:
            qk = functional.rms_norm(qk, qk.shape[-1:], eps=_EPS) * norm
        exact = qk.float()
        turned = exact.roll(exact.shape[-1] // 2, dims=-1)
        return torch.addcmul(exact * cosine, turned, sine).to(qk.dtype)


def _modulations(block: Block) -> list[Modulation]:
    layers = [block.adaln_modulation_self_attn, block.adaln_modulation_mlp]
    if block.cross_attn is not None:
        layers.insert(1, block.adaln_modulation_cross_attn)
    return layers


def _norms(block: Block) -> Tensor:
    """Gives the weights ``[2, 1, K]`` by which queries and keys are normalised."""
    norms = [block.self_attn.q_norm.weight, block.self_attn.k_norm.weight]
    stacked = torch.stack([cast(Tensor, each) for each in norms]).unsqueeze(1)
    return stacked.to(block.mlp.layer1.weight.dtype)


def _joined(layers: Sequence[nn.Linear], owned: bool) -> Tensor:
    """Joins weights along their outputs; the layers' own become views of it where owned."""
    joined = torch.cat([layer.weight for layer in layers])
    if owned:
        parts = torch.split(joined, [layer.out_features for layer in layers])
        for layer, part in zip(layers, parts, strict=True):
            layer.weight = nn.Parameter(part, requires_grad=False)
    return joined
