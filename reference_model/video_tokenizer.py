"""What every video tokenizer of this room does: whole clips, and streams that equal them.

A tokenizer turns ``1 + 4k`` frames into ``1 + k`` latent frames: the first frame by itself, then
four frames at a time. It is causal, so a clip can be encoded and decoded as it arrives. A stream
keeps what the past contributes to the next group of frames; nothing is encoded or decoded twice,
and what comes out, put together, is what the whole clip gives (`tests/reference_model`).

Frames here are ``[batch, time, 3, height, width]``, uint8 or floating point in 0 to 1; latents
are ``[batch, time, channels, height / factor, width / factor]``, normalised to mean 0 and
deviation 1 per channel over the data that the tokenizer was fitted to.
"""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError

GROUP = 4
"""Frames that one latent frame stands for, the first latent frame excepted."""


def to_unit(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Brings frames to floating point in 0 to 1.

    Args:
        frames: uint8, or floating point in 0 to 1, of any shape.
        dtype: What to return.

    Raises:
        BadInputError: If the frames are integers other than uint8.
    """
    if frames.dtype == torch.uint8:
        return frames.to(dtype) / 255
    if not frames.dtype.is_floating_point:
        raise BadInputError(f"Frames are {frames.dtype}; give uint8, or floating point in 0 to 1.")
    return frames.to(dtype)


def to_uint8(frames: Tensor) -> Tensor:
    """Rounds frames in 0 to 1 to uint8; values outside are clamped."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def latent_frames(frames: int) -> int:
    """Gives the number of latent frames of a clip: ``1 + (frames - 1) / 4``.

    Raises:
        BadInputError: If the number of frames is not 1 + 4k.
    """
    if frames < 1 or (frames - 1) % GROUP:
        below = 1 + max(0, frames - 1) // GROUP * GROUP
        raise BadInputError(
            f"A clip of {frames} frames cannot be tokenized, whose frames come as 1 + 4k; "
            f"give {below} or {below + GROUP}."
        )
    return 1 + (frames - 1) // GROUP


class StreamEncoder(ABC):
    """Encodes a clip as its frames arrive."""

    def __init__(self, tokenizer: "VideoTokenizer") -> None:
        self._tokenizer = tokenizer
        self._waiting: Tensor | None = None
        self._started = False

    @property
    def pending(self) -> int:
        """Frames that wait for the rest of their group, 0 to 3."""
        return 0 if self._waiting is None else self._waiting.shape[1]

    @torch.no_grad()
    def push(self, frames: Tensor) -> Tensor:
        """Takes the next frames of the clip, any number of them.

        Args:
            frames: ``[batch, n, 3, height, width]``, uint8 or floating point in 0 to 1.

        Returns:
            ``[batch, m, channels, h, w]``: the latent frames that are complete now, maybe none.

        Raises:
            BadInputError: If the frames do not fit the tokenizer or the stream so far.
        """
        tokenizer = self._tokenizer
        tokenizer.check_frames(frames)
        frames = to_unit(frames, tokenizer.dtype)
        if self._waiting is not None:
            _check_continues(self._waiting, frames, "frames")
            frames = torch.cat([self._waiting, frames], dim=1)
        alone = 0 if self._started else min(1, frames.shape[1])
        whole = alone + (frames.shape[1] - alone) // GROUP * GROUP
        self._waiting = frames[:, whole:]
        if whole == 0:
            return frames.new_empty(tokenizer.latent_shape(frames, 0))
        starts, self._started = not self._started, True
        return self._advance(frames[:, :whole], starts)

    @abstractmethod
    def _advance(self, frames: Tensor, starts: bool) -> Tensor:
        """Encodes whole groups, the first frame by itself where ``starts``."""

    def fork(self) -> Self:
        """Gives a second stream that goes on from here; neither disturbs the other."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


class StreamDecoder(ABC):
    """Decodes a clip as its latents arrive."""

    def __init__(self, tokenizer: "VideoTokenizer") -> None:
        self._tokenizer = tokenizer
        self._started = False

    @torch.no_grad()
    def push(self, latents: Tensor) -> Tensor:
        """Takes the next latent frames of the clip, any number of them.

        Args:
            latents: ``[batch, m, channels, h, w]``, normalised.

        Returns:
            ``[batch, n, 3, height, width]`` in 0 to 1: 4 frames a latent, 1 for the very first.

        Raises:
            BadInputError: If the latents do not fit the tokenizer or the stream so far.
        """
        self._tokenizer.check_latents(latents)
        latents = latents.to(self._tokenizer.dtype)
        if latents.shape[1] == 0:
            return latents.new_empty(self._tokenizer.frame_shape(latents, 0))
        starts, self._started = not self._started, True
        return self._advance(latents, starts)

    def prime(self, latents: Tensor) -> None:
        """Takes latents whose frames are known already, such as those of the context.

        Args:
            latents: As for ``push``; the frames are not given, and not made where the
                tokenizer can do without.
        """
        self.push(latents)

    @abstractmethod
    def _advance(self, latents: Tensor, starts: bool) -> Tensor:
        """Decodes latent frames, the first one as a single frame where ``starts``."""

    def fork(self) -> Self:
        """Gives a second stream that goes on from here; neither disturbs the other."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


class VideoTokenizer(nn.Module, ABC):
    """A causal video autoencoder, 4 times shorter in time.

    Attributes:
        latent_channels: Channels of a latent frame.
        spatial_factor: How many times smaller a latent frame is, each way.
    """

    latent_channels: int
    spatial_factor: int

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type of the weights, and of all that is returned."""
        return next(self.parameters()).dtype

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """Encodes whole clips.

        Args:
            frames: ``[batch, 1 + 4k, 3, height, width]``, uint8 or floating point in 0 to 1.

        Returns:
            ``[batch, 1 + k, channels, h, w]``: the mean of the posterior, normalised.

        Raises:
            BadInputError: If the number of frames or their size does not fit.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Decodes whole clips.

        Args:
            latents: ``[batch, 1 + k, channels, h, w]``, normalised.

        Returns:
            ``[batch, 1 + 4k, 3, height, width]`` in 0 to 1; ``to_uint8`` rounds them.

        Raises:
            BadInputError: If the latents do not fit.
        """

    @abstractmethod
    def stream_encoder(self) -> StreamEncoder:
        """Starts to encode a clip that arrives piece by piece."""

    @abstractmethod
    def stream_decoder(self) -> StreamDecoder:
        """Starts to decode a clip that arrives piece by piece."""

    def latent_shape(self, frames: Tensor, count: int) -> tuple[int, int, int, int, int]:
        """Gives the shape of ``count`` latent frames of such frames."""
        batch, _, _, height, width = frames.shape
        factor = self.spatial_factor
        return batch, count, self.latent_channels, height // factor, width // factor

    def frame_shape(self, latents: Tensor, count: int) -> tuple[int, int, int, int, int]:
        """Gives the shape of ``count`` frames of such latents."""
        batch, _, _, height, width = latents.shape
        return batch, count, 3, height * self.spatial_factor, width * self.spatial_factor

    def check_frames(self, frames: Tensor) -> None:
        """Refuses frames that are no ``[batch, time, 3, height, width]`` or of no fit size.

        Raises:
            BadInputError: In one sentence.
        """
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise BadInputError(
                f"Frames have shape {tuple(frames.shape)}; give [batch, time, 3, height, width]."
            )
        height, width = frames.shape[-2:]
        factor = self.spatial_factor
        if height == 0 or width == 0 or height % factor or width % factor:
            raise BadInputError(
                f"Frames are {height}x{width}, and this tokenizer needs multiples of {factor}; "
                f"resize or crop them."
            )

    def check_latents(self, latents: Tensor) -> None:
        """Refuses latents that are no ``[batch, time, channels, h, w]`` of this tokenizer.

        Raises:
            BadInputError: In one sentence.
        """
        if latents.ndim != 5 or latents.shape[2] != self.latent_channels:
            raise BadInputError(
                f"Latents have shape {tuple(latents.shape)}; this tokenizer takes "
                f"[batch, time, {self.latent_channels}, h, w]."
            )


def _check_continues(before: Tensor, now: Tensor, what: str) -> None:
    """Refuses a piece of a stream that differs from the pieces before in batch or size."""
    if before.shape[:1] + before.shape[2:] != now.shape[:1] + now.shape[2:]:
        raise BadInputError(
            f"A stream of {what} of shape {tuple(before.shape)} cannot go on with "
            f"{tuple(now.shape)}; start another stream."
        )
