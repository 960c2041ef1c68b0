"""Makes a submission of run folders and a card; refuses what the check would refuse."""

import hashlib
import json
import lzma
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dojobench import __version__
from dojobench.benchmarks.records import BENCHMARK_FOLDERS, RunMeta, load_run
from dojobench.leaderboard.card import Card, parse_card
from dojobench.leaderboard.dates import parse_date
from dojobench.leaderboard.submission import (
    CARD_FILE,
    ID_PATTERN,
    LIMITS,
    PACKED_ABOVE,
    PACKED_RECORDS_FILE,
    PREFERENCES_FILE,
    RECORDS_FILE,
    RUN_FILES,
    RUNS_FOLDER,
    SPEED_FILE,
    SUBMISSION_FILE,
    VIDEOS_FOLDER,
    FileEntry,
    RunEntry,
    SubmissionFile,
    Videos,
)
from dojobench.leaderboard.verdict import Verdict
from dojobench.protocol.errors import BadInputError

SPEED = "speed"


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """What to pack.

    Attributes:
        runs: Run folders; further benchmarks within them come along.
        card: The card.
        out: Folder to make; ``submissions/<id>`` where ``None``.
        id: Name of the folder; from the card where ``None``.
        preferences: A study's findings.
        videos: ``none``, or ``copy`` to put the predicted videos beside the records.
        videos_at: Address where the videos of the runs can be had.
        compress_above: Bytes above which a run's records are compressed.
    """

    runs: tuple[Path, ...]
    card: Path
    out: Path | None = None
    id: str | None = None
    preferences: Path | None = None
    videos: str = "none"
    videos_at: str | None = None
    compress_above: int = PACKED_ABOVE


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One run to pack: where it is, its entry, and its end."""

    folder: Path
    entry: RunEntry
    ended: str

    @property
    def names(self) -> tuple[str, ...]:
        return (SPEED_FILE,) if self.entry.benchmark == SPEED else RUN_FILES


def pack(config: PackConfig, examine: Callable[[Path], Verdict]) -> tuple[Path, Verdict]:
    """Packs a submission; the same runs and card give the same bytes.

    Args:
        config: What to pack.
        examine: Checks the folder before it is put in place; one that it refuses is not kept.

    Returns:
        Where the folder is, or would have been, and the verdict.

    Raises:
        BadInputError: If something is missing or unfinished.
    """
    card_bytes = _read(config.card, LIMITS[CARD_FILE])
    card = parse_card(card_bytes, config.card.name)
    name = config.id or slug(f"{card.name}-{card.version}")
    if not re.fullmatch(ID_PATTERN, name):
        raise BadInputError(
            f"--id '{name}' is no id; use 3 to 64 small letters, digits, '.' and '-'"
        )
    out = config.out or Path("submissions") / name
    if out.exists():
        raise BadInputError(f"{out} is there already; remove it or give another --out")
    sources = [each for run in config.runs for each in _sources(run)]
    if not sources:
        raise BadInputError("give at least one run folder that `dojobench run` wrote")
    _require_different(sources)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        made = Path(temporary) / name
        _write(config, made, name, card, card_bytes, sources)
        verdict = examine(made)
        if verdict.accepted:
            made.rename(out)
    return out, verdict


def _write(
    config: PackConfig,
    made: Path,
    name: str,
    card: Card,
    card_bytes: bytes,
    sources: Sequence[_Source],
) -> None:
    files: dict[str, FileEntry] = {}

    def put(path: str, content: bytes) -> None:
        target = made / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        files[path] = FileEntry(bytes=len(content), sha256=digest)

    put(CARD_FILE, card_bytes)
    for source in sources:
        for file in source.names:
            content = _read(source.folder / file, LIMITS[file])
            if file == RECORDS_FILE and len(content) > config.compress_above:
                file, content = PACKED_RECORDS_FILE, lzma.compress(content)
            put(f"{RUNS_FOLDER}/{source.entry.name}/{file}", content)
    if config.preferences is not None:
        from dojobench.human_eval.preferences import read_preferences

        read_preferences(config.preferences)
        put(PREFERENCES_FILE, _read(config.preferences, LIMITS[PREFERENCES_FILE]))
    submission = SubmissionFile(
        id=name,
        # Of the runs and not of the clock, so that packing twice gives the same bytes.
        created=max((each.ended for each in sources), key=parse_date),
        packed_with=__version__,
        card=card,
        runs=tuple(each.entry for each in sources),
        files=dict(sorted(files.items())),
        videos=_videos(config, made, sources),
    )
    text = json.dumps(submission.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    (made / SUBMISSION_FILE).write_text(text, encoding="utf-8")


def _sources(folder: Path) -> Iterator[_Source]:
    """Finds a run and the further benchmarks within it."""
    yield _source(folder)
    for benchmark in BENCHMARK_FOLDERS:
        within = folder / benchmark
        if (within / "run.json").is_file():
            yield _source(within)
        elif (within / SPEED_FILE).is_file():
            yield _speed(within)


def _source(folder: Path) -> _Source:
    if (folder / SPEED_FILE).is_file() and not (folder / "run.json").exists():
        return _speed(folder)
    run = load_run(folder)
    run.require_complete()
    if run.meta.ended is None or not (folder / "summary.json").is_file():
        raise BadInputError(
            f"{folder} was not finished: it has no summary; start the same `dojobench run` "
            "command again"
        )
    return _Source(folder=folder, entry=entry_of(run.meta), ended=run.meta.ended)


def _speed(folder: Path) -> _Source:
    from dojobench.benchmarks.speed import read_speed_report

    report = read_speed_report(folder)
    return _Source(folder=folder, entry=speed_entry(report), ended=report.measured)


def entry_of(meta: RunMeta) -> RunEntry:
    """Says in ``submission.json`` what a ``run.json`` says."""
    fields: dict[str, Any] = {
        "name": slug(f"{meta.suite.name}.{meta.benchmark}"),
        "benchmark": meta.benchmark,
        "suite": meta.suite.name,
        "suite_version": meta.suite.version,
        "convention": meta.convention,
        "metric_version": meta.metric_version,
        "seeds": meta.seeds,
        "splits": meta.splits,
        "records": len(meta.clip_ids) * len(meta.seeds),
        "weights": meta.model.weights,
        "commit": meta.code.commit,
        "dirty": meta.code.dirty,
        "hardware": machine_of(meta.hardware),
    }
    return RunEntry.model_validate(fields)


def speed_entry(report: Any) -> RunEntry:
    """Says in ``submission.json`` what a ``speed.json`` says."""
    return RunEntry(
        name=slug(f"{SPEED}.{'x'.join(map(str, report.conditions.get('resolution', ())))}"),
        benchmark="speed",
        weights=str(report.model.get("weights", "none")),
        commit=report.code.get("commit"),
        dirty=report.code.get("dirty"),
        hardware=machine_of(report.hardware),
    )


def machine_of(hardware: dict[str, Any]) -> str:
    """Names a machine: its GPU, or else its processor and cores."""
    if hardware.get("gpu"):
        return str(hardware["gpu"])[:400]
    return f"{hardware.get('cpu', 'unknown')}, {hardware.get('cores', '?')} cores"[:400]


def slug(text: str) -> str:
    """Makes a name of small letters, digits, '.', '_' and '-'."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64]


