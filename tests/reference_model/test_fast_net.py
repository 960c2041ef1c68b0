"""The fast pass is the network's own, whatever is switched on; so are chunks and streams."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.fast_net import FastNet
from dojobench.reference_model.fast_sampling import FastStream, sample_chunk
from dojobench.reference_model.generation import SamplerConfig, sample
from dojobench.reference_model.net_config import ActionConfig, TextConfig, WorldModelConfig
from dojobench.reference_model.streaming import LatentStream, StreamConfig

PLAIN = WorldModelConfig(
    width=48,
    blocks=3,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    actions=ActionConfig(width=6, hidden=16),
)
CASES = {
    "plain": PLAIN,
    "nano": replace(
        PLAIN,
        qk_norm=False,
        timestep_scale=1000.0,
        given_time="zero",
        actions=ActionConfig(width=6, cumulative=True),
    ),
    "published": replace(PLAIN, text=TextConfig(features=12, width=8), padding_mask=True),
    "context channels": replace(PLAIN, context_channels=True),
    "patch 1": replace(PLAIN, patch=1),
    "no float32": replace(PLAIN, float32_modulation=False),
    "masked actions": replace(PLAIN, actions=ActionConfig(width=6, mask_by_condition=True)),
}
TEACHERS = {
    **CASES,
    "noised context": replace(PLAIN, context_channels=True, clean_context=False),
    "global mean": replace(PLAIN, actions=ActionConfig(width=6, injection="global-mean")),
    "global flat": replace(PLAIN, actions=ActionConfig(width=6, injection="global-flat")),
}
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def network(config):
    net = build_world_model(config, seed=3)
    generator = torch.Generator().manual_seed(4)
    for value in net.parameters():
        if value.dim() > 1 and not bool(value.abs().max() > 0):
            value.data = 0.2 * torch.randn(value.shape, generator=generator)
        elif value.dim() == 1:
            value.data = value.data + 0.2 * torch.randn(value.shape, generator=generator)
    return net.eval()


def inputs(config, context=1, batch=2, frames=4):
    generator = torch.Generator().manual_seed(5)
    channels = config.latent_channels
    known = torch.randn(batch, channels, context, 4, 6, generator=generator)
    actions = torch.randn(batch, 4 * (frames - 1), 6, generator=generator)
    new = frames - (context if config.clean_context else 0)
    noise = torch.randn(batch, channels, new, 4, 6, generator=generator)
    text = None
    if config.text is not None:
        text = torch.randn(batch, 5, config.text.features, generator=generator)
    return known, actions, noise, text


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize("name", TEACHERS)
def test_a_chunk_is_the_plain_one(name, solver):
    net = network(TEACHERS[name])
    known, actions, noise, text = inputs(net.config)
    config = SamplerConfig(solver=solver, steps=4, released_times=solver == "unipc")
    with torch.no_grad():
        told = {} if text is None else {"text": net.encode_text(text)}
        plain = sample(net, known, actions, config=config, noise=noise, **told)
        fast = sample_chunk(FastNet(net), known, actions, config=config, noise=noise, **told)
    assert fast.shape == plain.shape
    torch.testing.assert_close(fast, plain, **TOLERANCE)


def test_a_chunk_of_two_given_frames():
    net = network(CASES["nano"])
    known, actions, noise, _ = inputs(net.config, context=2)
    config = SamplerConfig(steps=3)
    with torch.no_grad():
        plain = sample(net, known, actions, config=config, noise=noise)
        fast = sample_chunk(FastNet(net), known, actions, config=config, noise=noise)
    torch.testing.assert_close(fast, plain, **TOLERANCE)


@pytest.mark.parametrize("renoise", ["same", "fresh"])
@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_the_plain_one_past_its_window(name, renoise):
    net = network(CASES[name])
    known, _, _, text = inputs(net.config, context=2)
    config = StreamConfig(window=2, times=(1.0, 0.8, 0.3), renoise=renoise)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        told = {} if text is None else {"text": net.encode_text(text)}
        plain = LatentStream(net, known, config=config, **told)
        fast = FastStream(FastNet(net), known, config=config, **told)
        for _ in range(6):
            actions = torch.randn(2, 4, 6, generator=generator)
            noise = torch.randn(config.draws, 2, 4, 1, 4, 6, generator=generator)
            proposed = fast.propose(actions, noise)
            expected = plain.step(actions, noise=noise)
            torch.testing.assert_close(fast.step(actions, noise), expected, **TOLERANCE)
            torch.testing.assert_close(proposed, expected, **TOLERANCE)


@pytest.mark.parametrize("proposed", [False, True], ids=["stepped", "proposed first"])
def test_a_frame_takes_no_pass_of_its_own_to_fill_the_cache(proposed, monkeypatch):
    """The first pass of the next frame does it, once, and where a frame is only proposed too."""
    seen = []
    plain_pass = FastNet._pass

    def counted(self, x, *given, **named):
        seen.append(x.shape[1])
        return plain_pass(self, x, *given, **named)

    monkeypatch.setattr(FastNet, "_pass", counted)
    net = network(CASES["nano"])
    known, actions, noise, _ = inputs(net.config)
    config = StreamConfig(window=2, times=(1.0, 0.8, 0.3))
    with torch.no_grad():
        stream = FastStream(FastNet(net), known, config=config)
        for _ in range(2):
            stream.step(actions[:, :4], noise[None, :, :, :1])
        assert stream.cache.frames == 2
        seen.clear()
        if proposed:
            stream.propose(actions[:, :4], noise[None, :, :, :1])
            assert seen == [2, 1, 1]
            assert stream.cache.frames == 3
            seen.clear()
        stream.step(actions[:, 4:8], noise[None, :, :, :1])
    assert seen == ([1, 1, 1] if proposed else [2, 1, 1])


def test_positions_go_on_beyond_a_table():
    """Tables of positions are made for many frames at a time; a border must not show."""
    net = network(CASES["nano"])
    fast = FastNet(net)
    with torch.no_grad():
        for first in (0, 62, 63, 64, 200):
            for frames in (1, 4):
                cosine, sine = fast.planner._positions(frames, 4, 6, first)
                expected = net.pos_embedder(frames, 2, 3, first_frame=first)
                assert torch.equal(cosine.squeeze(1), expected.cosine)
                assert torch.equal(sine.squeeze(1).abs(), expected.sine.abs())


def test_an_owned_network_shares_its_weights_and_stays_what_it_was():
    net = network(CASES["published"])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    lent = FastNet(net)
    assert all(value.requires_grad for value in net.parameters())
    fast = FastNet(net, owned=True)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    shared = net.blocks[1].self_attn.k_proj.weight
    assert shared.untyped_storage().data_ptr() == fast._qkv[1].untyped_storage().data_ptr()
    assert lent._qkv[1].data_ptr() != fast._qkv[1].data_ptr()


def test_guidance_is_refused():
    net = network(PLAIN)
    known, actions, noise, _ = inputs(PLAIN)
    with pytest.raises(BadInputError, match="guidance is 2"):
        sample_chunk(FastNet(net), known, actions, config=SamplerConfig(guidance=2.0), noise=noise)


def test_its_weights_go_with_it():
    net = network(PLAIN)
    gc.disable()
    try:
        seen = weakref.ref(fast := FastNet(net))
        del fast
        assert seen() is None
    finally:
        gc.enable()
