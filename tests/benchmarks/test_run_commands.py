"""The commands as a user meets them: what they print, where they write, how they fail."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dojobench.benchmarks.records import load_run
from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.cli import main
from dojobench.datasets.formats import open_source
from dojobench.datasets.freeze import FreezePlan, freeze
from dojobench.datasets.manifest import write_manifest


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest over three small videos with actions; the current directory is empty."""
    folder = tmp_path / "data/clips"
    rng = np.random.default_rng(0)
    for number in range(3):
        pictures = torch.from_numpy(rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))
        with VideoWriter(folder / f"{number}.mp4", rate=10, resolution=(32, 32)) as writer:
            writer.write(pictures)
        np.save(folder / f"{number}.npy", rng.normal(size=(8, 2)).astype(np.float32))
    plan = FreezePlan(name="clips", embodiment="arm", frames=8, lead=0)
    frozen = freeze(open_source(folder), plan)
    write_manifest(tmp_path / "data/clips.jsonl", frozen.header, frozen.clips)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "data/clips.jsonl"


def test_run_prints_table_place_and_next_step(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "hold", "--suite", str(suite), "--metrics", "psnr"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "hold on clips: 3 clips of 3 episodes" in told
    assert "Result: runs/hold-clips" in told
    assert "dojobench report runs/hold-clips" in told
    run = load_run("runs/hold-clips")
    assert run.meta.model.reference == "hold"
    assert run.meta.suite.version.startswith("sha256:")
    assert set(run.baselines()) == set(), "hold needs no copy of itself beside it"
    assert main(arguments) == 0
    assert main(["run", "noise", *arguments[2:]]) == 0
    assert set(load_run("runs/noise-clips").baselines()) == {"hold"}


def test_model_from_a_module_with_options(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my_still_model.py").write_text(
        "from dojobench.benchmarks.baselines import Noise\n"
        "def make(std: float = 1.0): return Noise(std)\n"
    )
    assert main(["run", "my_still_model:make", "std=3", "--suite", str(suite), "--out", "r"]) == 0
    assert load_run("r").meta.model.options == {"std": "3"}
    assert main(["run", "my_still_model:make", "std=4", "--suite", str(suite), "--out", "r"]) == 2
    assert "another run (model.options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "hold", "--suite", "no.jsonl"], "no.jsonl"),
        (["run", "hold", "--suite", "SUITE", "--splits", "novel"], "no split novel"),
        (["run", "hold", "--suite", "SUITE", "--baselines", "holt"], "holt"),
        (["run", "hold", "loose", "--suite", "SUITE"], "KEY=VALUE"),
        (["score", "nowhere", "--suite", "SUITE"], "nowhere does not exist"),
        (["score", "nowhere"], "either --suite, or --truth"),
        (["report"], "one or more run folders"),
        (["report", "."], "no run folder"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    suite: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = [str(suite) if word == "SUITE" else word for word in arguments]
    assert main(given) == 2
    told = capsys.readouterr().err.strip()
    assert message in told
    assert len(told.splitlines()) == 1
    assert list(Path().iterdir()) == []


def test_a_truncated_video_is_named(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = suite.parent / "clips/1.mp4"
    video.write_bytes(video.read_bytes()[:-200])
    assert main(["run", "hold", "--suite", str(suite), "--out", "r"]) == 2
    assert "1" in capsys.readouterr().err
    assert not Path("r/summary.json").exists()
