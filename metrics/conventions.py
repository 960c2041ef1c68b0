"""What a number means: which frames are paired, in which colours, and how they are averaged.

One prediction and one truth give 21.8 to 23.9 dB under the conventions of published code, so a
number without its convention cannot be compared with anything. A result names one convention
and never mixes two; ``metric_version`` changes whenever the same frames would score otherwise.

Nothing here imports torch.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

DREAMDOJO_CHUNK = 12
"""Frames that DreamDojo predicts at a time; the lag starts after the first chunk."""

_PSNR, _SSIM, _LPIPS, _SKILL = "psnr-1", "ssim-1", "lpips-1", "skill-1"
_COMPONENTS = f"{_PSNR},{_SSIM},{_LPIPS},{_SKILL}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """How a clip is scored.

    Attributes:
        name: Part of every result.
        version: Counts up when the pairing or the averaging of this convention changes.
        first_frame: Whether the conditioning frame is scored too, as frame 0.
        lagged: Whether predictions after the first chunk are compared one frame late.
        grey: Whether frames are turned to 8-bit luma first.
        pooled: Whether PSNR is taken of the clip's mean error instead of frame by frame.
        floor: How an exact frame is kept finite: ``max(MSE, 1e-8)`` or ``MSE + 1e-8``.
        ssim_window: ``gaussian`` (11x11, sigma 1.5) or ``uniform`` (7x7, unbiased covariance).
        ssim_downsample: Whether SSIM averages 2x2 pixels first at 480x640.
        ssim_padding: ``valid`` or ``zero``.
        description: Where it comes from, in a sentence.
    """

    name: str
    version: int
    first_frame: bool = False
    lagged: bool = False
    grey: bool = False
    pooled: bool = False
    floor: Literal["max", "add"] = "max"
    ssim_window: Literal["gaussian", "uniform"] = "gaussian"
    ssim_downsample: bool = False
    ssim_padding: Literal["valid", "zero"] = "valid"
    description: str


CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            name="aligned",
            version=1,
            description="Mean over predicted frames, each beside the frame it predicts.",
        ),
        Convention(
            name="dreamdojo",
            version=1,
            first_frame=True,
            lagged=True,
            floor="add",
            ssim_downsample=True,
            description=(
                "NVIDIA/DreamDojo cosmos_predict2/action_conditioned.py: the conditioning frame "
                "is scored, and after the first chunk predictions are compared one frame late."
            ),
        ),
        Convention(
            name="pooled",
            version=1,
            pooled=True,
            description="As aligned, with PSNR of the clip's mean error (torchmetrics, VP2).",
        ),
        Convention(
            name="irasim_gray",
            version=1,
            grey=True,
            ssim_window="uniform",
            description=(
                "bytedance/IRASim evaluate/compute_psnr_ssim.py: 8-bit grey, frame 0 left out, "
                "scikit-image's default SSIM (7x7 uniform window)."
            ),
        ),
        Convention(
            name="dino_wm",
            version=1,
            pooled=True,
            ssim_padding="zero",
            description=(
                "gaoyuezhou/dino_wm metrics/image_metrics.py: pooled PSNR, SSIM with black "
                "around the frame."
            ),
        ),
    )
}


class FramePair(NamedTuple):
    """Which prediction is compared with which truth; 0 is the last context frame of both."""

    truth: int
    prediction: int


def convention_named(name: str) -> Convention:
    """Looks a convention up.

    Raises:
        ValueError: If there is none of that name; one sentence.
    """
    try:
        return CONVENTIONS[name]
    except KeyError:
        raise ValueError(
            f"there is no metric convention '{name}'; choose one of {', '.join(CONVENTIONS)}."
        ) from None


def scored_pairs(
    frames: int, convention: Convention, *, chunk: int | None = None
) -> list[FramePair]:
    """Says which predicted frame is compared with which true frame.

    Frame 0 is the last context frame, frames 1 to ``frames`` are predicted. ``aligned`` pairs
    ``(t, t)`` for every predicted frame.

    ``dreamdojo`` starts with ``(0, 0)`` and pairs ``(t, t)`` up to the end of the first chunk
    and ``(t, t - 1)`` after it. In the published evaluator each chunk's video begins with the
    frame that it was conditioned on; the first chunk is kept whole, and of each later one the
    first ``chunk`` frames are kept, so the conditioning frame appears twice and every frame
    after it stands one place late; the last prediction is never scored. With 49 frames and
    chunks of 12 these are 36 late frames.

    Args:
        frames: Number of predicted frames.
        convention: Decides on frame 0 and the lag.
        chunk: Frames predicted at a time; 12, DreamDojo's, where ``None``.

    Returns:
        One pair a scored frame, in the truth's order.

    Raises:
        ValueError: If ``frames`` or ``chunk`` is not positive.

    Example:
        >>> scored_pairs(4, CONVENTIONS["dreamdojo"], chunk=2)[-2:]
        [FramePair(truth=3, prediction=2), FramePair(truth=4, prediction=3)]
    """
    size = DREAMDOJO_CHUNK if chunk is None else chunk
    if frames < 1 or size < 1:
        raise ValueError(f"{frames} frames in chunks of {size} cannot be paired; both must be > 0.")
    first = 0 if convention.first_frame else 1
    return [FramePair(t, predicted_index(t, convention, size)) for t in range(first, frames + 1)]


def predicted_index(truth: int, convention: Convention, chunk: int) -> int:
    """Gives the predicted frame that is compared with true frame ``truth``."""
    return truth - 1 if convention.lagged and truth > chunk else truth


def metric_version(convention: str) -> str:
    """Names the code that made a number; results of different versions are not compared.

    Args:
        convention: Name of a convention.

    Returns:
        Such as ``aligned-1(psnr-1,ssim-1,lpips-1,skill-1)``.

    Raises:
        ValueError: If there is no such convention.
    """
    chosen = convention_named(convention)
    return f"{chosen.name}-{chosen.version}({_COMPONENTS})"
