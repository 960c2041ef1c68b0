"""Flow matching on latent video, and the temporal consistency that DreamDojo adds.

With clean latents ``x0``, noise ``eps`` and a time ``t`` from 0 (clean) to 1 (noise), the network
sees ``x_t = t eps + (1 - t) x0`` and predicts the velocity ``v = eps - x0``. Source: the paper's
Eq. 3 and 4, and ``predict2/models/text2world_model_rectified_flow.py`` and
``predict2/schedulers/rectified_flow.py`` of NVIDIA/DreamDojo at 02f119b. Where the two disagree the
paper is the default and the code a switch: the code takes the temporal differences along the
channels.

Shapes: B batch, C channels, T latent frames, Y X rows and columns.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch

from dojobench.reference_model.net_config import WorldModelConfig


class VelocityNet(Protocol):
    """What predicts velocities; ``WorldModelNet`` is one."""

    def __call__(
        self,
        latents: torch.Tensor,
        times: torch.Tensor,
        actions: torch.Tensor | None = None,
        *,
        condition_mask: torch.Tensor | None = None,
        **conditions: Any,
    ) -> torch.Tensor:
        """Maps noisy latents and times to velocities, see ``WorldModelNet.forward``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowMatchingConfig:
    """The training objective.

    Attributes:
        shift: Timestep shift; above 1 it favours noise.
        steps: Number of times that training draws from.
        distribution: Of the time before the shift: the sigmoid of a normal, or uniform.
        clean_frames: Leading latent frames that are given clean and have no loss.
        temporal_weight: Weight of the temporal consistency; 0 leaves it out.
        temporal_axis: ``time`` takes differences between latent frames (paper), ``channel``
            between channels (as released).
        temporal_reduction: ``mean`` over all differences (as released), or ``sum`` over the
            differences of the mean within each (the paper's sum).
        high_noise_share: Share of samples whose time is drawn afresh from the noisiest
            (published: 0.05 for 14B).
        high_noise_from: Least of these times.
    """

    shift: float = 5.0
    steps: int = 1000
    distribution: Literal["logit-normal", "uniform"] = "logit-normal"
    clean_frames: int = 1
    temporal_weight: float = 0.1
    temporal_axis: Literal["time", "channel"] = "time"
    temporal_reduction: Literal["mean", "sum"] = "mean"
    high_noise_share: float = 0.0
    high_noise_from: float = 0.98

    @classmethod
    def for_net(cls, config: WorldModelConfig) -> "FlowMatchingConfig":
        """Gives the objective that a size is trained with."""
        share = 0.05 if config.name == "14b" else 0.0
        given = 1 if config.clean_context else 0
        return cls(shift=config.shift, high_noise_share=share, clean_frames=given)


class FlowLoss(NamedTuple):
    """A loss and its parts; all scalars but the last two.

    Attributes:
        total: What to minimise.
        flow: Mean squared error of the velocity.
        temporal: Temporal consistency, before its weight.
        per_sample: ``[B]``, the velocity's error of each sample.
        times: ``[B]``, the times that were drawn.
    """

    total: torch.Tensor
    flow: torch.Tensor
    temporal: torch.Tensor
    per_sample: torch.Tensor
    times: torch.Tensor


def shift_time(time: torch.Tensor, shift: float) -> torch.Tensor:
    """Maps [0, 1] to itself, towards 1 for shifts above 1: ``s t / (1 + (s - 1) t)``."""
    return shift * time / (1 + (shift - 1) * time)


def time_table(config: FlowMatchingConfig) -> torch.Tensor:
    """Gives the times that training draws from, ``[steps]``, from 1 downwards."""
    steps = torch.arange(config.steps, 0, -1, dtype=torch.float64) / config.steps
    return shift_time(steps, config.shift).float()


