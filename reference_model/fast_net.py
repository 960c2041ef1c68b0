"""The same network for inference alone: what does not depend on the noise is computed once.

At nano's size a pass of ``WorldModelNet`` is mostly the cost of calling it. The times of a
sampler and the actions of a chunk are known before its first pass, so the embeddings and the
modulations of all passes and all blocks are made together, by a few large products, and a pass is
left with what depends on the noise: tokens stay tokens from the first step to the last, queries,
keys and values come from one product, and a frame that only fills the cache stops at the last
block's keys and shares its pass with the first one of the next frame.
``tests/reference_model/test_fast_net.py`` holds it to ``WorldModelNet``.

Shapes: B batch, T latent frames, N tokens of a frame, D width, F features of a patch.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dojobench.reference_model.attention import attention
from dojobench.reference_model.blocks import Block
from dojobench.reference_model.dit import Text, WorldModelNet
from dojobench.reference_model.kv_cache import KVCache
from dojobench.reference_model.pass_plan import Plan, Planner, joined_weights, modulations

_EPS = 1e-6


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
        planner: Prepares its passes.
    """

    def __init__(self, net: WorldModelNet, *, owned: bool = False, compiled: bool = False) -> None:
        self.net = net
        self._backend = net.attention_backend
        # Weights made under inference mode could never be trained on.
        with torch.inference_mode(False), torch.no_grad():
            self.planner = Planner(net, owned=owned)
            self._join(net, owned)
        # Only a compiled one is kept: a bound method that its own object holds keeps the weights
        # alive until the garbage collector comes by.
        self._compiled: Callable[..., Tensor] | None = None
        if compiled:
            self._compiled = torch.compile(self._run_blocks, dynamic=False)

    def _join(self, net: WorldModelNet, owned: bool) -> None:
        config = net.config
        blocks = [cast(Block, block) for block in net.blocks]
        self._blocks = blocks
        self._parts = len(modulations(blocks[0]))
        self._qkv = [
            joined_weights([each.q_proj, each.k_proj, each.v_proj], owned)
            for each in (block.self_attn for block in blocks)
        ]
        self._norms = [_norms(block) if config.qk_norm else None for block in blocks]
        weight = cast(nn.Linear, net.x_embedder.proj[1]).weight
        features = config.latent_channels * config.patch**2
        self._embed = weight[:, :features]
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


def _norms(block: Block) -> Tensor:
    """Gives the weights ``[2, 1, K]`` by which queries and keys are normalised."""
    norms = [block.self_attn.q_norm.weight, block.self_attn.k_norm.weight]
    stacked = torch.stack([cast(Tensor, each) for each in norms]).unsqueeze(1)
    return stacked.to(block.mlp.layer1.weight.dtype)
