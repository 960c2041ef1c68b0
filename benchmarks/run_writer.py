"""Writes a run folder so that a kill at any moment loses at most the clips in flight.

Order is what makes it safe: ``run.json`` is there before the first record, a record is one
``write`` of one whole line followed by ``fsync``, and ``summary.json`` replaces its elder in
one step. The lock lies on ``records.jsonl`` itself and dies with its process.
"""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel

from dojobench.benchmarks.records import (
    BASELINES_FOLDER,
    BENCHMARK_FOLDERS,
    RECORDS_FILE,
    RUN_FILE,
    SUMMARY_FILE,
    VIDEOS_FOLDER,
    Record,
    Run,
    RunMeta,
    Summary,
    load_run,
    read_meta,
    read_records,
)
from dojobench.datasets.files import write_atomically
from dojobench.protocol.errors import BadInputError

_OWN = {RUN_FILE, RECORDS_FILE, SUMMARY_FILE, VIDEOS_FOLDER, BASELINES_FOLDER, *BENCHMARK_FOLDERS}

# What a result depends on; packages, hardware, code and batch size may differ between a run
# and its resumption and are stamped, not compared.
_COMPARED = (
    "benchmark",
    "suite",
    "model",
    "convention",
    "metric_version",
    "metrics",
    "seeds",
    "splits",
    "limit",
    "adapt",
    "lpips",
    "clip_ids",
)


def write_json(file: Path, value: BaseModel) -> None:
    """Writes a part of a run folder atomically, as JSON that is equal when made twice."""
    text = json.dumps(value.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(file, text.encode() + b"\n")


def difference(old: RunMeta, new: RunMeta) -> str | None:
    """Says in which respect two runs are not the same run, as ``field: old, now new``."""
    for name in _COMPARED:
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            return _describe(name, before, now)
    for name in ("device", "steps_at_once", "checks", "train_split"):
        before, now = getattr(old.execution, name), getattr(new.execution, name)
        if before != now:
            return f"{name}: {before}, now {now}"
    return None


def _other_code(old: RunMeta, new: RunMeta) -> str | None:
    """Says that a run was resumed with other code than it was begun with."""
    for name, before, now in (
        ("code", old.code, new.code),
        ("packages", old.packages, new.packages),
        ("hardware", old.hardware, new.hardware),
    ):
        if before != now:
            return f"The run was resumed with other {name} than it was begun with."
    return None


def _describe(name: str, before: Any, now: Any) -> str:
    """Goes down to the first field that differs."""
    if isinstance(before, BaseModel) and isinstance(now, BaseModel):
        for field in type(before).model_fields:
            if getattr(before, field) != getattr(now, field):
                return _describe(f"{name}.{field}", getattr(before, field), getattr(now, field))
    if name == "clip_ids":
        return f"clips: {len(before)}, now {len(now)} or others"
    return f"{name}: {_plain(before)}, now {_plain(now)}"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


class RunWriter:
    """The one writer of a run folder; use it as a context manager.

    Attributes:
        folder: The run folder.
        meta: What is run; of a resumed run, with the first start's time.
        done: Records that are already there, by clip and seed.
    """

    def __init__(self, folder: Path, meta: RunMeta) -> None:
        """Opens a new folder, or resumes the same run in it.

        Raises:
            BadInputError: If the folder holds something else, another run, or another process
                writes it.
        """
        self.folder = folder
        _require_own(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / RECORDS_FILE).open("ab")
        try:
            _lock(self._log.fileno(), folder)
            _sweep(folder)
            records, kept = read_records(folder / RECORDS_FILE)
            self.done = {record.key: record for record in records}
            self.meta = self._agree(meta)
            # The torn line of a killed writer must go before anything is appended to it.
            self._log.truncate(kept)
            write_json(folder / RUN_FILE, self.meta)
            load_run(folder)
        except BaseException:
            self._log.close()
            raise

    def _agree(self, meta: RunMeta) -> RunMeta:
        if not (self.folder / RUN_FILE).exists():
            if (self.folder / RECORDS_FILE).stat().st_size:
                raise BadInputError(
                    f"{self.folder} has {RECORDS_FILE} but no {RUN_FILE}, so nobody can say what "
                    "was scored; give another --out"
                )
            return meta
        old = read_meta(self.folder)
        if found := difference(old, meta):
            raise BadInputError(
                f"{self.folder} holds another run ({found}); give another --out, or start it "
                "with what it was begun with"
            )
        if len(self.done) == len(old.clip_ids) * len(old.seeds):
            return old  # nothing is left to do, so nothing about it has changed
        changes = {"started": old.started, "ended": None, "notes": old.notes}
        if self.done and (told := _other_code(old, meta)) and told not in old.notes:
            changes["notes"] = (*old.notes, told)
        return meta.model_copy(update=changes)

    def append(self, record: Record) -> None:
        """Adds one record; when this returns, it is on disk."""
        line = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
        self._log.write(line.encode() + b"\n")
        self._log.flush()
        os.fsync(self._log.fileno())
        self.done[record.key] = record

    def run(self) -> Run:
        """Reads the folder back as any reader would."""
        return load_run(self.folder)

    def finish(self, summary: Summary, ended: str) -> None:
        """Writes ``summary.json`` and stamps the end; a finished run keeps its first end."""
        write_json(self.folder / SUMMARY_FILE, summary)
        if self.meta.ended is None:
            self.meta = self.meta.model_copy(update={"ended": ended})
            write_json(self.folder / RUN_FILE, self.meta)

    def close(self) -> None:
        """Gives the folder free."""
        self._log.close()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _require_own(folder: Path) -> None:
    """Refuses to write into a folder that holds something else."""
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder} is a file; give a folder as --out")
    if not folder.is_dir() or (folder / RUN_FILE).exists():
        return
    strange = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in _OWN and not entry.name.endswith(".tmp")
    )
    if strange:
        raise BadInputError(
            f"{folder} is no run folder and is not empty (it has {strange[0]}); give a new folder "
            "as --out"
        )


def _sweep(folder: Path) -> None:
    """Removes half-written files of a killed writer; only who holds the lock may do it."""
    for place in (folder, folder / VIDEOS_FOLDER):
        for file in place.glob(".*.tmp"):
            file.unlink(missing_ok=True)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadInputError(
            f"another process is writing {folder}; wait for it to end or give another --out"
        ) from error
