"""Hands the loop its batches in order, made ahead of time in a thread."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

from dojobench.reference_model.training.stage import Batch, Source


class Feeder:
    """Batches of a source, one after another.

    A batch is a function of its index alone, so making it early changes nothing but the wait.
    """

    def __init__(
        self, source: Source, size: int, *, first: int, stop: int, ahead: int, device: torch.device
    ) -> None:
        """Starts making batches.

        Args:
            source: Where they come from; it is asked from one other thread only.
            size: Samples of a batch.
            first: Index of the first batch.
            stop: Index after the last.
            ahead: How many are made before they are asked for; 0 makes them on demand.
            device: Where they shall be.
        """
        self._source, self._size, self._device = source, size, device
        self._next, self._stop = first, stop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        self._waiting: deque[Future[Batch]] = deque()
        for _ in range(ahead):
            self._order()

    def _make(self, index: int) -> Batch:
        batch = self._source.batch(index, self._size)
        if self._device.type != "cuda":
            return batch
        return {name: one.pin_memory() if one.is_cpu else one for name, one in batch.items()}

    def _order(self) -> None:
        if self._pool is not None and self._next < self._stop:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1

    def next(self) -> Batch:
        """Gives the next batch, on the device."""
        if self._pool is None:
            batch = self._make(self._next)
            self._next += 1
        else:
            batch = self._waiting.popleft().result()
            self._order()
        return {name: one.to(self._device, non_blocking=True) for name, one in batch.items()}

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
