"""Conversion of checkpoints that the test writes in the published formats, and of damaged ones."""

import argparse
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed import checkpoint as dcp

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model import cli, convert
from dojobench.reference_model.checkpoint_io import load_world_model, save_world_model
from dojobench.reference_model.convert import convert_checkpoint
from dojobench.reference_model.distributed_checkpoint import DistributedCheckpoint
from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.lam import LatentActionModel
from dojobench.reference_model.lam_config import LATENT_ACTION_MODELS
from dojobench.reference_model.net_config import ActionConfig, TextConfig, WorldModelConfig
from dojobench.reference_model.published import latent_action_layout, world_model_layout

TINY = WorldModelConfig(
    name="tiny",
    width=32,
    blocks=2,
    heads=2,
    adaln_rank=8,
    latent_channels=4,
    padding_mask=True,
    text=TextConfig(features=12, width=8),
    actions=ActionConfig(width=6),
)
LAYOUT = world_model_layout(TINY)
logging.getLogger("c10d-NullHandler-dcp_logger").setLevel(logging.WARNING)
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def training_state(seed=0):
    """What the released trainer keeps: raw weights in bfloat16, averages in float32, the rest."""
    raw = build_world_model(TINY, seed=seed).state_dict()
    averaged = build_world_model(TINY, seed=seed + 1).state_dict()
    state = {f"net.{name}": value.bfloat16() for name, value in raw.items()}
    state |= {f"net_ema.{name}": value for name, value in averaged.items()}
    for prefix in ("net", "net_ema"):
        state[f"{prefix}.pos_embedder.seq"] = torch.arange(128.0)
        state[f"{prefix}.accum_iteration"] = torch.tensor(140000)
        state[f"{prefix}.blocks.0.self_attn.q_norm._extra_state"] = torch.zeros(0)
    return state


@pytest.fixture(scope="module")
def distributed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "iter_000140000"
    dcp.save(training_state(), checkpoint_id=folder / "model", no_dist=True)
    return folder


def net_of(state, prefix):
    names = build_world_model(TINY).state_dict()
    net = build_world_model(TINY)
    net.load_state_dict({name: state[prefix + name].float() for name in names})
    return net


def same_outputs(one, other):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 3, 4, 4, generator=generator)
    actions, text = torch.randn(1, 8, 6, generator=generator), torch.randn(1, 2, 12)
    with torch.no_grad():
        outputs = [net(latents, torch.tensor([0.5]), actions, text=text) for net in (one, other)]
    # Not to the last bit: kernels depend on how memory is aligned.
    return torch.allclose(*outputs, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "prefix", "dtype"),
    [("auto", "net_ema.", torch.float32), ("raw", "net.", torch.bfloat16)],
)
def test_a_distributed_checkpoint_round_trips(distributed, tmp_path, weights, prefix, dtype):
    out = tmp_path / "tiny.safetensors"
    done = convert_checkpoint(distributed, out, layout=LAYOUT, weights=weights)
    expected = {n: v for n, v in training_state().items() if n.startswith(prefix)}
    written = load_file(out)
    assert set(written) == set(LAYOUT.shapes)
    for name, value in written.items():
        assert value.dtype == dtype
        assert torch.equal(value, expected[prefix + name])
    assert done.tensors == len(written)
    assert done.parameters == sum(value.numel() for value in written.values())
    net = load_world_model(out, dtype=torch.float32)
    assert net.config == TINY
    assert same_outputs(net, net_of(expected, prefix))


def test_only_the_wanted_weights_are_read(distributed, tmp_path, monkeypatch):
    """The bytes of everything else are overwritten, and the conversion does not notice."""
    state = training_state()
    folder = tmp_path / "model"
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    entries = DistributedCheckpoint(folder).entries
    for name, entry in entries.items():
        if not name.startswith("net_ema."):
            for piece in entry.pieces:
                with (folder / piece.file).open("r+b") as file:
                    file.seek(piece.span.start)
                    file.write(b"\xff" * piece.span.length)
    convert_checkpoint(folder, tmp_path / "out.safetensors", layout=LAYOUT)
    name = "blocks.1.mlp.layer1.weight"
    assert torch.equal(load_file(tmp_path / "out.safetensors")[name], state[f"net_ema.{name}"])
    with pytest.raises(BadInputError, match="fetch it again"):
        convert_checkpoint(folder, tmp_path / "raw.safetensors", layout=LAYOUT, weights="raw")
    assert not (tmp_path / "raw.safetensors").exists()


