"""The folder of a run of a plan: laying it out, and keeping two runners out of it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dojobench.protocol.errors import BadInputError
from dojobench.slurm.job_state import (
    JOBS_FOLDER,
    PLAN_FILE,
    SUBMISSION_FILE,
    JobFile,
    JobState,
    Submission,
    job_file,
    read_record,
    read_state,
    state_file,
    write_record,
    write_whole,
)
from dojobench.slurm.plan import Job, Plan, Resources, plan_to_json, read_plan

ATTEMPTS = 100
"""How often a task may start. It is high, for a long training on a busy cluster is preempted
often, and there at all because one that asks to go on without getting on would never end."""
_LOCK = "lock"


def open_run(run: Path) -> Plan:
    """Reads the plan of a run's folder.

    Raises:
        BadInputError: If the folder holds none.
    """
    if not (run / PLAN_FILE).is_file():
        raise BadInputError(
            f"{run} is no folder of a plan's run: it has no {PLAN_FILE}; give the folder that "
            "`dojobench slurm run … --out` wrote."
        )
    return read_plan(run / PLAN_FILE)


def prepare_run(plan: Plan, run: Path) -> None:
    """Lays out a run's folder: the plan, and of each task what it runs and how it stands.

    What a task has done in an earlier run of the same plan stays; resources may differ from it.

    Raises:
        BadInputError: If the folder holds a run of another plan, or cannot be written.
    """
    require_same_plan(plan, run)
    write_whole(run / PLAN_FILE, plan_to_json(plan))
    for job in plan.jobs:
        for task in job.tasks():
            former = read_state(run, task.name)
            write_record(
                job_file(run, task.name),
                JobFile(
                    name=task.name,
                    argv=task.argv,
                    cwd=str(Path.cwd()),
                    cpus=job.resources.cpus,
                    attempts=former.attempts + ATTEMPTS,
                ),
            )
            if former.state != "done":
                queued = JobState(state="queued", attempts=former.attempts)
                write_record(state_file(run, task.name), queued)


def is_done(run: Path, job: Job) -> bool:
    """Whether all tasks of a job have succeeded."""
    return all(read_state(run, task.name).state == "done" for task in job.tasks())


def read_submission(run: Path) -> Submission | None:
    """What the run was handed to, or ``None`` if it never was.

    Raises:
        BadInputError: If the file is damaged.
    """
    path = run / SUBMISSION_FILE
    return read_record(Submission, path) if path.exists() else None


@contextmanager
def only_runner(run: Path) -> Iterator[None]:
    """Holds the run's folder, so that no second process of this machine runs its jobs.

    Raises:
        BadInputError: If another does, or the folder cannot be written.
    """
    path = run / JOBS_FOLDER / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written ({error.strerror}); name another folder."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInputError(
                f"{run} is being run by another process; see `dojobench slurm status {run}`, and "
                f"`dojobench slurm cancel {run}` to end it."
            ) from error
        yield


def is_running(run: Path) -> bool:
    """Whether a process of this machine is running the jobs of a folder."""
    try:
        with (run / JOBS_FOLDER / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def require_same_plan(plan: Plan, run: Path) -> None:
    """Refuses to mix two plans in one folder; resources may differ.

    Raises:
        BadInputError: If the folder holds a run of another plan.
    """
    if not (run / PLAN_FILE).is_file():
        return
    plain = Resources()
    new = {job.name: replace(job, resources=plain) for job in plan.jobs}
    former = read_plan(run / PLAN_FILE)
    old = {job.name: replace(job, resources=plain) for job in former.jobs}
    differs = [name for name in {**new, **old} if new.get(name) != old.get(name)]
    if differs:
        raise BadInputError(
            f"{run} holds a run of another plan, with job '{differs[0]}' different; name another "
            "folder with --out, or remove this one."
        )
