"""The latent action model: published names and shapes, the maths, independence of the batch."""

import math

import pytest
import torch
from torch.nn import functional as F

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel, fit_frames
from dojobench.reference_model.lam_blocks import RotaryEmbedding, patchify, unpatchify
from dojobench.reference_model.lam_config import LATENT_ACTION_MODELS, LatentActionConfig

TINY = LatentActionConfig(
    model_dim=12,
    heads=3,
    encoder_blocks=2,
    decoder_blocks=2,
    patch_size=4,
    height=8,
    width=12,
    latent_dim=5,
)


def _model(config: LatentActionConfig = TINY, seed: int = 0) -> LatentActionModel:
    torch.manual_seed(seed)
    return LatentActionModel(config).double().eval()


def _clips(batch: int = 3, time: int = 4, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, time, 3, 8, 12, generator=generator).double()


def _published_layout() -> dict[str, tuple[int, ...]]:
    """The released checkpoint's names and shapes, from AdaWorld's and DreamDojo's modules."""
    d, patch = 1024, 3 * 16 * 16
    layout = {
        "action_prompt": (1, 1, 1, patch),
        "fc.weight": (64, d),
        "fc.bias": (64,),
        "patch_up.weight": (d, patch),
        "patch_up.bias": (d,),
        "action_up.weight": (d, 32),
        "action_up.bias": (d,),
    }
    for side, before, after, attentions in (
        ("encoder", patch, d, ("spatial_attn", "temporal_attn")),
        ("decoder", d, patch, ("spatial_attn",)),
    ):
        layout |= {
            f"{side}.ffn.0.weight": (before,),
            f"{side}.ffn.0.bias": (before,),
            f"{side}.ffn.1.weight": (d, before),
            f"{side}.ffn.1.bias": (d,),
            f"{side}.ffn.2.weight": (d,),
            f"{side}.ffn.2.bias": (d,),
            f"{side}.out.weight": (after, d),
            f"{side}.out.bias": (after,),
        }
        for index in range(24):
            block = f"{side}.transformer_blocks.{index}"
            for attention in attentions:
                for name in ("to_q", "to_k", "to_v", "to_out.0"):
                    layout[f"{block}.{attention}.{name}.weight"] = (d, d)
                layout[f"{block}.{attention}.to_out.0.bias"] = (d,)
            for norm in range(len(attentions) + 1):
                layout[f"{block}.norm{norm + 1}.weight"] = (d,)
                layout[f"{block}.norm{norm + 1}.bias"] = (d,)
            layout[f"{block}.ffn.0.weight"] = (4 * d, d)
            layout[f"{block}.ffn.0.bias"] = (4 * d,)
            layout[f"{block}.ffn.3.weight"] = (d, 4 * d)
            layout[f"{block}.ffn.3.bias"] = (d,)
            if side == "encoder":
                layout[f"{block}.temporal_attn.rotary_embedding.freqs"] = (32,)
    return {f"lam.{name}": shape for name, shape in layout.items()}


def test_the_published_size_has_the_published_names_and_shapes():
    with torch.device("meta"):
        model = LatentActionModel(LATENT_ACTION_MODELS["published"])
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert own == _published_layout()
    parameters = sum(weight.numel() for weight in model.parameters())
    assert round(parameters / 1e6, 1) == 709.8
    with torch.device("meta"):
        assert model.latent_actions(torch.zeros(2, 5, 3, 240, 320)).shape == (2, 4, 32)


@pytest.mark.parametrize("name", ["nano", "small"])
def test_the_other_sizes_run(name):
    config = LATENT_ACTION_MODELS[name]
    with torch.device("meta"):
        model = LatentActionModel(config)
        frames = torch.zeros(2, 3, 3, config.height, config.width)
        actions = model.latent_actions(frames)
        assert actions.shape == (2, 2, 32)
        assert model.predict(frames[:, 0], actions[:, 0]).shape == frames[:, 0].shape


def test_patches_go_row_by_row_and_hold_row_column_colour():
    frames = _clips()
    patches = patchify(frames, 4)
    assert patches.shape == (3, 4, 6, 48)
    piece = frames[1, 2, :, 4:8, 8:12].permute(1, 2, 0).flatten()
    assert torch.equal(patches[1, 2, 5], piece)
    assert torch.equal(unpatchify(patches, 4, 8, 12), frames)


