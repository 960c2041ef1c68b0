"""Commands read their arguments, and their help says what a user has to know and no more."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from dojobench.protocol.command_line import parse


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Of several commands."""

    out: Path | None = None
    """Where to. Default: here."""


@dataclass(frozen=True, kw_only=True)
class Command(Shared):
    """Does something."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Which model."""
    size: tuple[int, int] | None = None
    """Height and width."""
    seeds: tuple[int, ...] = (0,)
    """Of the model."""
    parts: tuple[Literal["a", "b"], ...] = ()
    """Which parts."""
    mode: Literal["fast", "slow"] = "fast"
    """How."""
    seed: int = 0
    """Of the run."""
    deep: bool = False
    """Also look inside."""


def test_arguments_are_read() -> None:
    found = parse(Command, ["m", "--size", "3", "4", "--seeds", "1", "2", "--deep"], "x")
    assert found.model == "m"
    assert (found.size, found.seeds, found.deep) == ((3, 4), (1, 2), True)
    assert (found.out, found.parts, found.mode) == (None, (), "fast")
    assert isinstance(found, Command)
    assert parse(Command, ["m", "--out", "None"], "x").out == Path("None")


def test_help_says_what_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(Command, ["--help"], "dojobench x")
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "usage: dojobench x" in told
    for said in (
        "Does something.",
        "MODEL Which model.",
        "--out PATH Where to. Default: here.",
        "--size INT INT Height and width.",
        "--seeds INT … Of the model. (default: 0)",
        "--parts {a,b} … Which parts.",
        "--mode {fast,slow} How. (default: fast)",
        "--seed INT Of the run. (default: 0)",
        "--deep Also look inside.",
    ):
        assert said in told
    for noise in ("None", "no-deep", "(default: )", "False"):
        assert noise not in told


@pytest.mark.parametrize(
    "argv",
    [[], ["m", "--mode", "often"], ["m", "--seeds", "one"], ["m", "--size", "3"], ["m", "n"]],
)
def test_what_cannot_be_read_exits_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(Command, argv, "x")
    assert ended.value.code == 2


def test_bad_input_needs_no_torch() -> None:
    code = (
        "import sys, dojobench.protocol.errors, dojobench.protocol; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_names_are_looked_up_when_asked_for() -> None:
    import dojobench.protocol as protocol

    assert all(getattr(protocol, name) is not None for name in protocol.__all__)
    assert set(protocol.__all__) <= set(dir(protocol))
    with pytest.raises(AttributeError, match="no attribute 'Model'"):
        _ = protocol.Model
