"""The published form at a tiny size: files found, sampled as published, refused in a sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dojobench.benchmarks import cli
from dojobench.protocol.conformance import check_model
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.lookup import load_model
from dojobench.reference_model.action_conditioning import action_encoder
from dojobench.reference_model.checkpoint_io import save_world_model
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.dreamdojo_model import (
    PublishedFiles,
    open_published,
)
from dojobench.reference_model.generation import SamplerConfig, sample
from dojobench.reference_model.net_config import PRESETS, TextConfig, WorldModelConfig
from dojobench.reference_model.published import world_model_layout
from dojobench.reference_model.text_embedding import load_text, save_text, text_for
from dojobench.reference_model.video_tokenizer import to_uint8

diffusers = pytest.importorskip(
    "diffusers", reason="diffusers is not installed; pip install dojobench[wan]"
)

TINY = WorldModelConfig(
    name="tiny",
    latent_channels=4,
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    padding_mask=True,
    text=TextConfig(features=12, width=8),
)
WAN = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [1.5, 0.5, 2.0, 1.0],
}
PARTS = {"left_arm": 7, "right_arm": 7, "left_hand": 6, "right_hand": 6, "waist": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as ``--weights`` takes it, of a tiny random model for GR-1's 44 actions."""
    place = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    net = build_world_model(TINY, seed=1)
    assert world_model_layout(TINY).shapes == {
        name: tuple(value.shape) for name, value in net.state_dict().items()
    }
    for value in net.parameters():
        if not bool(value.abs().max() > 0):
            value.data = 0.1 * torch.randn_like(value)
    save_world_model(place / "world_model.safetensors", net)
    diffusers.AutoencoderKLWan(**WAN).save_pretrained(place / "tokenizer")
    save_file({"empty": torch.randn(1, 3, 12)}, place / "text.safetensors")
    rng = np.random.default_rng(0)
    numbers = {"min": (-1 - rng.random(44)).tolist(), "max": (1 + rng.random(44)).tolist()}
    numbers |= {"mean": [0.0] * 44, "std": [1.0] * 44}
    (place / "stats.json").write_text(json.dumps({"action": numbers}))
    # Not in the order of the slots, with gaps, as in the dataset.
    starts = dict(zip(PARTS, (0, 22, 8, 30, 40), strict=True))
    blocks = {name: {"start": starts[name], "end": starts[name] + width}
              for name, width in PARTS.items()}  # fmt: skip
    (place / "modality.json").write_text(json.dumps({"action": blocks}))
    return place


def find(folder, **changes):
    named = dict.fromkeys(("tokenizer", "text", "statistics", "modality"))
    return PublishedFiles.find("dreamdojo-2b", **{"weights": folder, **named, **changes})


def opened(folder, **options):
    settings = {"steps": 3, "precision": "float32", "resolution": (32, 48), "frame_rate": 10.0}
    return open_published("tiny", find(folder), embodiment="gr1", **{**settings, **options})


def test_it_keeps_the_contract(folder):
    model = opened(folder)
    assert model.spec.action_space.dim == 44
    assert model.spec.native_chunk == 12
    assert not any(each.failed for each in check_model(model))


def test_it_samples_as_published(folder):
    """35 UniPC steps, shift 5, noise by chunk, the step before each group as its baseline."""
    model = opened(folder, steps=35)
    assert model.sampler == SamplerConfig.for_net(replace(TINY, name="2b"))
    generator = torch.Generator().manual_seed(0)
    context = torch.randint(0, 256, (1, 1, 3, 32, 48), dtype=torch.uint8, generator=generator)
    actions = torch.randn(1, 24, 44, generator=generator)
    session = model.start(context, seed=7)
    frames = session.step(actions)
    parts = model.parts
    columns = [*range(7), *range(22, 29), *range(8, 14), *range(30, 36), *range(40, 43)]
    encoder = action_encoder(TINY.actions, "gr1", parts.encoder.statistics, tuple(columns))
    shown, before, made = context, None, []
    with torch.no_grad():
        for start in (0, 12):
            chunk = actions[:, start : start + 12]
            drawn = np.random.RandomState(7 + start).standard_normal((1, 4, 4, 4, 6))
            latents = sample(
                parts.net,
                parts.tokenizer.encode(shown).transpose(1, 2),
                encoder.encode(chunk, before),
                config=model.sampler,
                noise=torch.from_numpy(drawn).float()[:, :, 1:],
                text=parts.text,
            )
            made.append(to_uint8(parts.tokenizer.decode(latents.transpose(1, 2))[:, 1:]))
            shown, before = made[-1][:, -1:], chunk[:, -1]
    assert (torch.cat(made, dim=1).int() - frames.int()).abs().max() <= 1