def test_rotary_embedding_turns_neighbouring_channels_as_complex_numbers():
    rotary = RotaryEmbedding(8).double()
    assert rotary.freqs[1].item() == pytest.approx(10000 ** (-2 / 8))
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = torch.view_as_complex(rotary(x).reshape(2, 5, 4, 2))
    for place in range(5):
        turn = torch.exp(1j * place * rotary.freqs)
        plain = torch.view_as_complex(x[:, place].reshape(2, 4, 2))
        torch.testing.assert_close(turned[:, place], plain * turn, rtol=0, atol=1e-6)


def _plain_attention(weights, name, x, heads, freqs=None):
    """Attention head by head, token by token; ``x`` is ``[tokens, width]``."""
    parts = [f"{name}.{part}.weight" for part in ("to_q", "to_k", "to_v")]
    query, key, value = (x @ weights[part].T for part in parts)
    wide, out = x.shape[1] // heads, torch.zeros_like(x)
    for head in range(heads):
        part = slice(head * wide, (head + 1) * wide)
        q, k = query[:, part].clone(), key[:, part].clone()
        if freqs is not None:
            for one in (q, k):
                for token in range(len(x)):
                    for pair, frequency in enumerate(freqs.tolist()):
                        a, b = one[token, 2 * pair].item(), one[token, 2 * pair + 1].item()
                        angle = token * frequency
                        one[token, 2 * pair] = a * math.cos(angle) - b * math.sin(angle)
                        one[token, 2 * pair + 1] = b * math.cos(angle) + a * math.sin(angle)
        for token in range(len(x)):
            share = torch.softmax(k @ q[token] / math.sqrt(wide), dim=0)
            out[token, part] = share @ value[:, part]
    return out @ weights[f"{name}.to_out.0.weight"].T + weights[f"{name}.to_out.0.bias"]


def _plain_transformer(weights, side, tokens, config):
    """A transformer written from the paper's description; ``tokens`` is ``[time, places, in]``."""

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = norm(linear(norm(tokens, f"{side}.ffn.0"), f"{side}.ffn.1"), f"{side}.ffn.2")
    for place in range(x.shape[1]):
        for channel in range(0, config.model_dim, 2):
            angle = place / 10000 ** (channel / config.model_dim)
            x[:, place, channel] += math.sin(angle)
            x[:, place, channel + 1] += math.cos(angle)
    for index in range(2):
        block = f"{side}.transformer_blocks.{index}"
        seen = norm(x, f"{block}.norm1")
        x = x + torch.stack(
            [_plain_attention(weights, f"{block}.spatial_attn", one, config.heads) for one in seen]
        )
        last = "norm2"
        if side == "encoder":
            seen, name = norm(x, f"{block}.norm2"), f"{block}.temporal_attn"
            freqs = weights[f"{name}.rotary_embedding.freqs"]
            over_time = [
                _plain_attention(weights, name, seen[:, place], config.heads, freqs)
                for place in range(x.shape[1])
            ]
            x, last = x + torch.stack(over_time, dim=1), "norm3"
        hidden = F.gelu(linear(norm(x, f"{block}.{last}"), f"{block}.ffn.0"))
        x = x + linear(hidden, f"{block}.ffn.3")
    return linear(x, f"{side}.out")


def test_the_network_equals_a_plain_writing_of_the_method():
    model, frames = _model(), _clips(batch=1, time=2)
    weights = {name.removeprefix("lam."): w.detach() for name, w in model.state_dict().items()}
    patches = patchify(frames, 4)[0]
    prompt = weights["action_prompt"][0].expand(2, 1, -1)
    tokens = _plain_transformer(weights, "encoder", torch.cat([prompt, patches], 1), TINY)
    moments = weights["fc.weight"] @ tokens[1, 0] + weights["fc.bias"]
    with torch.no_grad():
        posterior = model.lam.encode(frames)
        torch.testing.assert_close(torch.cat(posterior, 1)[0], moments, rtol=0, atol=1e-6)
        action = posterior.mean
        made = model.predict(frames[:, 0], action)
    first = patches[:1] @ weights["patch_up.weight"].T + weights["patch_up.bias"]
    first = first + action @ weights["action_up.weight"].T + weights["action_up.bias"]
    colours = torch.sigmoid(_plain_transformer(weights, "decoder", first, TINY))
    torch.testing.assert_close(made[0], unpatchify(colours[None], 4, 8, 12)[0, 0])


