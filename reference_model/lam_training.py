"""What trains the latent action model: squared error of the second frame and a thin bottleneck."""

from typing import NamedTuple

import torch
from torch import Tensor

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel
from dojobench.reference_model.tokenizer_training import kl_divergence
from dojobench.reference_model.video_tokenizer import to_unit


class LatentActionLoss(NamedTuple):
    """Scalars; the gradient is that of ``total``."""

    total: Tensor
    mse: Tensor
    kl: Tensor


def lam_loss(
    model: LatentActionModel,
    pairs: Tensor,
    *,
    beta: float | None = None,
    generator: torch.Generator | None = None,
) -> LatentActionLoss:
    """Measures how well second frames come back from first frames and sampled latent actions.

    ``total = MSE + beta KL``, the error a mean over pixels, the divergence a sum over the
    latent's numbers and a mean over pairs (arXiv 2602.06949).

    Args:
        model: What is trained.
        pairs: ``[batch, 2, 3, height, width]``, uint8 or floating point in 0 to 1.
        beta: Weight of the divergence; the configuration's where ``None``.
        generator: Draws the latent actions; on the frames' device.

    Returns:
        Scalars of the batch.

    Raises:
        BadInputError: If the frames do not fit the model or are no pairs.
    """
    model.check_frames(pairs)
    if pairs.shape[1] != 2:
        raise BadInputError(
            f"Clips of {pairs.shape[1]} frames train no latent actions; give pairs of two."
        )
    unit = to_unit(pairs, model.dtype)
    posterior = model.lam.encode(unit)
    made = model.lam.decode(unit[:, 0], posterior.sample(generator))
    mse = (made.float() - unit[:, 1].float()).square().mean()
    kl = kl_divergence(posterior.mean.float(), posterior.log_variance.float()).sum(dim=-1).mean()
    weight = model.config.beta if beta is None else beta
    return LatentActionLoss(mse + weight * kl, mse, kl)
