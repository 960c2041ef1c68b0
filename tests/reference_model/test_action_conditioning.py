"""Actions into chunks: which action reaches which latent frame, and every switch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dojobench.datasets.actions import to_relative
from dojobench.datasets.embodiments import embodiment
from dojobench.datasets.statistics import ActionStatistics
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import (
    StreamDisplacement,
    action_chunks,
    action_encoder,
    displacement,
    opening_slots,
    place_latent_actions,
    spread_over_frames,
)
from dojobench.reference_model.net_config import ActionConfig

WIDTH = 3
PLAIN = ActionConfig(width=WIDTH)


def numbered(count, first=0):
    """Action ``k`` is ``[k, k + 0.1, k + 0.2]``."""
    steps = torch.arange(first, first + count, dtype=torch.float32)[:, None]
    return (steps + torch.tensor([0.0, 0.1, 0.2])).unsqueeze(0)


def test_latent_frame_i_gets_actions_4i_minus_4_to_4i_minus_1():
    chunks = action_chunks(numbered(12), PLAIN, frames=4)
    assert chunks.shape == (1, 3, 12)
    for frame in (1, 2, 3):
        got = chunks[0, frame - 1].view(4, WIDTH)[:, 0].tolist()
        assert got == [4 * frame - 4, 4 * frame - 3, 4 * frame - 2, 4 * frame - 1]


def test_streaming_uses_the_same_absolute_index():
    whole = action_chunks(numbered(12), PLAIN, frames=4)
    for frame in (1, 2, 3):
        step = numbered(4, first=4 * frame - 4)
        part = action_chunks(step, PLAIN, frames=1, first_frame=frame)
        assert torch.equal(part[:, 0], whole[:, frame - 1])


def test_frame_0_alone_takes_no_actions_and_gets_zero():
    chunks = action_chunks(numbered(0), PLAIN, frames=1)
    assert chunks.shape == (1, 0, 12)
    spread = spread_over_frames(torch.ones(1, 0, 5), PLAIN, frames=1)
    assert torch.equal(spread, torch.zeros(1, 1, 5))


def test_spreading_puts_zero_before_the_chunks_only_at_the_start():
    embedded = torch.arange(1.0, 4.0).view(1, 3, 1)
    spread = spread_over_frames(embedded, PLAIN, frames=4)
    assert spread.flatten().tolist() == [0, 1, 2, 3]
    later = spread_over_frames(embedded, PLAIN, frames=3, first_frame=5)
    assert later.flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("actions", "frames", "first"),
    [(numbered(11), 4, 0), (numbered(16), 4, 0), (numbered(3), 1, 2), (numbered(0), 1, 1)],
)
def test_a_wrong_number_of_actions_is_one_sentence(actions, frames, first):
    with pytest.raises(BadInputError, match="pass 4 for each latent frame but the first"):
        action_chunks(actions, PLAIN, frames=frames, first_frame=first)


def test_a_wrong_width_is_one_sentence():
    with pytest.raises(BadInputError, match=r"width 3 were given .* of width 384"):
        action_chunks(numbered(12), ActionConfig(), frames=4)


def test_global_mean_gives_every_frame_the_mean_chunk():
    config = replace(PLAIN, injection="global-mean")
    chunks = action_chunks(numbered(12), config, frames=4)
    assert chunks.shape == (1, 1, 12)
    torch.testing.assert_close(chunks[0, 0], numbered(12).view(3, 12).mean(0))
    spread = spread_over_frames(torch.ones(1, 1, 5), config, frames=4)
    assert torch.equal(spread, torch.ones(1, 4, 5))


def test_global_flat_gives_the_whole_clip_in_a_row():
    config = replace(PLAIN, injection="global-flat")
    assert config.chunk_features == 36
    chunks = action_chunks(numbered(12), config, frames=4)
    assert torch.equal(chunks.flatten(), numbered(12).flatten())
    with pytest.raises(BadInputError, match="made for 3 latent frames with actions"):
        action_chunks(numbered(8), config, frames=3)


def test_global_injection_cannot_stream():
    config = replace(PLAIN, injection="global-mean")
    with pytest.raises(BadInputError, match="cannot stream"):
        action_chunks(numbered(4), config, frames=1, first_frame=2)


def test_displacement_telescopes_to_the_distance_from_the_context_frame():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(2, 13, WIDTH, generator=generator)
    relative = to_relative(targets[:, 1:], targets[:, 0])
    summed, last = displacement(relative, PLAIN)
    torch.testing.assert_close(summed, targets[:, 1:] - targets[:, :1])
    torch.testing.assert_close(last, targets[:, 12] - targets[:, 0])


def test_displacement_can_be_continued():
    actions = torch.randn(1, 12, WIDTH, generator=torch.Generator().manual_seed(0))
    whole, end = displacement(actions, PLAIN)
    first, middle = displacement(actions[:, :4], PLAIN)
    second, last = displacement(actions[:, 4:], PLAIN, middle)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(last, end)


@pytest.mark.parametrize("window", [1, 2, 3, 9])
def test_a_student_is_told_how_far_it_is_from_the_oldest_frame_it_sees(window):
    targets = torch.randn(2, 25, WIDTH, generator=torch.Generator().manual_seed(0))
    actions = to_relative(targets[:, 1:], targets[:, 0])
    summed, _ = displacement(actions, PLAIN, window=window)
    stream = StreamDisplacement(replace(PLAIN, cumulative=True), window)
    for frame in range(1, 7):
        rows = slice(4 * (frame - 1), 4 * frame)
        # Row 4 f of the targets is where latent frame f ends.
        oldest = targets[:, 4 * max(0, frame - window)]
        expected = targets[:, 1:][:, rows] - oldest[:, None]
        torch.testing.assert_close(summed[:, rows], expected, atol=1e-5, rtol=1e-5)
        told, _ = displacement(actions[:, rows], PLAIN, stream.before, window=window)
        torch.testing.assert_close(told, expected, atol=1e-5, rtol=1e-5)
        stream.add(actions[:, rows])
    with pytest.raises(ValueError, match="cannot start from one displacement"):
        displacement(actions, PLAIN, targets[:, 0], window=window)


def test_an_opening_is_told_as_it_is_however_long_the_stream():
    statistics = ActionStatistics(
        name="arm", **{k: np.full(5, v) for k, v in (("minimum", -1.0), ("maximum", 1.0))},
        mean=np.zeros(5), std=np.ones(5),
    )  # fmt: skip
    raw = 2 * torch.rand(1, 48, 5, generator=torch.Generator().manual_seed(0)) - 1
    config = ActionConfig(cumulative=True)
    actions = action_encoder(config, "arm", statistics).encode(raw)
    gripper = embodiment("arm").start + 4
    assert gripper in opening_slots(384)
    for window in (1, 3):
        summed, _ = displacement(actions, config, window=window)
        torch.testing.assert_close(summed[..., gripper], raw[..., 4], atol=1e-5, rtol=1e-5)
        stream = StreamDisplacement(config, window)
        for group in range(12):
            rows = slice(4 * group, 4 * group + 4)
            told, _ = displacement(actions[:, rows], config, stream.before, window=window)
            torch.testing.assert_close(told, summed[:, rows], atol=1e-5, rtol=1e-5)
            stream.add(actions[:, rows])


def test_displacement_of_nothing_is_what_came_before():
    start = torch.ones(2, WIDTH)
    summed, last = displacement(torch.zeros(2, 0, WIDTH), PLAIN, start)
    assert summed.shape == (2, 0, WIDTH)
    assert torch.equal(last, start)


def test_latent_actions_are_no_displacements():
    actions = torch.ones(1, 8, 384)
    summed, last = displacement(actions, ActionConfig())
    assert summed[..., 352:].abs().sum() == 0
    assert last[..., 352:].abs().sum() == 0
    assert summed[0, -1, 0] == 2


def test_the_cumulative_feature_stands_beside_each_action():
    config = replace(PLAIN, cumulative=True)
    actions = numbered(8)
    chunks = action_chunks(actions, config, frames=3)
    assert chunks.shape == (1, 2, config.chunk_features)
    summed, _ = displacement(actions, config)
    rows = chunks.view(1, 8, 2 * WIDTH)
    assert torch.equal(rows[..., :WIDTH], actions)
    assert torch.equal(rows[..., WIDTH:], summed)


def test_the_cumulative_feature_needs_relative_actions():
    with pytest.raises(BadInputError, match="'cumulative' sums relative actions"):
        ActionConfig(cumulative=True, relative=False)


def test_latent_actions_go_to_the_last_32_slots():
    latents = torch.ones(1, 4, 32)
    placed = place_latent_actions(latents)
    assert placed[..., 352:].min() == 1
    assert placed[..., :352].abs().max() == 0
    robot = torch.full((1, 4, 384), 7.0)
    joined = place_latent_actions(latents, robot)
    assert joined[..., 352:].max() == 1
    assert joined[..., :352].min() == 7
    with pytest.raises(BadInputError, match="32"):
        place_latent_actions(torch.ones(1, 4, 31))


def test_the_encoder_follows_the_switch_for_relative_actions():
    bounds = np.array([[-1.0], [1.0]]).repeat(29, axis=1)
    statistics = ActionStatistics(
        name="made", minimum=bounds[0], maximum=bounds[1], mean=0 * bounds[1], std=bounds[1]
    )
    actions = torch.rand(13, 29, generator=torch.Generator().manual_seed(0))
    relative = action_encoder(ActionConfig(), "gr1", statistics).encode(actions[1:], actions[0])
    absolute = action_encoder(ActionConfig(relative=False), "gr1", statistics).encode(actions[1:])
    assert relative.shape == absolute.shape == (12, 384)
    torch.testing.assert_close(absolute[:, :29], actions[1:])
    torch.testing.assert_close(relative[:4, :29], actions[1:5] - actions[0])
    torch.testing.assert_close(relative[4:8, :29], actions[5:9] - actions[4])
