"""The stage that trains our tokenizer: crops where something moves, and whole frames to judge."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TOKENIZERS
from dojobench.reference_model.tokenizer_training import (
    TokenizerLossConfig,
    fit_latent_statistics,
    foreground_crops,
    motion_energy,
    psnr,
    tokenizer_loss,
)
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.sources import ClipSource
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player, Source
from dojobench.reference_model.video_tokenizer import to_uint8, to_unit

TOKENIZER_FILE = "tokenizer.safetensors"
_MOVING = 0.03
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class TokenizerStageConfig:
    """How the tokenizer is trained.

    Attributes:
        size: ``nano`` or ``small``.
        groups: Weight of each group of episodes to train on.
        held_out: Groups to judge on, each by itself.
        frames: Frames of a clip, 1 + 4k.
        crop: Side of the squares that are trained on; whole frames where it is the frame's.
        bias: Share of the squares that are drawn by motion, 0 to 1.
        loss: Weights of the loss.
        validation_clips: Clips of each group to judge on.
        statistics_clips: Clips that the latents' mean and deviation are measured on.
        loop: How long.
        optimizer: How.
        start: Whether to begin from the tokenizer of the run that this one builds on, or from
            nothing.
    """

    size: str = "nano"
    groups: Mapping[str, float] = field(
        default_factory=lambda: {"arm-train": 6.0, "in-lab": 1.0, "egodex": 1.0, "dojo-hv": 2.0}
    )
    held_out: tuple[str, ...] = ("arm-val", "hand-val")
    frames: int = 9
    crop: int = 32
    bias: float = 0.7
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    validation_clips: int = 32
    statistics_clips: int = 256
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(batch=20, precision="bfloat16"))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            lr=2e-3, betas=(0.9, 0.95), warmup=50, decay=0.4, ema=0.995
        )
    )
    start: Literal["base"] | None = None

    def __post_init__(self) -> None:
        if self.size not in TOKENIZERS:
            raise BadInputError(
                f"There is no tokenizer of the size '{self.size}'; the sizes are: "
                f"{', '.join(TOKENIZERS)}."
            )


class TokenizerStage:
    """Trains a ``CausalTokenizer``; see ``Stage``."""

    name = "tokenizer"
    players: Mapping[str, Player]
    source: Source

    def __init__(
        self, config: TokenizerStageConfig, store: EpisodeStore, *, pretrained: Path | None = None
    ) -> None:
        """Draws the first weights from the loop's seed, or loads them, and opens the data.

        Args:
            config: How.
            store: The episodes.
            pretrained: Weights to begin from, where ``config.start`` says so.

        Raises:
            BadInputError: If a group does not exist, a crop does not fit its frames, or the
                tokenizer to begin from is of another size.
        """
        self.config = config
        torch.manual_seed(config.loop.seed)
        self.tokenizer = CausalTokenizer(TOKENIZERS[config.size])
        if config.start == "base":
            self._begin_from(pretrained)
        self.players = {"tokenizer": Player(module=self.tokenizer, optimizer=config.optimizer)}
        self.source = ClipSource(store, config.groups, frames=config.frames, seed=config.loop.seed)
        self._held_out = {
            name: ClipSource(store, {name: 1.0}, frames=13, seed=0).batch(
                0, config.validation_clips
            )["frames"]
            for name in config.held_out
        }
        side = min(self.source.batch(0, 1)["frames"].shape[-2:])
        if not 0 < config.crop <= side:
            raise BadInputError(
                f"Crops of {config.crop} pixels do not fit frames whose smaller side is {side}; "
                "set 'crop' to at most that."
            )

    def _begin_from(self, pretrained: Path | None) -> None:
        if pretrained is None:
            raise BadInputError(
                "The tokenizer begins from that of another run, and this run builds on none; name "
                "one with --base or set 'tokenizer.start' to null."
            )
        before = CausalTokenizer.load(pretrained)
        if before.config != self.tokenizer.config:
            raise BadInputError(
                f"{pretrained} holds a tokenizer of another size than '{self.config.size}'; set "
                "'tokenizer.size' to that one's."
            )
        self.tokenizer.load_state_dict(before.state_dict())

    def turn(self, step: int) -> str:
        """There is one player."""
        del step
        return "tokenizer"

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Gives the loss of crops; see ``tokenizer_loss``."""
        del player
        frames = batch["frames"]
        if self.config.crop < max(frames.shape[-2:]):
            places = torch.Generator().manual_seed(generator.initial_seed())
            frames = foreground_crops(
                frames, self.config.crop, bias=self.config.bias, generator=places
            )
        loss = tokenizer_loss(self.tokenizer, frames, config=self.config.loss, generator=generator)
        return {"total": loss.total, "mse": loss.mse, "l1": loss.l1, "kl": loss.kl}

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Scores whole frames that come back from the latents' mean, in dB.

        ``psnr/GROUP`` is over all pixels, ``moving/GROUP`` over those of the pixels that the clip
        changes.
        """
        scores = {}
        for name, clips in self._held_out.items():
            made, truth = self._round_trip(module, clips)
            moving = (motion_energy(truth) > _MOVING)[:, None, None].expand_as(truth)
            scores[f"psnr/{name}"] = psnr(made, truth)
            scores[f"moving/{name}"] = psnr(made[moving], truth[moving])
        return scores

    @torch.no_grad()
    def _round_trip(self, module: nn.Module, clips: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(module, CausalTokenizer):
            raise TypeError(f"the tokenizer stage trains no {type(module).__name__}")
        device = next(module.parameters()).device
        truth = to_unit(clips)
        made = [
            module.reconstruct(module.posterior(some.to(device)).mean).clamp(0, 1).cpu()
            for some in torch.split(truth, _AT_ONCE)
        ]
        return torch.cat(made), truth

    def show(self, module: nn.Module) -> Tensor | None:
        """Gives truth above what comes back, four clips of each group side by side."""
        clips = torch.cat([clips[:4] for clips in self._held_out.values()])
        made, truth = self._round_trip(module, clips)
        rows = [torch.cat(tuple(video), dim=-1) for video in (truth, made)]
        return to_uint8(torch.cat(rows, dim=-2))

    def export(self, module: nn.Module, folder: Path) -> Path:
        """Measures the latents' statistics and writes ``tokenizer.safetensors``."""
        if not isinstance(module, CausalTokenizer):
            raise TypeError(f"the tokenizer stage trains no {type(module).__name__}")
        fit_latent_statistics(module, self._statistics_clips(module))
        path = folder / TOKENIZER_FILE
        module.save(path)
        return path

    def _statistics_clips(self, module: nn.Module) -> Iterator[Tensor]:
        device = next(module.parameters()).device
        for part in range(-(-self.config.statistics_clips // _AT_ONCE)):
            yield self.source.batch(part, _AT_ONCE)["frames"].to(device)