def _as_published(model: LatentActionModel, clips: torch.Tensor) -> torch.Tensor:
    """The published clip loop: flattened as (batch, pair), read back as (pair, batch)."""
    batch, time = clips.shape[:2]
    pairs = torch.stack([clips[:, :-1], clips[:, 1:]], dim=2).flatten(0, 1)
    means = model.lam.encode(pairs).mean
    return means.reshape(time - 1, batch, -1).transpose(0, 1)


@torch.no_grad()
def _largest_change_by_batching(read, clips: torch.Tensor) -> float:
    together = read(clips)
    alone = torch.cat([read(clips[index : index + 1]) for index in range(len(clips))])
    return (together - alone).abs().max().item()


def test_latent_actions_do_not_depend_on_the_batch():
    model, clips = _model(), _clips()
    assert _largest_change_by_batching(model.latent_actions, clips) < 1e-12
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        actions = model.latent_actions(clips)
        torch.testing.assert_close(model.latent_actions(clips[order]), actions[order])


def test_the_published_reshape_fails_that_test():
    model, clips = _model(), _clips()
    assert _largest_change_by_batching(lambda some: _as_published(model, some), clips) > 1e-3
    with torch.no_grad():
        torch.testing.assert_close(
            _as_published(model, clips[:1]), model.latent_actions(clips[:1]), rtol=0, atol=1e-12
        )


def test_each_latent_action_is_that_of_its_pair():
    model, clips = _model(), _clips()
    with torch.no_grad():
        actions = model.latent_actions(clips)
        for step in range(3):
            alone = model.latent_actions(clips[:, step : step + 2])[:, 0]
            torch.testing.assert_close(alone, actions[:, step], rtol=0, atol=1e-12)


@pytest.mark.parametrize("pairs_at_once", [1, 2, 100])
def test_running_in_pieces_changes_nothing(pairs_at_once):
    model, clips = _model(), _clips()
    with torch.no_grad():
        expected = model.latent_actions(clips)
        pieces = model.latent_actions(clips, pairs_at_once=pairs_at_once)
    torch.testing.assert_close(pieces, expected, rtol=0, atol=1e-12)


def test_uint8_frames_are_scaled():
    model = _model()
    frames = (_clips() * 255).round().to(torch.uint8)
    with torch.no_grad():
        assert torch.equal(
            model.latent_actions(frames), model.latent_actions(frames.double() / 255)
        )


def test_the_order_of_the_two_frames_matters():
    model, clips = _model(), _clips(time=2)
    with torch.no_grad():
        there, back = model.latent_actions(clips), model.latent_actions(clips.flip(1))
    assert (there - back).abs().max() > 1e-4


def test_fitting_crops_the_middle_and_resizes():
    wide = torch.zeros(1, 2, 3, 30, 80, dtype=torch.uint8)
    wide[..., 20:60] = 255
    fitted = fit_frames(wide, 24, 32)
    assert fitted.shape == (1, 2, 3, 24, 32)
    torch.testing.assert_close(fitted, torch.ones_like(fitted))
    same = torch.rand(1, 2, 3, 24, 32)
    assert torch.equal(fit_frames(same, 24, 32), same)
    tall = fit_frames(torch.rand(1, 2, 3, 90, 40), 24, 32)
    assert tall.shape == (1, 2, 3, 24, 32)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (torch.zeros(1, 2, 3, 8, 16), "takes \\[batch, time, 3, 8, 12\\]; fit them"),
        (torch.zeros(2, 3, 8, 12), "fit them with fit_frames"),
        (torch.zeros(1, 1, 3, 8, 12), "A clip of 1 frames has no motion"),
    ],
)
def test_frames_that_do_not_fit_are_refused(frames, sentence):
    with pytest.raises(BadInputError, match=sentence):
        _model().latent_actions(frames)


def test_latent_actions_of_another_width_are_refused():
    with pytest.raises(BadInputError, match="give \\[2, 5\\]"):
        _model().predict(torch.zeros(2, 3, 8, 12), torch.zeros(2, 32))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"heads": 5}, "does not split into 5 heads"),
        ({"heads": 4}, "heads of even width"),
        ({"patch_size": 5}, "do not split into patches of 5"),
    ],
)
def test_impossible_sizes_are_refused(wrong, sentence):
    import dataclasses

    with pytest.raises(BadInputError, match=sentence):
        dataclasses.replace(TINY, **wrong)
