"""The GPU script checks shapes where there is no GPU; its CUDA path runs where there is one."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dojobench.reference_model.dit import build_world_model
from dojobench.reference_model.fast_net import FastNet
from dojobench.reference_model.fast_sampling import FastStream
from dojobench.reference_model.flops import SHAPES, cost
from dojobench.reference_model.net_config import PRESETS
from dojobench.reference_model.streaming import StreamConfig

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reference" / "gpu_speed.py"


def run(*arguments):
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which the script would use")
def test_without_a_gpu_shapes_and_operations_are_checked(tmp_path):
    out = tmp_path / "speed.json"
    assert "checked on the meta device" in run("--size", "2b", "--steps", "2", "--out", str(out))
    found = json.loads(out.read_text())["operations"]
    expected = cost(PRESETS["2b"], SHAPES["2b"])
    assert found["student_pass"] == expected.student_pass
    assert found["parameters"] == expected.parameters


def test_on_a_cpu_the_script_itself_is_tried(tmp_path):
    out = tmp_path / "speed.json"
    few = ("--frames", "1", "--steps", "2", "--modes", "eager", "graph")
    run("--device", "cpu", "--size", "nano", *few, "--out", str(out))
    found = json.loads(out.read_text())
    assert "student, graph" not in found
    assert {"chunk", "decode", "frames_per_second"} <= found["teacher"].keys()
    parts = {"latent frame", "decode", "actions", "transformer", "cache", "frames_per_second"}
    assert parts == found["student, eager"].keys()
    assert found["training step"]["tflops"] > 0
    assert "mfu" not in found["training step"]


def test_the_peak_is_that_of_the_device_named(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_speed", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_speed", script)
    spec.loader.exec_module(script)
    for name, peak in (
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("cpu", None),
    ):
        assert script.peak_of(name) == peak


@pytest.mark.gpu
def test_on_a_gpu_everything_is_timed(tmp_path):
    out = tmp_path / "speed.json"
    run("--size", "nano", "--out", str(out))
    found = json.loads(out.read_text())
    for mode in ("eager", "compiled", "graph", "compiled graph"):
        assert found[f"student, {mode}"]["frames_per_second"] > 0
    assert found["training step"]["tflops"] > 0


@pytest.mark.gpu
@torch.inference_mode()
def test_a_graph_makes_the_frames_of_the_passes_one_by_one():
    net = build_world_model(PRESETS["nano"], device="cuda").eval()
    generator = torch.Generator(device="cuda").manual_seed(0)
    for value in net.parameters():
        value.normal_(std=0.05, generator=generator)
    context = torch.randn(1, 16, 1, 8, 8, device="cuda", generator=generator)
    config, fast = StreamConfig(window=2), FastNet(net)
    streams = [FastStream(fast, context, config=config, graphed=each) for each in (False, True)]
    for _ in range(8):
        actions = torch.randn(1, 4, 384, device="cuda", generator=generator)
        noise = torch.randn(1, 1, 16, 1, 8, 8, device="cuda", generator=generator)
        one, other = (each.step(actions, noise) for each in streams)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
