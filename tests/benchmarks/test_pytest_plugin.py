"""The plugin in a repository of somebody else's: fixtures, gates, regressions, plain failures."""

import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.cli import main

MODEL = '''
import torch
from dojobench.protocol import ModelSpec


class Darker:
    """Repeats the last frame, darker by so many grey levels."""

    def __init__(self, levels):
        self.spec = ModelSpec(name="darker", version="1")
        self.levels = levels

    def start(self, context, *, seed, instruction=None):
        return Rollout(context[:, -1:], self)


class Rollout:
    def __init__(self, frame, model):
        self.frame, self.model = frame, model

    def step(self, actions):
        frames = self.frame.repeat(1, actions.shape[1], 1, 1, 1).int()
        return (frames - self.model.levels).clamp(0, 255).to(torch.uint8)

    def close(self):
        pass


def make(levels: int = 0):
    return Darker(levels)
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh folder with a model and a frozen suite of eight clips in four episodes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    # Where the tests themselves run side by side, those within do not.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    rng = np.random.default_rng(0)
    for number in range(4):
        still = torch.from_numpy(rng.integers(60, 256, (1, 3, 32, 32), dtype=np.uint8))
        moved = torch.cat([still.roll(k, -1) for k in range(12)])
        with VideoWriter(Path(f"clips/{number}.mp4"), rate=10, resolution=(32, 32)) as writer:
            writer.write(moved)
    Path("my_model.py").write_text(MODEL)
    arguments = ["clips", "--embodiment", "none", "--frames", "6", "--out", "clips.jsonl"]
    assert main(["data", "freeze", *arguments]) == 0


class Done(NamedTuple):
    """What a run of pytest came to."""

    code: int
    told: str

    @property
    def outcomes(self) -> dict[str, int]:
        """How many tests passed, failed, and so on."""
        found = re.findall(r"(\d+) (passed|failed|skipped|error)", self.told.splitlines()[-1])
        return {name: int(number) for number, name in found}


def run(*arguments: str) -> Done:
    """Runs pytest within this process, which saves importing torch each time."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", "-q", "-rs", *arguments])
    return Done(int(code), errors.getvalue() + out.getvalue())


def benchmarks(*arguments: str, module: str = "test_quality") -> Done:
    model = ("--world-model", "my_model:make", "--suite", "clips.jsonl")
    return run("--pyargs", f"dojobench.benchmarks.{module}", *model, *arguments)


@pytest.mark.usefixtures("lab")
def test_gates_that_hold_and_gates_that_do_not() -> None:
    done = benchmarks("--gate", "psnr>=hold", "--gate", "psnr>=hold+3", "--gate", "ssim<=1")
    assert done.outcomes == {"passed": 3, "failed": 1, "skipped": 2}
    assert "psnr>=hold+3: psnr minus hold is +0 " in done.told
    assert "verdict" not in done.told, "a gate that fails is one sentence"


@pytest.mark.usefixtures("lab")
def test_a_model_that_got_worse_fails_the_build() -> None:
    assert benchmarks("--run-out", "before").outcomes == {"passed": 1, "skipped": 3}
    kept = json.loads(Path("before/summary.json").read_text())
    same = benchmarks("--gate-against", "before/summary.json", "-k", "not_worse")
    assert same.outcomes == {"passed": 1}
    worse = benchmarks("--world-model-option", "levels=9", "--run-out", "now", "--gate-against",
                       "before", "-k", "not_worse")  # fmt: skip
    assert worse.outcomes == {"failed": 1}
    now = json.loads(Path("now/summary.json").read_text())
    difference = now["metrics"]["psnr"]["mean"] - kept["metrics"]["psnr"]["mean"]
    assert f"psnr got worse: difference {difference:+.4g}" in worse.told
    fewer = benchmarks("--suite-limit", "2", "--gate-against", "before", "-k", "not_worse")
    assert fewer.outcomes == {"failed": 1}
    assert "are scored in one of them only; run both on the same clips" in fewer.told
    assert "verdict" not in fewer.told


@pytest.mark.usefixtures("lab")
def test_a_slower_model_fails_the_build() -> None:
    def speed(*arguments: str) -> Done:
        return benchmarks(*arguments, module="test_speed")

    assert speed("--run-out", "before").outcomes == {"passed": 1}
    before = json.loads(Path("before/speed.json").read_text())
    assert len(before["step_seconds"]) == 12

    def against(factor: float) -> Done:
        """Gated by a former model so many times as slow: no busy machine makes up for that."""
        steps = [factor * seconds for seconds in before["step_seconds"]]
        Path("former.json").write_text(json.dumps(before | {"step_seconds": steps}))
        return speed("--gate-speed-against", "former.json")

    slower = against(1e-6)
    assert slower.outcomes == {"failed": 1}
    assert "times what it did" in slower.told
    assert against(1e6).outcomes == {"passed": 1}


@pytest.mark.usefixtures("lab")
def test_fixtures_serve_tests_of_ones_own() -> None:
    Path("test_own.py").write_text(
        """
def test_good_enough(run_summary):
    assert run_summary["metrics"]["psnr"]["mean"] > 5

def test_first_frame(world_model, suite):
    clip = suite.open(suite.clips[0])
    session = world_model.start(clip.read(0, 1)[None], seed=0)
    assert session.step(clip.actions[None, :4]).shape[1] == 4
"""
    )
    model = ("--world-model", "my_model:make", "--suite", "clips.jsonl")
    assert run("test_own.py", *model).outcomes == {"passed": 2}
    bare = run("test_own.py")
    assert bare.outcomes == {"skipped": 2}
    assert "needs --world-model" in bare.told


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gate", "psnr>>3"], "the gate 'psnr>>3' cannot be read"),
        (["--suite-seeds", "one"], "--suite-seeds one: write numbers such as 0,1,2"),
        (["--world-model-option", "loose"], "--world-model-option loose: write KEY=VALUE"),
        (["--gate-against", "none.json"], "--gate-against none.json: there is no such file"),
        (["--gate-speed-against", "no.json"], "--gate-speed-against no.json: there is no such"),
    ],
)
def test_options_that_cannot_be_read(arguments: list[str], said: str) -> None:
    done = benchmarks(*arguments)
    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {said}" in done.told


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--world-model", "my_modle:make"], "there is no module my_modle here or installed"),
        (["--suite", "clip.jsonl"], "The manifest clip.jsonl cannot be read"),
        (["--gate", "psnr>=hald"], "there is no registered model hald; did you mean hold"),
        (["--gate", "fvd<=3"], "fvd"),
        (["--suite-limit", "0"], "--limit"),
    ],
)
def test_what_does_not_exist_is_one_sentence(arguments: list[str], said: str) -> None:
    done = benchmarks("--gate", "psnr>=1", *arguments, "-k", "test_gate")
    assert sum(done.outcomes.values()) <= 2
    assert done.code == pytest.ExitCode.TESTS_FAILED
    assert said in done.told
    assert "raise BadInputError" not in done.told
