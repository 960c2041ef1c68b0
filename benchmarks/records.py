"""The run folder, format 1: what a run was, and what every clip and seed of it scored.

``run.json`` says what was run, ``records.jsonl`` holds one line per clip and seed, and
``summary.json`` is always derived from all of them. A folder explains itself: nothing here
needs the suite, the model or torch, so a report or a leaderboard can read what others sent.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dojobench.benchmarks.run_schema import (
    ActionEntry,
    ClipValues,
    CodeEntry,
    CurveSummary,
    ExecutionEntry,
    LpipsEntry,
    MetricSummary,
    ModelEntry,
    Record,
    RunMeta,
    SuiteEntry,
    Summary,
    Timings,
)
from dojobench.protocol.errors import BadInputError

__all__ = [
    "BASELINES_FOLDER",
    "BENCHMARK_FOLDERS",
    "RECORDS_FILE",
    "RUN_FILE",
    "SUMMARY_FILE",
    "VIDEOS_FOLDER",
    "ActionEntry",
    "ClipValues",
    "CodeEntry",
    "CurveSummary",
    "ExecutionEntry",
    "LpipsEntry",
    "MetricSummary",
    "ModelEntry",
    "Record",
    "Run",
    "RunMeta",
    "SuiteEntry",
    "Summary",
    "Timings",
    "load_run",
    "load_summary",
    "read_json",
    "read_meta",
    "read_records",
]

RUN_FILE = "run.json"
RECORDS_FILE = "records.jsonl"
SUMMARY_FILE = "summary.json"
VIDEOS_FOLDER = "videos"
BASELINES_FOLDER = "baselines"
BENCHMARK_FOLDERS = ("counterfactual", "stability", "probes", "speed")
"""Folders of further benchmarks within a run folder, each a run folder of its own."""
MAX_JSON_BYTES = 256 * 2**20
MAX_LINE_BYTES = 16 * 2**20


class Run:
    """A run folder, read.

    Attributes:
        path: The folder.
        meta: What was run.
        records: What is there so far, in the plan's order: seed by seed, clips in suite order.
        torn: Whether a half-written last line was left out.
    """

    def __init__(self, path: Path, meta: RunMeta, records: list[Record], *, torn: bool) -> None:
        self.path = path
        self.meta = meta
        self.torn = torn
        by_key = {record.key: record for record in records}
        self.records = [by_key[key] for key in self.plan() if key in by_key]

    def plan(self) -> list[tuple[str, int]]:
        """All clip and seed pairs that the run consists of."""
        return [(clip, seed) for seed in self.meta.seeds for clip in self.meta.clip_ids]

    def missing(self) -> list[tuple[str, int]]:
        """Pairs without a record yet."""
        there = {record.key for record in self.records}
        return [key for key in self.plan() if key not in there]

    def require_complete(self) -> None:
        """Refuses a run with records missing.

        Raises:
            BadInputError: Naming the first of them and how to go on.
        """
        if missing := self.missing():
            shown = ", ".join(f"{clip} (seed {seed})" for clip, seed in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise BadInputError(
                f"{self.path}: {len(missing)} of {len(self.plan())} records are missing ({shown}"
                f"{more}); start the same command again to finish the run"
            )

    def baselines(self) -> dict[str, "Run"]:
        """The baselines' own run folders beside this one, by name; only complete ones."""
        found = {}
        for folder in sorted((self.path / BASELINES_FOLDER).glob("*")):
            if (folder / RUN_FILE).is_file():
                run = load_run(folder)
                if not run.missing():
                    found[folder.name] = run
        return found


def load_run(path: Path | str) -> Run:
    """Reads a run folder, complete or not.

    A last line that a killed writer left half-written is left out.

    Raises:
        BadInputError: If the folder is no run folder, or one of its files is damaged; file,
            line and field are named.
    """
    folder = Path(path)
    if not (folder / RUN_FILE).is_file():
        raise BadInputError(
            f"{folder} is no run folder: it has no {RUN_FILE}; give the folder that "
            "`dojobench run … --out` wrote"
        )
    meta = read_meta(folder)
    records, kept = read_records(folder / RECORDS_FILE)
    expected = {(clip, seed) for seed in meta.seeds for clip in meta.clip_ids}
    for record in records:
        if record.key not in expected:
            raise BadInputError(
                f"{folder / RECORDS_FILE} has a record of clip {record.clip} with seed "
                f"{record.seed}, which is no part of the run that {RUN_FILE} describes; "
                "restore the folder or start the run in a new one"
            )
    size = (folder / RECORDS_FILE).stat().st_size if (folder / RECORDS_FILE).exists() else 0
    return Run(folder, meta, records, torn=kept < size)


def read_meta(folder: Path) -> RunMeta:
    """Reads ``run.json``.

    Raises:
        BadInputError: If it is missing, no JSON, of another format or has a wrong field.
    """
    return _validate(RunMeta, read_json(folder / RUN_FILE), folder / RUN_FILE)


def load_summary(path: Path | str) -> Summary:
    """Reads a ``summary.json``, given itself or the run folder around it.

    Raises:
        BadInputError: If it is missing or damaged.
    """
    file = Path(path)
    if file.is_dir():
        file = file / SUMMARY_FILE
    return _validate(Summary, read_json(file), file)


def read_records(file: Path) -> tuple[list[Record], int]:
    """Reads ``records.jsonl``.

    Returns:
        The whole records, and how many leading bytes of the file they take up: what follows
        is the torn line of a killed writer.

    Raises:
        BadInputError: If a line other than the last is damaged, or a clip and seed come twice.
    """
    records: list[Record] = []
    seen: dict[tuple[str, int], int] = {}
    kept = 0
    for number, line, last in _lines(file):
        try:
            if not line.endswith(b"\n"):
                break
            record = _validate(Record, _parse(line), f"{file}, line {number}")
        except (ValueError, BadInputError) as error:
            if last:
                break
            reason = str(error) if isinstance(error, BadInputError) else "it is no JSON"
            raise BadInputError(
                f"{file}, line {number} is damaged ({reason}); restore the file, or delete the "
                "lines from there on and start the same command again"
            ) from error
        if record.key in seen:
            raise BadInputError(
                f"{file}, line {number} repeats clip {record.clip} with seed {record.seed} of "
                f"line {seen[record.key]}; delete one of the two"
            )
        seen[record.key] = number
        kept += len(line)
        records.append(record)
    return records, kept


def _lines(file: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Yields line number, line with its end, and whether it is the file's last."""
    if not file.exists():
        return
    with file.open("rb") as stream:
        number, line = 1, stream.readline(MAX_LINE_BYTES)
        while line:
            following = stream.readline(MAX_LINE_BYTES)
            yield number, line, not following
            number, line = number + 1, following


def _parse(text: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number that JSON knows")

    return json.loads(text, parse_constant=refuse)


def read_json(file: Path) -> Any:
    """Reads a JSON file of at most ``MAX_JSON_BYTES``.

    Raises:
        BadInputError: If it is missing, too large or no JSON.
    """
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise BadInputError(f"{file} is larger than {MAX_JSON_BYTES >> 20} MiB")
        return _parse(file.read_bytes())
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInputError(f"{file} is no JSON ({error}); restore the file") from error


_Model = TypeVar("_Model", bound=BaseModel)


def _validate(kind: type[_Model], value: Any, where: Path | str) -> _Model:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        message = first["msg"].lower().removeprefix("value error, ")
        raise BadInputError(f"{where}: field {field}: {message}") from error
