"""All attention backends against a softmax written out, and the choice among them."""

import math

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.attention import (
    BlockCausal,
    attention,
    available_backends,
    resolve_backend,
)
from dojobench.reference_model.kv_cache import KVCache

TOKENS = 6
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def plain(q, k, v, allowed):
    """Softmax attention in float64 with an explicit table of who sees whom."""
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~allowed, -math.inf).softmax(dim=-1)
    return (weights @ v).transpose(1, 2)


def sees(query_frames, key_frames, window):
    queries = torch.arange(key_frames - query_frames, key_frames).repeat_interleave(TOKENS)
    keys = torch.arange(key_frames).repeat_interleave(TOKENS)
    age = queries[:, None] - keys[None]
    return (age >= 0) & (age <= (key_frames if window is None else window))


@pytest.fixture
def qkv():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4 * TOKENS, 3, 16, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize("window", [None, 0, 1, 2, 9])
@pytest.mark.parametrize("query_frames", [1, 2, 4])
def test_block_causal_equals_a_masked_softmax(qkv, backend, window, query_frames):
    q, k, v = qkv
    q = q[:, -query_frames * TOKENS :]
    spec = BlockCausal(tokens_per_frame=TOKENS, window=window)
    got = attention(q, k, v, mask_spec=spec, backend=backend)
    expected = plain(q, k, v, sees(query_frames, 4, window))
    torch.testing.assert_close(got.double(), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_full_attention_equals_a_softmax_with_keys_of_another_number(qkv, backend):
    q, k, v = qkv
    got = attention(q, k[:, :7], v[:, :7], backend=backend)
    expected = plain(q, k[:, :7], v[:, :7], torch.ones(q.shape[1], 7, dtype=torch.bool))
    torch.testing.assert_close(got.double(), expected, atol=2e-6, rtol=1e-5)


def test_gradients_equal_those_of_a_masked_softmax(qkv):
    spec = BlockCausal(tokens_per_frame=TOKENS, window=1)
    ours = [x.clone().requires_grad_() for x in qkv]
    attention(*ours, mask_spec=spec).square().sum().backward()
    theirs = [x.clone().requires_grad_() for x in qkv]
    plain(*theirs, sees(4, 4, 1)).square().sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_flex_says_that_it_cannot_train_on_the_cpu(qkv):
    q, k, v = qkv
    with pytest.raises(BadInputError, match="no gradients on the CPU; train there with 'sdpa'"):
        attention(q.requires_grad_(), k, v, backend="flex")


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 1])
def test_gpu_backends_equal_a_masked_softmax(qkv, window):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    spec = BlockCausal(tokens_per_frame=TOKENS, window=window)
    q, k, v = (x.cuda().bfloat16() for x in qkv)
    expected = plain(q.cpu(), k.cpu(), v.cpu(), sees(4, 4, window))
    for backend in available_backends("cuda"):
        got = attention(q, k, v, mask_spec=spec, backend=backend)
        torch.testing.assert_close(got.cpu().double(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(("queries", "keys"), [(TOKENS + 1, 12), (12, 13), (12, 6)])
def test_parts_of_frames_and_missing_keys_are_refused(queries, keys):
    q, k = torch.zeros(1, queries, 1, 8), torch.zeros(1, keys, 1, 8)
    with pytest.raises(ValueError, match="whole frames of 6 tokens"):
        attention(q, k, k, mask_spec=BlockCausal(tokens_per_frame=TOKENS))


@pytest.mark.parametrize(
    "settings", [{"tokens_per_frame": 0}, {"tokens_per_frame": 1, "window": -1}]
)
def test_impossible_patterns_are_refused(settings):
    with pytest.raises(ValueError, match="at least"):
        BlockCausal(**settings)


@pytest.mark.parametrize(("installed", "chosen"), [(True, "flash-attn"), (False, "sdpa")])
def test_the_backend_is_chosen_by_what_is_installed(monkeypatch, installed, chosen):
    monkeypatch.setattr("dojobench.reference_model.attention.flash_is_installed", lambda: installed)
    assert resolve_backend("auto", "cpu") == "sdpa"
    assert resolve_backend("auto", "cuda", torch.bfloat16) == chosen
    assert resolve_backend("auto", "cuda", torch.float32) == "sdpa"
    assert resolve_backend("flex", "cuda") == "flex"


def test_a_backend_that_cannot_run_is_refused_in_one_sentence():
    with pytest.raises(BadInputError, match="'flash-attn' does not run on cpu in bfloat16 here"):
        resolve_backend("flash-attn", "cpu")
    with pytest.raises(BadInputError, match="on cuda in float32 here; use one of: sdpa, flex"):
        resolve_backend("flash-attn", "cuda", torch.float32)
    with pytest.raises(BadInputError, match="no attention backend 'xformers'"):
        resolve_backend("xformers", "cpu")


def make_cache(window=2):
    return KVCache(blocks=1, batch=1, tokens_per_frame=2, heads=1, head_dim=1, window=window)


def frame(value):
    return torch.full((1, 2, 1, 1), float(value))


def test_the_cache_holds_the_last_frames_and_the_current_one():
    cache = make_cache(window=2)
    for index in range(7):
        cache.blocks[0].extend(frame(-1), frame(-1))  # An earlier denoising pass leaves no trace.
        keys, values = cache.blocks[0].extend(frame(index), frame(10 * index))
        seen = sorted(set(keys.flatten().tolist()))
        assert seen == [float(i) for i in range(max(0, index - 2), index + 1)]
        assert sorted(set(values.flatten().tolist())) == [10 * i for i in seen]
        cache.commit()
    cache.reset()
    keys, _ = cache.blocks[0].extend(frame(7), frame(7))
    assert keys.shape[1] == 2


def test_gradients_flow_through_the_current_frame_alone_and_survive_the_ring_moving_on():
    cache = make_cache(window=1)
    weights = torch.ones(3, requires_grad=True)
    joined = []
    for index in range(3):
        keys, _ = cache.blocks[0].extend(frame(2) * weights[index], frame(1))
        joined.append(keys.sum())
        cache.commit()
    sum(joined).backward()
    assert weights.grad.tolist() == [4.0, 4.0, 4.0]


def test_the_cache_takes_one_frame_of_its_batch():
    with pytest.raises(ValueError, match="one frame of 2 tokens for 1"):
        make_cache().blocks[0].extend(torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1))
    with pytest.raises(ValueError, match="at least 1 frame"):
        make_cache(window=0)
