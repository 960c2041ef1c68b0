"""How long a rollout stays sane: error against the horizon, and the moment it breaks.

Errors are compared with those of the frame held still (``static``), clip by clip, so that easy
scenes do not look stable. Where the truth stands still and the prediction is not exact, the
prediction is worse than still; a floor keeps errors that nobody sees from counting as broken.

What can be said without the truth is in `dojobench.metrics.appearance`, what needs object
masks in `dojobench.metrics.persistence`, times of breaking over many rollouts in
`dojobench.metrics.survival`.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dojobench.metrics.psnr import MSE_FLOOR, mean_squared_error

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

VISIBLE_ERROR = 1e-3
"""Mean squared error (scale 0 to 1) below which no frame counts as broken: 30 dB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakHorizon:
    """When a rollout broke, or how long it was seen not to.

    Attributes:
        frames: Frames before the break; all of them if it was not seen.
        seconds: The same at the frame rate.
        broken: Whether the break was seen. If not, the time is censored: a lower bound.
    """

    frames: int
    seconds: float
    broken: bool


def error_growth(errors: npt.ArrayLike, *, frame_rate: float, floor: float = MSE_FLOOR) -> float:
    """Measures how fast the error grows: the slope of its logarithm, by least squares.

    Args:
        errors: Mean squared error of each frame, ``[T]``, scale 0 to 1, T at least 2.
        frame_rate: Frames a second.
        floor: Errors below it are taken for it, so that exact frames have a logarithm.

    Returns:
        Slope of ``ln e_t`` per second: 0 does not grow, 0.69 doubles every second. NaN for fewer
        than two frames. A model that is bad from the start has a slope of 0, too: read it
        beside `excess_drift`.

    Raises:
        ValueError: If an error is negative or not finite, or the rate is not positive.
    """
    array = _errors(errors, "errors")
    _check_rate(frame_rate)
    if len(array) < 2:
        return math.nan
    times = np.arange(len(array)) / frame_rate
    times -= times.mean()
    logs = np.log(np.maximum(array, floor))
    return float(times @ (logs - logs[0]) / (times @ times))


def excess_drift(
    errors: npt.ArrayLike, static_errors: npt.ArrayLike, *, tail: int | None = None
) -> float:
    """Measures the error at the end of a rollout as a multiple of the still frame's.

    Args:
        errors: Mean squared error of each frame, ``[T]``.
        static_errors: The same for the last context frame held still, ``[T]``.
        tail: How many of the last frames to average; all if not given.

    Returns:
        0 is exact, 1 no better than standing still, above 1 worse. NaN where the truth of the
        tail equals the context frame.

    Raises:
        ValueError: If the curves differ in length or hold what is no error.
    """
    array, static = _errors(errors, "errors"), _errors(static_errors, "static_errors")
    _check_equal(array, static)
    if tail is not None and not 1 <= tail <= len(array):
        raise ValueError(f"tail is {tail}, of {len(array)} frames.")
    kept = slice(len(array) - tail, None) if tail is not None else slice(None)
    total = float(static[kept].sum())
    return float(array[kept].sum()) / total if total > 0 else math.nan


def worse_than_still(
    errors: npt.ArrayLike, static_errors: npt.ArrayLike, *, floor: float = VISIBLE_ERROR
) -> Flags:
    """Marks the frames that have no skill: no better than the last context frame held still.

    Args:
        errors: Mean squared error of each frame, ``[T]``.
        static_errors: The same for the last context frame held still, ``[T]``.
        floor: Errors up to this never count, whatever the still frame's.

    Returns:
        ``[T]``: ``e_t > floor`` and ``e_t >= e_static,t``. Equality counts, so that a model that
        holds the frame is broken as soon as the scene has visibly moved.

    Raises:
        ValueError: If the curves differ in length or hold what is no error.
    """
    array, static = _errors(errors, "errors"), _errors(static_errors, "static_errors")
    _check_equal(array, static)
    return (array > floor) & (array >= static)


def frozen(
    motion: npt.ArrayLike,
    true_motion: npt.ArrayLike,
    *,
    share: float = 0.1,
    least: float = 1e-3,
    window: int = 10,
) -> Flags:
    """Marks the frames in which the prediction stands still while the truth moves.

    Args:
        motion: Motion energy of the prediction, ``[T]``: mean absolute change from frame to
            frame, scale 0 to 1 (`dojobench.metrics.appearance`).
        true_motion: The same of the truth, ``[T]``.
        share: A prediction with less than this share of the true motion is frozen.
        least: The truth moves where its mean motion over the window exceeds this; 1e-3 is a
            quarter of a grey level a frame.
        window: Frames of the centred moving average taken of both.

    Returns:
        ``[T]``.

    Raises:
        ValueError: If the curves differ in length or hold what is no energy.
    """
    moving, still = _moves(motion, true_motion, least, window)
    return moving & (still[0] < share * still[1])


