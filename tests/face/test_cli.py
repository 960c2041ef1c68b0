"""The command line's face: help, unknown commands, bad input, and no torch before it is needed."""

import subprocess
import sys

import pytest

from dojobench import cli


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name}" in printed for name in cli.COMMANDS)


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from dojobench.cli import main; main(['--help']);print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_help_of_a_command_imports_no_torch(name: str) -> None:
    code = (
        "import sys\nfrom dojobench.cli import main\n"
        f"try: main([{name!r}, '--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dojobench ")


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scoer"]) == 2
    assert "did you mean 'score'" in capsys.readouterr().err


def test_bad_input_is_one_sentence_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "hold", "--suite", "no-such-suite", "--out", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dojobench: ")
    assert "no-such-suite" in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(cli.main([name, "--help"]))
    assert stop.value.code in (0, None)
    assert "usage" in capsys.readouterr().out.lower()
