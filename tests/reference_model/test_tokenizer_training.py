"""The tokenizer's loss, its crops and its statistics; and that it learns."""

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TokenizerConfig
from dojobench.reference_model.tokenizer_training import (
    TokenizerLossConfig,
    fit_latent_statistics,
    foreground_crops,
    kl_divergence,
    motion_energy,
    psnr,
    tokenizer_loss,
)

TINY = TokenizerConfig(widths=(16, 24), blocks=1, latent_channels=8)


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


def _moving_squares(batch: int = 4, time: int = 9, side: int = 16) -> torch.Tensor:
    """A grey ramp with a red square that slides across, uint8."""
    frames = torch.linspace(60, 120, side).expand(batch, time, 3, side, side).clone()
    for clip in range(batch):
        for step in range(time):
            left = (3 * clip + step) % (side - 4)
            colour = torch.tensor([220.0, 30.0, 30.0])[:, None, None]
            frames[clip, step, :, 4 + clip : 8 + clip, left : left + 4] = colour
    return frames.to(torch.uint8)


def test_kl_is_that_of_torch():
    mean, log_variance = torch.randn(50), torch.randn(50)
    expected = torch_kl(
        Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros(50), torch.ones(50))
    )
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
    assert kl_divergence(torch.zeros(1), torch.zeros(1)).item() == 0


def test_the_loss_is_the_weighted_sum_of_its_terms():
    tokenizer, frames = CausalTokenizer(TINY), _moving_squares()
    config = TokenizerLossConfig(mse=2, l1=0.5, kl=0.125)

    def loss(config):
        return tokenizer_loss(
            tokenizer, frames, config=config, generator=torch.Generator().manual_seed(1)
        )

    whole = loss(config)
    expected = 2 * whole.mse + 0.5 * whole.l1 + 0.125 * whole.kl
    torch.testing.assert_close(whole.total, expected)
    again = loss(TokenizerLossConfig(mse=1, l1=0, kl=0))
    assert again.total == whole.mse
    assert again.mse == whole.mse


def test_the_gradient_reaches_every_weight():
    tokenizer = CausalTokenizer(TINY)
    with torch.no_grad():
        for weight in tokenizer.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    tokenizer_loss(tokenizer, _moving_squares()).total.backward()
    for name, weight in tokenizer.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_a_tiny_tokenizer_overfits_in_seconds():
    tokenizer, frames = CausalTokenizer(TINY), _moving_squares(batch=2)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(0)
    # Squared error alone: under the absolute error the square is first an outlier to ignore.
    config = TokenizerLossConfig(l1=0)
    for _ in range(250):
        optimizer.zero_grad()
        tokenizer_loss(tokenizer, frames, config=config, generator=generator).total.backward()
        optimizer.step()
    fit_latent_statistics(tokenizer, [frames])
    with torch.no_grad():
        shown = tokenizer.decode(tokenizer.encode(frames))
    truth = frames / 255
    mean_picture = truth.mean(dim=(0, 1), keepdim=True).expand_as(truth)
    assert psnr(shown, truth) > psnr(mean_picture, truth) + 6


def test_motion_energy_is_zero_where_nothing_moves():
    frames = _moving_squares(batch=1)
    energy = motion_energy(frames)
    assert energy.shape == (1, 16, 16)
    assert energy[0, :4].max() < 1e-6
    assert energy[0, 8:].max() < 1e-6
    assert energy[0, 4:8, :12].min() > 0.01
    assert energy[0, :, 12:].max() < 1e-6


def test_crops_follow_the_motion_as_often_as_asked():
    """In closed form: of 13x13 places of a 4-pixel crop, 7x12 see the moving band."""
    frames = _moving_squares(batch=1).expand(4000, -1, -1, -1, -1)
    for bias in (0.0, 0.7, 1.0):
        crops = foreground_crops(frames, 4, bias=bias, generator=torch.Generator().manual_seed(3))
        assert crops.shape == (4000, 9, 3, 4, 4)
        moves = motion_energy(crops)
        share = (moves.flatten(1).max(dim=1).values > 1e-6).double().mean().item()
        assert share == pytest.approx(bias + (1 - bias) * 7 * 12 / 169, abs=0.03)


def test_crops_are_pieces_of_their_own_clip_in_place_over_time():
    frames = torch.arange(2 * 5 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 5, 3, 8, 8) / 1920
    crops = foreground_crops(frames, 3, generator=torch.Generator().manual_seed(0))
    for clip, crop in zip(frames, crops, strict=True):
        at = (clip[0, 0] == crop[0, 0, 0, 0]).nonzero()[0].tolist()
        whole = clip[..., at[0] : at[0] + 3, at[1] : at[1] + 3]
        assert torch.equal(crop, whole)


def test_still_clips_are_cropped_anywhere():
    still = torch.zeros(500, 5, 3, 6, 6)
    still[..., 0, 0] = 1
    crops = foreground_crops(still, 3, bias=1.0, generator=torch.Generator().manual_seed(0))
    assert crops.amax(dim=(1, 2, 3, 4)).mean().item() == pytest.approx(1 / 16, abs=0.04)


def test_a_crop_larger_than_the_frame_is_refused():
    with pytest.raises(BadInputError, match="A crop of 17 pixels does not fit frames of 16x16"):
        foreground_crops(_moving_squares(), 17)


def test_statistics_make_latents_standard_whatever_the_batches():
    frames = _moving_squares(batch=6)
    tokenizer = CausalTokenizer(TINY)
    assert fit_latent_statistics(tokenizer, [frames[:1], frames[1:4], frames[4:]]) == 18
    in_pieces = tokenizer.latent_mean.clone(), tokenizer.latent_std.clone()
    fit_latent_statistics(tokenizer, iter([frames]))
    torch.testing.assert_close((tokenizer.latent_mean, tokenizer.latent_std), in_pieces)
    with torch.no_grad():
        latents = tokenizer.encode(frames)
    values = latents.transpose(0, 2).flatten(1)
    torch.testing.assert_close(values.mean(dim=1), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(values.std(dim=1), torch.ones(8), rtol=0, atol=2e-3)


def test_statistics_of_nothing_or_of_the_same_are_refused():
    tokenizer = CausalTokenizer(TINY)
    with pytest.raises(BadInputError, match="no clips"):
        fit_latent_statistics(tokenizer, [])
    with torch.no_grad():
        tokenizer.encoder.layers[-1].weight[2].zero_()
    with pytest.raises(BadInputError, match="Latent channel 2 is the same in all 12"):
        fit_latent_statistics(tokenizer, [_moving_squares()])


def test_psnr_in_closed_form():
    assert psnr(torch.full((4,), 0.6), torch.full((4,), 0.5)) == pytest.approx(20, abs=1e-4)
    assert psnr(torch.ones(3), torch.ones(3)) == 80
