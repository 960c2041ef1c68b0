"""Renders clips in other processes, ahead of their use."""

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from functools import partial
from itertools import islice
from typing import TypeAlias

from dojobench.datasets.dojo_data import DojoClipData, render_data
from dojobench.datasets.progress import track
from dojobench.protocol.errors import BadInputError
from dojobench.simulator.clips import ClipPlan

WORKERS_VARIABLE = "DOJOBENCH_WORKERS"
"""Environment variable that says how many processes render ahead; 0 for none."""

Rendering: TypeAlias = Future[DojoClipData]
_Request: TypeAlias = tuple[ClipPlan, tuple[int, int], Rendering] | None
_MOST = 8


def default_workers() -> int:
    """Gives the number of processes: the usable cores, at most 8, or what the variable says.

    Raises:
        BadInputError: If the variable is no number.
    """
    given = os.environ.get(WORKERS_VARIABLE, "")
    if given:
        if not given.isdecimal():
            raise BadInputError(f"{WORKERS_VARIABLE} is '{given}'; make it a number, 0 for none.")
        return int(given)
    return min(usable_cores(), _MOST)


def usable_cores() -> int:
    """Gives the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class RenderPool:
    """Some processes that render what is asked for, in the order of asking.

    Each has a thread that talks to it. Threads and processes end with the program, without being
    waited for.

    Args:
        workers: Number of processes, at least 1; they start with the first request.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._started = False

    def submit(self, plan: ClipPlan, size: tuple[int, int]) -> Rendering:
        """Asks for a clip.

        Returns:
            Its future; it raises ``BadInputError`` if the clip cannot be made, and
            ``RuntimeError`` if the process died. It may be cancelled until its turn comes.
        """
        if not self._started:
            self._started = True
            for _ in range(self.workers):
                threading.Thread(target=self._serve, daemon=True).start()
        future: Rendering = Future()
        self._requests.put((plan, size, future))
        return future

    def close(self) -> None:
        """Lets the processes end once they have nothing left to do."""
        if self._started:
            for _ in range(self.workers):
                self._requests.put(None)

    def _serve(self) -> None:
        process: subprocess.Popen[bytes] | None = None
        while (request := self._requests.get()) is not None:
            plan, size, future = request
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if process is None or process.poll() is not None:
                    process = _start()
                reply = _ask(process, plan, size)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                process = None
                reply = RuntimeError(f"a rendering process ended early: {error!r}")
            _settle(future, reply)
        if process is not None:
            process.communicate()


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "dojobench.datasets.dojo_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # One process a core: threads of their own would only be in each other's way.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def _ask(process: "subprocess.Popen[bytes]", plan: ClipPlan, size: tuple[int, int]) -> object:
    if process.stdin is None or process.stdout is None:
        raise EOFError("no pipes")
    pickle.dump((plan, size), process.stdin)
    process.stdin.flush()
    return pickle.load(process.stdout)  # noqa: S301 from our own child


def _settle(future: Rendering, reply: object) -> None:
    try:
        if isinstance(reply, DojoClipData):
            future.set_result(reply)
        elif isinstance(reply, Exception):
            future.set_exception(reply)
    except InvalidStateError:
        return


def render_all(
    plans: Sequence[ClipPlan], size: tuple[int, int], what: str, workers: int | None = None
) -> Iterator[DojoClipData]:
    """Renders many clips on all cores and shows how far it is.

    Args:
        plans: What to make.
        size: Height and width.
        what: What is done, such as ``rendering``.
        workers: Processes; all usable cores where ``None``, none (in this process) for 0.

    Yields:
        The clips in the order of their plans; only a few are ever ahead of what was taken.

    Raises:
        BadInputError: If a clip cannot be made; it is named.
    """
    count = min(usable_cores() if workers is None else workers, len(plans))
    if count == 0 or len(plans) == 1:
        made = (_named(plan, partial(render_data, plan, size)) for plan in plans)
        yield from track(made, what, len(plans))
        return
    pool = RenderPool(count)
    try:
        yield from track(_in_order(pool, plans, size), what, len(plans))
    finally:
        pool.close()


def _in_order(
    pool: RenderPool, plans: Sequence[ClipPlan], size: tuple[int, int]
) -> Iterator[DojoClipData]:
    waiting: deque[tuple[ClipPlan, Rendering]] = deque()
    left = iter(plans)
    try:
        while True:
            for plan in islice(left, 3 * pool.workers - len(waiting)):
                waiting.append((plan, pool.submit(plan, size)))
            if not waiting:
                return
            plan, future = waiting.popleft()
            yield _named(plan, future.result)
    finally:
        for _, future in waiting:
            future.cancel()


def _named(plan: ClipPlan, make: Callable[[], DojoClipData]) -> DojoClipData:
    try:
        return make()
    except BadInputError as error:
        raise BadInputError(f"The clip '{plan.id}' cannot be made: {error}") from error
