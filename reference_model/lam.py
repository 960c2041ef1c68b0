"""Latent actions: what changed between two frames, in 32 numbers, learned without any label.

The model is DreamDojo's (arXiv 2602.06949), itself AdaWorld's (arXiv 2503.18938): an
encoder sees two frames and gives a normal distribution; a decoder makes the second frame from
the first and a sample. Since 32 numbers cannot hold a picture, they come to hold the motion.

Names and shapes of the weights are those of the published checkpoint (``lam.encoder.…``). One
thing differs on purpose: where the published world model training cuts clips into pairs, it
flattens them as (batch, pair) and reads the result back as (pair, batch), which permutes latent
actions across the clips of a batch. Here a clip's latent actions never depend on its batch.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam_blocks import (
    SpatialBlock,
    SpatioTemporalBlock,
    Transformer,
    patchify,
    unpatchify,
)
from dojobench.reference_model.lam_config import LatentActionConfig
from dojobench.reference_model.model_file import config_from, read_model, write_model
from dojobench.reference_model.video_tokenizer import to_unit

KIND = "latent action model"
"""What a weights file says that it holds."""


class LatentPosterior(NamedTuple):
    """Normal distribution of latent actions, ``[n, latent_dim]`` each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws latent actions; the gradient flows to mean and variance."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + noise * torch.exp(0.5 * self.log_variance)


class LatentActionNetwork(nn.Module):
    """The network alone, with the published weights' names below ``lam.``."""

    def __init__(self, config: LatentActionConfig) -> None:
        super().__init__()
        self.config = config
        width, heads, patch = config.model_dim, config.heads, 3 * config.patch_size**2
        self.action_prompt = nn.Parameter(torch.empty(1, 1, 1, patch).uniform_(-1, 1))
        self.encoder = Transformer(
            (patch, width, width),
            [SpatioTemporalBlock(width, heads) for _ in range(config.encoder_blocks)],
        )
        self.fc = nn.Linear(width, 2 * config.latent_dim)
        self.patch_up = nn.Linear(patch, width)
        self.action_up = nn.Linear(config.latent_dim, width)
        self.decoder = Transformer(
            (width, width, patch),
            [SpatialBlock(width, heads) for _ in range(config.decoder_blocks)],
        )

    def encode(self, pairs: Tensor) -> LatentPosterior:
        """Gives the latent action of each pair: the action token of its second frame.

        Args:
            pairs: ``[n, 2, 3, height, width]`` in 0 to 1.
        """
        patches = patchify(pairs, self.config.patch_size)
        prompt = self.action_prompt.expand(patches.shape[0], patches.shape[1], -1, -1)
        tokens = self.encoder(torch.cat([prompt.to(patches.dtype), patches], dim=2))
        mean, log_variance = self.fc(tokens[:, 1, 0]).chunk(2, dim=-1)
        return LatentPosterior(mean, log_variance)

    def decode(self, first: Tensor, actions: Tensor) -> Tensor:
        """Makes the second frame.

        Args:
            first: ``[n, 3, height, width]`` in 0 to 1.
            actions: ``[n, latent_dim]``.

        Returns:
            ``[n, 3, height, width]`` in 0 to 1.
        """
        patches = self.patch_up(patchify(first[:, None], self.config.patch_size))
        patches = patches + self.action_up(actions)[:, None, None]
        colours = torch.sigmoid(self.decoder(patches))
        size, height, width = self.config.patch_size, first.shape[-2], first.shape[-1]
        return unpatchify(colours, size, height, width)[:, 0]


