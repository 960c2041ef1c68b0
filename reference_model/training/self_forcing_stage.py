"""Self Forcing with distribution matching: the student learns on its own rollouts.

The student rolls itself out from a cache, over more latent frames than the teacher was ever
trained on. The end of the rollout is a clip such as the teacher knows: the frame before it, encoded
by itself, and the last new latent frames. There the frozen teacher and a critic, which starts as
the teacher and learns what the student makes, say where to go (``distribution_matching``). Turns
are taken: four for the critic, one for the student (paper section 3.5;
``interactive/models/action_video2world_self_forcing.py`` of NVIDIA/DreamDojo at 02f119b; Self
Forcing, arXiv:2506.08009).
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.flow_matching import (
    FlowMatchingConfig,
    sample_times,
)
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.training.distribution_matching import (
    CriticWeighting,
    Judged,
    critic_loss,
    judge,
    matching_loss,
)
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.rollout import draw_noise, stream_out, student_rollout
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player, Source
from dojobench.reference_model.training.warmup_stage import (
    as_network,
    export_student,
    freeze_text,
)
from dojobench.reference_model.training.windows import (
    conditions_of,
    joined_actions,
    side_by_side,
    still_latent,
    window_actions,
)
from dojobench.reference_model.video_tokenizer import VideoTokenizer


def _published(lr: float, ema: float) -> OptimizerConfig:
    return OptimizerConfig(lr=lr, weight_decay=0.01, warmup=0, decay=0.0, clip=1.0, ema=ema)


@dataclass(frozen=True, kw_only=True)
class SelfForcingStageConfig:
    """How the student is trained on its own rollouts; the defaults are the published ones.

    Attributes:
        groups: Weight of each group of episodes whose first frames and actions are taken.
        held_out: Group to validate on.
        data_latents: Latent frames of the windows that are taken; 13 are 49 frames.
        steps: Steps of the student's frames, at ``1, (n - 1) / n, ... 1 / n`` under the shift.
        shift: Timestep shift of these and of the times at which samples are judged; the teacher's
            own where ``None`` (published: 5 for both).
        window: Earlier latent frames that a frame sees.
        renoise: Whether a frame keeps its noise between steps (``same``, as released) or draws
            it afresh (``fresh``, as in Self Forcing).
        mark_context: Whether the context frame is marked as given.
        horizon: Latent frames of a clip that the teacher was trained on, and so of a judged one.
        longest: Most latent frames of a rollout; each is of a length drawn from ``horizon`` to
            this. Beyond the source's windows it goes on with another sample's actions.
        graded: Last latent frames of a rollout that carry a gradient.
        exits: Whether the number of steps, 1 to ``steps``, is drawn once for all frames of a
            rollout (``rollout``, published) or for each (``frame``).
        ratio: The student's turn is every so many steps, the critic's are the others.
        critic_clips: Clips that the critic is shown of each of its rollouts, which end at lengths
            drawn apart; a rollout costs more than a pass over its end.
        critic_weighting: What its loss is weighed by, see ``critic_weight``.
        validation_windows: Windows that are validated on.
        loop: How long; its steps are those of both players together.
        student: The student's optimiser. Its average is Self Forcing's; the released code keeps
            none.
        critic: The critic's optimiser.
    """

    groups: Mapping[str, float] = field(default_factory=lambda: {"arm-train": 1.0})
    held_out: str | None = "arm-val"
    data_latents: int = 13
    steps: int = 4
    shift: float | None = None
    window: int = 3
    renoise: Literal["same", "fresh"] = "same"
    mark_context: bool = True
    horizon: int = 4
    longest: int = 13
    graded: int = 3
    exits: Literal["rollout", "frame"] = "rollout"
    ratio: int = 5
    critic_clips: int = 1
    critic_weighting: CriticWeighting = "trigflow"
    validation_windows: int = 16
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=3000, batch=64))
    student: OptimizerConfig = field(default_factory=lambda: _published(1e-7, 0.99))
    critic: OptimizerConfig = field(default_factory=lambda: _published(1e-5, 0.0))

    def __post_init__(self) -> None:
        if not 2 <= self.horizon <= self.longest or not 1 <= self.graded < self.horizon:
            raise BadInputError(
                f"Rollouts of {self.horizon} to {self.longest} latent frames with a gradient on "
                f"the last {self.graded} are impossible; give a horizon of at least 2, a 'longest' "
                "no shorter, and 'graded' from 1 to less than the horizon."
            )
        for name in ("steps", "window", "critic_clips"):
            if getattr(self, name) < 1:
                raise BadInputError(
                    f"Self Forcing's {name} is {getattr(self, name)}; it must be at least 1."
                )
        if self.ratio < 2:
            raise BadInputError(
                f"With a ratio of {self.ratio} the critic never has its turn; give at least 2."
            )

    def stream(self, shift: float) -> StreamConfig:
        """Says how the student streams; ``shift`` is the teacher's."""
        return StreamConfig.with_steps(
            self.steps,
            self.shift or shift,
            window=self.window,
            renoise=self.renoise,
            mark_context=self.mark_context,
        )


