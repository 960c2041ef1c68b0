"""Plans on one machine without Slurm: order, failure, interruption, and going on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.protocol.errors import BadInputError
from dojobench.slurm.job_state import read_state
from dojobench.slurm.local_runner import LocalRun
from dojobench.slurm.plan import Job, Plan, plan_to_json
from dojobench.slurm.status import status

MakeJob = Callable[..., Job]

PATIENCE = 600
"""Seconds after which a hang is one, however slow the machine."""


def go(plan: Plan, run: Path, parallel: int = 1) -> tuple[int, list[str]]:
    told: list[str] = []
    return LocalRun(plan=plan, run=run, parallel=parallel, tell=told.append).go(), told


def states(run: Path) -> dict[str, str]:
    return {row.name: row.state for row in status(run)}


def start(plan: Plan, folder: Path, run: Path, *more: str) -> "subprocess.Popen[str]":
    """The same by the command line, as a process of its own."""
    (folder / "plan.json").write_bytes(plan_to_json(plan))
    words = ["slurm", "run", str(folder / "plan.json"), "--local", "--out", str(run), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "dojobench.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_jobs_run_in_order_and_once(tmp_path: Path, says: MakeJob) -> None:
    note = tmp_path / "note"
    write = f"open({str(note)!r}, 'a').write(%s + ' ')"
    jobs = (
        says("last", write % "'last'", after=("rows",)),
        says("rows", write % "sys.argv[1]", after=("first",), array=3),
        says("first", write % "'first'"),
    )
    plan, run = Plan(name="chain", jobs=jobs), tmp_path / "run"
    code, _ = go(plan, run)
    assert (code, note.read_text()) == (0, "first 0 1 2 last ")
    code, told = go(plan, run)
    assert (code, note.read_text()) == (0, "first 0 1 2 last ")
    assert told == [f"{name}: done before" for name in ("first", "rows.0", "rows.1", "rows.2",
                                                        "last")]  # fmt: skip


def test_no_more_than_so_many_run_at_a_time(tmp_path: Path, says: MakeJob) -> None:
    here = tmp_path / "here"
    here.mkdir()
    # The first two wait for each other, so they must run at the same time.
    code = (
        f"import time; here = pathlib.Path({str(here)!r}); (here / sys.argv[1]).touch()\n"
        "while len(list(here.iterdir())) < 2: time.sleep(0.01)"
    )
    rows = says("rows", code, array=4)
    result, told = go(Plan(name="wide", jobs=(rows,)), tmp_path / "run", parallel=2)
    assert result == 0
    changes = [(line.endswith(": started")) - line.endswith(": done") for line in told]
    deep = [sum(changes[: n + 1]) for n in range(len(changes))]
    assert (max(deep), deep[-1]) == (2, 0)


def test_a_failure_stops_dependants_and_nothing_else(tmp_path: Path, says: MakeJob) -> None:
    run, mended = tmp_path / "run", tmp_path / "mended"
    fail = f"sys.exit(0 if pathlib.Path({str(mended)!r}).exists() else 'no frames there')"
    jobs = (
        says("data", "print('made')"),
        says("train", fail, after=("data",)),
        says("score", "pass", after=("train",)),
        says("report", "pass", after=("score",)),
        says("aside", "pass", after=("data",)),
    )
    plan = Plan(name="failing", jobs=jobs)
    code, told = go(plan, run)
    assert code == 1
    assert "train: failed, exit code 1: no frames there" in told
    assert "score: not run, for train failed" in told
    assert "report: not run, for train failed" in told
    assert states(run) == {"data": "done", "train": "failed", "aside": "done",
                           "score": "not run", "report": "not run"}  # fmt: skip
    assert {row.name: row.reason for row in status(run)}["report"] == "train failed"
    assert (run / "jobs" / "data.out").read_text() == "made\n"
    mended.touch()
    assert go(plan, run)[0] == 0
    assert set(states(run).values()) == {"done"}
    assert read_state(run, "data").attempts == 1
    assert read_state(run, "train").attempts == 2


def test_how_a_job_was_killed_is_said(tmp_path: Path, says: MakeJob) -> None:
    kill = says("train", "import os; os.kill(os.getpid(), 9)")
    _, told = go(Plan(name="killed", jobs=(kill,)), tmp_path / "run")
    assert told[-1] == "train: failed, ended by SIGKILL, as happens when memory runs out"


def test_a_job_that_asks_to_go_on_goes_on(tmp_path: Path, says: MakeJob) -> None:
    mark = tmp_path / "mark"
    code = f"p = pathlib.Path({str(mark)!r}); was = p.exists(); p.touch(); sys.exit(75 * (not was))"
    result, told = go(Plan(name="again", jobs=(says("train", code),)), tmp_path / "run")
    assert result == 0
    assert "train: saved its state and goes on" in told
    assert read_state(tmp_path / "run", "train").attempts == 2


def test_a_job_that_never_gets_on_ends(
    tmp_path: Path, says: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dojobench.slurm.run_folder.ATTEMPTS", 3)
    plan = Plan(name="stuck", jobs=(says("train", "sys.exit(75)"),))
    code, told = go(plan, tmp_path / "run")
    assert code == 1
    assert told[-1] == "train: failed, it was started 3 times and did not finish"


def test_a_program_that_does_not_exist_is_told_in_one_sentence(tmp_path: Path) -> None:
    job = Job(name="train", command=("x",), program=(str(tmp_path / "none"),))
    code, told = go(Plan(name="none", jobs=(job,)), tmp_path / "run")
    assert code == 1
    assert str(tmp_path / "none") in told[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_stop_saves_and_the_same_command_ends_the_same(
    tmp_path: Path, counter: MakeJob, number: signal.Signals, code: int
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    jobs = (counter("count", run, hold=6), counter("next", run, steps=3, after=("count",)))
    plan = Plan(name="stopped", jobs=jobs)
    process = start(plan, tmp_path, run)
    until(lambda: lines(run / "count" / "train.jsonl") == 6)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "the same command goes on from here" in said
    assert states(run) == {"count": "requeued", "next": "waiting"}
    assert "asked by SIGTERM at 6" in (run / "jobs" / "count.out").read_text()
    assert go(plan, run)[0] == 0
    subprocess.run(counter("count", whole).tasks()[0].argv, check=True)
    assert (run / "count" / "result").read_text() == (whole / "count" / "result").read_text()
    assert [line.split()[0] for line in (run / "count" / "starts").open()] == ["0", "6"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_runner_that_is_killed_leaves_nothing_running(tmp_path: Path, counter: MakeJob) -> None:
    run = tmp_path / "run"
    process = start(Plan(name="dead", jobs=(counter("count", run, hold=6),)), tmp_path, run)
    until(lambda: lines(run / "count" / "train.jsonl") == 6)
    process.kill()
    process.communicate(timeout=PATIENCE)
    until(lambda: "asked by SIGTERM at 6" in (run / "jobs" / "count.out").read_text())
    assert go(Plan(name="dead", jobs=(counter("count", run, hold=6),)), run)[0] == 0


def test_a_folder_is_run_by_one_process_and_can_be_cancelled_from_another(
    tmp_path: Path, counter: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    plan = Plan(name="held", jobs=(counter("count", run, hold=6),))
    process = start(plan, tmp_path, run)
    until(lambda: lines(run / "count" / "train.jsonl") == 6)
    with pytest.raises(BadInputError, match="is being run by another process"):
        go(plan, run)
    assert main(["slurm", "cancel", str(run)]) == 0
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 75
    assert main(["slurm", "cancel", str(run)]) == 2
    assert "is not running" in capsys.readouterr().err


def test_another_plan_is_kept_out_of_a_runs_folder(tmp_path: Path, says: MakeJob) -> None:
    run = tmp_path / "run"
    go(Plan(name="one", jobs=(says("a", "pass"), says("b", "pass"))), run)
    before = (run / "plan.json").read_bytes()
    with pytest.raises(BadInputError, match="another plan, with job 'b' different"):
        go(Plan(name="one", jobs=(says("a", "pass"), says("b", "pass", after=("a",)))), run)
    assert (run / "plan.json").read_bytes() == before


def test_jobs_know_how_many_cores_they_have(
    tmp_path: Path, says: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job = says("a", "import os; print(os.environ['OMP_NUM_THREADS'])")
    go(Plan(name="one", jobs=(job,)), tmp_path / "run")
    assert (tmp_path / "run" / "jobs" / "a.out").read_text() == "1\n"


def test_without_slurm_the_way_out_is_named(
    tmp_path: Path,
    says: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "plan.json").write_bytes(plan_to_json(Plan(name="p", jobs=(says("a", "pass"),))))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["slurm", "run", str(tmp_path / "plan.json"), "--out", str(tmp_path / "r")]) == 2
    assert "--local" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_real_command_of_the_project_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(name="real", jobs=(Job(name="version", command=("--version",)),))
    (tmp_path / "plan.json").write_bytes(plan_to_json(plan))
    run = tmp_path / "run"
    words = ["slurm", "run", str(tmp_path / "plan.json"), "--local", "--out", str(run)]
    assert main(words) == 0
    assert "all jobs of 'real' are done" in capsys.readouterr().out
    assert (run / "jobs" / "version.out").read_text().startswith("dojobench ")
    assert not list(run.glob("**/*.tmp"))
