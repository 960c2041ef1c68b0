"""Shows how far long work is: a bar with rate and time left, or quiet lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

QUIET_SECONDS = 20.0


class Meter:
    """Counts finished clips of one piece of work, on stderr; use as a context manager."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        """Starts counting ``total`` clips, of which ``done`` were there already."""
        self._title, self._total, self._done, self._first = title, total, done, done
        self._frames = 0
        self._began = self._spoke = time.monotonic()
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("clips"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total, completed=done, rate="")

    def advance(self, frames: int) -> None:
        """Counts one more clip of ``frames`` frames."""
        self._done += 1
        self._frames += frames
        now = time.monotonic()
        rate = f"{self._frames / max(now - self._began, 1e-9):.1f} frames/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=rate)
        elif now - self._spoke > QUIET_SECONDS:
            self._spoke = now
            per_clip = (now - self._began) / (self._done - self._first)
            left = per_clip * (self._total - self._done)
            print(  # noqa: T201 - a log has no bar
                f"{self._title}: {self._done} of {self._total} clips, {rate}, {left:.0f} s left",
                file=sys.stderr,
            )

    def __enter__(self) -> "Meter":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def busy(title: str) -> Iterator[None]:
    """Shows that work without a known end is going on."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(title, total=None)
        yield
