"""Plans on a real Slurm: order, arrays, and every way in which a job is ended and goes on."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.protocol.errors import BadInputError
from dojobench.slurm.job_state import read_state
from dojobench.slurm.one_machine import OneMachineCluster
from dojobench.slurm.plan import Job, Plan, Resources, plan_to_json
from dojobench.slurm.status import status
from dojobench.slurm.submit import cancel, submit

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

MakeJob = Callable[..., Job]

PATIENCE = 900
"""Seconds after which a hang is one, however slow the machine."""


@pytest.fixture(scope="module")
def cluster(slurm: OneMachineCluster) -> Iterator[OneMachineCluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm.environment.items():
            patch.setenv(name, value)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield slurm


@pytest.fixture(scope="module", autouse=True)
def limited(
    cluster: OneMachineCluster, tmp_path_factory: pytest.TempPathFactory, counter: MakeJob
) -> Path:
    """A run against a time limit, told so after a minute; Slurm is slow, so it begins at once.

    It has the first node for itself, and the second is the one that gets lost.
    """
    run = tmp_path_factory.mktemp("limited") / "run"
    short = Resources(cpus=1, memory_gb=0.25, minutes=2, partition="node1")
    jobs = (
        counter("count", run, hold=9, resources=short),
        counter("next", run, steps=3, after=("count",)),
    )
    submit(Plan(name="limit", jobs=jobs), run)
    return run


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def finish(run: Path) -> dict[str, str]:
    """Waits until all jobs have come to their end; returns their states."""
    over = {"done", "failed", "not run", "cancelled"}
    until(lambda: all(row.state in over for row in status(run)))
    return {row.name: row.state for row in status(run)}


def holding(run: Path, name: str, step: int) -> Callable[[], bool]:
    """Whether a counter lingers at its step."""
    log = run / name / "train.jsonl"
    return lambda: log.exists() and len(log.read_text().splitlines()) == step


def starts(run: Path, name: str) -> list[str]:
    return (run / name / "starts").read_text().splitlines()


@pytest.fixture
def expected(tmp_path: Path, counter: MakeJob) -> str:
    """What a counter ends with that nobody interrupts."""
    job = counter("whole", tmp_path / "uninterrupted")
    subprocess.run(job.tasks()[0].argv, check=True)
    return (tmp_path / "uninterrupted" / "whole" / "result").read_text()


def test_a_chain_with_an_array_runs_in_order(
    cluster: OneMachineCluster, tmp_path: Path, says: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    note = tmp_path / "notes"
    # The first one lingers until it was seen that the last one waits for it.
    linger = f"p = pathlib.Path({str(tmp_path / 'seen')!r})\nwhile not p.exists(): time.sleep(0.1)"
    write = f"open({str(note)!r}, 'a').write(%s + ' ')"
    jobs = (
        says("last", write % "'last'", after=("rows",)),
        says("rows", write % "sys.argv[1]", after=("first",), array=3),
        says("first", f"import time; {linger}\n{write % repr('first')}"),
    )
    (tmp_path / "plan.json").write_bytes(plan_to_json(Plan(name="chain", jobs=jobs)))
    assert main(["slurm", "run", str(tmp_path / "plan.json"), "--out", str(run)]) == 0
    assert "3 jobs of 'chain' handed to Slurm" in capsys.readouterr().out
    assert {row.name: row.state for row in status(run)}["last"] == "waiting"
    (tmp_path / "seen").touch()
    assert set(finish(run).values()) == {"done"}
    words = note.read_text().split()
    assert (words[0], sorted(words[1:4]), words[4:]) == ("first", ["0", "1", "2"], ["last"])
    ids = {row.name: row.slurm_id for row in status(run)}
    assert ids["rows.2"] == f"{str(ids['rows.0']).partition('_')[0]}_2"
    # All is done, so nothing is handed over a second time.
    assert main(["slurm", "run", str(tmp_path / "plan.json"), "--out", str(run)]) == 0
    assert "are done already" in capsys.readouterr().out


def test_a_failure_stops_what_depends_on_it_and_a_second_submission_goes_on(
    cluster: OneMachineCluster, tmp_path: Path, says: MakeJob
) -> None:
    run, mended = tmp_path / "run", tmp_path / "mended"
    fail = f"sys.exit(0 if pathlib.Path({str(mended)!r}).exists() else 'no frames there')"
    ok = "pass"
    jobs = (
        says("data", ok),
        says("train", fail, after=("data",)),
        says("score", ok, after=("train",)),
        says("aside", ok, after=("data",)),
    )
    plan = Plan(name="failing", jobs=jobs)
    ids = submit(plan, run)
    assert finish(run) == {"data": "done", "train": "failed", "score": "not run", "aside": "done"}
    rows = {row.name: row for row in status(run)}
    assert rows["train"].reason == "exit code 1: no frames there"
    assert rows["score"].reason == "train failed"
    until(lambda: not cluster.call("squeue", "-h", "-j", ",".join(ids.values())).strip())
    mended.touch()
    assert sorted(submit(plan, run)) == ["score", "train"]
    assert set(finish(run).values()) == {"done"}


def test_jobs_stopped_in_the_middle_are_requeued_and_end_the_same(
    cluster: OneMachineCluster, tmp_path: Path, counter: MakeJob, expected: str
) -> None:
    run = tmp_path / "run"
    names = ("requeued", "deaf", "asked")
    jobs = (
        counter("requeued", run, hold=7),
        counter("deaf", run, hold=7, manners="deaf"),
        counter("asked", run, hold=7),
        counter("next", run, steps=3, after=names),
    )
    ids = submit(Plan(name="stops", jobs=jobs), run)
    until(lambda: all(holding(run, name, 7)() for name in names))
    cluster.call("scontrol", "requeue", ids["requeued"])
    cluster.call("scontrol", "requeue", ids["deaf"])
    # Here Slurm itself has no wish to end the job; its command asks to be started again.
    cluster.call("scancel", "--signal=TERM", ids["asked"])
    until(lambda: all(read_state(run, name).state == "requeued" for name in names))
    assert set(finish(run).values()) == {"done"}
    for name in names:
        assert (run / name / "result").read_text() == expected
        assert [line.split()[0] for line in starts(run, name)] == ["0", "7"]
        assert read_state(run, name).attempts == 2
        said = (run / "jobs" / f"{name}.out").read_text()
        assert ("asked by SIGTERM at 7" in said) == (name != "deaf")


def test_a_lost_node_leads_to_a_restart_elsewhere(
    cluster: OneMachineCluster, tmp_path: Path, counter: MakeJob, expected: str
) -> None:
    run = tmp_path / "run"
    cluster.call("scontrol", "update", "nodename=node1", "state=drain", "reason=kept free")
    submit(Plan(name="loss", jobs=(counter("count", run, hold=11),)), run)
    until(holding(run, "count", 11))
    cluster.call("scontrol", "update", "nodename=node1", "state=resume")
    cluster.lose_node("node2")
    try:
        assert finish(run) == {"count": "done"}
    finally:
        cluster.start_node("node2")
        until(lambda: "idle" in cluster.call("sinfo", "-h", "-p", "node2", "-o", "%T"))
    assert (run / "count" / "result").read_text() == expected
    assert starts(run, "count") == ["0 node2", "11 node1"]


def test_cancelled_jobs_save_their_state_and_go_on_when_submitted_again(
    cluster: OneMachineCluster, tmp_path: Path, counter: MakeJob, expected: str
) -> None:
    run = tmp_path / "run"
    jobs = (counter("count", run, hold=4), counter("next", run, steps=3, after=("count",)))
    plan = Plan(name="cancel", jobs=jobs)
    ids = submit(plan, run)
    until(holding(run, "count", 4))
    with pytest.raises(BadInputError, match="still has jobs in Slurm"):
        submit(plan, run)
    assert cancel(run) == 2
    until(lambda: not cluster.call("squeue", "-h", "-j", ",".join(ids.values())).strip())
    assert finish(run)["next"] == "cancelled"
    assert "asked by SIGTERM at 4" in (run / "jobs" / "count.out").read_text()
    submit(plan, run)
    assert finish(run) == {"count": "done", "next": "done"}
    assert (run / "count" / "result").read_text() == expected


def test_what_slurm_refuses_is_said_in_one_sentence(
    cluster: OneMachineCluster, tmp_path: Path, says: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_bytes(plan_to_json(Plan(name="wrong", jobs=(says("one", "pass"),))))
    run = tmp_path / "run"
    words = ["slurm", "run", str(plan), "--out", str(run)]
    for more, said in (
        (["--partition", "nowhere"], "Invalid partition"),
        (["--option", "nonsense=1"], "unrecognized option '--nonsense=1'"),
    ):
        assert main([*words, *more]) == 2
        told = capsys.readouterr().err.strip()
        assert "Slurm refused job 'one'" in told
        assert said in told
        assert len(told.splitlines()) == 1
    assert [row.state for row in status(run)] == ["cancelled"]


def test_a_time_limit_leads_to_a_checkpoint_and_a_requeue(limited: Path, expected: str) -> None:
    assert finish(limited) == {"count": "done", "next": "done"}
    assert (limited / "count" / "result").read_text() == expected
    assert "asked by SIGTERM at 9" in (limited / "jobs" / "count.out").read_text()
    assert starts(limited, "count") == ["0 node1", "9 node1"]
