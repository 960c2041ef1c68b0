"""Rotary positions against diffusers, and what makes streaming possible: absolute time."""

import pytest
import torch

from dojobench.reference_model.rope import Rope3D, RopeConfig, frequencies, rotate, split_head


@pytest.mark.parametrize(
    ("head", "parts"), [(128, (44, 42, 42)), (64, (24, 20, 20)), (16, (8, 4, 4))]
)
def test_a_head_is_split_as_published(head, parts):
    assert split_head(head) == parts


@pytest.mark.parametrize("head", [10, 65])
def test_heads_that_cannot_be_split_are_refused(head):
    with pytest.raises(ValueError, match="even number of dimensions"):
        split_head(head)


def test_frequencies_in_closed_form():
    rates = frequencies(4, theta=100.0, stretch=3.0)
    base = 100.0 * 3.0 ** (4 / 2)
    torch.testing.assert_close(rates, torch.tensor([1.0, base**-0.5]))


@pytest.mark.parametrize("head_dim", [64, 128])
def test_tables_equal_those_of_diffusers(head_dim):
    cosmos = pytest.importorskip(
        "diffusers.models.transformers.transformer_cosmos", reason="diffusers is not installed"
    )
    stretch = (1.5, 3.0, 2.0)
    theirs = cosmos.CosmosRotaryPosEmbed(hidden_size=head_dim, rope_scale=stretch)
    cosine, sine = theirs(torch.zeros(1, 16, 4, 6, 10))
    ours = Rope3D(head_dim, RopeConfig(stretch=stretch))(4, 3, 5)
    torch.testing.assert_close(ours.cosine[:, 0], cosine)
    torch.testing.assert_close(ours.sine[:, 0], sine)


def test_a_later_start_is_a_slice_of_the_whole():
    rope = Rope3D(32, RopeConfig())
    whole, part = rope(9, 2, 3), rope(2, 2, 3, first_frame=7)
    assert torch.equal(whole.cosine[-12:], part.cosine)
    assert torch.equal(whole.sine[-12:], part.sine)


def test_scores_depend_on_the_distance_in_time_alone():
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 2, 32, generator=generator) for _ in range(2))
    rope = Rope3D(32, RopeConfig())

    def score(query_frame, key_frame):
        turned_q = rotate(q, rope(1, 1, 1, first_frame=query_frame))
        turned_k = rotate(k, rope(1, 1, 1, first_frame=key_frame))
        return (turned_q * turned_k).sum(-1)

    torch.testing.assert_close(score(5, 3), score(105, 103), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(score(5, 3), score(5, 1), atol=1e-2)


def test_rotation_keeps_lengths_and_the_number_format():
    x = torch.randn(2, 12, 3, 32).bfloat16()
    turned = rotate(x, Rope3D(32, RopeConfig())(2, 2, 3))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(
        turned.float().norm(dim=-1), x.float().norm(dim=-1), rtol=2e-2, atol=0
    )


def test_tables_made_while_inferring_serve_training():
    rope = Rope3D(32, RopeConfig())
    with torch.inference_mode():
        rope(1, 2, 2)
    x = torch.randn(1, 4, 1, 32, requires_grad=True)
    rotate(x, rope(1, 2, 2)).sum().backward()
    assert x.grad is not None


def test_old_tables_are_let_go():
    rope = Rope3D(32, RopeConfig())
    for index in range(200):
        rope(1, 1, 1, first_frame=index)
    assert len(rope._tables) <= 64
