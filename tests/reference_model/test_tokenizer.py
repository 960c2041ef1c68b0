"""Our tokenizer: streams equal whole clips, nothing is done twice, bad input gets a sentence."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TOKENIZERS, TokenizerConfig
from dojobench.reference_model.video_tokenizer import latent_frames, to_uint8, to_unit

TINY = TokenizerConfig(widths=(6, 8), blocks=1, latent_channels=3)


def _perturbed(config: TokenizerConfig, seed: int = 0) -> CausalTokenizer:
    """A tokenizer whose every weight counts; zero-initialised layers would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    tokenizer = CausalTokenizer(config).double().eval()
    with torch.no_grad():
        for weight in tokenizer.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator).double() * 0.1)
        tokenizer.latent_mean.copy_(torch.randn(config.latent_channels, generator=generator))
        tokenizer.latent_std.copy_(torch.rand(config.latent_channels, generator=generator) + 0.5)
    return tokenizer


def _clip(time: int, batch: int = 2, side: tuple[int, int] = (8, 12), seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, time, 3, *side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "side", "shape"),
    [("nano", 64, (2, 4, 16, 8, 8)), ("small", 256, (2, 4, 16, 32, 32))],
)
def test_shapes_of_the_named_sizes(name, side, shape):
    with torch.device("meta"):
        tokenizer = CausalTokenizer(TOKENIZERS[name])
        frames = torch.zeros(2, 13, 3, side, side)
        latents = tokenizer.encode(frames)
        assert latents.shape == shape
        assert tokenizer.decode(latents).shape == frames.shape


def test_nano_has_as_many_parameters_as_the_trial_had():
    with torch.device("meta"):
        tokenizer = CausalTokenizer(TOKENIZERS["nano"])
    assert sum(weight.numel() for weight in tokenizer.parameters()) == pytest.approx(
        1.7e6, rel=0.05
    )


@pytest.mark.parametrize("past", [0, 1, 3])
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 17), max_size=4), groups=st.integers(0, 4))
def test_streams_equal_the_whole_clip_wherever_it_is_cut(past, cuts, groups):
    tokenizer = _perturbed(TokenizerConfig(widths=(6, 8), blocks=1, latent_channels=3, past=past))
    clip = _clip(1 + 4 * groups)
    with torch.no_grad():
        latents = tokenizer.encode(clip)
        frames = tokenizer.decode(latents)
    encoder, pieces = tokenizer.stream_encoder(), []
    edges = sorted({0, clip.shape[1], *(cut for cut in cuts if cut < clip.shape[1])})
    for start, stop in pairwise(edges):
        pieces.append(encoder.push(clip[:, start:stop]))
        assert encoder.pending == (max(0, stop - 1)) % 4
    torch.testing.assert_close(torch.cat(pieces, 1), latents, rtol=0, atol=1e-12)
    decoder = tokenizer.stream_decoder()
    sizes = [stop - start for start, stop in pairwise(edges)]
    pieces, at = [], 0
    while at < latents.shape[1]:
        count = 1 + sizes[at % len(sizes)] % 2
        pieces.append(decoder.push(latents[:, at : at + count]))
        at += count
    torch.testing.assert_close(torch.cat(pieces, 1), frames, rtol=0, atol=1e-12)


def test_the_last_frame_of_a_clip_never_changes_what_came_before():
    tokenizer = _perturbed(TINY)
    clip, other = _clip(13), _clip(13)
    other[:, 9:] = 255 - other[:, 9:]
    with torch.no_grad():
        latents, changed = tokenizer.encode(clip), tokenizer.encode(other)
        assert torch.equal(latents[:, :3], changed[:, :3])
        assert not torch.equal(latents[:, 3], changed[:, 3])
        frames, altered = tokenizer.decode(latents), tokenizer.decode(changed)
    assert torch.equal(frames[:, :9], altered[:, :9])
    assert not torch.equal(frames[:, 9:], altered[:, 9:])


