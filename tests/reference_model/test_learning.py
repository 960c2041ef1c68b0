"""The whole loop in miniature: learn two clips that differ in their actions, then sample them."""

from dataclasses import replace

import torch

from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.flops import Shape, cost
from dojobench.reference_model.flow_matching import FlowMatchingConfig, flow_matching_loss
from dojobench.reference_model.generation import SamplerConfig, sample
from dojobench.reference_model.net_config import (
    ActionConfig,
    TextConfig,
    WorldModelConfig,
    preset,
)
from dojobench.reference_model.streaming import LatentStream, StreamConfig

SMALL = WorldModelConfig(
    width=48,
    blocks=2,
    heads=2,
    adaln_rank=16,
    latent_channels=4,
    timestep_scale=1000.0,
    zero_init_gates=True,
    given_time="zero",
    shift=3.0,
    qk_norm=False,
    actions=ActionConfig(width=3, hidden=48, cumulative=True),
)


def test_actions_decide_what_is_sampled():
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(1, 4, 1, 4, 4, generator=generator)
    futures = torch.randn(2, 4, 3, 4, 4, generator=generator)
    clips = torch.cat([context.expand(2, -1, -1, -1, -1), futures], dim=2)
    actions = torch.randn(2, 12, 3, generator=generator)
    net = build_world_model(SMALL)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    objective = FlowMatchingConfig.for_net(SMALL)
    losses = []
    for _ in range(220):
        # Block-causal, so that one network can be sampled both ways.
        loss = flow_matching_loss(
            net,
            clips.repeat(4, 1, 1, 1, 1),
            actions.repeat(4, 1, 1),
            config=objective,
            generator=generator,
            causal=True,
        )
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(loss.flow.item())
    assert sum(losses[-10:]) < 0.25 * sum(losses[:10])
    config = replace(SamplerConfig.for_net(SMALL), steps=8)
    with torch.no_grad():
        made = sample(
            net, clips[:, :, :1], actions, config=config, generator=generator, causal=True
        )[:, :, 1:]
        stream = LatentStream(
            net,
            clips[:, :, :1],
            config=StreamConfig.with_steps(8, 3.0, window=3),
            generator=generator,
        )
        streamed = torch.cat([stream.step(actions[:, 4 * i : 4 * i + 4]) for i in range(3)], dim=2)
    for latents in (made, streamed):
        distance = (latents[:, None] - futures[None]).square().flatten(2).mean(dim=2)
        assert distance.argmin(dim=1).tolist() == [0, 1]
        assert distance.diagonal().max() < 0.5 * distance[0, 1]


def test_operations_in_closed_form():
    config = preset("2b")
    tokens, width, blocks, text = 4800, 2048, 28, 512
    projections = tokens * width * (4 * width + 2 * width + 8 * width)  # self, cross, feed-forward
    attention = 2 * tokens * width * (tokens + text)
    # One time for all frames, but four sets of actions: each frame has its own modulation.
    modulation = 4 * 3 * (256 * width + 256 * 3 * width)
    block = projections + attention + modulation
    ends = tokens * width * (72 + 64) + 4 * (256 * width + 256 * 2 * width)
    time = width * width + 3 * width * width
    actions = 3 * (2 * 1536 * 4 * width + 4 * width * (width + 3 * width))
    expected = 2 * (blocks * block + ends + time + actions)
    found = cost(config, Shape())
    assert found.teacher_pass == expected
    encoding = text * (100352 * 1024 + blocks * 2 * 1024 * width)
    assert found.text == 2 * encoding
    assert round(found.parameters / 1e9, 2) == 2.15


def test_the_student_pays_for_one_frame_and_sees_four():
    wide = cost(preset("nano"), Shape(rows=8, columns=8, window=3))
    narrow = cost(preset("nano"), Shape(rows=8, columns=8, window=1))
    fewer_keys = 6 * 2 * 2 * 16 * 192 * (4 - 2) * 16
    assert wide.student_pass - narrow.student_pass == fewer_keys
    assert wide.teacher_per_frame / wide.student_per_frame > 9
    assert cost(WorldModelConfig(width=24, blocks=1, heads=1), Shape()).text == 0
    texted = WorldModelConfig(width=24, blocks=1, heads=1, text=TextConfig(features=8, width=4))
    assert cost(texted, Shape()).text > 0