class LatentActionModel(nn.Module):
    """The latent action model as the rest of the project uses it.

    The network hangs below ``lam``, so that ``state_dict()`` has the published names.
    """

    def __init__(self, config: LatentActionConfig) -> None:
        super().__init__()
        self.config = config
        self.lam = LatentActionNetwork(config)

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type of the weights."""
        return self.lam.fc.weight.dtype

    def check_frames(self, frames: Tensor, least: int = 2) -> None:
        """Refuses what is no ``[batch, time, 3, height, width]`` of the model's size.

        Raises:
            BadInputError: In one sentence.
        """
        size = (3, self.config.height, self.config.width)
        if frames.ndim != 5 or tuple(frames.shape[2:]) != size:
            raise BadInputError(
                f"Frames have shape {tuple(frames.shape)}, and this latent action model takes "
                f"[batch, time, 3, {size[1]}, {size[2]}]; fit them with fit_frames."
            )
        if frames.shape[1] < least:
            raise BadInputError(
                f"A clip of {frames.shape[1]} frames has no motion; give at least {least}."
            )

    def latent_actions(self, frames: Tensor, *, pairs_at_once: int | None = None) -> Tensor:
        """Reads the latent actions of clips: the posterior's mean for each pair of neighbours.

        Args:
            frames: ``[batch, time, 3, height, width]`` of the model's size, uint8 or floating
                point in 0 to 1.
            pairs_at_once: Most pairs to run together, where memory is short; ``None``: all.

        Returns:
            ``[batch, time - 1, latent_dim]``; entry ``k`` leads from frame ``k`` to ``k + 1``.

        Raises:
            BadInputError: If the frames do not fit the model.
        """
        self.check_frames(frames)
        batch, time = frames.shape[:2]
        pairs = torch.stack([frames[:, :-1], frames[:, 1:]], dim=2).flatten(0, 1)
        means = [
            self.lam.encode(to_unit(some, self.dtype)).mean
            for some in torch.split(pairs, pairs_at_once or len(pairs))
        ]
        return torch.cat(means).reshape(batch, time - 1, -1)

    def predict(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Applies latent actions to frames, each to its own.

        Args:
            frames: ``[n, 3, height, width]`` of the model's size, uint8 or floating point.
            actions: ``[n, latent_dim]``.

        Returns:
            ``[n, 3, height, width]`` in 0 to 1: the frames that follow.

        Raises:
            BadInputError: If frames or actions do not fit the model.
        """
        self.check_frames(frames[:, None], least=1)
        if actions.shape != (len(frames), self.config.latent_dim):
            raise BadInputError(
                f"Latent actions have shape {tuple(actions.shape)}; give "
                f"[{len(frames)}, {self.config.latent_dim}]."
            )
        return self.lam.decode(to_unit(frames, self.dtype), actions.to(self.dtype))

    def save(self, path: Path) -> None:
        """Writes weights and configuration to one safetensors file."""
        write_model(path, self, kind=KIND, config=self.config)

    @classmethod
    def load(cls, path: Path) -> "LatentActionModel":
        """Reads what ``save`` wrote.

        Raises:
            BadInputError: If the file is no latent action model of this project, cut short, or
                of another shape than it says.
        """
        values, tensors = read_model(path, kind=KIND)
        model = cls(config_from(LatentActionConfig, values, str(path)))
        model.load_state_dict(tensors.checked(model))
        return model


def fit_frames(frames: Tensor, height: int = 240, width: int = 320) -> Tensor:
    """Crops the middle to the wanted shape and resizes, as the published model was trained.

    Args:
        frames: ``[batch, time, 3, h, w]``, uint8 or floating point in 0 to 1.
        height: Height to give.
        width: Width to give.

    Returns:
        ``[batch, time, 3, height, width]`` float32 in 0 to 1.
    """
    batch, time, _, tall, wide = frames.shape
    keep_tall = min(tall, round(wide * height / width))
    keep_wide = min(wide, round(tall * width / height))
    top, left = (tall - keep_tall) // 2, (wide - keep_wide) // 2
    unit = to_unit(frames[..., top : top + keep_tall, left : left + keep_wide])
    if (keep_tall, keep_wide) == (height, width):
        return unit
    small = F.interpolate(
        unit.flatten(0, 1), (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return small.reshape(batch, time, 3, height, width).clamp(0, 1)
