"""What runs on a cluster's node: one task, whose whole payload is the path to its file.

Slurm ends jobs for many reasons. Each leads to the same: the command is asked to save its state,
ends with exit code 75, and the job is put back into the queue, by submitit, by Slurm, or by
itself.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType
from typing import Any

from dojobench.slurm.child import GRACE_SECONDS, Child, note_end, note_start
from dojobench.slurm.job_state import JobFile, now, read_record, read_state, update_state

_LOOK_SECONDS = 0.2
_SEEN_SECONDS = 30.0


class RunJob:
    """The callable that submitit carries to the node.

    Attributes:
        path: The task's ``NAME.job.json``.
    """

    # Of the attempt that is running; on the class, so that they do not travel.
    _child: Child | None = None
    _state: Path | None = None

    def __init__(self, path: str) -> None:
        """Names the task's file; nothing else travels."""
        self.path = path

    def __call__(self) -> None:
        """Runs the task, or does nothing if it is done.

        Raises:
            SystemExit: With the command's exit code if it failed, so that Slurm cancels what
                depends on it; with 75 if it stopped to be started again.
        """
        job_file = Path(self.path)
        job = read_record(JobFile, job_file)
        run, state = job_file.parent.parent, job_file.with_name(f"{job.name}.json")
        former = read_state(run, job.name)
        if former.state == "done":
            return
        slurm_id = _slurm_id()
        if former.attempts >= job.attempts:
            update_state(
                state,
                state="failed",
                ended=now(),
                reason=f"it was started {former.attempts} times and did not finish",
            )
            raise SystemExit(1)
        note_start(state, job, former.attempts + 1, slurm_id)
        child = Child(job, job_file.with_name(job.name))
        self._child, self._state = child, state
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._forward)
        _watch(child, state)
        ended = note_end(state, child)
        if ended.state == "requeued":
            _queue_again(state, slurm_id)
        if ended.state != "done":
            raise SystemExit(child.code if (child.code or 0) > 0 else 1)

    def checkpoint(self) -> Any:
        """Called by submitit in its signal handler, ahead of a time limit or on preemption.

        Returns:
            The same task, to be queued again; where the command has ended with success
            meanwhile, the next attempt sees so and does nothing.
        """
        from submitit.helpers import DelayedSubmission

        child = self._child
        if child is not None and self._state is not None:
            child.ask()
            if not child.wait(GRACE_SECONDS):
                child.kill()
            done = child.code == 0
            update_state(
                self._state,
                state="done" if done else "requeued",
                ended=now(),
                exit_code=child.code,
                reason=None if done else "asked to stop ahead of the time limit, or preempted",
            )
        return DelayedSubmission(RunJob(self.path))

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._child is not None:
            self._child.ask()


def _slurm_id() -> str | None:
    """Slurm's number of this job, as its commands take it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def _watch(child: Child, state: Path) -> None:
    """Waits for the end, and writes down now and then that the task is alive."""
    seen = time.monotonic()
    while not child.wait(_LOOK_SECONDS):
        if time.monotonic() - seen > _SEEN_SECONDS:
            seen = time.monotonic()
            update_state(state, seen=now())


def _queue_again(state: Path, slurm_id: str | None) -> None:
    """Has Slurm queue this job again, unless Slurm itself is ending it and knows what follows."""
    if slurm_id is None:
        return
    told = _ask_slurm("show", "--oneliner", "job", slurm_id)
    words = dict(word.partition("=")[::2] for word in told.stdout.split())
    if words.get("JobState") == "CANCELLED":
        update_state(state, state="failed", reason="cancelled; submit the run again to go on")
    elif words.get("JobState") == "RUNNING":
        again = _ask_slurm("requeue", slurm_id)
        if again.returncode:
            update_state(
                state,
                state="failed",
                reason=f"Slurm would not queue it again: {again.stderr.strip()}",
            )


def _ask_slurm(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603
        ["scontrol", *words],  # noqa: S607 - wherever the cluster has it
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
