"""The causal student's warm-up on trajectories."""

from dataclasses import replace

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.checkpoint_io import load_world_model
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.net_config import ActionConfig, TextConfig, WorldModelConfig
from dojobench.reference_model.streaming import LatentStream, StreamConfig
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TokenizerConfig
from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.stage import OptimizerConfig
from dojobench.reference_model.training.warmup_stage import WarmupStage, WarmupStageConfig

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
TIMES = (1.0, 0.9, 0.6)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_net(config=TINY):
    net = build_world_model(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


class Lines:
    """Trajectories that are straight: ``count`` windows, drawn by the step."""

    def __init__(self, count=4, frames=4):
        self.clean = noise(count, 4, frames, 4, 4)
        eps = noise(count, 4, frames - 1, 4, 4, seed=1)
        ends = self.clean[:, :, 1:]
        self.states = torch.stack([t * eps + (1 - t) * ends for t in TIMES], dim=1)
        self.actions = noise(count, 4 * (frames - 1), 6, seed=2)

    def batch(self, step, size):
        rows = torch.randint(
            len(self.clean), (size,), generator=torch.Generator().manual_seed(step)
        )
        return self.rows(rows)

    def rows(self, rows):
        return {
            "clean": self.clean[rows],
            "states": self.states[rows],
            "actions": self.actions[rows],
            "times": torch.tensor(TIMES).expand(len(rows), -1),
        }


def tiny_stage(config=None, source=None, **given):
    config = config or WarmupStageConfig(
        optimizer=OptimizerConfig(lr=1e-2, warmup=10, ema=0.9, weight_decay=0.0)
    )
    return WarmupStage(config, random_net(), source or Lines(), **given)


def loop(**changed):
    values = {
        "steps": 12,
        "batch": 4,
        "log_every": 1,
        "validate_every": 5,
        "sample_every": 0,
        "checkpoint_every": 5,
        "device": "cpu",
        "tensorboard": False,
    }
    return LoopConfig(**(values | changed))


def test_the_defaults_are_the_published_ones():
    config = WarmupStageConfig()
    assert (config.loop.steps, config.loop.batch) == (10_000, 256)
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.optimizer.clip) == (
        3e-5,
        0.1,
        0.1,
    )
    assert config.optimizer.betas == (0.9, 0.999)
    assert config.window == 3


def test_the_first_losses_of_the_warm_up(golden):
    golden("warmup", tiny_stage(), loop(steps=5, validate_every=0))


