"""Where the jobs of a run stand, on disk: readable from anywhere, without Slurm.

A run's folder holds ``plan.json``, ``submission.json`` (what was handed to whom) and ``jobs/``
with three kinds of file for each task: ``NAME.job.json`` (what to run), ``NAME.json`` (how it
stands) and ``NAME.out`` and ``NAME.err`` (what it printed). Each file has one writer at a time.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dojobench.protocol.errors import BadInputError

State = Literal["queued", "running", "requeued", "done", "failed"]
Thing = TypeVar("Thing")

PLAN_FILE = "plan.json"
SUBMISSION_FILE = "submission.json"
JOBS_FOLDER = "jobs"
_MAX_BYTES = 2**20
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFile:
    """What a task runs: the whole payload of a job, apart from the path to this.

    Attributes:
        name: Name of the task.
        argv: Command.
        cwd: Folder that it is run in.
        cpus: Cores that it is given.
        attempts: How often it may start.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    argv: tuple[str, ...]
    cwd: str
    cpus: int
    attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JobState:
    """How a task stands.

    Attributes:
        state: ``queued``, ``running``, ``requeued`` (stopped with its state saved, to go on),
            ``done`` or ``failed``.
        attempts: How often it was started.
        started: When the latest attempt started, ISO 8601 with zone.
        ended: When it ended.
        seen: When it was last known to run.
        exit_code: Of the latest attempt; negative for the signal that ended it.
        host: Where it ran.
        slurm_id: Slurm's number of the job, ``JOB_TASK`` in an array.
        reason: One sentence, where something went wrong.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    state: State
    attempts: int = 0
    started: str | None = None
    ended: str | None = None
    seen: str | None = None
    exit_code: int | None = None
    host: str | None = None
    slurm_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What a run was handed to.

    Attributes:
        submitted: When, ISO 8601 with zone.
        slurm_ids: Slurm's number of each job; none for a run on this machine.
        local: Host and process number of a run on one machine.
        cancelled: When the run was cancelled.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    submitted: str
    slurm_ids: dict[str, str]
    local: tuple[str, int] | None = None
    cancelled: str | None = None


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def job_file(run: Path, task: str) -> Path:
    """Where it is written what a task runs."""
    return run / JOBS_FOLDER / f"{task}.job.json"


def state_file(run: Path, task: str) -> Path:
    """Where it is written how a task stands."""
    return run / JOBS_FOLDER / f"{task}.json"


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        BadInputError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInputError(
            f"{path} cannot be written ({error.strerror}); make room or name another folder."
        ) from error


def write_record(path: Path, record: Any) -> None:
    """Writes one of this module's dataclasses as JSON.

    Raises:
        BadInputError: If it cannot be written.
    """
    write_whole(path, (json.dumps(asdict(record), indent=1) + "\n").encode())


def read_record(kind: type[Thing], path: Path) -> Thing:
    """Reads one of this module's dataclasses.

    Raises:
        BadInputError: If the file is missing or damaged; the field is named.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadInputError(f"{path} is far too large to be what its name says; remove it.")
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); name the folder that "
            "`dojobench slurm run … --out` wrote."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInputError(
            f"{path} is damaged ({where}: {first['msg']}); remove it and submit the run again."
        ) from error


def read_state(run: Path, task: str) -> JobState:
    """How a task stands; ``queued`` if nothing was written yet.

    Raises:
        BadInputError: If the file is damaged.
    """
    path = state_file(run, task)
    return read_record(JobState, path) if path.exists() else JobState(state="queued")


def update_state(path: Path, **changes: Any) -> JobState:
    """Changes fields of a state file and returns the new state.

    Raises:
        BadInputError: If the file is damaged or cannot be written.
    """
    former = read_record(JobState, path) if path.exists() else JobState(state="queued")
    state = replace(former, **changes)
    write_record(path, state)
    return state
