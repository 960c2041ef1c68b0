"""Peak signal-to-noise ratio: mean squared error per frame, in decibels.

``PSNR_t = -10 log10 max(MSE_t, 1e-8)`` on the scale 0 to 1, so that an exact frame scores 80 dB
and never infinity. Over a clip there are two means, which differ: of the decibels of each frame
(``mean``), and the decibels of the mean error (``pooled``); the second is never above the first.
"""

from typing import Literal

import torch

from dojobench.metrics.frames import LEVELS, check_pair, to_levels

MSE_FLOOR = 1e-8
"""Smallest mean squared error, on the scale 0 to 1, that is told from none."""

DECIBEL_CAP = 80.0
"""What an exact frame scores, dB: ``-10 log10 MSE_FLOOR``."""

Floor = Literal["max", "add"]
"""How the floor keeps an exact frame finite: ``max(MSE, floor)`` or, as piq does, ``MSE + floor``.
"""

_VALUES_AT_ONCE = 1 << 20


def squared_difference(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Gives each value's squared difference on the scale 0 to 255.

    Args:
        prediction: uint8, or floating point in 0 to 1.
        truth: The same shape and dtype.

    Returns:
        float32 of the same shape; exact integers for uint8.
    """
    return to_levels(prediction).sub_(to_levels(truth)).square_()


@torch.no_grad()
def mean_squared_error(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Averages the squared error over channels and pixels, frame by frame.

    uint8 frames are summed in integers that float64 holds exactly, so the result depends
    neither on the order of the sum nor on the number of threads.

    Args:
        prediction: ``[..., channels, height, width]``, uint8 or floating point in 0 to 1.
        truth: The same shape and dtype.

    Returns:
        float64 ``[...]``, 0 to 1.

    Raises:
        ValueError: If the frames cannot be compared.
    """
    check_pair(prediction, truth)
    frame = prediction.shape[-3:]
    left, right = prediction.reshape(-1, *frame), truth.reshape(-1, *frame)
    at_once = max(1, _VALUES_AT_ONCE // frame.numel())
    sums = [
        squared_difference(a, b).sum(dim=(1, 2, 3), dtype=torch.float64)
        for a, b in zip(torch.split(left, at_once), torch.split(right, at_once), strict=True)
    ]
    return (torch.cat(sums) / (frame.numel() * LEVELS**2)).reshape(prediction.shape[:-3])


def decibels(mse: torch.Tensor, *, floor: Floor = "max") -> torch.Tensor:
    """Turns mean squared errors into decibels.

    Args:
        mse: Mean squared errors on the scale 0 to 1, any shape.
        floor: ``max`` takes ``max(mse, 1e-8)``; ``add`` takes ``mse + 1e-8``
            (piq 0.8, ``piq/psnr.py``). They differ by 0.004 dB at 50 dB and agree at the cap.

    Returns:
        dB, same shape; at most 80.
    """
    kept = mse.clamp_min(MSE_FLOOR) if floor == "max" else mse + MSE_FLOOR
    return -10 * torch.log10(kept)


def psnr(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    *,
    reduction: Literal["none", "mean", "pooled"] = "mean",
    floor: Floor = "max",
) -> torch.Tensor:
    """Measures the peak signal-to-noise ratio.

    Args:
        prediction: ``[..., channels, height, width]``, uint8 or floating point in 0 to 1.
        truth: The same shape and dtype.
        reduction: ``none`` for one value a frame, ``mean`` for the mean of those, ``pooled``
            for the decibels of the error averaged over all frames.
        floor: See ``decibels``.

    Returns:
        float64 dB, ``[...]`` for ``none`` and a scalar otherwise; higher is better, at most 80.

    Raises:
        ValueError: If the frames cannot be compared.

    Example:
        >>> truth = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
        >>> prediction = truth.clone()
        >>> prediction[1] += 5
        >>> [round(value, 3) for value in psnr(prediction, truth, reduction="none").tolist()]
        [80.0, 34.151]
    """
    mse = mean_squared_error(prediction, truth)
    if reduction == "pooled":
        return decibels(mse.mean(), floor=floor)
    values = decibels(mse, floor=floor)
    return values.mean() if reduction == "mean" else values
