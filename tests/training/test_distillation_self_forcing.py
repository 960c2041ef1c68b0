"""Self Forcing with distribution matching: rollouts, judged clips, turns, gradients."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.flow_matching import FlowMatchingConfig, sample_times
from dojobench.reference_model.net_config import ActionConfig, WorldModelConfig
from dojobench.reference_model.streaming import PUBLISHED_TIMES, StreamConfig
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TokenizerConfig
from dojobench.reference_model.training.distribution_matching import (
    critic_loss,
    critic_weight,
    judge,
    matching_loss,
)
from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.rollout import draw_noise, stream_out, student_rollout
from dojobench.reference_model.training.self_forcing_stage import (
    SelfForcingStage,
    SelfForcingStageConfig,
)
from dojobench.reference_model.training.stage import OptimizerConfig
from dojobench.reference_model.training.windows import still_latent

TINY = WorldModelConfig(
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    given_time="zero",
    timestep_scale=1000.0,
    actions=ActionConfig(width=6, hidden=16, cumulative=True),
)
QUICK = OptimizerConfig(lr=1e-3, warmup=0, decay=0.0, ema=0.5, weight_decay=0.0)
CONFIG = SelfForcingStageConfig(steps=2, longest=7, student=QUICK, critic=QUICK)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_net(seed=0, config=TINY):
    net = build_world_model(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def tiny_tokenizer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CausalTokenizer(TokenizerConfig(latent_channels=4, widths=(8, 8, 8), blocks=1))


class Windows:
    def __init__(self, frames=7):
        self.frames = frames

    def batch(self, step, size):
        return {
            "latents": noise(size, 4, self.frames, 4, 4, seed=step),
            "actions": noise(size, 4 * (self.frames - 1), 6, seed=step + 999),
        }


def tiny_stage(config=CONFIG, source=None, **given):
    return SelfForcingStage(
        config,
        random_net(1),
        random_net(0),
        source or Windows(),
        tokenizer=tiny_tokenizer(),
        **given,
    )


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def loop(**changed):
    values = {
        "steps": 8,
        "batch": 2,
        "log_every": 1,
        "validate_every": 0,
        "sample_every": 0,
        "checkpoint_every": 3,
        "device": "cpu",
        "tensorboard": False,
    }
    return LoopConfig(**(values | changed))


def weights(module):
    return {name: one.detach().clone() for name, one in module.state_dict().items()}


def same(module, before):
    return all(torch.equal(one, before[name]) for name, one in module.state_dict().items())


def test_the_defaults_are_the_published_ones():
    config = SelfForcingStageConfig()
    assert config.stream(5.0).times == pytest.approx(PUBLISHED_TIMES, abs=1e-15)
    assert (config.loop.steps, config.loop.batch) == (3000, 64)
    assert (config.student.lr, config.critic.lr) == (1e-7, 1e-5)
    for one in (config.student, config.critic):
        assert (one.weight_decay, one.clip, one.betas) == (0.01, 1.0, (0.9, 0.999))
    assert (config.horizon, config.longest, config.graded, config.ratio) == (4, 13, 3, 5)
    assert config.stream(5.0).renoise == "same"
    assert config.stream(5.0).window == 3
    turns = [tiny_stage().turn(step) for step in range(10)]
    assert turns == 2 * [*4 * ["critic"], "student"]


def test_the_first_losses_of_both_players(golden):
    golden("self_forcing", tiny_stage(replace(CONFIG, ratio=3)), loop(steps=6))


def test_the_gradient_is_the_difference_of_the_predictions_by_the_distance():
    samples = noise(2, 3, 4, 2, 2).requires_grad_(True)
    real, fake = noise(2, 3, 4, 2, 2, seed=1), noise(2, 3, 4, 2, 2, seed=2)
    loss = matching_loss(samples, real=real, fake=fake)
    loss.total.backward()
    for index in range(2):
        distance = (samples[index] - real[index]).abs().mean()
        expected = (fake[index] - real[index]) / distance
        torch.testing.assert_close(loss.gradient[index], expected.detach())
        torch.testing.assert_close(samples.grad[index] * samples.numel(), expected.detach())
    assert loss.total.item() == pytest.approx(0.5 * loss.gradient.square().mean().item())
    alike = matching_loss(samples, real=real, fake=real)
    assert alike.total == 0
    assert matching_loss(real, real=real, fake=fake).gradient.isfinite().all()


def test_a_critic_that_says_what_the_teacher_says_moves_nothing():
    stage = tiny_stage()
    stage.loss("student", Windows().batch(0, 2), chance())["total"].backward()
    student = stage.players["student"].module
    assert all(one.grad is None or not one.grad.any() for one in student.parameters())
    with torch.no_grad():
        for one in stage.players["critic"].module.final_layer.parameters():
            one.add_(0.1 * noise(*one.shape))
    stage.loss("student", Windows().batch(0, 2), chance())["total"].backward()
    assert any(one.grad is not None and one.grad.any() for one in student.parameters())


def test_each_turn_changes_whose_turn_it_is_and_no_other(tmp_path):
    config = replace(CONFIG, ratio=2)
    stage = tiny_stage(config)
    parts = {name: player.module for name, player in stage.players.items()}
    parts |= {"teacher": stage._teacher, "tokenizer": stage._tokenizer}
    seen = [{name: weights(part) for name, part in parts.items()}]

    def note():
        seen.append({name: weights(part) for name, part in parts.items()})
        return False

    train(stage, loop(steps=4), tmp_path, until=note)
    for step, (before, after) in enumerate(pairwise(seen)):
        changed = {
            name
            for name in parts
            if any(not torch.equal(after[name][key], before[name][key]) for key in after[name])
        }
        assert changed == {stage.turn(step)}


def test_the_critic_learns_what_the_student_makes(tmp_path):
    config = replace(CONFIG, ratio=1000)
    stage = tiny_stage(config)

    def error():
        with torch.no_grad():
            losses = [
                stage.loss("critic", Windows().batch(10_000 + n, 8), chance(n))["total"]
                for n in range(4)
            ]
        return float(sum(losses))

    before = error()
    train(stage, loop(steps=60, batch=8, checkpoint_every=60), tmp_path)
    assert error() < 0.9 * before


@pytest.mark.parametrize("renoise", ["same", "fresh"])
@torch.no_grad()
def test_a_rollout_of_all_steps_is_a_stream(renoise):
    net, batch = random_net(), Windows().batch(0, 2)
    stream = StreamConfig(times=(1.0, 0.7, 0.4), renoise=renoise, window=2)
    context = batch["latents"][:, :, :1]
    eps = draw_noise(context, 6, stream, chance())
    assert eps.shape == (6, 3 if renoise == "fresh" else 1, 2, 4, 1, 4, 4)
    made = student_rollout(net, context, batch["actions"], eps, stream=stream, exits=[3] * 6)
    expected = stream_out(net, context, batch["actions"], eps, stream=stream)
    torch.testing.assert_close(made, expected)


def test_a_rollout_has_its_gradient_where_it_is_wanted():
    net, batch = random_net(), Windows().batch(0, 2)
    passes = []
    net.register_forward_hook(
        lambda _, inputs, __: passes.append((float(inputs[1][0]), torch.is_grad_enabled()))
    )
    stream = StreamConfig(times=(1.0, 0.5))
    context = batch["latents"][:, :, :1]
    eps = draw_noise(context, 4, stream, chance())
    exits = [2, 1, 2, 1]
    made = student_rollout(
        net, context, batch["actions"], eps, stream=stream, exits=exits, graded=2
    )
    # Context, then for each frame its steps and the pass that keeps it; the last is not kept.
    expected = [(0.0, False)]
    expected += [(1.0, False), (0.5, False), (0.0, False)]
    expected += [(1.0, False), (0.0, False)]
    expected += [(1.0, False), (0.5, True), (0.0, False)]
    expected += [(1.0, True)]
    assert passes == expected
    last = net.final_layer.linear.weight
    early, late = (
        torch.autograd.grad(part.square().sum(), last, retain_graph=True)[0]
        for part in (made[:, :, :3], made[:, :, 3:])
    )
    assert not early.any()
    assert late.any()
    with pytest.raises(BadInputError, match="needs 28 actions, not 24"):
        student_rollout(net, context, batch["actions"], eps, stream=stream, exits=[1] * 7)


def test_a_judged_clip_begins_with_the_frame_before_it_by_itself():
    stage, rolled = tiny_stage(), noise(2, 4, 7, 4, 4)
    actions = Windows().batch(0, 2)["actions"]
    start = stage._clip(rolled, actions, 4)
    assert torch.equal(start.latents, rolled[:, :, :4])
    assert torch.equal(start.actions, actions[:, :12])
    late = stage._clip(rolled, actions, 6)
    assert torch.equal(late.latents[:, :, 1:], rolled[:, :, 3:6])
    assert torch.equal(late.latents[:, :, :1], still_latent(stage._tokenizer, rolled[:, :, :3]))
    assert not torch.equal(late.latents[:, :, 0], rolled[:, :, 2])
    assert torch.equal(late.actions, actions[:, 8:20])


def test_lengths_and_steps_are_drawn_evenly():
    stage = tiny_stage()
    drawn = torch.tensor(stage._draw_lengths(4000, chance()))
    counts = torch.bincount(drawn, minlength=8)
    assert counts[:4].sum() == 0
    torch.testing.assert_close(counts[4:] / 4000, torch.full((4,), 0.25), atol=0.04, rtol=0)
    for exits, kinds in (("rollout", 1), ("frame", 2)):
        told = []
        stage = tiny_stage(replace(CONFIG, exits=exits, steps=2, horizon=7, graded=1))
        student = stage.players["student"].module
        student.register_forward_hook(lambda _, inputs, __, told=told: told.append(inputs[1][0]))
        patterns = set()
        for seed in range(6):
            told.clear()
            with torch.no_grad():
                stage._roll_out(Windows().batch(0, 1), [7], chance(seed))
            half = StreamConfig.with_steps(2, 5.0).times[1]
            patterns.add(sum(abs(float(time) - half) < 1e-6 for time in told))
        # Steps of a rollout: all frames one, or all two, against a mixture.
        assert (patterns <= {0, 6}) == (kinds == 1)


def test_clips_of_one_rollout_show_the_critic_several_lengths():
    stage = tiny_stage(replace(CONFIG, critic_clips=3))
    seen = []
    critic = stage.players["critic"].module
    critic.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[0]))
    stage.loss("critic", Windows().batch(0, 2), chance())["total"].backward()
    assert seen == [6]


def test_a_rollout_may_outlast_the_data(tmp_path):
    config = replace(CONFIG, longest=12)
    stage = tiny_stage(config, Windows(4))
    actions = Windows(4).batch(0, 3)["actions"]
    long = stage._long_enough(actions, 40)
    assert long.shape == (3, 40, 6)
    assert torch.equal(long[1, :12], actions[1])
    assert torch.equal(long[1, 12:24], actions[0])
    assert torch.equal(long[1, 24:36], actions[2])
    assert train(stage, loop(steps=5), tmp_path).finished


def test_it_resumes_exactly_and_exports_the_average(tmp_path):
    given = {"held_out": Windows()}
    config = replace(CONFIG, validation_windows=2)
    straight = train(tiny_stage(config, **given), loop(sample_every=8), tmp_path / "a")
    calls = iter([False] * 4 + [True])
    stopped = train(tiny_stage(config, **given), loop(), tmp_path / "b", until=lambda: next(calls))
    assert (stopped.step, stopped.finished) == (5, False)
    resumed = train(tiny_stage(config, **given), loop(sample_every=8), tmp_path / "b")
    assert straight.exported.name == "student.safetensors"
    assert straight.exported.read_bytes() == resumed.exported.read_bytes()
    stage = tiny_stage(config, **given)
    scores = stage.validate(random_net())
    assert set(scores) == {"near", "far", "spread"}
    assert stage.show(random_net()).shape == (25, 3, 32, 64)


@pytest.mark.parametrize(
    "wrong",
    [{"horizon": 1}, {"longest": 3}, {"graded": 0}, {"graded": 4}, {"ratio": 1}, {"steps": 0}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(BadInputError):
        SelfForcingStageConfig(**wrong)


@torch.no_grad()
def test_the_weights_of_the_critic_are_those_of_both_formulations():
    times = torch.tensor([0.1, 0.5, 0.9, 1.0])
    angle = torch.atan2(times, 1 - times)
    # The clean prediction's squared error is t^2 times that of the velocity.
    torch.testing.assert_close(
        critic_weight(times, "trigflow"), times.square() / angle.sin().square()
    )
    assert critic_weight(times, "velocity") == 1
    net, clips, eps = random_net(), noise(4, 4, 4, 4, 4), noise(4, 4, 4, 4, 4, seed=1)
    found = judge(net, clips, eps, times)
    by_clean = (found.clean - clips[:, :, 1:]).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(
        critic_loss(found, clips, eps, "trigflow"), by_clean / angle.sin().square()
    )


class Bell(nn.Module):
    """The exact flow where clean numbers are normal; its mean and deviation can be learnt."""

    def __init__(self, mean, deviation):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(float(mean)))
        self.log = nn.Parameter(torch.tensor(float(deviation)).log())

    def draw(self, count, generator):
        return self.mean + self.log.exp() * torch.randn(count, 1, 2, 8, 8, generator=generator)

    def forward(self, latents, times, actions=None, *, condition_mask=None):
        t = times.view(-1, 1, 1, 1, 1)
        variance = (2 * self.log).exp()
        gain = (1 - t) * variance / (t**2 + (1 - t) ** 2 * variance)
        clean = self.mean + gain * (latents - (1 - t) * self.mean)
        return (latents - clean) / t


def test_a_bell_curve_is_moved_onto_the_teachers():
    """Where all is known: the student's mean and deviation become the teacher's.

    The critic learns by flow matching alone, from the student's samples.
    """
    teacher, student = Bell(2.0, 0.5).requires_grad_(False), Bell(-1.0, 1.0)
    critic = copy.deepcopy(teacher).requires_grad_(True)
    optimizers = {
        "student": torch.optim.Adam(student.parameters(), lr=0.03, betas=(0.0, 0.99)),
        "critic": torch.optim.Adam(critic.parameters(), lr=0.05),
    }
    judging = FlowMatchingConfig(shift=1.0, distribution="uniform")
    generator = chance()
    path = []
    for step in range(1500):
        name = "student" if step % 5 == 4 else "critic"
        samples = student.draw(32, generator)
        clips = samples.detach()
        times = sample_times(32, judging, generator=generator).clamp(0.02, 0.98)
        eps = torch.randn(clips.shape, generator=generator)
        judged = judge(critic, clips, eps, times)
        if name == "critic":
            loss = critic_loss(judged, clips, eps, "trigflow").mean()
        else:
            real = judge(teacher, clips, eps, times).clean
            loss = matching_loss(samples[:, :, 1:], real=real, fake=judged.clean.detach()).total
            path.append(float(student.mean.detach()))
        for one in optimizers.values():
            one.zero_grad()
        loss.backward()
        optimizers[name].step()
    assert path[0] == -1.0
    assert abs(float(student.mean.detach()) - 2.0) < 0.1
    assert abs(float(student.log.detach().exp()) - 0.5) < 0.1
    assert max(path) < 2.5
