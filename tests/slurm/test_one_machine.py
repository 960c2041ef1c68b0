"""A Slurm on one machine: it leaves nothing behind, however it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.slurm.one_machine import OneMachineCluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]


def until(what: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def mentions(text: str) -> list[str]:
    """Processes with a text in their environment or command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if text.encode() in command + (entry / "environ").read_bytes():
                found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("slurm")
def test_two_at_once_end_with_their_jobs_and_leave_nothing() -> None:
    with OneMachineCluster(nodes=1) as one, OneMachineCluster(nodes=1) as other:
        folders = (one.folder, other.folder)
        for each in (one, other):
            each.call("sbatch", f"--output={each.folder}/log", "--wrap", "srun sleep 600")
            until(lambda each=each: "sleep 600" in " ".join(mentions(str(each.folder))))
        assert (
            other.call("srun", "--overlap", "--jobid=1", "printenv", "SLURM_CONF").strip()
            == (other.environment["SLURM_CONF"])
        )
    for folder in folders:
        assert not folder.exists()
        until(lambda folder=folder: mentions(str(folder)) == [])


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_command_takes_its_daemons_along(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dojobench.cli", "slurm", "cluster"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(3)]
    name, _, config = said[2].strip().removeprefix("export ").partition("=")
    folder = str(Path(config).parent)
    told = subprocess.run(
        ["sinfo", "-h", "-o", "%P %D %t"],
        env=os.environ | {name: config},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["all* 2 idle", "node1 1 idle", "node2 1 idle"]
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    until(lambda: mentions(folder) == [])
    if number == signal.SIGKILL:
        shutil.rmtree(folder)
    else:
        assert (process.returncode, errors.strip()) == (130, "dojobench: interrupted")
        assert not Path(folder).exists()


def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "dojobench.slurm.one_machine.missing_programs", lambda: ["munged", "slurmd"]
    )
    assert main(["slurm", "cluster"]) == 2
    assert "munged, slurmd; install Slurm and munge" in capsys.readouterr().err
