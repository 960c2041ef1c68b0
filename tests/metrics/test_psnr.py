"""PSNR against piq, torchmetrics, scikit-image and pencil and paper."""

import math

import numpy as np
import piq
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr

from dojobench.metrics.psnr import decibels, mean_squared_error, psnr


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 256, (6, 3, 40, 56), dtype=torch.uint8, generator=generator)
    noise = torch.randn(truth.shape, generator=generator) * torch.linspace(1, 60, 6).reshape(
        -1, 1, 1, 1
    )
    return (truth + noise).clamp(0, 255).to(torch.uint8), truth


def test_agrees_with_piq(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, truth = pair
    theirs = piq.psnr(prediction / 255, truth / 255, reduction="none")
    ours = psnr(prediction, truth, reduction="none", floor="add")
    torch.testing.assert_close(ours, theirs.double(), atol=1e-4, rtol=0)


def test_agrees_with_scikit_image(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, truth = pair
    for p, t, value in zip(*pair, psnr(*pair, reduction="none"), strict=True):
        theirs = peak_signal_noise_ratio(t.numpy(), p.numpy(), data_range=255)
        assert float(value) == pytest.approx(theirs, abs=1e-9)
    assert float(psnr(prediction, truth)) == pytest.approx(
        np.mean([float(v) for v in psnr(*pair, reduction="none")])
    )


def test_pooled_agrees_with_torchmetrics(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, truth = pair
    theirs = torchmetrics_psnr(prediction / 255, truth / 255, data_range=1.0)
    assert float(psnr(*pair, reduction="pooled")) == pytest.approx(float(theirs), abs=1e-4)
    assert float(psnr(*pair, reduction="pooled")) < float(psnr(*pair))


def test_closed_form() -> None:
    truth = torch.full((1, 3, 12, 12), 100, dtype=torch.uint8)
    expected = 20 * math.log10(255 / 5)
    assert float(psnr(truth + 5, truth)) == pytest.approx(expected, abs=1e-12)
    assert float(psnr(truth, truth + 5)) == pytest.approx(expected, abs=1e-12)


def test_black_against_white_is_zero_decibels() -> None:
    black = torch.zeros(2, 3, 12, 12, dtype=torch.uint8)
    assert float(psnr(black, black + 255)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("floor", ["max", "add"])
def test_an_exact_frame_scores_the_cap(floor: str) -> None:
    frame = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    assert float(psnr(frame, frame, floor=floor)) == pytest.approx(80.0, abs=1e-12)


def test_one_level_in_a_large_frame_is_capped() -> None:
    truth = torch.zeros(1, 3, 480, 640, dtype=torch.uint8)
    prediction = truth.clone()
    prediction[0, 0, 0, 0] = 1
    assert float(mean_squared_error(prediction, truth)) == pytest.approx(1 / (921600 * 255**2))
    assert float(psnr(prediction, truth)) == 80.0


def test_uint8_and_float_agree(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, truth = pair
    for dtype in (torch.float32, torch.float64):
        scaled = psnr(prediction.to(dtype) / 255, truth.to(dtype) / 255, reduction="none")
        torch.testing.assert_close(scaled, psnr(*pair, reduction="none"), atol=1e-4, rtol=0)


def test_result_depends_on_neither_threads_nor_layout(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    prediction, truth = pair
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = mean_squared_error(prediction, truth)
    finally:
        torch.set_num_threads(threads)
    strided = (frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for frames in pair)
    assert torch.equal(mean_squared_error(*strided), one)
    assert torch.equal(mean_squared_error(prediction, truth), one)


def test_leading_axes_are_kept(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, truth = (frames.reshape(2, 3, 3, 40, 56) for frames in pair)
    values = psnr(prediction, truth, reduction="none")
    assert values.shape == (2, 3)
    assert torch.equal(values.flatten(), psnr(*pair, reduction="none"))


def test_decibels_of_known_errors() -> None:
    errors = torch.tensor([1.0, 0.1, 1e-8, 0.0], dtype=torch.float64)
    assert decibels(errors).tolist() == pytest.approx([0, 10, 80, 80])


@pytest.mark.parametrize(
    ("prediction", "truth", "words"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8), "shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8), "uint8"),
        (torch.zeros(0, 3, 8, 8), torch.zeros(0, 3, 8, 8), "nothing to score"),
        (torch.full((1, 3, 8, 8), torch.nan), torch.zeros(1, 3, 8, 8), "NaN"),
        (torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), torch.inf), "not finite"),
        (torch.full((1, 3, 8, 8), 2.0), torch.zeros(1, 3, 8, 8), "clamp"),
        (torch.zeros(8, 8), torch.zeros(8, 8), "channels, height, width"),
        (torch.zeros(1, 3, 8, 8).long(), torch.zeros(1, 3, 8, 8).long(), "int64"),
    ],
)
def test_bad_frames_are_refused(prediction: torch.Tensor, truth: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        psnr(prediction, truth)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    on_gpu = [frames.cuda() for frames in pair]
    assert torch.equal(mean_squared_error(*on_gpu).cpu(), mean_squared_error(*pair))
