"""Runs the command of a task as a process of its own, and says what came of it.

The process has its own session, so a signal to a job reaches the command once, from here, and
never by way of the process group; and it is asked to end when whoever watches it is killed.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dojobench.protocol.errors import BadInputError
from dojobench.slurm.job_state import JobFile, JobState, now, update_state

REQUEUE = 75
"""Exit code of a command that saved its state and wants to be started again (EX_TEMPFAIL)."""

GRACE_SECONDS = 60.0
"""How long a command has to save its state; after that its last checkpoint has to do."""

_PREEMPTION = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
"""The signal that Slurm sends ahead of a time limit, meant for submitit."""
_STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_TAIL_BYTES = 4096


def bound_to_this(command: Sequence[str]) -> list[str]:
    """Has the kernel end a command with SIGTERM if this process is killed, where it can."""
    if path := shutil.which("setpriv"):
        return [path, "--pdeathsig", "TERM", "--", *command]
    return list(command)


class Child:
    """The process of a task, its output appended to two files.

    Attributes:
        code: Exit code once it ended, negative for the signal that ended it.
    """

    def __init__(self, job: JobFile, stem: Path) -> None:
        """Starts the command.

        Args:
            job: What to run.
            stem: Path of the output files without ``.out`` and ``.err``.

        Raises:
            BadInputError: If the program does not exist or the output cannot be written.
        """
        self.code: int | None = None
        self._forced = False
        threads = {"OMP_NUM_THREADS": str(job.cpus)}
        # Some clusters signal all processes of a job, and who does not know this signal dies of
        # it. A signal that comes while it is blocked here waits.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {_PREEMPTION})
        try:
            with (
                stem.with_name(stem.name + ".out").open("ab") as out,
                stem.with_name(stem.name + ".err").open("ab") as err,
            ):
                self._process = subprocess.Popen(  # noqa: S603 - a plan is a list of commands
                    bound_to_this(job.argv),
                    cwd=job.cwd,
                    env=threads | os.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
        except OSError as error:
            raise BadInputError(
                f"Job '{job.name}' cannot be started: {error.filename}: {error.strerror}; see its "
                "program and folder in the plan."
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        # A thread waits, for what asks after the code may be a signal handler, which must not
        # meet a lock that the code below it holds.
        threading.Thread(target=self._reap, daemon=True).start()

    def _reap(self) -> None:
        self.code = self._process.wait()

    def ask(self) -> None:
        """Sends the signal that means "save your state and stop"."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Waits for the end; says whether it came in time."""
        end = time.monotonic() + seconds
        while self.code is None and time.monotonic() < end:
            time.sleep(0.05)
        return self.code is not None

    def kill(self) -> None:
        """Ends the process and its own children at once; that is a stop, not a failure."""
        self._forced = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait(10)

    @property
    def stopped(self) -> bool:
        """Whether it ended to be started again, rather than by success or failure.

        A command that does not know the signals by which it is asked to stop dies of them. All
        of the project's commands go on where they were, so that is a stop, too.
        """
        deaths = {code for number in _STOPS for code in (-number, 128 + number)}
        return self._forced or self.code == REQUEUE or self.code in deaths


def note_start(state: Path, job: JobFile, attempts: int, slurm_id: str | None) -> None:
    """Writes down that an attempt starts.

    Raises:
        BadInputError: If the state cannot be written.
    """
    started = now()
    update_state(
        state,
        state="running",
        attempts=attempts,
        started=started,
        seen=started,
        ended=None,
        exit_code=None,
        host=os.uname().nodename,
        slurm_id=slurm_id,
        reason=None,
    )


def note_end(state: Path, child: Child) -> JobState:
    """Writes down how an attempt ended.

    Raises:
        BadInputError: If the state cannot be written.
    """
    if child.code == 0:
        return update_state(state, state="done", ended=now(), exit_code=0, reason=None)
    if child.stopped:
        how = None if child.code == REQUEUE else _how(child.code or 0)
        return update_state(state, state="requeued", ended=now(), exit_code=child.code, reason=how)
    reason = _why(child.code or 0, state.with_suffix(".err"))
    return update_state(state, state="failed", ended=now(), exit_code=child.code, reason=reason)


def _how(code: int) -> str:
    """How a command ended, in a few words."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    memory = ", as happens when memory runs out" if -code == signal.SIGKILL else ""
    return f"ended by {name}{memory}"


def _why(code: int, errors: Path) -> str:
    """One sentence on a failure: how it ended and the last line that it wrote."""
    how = _how(code)
    try:
        with errors.open("rb") as file:
            file.seek(max(0, errors.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{how}: {lines[-1].strip()}" if lines else how
