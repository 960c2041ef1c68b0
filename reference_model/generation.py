"""From context latents and actions to the latents that follow, all frames at once: the teacher.

Given frames enter every pass clean and are never solved for, so the solver runs on the new frames
alone; the released code solves for them too with the velocity that leads back to them, which comes
to the same. Guidance costs a second pass per step and is off by default, as in the published
evaluation; the released code makes that pass even then (with weight 0), this one does not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.flow_matching import clean_mask
from dojobench.reference_model.net_config import WorldModelConfig
from dojobench.reference_model.samplers import OnStep, Solver, Velocity, schedule, solve


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How video is sampled.

    Attributes:
        solver: ``unipc`` or ``euler``.
        steps: Network passes.
        shift: Timestep shift; that of training.
        guidance: Weight of ``conditional - unconditional`` added to the conditional velocity.
        released_times: Whether times are spaced from 0.999 instead of 1, and told to the network
            rounded down to thousandths, as the released sampler does.
    """

    solver: Solver = "unipc"
    steps: int = 35
    shift: float = 5.0
    guidance: float = 0.0
    released_times: bool = False

    def times(self) -> list[float]:
        """Gives the times of a run, descending to 0."""
        if self.released_times:
            return schedule(self.steps, self.shift, first=0.999, last=0.0)
        return schedule(self.steps, self.shift)

    @classmethod
    def for_net(cls, config: WorldModelConfig) -> "SamplerConfig":
        """Gives the sampler that a size is evaluated with."""
        if config.name in ("2b", "14b"):
            return cls(shift=config.shift, released_times=True)
        return cls(solver="euler", steps=4, shift=config.shift)


def sample(
    net: WorldModelNet,
    context: torch.Tensor,
    actions: torch.Tensor | None,
    /,
    *,
    config: SamplerConfig,
    frames: int | None = None,
    noise: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    without: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    times: Sequence[float] | None = None,
    **conditions: Any,
) -> torch.Tensor:
    """Samples the latents that follow a context.

    Args:
        net: The network.
        context: ``[B, C, c, Y, X]``, clean latents of the first ``c`` frames.
        actions: ``[B, n, width]``, four for each latent frame but frame 0, or ``None``.
        config: Solver, steps, shift, guidance.
        frames: Latent frames in all; by default as many as the actions say.
        noise: ``[B, C, frames - c, Y, X]`` instead of drawing it; of all frames where the network
            has no clean context.
        generator: For the noise, on the context's device.
        without: With guidance, the conditions of the unconditional pass, such as
            ``{"actions": None}``.
        on_step: Called before each step with the new frames' state.
        times: Descending to 0, instead of the config's.
        **conditions: Passed on to the network, such as ``text``.

    Returns:
        ``[B, C, frames, Y, X]`` float32, the context first.

    Raises:
        BadInputError: If the number of frames is not given by actions or ``frames``.
    """
    per_latent = net.config.actions.per_latent
    if frames is None:
        if actions is None or actions.shape[1] % per_latent:
            raise BadInputError(
                f"The number of latent frames is unclear without {per_latent} actions for each; "
                "pass 'frames'."
            )
        frames = 1 + actions.shape[1] // per_latent
    if config.guidance and without is None:
        raise ValueError("Guidance needs 'without', the conditions of the unconditional pass.")
    context = context.float()
    batch, channels, given, rows, columns = context.shape
    if net.config.context_channels:
        conditions.setdefault("context", context[:, :, 0])
    if net.config.text is not None and isinstance(conditions.get("text"), torch.Tensor):
        conditions["text"] = net.encode_text(conditions["text"])
    # Without a clean context its frames are solved for like the others, and then replaced.
    fixed = context if net.config.clean_context else context[:, :, :0]
    new = frames - fixed.shape[2]
    if noise is None:
        shape = (batch, channels, new, rows, columns)
        noise = torch.randn(shape, generator=generator, device=context.device)
    velocity = _velocity(net, fixed, frames, {"actions": actions, **conditions}, config, without)
    times = config.times() if times is None else times
    made = solve(config.solver, velocity, noise, times, on_step=on_step)
    return torch.cat([context, made[:, :, new - (frames - given) :]], dim=2)


def _velocity(
    net: WorldModelNet,
    fixed: torch.Tensor,
    frames: int,
    conditional: Mapping[str, Any],
    config: SamplerConfig,
    without: Mapping[str, Any] | None,
) -> Velocity:
    """Gives the flow of the new frames; one pass, or two with guidance."""
    batch, _, given = fixed.shape[:3]
    mask = clean_mask(fixed.new_empty(batch, 1, frames, 1, 1), given)

    def velocity(state: torch.Tensor, time: float) -> torch.Tensor:
        told = math.floor(time * 1000) / 1000 if config.released_times else time
        times = torch.full((batch,), told, device=state.device)
        latents = torch.cat([fixed, state], dim=2)

        def run(conditions: Mapping[str, Any]) -> torch.Tensor:
            output: torch.Tensor = net(latents, times, condition_mask=mask, **conditions)
            return output[:, :, given:].float()

        with_all = run(conditional)
        if without is None or not config.guidance:
            return with_all
        return with_all + config.guidance * (with_all - run({**conditional, **without}))

    return velocity