def test_decoding_looks_back_at_exactly_one_latent():
    tokenizer = _perturbed(TINY)
    latents = torch.randn(1, 4, 3, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    changed = latents.clone()
    changed[:, 1] += 1
    with torch.no_grad():
        differs = (tokenizer.reconstruct(latents) != tokenizer.reconstruct(changed)).flatten(2)
    assert differs.any(dim=2)[0].tolist() == [False] + 8 * [True] + 4 * [False]


def test_streams_encode_and_decode_every_group_once():
    tokenizer = _perturbed(TINY)
    groups = {"encoder": 0, "decoder": 0}

    def count(name):
        def hook(_module, inputs):
            groups[name] += inputs[0].shape[0]

        return hook

    tokenizer.encoder.register_forward_pre_hook(count("encoder"))
    tokenizer.decoder.register_forward_pre_hook(count("decoder"))
    clip = _clip(17, batch=1)
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    made = [decoder.push(encoder.push(clip[:, index : index + 1])) for index in range(17)]
    assert torch.cat(made, 1).shape == clip.shape
    assert groups == {"encoder": 5, "decoder": 5}


def test_a_primed_decoder_goes_on_without_having_decoded():
    tokenizer = _perturbed(TINY)
    with torch.no_grad():
        latents = tokenizer.encode(_clip(17))
        frames = tokenizer.decode(latents)
    decoder = tokenizer.stream_decoder()
    handle = tokenizer.decoder.register_forward_pre_hook(lambda *_: pytest.fail("decoded"))
    decoder.prime(latents[:, :1])
    decoder.prime(latents[:, 1:3])
    handle.remove()
    torch.testing.assert_close(decoder.push(latents[:, 3:]), frames[:, 9:], rtol=0, atol=1e-12)


def test_forks_go_their_own_ways():
    tokenizer = _perturbed(TINY)
    clip, other = _clip(13), _clip(13, seed=2)
    other[:, :7] = clip[:, :7]
    encoder = tokenizer.stream_encoder()
    head = encoder.push(clip[:, :7])
    twin = encoder.fork()
    with torch.no_grad():
        for stream, whole in ((encoder, clip), (twin, other)):
            latents = tokenizer.encode(whole)
            tail = stream.push(whole[:, 7:])
            torch.testing.assert_close(torch.cat([head, tail], 1), latents, rtol=0, atol=1e-12)
        decoder = tokenizer.stream_decoder()
        decoder.push(latents[:, :2])
        branch = decoder.fork()
        decoder.push(latents[:, 2:].flip(0))
        expected = tokenizer.decode(latents)[:, 5:]
        torch.testing.assert_close(branch.push(latents[:, 2:]), expected, rtol=0, atol=1e-12)


def test_a_clip_is_tokenized_alike_in_any_batch():
    tokenizer = _perturbed(TINY)
    clip = _clip(9, batch=5)
    with torch.no_grad():
        together = tokenizer.encode(clip)
        for index in range(5):
            alone = tokenizer.encode(clip[index : index + 1])
            torch.testing.assert_close(alone, together[index : index + 1], rtol=0, atol=1e-12)


def test_latents_do_not_depend_on_far_pixels():
    tokenizer = _perturbed(TINY)
    clip = _clip(5, side=(8, 64))
    other = clip.clone()
    other[..., 60:] = 255 - other[..., 60:]
    with torch.no_grad():
        same = tokenizer.encode(clip) == tokenizer.encode(other)
    # Three convolutions at 2 pixels and three at 4 reach 18 pixels far.
    assert same[..., :10].all()
    assert not same.all()


def test_a_learned_background_is_taken_away_and_added_back():
    config = TokenizerConfig(widths=(6, 8), blocks=1, latent_channels=3, background=(8, 12))
    tokenizer = _perturbed(config)
    picture = to_unit(_clip(1, batch=1), torch.float64)[0, 0]
    with torch.no_grad():
        tokenizer.background.copy_(picture * 2 - 1)
        shown = tokenizer.posterior(picture.expand(1, 5, -1, -1, -1)).mean
        tokenizer.background.zero_()
        grey = tokenizer.posterior(torch.full((1, 5, 3, 8, 12), 0.5).double()).mean
    torch.testing.assert_close(shown, grey)
    with pytest.raises(BadInputError, match="learned background is"):
        tokenizer.encode(_clip(5, side=(16, 12)))


def test_uint8_and_floating_point_frames_are_the_same():
    tokenizer = _perturbed(TINY)
    clip = _clip(5)
    with torch.no_grad():
        assert torch.equal(tokenizer.encode(clip), tokenizer.encode(clip.double() / 255))
    assert torch.equal(to_uint8(to_unit(clip)), clip)
    assert to_uint8(torch.tensor([-1.0, 0.499 / 255, 0.501 / 255, 2.0])).tolist() == [0, 0, 1, 255]


def test_latents_are_normalised_per_channel():
    tokenizer = _perturbed(TINY)
    clip = _clip(5)
    with torch.no_grad():
        raw = tokenizer.posterior(to_unit(clip, torch.float64)).mean
        latents = tokenizer.encode(clip)
    for channel in range(3):
        mean, std = tokenizer.latent_mean[channel], tokenizer.latent_std[channel]
        torch.testing.assert_close(latents[:, :, channel], (raw[:, :, channel] - mean) / std)
    torch.testing.assert_close(tokenizer.denormalise(latents), raw)


@pytest.mark.parametrize("count", [0, 2, 4, 12, 14])
def test_frame_counts_that_are_not_1_plus_4k_are_refused(count):
    with pytest.raises(BadInputError, match="1 \\+ 4k; give"):
        latent_frames(count)
    if count:
        with pytest.raises(BadInputError, match=f"A clip of {count} frames"):
            _perturbed(TINY).encode(_clip(count))


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (torch.zeros(1, 5, 3, 10, 12), "10x12, and this tokenizer needs multiples of 4"),
        (torch.zeros(1, 5, 4, 8, 12), "give \\[batch, time, 3, height, width\\]"),
        (torch.zeros(5, 3, 8, 12), "give \\[batch, time, 3, height, width\\]"),
        (torch.zeros(1, 5, 3, 8, 12, dtype=torch.int32), "Frames are torch.int32"),
    ],
)
def test_frames_that_do_not_fit_are_refused(frames, sentence):
    tokenizer = _perturbed(TINY)
    with pytest.raises(BadInputError, match=sentence):
        tokenizer.encode(frames)
    with pytest.raises(BadInputError, match=sentence):
        tokenizer.stream_encoder().push(frames)


def test_latents_and_pieces_that_do_not_fit_are_refused():
    tokenizer = _perturbed(TINY)
    with pytest.raises(BadInputError, match="takes \\[batch, time, 3, h, w\\]"):
        tokenizer.decode(torch.zeros(1, 2, 16, 2, 3))
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    encoder.push(_clip(5))
    with pytest.raises(BadInputError, match="start another stream"):
        encoder.push(_clip(4, batch=1))
    decoder.push(torch.zeros(2, 1, 3, 2, 3))
    with pytest.raises(BadInputError, match="start another stream"):
        decoder.push(torch.zeros(1, 1, 3, 2, 3))


@pytest.mark.parametrize("wrong", [{"widths": ()}, {"blocks": 0}, {"past": -1}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(BadInputError):
        TokenizerConfig(**({"widths": (4,), "blocks": 1} | wrong))