class Clip(NamedTuple):
    """The end of a rollout, as the teacher knows clips.

    Attributes:
        latents: ``[B, C, horizon, Y, X]``, the context by itself first.
        actions: ``[B, 4 (horizon - 1), width]``.
    """

    latents: Tensor
    actions: Tensor


class SelfForcingStage:
    """Trains a student and its critic; see ``Stage``.

    Nothing is kept between steps, so a training resumes exactly.
    """

    name = "self_forcing"

    def __init__(
        self,
        config: SelfForcingStageConfig,
        student: WorldModelNet,
        teacher: WorldModelNet,
        source: Source,
        *,
        tokenizer: VideoTokenizer,
        held_out: Source | None = None,
        text: Tensor | None = None,
    ) -> None:
        """Takes the players.

        Args:
            config: How.
            student: Warmed up.
            teacher: What the student shall be like; it is frozen, and the critic is its copy.
            source: ``latents [B, C, T, Y, X]`` and ``actions [B, 4 (T - 1), width]``; of the
                latents only the first frame is used.
            tokenizer: Encodes the frame before a judged clip.
            held_out: The same of episodes not trained on, to validate on.
            text: ``[1, L, features]`` for networks that attend to one.
        """
        self.config, self.source = config, source
        freeze_text(student)
        critic = copy.deepcopy(teacher).train().requires_grad_(True)
        freeze_text(critic)
        self.players: Mapping[str, Player] = {
            "student": Player(module=student, optimizer=config.student),
            "critic": Player(module=critic, optimizer=config.critic),
        }
        self._teacher = teacher.eval().requires_grad_(False)
        self._tokenizer = tokenizer.eval().requires_grad_(False)
        self._text = text
        self._stream = config.stream(teacher.config.shift)
        self._judging = FlowMatchingConfig(
            shift=config.shift or teacher.config.shift,
            distribution="uniform",
            temporal_weight=0.0,
        )
        wanted = config.validation_windows
        self._held_out = None if held_out is None else held_out.batch(0, wanted)

    def turn(self, step: int) -> str:
        """Names whose turn it is; the critic comes first, for as the teacher it says nothing."""
        return "student" if step % self.config.ratio == self.config.ratio - 1 else "critic"

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Gives the loss of whose turn it is."""
        self._teacher.to(batch["latents"].device)
        self._tokenizer.to(batch["latents"].device)
        if player == "critic":
            return self._critic_loss(batch, generator)
        return self._student_loss(batch, generator)

    def _student_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        lengths = self._draw_lengths(1, generator)
        clip = self._roll_out(batch, lengths, generator, graded=self.config.graded)[0]
        fixed = Clip(clip.latents.detach(), clip.actions)
        times, noise = self._draw_noising(fixed, generator)
        with torch.no_grad():
            critic = as_network(self.players["critic"].module)
            real = self._judge(self._teacher, fixed, noise, times).clean
            fake = self._judge(critic, fixed, noise, times).clean
        found = matching_loss(clip.latents[:, :, 1:], real=real, fake=fake)
        return {
            "total": found.total,
            "gradient": found.gradient.abs().mean(),
            "distance": found.distance.mean(),
        }

    def _critic_loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        lengths = self._draw_lengths(self.config.critic_clips, generator)
        with torch.no_grad():
            clips = self._roll_out(batch, lengths, generator)
        shown = Clip(*(torch.cat(each) for each in zip(*clips, strict=True)))
        times, noise = self._draw_noising(shown, generator)
        critic = as_network(self.players["critic"].module)
        judged = self._judge(critic, shown, noise, times)
        loss = critic_loss(judged, shown.latents, noise, self.config.critic_weighting)
        return {"total": loss.mean()}

    def _draw_lengths(self, count: int, generator: torch.Generator) -> list[int]:
        bounds = (self.config.horizon, self.config.longest + 1)
        drawn = torch.randint(*bounds, (count,), generator=generator, device=generator.device)
        return [int(each) for each in drawn.tolist()]

    def _draw_noising(self, clip: Clip, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws times ``[B]`` and noise like the clips."""
        device = clip.latents.device
        times = sample_times(len(clip.latents), self._judging, generator=generator, device=device)
        noise = torch.randn(clip.latents.shape, generator=generator, device=device)
        return times, noise

    def _judge(self, net: WorldModelNet, clip: Clip, noise: Tensor, times: Tensor) -> Judged:
        told = conditions_of(net, clip.latents[:, :, :1], self._text)
        return judge(net, clip.latents, noise, times, clip.actions, **told)

    def _roll_out(
        self, batch: Batch, lengths: list[int], generator: torch.Generator, *, graded: int = 0
    ) -> list[Clip]:
        """Rolls the student out once, and gives the clips that end at these lengths."""
        config = self.config
        net = as_network(self.players["student"].module)
        frames = max(lengths) - 1
        context = batch["latents"][:, :, :1].float()
        actions = self._long_enough(batch["actions"], net.config.actions.per_latent * frames)
        drawn = torch.randint(
            1, config.steps + 1, (frames,), generator=generator, device=context.device
        ).tolist()
        rolled = student_rollout(
            net,
            context,
            actions,
            draw_noise(context, frames, self._stream, generator),
            stream=self._stream,
            exits=drawn if config.exits == "frame" else drawn[:1] * frames,
            graded=graded,
            **conditions_of(net, context, self._text),
        )
        return [self._clip(rolled, actions, length) for length in lengths]

    def _clip(self, rolled: Tensor, actions: Tensor, length: int) -> Clip:
        """Cuts out the clip that ends with latent frame ``length - 1``."""
        first = length - self.config.horizon
        context = still_latent(self._tokenizer, rolled[:, :, : first + 1])
        return Clip(
            torch.cat([context, rolled[:, :, first + 1 : length]], dim=2),
            window_actions(actions, self._teacher.config.actions, first=first, stop=length),
        )

    def _long_enough(self, actions: Tensor, needed: int) -> Tensor:
        """Goes on with the actions of the batch's other samples until there are enough."""
        config, shift = self._teacher.config.actions, 0
        whole = actions
        while whole.shape[1] < needed:
            shift += 1
            whole = joined_actions(whole, actions.roll(shift, dims=0), config)
        return whole[:, :needed]

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """Scores streams on held-out windows against the truth.

        ``near`` and ``far`` are mean squared errors of the first and the last ``horizon - 1`` new
        latent frames; ``spread`` is how much the far ones deviate over how much the truth does,
        which falls below 1 where a student blurs and rises where it drifts off.
        """
        if self._held_out is None:
            return {}
        made, truth = self._held_out_rollout(as_network(module), self._held_out)
        squared, last = (made - truth).square(), self.config.horizon - 1
        return {
            "near": float(squared[:, :, 1 : last + 1].mean()),
            "far": float(squared[:, :, -last:].mean()),
            "spread": float(made[:, :, -last:].std() / truth[:, :, -last:].std()),
        }

    def _held_out_rollout(self, net: WorldModelNet, batch: Batch) -> tuple[Tensor, Tensor]:
        truth = batch["latents"].to(net.device).float()
        context = truth[:, :, :1]
        generator = torch.Generator(net.device).manual_seed(0)
        noise = draw_noise(context, truth.shape[2] - 1, self._stream, generator)
        told = conditions_of(net, context, self._text)
        actions = batch["actions"].to(net.device)
        return stream_out(net, context, actions, noise, stream=self._stream, **told), truth

    @torch.no_grad()
    def show(self, module: nn.Module) -> Tensor | None:
        """Gives the truth beside the student's stream."""
        if self._held_out is None:
            return None
        net = as_network(module)
        one = {name: each[:1] for name, each in self._held_out.items()}
        made, truth = self._held_out_rollout(net, one)
        return side_by_side(self._tokenizer.to(net.device), truth, made)

    def export(self, module: nn.Module, folder: Path) -> Path:
        """Writes ``student.safetensors``."""
        return export_student(as_network(module), folder, self._stream)
