"""Writes the vote log to a file that is safe to publish, and checks logs wherever they lie."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dojobench.human_eval.database import open_engine
from dojobench.human_eval.keyring import Keyring, read_key
from dojobench.human_eval.store import Store
from dojobench.human_eval.study_file import read_study
from dojobench.human_eval.vote_chain import FORMAT, KIND, Event, Fault, from_line, to_line, verify
from dojobench.human_eval.whole_file import write_whole
from dojobench.protocol.errors import BadInputError


def open_store(folder: Path, database: str | None) -> Store:
    """Opens the votes of a study that was served; makes nothing.

    Raises:
        BadInputError: If there is no such study, or it was never served.
    """
    found = read_study(folder)
    keyring = Keyring(read_key(folder, create=False))
    return Store(open_engine(folder, database, create=False), keyring, found.hash)


def export_votes(folder: Path, out: Path, *, database: str | None = None) -> list[Fault]:
    """Writes the log as JSON Lines: a header, then one event a line.

    The file holds nothing about persons: raters are random numbers, and there is no address, no
    panel id and no free text by raters. Exports of the same log are byte-equal.

    Args:
        folder: The study's folder.
        out: File to write, whole or not at all.
        database: ``postgresql://…``; ``None``: SQLite in the folder.

    Returns:
        Where the log is not whole; it is written all the same, and a reader finds the same.

    Raises:
        BadInputError: If the study has no votes yet or ``out`` cannot be written.
    """
    study = read_study(folder)
    store = open_store(folder, database)
    try:
        facts, events = store.facts(), store.events()
        if not events:
            raise BadInputError(
                f"the study {folder} has no vote yet, so there is nothing to export"
            )
        faults, end = _check(store, events, study.hash)
    finally:
        store.close()
    header = {
        "format": FORMAT, "kind": KIND, "study": study.hash,
        "consent_version": study.study.study.consent_version, "created": facts["created"],
        "end": {"n": end[0], "hash": end[1]},
    }  # fmt: skip
    lines = [header, *map(to_line, events)]
    text = "".join(
        json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines
    )
    write_whole(out, text.encode("ascii"))
    return faults


def check_study(folder: Path, *, database: str | None = None) -> tuple[int, str, list[Fault]]:
    """Checks the log of a study that was served.

    Returns:
        Number of events, hash of the last, and all faults.

    Raises:
        BadInputError: If there is no such study.
    """
    study = read_study(folder)
    store = open_store(folder, database)
    try:
        events = store.events()
        faults, end = _check(store, events, study.hash)
    finally:
        store.close()
    return len(events), end[1], faults


def check_file(path: Path) -> tuple[int, str, list[Fault]]:
    """Checks an exported log.

    Returns:
        As `check_study`.

    Raises:
        BadInputError: If it is no vote log.
    """
    lines = _lines(path)
    number, header = next(lines, (0, {}))
    if header.get("kind") != KIND or header.get("format") != FORMAT:
        raise BadInputError(
            f"{path} is no vote log of format {FORMAT}; 'dojobench study export' writes one"
        )
    events: list[Event] = []
    for number, line in lines:
        try:
            events.append(from_line(line))
        except ValueError as error:
            raise BadInputError(f"{path}, line {number}: {error}") from error
    faults = verify(events, str(header.get("study")), end=header_end(header.get("end")))
    return len(events), events[-1].hash if events else "", faults


def hashes(path: Path, *, database: str | None = None) -> set[str]:
    """Gives the hashes of all events of a study's folder or an exported log."""
    if not path.is_dir():
        return {str(line.get("hash")) for _, line in _lines(path)}
    store = open_store(path, database)
    try:
        return {event.hash for event in store.events()}
    finally:
        store.close()


def header_end(found: object) -> tuple[int, str] | None:
    """Reads from a header where the log ended when it was exported; ``None`` if it does not say."""
    if not isinstance(found, dict):
        return None
    n, last = found.get("n"), found.get("hash")
    return (n, last) if isinstance(n, int) and isinstance(last, str) else None


def _check(store: Store, events: list[Event], study: str) -> tuple[list[Fault], tuple[int, str]]:
    last = (events[-1].n, events[-1].hash) if events else (0, "")
    try:
        end = store.end()
    except ValueError as error:
        return [*verify(events, study), Fault(last[0], str(error))], last
    return verify(events, study, end=end), end


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    found = json.loads(text)
                    if not isinstance(found, dict):
                        raise BadInputError(f"{path}, line {number}: must be a JSON object")
                    yield number, found
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInputError(f"{path} is no vote log: {error}") from error
