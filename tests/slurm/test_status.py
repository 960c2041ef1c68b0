"""Where a run stands, read from its files: states, steps, rates and damaged files."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.protocol.errors import BadInputError
from dojobench.slurm.job_state import (
    JobState,
    Submission,
    state_file,
    update_state,
    write_record,
    write_whole,
)
from dojobench.slurm.plan import Job, Plan, plan_to_json
from dojobench.slurm.status import span, status, training_progress

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose data is done, whose training runs, and whose scores wait."""
    jobs = (
        Job(name="data", command=("x",)),
        Job(name="train", command=("x",), after=("data",), folder="tokenizer"),
        Job(name="score", command=("x",), after=("train",), array=(("a",), ("b",))),
    )
    write_whole(tmp_path / "plan.json", plan_to_json(Plan(name="p", jobs=jobs)))
    write_record(
        tmp_path / "submission.json",
        Submission(submitted=NOON.isoformat(), slurm_ids={"data": "7", "train": "8", "score": "9"}),
    )
    started, ended = "2026-11-21T11:00:00+00:00", "2026-11-21T11:30:00+00:00"
    done = JobState(state="done", attempts=1, started=started, ended=ended, exit_code=0)
    write_record(state_file(tmp_path, "data"), done)
    running = JobState(
        state="running", attempts=2, started=ended, seen="2026-11-21T11:59:50+00:00", host="n1"
    )
    write_record(state_file(tmp_path, "train"), running)
    return tmp_path


def log(run: Path, *lines: object, tail: str = "") -> None:
    (run / "tokenizer").mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run / "tokenizer" / "train.jsonl").write_text(text + tail)


def test_a_training_tells_step_rate_and_time_left(run: Path) -> None:
    log(
        run,
        {"step": 100, "steps": 1000, "seconds": 10},
        {"step": 300, "steps": 1000, "seconds": 20},
    )
    rows = {row.name: row for row in status(run, at=NOON)}
    train = rows["train"]
    assert (train.step, train.steps, train.rate, train.seconds_left) == (300, 1000, 20.0, 35.0)
    assert (train.state, train.seconds, train.attempts, train.host) == ("running", 1800, 2, "n1")
    assert (rows["data"].state, rows["data"].seconds) == ("done", 1800)
    assert (rows["score.1"].state, rows["score.1"].slurm_id) == ("waiting", "9")


def test_a_rate_in_the_log_counts_before_one_from_the_times(run: Path) -> None:
    log(run, {"step": 1, "seconds": 1}, {"step": 2, "steps": 12, "seconds": 2, "rate": 5})
    train = status(run, at=NOON)[1]
    assert (train.rate, train.seconds_left) == (5.0, 2.0)


def test_lines_that_are_no_steps_and_a_line_being_written_are_passed_over(run: Path) -> None:
    log(
        run,
        {"step": 10, "steps": 50, "seconds": 1},
        {"note": "validated"},
        {"step": 20, "steps": 50, "seconds": 3},
        {"step": 20, "validation": {"psnr": 20}},
        tail='{"step": 30, "st',
    )
    assert training_progress(run / "tokenizer" / "train.jsonl") == (20, 50, 5.0)


def test_only_the_end_of_a_long_log_is_read_and_counts(run: Path) -> None:
    slow = [{"step": n, "steps": 9000, "seconds": n} for n in range(1, 3001)]
    fast = [{"step": n, "steps": 9000, "seconds": 3000 + (n - 3000) / 4} for n in range(3001, 4001)]
    log(run, *slow, *fast)
    assert training_progress(run / "tokenizer" / "train.jsonl") == (4000, 9000, 4.0)


def test_without_a_log_nothing_is_claimed(run: Path) -> None:
    train = status(run, at=NOON)[1]
    assert (train.step, train.steps, train.rate, train.seconds_left) == (None, None, None, None)


def test_a_job_that_fell_silent_is_pointed_out(run: Path) -> None:
    update_state(state_file(run, "train"), seen="2026-11-21T11:40:00+00:00")
    assert status(run, at=NOON)[1].reason == "silent for 20 min; its machine may be lost"


def test_what_waits_for_a_failure_is_not_run(run: Path) -> None:
    update_state(state_file(run, "train"), state="failed", exit_code=1, reason="exit code 1")
    rows = status(run, at=NOON)
    assert [(row.state, row.reason) for row in rows[2:]] == [("not run", "train failed")] * 2


def test_a_cancelled_run_keeps_what_is_done(run: Path) -> None:
    mark = Submission(submitted=NOON.isoformat(), slurm_ids={}, cancelled=NOON.isoformat())
    write_record(run / "submission.json", mark)
    assert [row.state for row in status(run, at=NOON)] == ["done"] + ["cancelled"] * 3


def test_queued_is_what_waits_for_nothing_but_a_place(run: Path) -> None:
    update_state(state_file(run, "train"), state="done")
    assert [row.state for row in status(run, at=NOON)][2:] == ["queued", "queued"]


def test_the_command_needs_no_slurm(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(run))
    log(run, {"step": 3, "steps": 4, "rate": 2.0})
    assert main(["slurm", "status", str(run)]) == 0
    assert "3 / 4" in capsys.readouterr().out
    assert main(["slurm", "status", str(run), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["plan"] == "p"
    assert [one["name"] for one in document["jobs"]] == ["data", "train", "score.0", "score.1"]
    assert document["jobs"][1]["step"] == 3
    update_state(state_file(run, "train"), state="failed", reason="exit code 1: [x] is wrong")
    assert main(["slurm", "status", str(run)]) == 1
    assert "exit code 1: [x] is wrong" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{", '{"state": "gone"}', '{"state": "done", "more": 1}'])
def test_a_damaged_state_is_told_in_one_sentence(run: Path, text: str) -> None:
    state_file(run, "train").write_text(text)
    with pytest.raises(BadInputError, match=r"train\.json is damaged") as caught:
        status(run)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["slurm", "status", str(tmp_path)]) == 2
    assert "no folder of a plan's run" in capsys.readouterr().err


def test_spans_are_short() -> None:
    told = [span(value) for value in (0, 59.6, 119, 600, 7300, 90061)]
    assert told == ["0 s", "60 s", "119 s", "10 min", "2 h 01", "25 h 01"]
