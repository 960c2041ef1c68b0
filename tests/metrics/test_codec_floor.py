"""The codec floor: real compression, in memory."""

import pytest
import torch

from dojobench.metrics.codec_floor import codec_floor, decode_video, encode_h264
from dojobench.metrics.psnr import psnr


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """A bright bar that crosses a soft scene."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 6, generator=generator)
    scene = torch.nn.functional.interpolate(coarse, size=(62, 81), mode="bicubic")[0].clamp(0, 1)
    clip = (scene * 200).to(torch.uint8).repeat(12, 1, 1, 1)
    for time in range(12):
        clip[time, :, :, 5 * time : 5 * time + 8] = 250
    return clip


def test_the_floor_is_finite_and_rises_with_quality(frames: torch.Tensor) -> None:
    floors = [codec_floor(frames, 10, crf=crf) for crf in (40, 23, 5)]
    assert 20 < floors[0].psnr < floors[1].psnr < floors[2].psnr < 60
    assert floors[0].ssim < floors[1].ssim < floors[2].ssim < 1
    assert floors[0].bits_per_pixel < floors[1].bits_per_pixel < floors[2].bits_per_pixel
    assert len(floors[1].psnr_curve) == len(floors[1].ssim_curve) == 12


def test_full_colour_resolution_costs_less_quality(frames: torch.Tensor) -> None:
    halved, full = (
        codec_floor(frames, 10, crf=1, pixel_format=name) for name in ("yuv420p", "yuv444p")
    )
    assert full.psnr > halved.psnr


def test_odd_sizes_come_back_as_they_were(frames: torch.Tensor) -> None:
    odd = frames[:3, :, :61]
    copy = decode_video(encode_h264(odd, 10), height=61, width=81)
    assert copy.shape == odd.shape
    assert copy.dtype == torch.uint8
    assert float(psnr(copy, odd)) == pytest.approx(codec_floor(odd, 10).psnr)


def test_the_same_frames_give_the_same_bytes(frames: torch.Tensor) -> None:
    assert encode_h264(frames, 29.97) == encode_h264(frames, 29.97)


def test_what_is_not_video_is_refused(frames: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        codec_floor(frames / 255, 10)
    with pytest.raises(ValueError, match="uint8 RGB"):
        codec_floor(frames[:, :1], 10)
    with pytest.raises(ValueError, match="nothing to score"):
        codec_floor(frames[:0], 10)
    with pytest.raises(ValueError, match="positive rate"):
        codec_floor(frames, 0)
