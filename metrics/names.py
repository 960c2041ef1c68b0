"""The metrics by name: what a table calls them, their unit, and which way is better.

Nothing here imports torch.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricInfo:
    """What a reader of a result has to know about a metric.

    Attributes:
        name: Key in records and summaries.
        label: Heading in tables.
        unit: ``dB`` or empty.
        higher_is_better: Which way is better.
        cap: What a perfect prediction scores; no clip can score better.
        description: One sentence.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    cap: float
    description: str


def _lpips(net: str, label: str) -> MetricInfo:
    return MetricInfo(
        name=f"lpips_{net}",
        label=f"LPIPS ({label})",
        unit="",
        higher_is_better=False,
        cap=0.0,
        description=f"Learned perceptual distance between {label} features of the frames.",
    )


METRICS: dict[str, MetricInfo] = {
    info.name: info
    for info in (
        MetricInfo(
            name="psnr",
            label="PSNR",
            unit="dB",
            higher_is_better=True,
            cap=80.0,
            description="Peak signal-to-noise ratio; an exact frame scores 80 dB.",
        ),
        MetricInfo(
            name="ssim",
            label="SSIM",
            unit="",
            higher_is_better=True,
            cap=1.0,
            description="Structural similarity of brightness, contrast and pattern.",
        ),
        _lpips("vgg", "VGG16"),
        _lpips("alex", "AlexNet"),
        _lpips("squeeze", "SqueezeNet"),
        MetricInfo(
            name="skill",
            label="Skill",
            unit="",
            higher_is_better=True,
            cap=1.0,
            description=(
                "Share of the static frame's squared error that the model avoids; 0 is no "
                "better than repeating the last context frame."
            ),
        ),
        MetricInfo(
            name="motion_psnr",
            label="Motion PSNR",
            unit="dB",
            higher_is_better=True,
            cap=80.0,
            description="PSNR of the pixels that move in the truth, pooled over the clip.",
        ),
        MetricInfo(
            name="mse",
            label="MSE",
            unit="",
            higher_is_better=False,
            cap=0.0,
            description="Mean squared error on the scale 0 to 1.",
        ),
    )
}
"""Every name that may stand in ``ClipScores.values``, in the order of tables."""
