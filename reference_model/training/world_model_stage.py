"""The stage that trains the world model: on human video by latent actions, then on a robot.

Pretraining and post-training are the same stage with other data and another beginning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from dojobench.datasets.statistics import save_statistics
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.checkpoint_io import load_world_model, save_world_model
from dojobench.reference_model.design_choices import DesignChoices
from dojobench.reference_model.dit import WorldModelNet, build_world_model
from dojobench.reference_model.flow_matching import FlowMatchingConfig, flow_matching_loss
from dojobench.reference_model.generation import SamplerConfig, sample
from dojobench.reference_model.net_config import preset
from dojobench.reference_model.tokenizer_training import psnr
from dojobench.reference_model.training.latent_source import Conditioning, LatentWindowSource
from dojobench.reference_model.training.latents import LatentStore
from dojobench.reference_model.training.loop import LoopConfig
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player, Source
from dojobench.reference_model.training.windows import conditions_of
from dojobench.reference_model.video_tokenizer import VideoTokenizer, to_uint8, to_unit

WORLD_MODEL_FILE = "world_model.safetensors"
_SHOWN = 4

ActionReset: TypeAlias = Literal["first-layer", "both-layers", "none"]
"""What post-training draws afresh of the action embedders.

- ``first-layer``: their first layer (the paper).
- ``both-layers``: all of them.
- ``none``: nothing; the robot's slots are other ones than those of latent actions (released).
"""


@dataclass(frozen=True, kw_only=True)
class WorldModelStageConfig:
    """How the world model is trained.

    Attributes:
        size: ``nano``, ``small``, ``2b`` or ``14b``.
        choices: Which of the paper's design choices are made.
        conditioning: What stands in the action slots.
        groups: Weight of each group of episodes; the paper's mixture of human video is 1:2:10.
        held_out: Groups to judge on, each by itself.
        latent_frames: Latent frames of a window; 4 are the published 13 frames.
        start: Whether to begin from the pretrained network or from nothing.
        reset: What is drawn afresh of a pretrained network's action embedders.
        validation_windows: Windows of each group to judge on.
        validation_steps: Euler steps of the samples that are judged.
        loop: How long.
        optimizer: How.
    """

    size: str = "nano"
    choices: DesignChoices = field(default_factory=DesignChoices)
    conditioning: Conditioning = "latent"
    groups: Mapping[str, float] = field(
        default_factory=lambda: {"in-lab": 1.0, "egodex": 2.0, "dojo-hv": 10.0}
    )
    held_out: tuple[str, ...] = ("hand-val",)
    latent_frames: int = 4
    start: Literal["pretrained", "nothing"] = "nothing"
    reset: ActionReset = "first-layer"
    validation_windows: int = 32
    validation_steps: int = 4
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(batch=16, precision="bfloat16"))
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        preset(self.size)
        if self.latent_frames < 2:
            raise BadInputError(
                f"Windows of {self.latent_frames} latent frames have nothing to predict; set "
                "'latent_frames' to at least 2."
            )

    @classmethod
    def posttraining(cls) -> "WorldModelStageConfig":
        """Gives the defaults of post-training on the dojo's arm."""
        return cls(
            conditioning="actions",
            groups={"arm-train": 1.0},
            held_out=("arm-val",),
            start="pretrained",
        )


