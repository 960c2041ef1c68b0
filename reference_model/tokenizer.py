"""Our own causal video tokenizer: small enough to train on a laptop, and streaming.

The first frame is a group of four copies of itself, and the latent before the first is the first
itself: a clip begins as if it had stood still, so every window of a video is coded by one rule.
The encoder sees one group; the decoder sees the latent of the group and the one before, so that
motion goes on smoothly over the seam. The design is that of the trial in `docs/measurements.md`;
4x in time with the first frame by itself is that of WAN's tokenizer (arXiv 2503.20314).
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.model_file import config_from, read_model, write_model
from dojobench.reference_model.tokenizer_blocks import FOLDED, GroupDecoder, GroupEncoder
from dojobench.reference_model.tokenizer_config import TokenizerConfig
from dojobench.reference_model.video_tokenizer import (
    GROUP,
    StreamDecoder,
    StreamEncoder,
    VideoTokenizer,
    latent_frames,
    to_unit,
)

KIND = "tokenizer"
"""What a weights file says that it holds."""


class Posterior(NamedTuple):
    """Normal distribution of raw latents, ``[batch, 1 + k, channels, h, w]`` each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws raw latents; the gradient flows to mean and variance."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + noise * torch.exp(0.5 * self.log_variance)


class CausalTokenizer(VideoTokenizer):
    """The tokenizer of the sizes ``nano`` and ``small``.

    ``encode`` and ``decode`` speak normalised latents; ``posterior`` and ``reconstruct`` are the
    raw two halves that training needs.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.latent_channels
        self.spatial_factor = config.spatial_factor
        self.encoder = GroupEncoder(config)
        self.decoder = GroupDecoder(config)
        size = config.background
        self.background = nn.Parameter(torch.zeros(3, *size)) if size else None
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def posterior(self, frames: Tensor, *, starts: bool = True) -> Posterior:
        """Encodes to the distribution of raw latents.

        Args:
            frames: ``[batch, 1 + 4k, 3, height, width]`` in 0 to 1; ``[batch, 4k, …]`` where a
                clip goes on.
            starts: Whether the first frame is the first of its clip.

        Raises:
            BadInputError: If a learned background is of another size.
        """
        frames = frames * 2 - 1
        if self.background is not None:
            if frames.shape[-2:] != self.background.shape[-2:]:
                raise BadInputError(
                    f"Frames are {tuple(frames.shape[-2:])}, and this tokenizer's learned "
                    f"background is {tuple(self.background.shape[-2:])}; resize the frames."
                )
            frames = frames - self.background
        if starts:
            copies = frames[:, :1].expand(-1, GROUP - 1, -1, -1, -1)
            frames = torch.cat([copies, frames], dim=1)
        batch, time, _, height, width = frames.shape
        groups = frames.reshape(batch * (time // GROUP), FOLDED, height, width)
        mean, log_variance = self.encoder(groups)
        shape = (batch, time // GROUP, *mean.shape[1:])
        return Posterior(mean.reshape(shape), log_variance.reshape(shape))

    def reconstruct(self, raw: Tensor, past: Tensor | None = None) -> Tensor:
        """Decodes raw latents.

        Args:
            raw: ``[batch, m, channels, h, w]``.
            past: ``[batch, config.past, channels, h, w]``, the raw latents just before; ``None``
                at the start of a clip, whose first latent gives a single frame.

        Returns:
            ``[batch, n, 3, height, width]``, about 0 to 1, not clamped; ``n`` is ``4m``, or
            ``4m - 3`` at the start.
        """
        starts = past is None
        if past is None:
            past = raw[:, :1].expand(-1, self.config.past, -1, -1, -1)
        line = torch.cat([past, raw], dim=1)
        batch, count, _, height, width = raw.shape
        windows = torch.cat(
            [line[:, shift : shift + count] for shift in range(self.config.past + 1)], dim=2
        )
        windows = windows.reshape(batch * count, -1, height, width)
        groups: Tensor = self.decoder(windows)
        frames = groups.reshape(batch, GROUP * count, 3, *groups.shape[-2:])
        if self.background is not None:
            frames = frames + self.background
        # Of the four copies of the first frame the last is kept, which the next group follows.
        return (frames[:, GROUP - 1 :] if starts else frames) * 0.5 + 0.5

    def normalise(self, raw: Tensor) -> Tensor:
        """Brings raw latents to mean 0 and deviation 1 per channel."""
        return (raw - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def denormalise(self, latents: Tensor) -> Tensor:
        """Undoes ``normalise``."""
        return latents * self.latent_std[:, None, None] + self.latent_mean[:, None, None]

    def encode(self, frames: Tensor) -> Tensor:
        """Encodes whole clips; see ``VideoTokenizer.encode``."""
        self.check_frames(frames)
        latent_frames(frames.shape[1])
        return self.normalise(self.posterior(to_unit(frames, self.dtype)).mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes whole clips; see ``VideoTokenizer.decode``."""
        self.check_latents(latents)
        return self.reconstruct(self.denormalise(latents.to(self.dtype))).clamp(0, 1)

    def stream_encoder(self) -> StreamEncoder:
        """Starts a stream, whose only state are the frames of an unfinished group."""
        return _Encoder(self)

    def stream_decoder(self) -> "CausalStreamDecoder":
        """Starts a stream, whose only state are the last ``config.past`` latents."""
        return CausalStreamDecoder(self)

    def save(self, path: Path) -> None:
        """Writes weights, latent statistics and configuration to one safetensors file."""
        write_model(path, self, kind=KIND, config=self.config)

    @classmethod
    def load(cls, path: Path) -> "CausalTokenizer":
        """Reads what ``save`` wrote.

        Raises:
            BadInputError: If the file is no tokenizer of this project, cut short, or of another
                shape than it says.
        """
        values, tensors = read_model(path, kind=KIND)
        tokenizer = cls(config_from(TokenizerConfig, values, str(path)))
        tokenizer.load_state_dict(tensors.checked(tokenizer))
        return tokenizer


class _Encoder(StreamEncoder):
    """Groups are encoded by themselves, so there is nothing to remember between them."""

    _tokenizer: CausalTokenizer

    def _advance(self, frames: Tensor, starts: bool) -> Tensor:
        posterior = self._tokenizer.posterior(frames, starts=starts)
        return self._tokenizer.normalise(posterior.mean)


class CausalStreamDecoder(StreamDecoder):
    """Remembers the last latents that the decoder looks back at."""

    _tokenizer: CausalTokenizer
    _past: Tensor | None = None

    def _remember(self, raw: Tensor) -> None:
        past = self._tokenizer.config.past
        before = raw[:, :1].expand(-1, past, -1, -1, -1) if self._past is None else self._past
        line = torch.cat([before, raw], dim=1)
        self._past = line[:, line.shape[1] - past :]

    def _advance(self, latents: Tensor, starts: bool) -> Tensor:
        raw = self._tokenizer.denormalise(latents)
        if not starts and self._past is not None and self._past.shape[0] != raw.shape[0]:
            raise BadInputError(
                f"A stream of {self._past.shape[0]} clips cannot go on with {raw.shape[0]}; start "
                "another stream."
            )
        frames = self._tokenizer.reconstruct(raw, None if starts else self._past)
        self._remember(raw)
        return frames.clamp(0, 1)

    @torch.no_grad()
    def prime(self, latents: Tensor) -> None:
        """Takes latents whose frames are known already, without decoding anything."""
        self._tokenizer.check_latents(latents)
        if latents.shape[1]:
            self._remember(self._tokenizer.denormalise(latents.to(self._tokenizer.dtype)))
            self._started = True