def freeze_rate(
    motion: npt.ArrayLike,
    true_motion: npt.ArrayLike,
    *,
    share: float = 0.1,
    least: float = 1e-3,
    window: int = 10,
) -> float:
    """Measures how much of the time in which the truth moves the prediction is frozen.

    Args:
        motion: As for `frozen`.
        true_motion: As for `frozen`.
        share: As for `frozen`.
        least: As for `frozen`.
        window: As for `frozen`.

    Returns:
        0 to 1, lower is better; NaN where the truth never moves.
    """
    moving, _ = _moves(motion, true_motion, least, window)
    flags = frozen(motion, true_motion, share=share, least=least, window=window)
    return float(flags[moving].mean()) if moving.any() else math.nan


def break_horizon(broken: npt.ArrayLike, *, patience: int, frame_rate: float) -> BreakHorizon:
    """Finds the first time at which a rollout is broken for long enough to mean it.

    Args:
        broken: Which frames are broken, ``[T]``; several conditions are joined with ``|``.
        patience: How many in a row make a break; it then began with the first of them.
        frame_rate: Frames a second.

    Returns:
        The horizon; censored at T where no run is long enough.

    Raises:
        ValueError: If the patience or the rate is not positive, or there are no frames.
    """
    flags = np.asarray(broken, dtype=bool)
    _check_rate(frame_rate)
    if flags.ndim != 1 or len(flags) == 0:
        raise ValueError(f"broken has shape {flags.shape}; give one flag a frame.")
    if patience < 1:
        raise ValueError(f"patience is {patience}, and must be at least 1 frame.")
    length = len(flags)
    if length >= patience:
        runs = np.lib.stride_tricks.sliding_window_view(flags, patience).all(axis=1)
        if runs.any():
            first = int(runs.argmax())
            return BreakHorizon(frames=first, seconds=first / frame_rate, broken=True)
    return BreakHorizon(frames=length, seconds=length / frame_rate, broken=False)


def seam_ratio(motion: npt.ArrayLike, *, chunk: int, smallest: float = 1e-4) -> float:
    """Measures how much more a video changes between chunks than inside them.

    Args:
        motion: Motion energy of each predicted frame against the one before, ``[T]``; the first
            entry, against the last context frame, is a border.
        chunk: Frames of a chunk, at least 2.
        smallest: Added above and below, scale 0 to 1, so that still videos score 1.

    Returns:
        Mean change at borders over mean change inside: 1 has no seams, above 1 jumps. NaN where
        the video has no border inside it. The truth's own ratio tells what chance does.

    Raises:
        ValueError: If the chunk is shorter than 2 frames or the curve holds no energies.
    """
    array = _errors(motion, "motion")
    if chunk < 2:
        raise ValueError(f"chunk is {chunk}; seams need chunks of at least 2 frames.")
    border = np.arange(len(array)) % chunk == 0
    # The first border leaves the context, which other models made, or none.
    seams, inside = array[border][1:], array[~border]
    if len(seams) == 0 or len(inside) == 0:
        return math.nan
    return float((seams.mean() + smallest) / (inside.mean() + smallest))


def palindrome(
    first: torch.Tensor, middle: torch.Tensor, last: torch.Tensor, *, least: float = 1e-6
) -> float:
    """Measures whether a model finds back after actions and then their inverse.

    World Stability of arXiv 2503.08122, section 3.3, with mean squared error as the distance:
    ``WS = 2 d(x_1, x_end) / (d(x_1, x_mid) + d(x_end, x_mid))``. The denominator is what
    happened on the way, so standing still does not win: it is undefined.

    Args:
        first: The frame before the actions, ``[channels, height, width]``, uint8 or floating
            point in 0 to 1.
        middle: The frame after them.
        last: The frame after their inverse.
        least: Least denominator, scale 0 to 1; below it nothing happened.

    Returns:
        0 finds back exactly, 1 is as far from the start as from the middle, at most 4; NaN
        where nothing happened. Contacts cannot be undone: compare with the simulator's own.

    Raises:
        ValueError: If the frames cannot be compared.
    """
    way = mean_squared_error(middle, first) + mean_squared_error(middle, last)
    missed = mean_squared_error(last, first)
    return float(2 * missed / way) if float(way) > least else math.nan


def _moves(
    motion: npt.ArrayLike, true_motion: npt.ArrayLike, least: float, window: int
) -> tuple[Flags, tuple[Array, Array]]:
    """Says where the truth moves, with the smoothed energies of prediction and truth."""
    predicted, true = _errors(motion, "motion"), _errors(true_motion, "true_motion")
    _check_equal(predicted, true)
    if window < 1:
        raise ValueError(f"window is {window}, and must be at least 1 frame.")
    smooth = _smooth(predicted, window), _smooth(true, window)
    return smooth[1] > least, smooth


def _smooth(values: Array, window: int) -> Array:
    """Centred moving average; at the ends over what there is."""
    kernel = np.ones(min(window, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _errors(values: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}; give one number a frame.")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{name} holds values that are negative or not finite.")
    return array


def _check_equal(first: Array, second: Array) -> None:
    if first.shape != second.shape:
        raise ValueError(f"curves of {len(first)} and {len(second)} frames cannot be compared.")


def _check_rate(frame_rate: float) -> None:
    if not frame_rate > 0:
        raise ValueError(f"frame_rate is {frame_rate}, and must be positive.")