def _require_different(sources: Sequence[_Source]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        if source.entry.name in seen:
            raise BadInputError(
                f"{seen[source.entry.name]} and {source.folder} are both {source.entry.name}; "
                "a submission has one run of a suite and benchmark, so give one of them"
            )
        seen[source.entry.name] = source.folder


def _videos(config: PackConfig, made: Path, sources: Sequence[_Source]) -> Videos | None:
    if config.videos == "none" and config.videos_at is None:
        return None
    if config.videos == "copy" and config.videos_at is not None:
        raise BadInputError("give --videos copy or --videos-at an address, not both")
    found = {
        f"{source.entry.name}/{file.name}": file
        for source in sources
        if source.entry.benchmark == "fidelity"
        for file in sorted((source.folder / VIDEOS_FOLDER).glob("*.pred.mp4"))
    }
    if not found:
        raise BadInputError(
            "the runs hold no videos; run again with `dojobench run … --videos all`, or leave "
            "--videos and --videos-at out"
        )
    entries = {}
    for path, file in sorted(found.items()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        entries[path] = FileEntry(bytes=file.stat().st_size, sha256=digest)
        if config.videos == "copy":
            target = made / VIDEOS_FOLDER / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return Videos(where=config.videos_at or VIDEOS_FOLDER, files=entries)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}); name another file") from (
            error
        )
    if len(content) > limit:
        raise BadInputError(f"{path} is larger than {limit / 2**20:g} MiB, which is too large")
    return content
