"""The check: from a folder or archive of a stranger to a verdict; it never ends in a traceback.

It runs the same on a submitter's machine and in CI, needs no data set, no GPU and no network, and
reads files only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dojobench.leaderboard.check_files import check_files
from dojobench.leaderboard.submission import (
    Submission,
    read_submission,
)
from dojobench.leaderboard.verdict import Finding, Refused, Verdict, ordered

BOARD = Path("leaderboard") / "submissions"


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """How to check.

    Attributes:
        board: Submissions to compare with; none where ``None``.
        published: The submission is on the board already: it may carry the maintainers' files
            and results of an old metric version.
        now: The present moment; the clock's where ``None``.
    """

    board: Path | None = None
    published: bool = False
    now: datetime | None = None


def board_folder(given: Path | None) -> Path | None:
    """Gives the folder of submissions: as asked for, or the checkout's, or none."""
    if given is not None:
        return given
    return BOARD if BOARD.is_dir() else None


def check(path: Path, config: CheckConfig | None = None) -> Verdict:
    """Checks a submission.

    Args:
        path: Its folder.
        config: How to check.

    Returns:
        The verdict; whatever is wrong with the submission is in it.
    """
    config = config or CheckConfig()
    try:
        submission = read_submission(path)
    except Refused as error:
        return Verdict(id="", submission_sha256="", findings=(_finding(error),))
    findings = ordered(_all(submission, config))
    return Verdict(id=submission.id, submission_sha256=submission.sha256, findings=findings)


def _all(submission: Submission, config: CheckConfig) -> Iterator[Finding]:
    latest = (config.now or datetime.now(UTC)) + timedelta(days=1)
    parts: list[Callable[[], Iterator[Finding]]] = [
        lambda: check_files(submission, published=config.published, latest=latest),
    ]
    for part in parts:
        yield from guarded(part)


def guarded(part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Turns what ends one part of the check into a finding, so that the other parts still run."""
    try:
        yield from part()
    except Refused as error:
        yield _finding(error)


def _finding(error: Refused) -> Finding:
    return Finding(code=error.code, sentence=str(error), where=error.where)
