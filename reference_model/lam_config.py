"""Sizes of the latent action model."""

from dataclasses import dataclass

from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class LatentActionConfig:
    """Shape of a ``LatentActionModel``.

    Attributes:
        model_dim: Width of the transformers.
        heads: Attention heads; a head's width must be even, for the rotary embedding.
        encoder_blocks: Blocks of the encoder, each with spatial and temporal attention.
        decoder_blocks: Blocks of the decoder, each with spatial attention.
        patch_size: Side of a patch, pixels.
        height: Height of a frame, a multiple of the patch.
        width: Width of a frame, a multiple of the patch.
        latent_dim: Width of a latent action.
        beta: Weight of the divergence of a latent action from a standard normal.
    """

    model_dim: int
    heads: int
    encoder_blocks: int
    decoder_blocks: int
    patch_size: int = 16
    height: int = 240
    width: int = 320
    latent_dim: int = 32
    beta: float = 1e-6

    def __post_init__(self) -> None:
        if self.model_dim % self.heads or self.model_dim // self.heads % 2:
            raise BadInputError(
                f"A width of {self.model_dim} does not split into {self.heads} heads of even "
                "width; change model_dim or heads."
            )
        if self.height % self.patch_size or self.width % self.patch_size:
            raise BadInputError(
                f"Frames of {self.height}x{self.width} do not split into patches of "
                f"{self.patch_size}; change patch_size."
            )

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        return self.height // self.patch_size * (self.width // self.patch_size)


LATENT_ACTION_MODELS: dict[str, LatentActionConfig] = {
    "nano": LatentActionConfig(
        model_dim=128,
        heads=4,
        encoder_blocks=4,
        decoder_blocks=4,
        patch_size=8,
        height=64,
        width=64,
    ),
    "small": LatentActionConfig(model_dim=512, heads=8, encoder_blocks=8, decoder_blocks=8),
    "published": LatentActionConfig(model_dim=1024, heads=16, encoder_blocks=24, decoder_blocks=24),
}
"""By name; ``published`` takes the weights of the released ``LAM_400k.ckpt``."""
