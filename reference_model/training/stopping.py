"""Stops a training at the end of a step when the machine asks for it.

Slurm sends SIGTERM before it takes a node away, or SIGUSR1 ahead of a time limit (``--signal``).
"""

import signal
import threading
from types import FrameType, TracebackType

REQUEUE = 75
"""Exit code of a training that stopped with a checkpoint and wants to be started again
(``EX_TEMPFAIL`` of sysexits.h)."""
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class TrainingStopped(Exception):
    """A training ended before its last step, with a checkpoint from which it goes on.

    Attributes:
        step: Steps done.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


class StopSignals:
    """Notes signals instead of dying of them, while entered in the main thread.

    Attributes:
        received: The signal, or ``None``.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for one in _SIGNALS:
                self._former[one] = signal.signal(one, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        # Whoever interrupts twice does not want to wait for the checkpoint.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one, handler in self._former.items():
            signal.signal(one, handler)  # type: ignore[arg-type]
