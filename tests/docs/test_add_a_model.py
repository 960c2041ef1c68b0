"""`docs/add-a-model.md` alone is enough: its model runs in process, served and under pytest.

The code is taken from the page; the three ways must give the same numbers.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Somebody else's shell: nothing of this test run's own workers leaks into it.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
ENVIRONMENT["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's repository: the page's model and two videos of their own, frozen as a suite."""
    folder = tmp_path_factory.mktemp("lab")
    page = (ROOT / "docs" / "add-a-model.md").read_text(encoding="utf-8")
    match = re.search(r"```python file=my_model\.py\n(.*?)```", page, re.DOTALL)
    assert match is not None
    (folder / "my_model.py").write_text(match[1])
    (folder / "videos").mkdir()
    for episode in range(3):
        _write_video(folder / "videos" / f"take{episode}.mp4", seed=episode)
    dojobench(folder, "data", "freeze", "videos", "--embodiment", "none", "--frames", "9",
              "--out", "clips.jsonl")  # fmt: skip
    return folder


def _write_video(path: Path, seed: int) -> None:
    """A bright square that crosses a textured background, 30 frames of 64x64."""
    background = np.random.default_rng(seed).integers(60, 120, (64, 64, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for k in range(30):
            frame = background.copy()
            frame[20:36, k + seed : k + seed + 16] = (250, 240, 80)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def dojobench(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dojobench.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def metrics(folder: Path) -> dict[str, object]:
    summary = json.loads((folder / "summary.json").read_text())
    return {"metrics": summary["metrics"], "clips": summary["clip_values"]}


@pytest.fixture(scope="module")
def in_process(lab: Path) -> dict[str, object]:
    dojobench(lab, "run", "my_model:make", "radius=2", "--suite", "clips.jsonl", "--data", "videos",
              "--out", "runs/blur")  # fmt: skip
    return metrics(lab / "runs" / "blur")


@pytest.fixture(scope="module")
def address(lab: Path) -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "dojobench.cli", "serve", "my_model:make", "radius=2",
         "--port", "0"],
        cwd=lab, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        match = re.search(r"ws://\S+", server.stdout.readline())
        assert match is not None
        yield match[0]
    finally:
        server.terminate()
        server.communicate(timeout=600)


def test_it_is_about_twenty_lines(lab: Path) -> None:
    lines = [line for line in (lab / "my_model.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 24


def test_it_keeps_the_contract(lab: Path) -> None:
    dojobench(lab, "conform", "my_model:make")


def test_in_process(in_process: dict[str, object]) -> None:
    values = in_process["metrics"]
    assert isinstance(values, dict)
    assert 5 < values["psnr"]["mean"] < 60


def test_over_the_wire_gives_the_same_numbers(
    lab: Path, address: str, in_process: dict[str, object]
) -> None:
    dojobench(lab, "run", address, "--suite", "clips.jsonl", "--data", "videos", "--out",
              "runs/served")  # fmt: skip
    assert metrics(lab / "runs" / "served") == in_process


def test_under_pytest_gives_the_same_numbers(lab: Path, in_process: dict[str, object]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--pyargs", "dojobench.benchmarks", "-q", "-p",
         "no:cacheprovider", "--world-model", "my_model:make", "--world-model-option", "radius=2",
         "--suite", "clips.jsonl", "--suite-data", "videos", "--run-out", "runs/ci",
         "--gate", "psnr>=1", "--gate", "psnr>=hold-20"],
        cwd=lab,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics(lab / "runs" / "ci") == in_process
    assert (lab / "runs" / "ci" / "speed.json").is_file()


def test_a_gate_that_does_not_hold_fails_the_build(lab: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--pyargs", "dojobench.benchmarks", "-q", "-p",
         "no:cacheprovider", "--world-model", "my_model:make", "--suite", "clips.jsonl",
         "--suite-data", "videos", "-k", "test_gate", "--gate", "psnr>=hold+30"],
        cwd=lab,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "psnr minus hold is" in done.stdout
