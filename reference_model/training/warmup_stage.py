"""The student's warm-up: to say from anywhere on the teacher's way where it ends.

The student is the teacher's network under a block-causal mask. Each latent frame of a trajectory
stands at a noise level of its own, drawn from those that were kept and clean; the student predicts
the clean end of every frame and the mean squared error to the teacher's is its loss
(``interactive/models/action_video2world_warmup.py`` and ``interactive/networks/blockmask.py`` of
NVIDIA/DreamDojo at 02f119b).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.checkpoint_io import save_student
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.rollout import stream_out
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player, Source
from dojobench.reference_model.training.windows import conditions_of, side_by_side
from dojobench.reference_model.video_tokenizer import VideoTokenizer

STUDENT_FILE = "student.safetensors"


@dataclass(frozen=True, kw_only=True)
class WarmupStageConfig:
    """How the student is warmed up; the defaults are the published ones.

    Attributes:
        window: Earlier latent frames that a frame sees, as when it streams: 3 are the 12 frames
            of the paper.
        released_window: Whether the warm-up sees one less than the stream, as in the released
            code (2 and 3).
        mark_context: Whether the context frame is marked as given, as for the teacher.
        clean_past: Share of samples in which all frames before a random one are clean, as they
            are when the student streams; in the others each frame draws its own level
            (published: 0).
        held_out: Windows of the trajectories, the last ones, that are validated on instead of
            trained on.
        loop: How long.
        optimizer: How.
    """

    window: int = 3
    released_window: bool = False
    mark_context: bool = True
    clean_past: float = 0.0
    held_out: int = 64
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=10_000, batch=256))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            lr=3e-5, weight_decay=0.1, warmup=0, decay=0.0, clip=0.1, ema=0.0
        )
    )

    def __post_init__(self) -> None:
        if not 0 <= self.clean_past <= 1 or self.window < 1 + self.released_window:
            raise BadInputError(
                f"A warm-up with a window of {self.window} and a share of {self.clean_past:g} "
                "clean pasts is impossible; give a window of at least 1 (2 where the released one "
                "is smaller) and a share from 0 to 1."
            )


class WarmupStage:
    """Trains a causal student on trajectories; see ``Stage``."""

    name = "warmup"

    def __init__(
        self,
        config: WarmupStageConfig,
        student: WorldModelNet,
        source: Source,
        *,
        held_out: Batch | None = None,
        tokenizer: VideoTokenizer | None = None,
        text: Tensor | None = None,
    ) -> None:
        """Takes a student, which starts as the teacher.

        Args:
            config: How.
            student: A copy of the teacher.
            source: Trajectories, as ``TrajectorySource`` draws them.
            held_out: Others to validate on.
            tokenizer: To show videos.
            text: ``[1, L, features]`` for networks that attend to one.
        """
        self.config, self.source = config, source
        freeze_text(student)
        self.players: Mapping[str, Player] = {
            "student": Player(module=student, optimizer=config.optimizer)
        }
        self._held_out, self._tokenizer, self._text = held_out, tokenizer, text

    def turn(self, step: int) -> str:
        """There is one player."""
        del step
        return "student"

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Gives the mean squared error of the predicted ends."""
        net = as_network(self.players[player].module)
        levels = self.draw_levels(batch, generator)
        error = self.predict(net, batch, levels) - batch["clean"][:, :, 1:]
        squared = error.square().mean(dim=(1, 3, 4))
        noisiest = squared[levels == 0]
        return {
            "total": squared.mean(),
            "from_noise": noisiest.mean() if noisiest.numel() else squared.new_zeros(()),
        }

    def draw_levels(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Draws each new frame's level.

        Args:
            batch: Of trajectories with ``n`` times.
            generator: Of the step.

        Returns:
            ``[B, T - 1]``, from 0, the noisiest, to ``n``, clean.
        """
        count, frames = batch["states"].shape[1], batch["states"].shape[3]
        size = (len(batch["states"]), frames)
        device = batch["states"].device
        levels = torch.randint(count + 1, size, generator=generator, device=device)
        if not self.config.clean_past:
            return levels
        noisy = torch.randint(count, (size[0], 1), generator=generator, device=device)
        at = torch.randint(frames, (size[0], 1), generator=generator, device=device)
        place = torch.arange(frames, device=device)
        streamed = torch.where(place < at, count, torch.where(place == at, noisy, levels))
        chosen = torch.rand(size[0], 1, generator=generator, device=device)
        return torch.where(chosen < self.config.clean_past, streamed, levels)

    def predict(self, net: WorldModelNet, batch: Batch, levels: Tensor) -> Tensor:
        """Predicts the clean ends of all new frames in one block-causal pass.

        Args:
            net: The student.
            batch: Of trajectories.
            levels: As ``draw_levels`` gives them.

        Returns:
            ``[B, C, T - 1, Y, X]``.
        """
        clean, states = batch["clean"], batch["states"]
        ends = clean[:, None, :, 1:]
        every = torch.cat([states, ends], dim=1)
        chosen = levels[:, None, None, :, None, None].expand(-1, -1, *every.shape[2:])
        noisy = every.gather(1, chosen)[:, 0]
        times = functional.pad(batch["times"], (0, 1)).gather(1, levels)
        context = clean[:, :, :1]
        mask = torch.zeros(levels.shape[0], clean.shape[2], device=clean.device)
        mask[:, 0] = float(self.config.mark_context)
        velocity: Tensor = net(
            torch.cat([context, noisy], dim=2),
            functional.pad(times, (1, 0)),
            batch["actions"],
            condition_mask=mask,
            causal=True,
            window=self.config.window - self.config.released_window,
            **conditions_of(net, context, self._text),
        )
        return noisy - times[:, None, :, None, None] * velocity[:, :, 1:].float()

    def stream(self, batch: Batch) -> StreamConfig:
        """Says how the student is to stream that learns from these trajectories."""
        times = tuple(batch["times"][0].tolist())
        return StreamConfig(
            window=self.config.window, times=times, mark_context=self.config.mark_context
        )

    def _rollout(self, net: WorldModelNet, batch: Batch) -> Tensor:
        """Streams from the trajectories' own noise, ``[B, C, T, Y, X]``."""
        context = batch["clean"][:, :, :1]
        noise = batch["states"][:, 0].permute(2, 0, 1, 3, 4)[:, None, :, :, None]
        conditions = conditions_of(net, context, self._text)
        stream = self.stream(batch)
        return stream_out(net, context, batch["actions"], noise, stream=stream, **conditions)

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """Scores how far streams from the teacher's own noise end from where the teacher did.

        ``first`` and ``last`` are mean squared errors of the first and the last new latent frame.
        """
        if self._held_out is None:
            return {}
        net = as_network(module)
        batch = {name: one.to(net.device) for name, one in self._held_out.items()}
        error = (self._rollout(net, batch) - batch["clean"]).square().mean(dim=(0, 1, 3, 4))
        return {"first": float(error[1]), "last": float(error[-1])}

    @torch.no_grad()
    def show(self, module: nn.Module) -> Tensor | None:
        """Gives the teacher's end beside the student's stream."""
        if self._held_out is None or self._tokenizer is None:
            return None
        net = as_network(module)
        batch = {name: one[:1].to(net.device) for name, one in self._held_out.items()}
        tokenizer = self._tokenizer.to(net.device)
        return side_by_side(tokenizer, batch["clean"], self._rollout(net, batch))

    def export(self, module: nn.Module, folder: Path) -> Path:
        """Writes ``student.safetensors``."""
        example = self.source.batch(0, 1)
        return export_student(as_network(module), folder, self.stream(example))


def export_student(net: WorldModelNet, folder: Path, stream: StreamConfig) -> Path:
    """Writes ``student.safetensors``, with a note of how it is to stream."""
    path = folder / STUDENT_FILE
    save_student(path, net, stream)
    return path


def freeze_text(net: WorldModelNet) -> None:
    """Keeps the projection of a stored text as it is, as published for distillation."""
    if net.crossattn_proj is not None:
        net.crossattn_proj.requires_grad_(False)


def as_network(module: nn.Module) -> WorldModelNet:
    """Sees that a player's module is a network."""
    if not isinstance(module, WorldModelNet):
        raise TypeError(f"the student is no {type(module).__name__}")
    return module
