"""What a video's look tells without its truth: sharpness, colour, motion, flicker.

Each is a curve over the predicted frames, made as they stream by, relative to the context
frames where that makes sense. Scenes change their look on their own, so the truth's own curves
are the yardstick where there is a truth: run a second tracker on it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from dojobench.metrics.frames import LEVELS, check_frames, to_levels

_BINS = 256
_VALUES_AT_ONCE = 1 << 22
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True, slots=True)
class AppearanceCurves:
    """One number a predicted frame, ``[T]`` each.

    Attributes:
        motion: Motion energy: mean absolute change from the frame before, 0 to 1; the first is
            against the last context frame.
        sharpness: ``ln(S_t / S_context)`` with S the variance of the Laplacian of the luma:
            0 as sharp as the context, negative blurred, positive noisy or over-sharpened.
        colour_drift: Distance of the frame's colour histogram from the context's: the
            Wasserstein distance of each channel's 256-bin histogram, mean over channels, 0 to 1.
            A shift of all colours by 0.1 gives 0.1, however large or small it is.
        flicker: Mean absolute second difference ``|x_t - 2 x_(t-1) + x_(t-2)|``, 0 to 2; the
            first two reach into the context, and the first is 0 where the context is one frame.
    """

    motion: list[float]
    sharpness: list[float]
    colour_drift: list[float]
    flicker: list[float]


class AppearanceTracker:
    """Follows the look of one rollout, a chunk of frames at a time."""

    def __init__(self, context: torch.Tensor) -> None:
        """Starts with the context.

        Args:
            context: ``[time, 3, height, width]``, at least one frame, uint8 or floating point
                in 0 to 1.

        Raises:
            ValueError: If it is no such tensor.
        """
        frames = _read(context, "the context")
        self._sharpness = sharpness(context).mean()
        self._histogram = _histograms(frames).mean(dim=0)
        self._before = frames[-2:]
        self._shape = context.shape[1:]
        self._curves = AppearanceCurves(motion=[], sharpness=[], colour_drift=[], flicker=[])

    def update(self, frames: torch.Tensor) -> None:
        """Adds the next predicted frames.

        Args:
            frames: ``[time, 3, height, width]``, of the context's frame shape.

        Raises:
            ValueError: If they are no such frames.
        """
        if frames.shape[1:] != self._shape:
            raise ValueError(
                f"the frames have shape {list(frames.shape)} and those of the context "
                f"{list(self._shape)}; give [time, 3, height, width] of the same size."
            )
        for block in torch.split(frames, max(1, _VALUES_AT_ONCE // self._shape.numel())):
            self._add(_read(block, "the frames"), block)

    def finish(self) -> AppearanceCurves:
        """Gives the curves."""
        return self._curves

    def _add(self, levels: torch.Tensor, block: torch.Tensor) -> None:
        curves, count = self._curves, len(levels)
        near = torch.cat([self._before, levels])
        change = near.diff(dim=0)
        second = change.diff(dim=0).abs().mean(dim=(1, 2, 3)) / LEVELS
        curves.motion.extend((change[-count:].abs().mean(dim=(1, 2, 3)) / LEVELS).tolist())
        curves.flicker.extend([0.0] * (count - len(second)) + second.tolist())
        ratio = sharpness(block).clamp_min(_LEAST_SHARPNESS)
        ratio = ratio / self._sharpness.clamp_min(_LEAST_SHARPNESS)
        curves.sharpness.extend(ratio.log().tolist())
        gap = (_histograms(levels) - self._histogram).cumsum(dim=-1).abs().sum(dim=-1)
        curves.colour_drift.extend((gap.mean(dim=1) / (_BINS - 1)).tolist())
        self._before = near[-2:]


_LEAST_SHARPNESS = 1e-7
"""Variance of the Laplacian of a frame of one colour with hardly any rounding."""


def appearance(context: torch.Tensor, frames: torch.Tensor) -> AppearanceCurves:
    """Describes the look of a rollout that lies in memory.

    Args:
        context: ``[context time, 3, height, width]``, uint8 or floating point in 0 to 1.
        frames: ``[time, 3, height, width]``.

    Returns:
        The curves.

    Raises:
        ValueError: If the tensors are no such frames.
    """
    tracker = AppearanceTracker(context)
    tracker.update(frames)
    return tracker.finish()


def sharpness(frames: torch.Tensor) -> torch.Tensor:
    """Measures the variance of the Laplacian of each frame's luma (Pertuz et al. 2013, LAP4).

    Args:
        frames: ``[time, 3, height, width]``, at least 3x3, uint8 or floating point in 0 to 1.

    Returns:
        float64 ``[time]``, on the scale 0 to 1 of the luma, squared; a frame of one colour has 0.
    """
    levels = _read(frames, "the frames") / LEVELS
    weights = torch.tensor(_LUMA, device=levels.device).view(1, 3, 1, 1)
    luma = (levels * weights).sum(dim=1, keepdim=True)
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=levels.device)
    edges = functional.conv2d(luma, kernel[None, None])
    return edges.to(torch.float64).var(dim=(1, 2, 3), correction=0)


def tail_mean(curve: npt.ArrayLike, tail: int) -> float:
    """Averages the last frames of a curve.

    Args:
        curve: ``[T]``.
        tail: How many, 1 to T.

    Returns:
        The mean.

    Raises:
        ValueError: If there are not so many.
    """
    array = np.asarray(curve, dtype=np.float64)
    if array.ndim != 1 or not 1 <= tail <= len(array):
        raise ValueError(f"tail is {tail}, of a curve of shape {array.shape}.")
    return float(array[-tail:].mean())


def _read(frames: torch.Tensor, what: str) -> torch.Tensor:
    check_frames(frames, what)
    if frames.ndim != 4 or frames.shape[1] != 3 or min(frames.shape[2:]) < 3:
        raise ValueError(
            f"{what} has shape {list(frames.shape)}; give [time, 3, height, width] of at least "
            "3x3 pixels."
        )
    return to_levels(frames)


def _histograms(levels: torch.Tensor) -> torch.Tensor:
    """Share of pixels at each level, ``[T, 3, 256]``."""
    count, channels = levels.shape[:2]
    index = levels.round().to(torch.int64).flatten(2)
    row = torch.arange(count * channels, device=levels.device).view(count, channels, 1) * _BINS
    tally = torch.bincount((index + row).flatten(), minlength=count * channels * _BINS)
    return tally.view(count, channels, _BINS).to(torch.float64) / index.shape[2]