class WorldModelStage:
    """Trains a ``WorldModelNet``; see ``Stage``."""

    players: Mapping[str, Player]
    source: Source

    def __init__(
        self,
        config: WorldModelStageConfig,
        latents: LatentStore,
        tokenizer: VideoTokenizer,
        *,
        name: str = "pretrain",
        pretrained: Path | None = None,
        text: Tensor | None = None,
    ) -> None:
        """Draws or loads the first weights and opens the data.

        Args:
            config: How.
            latents: Encoded by ``tokenizer``.
            tokenizer: Turns what is judged and shown into pictures.
            name: Of the stage.
            pretrained: Weights to begin from, where ``config.start`` says so.
            text: ``[1, L, features]`` for sizes that attend to one.

        Raises:
            BadInputError: If a group does not exist or lacks the actions asked for, the latents
                are no food for the network, or the pretrained network is of another shape.
        """
        self.name, self.config, self._tokenizer = name, config, tokenizer.eval()
        self._text = text
        seed = config.loop.seed
        net_config = preset(config.size)
        self.flow = FlowMatchingConfig.for_net(net_config)
        net_config, self.flow = config.choices.applied(net_config, self.flow)
        self.net = build_world_model(net_config, seed=seed)
        if config.start == "pretrained":
            if pretrained is None:
                raise BadInputError(
                    f"The stage '{name}' begins from a pretrained network, and there is none; run "
                    "the stage 'pretrain' first or set 'start' to nothing."
                )
            self._begin_from(pretrained)
        self.players = {"net": Player(module=self.net, optimizer=config.optimizer)}
        source = self._windows(latents, config.groups, seed=seed)
        self.source, self.statistics = source, source.statistics
        self.sampler = SamplerConfig(
            solver="euler", steps=config.validation_steps, shift=net_config.shift
        )
        # Scaled as in training, whatever the held-out actions' own range is.
        self._held_out = {
            group: self._windows(
                latents, {group: 1.0}, statistics=source.statistics, frames=True
            ).batch(0, config.validation_windows)
            for group in config.held_out
        }

    def _windows(
        self, latents: LatentStore, groups: Mapping[str, float], **given: Any
    ) -> LatentWindowSource:
        """Opens windows of some groups, conditioned as the stage is."""
        return LatentWindowSource(
            latents,
            groups,
            latent_frames=self.config.latent_frames,
            conditioning=self.config.conditioning,
            actions=self.net.config.actions,
            **given,
        )

    def _begin_from(self, pretrained: Path) -> None:
        """Takes over pretrained weights, and forgets what its actions meant."""
        before = load_world_model(pretrained, dtype=torch.float32)
        if before.config != self.net.config:
            raise BadInputError(
                f"{pretrained} holds a network of another configuration than the stage "
                f"'{self.name}' trains; give both the same 'size' and 'choices'."
            )
        self.net.load_state_dict(before.state_dict())
        if self.config.reset != "none":
            torch.manual_seed(self.config.loop.seed)
            self.net.reset_actions(first_layer_only=self.config.reset == "first-layer")

    def turn(self, step: int) -> str:
        """There is one player."""
        del step
        return "net"

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Gives flow matching with temporal consistency; see ``flow_matching_loss``."""
        del player
        loss = flow_matching_loss(
            self.net,
            batch["latents"],
            self._actions(batch),
            config=self.flow,
            generator=generator,
            **conditions_of(self.net, batch["latents"][:, :, :1], self._text),
        )
        return {"total": loss.total, "flow": loss.flow, "temporal": loss.temporal}

    def _actions(self, batch: Batch) -> Tensor | None:
        return None if self.config.conditioning == "none" else batch["actions"]

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Scores samples against the true frames, the given first frame apart, in dB.

        ``psnr/GROUP``, ``hold/GROUP`` (the first frame repeated) and ``swap/GROUP``: what is lost
        when every window gets the actions of the next one.
        """
        scores = {}
        for group, batch in self._held_out.items():
            truth = to_unit(batch["frames"])[:, 1:]
            made = self._generate(module, batch)
            held = to_unit(batch["frames"])[:, :1].expand_as(truth)
            scores[f"psnr/{group}"] = _mean_psnr(made, truth)
            scores[f"hold/{group}"] = _mean_psnr(held, truth)
            if self.config.conditioning != "none" and len(truth) > 1:
                swapped = {**batch, "actions": batch["actions"].roll(1, dims=0)}
                lost = scores[f"psnr/{group}"] - _mean_psnr(self._generate(module, swapped), truth)
                scores[f"swap/{group}"] = lost
        return scores

    @torch.no_grad()
    def _generate(self, module: nn.Module, batch: Batch) -> Tensor:
        """Gives the frames after the first, ``[batch, n, 3, height, width]`` in 0 to 1."""
        if not isinstance(module, WorldModelNet):
            raise TypeError(f"the stage '{self.name}' trains no {type(module).__name__}")
        device = module.device
        self._tokenizer.to(device)
        latents = batch["latents"].to(device)
        context, actions = latents[:, :, :1], self._actions(batch)
        made = sample(
            module,
            context,
            None if actions is None else actions.to(device),
            config=self.sampler,
            frames=latents.shape[2],
            generator=torch.Generator(device).manual_seed(0),
            **conditions_of(module, context, self._text),
        )
        return self._tokenizer.decode(made.transpose(1, 2))[:, 1:].float().cpu()

    def show(self, module: nn.Module) -> Tensor | None:
        """Gives truth above samples, some windows of each group side by side."""
        shown = []
        for batch in self._held_out.values():
            some = {key: value[:_SHOWN] for key, value in batch.items()}
            made = torch.cat([to_unit(some["frames"])[:, :1], self._generate(module, some)], dim=1)
            shown.append(torch.cat([to_unit(some["frames"]), made], dim=-2))
        return to_uint8(torch.cat([column for rows in shown for column in rows], dim=-1))

    def export(self, module: nn.Module, folder: Path) -> Path:
        """Writes ``world_model.safetensors`` and the statistics its actions are scaled by."""
        if not isinstance(module, WorldModelNet):
            raise TypeError(f"the stage '{self.name}' trains no {type(module).__name__}")
        for embodiment, statistics in self.statistics.items():
            save_statistics(statistics, folder / f"statistics-{embodiment}.json")
        path = folder / WORLD_MODEL_FILE
        save_world_model(path, module, trained_by=f"dojobench train {self.name}")
        return path


def _mean_psnr(made: Tensor, truth: Tensor) -> float:
    """Gives the mean over windows, as the benchmark does over clips."""
    return sum(psnr(a, b) for a, b in zip(made, truth, strict=True)) / len(truth)
