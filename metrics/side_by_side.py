"""Runs independent pieces of work side by side, each on one thread.

PyTorch shares every large operation among its threads and waits for all of them at its end. Scoring
a frame takes some fifty short operations; where another process wants the cores too, each of those
waits can last a time slice, and a frame takes a hundred times as long as it should. Pieces that
compute alone and meet once at the end do not have that, and are no slower on an idle machine.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

_MOST = 16
_making = threading.Lock()
T = TypeVar("T")


def side_by_side(pieces: Sequence[Callable[[], T]]) -> list[T]:
    """Calls each piece once, on as many threads as PyTorch uses here.

    Gradients are off in the pieces, as they are wherever scores are computed.

    Args:
        pieces: Functions that do not depend on each other.

    Returns:
        Their results, in order; an exception of a piece is raised here.
    """
    threads = min(_MOST, torch.get_num_threads())
    if threads < 2 or len(pieces) < 2:
        return [_call(piece) for piece in pieces]
    return list(_workers(threads, os.getpid()).map(_call, pieces))


def _call(piece: Callable[[], T]) -> T:
    with torch.no_grad():
        return piece()


@cache
def _workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Makes the threads, once a process: they do not survive a fork."""
    everyone = threading.Barrier(threads + 1)

    def compute_alone() -> None:
        # The first question makes a thread take over the process's setting; asked later, it
        # would undo the next line.
        torch.get_num_threads()
        torch.set_num_threads(1)
        everyone.wait()

    with _making:
        pool = ThreadPoolExecutor(threads, "score", initializer=compute_alone)
        for _ in range(threads):
            pool.submit(int)
        everyone.wait()
        # A worker's setting is its own, but it is also what threads started later begin with;
        # saying our own again puts that back.
        torch.set_num_threads(torch.get_num_threads())
    return pool
