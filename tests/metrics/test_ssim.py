"""SSIM against piq, torchmetrics and scikit-image, under settings that match."""

import piq
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from dojobench.metrics.ssim import SsimFilter, SsimSettings, ssim


def _pair(height: int, width: int, frames: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(frames, 3, 9, 11, generator=generator)
    truth = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1) * 255
    strength = torch.linspace(0, 40, frames).reshape(-1, 1, 1, 1)
    noisy = truth + torch.randn(truth.shape, generator=generator) * strength
    return noisy.clamp(0, 255).to(torch.uint8), truth.to(torch.uint8)


@pytest.mark.parametrize("size", [(64, 80), (97, 131), (256, 256)])
def test_agrees_with_scikit_image(size: tuple[int, int]) -> None:
    prediction, truth = _pair(*size)
    gaussian = ssim(prediction, truth)
    uniform = ssim(prediction, truth, settings=SsimSettings(window="uniform"))
    for index in range(len(truth)):
        images = [f[index].permute(1, 2, 0).numpy() for f in (truth, prediction)]
        theirs = structural_similarity(
            *images,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(gaussian[index]) == pytest.approx(theirs, abs=1e-5)
        theirs = structural_similarity(*images, channel_axis=-1, data_range=255)
        assert float(uniform[index]) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("size", [(64, 80), (256, 256), (384, 400), (480, 640)])
@pytest.mark.parametrize("downsample", [False, True])
def test_agrees_with_piq(size: tuple[int, int], downsample: bool) -> None:
    prediction, truth = _pair(*size, frames=2)
    theirs = piq.ssim(prediction / 255, truth / 255, reduction="none", downsample=downsample)
    ours = ssim(prediction, truth, settings=SsimSettings(downsample=downsample))
    torch.testing.assert_close(ours, theirs.double(), atol=1e-4, rtol=0)


def test_downsampling_matters_at_480x640() -> None:
    prediction, truth = _pair(480, 640, frames=2)
    plain, halved = (
        ssim(prediction, truth),
        ssim(prediction, truth, settings=SsimSettings(downsample=True)),
    )
    assert float(halved[1] - plain[1]) > 0.05
    assert [SsimSettings(downsample=True).pooling(*s) for s in ((256, 256), (480, 640))] == [1, 2]


def test_agrees_with_torchmetrics() -> None:
    prediction, truth = _pair(97, 131)
    theirs = structural_similarity_index_measure(
        prediction / 255, truth / 255, data_range=1.0, reduction="none"
    )
    ours = ssim(prediction, truth, settings=SsimSettings(padding="reflect"))
    torch.testing.assert_close(ours, theirs.double(), atol=1e-4, rtol=0)
    _, full = structural_similarity_index_measure(
        prediction / 255,
        truth / 255,
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )
    valid = full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).double()
    torch.testing.assert_close(ssim(prediction, truth), valid, atol=1e-4, rtol=0)


def test_zero_padding_agrees_with_a_padded_convolution() -> None:
    prediction, truth = _pair(64, 80)
    taps = SsimSettings().taps()
    kernel = torch.outer(taps, taps).expand(3, 1, 11, 11)
    x, y = prediction.double() / 255, truth.double() / 255

    def blur(image: torch.Tensor) -> torch.Tensor:
        return F.conv2d(image, kernel, padding=5, groups=3)

    mean_x, mean_y = blur(x), blur(y)
    cov = blur(x * y) - mean_x * mean_y
    variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    expected = (2 * mean_x * mean_y + 1e-4) * (2 * cov + 9e-4)
    expected /= (mean_x**2 + mean_y**2 + 1e-4) * (variances + 9e-4)
    ours = ssim(prediction, truth, settings=SsimSettings(padding="zero"))
    torch.testing.assert_close(ours, expected.mean(dim=(1, 2, 3)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_bright_frames_lose_no_variance(level: int) -> None:
    # E[x^2] - E[x]^2 of a bright flat frame is where float32 cancels worst.
    truth = torch.full((1, 3, 64, 64), level, dtype=torch.uint8)
    prediction = truth.clone()
    prediction[..., ::2, ::2] = max(0, level - 2) if level else 2
    images = [f[0].permute(1, 2, 0).numpy() for f in (truth, prediction)]
    theirs = structural_similarity(
        *images,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert float(ssim(prediction, truth)) == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
@pytest.mark.parametrize("padding", ["valid", "zero", "reflect"])
def test_an_exact_frame_scores_exactly_one(window: str, padding: str) -> None:
    _, truth = _pair(300, 310, frames=2)
    settings = SsimSettings(window=window, padding=padding, downsample=True)  # type: ignore[arg-type]
    assert ssim(truth, truth, settings=settings).tolist() == [1.0, 1.0]


def test_the_negative_is_dissimilar_and_the_order_does_not_matter() -> None:
    prediction, truth = _pair(64, 80)
    assert float(ssim(255 - truth, truth).max()) < 0.6
    assert torch.equal(ssim(prediction, truth), ssim(truth, prediction))


def test_layout_batch_and_dtype_do_not_matter() -> None:
    prediction, truth = _pair(64, 80, frames=5)
    whole = ssim(prediction, truth)
    assert torch.equal(
        torch.cat([ssim(p[None], t[None]) for p, t in zip(prediction, truth, strict=True)]), whole
    )
    strided = [f.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for f in (prediction, truth)]
    assert torch.equal(ssim(*strided), whole)
    torch.testing.assert_close(ssim(prediction / 255, truth / 255), whole, atol=1e-5, rtol=0)
    assert ssim(prediction[None], truth[None]).shape == (1, 5)


def test_reduced_precision_settings_change_nothing() -> None:
    prediction, truth = _pair(64, 80)
    whole = ssim(prediction, truth)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(ssim(prediction, truth), whole)
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_filter_is_used_again_without_a_trace() -> None:
    prediction, truth = _pair(64, 80)
    compare = SsimFilter(channels=3, height=64, width=80)
    first = compare(prediction, truth)
    compare(truth, truth.flip(-1))
    assert torch.equal(compare(prediction, truth), first)


@pytest.mark.parametrize("padding", ["valid", "zero"])
def test_small_frames_are_refused(padding: str) -> None:
    side = 10 if padding == "valid" else 5
    frame = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    with pytest.raises(ValueError, match="SSIM needs frames of at least"):
        ssim(frame, frame, settings=SsimSettings(padding=padding))  # type: ignore[arg-type]


def test_the_smallest_frame_has_one_window() -> None:
    prediction, truth = _pair(11, 11)
    theirs = piq.ssim(prediction / 255, truth / 255, reduction="none")
    torch.testing.assert_close(ssim(prediction, truth), theirs.double(), atol=1e-4, rtol=0)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu() -> None:
    prediction, truth = _pair(256, 256)
    ours = ssim(prediction.cuda(), truth.cuda()).cpu()
    torch.testing.assert_close(ours, ssim(prediction, truth), atol=1e-5, rtol=0)
