"""The organiser's overview, kept for some seconds: it analyses all votes, so reloading is dear."""

import threading
import time
from collections.abc import Callable

from dojobench.human_eval.overview import Overview, overview
from dojobench.human_eval.running_study import RunningStudy

KEPT_SECONDS = 10.0
"""How old an overview may be; a hundred thousand votes take a second or two to analyse."""


class RecentOverview:
    """Makes the overview when it is asked for, once for all who ask within some seconds."""

    def __init__(
        self,
        running: RunningStudy,
        *,
        seconds: float = KEPT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts with none.

        Args:
            running: The study.
            seconds: How long an overview is good.
            clock: Seconds; replaced in tests.
        """
        self._running = running
        self._seconds = seconds
        self._clock = clock
        self._made: tuple[float, Overview] | None = None
        self._making = threading.Lock()

    def get(self) -> Overview:
        """Gives the overview, made now or some seconds ago; safe from several threads."""
        with self._making:
            now = self._clock()
            if self._made is None or now - self._made[0] >= self._seconds:
                self._made = (now, overview(self._running))
            return self._made[1]

    def forget(self) -> None:
        """Has it made anew, because the organiser changed something and wants to see it."""
        with self._making:
            self._made = None
