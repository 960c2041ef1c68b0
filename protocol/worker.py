"""One thread for all calls into a model, so that the network answers while a model thinks.

Models are seldom safe to call from several threads, and one device does not go faster by it:
calls are made one after the other, in the order in which they came.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class ModelThread:
    """Runs calls one after the other in a thread of its own.

    The thread is a daemon: a model that never returns cannot keep a process from ending.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Queues a call; its future can be cancelled until the call begins."""
        future: Future[T] = Future()
        self._jobs.put((future, call))
        return future

    def stop(self, wait_s: float) -> bool:
        """Lets what is queued finish.

        Args:
            wait_s: How long to wait for it.

        Returns:
            Whether the thread has ended.
        """
        self._jobs.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            # Neither frames nor a traceback's locals may outlive the call until the next one.
            del job, future, call
