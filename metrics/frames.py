"""What a metric accepts as frames, and one refusal for everything else.

Frames are uint8 (0 to 255) or floating point (0 to 1), with the axes ``[..., channels, height,
width]``. Both are brought to float32 on the scale 0 to 255, on which a difference of two uint8
frames and its square are exact.
"""

import torch

LEVELS = 255.0
"""The white level of uint8 frames."""


def check_pair(prediction: torch.Tensor, truth: torch.Tensor) -> None:
    """Refuses a pair of frame tensors that cannot be compared.

    Args:
        prediction: ``[..., channels, height, width]``, uint8 or floating point in 0 to 1.
        truth: The same shape and dtype.

    Raises:
        ValueError: If shapes or dtypes differ, there are no frames, or values are not finite
            or not within 0 to 1; one sentence.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f"the prediction has shape {list(prediction.shape)} and the truth has "
            f"{list(truth.shape)}; give frames of equal shape."
        )
    if prediction.dtype != truth.dtype:
        raise ValueError(
            f"the prediction is {_name(prediction)} and the truth is {_name(truth)}; "
            "give both as uint8 or both as floating point in 0 to 1."
        )
    check_frames(prediction, "the prediction")
    check_frames(truth, "the truth")


def check_frames(frames: torch.Tensor, what: str) -> None:
    """Refuses one frame tensor that no metric can use.

    Args:
        frames: ``[..., channels, height, width]``.
        what: How the message calls it, such as ``the prediction``.

    Raises:
        ValueError: If it is empty, of another dtype, not finite or out of range; one sentence.
    """
    if frames.ndim < 3:
        raise ValueError(
            f"{what} has shape {list(frames.shape)}; frames need at least the axes "
            "[channels, height, width]."
        )
    if frames.numel() == 0:
        raise ValueError(f"{what} has shape {list(frames.shape)}, so there is nothing to score.")
    if frames.dtype == torch.uint8:
        return
    if not frames.is_floating_point():
        raise ValueError(f"{what} is {_name(frames)}; give uint8, or floating point in 0 to 1.")
    low, high = torch.aminmax(frames.detach())
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise ValueError(f"{what} holds values that are not finite (NaN or infinity).")
    if low < 0 or high > 1:
        raise ValueError(
            f"{what} holds values from {float(low):.4g} to {float(high):.4g}; floating-point "
            "frames lie within 0 to 1, so clamp or rescale them."
        )


def to_levels(frames: torch.Tensor) -> torch.Tensor:
    """Brings frames to float32 on the scale 0 to 255; uint8 values are kept exactly.

    Args:
        frames: uint8, or floating point in 0 to 1.

    Returns:
        float32 of the same shape.
    """
    if frames.dtype == torch.uint8:
        return frames.to(torch.float32)
    return (frames.detach() * LEVELS).to(torch.float32)


def to_luma(frames: torch.Tensor) -> torch.Tensor:
    """Turns RGB into the grey that OpenCV makes: ITU-R BT.601 luma, rounded to uint8.

    The weights .299, .587 and .114 are taken in 15-bit fixed point and the sum is rounded half
    up, as ``cv2.cvtColor`` does for 8-bit images. Floating-point frames are weighted as they
    are.

    Args:
        frames: ``[..., 3, height, width]``, uint8 or floating point in 0 to 1.

    Returns:
        ``[..., 1, height, width]`` of the same dtype.

    Raises:
        ValueError: If there are not three channels.
    """
    if frames.shape[-3] != 3:
        raise ValueError(f"grey is made of 3 channels, and the frames have {frames.shape[-3]}.")
    if frames.dtype != torch.uint8:
        red, green, blue = frames.unbind(-3)
        return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3).clamp(0, 1)
    red, green, blue = (channel.to(torch.int32) for channel in frames.unbind(-3))
    grey = (9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15
    return grey.to(torch.uint8).unsqueeze(-3)


def _name(frames: torch.Tensor) -> str:
    return str(frames.dtype).removeprefix("torch.")
