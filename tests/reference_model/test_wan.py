"""WAN's tokenizers on small random networks: whole clips are diffusers', streams equal them."""

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.wan import WanTokenizer, load_wan

diffusers = pytest.importorskip(
    "diffusers", reason="diffusers is not installed; pip install dojobench[wan]"
)

WAN_2_1 = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [1.5, 0.5, 2.0, 1.0],
}
WAN_2_2 = WAN_2_1 | {
    "decoder_base_dim": 8,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "z_dim": 6,
    "latents_mean": [0.1, -0.2, 0.3, 0.0, 0.5, -1.0],
    "latents_std": [1.5, 0.5, 2.0, 1.0, 0.7, 1.1],
}
VERSIONS = pytest.mark.parametrize("settings", [WAN_2_1, WAN_2_2], ids=["2.1", "2.2"])


def _network(settings):
    torch.manual_seed(0)
    return diffusers.AutoencoderKLWan(**settings).double()


def _clip(time: int, batch: int = 2, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(batch * time, 3, side // 8, side // 8, generator=generator)
    frames = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(0, 1)
    return (frames * 255).round().to(torch.uint8).reshape(batch, time, 3, side, side)


@VERSIONS
def test_whole_clips_are_those_of_diffusers(settings):
    network = _network(settings)
    tokenizer = WanTokenizer(network)
    clip = _clip(9)
    with torch.no_grad():
        latents = tokenizer.encode(clip)
        mode = network.encode(clip.double().transpose(1, 2) / 127.5 - 1).latent_dist.mode()
        shape = (1, -1, 1, 1, 1)
        mean = torch.tensor(settings["latents_mean"], dtype=torch.float64).reshape(shape)
        std = torch.tensor(settings["latents_std"], dtype=torch.float64).reshape(shape)
        frames = tokenizer.decode(latents)
        theirs = network.decode(mode).sample.transpose(1, 2) * 0.5 + 0.5
    side = 32 // tokenizer.spatial_factor
    assert latents.shape == (2, 3, settings["z_dim"], side, side)
    torch.testing.assert_close(latents, ((mode - mean) / std).transpose(1, 2), rtol=0, atol=1e-6)
    torch.testing.assert_close(frames, theirs, rtol=0, atol=1e-6)
    assert frames.shape == clip.shape


@VERSIONS
def test_streams_equal_whole_clips(settings):
    tokenizer = WanTokenizer(_network(settings))
    clip = _clip(17)
    with torch.no_grad():
        latents = tokenizer.encode(clip)
        frames = tokenizer.decode(latents)
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    coded = [encoder.push(piece) for piece in clip.split([3, 1, 6, 7], dim=1)]
    assert [piece.shape[1] for piece in coded] == [1, 0, 2, 2]
    torch.testing.assert_close(torch.cat(coded, 1), latents, rtol=0, atol=1e-10)
    shown = [decoder.push(piece) for piece in latents.split([1, 1, 2, 1], dim=1)]
    assert [piece.shape[1] for piece in shown] == [1, 4, 8, 4]
    torch.testing.assert_close(torch.cat(shown, 1), frames, rtol=0, atol=1e-10)


@VERSIONS
def test_the_networks_see_every_frame_once(settings):
    tokenizer = WanTokenizer(_network(settings))
    seen = {"encoder": 0, "decoder": 0}

    def count(name):
        def hook(_module, inputs, _named):
            seen[name] += inputs[0].shape[2]

        return hook

    for name in seen:
        part = getattr(tokenizer.network, name)
        part.register_forward_pre_hook(count(name), with_kwargs=True)
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    for piece in _clip(9, batch=1).split(2, dim=1):
        decoder.push(encoder.push(piece))
    assert seen == {"encoder": 9, "decoder": 3}


def test_forks_of_wan_streams_do_not_disturb_each_other():
    tokenizer = WanTokenizer(_network(WAN_2_1))
    clip = _clip(13)
    with torch.no_grad():
        latents = tokenizer.encode(clip)
        frames = tokenizer.decode(latents)
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    encoder.push(clip[:, :5])
    decoder.prime(latents[:, :2])
    branch, twin = encoder.fork(), decoder.fork()
    encoder.push(255 - clip[:, 5:])
    decoder.push(-latents[:, 2:])
    torch.testing.assert_close(branch.push(clip[:, 5:]), latents[:, 2:], rtol=0, atol=1e-10)
    torch.testing.assert_close(twin.push(latents[:, 2:]), frames[:, 5:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("inside", [".", "vae"])
def test_a_local_folder_is_read(tmp_path, inside):
    network = _network(WAN_2_1).float()
    network.save_pretrained(tmp_path / inside)
    tokenizer = load_wan(tmp_path)
    clip = _clip(5)
    with torch.no_grad():
        torch.testing.assert_close(tokenizer.encode(clip), WanTokenizer(network).encode(clip))
    assert not any(weight.requires_grad for weight in tokenizer.parameters())
    assert load_wan(tmp_path, dtype=torch.bfloat16).encode(clip).dtype == torch.bfloat16


def test_the_published_shapes():
    """48 channels and 16 times smaller for WAN 2.2, by diffusers' own published settings."""
    with torch.device("meta"):
        first = diffusers.AutoencoderKLWan()
        second = diffusers.AutoencoderKLWan(
            base_dim=160,
            decoder_base_dim=256,
            z_dim=48,
            is_residual=True,
            in_channels=12,
            out_channels=12,
            patch_size=2,
            scale_factor_spatial=16,
            latents_mean=[0.0] * 48,
            latents_std=[1.0] * 48,
        )
        for network, channels, factor in ((first, 16, 8), (second, 48, 16)):
            tokenizer = WanTokenizer(network)
            latents = tokenizer.encode(torch.zeros(1, 13, 3, 480, 640))
            assert latents.shape == (1, 4, channels, 480 // factor, 640 // factor)
            assert tokenizer.decode(latents).shape == (1, 13, 3, 480, 640)


def test_what_is_no_wan_tokenizer_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"holds no config\.json"):
        load_wan(tmp_path)
    _network(WAN_2_1).save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(BadInputError, match="cannot be read as a WAN tokenizer"):
        load_wan(tmp_path)


def test_wrong_statistics_or_rate_are_refused():
    with pytest.raises(BadInputError, match="4 channels and statistics of 16"):
        WanTokenizer(_network({"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1]}))
    with pytest.raises(BadInputError, match="8 times shorter in time"):
        WanTokenizer(_network(WAN_2_1 | {"scale_factor_temporal": 8}))


def test_clips_that_do_not_fit_are_refused():
    tokenizer = WanTokenizer(_network(WAN_2_2))
    with pytest.raises(BadInputError, match="1 \\+ 4k"):
        tokenizer.encode(_clip(4))
    with pytest.raises(BadInputError, match="multiples of 16"):
        tokenizer.encode(_clip(5, side=24))
