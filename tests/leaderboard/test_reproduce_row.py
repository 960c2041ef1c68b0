"""``dojobench leaderboard reproduce``: what it runs, refuses, and calls a difference."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dojobench.leaderboard.pack import PackConfig, pack
from dojobench.leaderboard.reproduce_row import (
    Compared,
    ReproduceConfig,
    report_text,
    reproduce_row,
)
from dojobench.leaderboard.site_cli import main
from dojobench.leaderboard.site_entries import Number
from dojobench.leaderboard.verdict import Verdict
from dojobench.protocol.errors import BadInputError

STATED = Number(mean=20.0, low=19.0, high=21.0, n=8, clusters=4)
CARD = """\
format = 1
name = "hold"
kind = "static"
description = "Repeats the last context frame."
contact = "board@example.org"
licence = "Apache-2.0"
parameters = 0
[[authors]]
name = "The authors"
[conditions]
precision = "float32"
"""


def test_a_number_is_held_against_its_interval() -> None:
    number = Compared(benchmark="fidelity", metric="psnr", stated=STATED, found=20.9)
    assert number.within
    assert not replace(number, found=21.1).within
    assert not replace(number, found=None).within
    bare = Number(mean=20.0, n=1, clusters=1)
    assert replace(number, stated=bare, found=20.0).within
    assert not replace(number, stated=bare, found=20.1).within


@pytest.mark.parametrize(
    ("row", "told"),
    [("dojo-mini", "SUITE/SUBMISSION"), ("dojo-mini/../x", "is no row"),
     ("dojo-mini/nobody", "no submission"), ("dojo-v1/my-model-1", "no row on the suite")],
)  # fmt: skip
def test_rows_that_are_none(row: str, told: str, honest: Path) -> None:
    with pytest.raises(BadInputError, match=told):
        reproduce_row(ReproduceConfig(row=row, submissions=honest.parent))


def test_a_strangers_code_does_not_run_unasked(honest: Path) -> None:
    with pytest.raises(BadInputError, match="give --yes"):
        reproduce_row(ReproduceConfig(row="dojo-mini/my-model-1", submissions=honest.parent))


@pytest.mark.slow
def test_a_row_of_hold_is_made_again(
    tmp_path: Path, reseal: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from dojobench.benchmarks.benchmark_runs import run_benchmarks
    from dojobench.benchmarks.runner import RunConfig

    run = tmp_path / "run"
    run_benchmarks(
        RunConfig(model="hold", suite="dojo-mini", out=run, limit=2, baselines=(), videos="none"),
        ["fidelity"],
    )
    (tmp_path / "card.toml").write_text(CARD)
    board = tmp_path / "in"
    folder, _ = pack(
        PackConfig(runs=(run,), card=tmp_path / "card.toml", out=board / "hold-1", id="hold-1"),
        lambda _: Verdict(id="", submission_sha256="", findings=()),
    )
    command = ["reproduce", "dojo-mini/hold-1", "--submissions", str(board)]
    assert main([*command, "--out", str(tmp_path / "again")]) == 0
    assert "numbers are within their intervals" in capsys.readouterr().out
    file = folder / "runs/dojo-mini.fidelity/summary.json"
    summary = json.loads(file.read_text())
    summary["metrics"]["psnr"] |= {"mean": 40.0, "low": 39.0, "high": 41.0}
    file.write_text(json.dumps(summary))
    reseal(folder)
    assert main([*command, "--out", str(tmp_path / "again")]) == 1
    assert "OUTSIDE" in capsys.readouterr().out


def test_the_report_names_what_is_outside() -> None:
    from dojobench.leaderboard.reproduce_row import Reproduced

    number = Compared(benchmark="fidelity", metric="psnr", stated=STATED, found=22.0)
    text = report_text(Reproduced(row="dojo-mini/x", compared=(number,)))
    assert "+2.00  OUTSIDE" in text
    assert text.endswith("1 of 1 numbers are outside their intervals")