@pytest.mark.parametrize("size", ["2b", "14b"])
def test_the_published_sizes_take_what_a_session_gives_them(size):
    """A chunk of 480x640 on the meta device: every shape meets."""
    config = PRESETS[size]
    net = build_world_model(config, device="meta", backend="sdpa")
    context = torch.empty(1, 16, 1, 60, 80, device="meta")
    text = torch.empty(1, 512, config.text.features, device="meta")
    with torch.no_grad():
        made = sample(
            net,
            context,
            torch.empty(1, 12, 384, device="meta"),
            config=replace(SamplerConfig.for_net(config), steps=2),
            noise=torch.empty(1, 16, 3, 60, 80, device="meta"),
            text=text,
        )
    assert made.shape == (1, 16, 4, 60, 80)


def said(call):
    with pytest.raises(BadInputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_files_are_named(folder, tmp_path):
    assert "--weights FILE" in said(lambda: find(None))
    assert str(tmp_path / "world_model.safetensors") in said(lambda: find(tmp_path))
    gone = tmp_path / "gone"
    for option in ("tokenizer", "text", "statistics", "modality"):
        message = said(lambda option=option: find(folder, **{option: gone}))
        assert f"There is no {gone}, the {option} of dreamdojo-2b" in message


def test_a_single_file_finds_its_neighbours(folder):
    files = find(folder / "world_model.safetensors")
    assert files.tokenizer == folder / "tokenizer"
    assert files.modality == folder / "modality.json"


def test_the_command_of_the_published_model_names_what_is_missing(tmp_path):
    gone = str(tmp_path / "dreamdojo-2b.safetensors")
    arguments = ["dreamdojo-2b", "--suite", "dreamdojo-in-lab", "--weights", gone]
    assert f"there is no {gone}, the weights of dreamdojo-2b" in said(lambda: cli.run(arguments))
    for name in ("dreamdojo-2b", "dreamdojo-14b"):
        assert f"The model {name} needs its weights" in said(lambda name=name: load_model(name, {}))


def test_parts_that_do_not_fit_are_said(folder, tmp_path):
    files = find(folder)
    assert "not '2b'" in said(lambda: open_published(
        "2b", files, embodiment="gr1", frame_rate=None))  # fmt: skip
    text = tmp_path / "text.pt"
    torch.save({"embedding": torch.zeros(1, 3, 11)}, text)
    assert "11 wide" in said(lambda: opened_with(files, text=text))
    assert "modality=" in said(lambda: opened_with(files, modality=None))
    wide = {"latents_mean": [0.0] * 6, "latents_std": [1.0] * 6, "z_dim": 6}
    diffusers.AutoencoderKLWan(**(WAN | wide)).save_pretrained(tmp_path / "wide")
    assert "6 channels" in said(lambda: opened_with(files, tokenizer=tmp_path / "wide"))


def opened_with(files, **changes):
    changed = replace(files, **changes)
    return open_published("tiny", changed, embodiment="gr1", frame_rate=None, resolution=(32, 48))


def test_texts_are_read_without_running_anything(tmp_path):
    plain = torch.randn(3, 12)
    torch.save(plain, tmp_path / "a.pt")
    torch.save([plain], tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        assert torch.equal(load_text(tmp_path / name), plain.unsqueeze(0))
    save_text(tmp_path / "c.safetensors", plain.unsqueeze(0))
    assert torch.equal(load_text(tmp_path / "c.safetensors"), plain.unsqueeze(0))
    assert "set 'text' to the file" in said(lambda: text_for(TINY, None))
    assert text_for(PRESETS["nano"], tmp_path / "none.pt") is None
    torch.save({"a": plain, "b": plain}, tmp_path / "two.pt")
    assert "no single tensor" in said(lambda: load_text(tmp_path / "two.pt"))
    torch.save(print, tmp_path / "code.pt")
    assert "cannot be read" in said(lambda: load_text(tmp_path / "code.pt"))
    (tmp_path / "cut.safetensors").write_bytes(b"123")
    assert "cannot be read" in said(lambda: load_text(tmp_path / "cut.safetensors"))
