"""``dojobench study export`` and ``verify``: the vote log, published and checked."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Writes the vote log as JSON Lines, safe to publish: it names no person and no address."""

    study: Annotated[Path, tyro.conf.Positional]
    """Folder of a study that was served."""
    out: Path
    """File to write, for example votes.jsonl."""
    database: str | None = None
    """postgresql://user@host/name, as given to `serve`. Default: SQLite in the study's folder."""


@dataclass(frozen=True, kw_only=True)
class VerifyCommand:
    """Checks the hash chain of a vote log; names every place that was changed, and exits with 1."""

    votes: Annotated[Path, tyro.conf.Positional]
    """Folder of a study, or an exported votes.jsonl."""
    database: str | None = None
    """postgresql://user@host/name, as given to `serve`. Default: SQLite in the study's folder."""
    holds: str | None = None
    """A hash that was noted earlier; the log must still hold the event that it stands for."""


def export(argv: list[str]) -> int:
    """Runs ``dojobench study export``.

    Args:
        argv: Arguments behind ``export``.

    Returns:
        0, or 1 where the log is not whole.
    """
    from dojobench.human_eval.vote_files import export_votes

    command = parse(ExportCommand, argv, prog="dojobench study export")
    faults = export_votes(command.study, command.out, database=command.database)
    for fault in faults:
        print(f"dojobench: {fault.sentence}", file=sys.stderr)
    print(f"wrote {command.out}")
    print(f"next: dojobench study analyze {command.out} --study {command.study} --out RESULTS/")
    return 1 if faults else 0


def verify(argv: list[str]) -> int:
    """Runs ``dojobench study verify``.

    Args:
        argv: Arguments behind ``verify``.

    Returns:
        0 where the log is whole, else 1.

    Raises:
        BadInputError: If there is no log.
    """
    from dojobench.human_eval.vote_files import check_file, check_study, hashes

    command = parse(VerifyCommand, argv, prog="dojobench study verify")
    if command.votes.is_dir():
        count, last, faults = check_study(command.votes, database=command.database)
    elif command.database is not None:
        raise BadInputError(f"--database goes with a study's folder, and {command.votes} is none")
    else:
        count, last, faults = check_file(command.votes)
    sentences = [fault.sentence for fault in faults]
    if command.holds is not None and command.holds not in hashes(
        command.votes, database=command.database
    ):
        sentences.append(f"no event has the hash {command.holds}: the log before it was exchanged")
    for sentence in sentences:
        print(sentence)
    if sentences:
        return 1
    print(f"whole: {count} events, the last with hash {last}")
    return 0
