"""Solvers against diffusers, against a flow with a closed form, and around a network."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.generation import SamplerConfig, sample
from dojobench.reference_model.net_config import (
    ActionConfig,
    TextConfig,
    WorldModelConfig,
    preset,
)
from dojobench.reference_model.samplers import schedule, solve
from dojobench.reference_model.streaming import (
    LatentStream,
    StreamConfig,
    commit_frame,
    denoise_frame,
)

TINY = WorldModelConfig(
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    given_time="zero",
    actions=ActionConfig(width=5, hidden=16, cumulative=True),
)

SPREAD = 2.0


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_net(config=TINY):
    net = build_world_model(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def bent_flow(x, time):
    return torch.tanh(x.roll(1, -1)) * (1 + time) + 0.3 * x


def gaussian_flow(x, time):
    """Exact velocity where clean data are normal with deviation SPREAD; it ends at SPREAD x."""
    variance = time**2 + (1 - time) ** 2 * SPREAD**2
    return x * (time - (1 - time) * SPREAD**2) / variance


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 35])
@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_unipc_equals_diffusers(steps, shift):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    theirs = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2
    )
    theirs.set_timesteps(steps)
    even = np.linspace(1, 1 / 1000, steps + 1)[:-1]
    exact = np.append(shift * even / (1 + (shift - 1) * even), 0)
    exact[0] -= 1e-6
    np.testing.assert_allclose(theirs.sigmas, exact, rtol=1e-6)
    x = noise(3, 6, dtype=torch.float64)
    # diffusers keeps its times in float32; in float64 the agreement is to the last digits.
    for times, tolerance in ((theirs.sigmas, 1e-4), (torch.from_numpy(exact), 1e-12)):
        theirs.set_timesteps(steps)
        theirs.sigmas = times
        state = x.clone()
        for index, timestep in enumerate(theirs.timesteps):
            velocity = bent_flow(state, float(times[index]))
            state = theirs.step(velocity, timestep, state, return_dict=False)[0]
        got = solve("unipc", bent_flow, x, schedule(steps, shift))
        torch.testing.assert_close(got, state, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("steps", [1, 4, 35])
def test_euler_equals_diffusers(steps):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0)
    theirs.set_timesteps(sigmas=np.linspace(1, 1 / 1000, steps + 1)[:-1].tolist())
    x = noise(3, 6)
    state = x.clone()
    for index, timestep in enumerate(theirs.timesteps):
        velocity = bent_flow(state, float(theirs.sigmas[index]))
        state = theirs.step(velocity, timestep, state, return_dict=False)[0]
    got = solve("euler", bent_flow, x, schedule(steps, 5.0))
    torch.testing.assert_close(got, state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_flow_to_one_point_arrives_exactly(solver, steps):
    point = noise(4, dtype=torch.float64)
    got = solve(
        solver,
        lambda x, t: (x - point) / t,
        noise(4, seed=1, dtype=torch.float64),
        schedule(steps, 5.0),
    )
    torch.testing.assert_close(got, point, atol=1e-5, rtol=1e-5)


def test_solvers_converge_to_the_closed_form_with_their_orders():
    x = noise(64, dtype=torch.float64)
    errors = {}
    for solver in ("euler", "unipc"):
        for steps in (20, 40, 80):
            got = solve(solver, gaussian_flow, x, schedule(steps, 1.0))
            errors[solver, steps] = (got - SPREAD * x).abs().mean().item()
    for coarse, fine in ((20, 40), (40, 80)):
        assert 1.8 < errors["euler", coarse] / errors["euler", fine] < 2.2
        assert errors["unipc", coarse] / errors["unipc", fine] > 3.5
    assert errors["unipc", 80] < errors["euler", 80] / 50


def test_trajectories_can_be_followed():
    seen = []
    times = schedule(3, 5.0)
    end = solve("euler", bent_flow, noise(2), times, on_step=lambda *step: seen.append(step))
    assert [(index, time) for index, time, _ in seen] == list(enumerate(times[:-1]))
    assert torch.equal(seen[0][2], noise(2))
    last = seen[-1][2]
    torch.testing.assert_close(end, last - times[2] * bent_flow(last, times[2]))


@pytest.mark.parametrize("times", [[1.0, 0.5], [0.5, 1.0, 0.0], [0.0], [1.0, 1.0, 0.0]])
def test_times_that_do_not_descend_to_zero_are_refused(times):
    with pytest.raises(ValueError, match="must descend to 0"):
        solve("euler", bent_flow, noise(2), times)
    with pytest.raises(ValueError, match="at least 1 step"):
        schedule(0, 5.0)


class Counting(torch.nn.Module):
    """A network around another that counts passes and keeps what it was told."""

    def __init__(self, net):
        super().__init__()
        self.net, self.config, self.calls = net, net.config, []

    def forward(self, latents, times, actions=None, **conditions):
        self.calls.append((latents, times, actions, conditions))
        return self.net(latents, times, actions, **conditions)


@torch.no_grad()
def test_sampling_keeps_the_context_and_makes_no_wasted_pass():
    net = Counting(random_net())
    context, actions = noise(2, 4, 1, 4, 4), noise(2, 12, 5, seed=1)
    config = SamplerConfig(steps=5)
    made = sample(net, context, actions, config=config, generator=torch.Generator().manual_seed(0))
    assert made.shape == (2, 4, 4, 4, 4)
    assert torch.equal(made[:, :, :1], context)
    assert len(net.calls) == 5
    for latents, _, given, conditions in net.calls:
        assert torch.equal(latents[:, :, :1], context)
        assert given is actions
        assert conditions["condition_mask"].tolist() == [[1, 0, 0, 0]] * 2
    again = sample(net, context, actions, config=config, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made, again)


@torch.no_grad()
def test_guidance_adds_the_difference_to_the_unconditional_pass():
    net = Counting(random_net())
    context, actions, start = noise(1, 4, 1, 4, 4), noise(1, 12, 5), noise(1, 4, 3, 4, 4, seed=2)
    config = SamplerConfig(solver="euler", steps=1, guidance=2.0)
    got = sample(net, context, actions, config=config, noise=start, without={"actions": None})
    assert len(net.calls) == 2
    plain = replace(config, guidance=0.0)
    conditional = sample(net, context, actions, config=plain, noise=start)
    without = sample(net, context, None, config=plain, noise=start, frames=4)
    torch.testing.assert_close(got, conditional + 2 * (conditional - without))
    with pytest.raises(ValueError, match="the conditions of the unconditional pass"):
        sample(net, context, actions, config=config)


@torch.no_grad()
def test_the_published_teacher_trajectory_is_told_its_times():
    net = Counting(random_net())
    config = SamplerConfig.for_net(preset("2b"))
    assert (config.solver, config.steps, config.shift, config.guidance) == ("unipc", 35, 5.0, 0.0)
    sample(net, noise(1, 4, 1, 4, 4), noise(1, 12, 5), config=config)
    told = [round(times.item() * 1000, 3) for _, times, _, _ in net.calls]
    # The times at which the released code keeps latents for the student's warm-up.
    assert [told[index] for index in (0, 9, 18, 27)] == [999, 935, 824, 596]
    assert all(time == int(time) for time in told)


@torch.no_grad()
def test_the_number_of_frames_must_be_clear():
    net, context = random_net(), noise(1, 4, 1, 4, 4)
    with pytest.raises(BadInputError, match="number of latent frames is unclear"):
        sample(net, context, None, config=SamplerConfig(steps=1))
    with pytest.raises(BadInputError, match="number of latent frames is unclear"):
        sample(net, context, noise(1, 11, 5), config=SamplerConfig(steps=1))


@torch.no_grad()
def test_a_noised_context_is_solved_for_and_replaced():
    config = replace(TINY, clean_context=False, context_channels=True)
    net = Counting(random_net(config))
    context = noise(1, 4, 1, 4, 4)
    made = sample(net, context, noise(1, 12, 5), config=SamplerConfig(steps=2))
    assert made.shape == (1, 4, 4, 4, 4)
    assert torch.equal(made[:, :, :1], context)
    assert not torch.equal(net.calls[0][0][:, :, :1], context)
    assert net.calls[0][3]["condition_mask"].sum() == 0
    with pytest.raises(BadInputError, match="cannot stream"):
        LatentStream(net.net, context, config=StreamConfig())


@torch.no_grad()
def test_a_text_is_encoded_once():
    net = random_net(replace(TINY, text=TextConfig(features=12, width=8)))
    encoded = []
    encode = net.encode_text
    net.encode_text = lambda text: encoded.append(1) or encode(text)
    sample(
        net,
        noise(1, 4, 1, 4, 4),
        noise(1, 4, 5),
        config=SamplerConfig(steps=3),
        text=noise(1, 2, 12),
    )
    assert len(encoded) == 1


def rollout_without_cache(net, context, actions, eps, config):
    """The same rollout, each pass over all frames so far under a causal mask."""
    latents, per = context, net.config.actions.per_latent
    for start in eps:
        frame = latents.shape[2]
        state = start
        for step, time in enumerate(config.times):
            if step:
                state = time * start + (1 - time) * state
            whole = torch.cat([latents, state], dim=2)
            times = torch.zeros(len(state), frame + 1)
            times[:, -1] = time
            mask = torch.zeros(len(state), frame + 1)
            mask[:, : context.shape[2]] = float(config.mark_context)
            velocity = net(
                whole,
                times,
                actions[:, : per * frame],
                condition_mask=mask,
                causal=True,
                window=config.window,
            )
            state = state - time * velocity[:, :, -1:]
        latents = torch.cat([latents, state], dim=2)
    return latents


@torch.no_grad()
@pytest.mark.parametrize("given", [1, 3])
@pytest.mark.parametrize("window", [2, 3])
def test_a_stream_equals_recomputing_everything_at_every_step(given, window):
    net = random_net()
    frames = 7
    context, actions = noise(2, 4, given, 4, 4), noise(2, 4 * (frames - 1), 5, seed=1)
    config = StreamConfig(window=window, times=(1.0, 0.7, 0.3))
    led = actions[:, : 4 * (given - 1)]
    stream = LatentStream(
        net, context, config=config, actions=led, generator=torch.Generator().manual_seed(5)
    )
    made = [stream.step(actions[:, 4 * (f - 1) : 4 * f]) for f in range(given, frames)]
    generator = torch.Generator().manual_seed(5)
    eps = [torch.randn(2, 4, 1, 4, 4, generator=generator) for _ in made]
    expected = rollout_without_cache(net, context, actions, eps, config)
    torch.testing.assert_close(torch.cat(made, dim=2), expected[:, :, given:], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fresh_noise_differs_from_the_same_noise_and_both_are_seeded():
    net, context, actions = random_net(), noise(1, 4, 1, 4, 4), noise(1, 4, 5)
    made = {}
    for renoise in ("same", "fresh", "same"):
        stream = LatentStream(
            net,
            context,
            config=StreamConfig(renoise=renoise),
            generator=torch.Generator().manual_seed(0),
        )
        latent = stream.step(actions)
        assert renoise not in made or torch.equal(made[renoise], latent)
        made[renoise] = latent
    assert not torch.allclose(made["same"], made["fresh"], atol=1e-3)


def test_self_forcing_gets_its_gradient_from_the_last_step_alone():
    net = random_net()
    passes = []
    net.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    cache = net.new_cache(batch=1, height=4, width=4, window=2)
    commit_frame(net, cache, noise(1, 4, 1, 4, 4), noise(1, 0, 5))
    losses = []
    for index in range(3):
        frame = denoise_frame(
            net, cache, noise(1, 4, 1, 4, 4, seed=index), noise(1, 4, 5), (1.0, 0.7, 0.4)
        )
        losses.append(frame.square().mean())
        commit_frame(net, cache, frame, noise(1, 4, 5))
    assert passes == [False] + 3 * [False, False, True, False]
    sum(losses).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert net.blocks[0].self_attn.k_proj.weight.grad.abs().sum() > 0


def test_stream_times_come_from_steps_and_shift():
    config = StreamConfig.with_steps(2, 10.0, window=2)
    assert config.times[0] == 1.0
    assert math.isclose(config.times[1], 10 * 0.5 / (1 + 9 * 0.5))
    assert config.window == 2
    published = StreamConfig.with_steps(4, 5.0)
    assert published.times == pytest.approx(StreamConfig().times, abs=1e-15)


def test_a_context_needs_the_actions_that_led_through_it():
    with pytest.raises(BadInputError, match="was led to by 8 actions, not 4"):
        LatentStream(
            random_net(), noise(1, 4, 3, 4, 4), config=StreamConfig(), actions=noise(1, 4, 5)
        )


@torch.no_grad()
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_frame_150_is_made_as_frame_15(mean):
    """After the same few frames a stream goes on alike, however long it has been going."""
    net, window, alike = random_net(), 3, 8
    context = noise(2, 4, 1, 4, 4)
    shared_latents = noise(alike, 2, 4, 1, 4, 4, seed=1)
    shared_actions = noise(alike + 1, 2, 4, 5, seed=2)
    eps = noise(1, 2, 4, 1, 4, 4, seed=3)
    made = []
    for frames in (15, 150):
        stream = LatentStream(net, context, config=StreamConfig(window=window))
        generator = torch.Generator().manual_seed(frames)
        for frame in range(1, frames):
            left = frames - frame
            if left > alike:
                # A drift that a displacement since the context frame would tell.
                actions = mean + torch.randn(2, 4, 5, generator=generator)
                latent = torch.randn(2, 4, 1, 4, 4, generator=generator)
            else:
                actions, latent = shared_actions[alike - left], shared_latents[alike - left]
            stream._commit(latent, actions)
        assert stream.cache.frames == frames
        made.append(stream.step(shared_actions[-1], noise=eps))
    # Two blocks look back 2 x 3 frames; angles of 150 radians cost float32 some digits.
    torch.testing.assert_close(made[0], made[1], atol=2e-4, rtol=2e-4)
