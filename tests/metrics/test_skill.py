"""Skill and motion PSNR against pencil and paper."""

import math

import pytest
import torch

from dojobench.metrics.psnr import psnr
from dojobench.metrics.skill import motion_mask, motion_psnr, skill, static_skill


def _moving() -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames of 100s in which a 2x2 corner has turned to 150, and the frame before."""
    still = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    truth = still.repeat(2, 1, 1, 1)
    truth[:, :, :2, :2] = 150
    return truth, still


def test_skill_is_one_zero_or_negative() -> None:
    truth, still = _moving()
    assert skill(truth, truth, still) == 1.0
    assert skill(still.expand_as(truth), truth, still) == 0.0
    wrong = still.repeat(2, 1, 1, 1)
    wrong[:, :, 4:6, 4:6] = 150
    assert skill(wrong, truth, still) == pytest.approx(-1.0)


def test_half_the_amplitude_leaves_a_quarter_of_the_error() -> None:
    truth, still = _moving()
    half = truth.clone()
    half[:, :, :2, :2] = 125
    assert skill(half, truth, still) == pytest.approx(0.75)
    assert static_skill(1.0, 4.0) == 0.75


def test_skill_is_undefined_where_the_truth_is_static() -> None:
    truth, still = _moving()
    static = still.expand_as(truth)
    assert math.isnan(skill(truth, static, still))
    assert math.isnan(skill(static, static, still))
    assert math.isnan(motion_psnr(truth, static, still))


def test_the_mask_is_what_moves() -> None:
    truth, still = _moving()
    mask = motion_mask(truth, still)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:2, :2] = True
    assert torch.equal(mask, expected)
    assert torch.equal(motion_mask(truth / 255, still / 255), expected)


def test_motion_counts_at_any_time_in_any_channel_and_direction() -> None:
    truth, still = _moving()
    truth[:] = still
    truth[0, 1, 5, 6] = 40
    assert motion_mask(truth, still).nonzero().tolist() == [[5, 6]]
    assert not motion_mask(truth, still, threshold=60 / 255).any()
    assert motion_mask(truth, still, threshold=59.9 / 255).any()


def test_motion_psnr_leaves_the_still_pixels_aside() -> None:
    truth, still = _moving()
    held = still.expand_as(truth)
    assert motion_psnr(held, truth, still) == pytest.approx(20 * math.log10(255 / 50))
    assert float(psnr(held, truth)) == pytest.approx(
        20 * math.log10(255 / 50) + 10 * math.log10(16)
    )
    elsewhere = truth.clone()
    elsewhere[:, :, 4:, :] = 0
    assert motion_psnr(elsewhere, truth, still) == 80.0


def test_frames_that_do_not_fit_are_refused() -> None:
    truth, still = _moving()
    with pytest.raises(ValueError, match="equal shape"):
        motion_psnr(truth, truth, still[:, :4])
    with pytest.raises(ValueError, match="equal shape"):
        skill(truth[:1], truth, still)
