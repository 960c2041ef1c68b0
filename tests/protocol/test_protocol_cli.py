"""`dojobench serve` and `dojobench conform` as a user runs them."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dojobench.cli import main
from dojobench.protocol.lookup import load_model

PATIENCE = 600
"""Seconds after which a hang is one, however slow the machine."""

MODEL = """
import torch
from dojobench.protocol import ActionSpace, ModelSpec

class Shift:
    def __init__(self, by, busy, fault):
        space = ActionSpace(dim=2, embodiment="arm")
        self.spec = ModelSpec(name="shift", version="3", action_space=space)
        self.by, self.busy, self.fault = by, busy, fault
    def start(self, context, *, seed, instruction=None):
        return Session(self, context[:, -1])

class Session:
    def __init__(self, model, frame):
        self.model, self.frame = model, frame
    def step(self, actions):
        if self.model.busy:
            __import__("time").sleep(3600)
        if actions.shape[2] != 2 or not actions.isfinite().all():
            raise ValueError("not for me")
        frames = []
        for k in range(actions.shape[1]):
            moved = (actions[:, k].sum(1).tanh() * 20).to(torch.int16)[:, None, None, None]
            self.frame = ((self.frame.short() + self.model.by + moved) % 256).byte()
            frames.append(self.frame)
        return torch.stack(frames, 1)[:, self.model.fault:]
    def close(self):
        pass

class Fits(Shift):
    def __init__(self): super().__init__(1, False, 0)
    def fit(self, suite, split): ...

class Privileged(Shift):
    def __init__(self): super().__init__(1, False, 0)
    def start_privileged(self, context, *, seed, clips): ...

def make(by: int = 9, busy: bool = False, fault: int = 0):
    return Shift(by, busy, fault)
"""


@pytest.fixture(autouse=True)
def model(lab: Path) -> Path:
    path = lab / "shift_model.py"
    path.write_text(MODEL)
    return path


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dojobench.cli", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        match = re.search(r"at (\S+) ", line)
        assert match is not None, line + str(process.communicate()[1])
        yield match[1], process
    finally:
        process.kill()
        process.communicate()


def test_conform_says_what_is_good(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "shift_model:make", "by=4", "--out", "found.json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("pass  spec: shift 3 states")
    assert re.fullmatch(r"The model keeps the contract: \d+ passed, 0 failed, 1 to note\.", out[-2])
    assert out[-1] == "written to found.json"
    content = json.loads((lab / "found.json").read_text())
    assert (content["passed"], content["options"]) == (True, {"by": "4"})
    assert content["model"]["action_space"]["dim"] == 2


def test_conform_fails_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "shift_model:make", "fault=1"]) == 1
    out = capsys.readouterr().out
    assert "fail  answers: the model answered with 0 frames to 1 actions; it owes one" in out
    assert out.splitlines()[-1].startswith("The model breaks the contract: 1 passed, 1 failed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["conform", "shift_model:make", "bussy=4"], "did you mean busy"),
        (["conform", "shift_model:make", "by"], "'by' is no option; write KEY=VALUE"),
        (["conform", "shift_model:make", "--out", "no/such/f.json"], "there is no folder no/such"),
        (["conform", "shift_model:make", "--device", "gpux"], "--device gpux cannot be used"),
        (["conform", "shift_model:make", "--chunk", "0"], "must be above 0"),
        (["conform", "ws://127.0.0.1:1"], "the server at ws://127.0.0.1:1 cannot be reached"),
        (["serve", "nothing_here"], "there is no registered model nothing_here"),
        (["serve", "shift_model:make", "--port", "70000"], "--port 70000 is no port"),
        (["serve", "shift_model:make", "--max-sessions", "0"], "--max-sessions must be above 0"),
        (["serve", "shift_model:make", "--http"], "add --resolution"),
        (["serve", "shift_model:Fits"], "is given a training split and works inside dojobench run"),
        (
            ["conform", "shift_model:Privileged"],
            "is given the truth and works inside dojobench run",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_served_model_is_the_same_model() -> None:
    context = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8)
    actions = torch.randn(2, 6, 2)
    here = load_model("shift_model:make", {"by": "5"}).start(context, seed=0).step(actions)
    with served("shift_model:make", "by=5") as (address, process):
        there = load_model(address, {}).start(context, seed=0).step(actions)
        assert torch.equal(here, there)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in str(process.communicate()[1])
    with served("shift_model:make", "by=5", "--http", "--resolution", "16", "16") as (
        address,
        process,
    ):
        assert address.startswith("http://")
        there = load_model(address, {}).start(context, seed=0).step(actions)
        assert torch.equal(here, there)
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_stuck_model_keeps_neither_health_nor_the_end_waiting() -> None:
    with served("shift_model:make", "busy=true") as (address, process):
        remote = load_model(address, {"timeout": "500"})
        session = remote.start(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8), seed=0)
        assert remote.timeout == 500
        remote.timeout = 0.5
        with pytest.raises(Exception, match=r"did not answer within 0\.5 s"):
            session.step(torch.zeros(1, 1, 2))
        health = address.replace("ws://", "http://") + "/healthz"
        with urllib.request.urlopen(health, timeout=PATIENCE) as answer:
            assert json.load(answer)["status"] == "ready"
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_an_open_interface_without_a_token_is_remarked() -> None:
    with served("shift_model:make", "--host", "0.0.0.0") as (_, process):
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert "anyone who reaches 0.0.0.0 can use the model; set DOJOBENCH_TOKEN" in err
