"""``dojobench train``: stages by name, exit codes, and what it says of wrong input."""

import json
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from dojobench.cli import main
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.model_file import write_model
from dojobench.reference_model.training.loop import LoopConfig, train
from dojobench.reference_model.training.recipe import Recipe
from dojobench.reference_model.training.stage import Batch, OptimizerConfig, Player
from dojobench.reference_model.training.stages import (
    PRODUCTS,
    STAGES,
    Until,
    finished,
    product,
    run_stage,
)

SMALL = ["--config", "smoke", "--set", "data.frames=5"]


class Line:
    """Learns a straight line; the smallest stage there is. Its step 20 waits to be let go."""

    name = "line"

    def __init__(self, let_go: threading.Event | None = None) -> None:
        self.let_go, self.step = let_go, 0
        torch.manual_seed(0)
        self.players = {"net": Player(module=nn.Linear(1, 1), optimizer=OptimizerConfig())}
        self.source = self

    def batch(self, step: int, size: int) -> Batch:
        return {"x": torch.full((size, 1), float(step % 7))}

    def turn(self, step: int) -> str:
        self.step = step
        return "net"

    def loss(
        self, player: str, batch: Batch, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        time.sleep(0.005)
        if self.let_go is not None and self.step == 20:
            assert self.let_go.wait(600)
        return {"total": (self.players["net"].module(batch["x"]) - batch["x"]).square().mean()}

    def validate(self, module: nn.Module) -> dict[str, float]:
        return {}

    def show(self, module: nn.Module) -> None:
        return None

    def export(self, module: nn.Module, folder: Path) -> Path:
        write_model(folder / "line.safetensors", module, kind="line", config=OptimizerConfig())
        return folder / "line.safetensors"


def learn_line(
    recipe: Recipe, run: Path, until: Until, let_go: threading.Event | None = None
) -> Path:
    config = LoopConfig(steps=200, batch=2, device="cpu", tensorboard=False, log_every=1)
    return finished(train(Line(let_go), config, run / "line", until=until))


@pytest.fixture(autouse=True)
def line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "line", learn_line)


def test_stopped_by_the_clock_it_asks_to_be_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert main(["train", "line", *out, *SMALL, "--minutes", "0.002"]) == 75
    told = capsys.readouterr()
    assert "with a checkpoint; the same command goes on" in told.err
    assert told.out == ""
    assert main(["train", "line", *out]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'line' / 'line.safetensors'}\n"
    straight = learn_line(Recipe(), tmp_path / "straight", lambda: False)
    assert (tmp_path / "line" / "line.safetensors").read_bytes() == straight.read_bytes()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_signal_has_its_exit_code(
    tmp_path: Path, number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, let_go = tmp_path / "line" / "train.jsonl", threading.Event()
    monkeypatch.setitem(STAGES, "line", partial(learn_line, let_go=let_go))

    def send() -> None:
        while not log.exists() or log.stat().st_size < 1000:
            time.sleep(0.005)
        os.kill(os.getpid(), number)
        let_go.set()

    former = signal.getsignal(number)
    sender = threading.Thread(target=send)
    sender.start()
    assert main(["train", "line", "--out", str(tmp_path), *SMALL]) == code
    sender.join()
    assert signal.getsignal(number) == former
    saved = torch.load(tmp_path / "line" / "state.pt", weights_only=True)
    assert 0 < saved["progress"]["step"] < 200


def test_the_data_of_a_recipe_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = [
        {"name": "arm-train", "embodiment": "arm", "split": "train", "episodes": 1},
        {"name": "arm-val", "embodiment": "arm", "split": "val", "episodes": 1},
    ]
    change = ["--set", f"data.groups={json.dumps(groups)}"]
    assert main(["train", "data", "--out", str(tmp_path), *SMALL, *change]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'data'}\n"
    assert sorted(one.name for one in (tmp_path / "data").iterdir()) == ["arm-train", "arm-val"]
    kept = json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))
    assert kept["data"]["frames"] == 5
    assert kept["data"]["groups"] == groups
    assert main(["train", "data", "--out", str(tmp_path), "--config", "smoke"]) == 2
    assert "was made with data." in capsys.readouterr().err


def test_show_prints_every_value_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "data", "--out", str(run), *SMALL, "--show"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["frames"] == 5
    assert not run.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tokeniser", "--config", "smoke"], "There is no stage 'tokeniser'; the nearest is "),
        (["line"], "holds no run yet; name a recipe"),
        (["line", "--config", "smok"], "the nearest is 'smoke'"),
        (["line", "--config", "smoke", "--set", "data.frame=3"], "nearest is 'data.frames'"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 2
    complaint = capsys.readouterr().err
    assert told in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_product_names_the_stage_to_run_first(tmp_path: Path) -> None:
    for stage, path in PRODUCTS.items():
        with pytest.raises(BadInputError, match=rf"{path} yet; run `dojobench train {stage} "):
            product(tmp_path, stage)
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
        assert product(tmp_path, stage) == tmp_path / path


def test_an_unknown_stage_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="all are data"):
        run_stage("nothing", Recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
