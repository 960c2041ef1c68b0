"""Distribution matching: what tells a student whose samples are where the teacher's are not.

With clean predictions of the student's noised samples by the teacher (``real``) and by a critic
that is trained on the student's samples (``fake``), the gradient of the divergence between the two
distributions is their difference, up to a weight (DMD, arXiv:2311.18828, Eq. 7 and 8). The weight
is that of the released code: one over the mean distance from the sample to the teacher's
prediction (``predict2/distill/models/video2world_model_distill_dmd2.py`` of
nvidia-cosmos/cosmos-predict2.5, which DreamDojo's student is trained by).
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from dojobench.reference_model.flow_matching import VelocityNet, clean_mask, interpolate

CriticWeighting: TypeAlias = Literal["trigflow", "velocity"]

_LEAST_DISTANCE = 1e-5


class MatchingLoss(NamedTuple):
    """A loss whose gradient is that of distribution matching.

    Attributes:
        total: Half the mean square of the gradient; its derivative by a sample's element is the
            gradient there over the number of all elements.
        gradient: ``[B, C, T, Y, X]``, ``(fake - real) / distance``.
        distance: ``[B]``, mean distance from the samples to the teacher's predictions.
    """

    total: Tensor
    gradient: Tensor
    distance: Tensor


def matching_loss(samples: Tensor, *, real: Tensor, fake: Tensor) -> MatchingLoss:
    """Gives the loss that moves samples along ``real - fake``.

    Args:
        samples: ``[B, ...]``, what the student made; the gradient flows into these alone.
        real: Clean prediction of the noised samples by the teacher.
        fake: The same by the critic.
    """
    with torch.no_grad():
        distance = (samples - real).abs().flatten(1).mean(dim=1).clamp(min=_LEAST_DISTANCE)
        gradient = (fake - real) / distance.view(-1, *[1] * (samples.dim() - 1))
        target = samples - gradient
    total = 0.5 * (samples - target).square().mean()
    return MatchingLoss(total, gradient, distance)


class Judged(NamedTuple):
    """What a network says of noised clips; all frames but the first, which is given.

    Attributes:
        noisy: ``[B, C, T - 1, Y, X]``.
        velocity: The same shape, float32.
        times: ``[B]``.
    """

    noisy: Tensor
    velocity: Tensor
    times: Tensor

    @property
    def clean(self) -> Tensor:
        """The clean clips as predicted, ``[B, C, T - 1, Y, X]``."""
        return self.noisy - self.times.view(-1, 1, 1, 1, 1) * self.velocity


def judge(
    net: VelocityNet,
    clips: Tensor,
    noise: Tensor,
    times: Tensor,
    actions: Tensor | None = None,
    **conditions: Any,
) -> Judged:
    """Noises clips and asks a network for the velocity.

    Args:
        net: Predicts velocities.
        clips: ``[B, C, T, Y, X]``, clean.
        noise: The same shape.
        times: ``[B]``.
        actions: As the network takes them.
        **conditions: Passed on to the network.
    """
    noisy = interpolate(clips, noise, times)[:, :, 1:]
    latents = torch.cat([clips[:, :, :1], noisy], dim=2)
    given = clean_mask(clips, 1)
    velocity = net(latents, times, actions, condition_mask=given, **conditions)
    return Judged(noisy, velocity[:, :, 1:].float(), times)


def critic_loss(judged: Judged, clips: Tensor, noise: Tensor, weighting: CriticWeighting) -> Tensor:
    """Gives the critic's loss of each sample, ``[B]``: flow matching on what the student made.

    Args:
        judged: What the critic says.
        clips: What it was asked of, ``[B, C, T, Y, X]``.
        noise: What they were noised with.
        weighting: See ``critic_weight``.
    """
    error = judged.velocity - (noise - clips)[:, :, 1:]
    squared = error.square().flatten(1).mean(dim=1)
    return critic_weight(judged.times, weighting) * squared


def critic_weight(times: Tensor, weighting: CriticWeighting) -> Tensor:
    """Weighs the squared error of a critic's velocity at times ``[B]``.

    ``trigflow`` is the released code's: the squared error of the clean prediction over the squared
    sine of the angle ``atan(t / (1 - t))``, which is ``t^2 + (1 - t)^2`` times that of the
    velocity. ``velocity`` is 1, as in the teacher's training.
    """
    return times.square() + (1 - times).square() if weighting == "trigflow" else times.new_ones(())