def test_it_learns_a_few_trajectories_by_heart(tmp_path):
    source = Lines()
    stage = tiny_stage(source=source, held_out=source.rows(torch.arange(4)))
    before = stage.validate(stage.players["student"].module)
    result = train(
        stage, loop(steps=150, validate_every=0, log_every=50, checkpoint_every=150), tmp_path
    )
    net = load_world_model(result.exported)
    after = stage.validate(net)
    # Latents of deviation 1, so an error of 1 is that of having learnt nothing.
    assert min(before.values()) > 0.5
    assert max(after.values()) < 0.05
    assert set(after) == {"first", "last"}


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("frames", [4, 7])
@torch.no_grad()
def test_a_pass_over_all_frames_equals_a_stream(window, frames):
    """With all frames before it clean, a frame is predicted as it is from the cache."""
    source = Lines(2, frames)
    batch = source.rows(torch.arange(2))
    stage = tiny_stage(WarmupStageConfig(window=window), source)
    net = stage.players["student"].module
    for frame in range(1, frames):
        for level, time in enumerate(TIMES):
            levels = torch.full((2, frames - 1), len(TIMES))
            levels[:, frame - 1] = level
            whole = stage.predict(net, batch, levels)[:, :, frame - 1 : frame]
            led = batch["actions"][:, : 4 * (frame - 1)]
            config = StreamConfig(window=window, times=(time,))
            stream = LatentStream(net, batch["clean"][:, :, :1], config=config)
            for earlier in range(1, frame):
                own = led[:, 4 * (earlier - 1) : 4 * earlier]
                stream._commit(batch["clean"][:, :, earlier : earlier + 1], own)
            state = batch["states"][:, level, :, frame - 1 : frame]
            actions = batch["actions"][:, 4 * (frame - 1) : 4 * frame]
            alone = stream.propose(actions, noise=state[None])
            torch.testing.assert_close(whole, alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_teacher_of_one_window_is_told_what_the_student_is():
    """In the first frames displacement and positions are the teacher's own."""
    source = Lines(2)
    batch = source.rows(torch.arange(2))
    net = random_net()
    told = {}
    for name, settings in (("teacher", {}), ("student", {"causal": True, "window": 3})):
        hook = net.action_embedder_B_D.register_forward_pre_hook(
            lambda _, inputs, name=name: told.update({name: inputs[0]})
        )
        net(batch["clean"], torch.ones(2), batch["actions"], **settings)
        hook.remove()
    torch.testing.assert_close(told["teacher"], told["student"])


def test_every_frame_draws_its_own_level():
    stage, batch = tiny_stage(), Lines(512).rows(torch.arange(512))
    levels = stage.draw_levels(batch, torch.Generator().manual_seed(0))
    assert levels.shape == (512, 3)
    counts = torch.bincount(levels.flatten(), minlength=4) / levels.numel()
    torch.testing.assert_close(counts, torch.full((4,), 0.25), atol=0.04, rtol=0)
    pairs = torch.bincount(4 * levels[:, 0] + levels[:, 2], minlength=16) / 512
    torch.testing.assert_close(pairs, torch.full((16,), 1 / 16), atol=0.04, rtol=0)


def test_a_clean_past_is_that_of_a_stream():
    stage = tiny_stage(WarmupStageConfig(clean_past=1.0))
    batch = Lines(256, 7).rows(torch.arange(256))
    levels = stage.draw_levels(batch, torch.Generator().manual_seed(0))
    first_noisy = (levels < 3).float().argmax(dim=1)
    assert (levels < 3).any(dim=1).all()
    assert set(first_noisy.tolist()) == set(range(6))
    half = tiny_stage(WarmupStageConfig(clean_past=0.5))
    drawn = half.draw_levels(batch, torch.Generator().manual_seed(0))
    share = (drawn == levels).all(dim=1).float().mean()
    assert 0.4 < share < 0.65


def test_clean_frames_have_no_error():
    stage, batch = tiny_stage(), Lines().rows(torch.arange(4))
    levels = torch.full((4, 3), 3)
    made = stage.predict(stage.players["student"].module, batch, levels)
    assert torch.equal(made, batch["clean"][:, :, 1:])


def test_the_released_window_is_one_less():
    batch = Lines(2, 7).rows(torch.arange(2))
    levels = torch.zeros(2, 6, dtype=torch.int64)
    net = random_net()

    def made(window, released):
        config = WarmupStageConfig(window=window, released_window=released)
        return WarmupStage(config, net, Lines()).predict(net, batch, levels)

    assert torch.equal(made(3, True), made(2, False))
    assert not torch.allclose(made(3, True), made(3, False))
    config = WarmupStageConfig(window=3, released_window=True)
    assert WarmupStage(config, net, Lines()).stream(batch).window == 3


@pytest.mark.parametrize("wrong", [{"clean_past": 2.0}, {"window": 0}, {"window": 1}])
def test_impossible_warm_ups_are_refused(wrong):
    with pytest.raises(BadInputError, match="is impossible"):
        WarmupStageConfig(**{"released_window": True, **wrong})


@pytest.mark.parametrize("extra", ["context", "text"])
def test_networks_that_are_told_more(extra):
    given = {"context_channels": True} if extra == "context" else {}
    if extra == "text":
        given = {"text": TextConfig(features=12, width=8)}
    config = replace(TINY, **given)
    net = build_world_model(config)
    text = noise(1, 2, 12) if extra == "text" else None
    stage = WarmupStage(WarmupStageConfig(), net, Lines(), text=text)
    batch = Lines().rows(torch.arange(4))
    stage.loss("student", batch, torch.Generator().manual_seed(0))["total"].backward()
    if extra == "text":
        assert net.crossattn_proj[0].weight.grad is None
        with pytest.raises(BadInputError, match="attends to a text"):
            WarmupStage(WarmupStageConfig(), net, Lines()).loss(
                "student", batch, torch.Generator().manual_seed(0)
            )


def test_it_resumes_exactly_and_shows_what_it_does(tmp_path):
    tokenizer = CausalTokenizer(TokenizerConfig(latent_channels=4, widths=(8, 8, 8), blocks=1))
    source = Lines()
    given = {"held_out": source.rows(torch.arange(2)), "tokenizer": tokenizer.eval()}
    straight = train(tiny_stage(**given), loop(sample_every=12), tmp_path / "a")
    calls = iter([False] * 6 + [True])
    stopped = train(tiny_stage(**given), loop(), tmp_path / "b", until=lambda: next(calls))
    assert (stopped.step, stopped.finished) == (7, False)
    resumed = train(tiny_stage(**given), loop(sample_every=12), tmp_path / "b")
    assert straight.exported.read_bytes() == resumed.exported.read_bytes()
    video = tiny_stage(**given).show(random_net())
    assert video.shape == (13, 3, 32, 64)
    assert video.dtype == torch.uint8
    assert [each.name for each in (tmp_path / "a" / "samples").iterdir()] == ["step-0000012.mp4"]
