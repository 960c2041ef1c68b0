"""Rendering many clips on all cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import connection

from dojobench.simulator.clips import ClipPlan, RenderedClip, render_clip


def _usable_cores() -> int:
    """Counts the cores that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end_with_owner() -> None:
    """Ends this process as soon as its owner is gone, however that ended.

    A worker waits for work at a pipe that it can itself write to, so it would wait for ever after
    an owner that was killed. An interrupt from the keyboard is left to the owner.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner = multiprocessing.parent_process()
    if owner is not None:
        threading.Thread(target=_leave_after, args=(owner.sentinel,), daemon=True).start()


def _leave_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def generate(
    plans: Sequence[ClipPlan],
    *,
    size: tuple[int, int] | None = (64, 64),
    segmentation: bool = False,
    workers: int | None = None,
) -> Iterator[RenderedClip]:
    """Renders clips in the order of their plans, whatever the number of processes.

    Processes are spawned, not forked: a fork of a program that runs threads (as torch does)
    may hang. Only a few clips a process are ever ahead of what has been taken.

    Args:
        plans: What to make.
        size: As for ``render_clip``.
        segmentation: As for ``render_clip``.
        workers: Processes; as many as there are usable cores where ``None``. With 1, or a
            single plan, everything happens in this process.

    Yields:
        Rendered clips.

    Raises:
        BadInputError: If a scene cannot be built or the resolution is out of range.
    """
    make = partial(render_clip, size=size, segmentation=segmentation)
    count = min(workers or _usable_cores(), len(plans))
    if count <= 1:
        yield from map(make, plans)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_owner) as pool:
        waiting: list[Future[RenderedClip]] = []
        try:
            for plan in plans:
                waiting.append(pool.submit(make, plan))
                if len(waiting) > 4 * count:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
