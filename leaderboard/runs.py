"""Reads the runs of a submission as the harness's own types, without trusting a byte of them."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dojobench.benchmarks.records import Record, Run, RunMeta, Summary
from dojobench.leaderboard.card import field_error
from dojobench.leaderboard.safe_files import parse_json, shown, unpack_xz
from dojobench.leaderboard.submission import (
    LIMITS,
    PACKED_RECORDS_FILE,
    RECORDS_FILE,
    RUNS_FOLDER,
    RunEntry,
    Submission,
    read_part,
)
from dojobench.leaderboard.verdict import Refused

MAX_LINE = 4 * 2**20
MAX_RECORDS = 100_000
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class SubmittedRun:
    """One run of a submission.

    Attributes:
        entry: What ``submission.json`` says of it.
        run: Its ``run.json`` and records; some may be missing.
        summary: Its ``summary.json``.
    """

    entry: RunEntry
    run: Run
    summary: Summary

    @property
    def meta(self) -> RunMeta:
        """What was run."""
        return self.run.meta

    @property
    def records(self) -> list[Record]:
        """What it scored, in the plan's order."""
        return self.run.records


def run_file(entry: RunEntry, name: str) -> str:
    """Gives the path of a run's file within the submission."""
    return f"{RUNS_FOLDER}/{entry.name}/{name}"


def read_run(submission: Submission, entry: RunEntry) -> SubmittedRun:
    """Reads a run with all its records.

    Raises:
        Refused: If a file is missing or damaged, or a record belongs to another run.
    """
    folder = submission.folder
    _, meta = read_part(folder, run_file(entry, "run.json"), RunMeta)
    _, summary = read_part(folder, run_file(entry, "summary.json"), Summary)
    content, path = read_records(submission, entry)
    records = parse_records(content, path)
    expected = {(clip, seed) for seed in meta.seeds for clip in meta.clip_ids}
    if len(expected) < len(meta.seeds) * len(meta.clip_ids):
        raise Refused(
            "DB-R203", f"{run_file(entry, 'run.json')} lists a clip or a seed twice; send the "
            "file that dojobench wrote.", run_file(entry, "run.json"),
        )  # fmt: skip
    for number, record in enumerate(records, start=1):
        if record.key not in expected:
            raise Refused(
                "DB-R203",
                f"{path}, line {number} is about clip {shown(record.clip)} with seed "
                f"{record.seed}, which run.json does not list; send the files of one run.",
                f"{path}:{number}",
            )
    run = Run(folder.root / RUNS_FOLDER / entry.name, meta, records, torn=False)
    return SubmittedRun(entry=entry, run=run, summary=summary)


def read_records(submission: Submission, entry: RunEntry) -> tuple[bytes, str]:
    """Reads a run's records, unpacked where they lie there compressed.

    Returns:
        Their text, and the file's path within the submission.

    Raises:
        Refused: If the file is missing, too large or damaged.
    """
    path, packed = run_file(entry, RECORDS_FILE), run_file(entry, PACKED_RECORDS_FILE)
    if packed not in submission.file.files:
        return submission.folder.read(path, LIMITS[RECORDS_FILE]), path
    content = submission.folder.read(packed, LIMITS[PACKED_RECORDS_FILE])
    return unpack_xz(content, LIMITS[RECORDS_FILE], packed), packed


def read_summary(submission: Submission, entry: RunEntry) -> tuple[RunMeta, Summary]:
    """Reads what a table needs of a run, and no records.

    Raises:
        Refused: If a file is missing or damaged.
    """
    _, meta = read_part(submission.folder, run_file(entry, "run.json"), RunMeta)
    _, summary = read_part(submission.folder, run_file(entry, "summary.json"), Summary)
    return meta, summary


def parse_records(content: bytes, path: str) -> list[Record]:
    """Reads ``records.jsonl``; a half-written last line is an error here.

    Raises:
        Refused: Naming the line.
    """
    if not content.endswith(b"\n"):
        raise Refused(
            "DB-R201",
            f"{path} ends within a line, as if its writer was stopped; finish the run with the "
            "same `dojobench run` command and pack it again.",
            path,
        )
    lines = content[:-1].split(b"\n")
    if len(lines) > MAX_RECORDS:
        raise Refused("DB-S005", f"{path} has more than {MAX_RECORDS} records.", path)
    records: list[Record] = []
    seen: dict[tuple[str, int], int] = {}
    for number, line in enumerate(lines, start=1):
        record = _record(line, f"{path}:{number}")
        if record.key in seen:
            raise Refused(
                "DB-R203",
                f"{path}, line {number} repeats clip {shown(record.clip)} with seed {record.seed} "
                f"of line {seen[record.key]}; send the file that dojobench wrote.",
                f"{path}:{number}",
            )
        seen[record.key] = number
        records.append(record)
    return records


def _record(line: bytes, where: str) -> Record:
    if len(line) > MAX_LINE:
        raise Refused("DB-S005", f"{where} is longer than 4 MiB.", where)
    try:
        return _parse_as(Record, line, where)
    except Refused as error:
        raise Refused("DB-R201", str(error), where) from error


def _parse_as(model: type[_Model], content: bytes, where: str) -> _Model:
    try:
        parse_json(content, where)
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise field_error(error, where) from error
