"""The world model's network: a diffusion transformer that is told the robot's actions.

Latents in, velocities out. Every latent frame has its own time and its own four actions, so that
one network serves as the teacher (all frames at once, full attention) and as the student (frame
after frame, from a rolling cache). Parameter names are those of the published checkpoints without
their prefix ``net.``.

Shapes: B batch, C latent channels, T latent frames, Y X latent rows and columns, N tokens of a
frame, D width.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import (
    ActionEmbedder,
    action_chunks,
    spread_over_frames,
)
from dojobench.reference_model.attention import (
    Backend,
    BackendChoice,
    BlockCausal,
    resolve_backend,
)
from dojobench.reference_model.blocks import (
    Block,
    FinalLayer,
    KeysValues,
    PatchEmbed,
    Sinusoids,
    Surroundings,
    TimeEmbedding,
    init_linear,
    precise,
    unpatchify,
)
from dojobench.reference_model.kv_cache import KVCache
from dojobench.reference_model.net_config import WorldModelConfig
from dojobench.reference_model.net_input import check_latents, join_channels
from dojobench.reference_model.rope import Rope3D

Text = Sequence[KeysValues]
"""A text as each block wants it; made by ``WorldModelNet.encode_text``."""


class WorldModelNet(nn.Module):
    """Predicts the velocity ``noise - clean`` of noisy latents.

    Attributes:
        config: Sizes and switches.
        backend_choice: Attention backend asked for.
        recompute: Whether training recomputes blocks in the backward pass to save memory; passes
            with a cache never do.
    """

    def __init__(self, config: WorldModelConfig, *, backend: BackendChoice = "auto") -> None:
        super().__init__()
        self.config = config
        self.backend_choice: BackendChoice = backend
        self.recompute = False
        width, actions = config.width, config.actions
        self.x_embedder = PatchEmbed(config.input_channels, config.patch, width)
        self.pos_embedder = Rope3D(config.head_dim, config.rope)
        self.t_embedder = nn.Sequential(Sinusoids(width), TimeEmbedding(width))
        self.t_embedding_norm = nn.RMSNorm(width, eps=1e-6)
        self.crossattn_proj: nn.Sequential | None = None
        if config.text is not None:
            projection = nn.Linear(config.text.features, config.text.width)
            self.crossattn_proj = nn.Sequential(projection, nn.GELU())
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.final_layer = FinalLayer(config)
        hidden = actions.hidden or 4 * width
        self.action_embedder_B_D = ActionEmbedder(actions.chunk_features, hidden, width)
        self.action_embedder_B_3D = ActionEmbedder(actions.chunk_features, hidden, 3 * width)
        self.init_weights()

    def init_weights(self) -> None:
        """Draws all weights afresh from torch's global generator."""
        init_linear(cast(nn.Linear, self.x_embedder.proj[1]))
        embedding = cast(TimeEmbedding, self.t_embedder[1])
        init_linear(embedding.linear_1)
        init_linear(embedding.linear_2)
        self.t_embedding_norm.reset_parameters()
        if self.crossattn_proj is not None:
            cast(nn.Linear, self.crossattn_proj[0]).reset_parameters()
        for block in self.blocks:
            cast(Block, block).init_weights()
        self.final_layer.init_weights()
        if self.config.zero_init_gates:
            nn.init.zeros_(embedding.linear_2.weight)
            nn.init.zeros_(self.final_layer.linear.weight)
        self.reset_actions(first_layer_only=False)

    def reset_actions(self, *, first_layer_only: bool = True) -> None:
        """Makes the network forget what actions mean, as before training on a new robot.

        Args:
            first_layer_only: Whether only the embedders' first layers are drawn afresh (the
                paper's post-training) or both.
        """
        for embedder in (self.action_embedder_B_D, self.action_embedder_B_3D):
            if first_layer_only:
                embedder.reset(layers=("fc1",))
            else:
                zero = self.config.actions.zero_init
                embedder.reset(layers=("fc1", "fc2"), zero_last=zero)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.final_layer.linear.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.final_layer.linear.weight.dtype

    @property
    def attention_dtype(self) -> torch.dtype:
        """Number format of queries, keys and values: the weights', or autocast's on a GPU."""
        if self.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
            return torch.get_autocast_dtype("cuda")
        return self.dtype

    @property
    def attention_backend(self) -> Backend:
        """The attention backend that runs here, to be named in a run."""
        return resolve_backend(self.backend_choice, self.device, self.attention_dtype)

    def new_cache(
        self, *, batch: int, height: int, width: int, window: int, dtype: torch.dtype | None = None
    ) -> KVCache:
        """Makes an empty cache for streaming.

        Args:
            batch: Sequences side by side.
            height: Rows of latents.
            width: Columns of latents.
            window: Earlier latent frames that a frame sees.
            dtype: Number format; that of attention where ``None``.
        """
        patch = self.config.patch
        return KVCache(
            blocks=self.config.blocks,
            batch=batch,
            tokens_per_frame=(height // patch) * (width // patch),
            heads=self.config.heads,
            head_dim=self.config.head_dim,
            window=window,
            device=self.device,
            dtype=self.attention_dtype if dtype is None else dtype,
        )

    def encode_text(self, text: torch.Tensor) -> Text:
        """Computes every block's keys and values of a text, once for all passes.

        Training passes the text itself, so that each block computes its own within its forward
        pass, where sharding and recomputing expect it.

        Args:
            text: ``[B, L, features]``, a stored text embedding.

        Raises:
            BadInputError: If the network has no cross-attention or the width differs.
        """
        projected = self._project_text(text)
        attentions = (cast(Block, block).cross_attn for block in self.blocks)
        return [each.keys_values(projected) for each in attentions if each is not None]

    def _project_text(self, text: torch.Tensor) -> torch.Tensor:
        if self.config.text is None or self.crossattn_proj is None:
            raise BadInputError(
                f"The world model '{self.config.name}' has no cross-attention; leave the text "
                "embedding out."
            )
        if text.shape[-1] != self.config.text.features:
            raise BadInputError(
                f"The text embedding is {text.shape[-1]} wide, but the world model "
                f"'{self.config.name}' takes {self.config.text.features}; use the embedding that "
                "was made for it."
            )
        projected: torch.Tensor = self.crossattn_proj(text.to(self.dtype))
        return projected

    def forward(
        self,
        latents: torch.Tensor,
        times: torch.Tensor,
        actions: torch.Tensor | None = None,
        *,
        condition_mask: torch.Tensor | None = None,
        text: torch.Tensor | Text | None = None,
        padding: torch.Tensor | None = None,
        context: torch.Tensor | None = None,
        causal: bool = False,
        window: int | None = None,
        first_frame: int = 0,
        displacement: torch.Tensor | None = None,
        cache: KVCache | None = None,
    ) -> torch.Tensor:
        """Predicts velocities.

        Args:
            latents: ``[B, C, T, Y, X]``, noisy, or clean where ``condition_mask`` is 1.
            times: Noise levels in [0, 1], ``[B]`` or, each frame its own, ``[B, T]``.
            actions: ``[B, n, action width]``: four for each latent frame but frame 0; ``None``
                runs without actions.
            condition_mask: ``[B, T]``, 1 where a latent frame is given; 0 everywhere where
                ``None``.
            text: Stored embedding ``[B, L, features]``, or better what ``encode_text`` made of it.
            padding: ``[B, Y, X]``, 1 where a frame is padded; nowhere where ``None``.
            context: ``[B, C, Y, X]`` or ``[B, C, T, Y, X]``, latents known beforehand, for
                networks with context channels.
            causal: Whether a frame sees only itself and earlier ones.
            window: With ``causal``, how many earlier ones; all where ``None``. The displacement is
                then that since the oldest of them.
            first_frame: Absolute index of the first latent frame.
            displacement: ``[B, action width]`` before the first action, since the context frame
                or the oldest frame in the window.
            cache: Earlier frames; then T is 1 and ``first_frame`` is ``cache.frames``.

        Returns:
            ``[B, C, T, Y, X]``.

        Raises:
            BadInputError: If latents or actions are not of the shape the network takes.
        """
        check_latents(self.config, latents, cache, first_frame)
        frames, rows, columns = latents.shape[2:]
        height, width = rows // self.config.patch, columns // self.config.patch
        mask = BlockCausal(tokens_per_frame=height * width, window=window) if causal else None
        embedding, shared = self.embed_conditions(
            times,
            actions,
            condition_mask,
            frames=frames,
            first_frame=first_frame,
            displacement=displacement,
            window=window if causal else None,
        )
        around = Surroundings(
            embedding=embedding,
            shared=shared,
            rotation=self.pos_embedder(
                frames, height, width, first_frame=first_frame, device=latents.device
            ),
            mask=mask,
            backend=self.attention_backend,
            float32=self.config.float32_modulation,
        )
        x = self.x_embedder(self.with_masks(latents, condition_mask, padding, context))
        patches = self.final_layer(self._run_blocks(x, around, text, cache), around)
        return unpatchify(patches, patch=self.config.patch, height=height, width=width)

    def embed_conditions(
        self,
        times: torch.Tensor,
        actions: torch.Tensor | None,
        condition_mask: torch.Tensor | None,
        *,
        frames: int,
        first_frame: int,
        displacement: torch.Tensor | None,
        window: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeds times and actions, as all blocks are told them; arguments as for ``forward``.

        Returns:
            ``[B, T or 1, D]``, normalised, and ``[B, T or 1, 3 D]``.
        """
        embedding, shared = self.embed_times(times, condition_mask)
        if actions is not None:
            first, second = self.embed_actions(
                actions,
                condition_mask,
                frames=frames,
                first_frame=first_frame,
                displacement=displacement,
                window=window,
            )
            embedding, shared = embedding + first, shared + second
        return self.normalise_embedding(embedding), shared

    def embed_times(
        self, times: torch.Tensor, condition_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeds times alone: ``[B, T or 1, D]``, not normalised, and ``[B, T or 1, 3 D]``."""
        exact = self.config.float32_modulation
        per_frame = times.unsqueeze(1) if times.dim() == 1 else times
        if condition_mask is not None and self.config.given_time == "zero":
            per_frame = per_frame * (1 - condition_mask.to(per_frame))
        with precise(times, exact):
            embedding = self.t_embedder[0](per_frame.float() * self.config.timestep_scale)
            return embedding, self.t_embedder[1](embedding, exact)

    def normalise_embedding(self, embedding: torch.Tensor) -> torch.Tensor:
        """Normalises the sum of what times and actions are embedded as, ``[..., D]``."""
        with precise(embedding, self.config.float32_modulation):
            weight = self.t_embedding_norm.weight
            return functional.rms_norm(
                embedding.to(weight.dtype), weight.shape, weight, self.t_embedding_norm.eps
            )

    def embed_actions(
        self,
        actions: torch.Tensor,
        condition_mask: torch.Tensor | None,
        *,
        frames: int,
        first_frame: int,
        displacement: torch.Tensor | None,
        window: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeds actions alone, ``[B, T, D]`` and ``[B, T, 3 D]``; see ``forward``."""
        config = self.config.actions
        chunks = action_chunks(
            actions,
            config,
            frames=frames,
            first_frame=first_frame,
            start=displacement,
            window=window,
        )
        embedded = []
        for embedder in (self.action_embedder_B_D, self.action_embedder_B_3D):
            each = embedder(chunks.to(embedder.fc1.weight.dtype))
            each = spread_over_frames(each, config, frames=frames, first_frame=first_frame)
            if config.mask_by_condition and condition_mask is not None:
                each = each * (1 - condition_mask.to(each.dtype)).unsqueeze(-1)
            embedded.append(each)
        return embedded[0], embedded[1]

    def with_masks(
        self,
        latents: torch.Tensor,
        condition_mask: torch.Tensor | None,
        padding: torch.Tensor | None,
        context: torch.Tensor | None,
    ) -> torch.Tensor:
        """Gives the input's channels in the weights' number format; see ``join_channels``."""
        return join_channels(self.config, latents.to(self.dtype), condition_mask, padding, context)

    def _run_blocks(
        self,
        x: torch.Tensor,
        around: Surroundings,
        text: torch.Tensor | Text | None,
        cache: KVCache | None,
    ) -> torch.Tensor:
        if text is None and self.config.text is not None:
            raise BadInputError(
                f"The world model '{self.config.name}' attends to a text; pass its stored "
                "embedding as 'text'."
            )
        shared = self._project_text(text) if isinstance(text, torch.Tensor) else None
        # Recomputed after the ring has moved on, a cached pass would see other frames.
        recompute = self.recompute and self.training and torch.is_grad_enabled() and cache is None
        for index, block in enumerate(self.blocks):
            own = text[index] if text is not None and shared is None else shared
            kept = None if cache is None else cache.blocks[index]
            if recompute:
                x = checkpoint(block, x, around, own, kept, use_reentrant=False)
            else:
                x = block(x, around, own, kept)
        return x


def build_world_model(
    config: WorldModelConfig,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    backend: BackendChoice = "auto",
) -> WorldModelNet:
    """Builds a network whose weights depend on nothing but the config and the seed.

    Args:
        config: Sizes and switches.
        seed: Seed of the weights.
        device: Where to put it; ``meta`` makes shapes without memory.
        backend: Attention backend.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.device("meta" if torch.device(device).type == "meta" else "cpu"):
            net = WorldModelNet(config, backend=backend)
    return net.to(device)
