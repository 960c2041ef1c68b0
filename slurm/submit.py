"""Hands a plan to Slurm through submitit, and takes it back."""

import shutil
import subprocess
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from dojobench.protocol.errors import BadInputError
from dojobench.slurm.child import GRACE_SECONDS
from dojobench.slurm.job_state import (
    JOBS_FOLDER,
    SUBMISSION_FILE,
    Submission,
    job_file,
    now,
    write_record,
)
from dojobench.slurm.plan import Job, Plan
from dojobench.slurm.run_folder import (
    ATTEMPTS,
    is_done,
    only_runner,
    prepare_run,
    read_submission,
    require_same_plan,
)
from dojobench.slurm.run_job import RunJob

_SIGNAL_SECONDS = 2 * int(GRACE_SECONDS)


def submit(
    plan: Plan, run: Path, *, options: Mapping[str, str | bool] | None = None
) -> dict[str, str]:
    """Submits all jobs of a plan that are not done, each depending on those it waits for.

    Args:
        plan: What to run.
        run: Its folder, which all nodes must see under the same path.
        options: Further options of ``sbatch``, such as ``{"account": "robots"}``.

    Returns:
        Slurm's number of each job submitted.

    Raises:
        BadInputError: If Slurm is not there or refuses, if jobs of this run are in Slurm
            already, or the folder holds a run of another plan. What was submitted before a
            refusal is cancelled again.
    """
    _require_slurm()
    run = run.absolute()
    with only_runner(run):
        require_same_plan(plan, run)
        if all(is_done(run, job) for job in plan.jobs):
            return {}
        require_none_active(run)
        prepare_run(plan, run)
        ids: dict[str, str] = {}
        submitted = now()
        try:
            for job in plan.ordered():
                if not is_done(run, job):
                    ids[job.name] = _submit_job(plan, job, run, ids, options or {})
                    record = Submission(submitted=submitted, slurm_ids=ids)
                    write_record(run / SUBMISSION_FILE, record)
        except BaseException:
            if ids:
                _slurm("scancel", *ids.values())
            record = Submission(submitted=submitted, slurm_ids=ids, cancelled=now())
            write_record(run / SUBMISSION_FILE, record)
            raise
    return ids


def cancel(run: Path) -> int:
    """Cancels what a run still has in Slurm; running jobs save their state first.

    Returns:
        How many jobs (array tasks counted once) were cancelled.

    Raises:
        BadInputError: If the run was not submitted from here, or Slurm refuses.
    """
    submission = read_submission(run)
    if submission is None or not submission.slurm_ids:
        raise BadInputError(f"{run} has nothing in Slurm; see `dojobench slurm status {run}`.")
    _require_slurm()
    active = _active(submission.slurm_ids.values())
    mark = Submission(
        submitted=submission.submitted, slurm_ids=submission.slurm_ids, cancelled=now()
    )
    # Marked first: a job that reads its state while ending then finds what is meant.
    write_record(run / SUBMISSION_FILE, mark)
    if active:
        done = _slurm("scancel", *sorted(active))
        if done.returncode:
            raise BadInputError(f"Slurm did not cancel {run}: {done.stderr.strip()}")
    return len(active)


def _submit_job(
    plan: Plan, job: Job, run: Path, ids: Mapping[str, str], options: Mapping[str, str | bool]
) -> str:
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = SlurmExecutor(run / JOBS_FOLDER / "submitit" / job.name, max_num_timeout=ATTEMPTS)
    executor.update_parameters(**_parameters(plan, job, ids, options))
    payloads = [RunJob(str(job_file(run, task.name))) for task in job.tasks()]
    try:
        with redirect_stderr(StringIO()):  # what sbatch says comes with the error
            if job.array is None or len(payloads) == 1:
                submitted = [executor.submit(each) for each in payloads]
            else:
                submitted = executor.submit_array(payloads)
    except (FailedJobError, FailedSubmissionError) as error:
        # The error is all that sbatch wrote, hints on its own use included.
        lines = [line for line in str(error).splitlines() if line.startswith("sbatch:")]
        told = lines[-1] if lines else "no reason given"
        reason = told.removeprefix("sbatch:").strip().removeprefix("error: ")
        raise BadInputError(f"Slurm refused job '{job.name}': {reason}") from error
    return str(submitted[0].job_id).partition("_")[0]


def _parameters(
    plan: Plan, job: Job, ids: Mapping[str, str], options: Mapping[str, str | bool]
) -> dict[str, Any]:
    wanted = job.resources
    extra: dict[str, Any] = {"requeue": True, **options}
    if awaited := [ids[name] for name in job.after if name in ids]:
        extra["dependency"] = "afterok:" + ":".join(awaited)
        extra["kill-on-invalid-dep"] = "yes"
    parameters: dict[str, Any] = {
        "job_name": f"{plan.name}-{job.name}",
        "time": wanted.minutes,
        "mem": f"{max(1, round(wanted.memory_gb * 1024))}M",
        "cpus_per_task": wanted.cpus,
        # Slurm looks at time limits twice a minute, hence half of a very short one.
        "signal_delay_s": min(_SIGNAL_SECONDS, wanted.minutes * 30),
        # Since Slurm 22.05 a step is not told by itself how many cores its job has.
        "srun_args": [f"--cpus-per-task={wanted.cpus}"],
        "additional_parameters": extra,
    }
    if wanted.gpus:
        parameters["gpus_per_node"] = wanted.gpus
    if wanted.partition:
        parameters["partition"] = wanted.partition
    return parameters


def _require_slurm() -> None:
    if missing := [name for name in ("sbatch", "srun", "scancel") if shutil.which(name) is None]:
        raise BadInputError(
            f"There is no Slurm here ({missing[0]} is not on the PATH); go to a machine that "
            "submits to your cluster, or run the plan on this one with --local."
        )


def require_none_active(run: Path) -> None:
    """Refuses to go on while Slurm still has jobs of a run.

    Raises:
        BadInputError: If it has, or does not answer though the run was handed to it.
    """
    submission = read_submission(run)
    if submission is None or not submission.slurm_ids or shutil.which("squeue") is None:
        return
    if active := _active(submission.slurm_ids.values()):
        raise BadInputError(
            f"{run} still has jobs in Slurm ({', '.join(sorted(active))}); wait for them, or "
            f"take them out with `dojobench slurm cancel {run}`."
        )


def _active(ids: Any) -> set[str]:
    """Which of these jobs Slurm still has to run, or runs.

    All of the user's jobs are listed, for asked about one that it has forgotten, ``squeue``
    tells nothing of the others.
    """
    listed = _slurm("squeue", "--noheader", "--me", "--array", "--format=%F")
    if listed.returncode:
        raise BadInputError(f"Slurm does not answer: {listed.stderr.strip()}")
    return set(listed.stdout.split()) & set(ids)


def _slurm(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603
        list(command), capture_output=True, text=True, timeout=120, check=False
    )
