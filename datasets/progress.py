"""Progress of long work over datasets, on stderr: a bar on a terminal, a line now and then else."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_QUIET_SECONDS = 10.0


def track(items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
    """Passes items on and shows how far the work is.

    Args:
        items: What is worked through.
        what: What is done, such as ``hashing clips``.
        total: How many there are.

    Yields:
        The items.
    """
    if sys.stderr.isatty():
        yield from _bar(items, what, total)
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > _QUIET_SECONDS:
            last = time.monotonic()
            sys.stderr.write(f"{what}: {done} of {total}\n")
        yield item


def _bar(items: Iterable[_Item], what: str, total: int) -> Iterator[_Item]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=what)
