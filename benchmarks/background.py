"""A single worker thread with a short queue: what it does overlaps with the model's thinking."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

AHEAD = 2


class Background:
    """Runs jobs in order, one at a time; use as a context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")
        self._jobs: deque[Future[float]] = deque()
        self._spent = 0.0

    def submit(self, job: Callable[[], None]) -> None:
        """Queues a job; waits while ``AHEAD`` jobs are open, and raises what one raised."""
        while len(self._jobs) >= AHEAD:
            self._spent += self._jobs.popleft().result()
        self._jobs.append(self._pool.submit(_timed, job))

    def wait(self) -> float:
        """Waits for all jobs; returns the seconds that they took since the last call."""
        while self._jobs:
            self._spent += self._jobs.popleft().result()
        spent, self._spent = self._spent, 0.0
        return spent

    def settle(self) -> None:
        """Waits until nothing runs any more, whatever came of it; for leaving after an error."""
        while self._jobs:
            job = self._jobs.popleft()
            job.cancel()
            wait([job])

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _timed(job: Callable[[], None]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began
