"""How far a run is: from its files alone, so from any machine that sees them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from dojobench.slurm.job_state import JobState, Submission, read_state
from dojobench.slurm.plan import Job, Plan, Task
from dojobench.slurm.run_folder import open_run, read_submission

TRAINING_LOG = "train.jsonl"
_TAIL_BYTES = 64 * 1024
_SILENT_SECONDS = 180.0
_STYLES = {"done": "green", "failed": "red", "not run": "red", "running": "cyan"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """How one task stands.

    Attributes:
        name: Name of the task.
        state: As on disk, or ``waiting`` (for other jobs), ``cancelled``, ``not run`` (what it
            needs failed).
        step: Steps of training done, where it trains.
        steps: Steps in all.
        rate: Steps a second, lately.
        seconds_left: At that rate.
        seconds: How long the latest attempt has taken so far.
        attempts: How often it was started.
        host: Where it ran last.
        slurm_id: Slurm's number.
        exit_code: Of the latest attempt.
        reason: One sentence, where something went wrong.
    """

    name: str
    state: str
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    seconds: float | None = None
    attempts: int = 0
    host: str | None = None
    slurm_id: str | None = None
    exit_code: int | None = None
    reason: str | None = None


def status(run: Path, *, at: datetime | None = None) -> list[Row]:
    """Reads how all tasks of a run stand, in the order in which they run.

    Args:
        run: Folder of the run.
        at: The time now; the clock's if left out.

    Raises:
        BadInputError: If the folder holds no run, or a file is damaged.
    """
    reading = _Reading(
        run=run,
        plan=open_run(run),
        submission=read_submission(run),
        moment=at or datetime.now(UTC),
    )
    return [row for job in reading.plan.ordered() for row in reading.rows(job)]


@dataclass(kw_only=True)
class _Reading:
    """One look at a run; what earlier jobs came to decides what later ones are called."""

    run: Path
    plan: Plan
    submission: Submission | None
    moment: datetime
    bad: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def rows(self, job: Job) -> list[Row]:
        """How the tasks of a job stand; jobs are asked for in the order in which they run."""
        found = [self._row(job, task) for task in job.tasks()]
        for row in found:
            if row.state in ("failed", "cancelled"):
                self.bad.setdefault(job.name, row.state)
        if all(row.state == "done" for row in found):
            self.done.add(job.name)
        return found

    def _row(self, job: Job, task: Task) -> Row:
        state = read_state(self.run, task.name)
        shown, reason = self._shown(job, state)
        step, steps, rate = training_progress(self.run / task.folder / TRAINING_LOG)
        left = None
        if shown == "running" and rate and step is not None and steps is not None:
            left = (steps - step) / rate
        ids = self.submission.slurm_ids if self.submission else {}
        return Row(
            name=task.name,
            state=shown,
            step=step,
            steps=steps,
            rate=rate,
            seconds_left=left,
            seconds=_seconds(state, self.moment),
            attempts=state.attempts,
            host=state.host,
            slurm_id=state.slurm_id or ids.get(job.name),
            exit_code=state.exit_code,
            reason=reason,
        )

    def _shown(self, job: Job, state: JobState) -> tuple[str, str | None]:
        """What to call a task's state, and why it is so."""
        if state.state in ("done", "failed"):
            return state.state, state.reason
        if self.submission is not None and self.submission.cancelled:
            return "cancelled", None
        if broken := [name for name in self.plan.upstream(job.name) if name in self.bad]:
            return "not run", f"{broken[0]} {self.bad[broken[0]]}"
        if state.state == "running" and state.seen is not None:
            silent = (self.moment - datetime.fromisoformat(state.seen)).total_seconds()
            if silent > _SILENT_SECONDS:
                return "running", f"silent for {span(silent)}; its machine may be lost"
        if state.state == "queued" and not set(job.after) <= self.done:
            return "waiting", None
        return state.state, state.reason


def _seconds(state: JobState, moment: datetime) -> float | None:
    if state.started is None:
        return None
    end = datetime.fromisoformat(state.ended) if state.ended else moment
    return max(0.0, (end - datetime.fromisoformat(state.started)).total_seconds())


def training_progress(log: Path) -> tuple[int | None, int | None, float | None]:
    """Reads how far a training is.

    Args:
        log: ``train.jsonl``; each line has ``step``, and some ``steps`` (in all), ``rate``
            (steps a second) or ``seconds`` (since the training began).

    Returns:
        Step, steps in all and steps a second; ``None`` for what is not known.
    """
    lines = _last_lines(log)
    step = next((int(line["step"]) for line in reversed(lines)), None)
    steps = next((int(line["steps"]) for line in reversed(lines) if _number(line, "steps")), None)
    rate = next((float(line["rate"]) for line in reversed(lines) if _number(line, "rate")), None)
    timed = [line for line in lines if _number(line, "seconds")]
    if rate is None and timed:
        # The last few lines rather than all, for the rate may change; but not a single stretch,
        # which may hold a validation.
        first, last = timed[max(0, len(timed) - 6)], timed[-1]
        gone = last["seconds"] - first["seconds"]
        if gone > 0 and last["step"] > first["step"]:
            rate = (last["step"] - first["step"]) / gone
    return step, steps, rate


def _number(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _last_lines(log: Path) -> list[dict[str, Any]]:
    """The whole lines at the end of a log that may be written to at this moment."""
    try:
        with log.open("rb") as file:
            size = log.stat().st_size
            file.seek(max(0, size - _TAIL_BYTES))
            raw = file.read().split(b"\n")
    except OSError:
        return []
    lines = []
    # What follows the last line break is being written; what precedes the first may be cut.
    for text in raw[1 if size > _TAIL_BYTES else 0 : -1]:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and _number(line, "step"):
            lines.append(line)
    return lines


def span(seconds: float) -> str:
    """A time in words for a narrow column, such as ``42 s``, ``12 min`` or ``3 h 05``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d}"


def table(title: str, rows: list[Row]) -> Table:
    """Sets the rows out for a terminal."""
    found = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("stage", "state"):
        found.add_column(column, no_wrap=True)
    for column in ("step", "steps/s", "left", "took", "tries"):
        found.add_column(column, justify="right", no_wrap=True)
    found.add_column("note", overflow="fold")
    for row in rows:
        steps = "" if row.steps is None else f" / {row.steps}"
        place = f"on {row.host}" if row.state == "running" and row.host else ""
        style = _STYLES.get(row.state, "")
        found.add_row(
            row.name,
            f"[{style}]{row.state}[/]" if style else row.state,
            "" if row.step is None else f"{row.step}{steps}",
            "" if row.rate is None else f"{row.rate:.3g}",
            "" if row.seconds_left is None else span(row.seconds_left),
            "" if row.seconds is None else span(row.seconds),
            str(row.attempts) if row.attempts else "",
            _plain(row.reason or place),
        )
    return found


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
