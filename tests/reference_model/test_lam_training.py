"""The latent action model's loss, and that its latent comes to hold the motion."""

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel
from dojobench.reference_model.lam_config import LatentActionConfig
from dojobench.reference_model.lam_training import lam_loss
from dojobench.reference_model.tokenizer_training import kl_divergence

TINY = LatentActionConfig(
    model_dim=32,
    heads=4,
    encoder_blocks=1,
    decoder_blocks=1,
    patch_size=4,
    height=4,
    width=16,
    latent_dim=4,
    beta=1e-3,
)


def _pairs(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A coloured tile on a ring of four places; returns pairs and how far each went, 1 to 3."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.zeros(count, 2, 3, 4, 16)
    steps = torch.randint(1, 4, (count,), generator=generator)
    places = torch.randint(0, 4, (count,), generator=generator)
    for pair, step, place in zip(frames, steps.tolist(), places.tolist(), strict=True):
        colour = torch.rand(3, 1, 1, generator=generator) * 0.5 + 0.5
        for frame, at in zip(pair, (place, (place + step) % 4), strict=True):
            frame[..., 4 * at : 4 * at + 4] = colour
    return frames, steps


def test_the_loss_is_error_plus_beta_times_divergence():
    torch.manual_seed(0)
    model, (pairs, _) = LatentActionModel(TINY), _pairs(6)

    def loss(beta):
        return lam_loss(model, pairs, beta=beta, generator=torch.Generator().manual_seed(1))

    whole = loss(0.5)
    assert loss(0).total == whole.mse
    torch.testing.assert_close(whole.total, whole.mse + 0.5 * whole.kl)
    torch.testing.assert_close(loss(None).total, whole.mse + 1e-3 * whole.kl)
    posterior = model.lam.encode(pairs)
    torch.testing.assert_close(whole.kl, kl_divergence(*posterior).sum(1).mean())
    noise = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    actions = posterior.mean + noise * (0.5 * posterior.log_variance).exp()
    error = (model.lam.decode(pairs[:, 0], actions) - pairs[:, 1]).square().mean()
    torch.testing.assert_close(whole.mse, error)


def test_the_gradient_reaches_every_weight_but_the_rotary_frequencies():
    torch.manual_seed(0)
    model, (pairs, _) = LatentActionModel(TINY), _pairs(6)
    lam_loss(model, pairs).total.backward()
    for name, weight in model.named_parameters():
        if name.endswith("rotary_embedding.freqs"):
            assert weight.grad is None
        else:
            assert weight.grad.abs().sum() > 0, name


def test_only_pairs_train():
    frames = torch.zeros(1, 3, 3, 4, 16)
    with pytest.raises(BadInputError, match="give pairs of two"):
        lam_loss(LatentActionModel(TINY), frames)


def test_it_learns_to_tell_motions_that_it_can_apply_elsewhere():
    """Trained for seconds: held-out pairs are predicted, and equal motions are neighbours."""
    torch.manual_seed(0)
    model = LatentActionModel(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(0)
    pool, _ = _pairs(512, seed=1)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (200 - step) / 100)
        batch = pool[torch.randint(0, len(pool), (32,), generator=generator)]
        optimizer.zero_grad()
        lam_loss(model, batch, generator=generator).total.backward()
        optimizer.step()
    pairs, steps = _pairs(128, seed=2)
    with torch.no_grad():
        actions = model.latent_actions(pairs)[:, 0]
        error = (model.predict(pairs[:, 0], actions) - pairs[:, 1]).square().mean()
        wrong = (model.predict(pairs[:, 0], actions.roll(1, 0)) - pairs[:, 1]).square().mean()
    still = (pairs[:, 0] - pairs[:, 1]).square().mean()
    assert error < 0.1 * still
    assert wrong > 5 * error
    distance = torch.cdist(actions, actions).fill_diagonal_(torch.inf)
    assert (steps[distance.argmin(dim=1)] == steps).float().mean() > 0.7
