"""What trains our tokenizer: its loss, crops where something moves, latent statistics.

Everything is a pure function of tensors and a generator; the training loop is elsewhere.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.video_tokenizer import latent_frames, to_unit


@dataclass(frozen=True, kw_only=True)
class TokenizerLossConfig:
    """Weights of the loss; errors are on the scale 0 to 1.

    Attributes:
        mse: Of the mean squared error.
        l1: Of the mean absolute error, which keeps edges and thin things.
        kl: Of the divergence from a standard normal, averaged over latent values. About
            ``2 * MSE * latent values / frame values`` is the weight that makes the loss a bound
            on likelihood; 4e-5 is that for the ``nano`` size at 30 dB.
    """

    mse: float = 1.0
    l1: float = 0.1
    kl: float = 4e-5


class TokenizerLoss(NamedTuple):
    """Scalars; the gradient is that of ``total``."""

    total: Tensor
    mse: Tensor
    l1: Tensor
    kl: Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of each normal from the standard normal, in nats, elementwise.

    ``KL = (mean^2 + variance - log variance - 1) / 2``.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def tokenizer_loss(
    tokenizer: CausalTokenizer,
    frames: Tensor,
    *,
    config: TokenizerLossConfig | None = None,
    generator: torch.Generator | None = None,
) -> TokenizerLoss:
    """Measures how well clips come back from a sampled latent.

    Args:
        tokenizer: What is trained.
        frames: ``[batch, 1 + 4k, 3, height, width]``, uint8 or floating point in 0 to 1.
        config: Weights of the terms.
        generator: Draws the latents; on the frames' device.

    Returns:
        Scalars of the batch.

    Raises:
        BadInputError: If the frames do not fit the tokenizer.
    """
    config = config or TokenizerLossConfig()
    tokenizer.check_frames(frames)
    latent_frames(frames.shape[1])
    truth = to_unit(frames, tokenizer.dtype)
    posterior = tokenizer.posterior(truth)
    error = (tokenizer.reconstruct(posterior.sample(generator)) - truth).float()
    mse, l1 = error.square().mean(), error.abs().mean()
    kl = kl_divergence(posterior.mean.float(), posterior.log_variance.float()).mean()
    return TokenizerLoss(config.mse * mse + config.l1 * l1 + config.kl * kl, mse, l1, kl)


def motion_energy(frames: Tensor) -> Tensor:
    """Says where a clip differs from its own mean over time.

    Args:
        frames: ``[batch, time, 3, height, width]``, uint8 or floating point in 0 to 1.

    Returns:
        ``[batch, height, width]``: the mean absolute difference, 0 where nothing moves.
    """
    unit = to_unit(frames)
    return (unit - unit.mean(dim=1, keepdim=True)).abs().mean(dim=(1, 2))


def foreground_crops(
    frames: Tensor, size: int, *, bias: float = 0.7, generator: torch.Generator | None = None
) -> Tensor:
    """Cuts one square out of each clip, more often where something moves.

    Robot and objects cover a few percent of a frame, and a tokenizer trained on whole frames
    learns the table first. Crops also make a step several times cheaper.

    Args:
        frames: ``[batch, time, 3, height, width]``, uint8 or floating point in 0 to 1.
        size: Side of the square, at most the frame's.
        bias: Share of crops drawn by the motion within them; the others are drawn uniformly.
            A clip without motion is always cropped uniformly.
        generator: Draws the places; on the CPU.

    Returns:
        ``[batch, time, 3, size, size]``, dtype and device as given.

    Raises:
        BadInputError: If the crop is larger than the frames.
    """
    height, width = frames.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise BadInputError(
            f"A crop of {size} pixels does not fit frames of {height}x{width}; choose at most "
            f"{min(height, width)}."
        )
    energy = F.avg_pool2d(motion_energy(frames)[:, None], size, stride=1)[:, 0].double().cpu()
    columns = energy.shape[2]
    energy = energy.flatten(1)
    total = energy.sum(dim=1, keepdim=True)
    uniform = torch.full_like(energy, 1 / energy.shape[1])
    moving = torch.where(total > 0, energy / total.clamp_min(1e-30), uniform)
    chance = bias * moving + (1 - bias) * uniform
    places = torch.multinomial(chance, 1, generator=generator)[:, 0].tolist()
    crops = []
    for clip, place in zip(frames, places, strict=True):
        row, column = divmod(int(place), columns)
        crops.append(clip[..., row : row + size, column : column + size])
    return torch.stack(crops)


@torch.no_grad()
def fit_latent_statistics(tokenizer: CausalTokenizer, clips: Iterable[Tensor]) -> int:
    """Measures mean and deviation of each latent channel and stores them in the tokenizer.

    Sums are kept in float64, so the order of the clips is of no account.

    Args:
        tokenizer: Whose ``latent_mean`` and ``latent_std`` are set.
        clips: Batches of frames, ``[batch, 1 + 4k, 3, height, width]``.

    Returns:
        How many latent frames were measured.

    Raises:
        BadInputError: If there are no clips, or a channel is the same everywhere.
    """
    channels = tokenizer.latent_channels
    total = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    values = measured = 0
    for frames in clips:
        tokenizer.check_frames(frames)
        latent_frames(frames.shape[1])
        raw = tokenizer.posterior(to_unit(frames, tokenizer.dtype)).mean.double().cpu()
        total += raw.sum(dim=(0, 1, 3, 4))
        squares += raw.square().sum(dim=(0, 1, 3, 4))
        values += raw.numel() // channels
        measured += raw.shape[0] * raw.shape[1]
    if not values:
        raise BadInputError("There are no clips to measure latents on; give at least one.")
    mean = total / values
    deviation = (squares / values - mean.square()).clamp_min(0).sqrt()
    if float(deviation.min()) < 1e-6:
        flat = int(deviation.argmin())
        raise BadInputError(
            f"Latent channel {flat} is the same in all {measured} latent frames; train the "
            "tokenizer first, or give clips that differ."
        )
    tokenizer.latent_mean.copy_(mean)
    tokenizer.latent_std.copy_(deviation)
    return measured


def psnr(prediction: Tensor, truth: Tensor) -> float:
    """Decibels of the mean squared error over everything given, both in 0 to 1.

    For watching a training run; what is reported is scored by ``dojobench.metrics``.
    """
    error = (prediction.double() - truth.double()).square().mean()
    return -10 * math.log10(max(float(error), 1e-8))
