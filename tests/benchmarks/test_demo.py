"""The demo: what it scores with the models that are shipped, and without."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dojobench.benchmarks import demo_cli
from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.cli import main
from dojobench.datasets.formats import open_source
from dojobench.datasets.freeze import FreezePlan, freeze
from dojobench.datasets.manifest import write_manifest
from dojobench.reference_model import world_models


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of two small videos, one of them to learn from."""
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    folder, rng = tmp_path / "clips", np.random.default_rng(0)
    for number in range(2):
        pictures = torch.from_numpy(rng.integers(0, 256, (7, 3, 32, 32), dtype=np.uint8))
        with VideoWriter(folder / f"{number}.mp4", rate=10, resolution=(32, 32)) as writer:
            writer.write(pictures)
        np.save(folder / f"{number}.npy", rng.normal(size=(7, 2)).astype(np.float32))
    plan = FreezePlan(name="few", embodiment="arm", frames=7, lead=0, assigned={"0": "train"})
    frozen = freeze(open_source(folder), plan)
    write_manifest(tmp_path / "few.jsonl", frozen.header, frozen.clips)
    return tmp_path / "few.jsonl"


def test_without_shipped_weights_the_baselines_are_scored(
    suite: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(world_models, "SHIPPED", tmp_path / "no-weights")
    out = tmp_path / "demo"
    assert main(["demo", "--suite", str(suite), "--out", str(out)]) == 0
    told = capsys.readouterr()
    said = [line for line in told.err.splitlines() if "is left out of the demo" in line]
    assert [line.split()[0] for line in said] == ["nano-teacher", "nano-student"]
    assert all("no weights of nano-" in line and "reproduce nano" in line for line in said)
    scored = sorted(path.name for path in (out / "dojo/runs").iterdir())
    assert scored == sorted(demo_cli.DOJO_MODELS)
    summary = json.loads((out / "dojo/runs/oracle/summary.json").read_text())
    assert summary["metrics"]["psnr"]["mean"] == 80
    assert str(out / "dojo/report.html") in told.out
    assert (out / "dojo/report.html").is_file()


@pytest.mark.parametrize("lacking", ["nano-teacher", "nano-student"])
def test_a_model_whose_files_are_cut_short_is_left_out(
    lacking: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = [name for name in demo_cli.SHIPPED_MODELS if name != lacking]
    if not all((world_models.SHIPPED / name).is_dir() for name in demo_cli.SHIPPED_MODELS):
        pytest.skip("this checkout has no shipped weights")
    shutil.copytree(world_models.SHIPPED, tmp_path / "weights")
    weights = tmp_path / "weights" / lacking / "world_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    monkeypatch.setattr(world_models, "SHIPPED", tmp_path / "weights")
    assert demo_cli._shipped() == there
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{lacking} is left out of the demo: ")
    assert str(weights) in line
