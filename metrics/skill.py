"""Fidelity beside the trivial answer: skill against the static frame, and PSNR where it moves.

Repeating the last context frame scores about 22 dB on real robot clips, as much as published
models on theirs, because most pixels never move. Skill divides that out; motion PSNR leaves the
pixels that never move aside.
"""

import math

import torch

from dojobench.metrics.frames import LEVELS, check_frames, check_pair, to_levels
from dojobench.metrics.psnr import decibels, mean_squared_error, squared_difference

MOTION_THRESHOLD = 0.05
"""A pixel moves where a channel differs from the last context frame by more than this, 0 to 1.

Above the noise of usual video compression, below what a moving arm or object changes.
"""


def static_skill(model_error: float, static_error: float) -> float:
    """Gives the share of the static frame's squared error that a prediction avoids.

    Args:
        model_error: Sum (or mean) of the prediction's squared errors over the scored frames.
        static_error: The same of the last context frame, held still.

    Returns:
        ``1 - model_error / static_error``: 1 is exact, 0 as good as the static frame, negative
        worse. NaN where the truth never moves, because there is no error to avoid.
    """
    return 1 - model_error / static_error if static_error > 0 else math.nan


def skill(prediction: torch.Tensor, truth: torch.Tensor, last_context: torch.Tensor) -> float:
    """Measures a clip's skill against the static frame.

    Args:
        prediction: ``[time, channels, height, width]``, uint8 or floating point in 0 to 1.
        truth: The same shape and dtype.
        last_context: ``[channels, height, width]``, the frame before the first predicted one.

    Returns:
        At most 1; NaN where the truth equals the context frame throughout.

    Raises:
        ValueError: If the frames cannot be compared.
    """
    model = mean_squared_error(prediction, truth).sum()
    static = mean_squared_error(last_context.expand_as(truth), truth).sum()
    return static_skill(float(model), float(static))


def motion_mask(
    truth: torch.Tensor, last_context: torch.Tensor, *, threshold: float = MOTION_THRESHOLD
) -> torch.Tensor:
    """Marks the pixels that move at any time of the clip.

    Args:
        truth: ``[time, channels, height, width]``, uint8 or floating point in 0 to 1.
        last_context: ``[channels, height, width]`` of the same dtype.
        threshold: Least change of any channel from ``last_context``, exclusive, 0 to 1.

    Returns:
        bool ``[height, width]``.

    Raises:
        ValueError: If the frames cannot be used or differ in shape.
    """
    check_frames(truth, "the truth")
    check_pair(truth[0], last_context)
    return mask_from_range(truth.amin(dim=0), truth.amax(dim=0), last_context, threshold=threshold)


def mask_from_range(
    low: torch.Tensor, high: torch.Tensor, last_context: torch.Tensor, *, threshold: float
) -> torch.Tensor:
    """Marks moving pixels from each pixel's least and greatest value, which a stream can keep.

    Args:
        low: ``[channels, height, width]``, minimum over time.
        high: The same, maximum over time.
        last_context: The same shape.
        threshold: As in ``motion_mask``.

    Returns:
        bool ``[height, width]``.
    """
    still = to_levels(last_context)
    reach = torch.maximum(to_levels(high) - still, still - to_levels(low))
    return (reach > threshold * LEVELS).any(dim=0)


def motion_psnr(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    last_context: torch.Tensor,
    *,
    threshold: float = MOTION_THRESHOLD,
) -> float:
    """Measures PSNR over the pixels that move, pooled over the clip.

    Args:
        prediction: ``[time, channels, height, width]``, uint8 or floating point in 0 to 1.
        truth: The same shape and dtype.
        last_context: ``[channels, height, width]``, the frame before the first predicted one.
        threshold: As in ``motion_mask``.

    Returns:
        dB, at most 80; NaN where no pixel moves.

    Raises:
        ValueError: If the frames cannot be compared.
    """
    check_pair(prediction, truth)
    mask = motion_mask(truth, last_context, threshold=threshold)
    errors = squared_difference(prediction, truth).sum(dim=(0, 1), dtype=torch.float64)
    return masked_decibels(errors, mask, values_per_pixel=truth.shape[0] * truth.shape[1])


def masked_decibels(errors: torch.Tensor, mask: torch.Tensor, *, values_per_pixel: int) -> float:
    """Turns each pixel's summed squared error into decibels over a mask.

    Args:
        errors: float64 ``[height, width]``, summed over time and channels, scale 0 to 255.
        mask: bool ``[height, width]``.
        values_per_pixel: Number of squared errors in each sum.

    Returns:
        dB, at most 80; NaN where the mask is empty.
    """
    pixels = int(mask.sum())
    if pixels == 0:
        return math.nan
    mse = errors[mask].sum() / (pixels * values_per_pixel * LEVELS**2)
    return float(decibels(mse))
