"""What a training says of itself: lines of JSON, TensorBoard where installed, and a bar.

A line is written for a number of steps done. On resuming, lines beyond the checkpoint are cut
off, as these steps are about to be done again; so the log reads as if nothing had happened.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dojobench.reference_model.training.checkpoint import writing

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LOG = "train.jsonl"
"""Name of the log in a stage's folder."""
_QUIET_SECONDS = 10.0


class TrainingLog:
    """The log of one stage, appended to and flushed line by line."""

    def __init__(self, folder: Path, *, step: int, tensorboard: bool = True) -> None:
        """Opens the log and cuts off what lies beyond a step.

        Args:
            folder: Of the stage.
            step: Steps done.
            tensorboard: Whether to write for TensorBoard as well, where it is installed.
        """
        self.path = folder / LOG
        with writing(self.path):
            cut_log(self.path, step)
            self._file = self.path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", step) if tensorboard else None

    def write(self, step: int, **values: object) -> None:
        """Adds a line.

        Args:
            step: Steps done.
            values: Plain values, or mappings of names to numbers; what is no number becomes
                null.

        Raises:
            BadInputError: If it cannot be written.
        """
        line = json.dumps({"step": step, **{k: _plain(v) for k, v in values.items()}})
        with writing(self.path):
            self._file.write(line + "\n")
            self._file.flush()
            self._draw(step, values)  # its own thread reports a failure to write at the next call

    def _draw(self, step: int, values: Mapping[str, object]) -> None:
        if self._board is None:
            return
        for group, value in values.items():
            if isinstance(value, float):
                self._board.add_scalar(f"training/{group}", value, step)
            for name, number in value.items() if isinstance(value, Mapping) else ():
                self._board.add_scalar(f"{group}/{name}", number, step)

    def sync(self) -> None:
        """Sees to it that the lines are on disk, before a checkpoint relies on them."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the files."""
        # The curves are for the eye; a disk that is full has been told of by then.
        with contextlib.suppress(OSError):
            self._file.close()
            if self._board is not None:
                self._board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads the whole lines of a log; a last line that was cut short is left out.

    Returns:
        A mapping for each line; each has ``step``. None if there is no file.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    read = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            break
        read.append(value)
    return read


def cut_log(path: Path, step: int) -> None:
    """Takes away the lines beyond a step, and any that is not whole; all if no step is done."""
    if not path.exists():
        return
    kept = [json.dumps(line) + "\n" for line in read_log(path) if 0 < step >= line["step"]]
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


class TrainingProgress:
    """Where the training is, on stderr: a bar on a terminal, a line now and then else."""

    def __init__(self, name: str, *, step: int, steps: int) -> None:
        """Starts to show.

        Args:
            name: Of the stage.
            step: Steps done.
            steps: Of the whole training.
        """
        self._name, self._steps, self._first = name, steps, step
        self._started = self._told = time.monotonic()
        self._bar = _bar() if sys.stderr.isatty() else None
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(name, total=steps, completed=step, loss="")

    @property
    def rate(self) -> float:
        """Steps a second since the start, as of the last call of ``show``."""
        return self._rate

    _rate = 0.0

    def show(self, step: int, loss: float | None = None) -> None:
        """Says how far it is.

        Args:
            step: Steps done.
            loss: The latest, if there is one to show.
        """
        now = time.monotonic()
        self._rate = (step - self._first) / max(now - self._started, 1e-9)
        told = "" if loss is None else f"loss {loss:.4g}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step)
            if told:
                self._bar.update(self._task, loss=told)
        elif now - self._told > _QUIET_SECONDS:
            self._told = now
            left = (self._steps - step) / max(self._rate, 1e-9)
            sys.stderr.write(
                f"{self._name}: step {step} of {self._steps}, {self._rate:.2f} steps/s, "
                f"{left / 60:.0f} min left {told}\n"
            )

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _bar() -> "Bar":
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
            return Text(f"{task.speed:.2f} steps/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=Console(stderr=True),
        transient=True,
    )
