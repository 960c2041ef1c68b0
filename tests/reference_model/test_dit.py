"""The network against diffusers' Cosmos transformer, and what streaming and training rely on."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import distributed
from torch._dynamo.testing import CompileCounter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import StreamDisplacement
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.net_config import (
    PRESETS,
    ActionConfig,
    TextConfig,
    WorldModelConfig,
    config_from_dict,
    preset,
)
from dojobench.reference_model.rope import RopeConfig

TINY = WorldModelConfig(
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    actions=ActionConfig(width=5, hidden=16, cumulative=True),
)
RENAMED = {
    "x_embedder.proj.1": "patch_embed.proj",
    "t_embedder.1": "time_embed.t_embedder",
    "t_embedding_norm": "time_embed.norm",
    "final_layer.linear": "proj_out",
    "final_layer.adaln_modulation.1": "norm_out.linear_1",
    "final_layer.adaln_modulation.2": "norm_out.linear_2",
    "blocks": "transformer_blocks",
    "adaln_modulation_self_attn.1": "norm1.linear_1",
    "adaln_modulation_self_attn.2": "norm1.linear_2",
    "adaln_modulation_cross_attn.1": "norm2.linear_1",
    "adaln_modulation_cross_attn.2": "norm2.linear_2",
    "adaln_modulation_mlp.1": "norm3.linear_1",
    "adaln_modulation_mlp.2": "norm3.linear_2",
    "self_attn": "attn1",
    "cross_attn": "attn2",
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "output_proj": "to_out.0",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
    "mlp.layer1": "ff.net.0.proj",
    "mlp.layer2": "ff.net.2",
}


def random_net(config, seed=0):
    """A network in which every path carries signal, the gates too."""
    net = build_world_model(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(config, batch=2, frames=4, size=4):
    latents = noise(batch, config.latent_channels, frames, size, size)
    actions = noise(batch, 4 * (frames - 1), config.actions.width, seed=1)
    return latents, torch.rand(batch, frames, generator=torch.Generator().manual_seed(2)), actions


def test_the_network_equals_the_cosmos_transformer_of_diffusers():
    cosmos = pytest.importorskip(
        "diffusers.models.transformers.transformer_cosmos", reason="diffusers is not installed"
    )
    config = replace(
        TINY,
        text=TextConfig(features=24, width=16),
        padding_mask=True,
        rope=RopeConfig(stretch=(1.0, 3.0, 2.0)),
    )
    ours = random_net(config)
    theirs = cosmos.CosmosTransformer3DModel(
        in_channels=5,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        text_embed_dim=16,
        adaln_lora_dim=8,
        rope_scale=(1.0, 3.0, 2.0),
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=24,
        encoder_hidden_states_channels=16,
    )
    weights = {}
    for name, value in ours.state_dict().items():
        if not name.startswith("action_embedder"):
            for old, new in RENAMED.items():
                name = name.replace(old, new)
            weights[name] = value
    theirs.load_state_dict(weights)
    latents, times, _ = inputs(config, size=6)
    text, mask = noise(2, 7, 24, seed=3), torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    padding = torch.zeros(2, 6, 6)
    padding[:, :, 5] = 1
    with torch.no_grad():
        got = ours(latents, times, text=text, condition_mask=mask, padding=padding)
        expected = theirs(
            hidden_states=latents,
            timestep=times[:, None, :, None, None],
            encoder_hidden_states=text,
            condition_mask=mask[:, None, :, None, None].expand(2, 1, 4, 6, 6),
            padding_mask=padding[:1, None],
            fps=24,
            return_dict=False,
        )[0]
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [1, 2, None])
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_causal_pass_equals_frame_by_frame_from_the_cache(window, backend):
    net = random_net(TINY)
    net.backend_choice = backend
    latents, times, actions = inputs(TINY, frames=6)
    with torch.no_grad():
        whole = net(latents, times, actions, causal=True, window=window)
        cache = net.new_cache(batch=2, height=4, width=4, window=window or 5)
        moved = StreamDisplacement(TINY.actions, window or 5)
        for frame in range(6):
            step = actions[:, 4 * max(frame - 1, 0) : 4 * frame]
            at = slice(frame, frame + 1)
            arguments = {"first_frame": frame, "displacement": moved.before, "cache": cache}
            net(noise(2, 4, 1, 4, 4, seed=9), times[:, at], step, **arguments)  # a noisier pass
            got = net(latents[:, :, at], times[:, at], step, **arguments)
            moved.add(step)
            cache.commit()
            torch.testing.assert_close(got, whole[:, :, at], atol=1e-4, rtol=1e-4)


def test_a_causal_pass_does_not_see_the_future_and_a_full_one_does():
    net = random_net(TINY)
    latents, times, actions = inputs(TINY)
    changed = latents.clone()
    changed[:, :, 3] += 1
    with torch.no_grad():
        causal = [net(x, times, actions, causal=True)[:, :, :3] for x in (latents, changed)]
        full = [net(x, times, actions)[:, :, :3] for x in (latents, changed)]
    assert torch.equal(*causal)
    assert not torch.allclose(*full, atol=1e-3)


def test_an_action_reaches_its_own_latent_frame_and_no_earlier_one():
    net = random_net(TINY)
    latents, times, actions = inputs(TINY)
    for index in range(12):
        changed = actions.clone()
        changed[:, index] += 1
        with torch.no_grad():
            before = net(latents, times, actions, causal=True, window=0)
            after = net(latents, times, changed, causal=True, window=0)
        first_reached = index // 4 + 1
        unequal = (before - after).abs().amax(dim=(0, 1, 3, 4)) > 1e-4
        assert unequal.nonzero()[0].item() == first_reached
    # Without the cumulative feature an action reaches its own frame alone.
    net = random_net(replace(TINY, actions=replace(TINY.actions, cumulative=False)))
    changed = actions.clone()
    changed[:, 5] += 1
    with torch.no_grad():
        outputs = [net(latents, times, a, causal=True, window=0) for a in (actions, changed)]
    reached = (outputs[0] - outputs[1]).abs().amax(dim=(0, 1, 3, 4)) > 1e-4
    assert reached.tolist() == [False, False, True, False]


def test_a_sample_does_not_depend_on_its_batch():
    net = random_net(TINY)
    latents, times, actions = inputs(TINY, batch=3)
    with torch.no_grad():
        together = net(latents, times, actions)
        alone = net(latents[1:2], times[1:2], actions[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_one_time_per_sample_is_that_time_for_every_frame():
    net = random_net(TINY)
    latents, _, actions = inputs(TINY)
    shared = torch.tensor([0.2, 0.7])
    with torch.no_grad():
        one = net(latents, shared, actions)
        each = net(latents, shared[:, None].expand(2, 4), actions)
    torch.testing.assert_close(one, each)


def test_no_actions_equal_no_embedding():
    config = replace(TINY, actions=replace(TINY.actions, zero_init=True))
    net = build_world_model(config)
    latents, times, actions = inputs(config)
    with torch.no_grad():
        torch.testing.assert_close(net(latents, times, actions), net(latents, times))


def test_masking_by_condition_silences_the_actions_of_given_frames():
    config = replace(TINY, actions=replace(TINY.actions, mask_by_condition=True))
    latents, times, actions = inputs(config)
    everywhere = torch.ones(2, 4)
    for settings, silent in ((config, True), (TINY, False)):
        net = random_net(settings)
        with torch.no_grad():
            with_actions = net(latents, times, actions, condition_mask=everywhere)
            without = net(latents, times, condition_mask=everywhere)
        assert torch.allclose(with_actions, without, atol=1e-5) is silent


def test_the_closed_gates_start_as_zero_velocity_and_still_learn():
    net = build_world_model(replace(TINY, zero_init_gates=True))
    latents, times, actions = inputs(TINY)
    assert net(latents, times, actions).abs().max() == 0
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        optimiser.zero_grad()
        (net(latents, times, actions) - latents).square().mean().backward()
        optimiser.step()
    reached = {name for name, p in net.named_parameters() if p.grad.abs().sum() > 0}
    assert reached == {name for name, _ in net.named_parameters()}


def test_context_channels_are_seen_and_needed():
    config = replace(TINY, context_channels=True)
    net = random_net(config)
    latents, times, actions = inputs(config)
    context = noise(2, 4, 4, 4, seed=5)
    with torch.no_grad():
        one = net(latents, times, actions, context=context)
        same = net(latents, times, actions, context=context[:, :, None].expand(2, 4, 4, 4, 4))
        other = net(latents, times, actions, context=-context)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)
    with pytest.raises(BadInputError, match="pass the latents of the context frame"):
        net(latents, times, actions)


def test_recomputing_blocks_changes_no_gradient():
    gradients = []
    for recompute in (False, True):
        net = random_net(TINY)
        net.recompute = recompute
        net(*inputs(TINY)).square().mean().backward()
        gradients.append([p.grad for p in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("exact", [True, False])
def test_bfloat16_stays_near_float32(exact):
    net = random_net(replace(TINY, float32_modulation=exact))
    arguments = inputs(TINY)
    with torch.no_grad():
        expected = net(*arguments)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = net(*arguments)
        weights = net.bfloat16()(*arguments)
    scale = expected.abs().mean()
    assert (autocast.float() - expected).abs().mean() < 0.05 * scale
    assert (weights.float() - expected).abs().mean() < 0.1 * scale


def test_resetting_the_first_action_layer_changes_nothing_else():
    net = random_net(TINY)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.reset_actions()
    changed = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {
        f"action_embedder_{which}.fc1.{part}"
        for which in ("B_D", "B_3D")
        for part in ("weight", "bias")
    }
    net.reset_actions(first_layer_only=False)
    changed = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    assert "action_embedder_B_3D.fc2.weight" in changed


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = build_world_model(TINY, seed=3).state_dict()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    two = build_world_model(TINY, seed=3).state_dict()
    other = build_world_model(TINY, seed=4).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["final_layer.linear.weight"], other["final_layer.linear.weight"])
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 4, 4, 4), r"takes latents \[batch, 4, time, height, width\]"),
        ((2, 4, 4, 4), r"takes latents \[batch, 4"),
        ((2, 4, 4, 5, 4), "cannot be cut into 2x2 patches"),
    ],
)
def test_latents_of_the_wrong_shape_are_one_sentence(shape, message):
    net = build_world_model(TINY)
    with pytest.raises(BadInputError, match=message):
        net(torch.zeros(shape), torch.zeros(2))


def test_text_is_needed_just_where_it_is_used():
    plain, reading = (
        build_world_model(TINY),
        build_world_model(replace(TINY, text=TextConfig(features=24, width=16))),
    )
    latents, times, actions = inputs(TINY)
    with pytest.raises(BadInputError, match="has no cross-attention"):
        plain(latents, times, actions, text=torch.zeros(2, 3, 24))
    with pytest.raises(BadInputError, match="attends to a text"):
        reading(latents, times, actions)
    with pytest.raises(BadInputError, match=r"23 wide, but .* takes 24"):
        reading(latents, times, actions, text=torch.zeros(2, 3, 23))
    with torch.no_grad():
        stored = reading.encode_text(noise(2, 3, 24))
        once = reading(latents, times, actions, text=stored)
        each_time = reading(latents, times, actions, text=noise(2, 3, 24))
    torch.testing.assert_close(once, each_time)


def test_a_cache_takes_the_next_frame_alone():
    net = build_world_model(TINY)
    cache = net.new_cache(batch=2, height=4, width=4, window=2)
    latents, times, actions = inputs(TINY)
    with pytest.raises(ValueError, match="takes frame 0 alone"):
        net(latents, times, actions, cache=cache)


def test_configurations_survive_json_and_name_what_they_do_not_know():
    for config in PRESETS.values():
        plain = json.loads(json.dumps(asdict(config)))
        assert config_from_dict(plain, "a file") == config
    values = asdict(TINY)
    values["actions"]["cumulativ"] = True
    with pytest.raises(BadInputError, match=r"'cumulativ'.*'cumulative'"):
        config_from_dict(values, "a file")
    with pytest.raises(BadInputError, match="no size '3b'; the sizes are: nano, small, 2b, 14b"):
        preset("3b")
    with pytest.raises(BadInputError, match="no multiple of its 5 heads"):
        replace(TINY, heads=5)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("cached", [False, True])
def test_a_block_compiles_without_breaks(cached):
    net = random_net(replace(TINY, text=TextConfig(features=24, width=16)))
    latents, times, actions = inputs(TINY)
    text = noise(2, 3, 24)
    arguments = (latents, times, actions)
    cache = net.new_cache(batch=2, height=4, width=4, window=2) if cached else None
    if cached:
        arguments = (latents[:, :, :1], times[:, :1], actions[:, :0])
    with torch.no_grad():
        stored = net.encode_text(text)
        expected = net(*arguments, text=stored, cache=cache)
        for index, block in enumerate(net.blocks):
            net.blocks[index] = torch.compile(block, fullgraph=True, backend="eager")
        got = net(*arguments, text=stored, cache=cache)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_stream_compiles_once_when_its_window_is_full():
    counter = CompileCounter()
    net = random_net(TINY)
    for index, block in enumerate(net.blocks):
        net.blocks[index] = torch.compile(block, fullgraph=True, backend=counter)
    cache = net.new_cache(batch=1, height=4, width=4, window=2)
    compiled = []
    with torch.no_grad():
        for frame in range(9):
            actions = noise(1, 4 * min(frame, 1), 5)
            net(noise(1, 4, 1, 4, 4), torch.zeros(1), actions, cache=cache, first_frame=frame)
            cache.commit()
            compiled.append(counter.frame_count)
    assert compiled[3:] == compiled[3:4] * 6


@pytest.fixture
def one_process():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("recompute", [False, True])
def test_sharding_changes_neither_loss_nor_gradient(one_process, recompute):
    """FSDP2 block by block, as training on a cluster shards it."""
    config = replace(TINY, text=TextConfig(features=24, width=16))
    text = noise(2, 3, 24)
    found = []
    for sharded in (False, True):
        net = random_net(config)
        net.recompute = recompute
        if sharded:
            for part in (*net.blocks, net):
                fully_shard(part, mesh=one_process)
        loss = net(*inputs(config), text=text).square().mean()
        loss.backward()
        gradients = [p.grad.full_tensor() if sharded else p.grad for p in net.parameters()]
        found.append((loss, gradients))
    torch.testing.assert_close(found[0], found[1])
