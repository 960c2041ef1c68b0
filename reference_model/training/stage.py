"""What the training loop asks of a stage, and a stage of its data.

A stage is one thing to train: the tokenizer, the latent action model, the world model in one of
its phases, the student. The loop knows nothing of what they learn; a stage knows nothing of
checkpoints, logs or optimisers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError

Batch: TypeAlias = dict[str, Tensor]
"""Tensors by name, each with the batch first."""


class Source(Protocol):
    """Where batches come from."""

    def batch(self, step: int, size: int) -> Batch:
        """Gives the batch of a step.

        It depends on the source's own seed, ``step`` and ``size`` alone, so a training that
        resumes sees what an uninterrupted one sees, and nothing of the source needs storing.

        Args:
            step: Optimiser step, counted over accumulation: the ``a``-th part of step ``s`` is
                asked for as ``s * accumulate + a``.
            size: Samples.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW and its schedule: a linear rise, a plateau, a linear fall to zero.

    Attributes:
        lr: Learning rate of the plateau.
        betas: Decay rates of the moments.
        weight_decay: Of matrices and kernels; vectors have none.
        warmup: Steps of the rise.
        decay: Share of the steps that the fall takes, at the end, 0 to 1.
        clip: Largest norm of the gradient.
        ema: Decay of the average of the weights; 0 keeps none.
        muon: Learning rate of the matrices of a transformer's blocks under Muon (Jordan et al.
            2024), its updates scaled to the size of AdamW's; 0: AdamW for these, too.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    warmup: int = 100
    decay: float = 0.3
    clip: float = 1.0
    ema: float = 0.998
    muon: float = 0.0

    def __post_init__(self) -> None:
        shares = 0 <= self.decay <= 1 and 0 <= self.ema < 1
        if not shares or min(self.lr, self.clip) <= 0 or self.muon < 0:
            raise BadInputError(
                f"An optimiser of lr {self.lr:g}, clip {self.clip:g}, decay {self.decay:g}, ema "
                f"{self.ema:g} and muon {self.muon:g} is impossible; lr and clip are above 0, "
                "decay and ema 0 to 1, and muon is 0 or above."
            )


@dataclass(frozen=True, kw_only=True)
class Player:
    """A module that is trained, with an optimiser of its own.

    Attributes:
        module: Its parameters with ``requires_grad`` are trained.
        optimizer: How.
    """

    module: nn.Module
    optimizer: OptimizerConfig


class Stage(Protocol):
    """One thing to train.

    Attributes:
        name: Such as ``tokenizer``.
        players: What is trained. The first is what the stage is for, and what is averaged,
            validated and exported; distillation has a second, the critic.
        source: Where batches come from.
    """

    name: str
    players: Mapping[str, Player]
    source: Source

    def turn(self, step: int) -> str:
        """Names the player that is updated at a step."""
        ...

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Gives the scalar ``total`` to minimise, and others to log.

        Args:
            player: Whose turn it is; gradients of the others are of no account.
            batch: On the device of the modules.
            generator: All chance of this step, on the same device; its state is decided by seed
                and step alone.
        """
        ...

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Scores the first player, its averaged weights in place, on data held out."""
        ...

    def show(self, module: nn.Module) -> Tensor | None:
        """Gives a video to look at, uint8 ``[time, 3, height, width]``, or ``None``."""
        ...

    def export(self, module: nn.Module, folder: Path) -> Path:
        """Writes what the stage is for and returns the file; the file appears whole."""
        ...
