"""Sizes of our own video tokenizer."""

from dataclasses import dataclass

from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Shape of a ``CausalTokenizer``.

    Attributes:
        widths: Channels at each resolution, from the finest to that of the latents; the finest
            is half the frame's, and each next one halves again.
        blocks: Residual blocks at each resolution, in the encoder and in the decoder.
        latent_channels: Channels of a latent frame.
        past: Latent frames before the present one that the decoder sees.
        background: Height and width of a learned picture that is taken away before encoding and
            added after decoding, for data of one fixed scene; ``None``: there is none, and
            frames of any size are taken.
    """

    widths: tuple[int, ...]
    blocks: int
    latent_channels: int = 16
    past: int = 1
    background: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.widths or min(*self.widths, self.blocks, self.latent_channels, 1) < 1:
            raise BadInputError(
                f"A tokenizer of widths {self.widths}, {self.blocks} blocks and "
                f"{self.latent_channels} latent channels has nothing in it; give at least 1 each."
            )
        if self.past < 0:
            raise BadInputError(f"A decoder cannot see {self.past} past latents; give 0 or more.")

    @property
    def spatial_factor(self) -> int:
        """How many times smaller a latent frame is than a frame, each way."""
        return int(2 ** len(self.widths))


TOKENIZERS: dict[str, TokenizerConfig] = {
    "nano": TokenizerConfig(widths=(32, 64, 128), blocks=2),
    "small": TokenizerConfig(widths=(64, 128, 256), blocks=3),
}
"""Our tokenizers by name: ``nano`` takes 64x64 to 8x8x16 on a CPU, ``small`` 128 to 256 pixels."""
