"""Runs a plan on one machine, without Slurm: the same jobs, the same files, the same restarts."""

import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from dojobench.protocol.errors import BadInputError
from dojobench.slurm.child import GRACE_SECONDS, REQUEUE, Child, note_end, note_start
from dojobench.slurm.job_state import (
    SUBMISSION_FILE,
    JobFile,
    Submission,
    job_file,
    now,
    read_record,
    read_state,
    state_file,
    update_state,
    write_record,
)
from dojobench.slurm.plan import Plan
from dojobench.slurm.run_folder import is_running, only_runner, prepare_run
from dojobench.slurm.submit import require_none_active

_LOOK_SECONDS = 0.1
_SEEN_SECONDS = 30.0


@dataclass(kw_only=True)
class LocalRun:
    """One go at a plan on this machine.

    Attributes:
        plan: What to run.
        run: Its folder.
        parallel: How many tasks run at a time.
        tell: Called with one line for each thing that happens.
        tick: Called ten times a second.
        stop_after: Minutes after which it stops as if told to by SIGTERM.
    """

    plan: Plan
    run: Path
    parallel: int = 1
    tell: Callable[[str], None] = print
    tick: Callable[[], None] = lambda: None
    stop_after: float | None = None
    _children: dict[str, Child] = field(default_factory=dict)
    _finished: dict[str, bool] = field(default_factory=dict)
    _stop: int | None = None
    _seen: float = 0.0

    def go(self) -> int:
        """Runs all tasks that are not done, in the order of the plan's dependencies.

        A task that fails stops what depends on it and nothing else. SIGTERM and Ctrl-C make the
        tasks save their state; starting again goes on from there.

        Returns:
            0 if all are done, 1 if some failed, 75 or 130 if stopped by SIGTERM or Ctrl-C.

        Raises:
            BadInputError: If the folder is in use or holds another plan's run.
        """
        self.run = self.run.absolute()
        with only_runner(self.run):
            require_none_active(self.run)
            prepare_run(self.plan, self.run)
            record = Submission(
                submitted=now(), slurm_ids={}, local=(os.uname().nodename, os.getpid())
            )
            write_record(self.run / SUBMISSION_FILE, record)
            former = {
                number: signal.signal(number, self._note)
                for number in (signal.SIGTERM, signal.SIGINT)
            }
            try:
                return self._loop()
            finally:
                self._end_all()
                for number, handler in former.items():
                    signal.signal(number, handler)

    def _loop(self) -> int:
        started = time.monotonic()
        waiting = [task.name for job in self.plan.ordered() for task in job.tasks()]
        for name in list(waiting):
            if read_state(self.run, name).state == "done":
                self.tell(f"{name}: done before")
                waiting.remove(name)
                self._finished[name] = True
        while (waiting or self._children) and self._stop is None:
            self._start_ready(waiting)
            self._look()
            self.tick()
            over = time.monotonic() - started > 60 * (self.stop_after or math.inf)
            if over and (waiting or self._children):
                self._stop = signal.SIGTERM
            time.sleep(_LOOK_SECONDS)
        if self._stop is not None:
            self._end_all()
            self.tell("stopped; the same command goes on from here")
            return 130 if self._stop == signal.SIGINT else REQUEUE
        return 0 if all(self._finished.values()) else 1

    def _start_ready(self, waiting: list[str]) -> None:
        """Starts what may start, and gives up what never can."""
        for name in list(waiting):
            above = self._above(name)
            if failed := [one for one in above if self._finished.get(one) is False]:
                self.tell(f"{name}: not run, for {failed[0]} failed")
                waiting.remove(name)
                self._finished[name] = False
            elif len(self._children) < self.parallel and all(
                self._finished.get(one) for one in above
            ):
                waiting.remove(name)
                self._start(name)

    def _above(self, name: str) -> list[str]:
        """All tasks that a task waits for, those first that started it all."""
        names = self.plan.upstream(name.partition(".")[0])
        return [task.name for job in self.plan.ordered() if job.name in names
                for task in job.tasks()]  # fmt: skip

    def _start(self, name: str) -> None:
        path = job_file(self.run, name)
        job, state = read_record(JobFile, path), state_file(self.run, name)
        attempts = read_state(self.run, name).attempts + 1
        if attempts > job.attempts:
            reason = f"it was started {attempts - 1} times and did not finish"
            update_state(state, state="failed", ended=now(), reason=reason)
            self._give_up(name, reason)
            return
        note_start(state, job, attempts, None)
        self.tell(f"{name}: started")
        self._children[name] = Child(job, path.with_name(name))

    def _look(self) -> None:
        """Takes in what has ended, and writes down now and then that the rest is alive."""
        for name, child in list(self._children.items()):
            if child.code is None:
                continue
            del self._children[name]
            ended = note_end(state_file(self.run, name), child)
            if ended.state == "done":
                self._finished[name] = True
                self.tell(f"{name}: done")
            elif ended.state == "failed":
                self._give_up(name, ended.reason or "")
            else:
                how = ended.reason or "saved its state"
                self.tell(f"{name}: {how}{' and goes on' if self._stop is None else ''}")
                if self._stop is None:
                    self._start(name)
        if time.monotonic() - self._seen > _SEEN_SECONDS:
            self._seen = time.monotonic()
            for name in self._children:
                update_state(state_file(self.run, name), seen=now())

    def _give_up(self, name: str, reason: str) -> None:
        self._finished[name] = False
        self.tell(f"{name}: failed, {reason}")

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._stop = number

    def _end_all(self) -> None:
        """Has all that runs save its state and stop, and ends by force what does not."""
        if self._stop is None:  # where an error leads here, nothing may be started again
            self._stop = signal.SIGTERM
        for child in self._children.values():
            child.ask()
        end = time.monotonic() + GRACE_SECONDS
        for child in self._children.values():
            if not child.wait(end - time.monotonic()):
                child.kill()
        self._look()


def cancel_local(run: Path, submission: Submission) -> None:
    """Has a run on this machine stop, from another terminal.

    Raises:
        BadInputError: If it is not running, or on another machine.
    """
    host, pid = submission.local or ("", 0)
    if host != os.uname().nodename:
        raise BadInputError(f"{run} runs on {host}, not on this machine; cancel it there.")
    if not is_running(run):
        raise BadInputError(f"{run} is not running; see `dojobench slurm status {run}`.")
    os.kill(pid, signal.SIGTERM)
