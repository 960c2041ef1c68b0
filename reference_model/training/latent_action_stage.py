"""The stage that trains the latent action model, on pairs of frames of any video."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel, fit_frames
from dojobench.reference_model.lam_config import LATENT_ACTION_MODELS
from dojobench.reference_model.lam_training import lam_loss
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.sources import PairSource
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player, Source
from dojobench.reference_model.video_tokenizer import to_uint8

LATENT_ACTION_FILE = "lam.safetensors"
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class LatentActionStageConfig:
    """How the latent action model is trained.

    Attributes:
        size: ``nano``, ``small`` or ``published``.
        groups: Weight of each group of episodes.
        held_out: Groups to judge on, each by itself.
        skips: Least and most steps between the two frames (published: 1 to 4).
        validation_pairs: Pairs of each group to judge on.
        loop: How long.
        optimizer: How.
    """

    size: str = "nano"
    groups: Mapping[str, float] = field(
        default_factory=lambda: {"in-lab": 1.0, "egodex": 1.0, "dojo-hv": 1.0, "arm-train": 1.0}
    )
    held_out: tuple[str, ...] = ("hand-val", "arm-val")
    skips: tuple[int, int] = (1, 4)
    validation_pairs: int = 64
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(batch=32, precision="bfloat16"))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=5e-4, clip=0.3))

    def __post_init__(self) -> None:
        if self.size not in LATENT_ACTION_MODELS:
            raise BadInputError(
                f"There is no latent action model of the size '{self.size}'; the sizes are: "
                f"{', '.join(LATENT_ACTION_MODELS)}."
            )


class LatentActionStage:
    """Trains a ``LatentActionModel``; see ``Stage``."""

    name = "latent_actions"
    players: Mapping[str, Player]
    source: Source

    def __init__(self, config: LatentActionStageConfig, store: EpisodeStore) -> None:
        """Draws the first weights from the loop's seed and opens the data.

        Raises:
            BadInputError: If a group does not exist or has no episode long enough.
        """
        self.config = config
        torch.manual_seed(config.loop.seed)
        self.model = LatentActionModel(LATENT_ACTION_MODELS[config.size])
        self.players = {"lam": Player(module=self.model, optimizer=config.optimizer)}
        self.source = PairSource(store, config.groups, skips=config.skips, seed=config.loop.seed)
        self._held_out = {
            name: self._fitted(
                PairSource(store, {name: 1.0}, skips=config.skips, seed=0).batch(
                    0, config.validation_pairs
                )["frames"]
            )
            for name in config.held_out
        }

    def _fitted(self, frames: Tensor) -> Tensor:
        shape = self.model.config
        if tuple(frames.shape[-2:]) == (shape.height, shape.width):
            return frames
        return fit_frames(frames, shape.height, shape.width)

    def turn(self, step: int) -> str:
        """There is one player."""
        del step
        return "lam"

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Gives the squared error of second frames and the thin bottleneck; see ``lam_loss``."""
        del player
        loss = lam_loss(self.model, self._fitted(batch["frames"]), generator=generator)
        return {"total": loss.total, "mse": loss.mse, "kl": loss.kl}

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Scores second frames made from the posterior's mean.

        ``explained/GROUP`` is the share of the difference between the two frames that the
        prediction explains: 0 for repeating the first frame, 1 for the second.
        """
        scores = {}
        for name, pairs in self._held_out.items():
            made, first, second = self._predict(module, pairs)
            error, change = (made - second).square().mean(), (first - second).square().mean()
            scores[f"mse/{name}"] = float(error)
            scores[f"explained/{name}"] = float(1 - error / change.clamp_min(1e-12))
        return scores

    @torch.no_grad()
    def _predict(self, module: nn.Module, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not isinstance(module, LatentActionModel):
            raise TypeError(f"the latent action stage trains no {type(module).__name__}")
        pairs = pairs.to(next(module.parameters()).device)
        actions = module.latent_actions(pairs)[:, 0]
        made = module.predict(pairs[:, 0], actions).float().cpu()
        unit = pairs.cpu().float() / (255 if pairs.dtype == torch.uint8 else 1)
        return made, unit[:, 0], unit[:, 1]

    def show(self, module: nn.Module) -> Tensor | None:
        """Gives first frames, second frames and what was made of them, one below the other."""
        pairs = torch.cat([pairs[:_SHOWN] for pairs in self._held_out.values()])
        made, first, second = self._predict(module, pairs)
        rows = [torch.cat(tuple(row), dim=-1) for row in (first, second, made)]
        return to_uint8(torch.cat(rows, dim=-2))[None]

    def export(self, module: nn.Module, folder: Path) -> Path:
        """Writes ``lam.safetensors``."""
        if not isinstance(module, LatentActionModel):
            raise TypeError(f"the latent action stage trains no {type(module).__name__}")
        path = folder / LATENT_ACTION_FILE
        module.save(path)
        return path
