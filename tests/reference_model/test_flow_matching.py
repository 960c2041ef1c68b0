"""The training objective in closed form, its switches, and golden losses of a seeded tiny model."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.design_choices import TABLE_5, DesignChoices
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.flow_matching import (
    FlowMatchingConfig,
    flow_matching_loss,
    interpolate,
    sample_times,
    shift_time,
    temporal_consistency,
    time_table,
)
from dojobench.reference_model.net_config import (
    ActionConfig,
    TextConfig,
    WorldModelConfig,
    preset,
)

GOLDEN = Path(__file__).parent / "golden" / "flow_losses.json"
TINY = WorldModelConfig(
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    actions=ActionConfig(width=5, hidden=16, cumulative=True),
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def answering(velocity):
    """A network that answers a fixed velocity, whatever it is asked."""

    def net(latents, times, actions=None, *, condition_mask=None, **conditions):
        del times, actions, condition_mask, conditions
        return velocity.expand(latents.shape)

    return net


def test_interpolation_goes_from_clean_to_noise():
    clean, eps = noise(2, 4, 3, 2, 2), noise(2, 4, 3, 2, 2, seed=1)
    assert torch.equal(interpolate(clean, eps, torch.zeros(2)), clean)
    assert torch.equal(interpolate(clean, eps, torch.ones(2)), eps)
    mixed = interpolate(clean, eps, torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]]))
    torch.testing.assert_close(mixed[0, :, 2], 0.5 * (eps + clean)[0, :, 2])
    torch.testing.assert_close(mixed[1, :, 2], (0.25 * eps + 0.75 * clean)[1, :, 2])
    assert torch.equal(mixed[0, :, 1], eps[0, :, 1])


@pytest.mark.parametrize("shift", [1.0, 5.0, 10.0])
def test_the_shift_in_closed_form(shift):
    ends = shift_time(torch.tensor([0.0, 0.5, 1.0]), shift)
    torch.testing.assert_close(ends, torch.tensor([0.0, shift / (1 + shift), 1.0]))


def test_the_published_student_times_are_the_shifted_quarters():
    quarters = torch.tensor([1.0, 0.75, 0.5, 0.25])
    torch.testing.assert_close(
        shift_time(quarters, 5.0), torch.tensor([1.0, 0.9375, 0.8333333, 0.625])
    )


def test_training_times_equal_those_of_diffusers():
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0).sigmas[:1000]
    torch.testing.assert_close(time_table(FlowMatchingConfig()), theirs)


def test_times_follow_the_shifted_logit_normal():
    generator = torch.Generator().manual_seed(0)
    times = sample_times(200_000, FlowMatchingConfig(), generator=generator)
    unshifted = times / (5 - 4 * times)
    logits = torch.logit(unshifted.double().clamp(1e-4, 1 - 1e-4))
    assert abs(logits.mean()) < 0.02
    assert abs(logits.std() - 1) < 0.02
    uniform = sample_times(
        200_000, FlowMatchingConfig(distribution="uniform", shift=1.0), generator=generator
    )
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(uniform.var() - 1 / 12) < 0.002


def test_a_share_of_the_times_is_drawn_from_the_noisiest():
    plain = FlowMatchingConfig(distribution="uniform", shift=1.0)
    high = replace(plain, high_noise_share=0.05)
    shares = []
    for config in (plain, high):
        times = sample_times(100_000, config, generator=torch.Generator().manual_seed(0))
        shares.append((times >= 0.98).float().mean().item())
    assert abs(shares[0] - 0.021) < 0.003
    assert abs(shares[1] - (0.05 + 0.95 * 0.021)) < 0.004
    assert FlowMatchingConfig.for_net(preset("14b")).high_noise_share == 0.05
    assert FlowMatchingConfig.for_net(preset("2b")).high_noise_share == 0.0


def test_a_perfect_network_has_no_loss_and_a_silent_one_the_velocity_squared():
    clean, eps = noise(2, 4, 3, 2, 2), noise(2, 4, 3, 2, 2, seed=1)
    velocity = eps - clean
    arguments = {"config": FlowMatchingConfig(), "noise": eps, "times": torch.tensor([0.3, 0.9])}
    perfect = flow_matching_loss(answering(velocity), clean, **arguments)
    assert perfect.total == 0
    silent = flow_matching_loss(answering(torch.zeros(1)), clean, **arguments)
    # The first latent frame is given: no loss there, but it counts in the mean.
    flow = velocity[:, :, 1:].square().mean() * 2 / 3
    error = -velocity
    error[:, :, 0] = 0
    temporal = (error[:, :, 1:] - error[:, :, :-1]).square().mean()
    torch.testing.assert_close(silent.flow, flow)
    torch.testing.assert_close(silent.temporal, temporal)
    torch.testing.assert_close(silent.total, flow + 0.1 * temporal)
    torch.testing.assert_close(silent.per_sample.mean(), flow)


def test_the_network_gets_the_first_frame_clean_and_the_others_noisy():
    seen = {}

    def net(latents, times, actions=None, *, condition_mask=None, **conditions):
        seen.update(latents=latents, times=times, actions=actions, mask=condition_mask)
        seen.update(conditions)
        return torch.zeros_like(latents)

    clean, eps = noise(2, 4, 3, 2, 2), noise(2, 4, 3, 2, 2, seed=1)
    times, actions = torch.tensor([0.3, 0.9]), noise(2, 8, 5)
    flow_matching_loss(
        net, clean, actions, config=FlowMatchingConfig(), noise=eps, times=times, text="kept"
    )
    assert torch.equal(seen["latents"][:, :, 0], clean[:, :, 0])
    mixed = interpolate(clean, eps, times)
    assert torch.equal(seen["latents"][:, :, 1:], mixed[:, :, 1:])
    assert seen["mask"].tolist() == [[1, 0, 0]] * 2
    assert torch.equal(seen["times"], times)
    assert seen["actions"] is actions
    assert seen["text"] == "kept"


def test_temporal_consistency_by_hand():
    target = torch.zeros(1, 2, 3, 1, 1)
    predicted = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 3.0]]).view(1, 2, 3, 1, 1)
    paper = FlowMatchingConfig()
    # Differences in time: 1, 2 and 0, 3; their squares: 1, 4, 0, 9.
    assert temporal_consistency(predicted, target, paper).tolist() == [14 / 4]
    summed = replace(paper, temporal_reduction="sum")
    assert temporal_consistency(predicted, target, summed).tolist() == [(1 + 0) / 2 + (4 + 9) / 2]
    # As released: differences between channels: 1, 2, 1.
    released = replace(paper, temporal_axis="channel")
    assert temporal_consistency(predicted, target, released).tolist() == [(1 + 4 + 1) / 3]


def test_a_constant_error_is_consistent_in_time():
    target = noise(2, 4, 5, 3, 3)
    assert temporal_consistency(target + 7, target, FlowMatchingConfig()).abs().max() < 1e-9
    moving = target + torch.arange(5.0).view(1, 1, 5, 1, 1)
    torch.testing.assert_close(
        temporal_consistency(moving, target, FlowMatchingConfig()), torch.ones(2)
    )


def test_one_frame_has_no_temporal_loss():
    one = noise(2, 4, 1, 3, 3)
    assert temporal_consistency(one, 0 * one, FlowMatchingConfig()).tolist() == [0, 0]


def test_the_ablation_is_a_loop_over_switches():
    rows = {
        name: choices.applied(preset("nano"), FlowMatchingConfig.for_net(preset("nano")))
        for name, choices in TABLE_5.items()
    }
    switches = [
        (net.actions.relative, net.actions.injection, loss.temporal_weight)
        for net, loss in rows.values()
    ]
    assert switches == [
        (False, "global-mean", 0.0),
        (True, "global-mean", 0.0),
        (True, "chunked", 0.0),
        (True, "chunked", 0.1),
    ]
    assert rows["+ temporal loss"] == (
        preset("nano"),
        FlowMatchingConfig.for_net(preset("nano")),
    )


def test_every_row_of_the_ablation_trains():
    clean, actions = noise(2, 4, 4, 4, 4), noise(2, 12, 5, seed=1)
    rows = {**TABLE_5, "noised context": DesignChoices(clean_context=False)}
    rows["flat"] = DesignChoices(chunked_actions=False, unchunked="global-flat")
    for choices in rows.values():
        config, objective = choices.applied(TINY, FlowMatchingConfig.for_net(TINY))
        net = build_world_model(config)
        context = {"context": clean[:, :, 0]} if config.context_channels else {}
        loss = flow_matching_loss(net, clean, actions, config=objective, **context)
        loss.total.backward()
        assert math.isfinite(loss.total.item())
        assert net.x_embedder.proj[1].weight.grad.abs().sum() > 0


def test_a_network_that_cannot_see_its_context_is_refused():
    with pytest.raises(BadInputError, match="needs 'context_channels'"):
        replace(TINY, clean_context=False)


def golden_losses():
    """Five steps of AdamW on fixed latents; every path of the network takes part."""
    config = replace(TINY, text=TextConfig(features=12, width=8), padding_mask=True)
    net = build_world_model(config, seed=0)
    clean, actions, text = noise(2, 4, 4, 4, 4), noise(2, 12, 5, seed=1), noise(2, 3, 12, seed=2)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(5):
        loss = flow_matching_loss(
            net, clean, actions, config=FlowMatchingConfig(), generator=generator, text=text
        )
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append({"flow": loss.flow.item(), "temporal": loss.temporal.item()})
    return losses


def test_golden_losses_of_a_seeded_tiny_model():
    expected = json.loads(GOLDEN.read_text())
    for got, wanted in zip(golden_losses(), expected, strict=True):
        assert got == pytest.approx(wanted, rel=2e-4)