def sample_times(
    batch: int,
    config: FlowMatchingConfig,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draws one time per sample.

    Args:
        batch: Samples.
        config: Distribution, shift and discretisation.
        generator: On ``device``; torch's global one where ``None``.
        device: Where the times shall be.

    Returns:
        ``[batch]`` float32 in (0, 1].
    """
    if config.distribution == "uniform":
        position = torch.rand(batch, generator=generator, device=device)
    else:
        position = torch.randn(batch, generator=generator, device=device).sigmoid()
    table = time_table(config).to(device)
    times = table[(position * config.steps).long().clamp(max=config.steps - 1)]
    if config.high_noise_share > 0:
        high = table[table >= config.high_noise_from]
        redrawn = high[torch.randint(len(high), (batch,), generator=generator, device=device)]
        chosen = torch.rand(batch, generator=generator, device=device) < config.high_noise_share
        times = torch.where(chosen, redrawn, times)
    return times


def interpolate(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Gives ``t eps + (1 - t) x0``.

    Args:
        clean: ``[B, C, T, Y, X]``.
        noise: The same shape.
        times: ``[B]``, or ``[B, T]`` for a time per latent frame.
    """
    t = times.view(len(times), 1, -1, 1, 1)
    return t * noise + (1 - t) * clean


def temporal_consistency(
    predicted: torch.Tensor, target: torch.Tensor, config: FlowMatchingConfig
) -> torch.Tensor:
    """Measures how much the change from frame to frame is off: the paper's Eq. 4.

    The mean over all elements, taken over the ``T - 1`` differences, is the paper's sum up to the
    factor that also turns its squared norm into the mean squared error of the velocity.

    Args:
        predicted: ``[B, C, T, Y, X]``, the velocity z.
        target: The same shape, the velocity v.
        config: Axis and reduction.

    Returns:
        ``[B]``; zero where there is nothing to take a difference of.
    """
    axis = 2 if config.temporal_axis == "time" else 1
    if predicted.shape[axis] < 2:
        return predicted.new_zeros(len(predicted))
    squared = (predicted - target).diff(dim=axis).square()
    if config.temporal_reduction == "mean":
        return squared.flatten(1).mean(dim=1)
    return squared.movedim(axis, 1).flatten(2).mean(dim=2).sum(dim=1)


def clean_mask(latents: torch.Tensor, frames: int) -> torch.Tensor:
    """Marks the leading latent frames, ``[B, T]`` with 1 where a frame is given."""
    mask = latents.new_zeros(latents.shape[0], latents.shape[2])
    mask[:, :frames] = 1
    return mask


def flow_matching_loss(
    net: VelocityNet,
    clean: torch.Tensor,
    actions: torch.Tensor | None = None,
    *,
    config: FlowMatchingConfig,
    generator: torch.Generator | None = None,
    noise: torch.Tensor | None = None,
    times: torch.Tensor | None = None,
    **conditions: Any,
) -> FlowLoss:
    """Draws noise and times, runs the network once and compares velocities.

    Frames that are given go in clean, and the target replaces what the network says of them, so
    that they have no loss but still anchor the first temporal difference.

    Args:
        net: Predicts velocities.
        clean: ``[B, C, T, Y, X]`` latents.
        actions: ``[B, n, width]`` as the network takes them.
        config: The objective.
        generator: For noise and times, on the latents' device.
        noise: ``[B, C, T, Y, X]`` instead of drawing it.
        times: ``[B]`` instead of drawing them.
        **conditions: Passed on to the network, such as ``text`` or ``context``.
    """
    clean = clean.float()
    if times is None:
        times = sample_times(len(clean), config, generator=generator, device=clean.device)
    if noise is None:
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    given = clean_mask(clean, config.clean_frames)
    mask = given[:, None, :, None, None].bool()
    noisy = torch.where(mask, clean, interpolate(clean, noise, times))
    target = noise - clean
    predicted = net(noisy, times, actions, condition_mask=given, **conditions).float()
    predicted = torch.where(mask, target, predicted)
    per_sample = (predicted - target).square().flatten(1).mean(dim=1)
    temporal = temporal_consistency(predicted, target, config).mean()
    flow = per_sample.mean()
    total = flow + config.temporal_weight * temporal if config.temporal_weight else flow
    return FlowLoss(total, flow, temporal, per_sample.detach(), times)
