"""The look of a video against scipy and scikit-image, and its degenerate cases."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import wasserstein_distance

from dojobench.metrics.appearance import AppearanceTracker, appearance, sharpness, tail_mean


def _frames(count=6, seed=0, side=12):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator).to(torch.uint8)


def test_sharpness_agrees_with_scipy():
    frames = _frames()
    luma = np.tensordot([0.299, 0.587, 0.114], frames.numpy() / 255, axes=([0], [1]))
    for found, image in zip(sharpness(frames), luma, strict=True):
        edges = ndimage.laplace(image)[1:-1, 1:-1]
        assert float(found) == pytest.approx(edges.var(), rel=1e-5)


def test_colour_drift_agrees_with_scipy():
    context, frames = _frames(2, seed=1), (_frames(3, seed=2) // 2)
    curves = appearance(context, frames)
    for found, frame in zip(curves.colour_drift, frames.numpy(), strict=True):
        reference = np.mean(
            [
                wasserstein_distance(context.numpy()[:, c].ravel(), frame[c].ravel()) / 255
                for c in range(3)
            ]
        )
        assert found == pytest.approx(reference)


def test_colour_drift_is_the_size_of_a_shift():
    context = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    shifts = torch.tensor([0, 1, 51, 155]).view(4, 1, 1, 1)
    curves = appearance(context, (context + shifts).to(torch.uint8))
    assert curves.colour_drift == pytest.approx([0, 1 / 255, 51 / 255, 155 / 255])


def test_moving_about_is_no_colour_drift():
    frame = _frames(1)
    curves = appearance(frame, torch.cat([frame.roll(k, dims=-1) for k in range(5)]))
    assert curves.colour_drift == pytest.approx([0] * 5)


def test_motion_and_flicker_by_hand():
    levels = torch.tensor([10, 20, 20, 40]).view(4, 1, 1, 1).expand(4, 3, 4, 4).to(torch.uint8)
    curves = appearance(torch.full((1, 3, 4, 4), 10, dtype=torch.uint8), levels)
    assert curves.motion == pytest.approx([0, 10 / 255, 0, 20 / 255])
    assert curves.flicker == pytest.approx([0, 10 / 255, 10 / 255, 20 / 255])


def test_blur_is_negative_and_noise_positive():
    frames = torch.nn.functional.avg_pool2d(_frames(2, side=40).float(), 3, 1, 1)
    blurred = torch.nn.functional.avg_pool2d(frames, 3, 1, 1)
    noisy = frames + 30 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    as_bytes = [f.clamp(0, 255).to(torch.uint8) for f in (frames, blurred, noisy)]
    assert max(appearance(as_bytes[0], as_bytes[1]).sharpness) < -1
    assert min(appearance(as_bytes[0], as_bytes[2]).sharpness) > 0.3
    assert appearance(as_bytes[0][:1], as_bytes[0][:1]).sharpness == [0]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_streaming_is_the_same(size):
    context, frames = _frames(3), _frames(40, seed=4)
    tracker = AppearanceTracker(context)
    for block in torch.split(frames, size):
        tracker.update(block)
    streamed, whole = tracker.finish(), appearance(context, frames)
    for name in ("motion", "sharpness", "colour_drift", "flicker"):
        assert len(getattr(whole, name)) == 40
        assert getattr(streamed, name) == pytest.approx(getattr(whole, name))


def test_floating_point_frames_are_the_same():
    context, frames = _frames(1), _frames(3, seed=4)
    whole, floating = appearance(context, frames), appearance(context / 255, frames / 255)
    assert floating.motion == pytest.approx(whole.motion)
    assert floating.colour_drift == pytest.approx(whole.colour_drift)
    assert floating.sharpness == pytest.approx(whole.sharpness)


def test_flat_frames_are_finite():
    flat = torch.full((2, 3, 8, 8), 77, dtype=torch.uint8)
    curves = appearance(flat[:1], flat)
    assert curves.sharpness == [0, 0]
    assert curves.motion == curves.flicker == curves.colour_drift == [0, 0]
    sharp = appearance(flat[:1], _frames(1, side=8))
    assert 0 < sharp.sharpness[0] < 30


def test_tail_mean():
    assert tail_mean([1.0, 2.0, 4.0], 2) == 3
    with pytest.raises(ValueError, match="tail is 4"):
        tail_mean([1.0, 2.0, 4.0], 4)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 1, 8, 8), (3, 8, 8), (2, 3, 2, 8)])
def test_nonsense_is_refused(shape):
    with pytest.raises(ValueError, match="context"):
        AppearanceTracker(torch.zeros(shape, dtype=torch.uint8))


def test_frames_of_another_size_are_refused():
    tracker = AppearanceTracker(_frames(1))
    with pytest.raises(ValueError, match="of the same size"):
        tracker.update(_frames(1, side=13))
