"""Every `dojobench …` command of the docs can be typed: the command and its options exist."""

import re
import shlex
from pathlib import Path
from typing import Any, NoReturn

import pytest
import tyro

from dojobench.benchmarks import pytest_plugin
from dojobench.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


class Parsed(Exception):
    """The arguments were read; nothing was run."""


def commands(page: Path) -> list[str]:
    """The commands in a page's code blocks and in `code` within its text."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```\w*[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    in_text = re.findall(r"`(dojobench [^`\n]+)`", prose)
    typed = [line.removeprefix("- run: ").removeprefix("$ ") for line in lines]
    found = [line for line in typed if line.startswith("dojobench ")]
    # A sentence may name a command without its arguments; with options, it has to be right.
    return found + [each for each in in_text if " --" in each and "…" not in each.split(" --")[0]]


CASES = [(page, line) for page in PAGES for line in commands(page)]


def test_there_are_commands() -> None:
    assert len(CASES) > 20


@pytest.mark.parametrize(
    ("page", "line"), CASES, ids=[f"{page.stem}: {line}"[:90] for page, line in CASES]
)
def test_the_command_can_be_typed(
    page: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = tyro.cli

    def only_read(*arguments: Any, **keywords: Any) -> NoReturn:
        read(*arguments, **keywords)
        raise Parsed

    monkeypatch.setattr(tyro, "cli", only_read)
    words = shlex.split(line, comments=True)[1:]
    if words == ["--help"] or words[-1:] == ["COMMAND"]:
        return
    assert words[0] in COMMANDS
    try:
        code = main(words)
    except Parsed:
        return
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr()
    assert code == 0, f"{line}\n{told.out}{told.err}"


def test_every_option_of_the_plugin_is_on_the_page_and_no_other() -> None:
    source = Path(pytest_plugin.__file__).read_text(encoding="utf-8")
    taken = set(re.findall(r'^\s+(?:add\()?"(--[\w-]+)",', source, re.MULTILINE))
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("| `--"))
    assert len(taken) >= 12
    assert set(re.findall(r"`(--[\w-]+)", table)) == taken