class Hostile:
    """Unpickling it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["pt", "ckpt", "safetensors"])
def test_single_files_round_trip_and_run_nothing(tmp_path, form):
    state = {n: v for n, v in training_state().items() if n.startswith("net.")}
    source, trap = tmp_path / f"model.{form}", tmp_path / "trap"
    if form == "pt":
        torch.save(state, source)
    elif form == "ckpt":
        whole = {
            "state_dict": state,
            "optimizer_states": [{"state": {0: torch.zeros(3)}}],
            "hyper_parameters": argparse.Namespace(lr=1.0, folder=Path("somewhere")),
            "callbacks": {"hostile": Hostile(trap)},
        }
        torch.save(whole, source)
    else:
        save_file(state, source)
    convert_checkpoint(source, tmp_path / "out.safetensors", layout=LAYOUT)
    written = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(value, state[f"net.{name}"]) for name, value in written.items())
    assert not trap.exists()


def test_the_latent_action_model_round_trips(tmp_path):
    torch.manual_seed(0)
    model = LatentActionModel(LATENT_ACTION_MODELS["nano"]).eval()
    extra = {"lpips.weight": torch.zeros(2)}
    whole = {"state_dict": {**model.state_dict(), **extra}, "epoch": 3, "loops": {"fit": {}}}
    torch.save(whole, tmp_path / "LAM.ckpt")
    layout = latent_action_layout("nano")
    convert_checkpoint(tmp_path / "LAM.ckpt", tmp_path / "lam.safetensors", layout=layout)
    again = LatentActionModel.load(tmp_path / "lam.safetensors").eval()
    frames = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.latent_actions(frames), again.latent_actions(frames))


def test_the_number_format_can_be_changed_and_says_where_it_comes_from(distributed, tmp_path):
    from safetensors import safe_open

    out = tmp_path / "deep" / "half.safetensors"
    convert_checkpoint(distributed, out, layout=LAYOUT, dtype=torch.bfloat16)
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata()
        assert file.get_slice("final_layer.linear.weight").get_dtype() == "BF16"
    assert metadata["converted_from"] == "iter_000140000 (net_ema.)"
    assert metadata["dojobench"] == "world model"
    assert json.loads(metadata["config"])["width"] == 32
    first = out.read_bytes()
    convert_checkpoint(distributed, out, layout=LAYOUT, dtype=torch.bfloat16)
    assert out.read_bytes() == first


def without_actions():
    return {n: v for n, v in training_state().items() if "action_embedder" not in n}


def test_a_base_model_without_actions_gets_silent_ones_if_asked(tmp_path):
    torch.save(without_actions(), tmp_path / "base.pt")
    with pytest.raises(BadInputError, match=r"lacks the weight 'action_embedder.*--new-actions"):
        convert_checkpoint(tmp_path / "base.pt", tmp_path / "out.safetensors", layout=LAYOUT)
    out = tmp_path / "out.safetensors"
    done = convert_checkpoint(tmp_path / "base.pt", out, layout=LAYOUT, draw_actions=True)
    assert len(done.drawn) == 8
    written = load_file(out)
    assert written["action_embedder_B_3D.fc2.weight"].abs().max() == 0
    first = written["action_embedder_B_D.fc1.weight"]
    assert 0.9 / 24**0.5 < first.abs().max() <= 1 / 24**0.5
    net = load_world_model(out)
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(1, 4, 3, 4, 4, generator=generator), torch.zeros(1, 2, 12)
    with torch.no_grad():
        quiet = net(latents, torch.tensor([0.5]), torch.randn(1, 8, 6), text=text)
        assert torch.equal(quiet, net(latents, torch.tensor([0.5]), text=text))


def damaged(tmp_path, change):
    state = {n: v for n, v in training_state().items() if n.startswith("net.")}
    change(state)
    torch.save(state, tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("net.blocks.1.mlp.layer2.weight"),
            "lacks the weight 'blocks.1.mlp.layer2",
        ),
        (
            lambda s: s.update({"net.x_embedder.proj.1.weight": torch.zeros(32, 20)}),
            r"'x_embedder.proj.1.weight' of shape \[32, 20\].*needs \[32, 24\]; it is of another",
        ),
        (
            lambda s: s.update({"net.blocks.2.mlp.layer1.weight": torch.zeros(2)}),
            "a weight 'blocks.2.mlp.layer1.weight' that the layout 'tiny' does not know",
        ),
    ],
)
def test_another_model_is_named_in_one_sentence(tmp_path, change, message):
    with pytest.raises(BadInputError, match=message):
        convert_checkpoint(damaged(tmp_path, change), tmp_path / "o.safetensors", layout=LAYOUT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt"]


def test_weights_that_are_not_there_are_named(tmp_path):
    source = damaged(tmp_path, lambda state: None)
    with pytest.raises(BadInputError, match=r"no ema weights of the layout 'tiny'; .* are of: net"):
        convert_checkpoint(source, tmp_path / "o.safetensors", layout=LAYOUT, weights="ema")
    with pytest.raises(BadInputError, match=r"none of the published checkpoints \(2b, 14b, lam\)"):
        convert_checkpoint(source, tmp_path / "o.safetensors")


def test_a_published_layout_is_recognised_by_one_shape():
    shape = (5120, 72)
    planned = {
        "net_ema.x_embedder.proj.1.weight": convert.Planned(dtype=torch.float32, shape=shape)
    }
    assert convert._recognise(planned, Path("somewhere")).name == "14b"


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_file_cut_short_is_one_sentence(tmp_path, kept):
    source = damaged(tmp_path, lambda state: None)
    data = source.read_bytes()
    source.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(BadInputError, match="fetch it again"):
        convert_checkpoint(source, tmp_path / "o.safetensors", layout=LAYOUT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt"]


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("kept", [0, 100, 0.6])
def test_a_distributed_checkpoint_cut_short_is_one_sentence(tmp_path, name, kept):
    dcp.save(training_state(), checkpoint_id=tmp_path / "model", no_dist=True)
    path = tmp_path / "model" / name
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(BadInputError, match=r"fetch .* again"):
        convert_checkpoint(tmp_path / "model", tmp_path / "o.safetensors", layout=LAYOUT)
    assert not (tmp_path / "o.safetensors").exists()


def test_a_missing_piece_file_is_one_sentence(tmp_path):
    dcp.save(training_state(), checkpoint_id=tmp_path / "model", no_dist=True)
    (tmp_path / "model" / "__0_0.distcp").unlink()
    with pytest.raises(BadInputError, match=r"__0_0.distcp is missing"):
        convert_checkpoint(tmp_path / "model", tmp_path / "o.safetensors", layout=LAYOUT)


def test_what_is_no_checkpoint_is_one_sentence(tmp_path):
    for path, message in (
        (tmp_path, "holds no distributed checkpoint"),
        (tmp_path / "nothing.pt", "There is no checkpoint"),
    ):
        with pytest.raises(BadInputError, match=message):
            convert_checkpoint(path, tmp_path / "o.safetensors", layout=LAYOUT)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(BadInputError, match="no whole safetensors file"):
        convert_checkpoint(tmp_path / "text.safetensors", tmp_path / "o.safetensors", layout=LAYOUT)


def test_a_full_disk_leaves_the_old_file_whole(distributed, tmp_path, monkeypatch):
    out = tmp_path / "out.safetensors"
    out.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dojobench.reference_model.tensor_file.os.fsync", full)
    with pytest.raises(BadInputError, match="no space left on device"):
        convert_checkpoint(distributed, out, layout=LAYOUT)
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.safetensors"]


def test_saving_and_loading_a_network(tmp_path):
    config = replace(TINY, text=None, actions=ActionConfig(width=6, cumulative=True))
    net = build_world_model(config, seed=5)
    save_world_model(tmp_path / "net.safetensors", net, trained_by="a test")
    again = load_world_model(tmp_path / "net.safetensors")
    assert again.config == config
    assert not again.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    save_world_model(tmp_path / "half.safetensors", net, dtype=torch.bfloat16)
    assert load_world_model(tmp_path / "half.safetensors").dtype == torch.bfloat16
    cut = (tmp_path / "net.safetensors").read_bytes()[:-100]
    (tmp_path / "cut.safetensors").write_bytes(cut)
    with pytest.raises(BadInputError, match="no whole safetensors file"):
        load_world_model(tmp_path / "cut.safetensors")


def test_the_command_says_what_it_did_and_what_is_wrong(tmp_path, capsys, monkeypatch):
    source = damaged(tmp_path, lambda state: None)
    monkeypatch.setattr(
        "dojobench.reference_model.published.published_layouts", lambda: {"2b": LAYOUT}
    )
    out = tmp_path / "out.safetensors"
    assert cli.convert([str(source), "--out", str(out), "--layout", "2b"]) == 0
    assert "tiny, weights 'net.*', " in capsys.readouterr().out
    with pytest.raises(BadInputError, match=r"must end in .safetensors"):
        cli.convert([str(source), "--out", str(tmp_path / "out.bin")])


SHARDED = """
import sys, torch, torch.distributed as dist
from torch.distributed import checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
state = torch.load(f"{folder}/state.pt", weights_only=True)
sharded = {
    name: distribute_tensor(value, mesh, [Shard(0)]) if value.dim() else value
    for name, value in state.items()
}
dcp.save(sharded, checkpoint_id=f"{folder}/model")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_checkpoint_sharded_over_processes_round_trips(tmp_path):
    """As published: every tensor in pieces, one file per process."""
    state = training_state()
    torch.save(state, tmp_path / "state.pt")
    command = [sys.executable, "-c", SHARDED]
    both = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=1200) for process in both] == [0, 0]
    entries = DistributedCheckpoint(tmp_path / "model").entries
    assert len(entries["net_ema.final_layer.linear.weight"].pieces) == 2
    convert_checkpoint(tmp_path / "model", tmp_path / "out.safetensors", layout=LAYOUT)
    for name, value in load_file(tmp_path / "out.safetensors").items():
        assert torch.equal(value, state[f"net_ema.{name}"])
