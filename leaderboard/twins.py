"""Whose records are these? Two different models never score the same, clip after clip."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dojobench.leaderboard.known_suites import FIDELITY, KnownSuite
from dojobench.leaderboard.runs import SubmittedRun, read_summary
from dojobench.leaderboard.submission import Submission, list_submissions, read_submission
from dojobench.leaderboard.verdict import Finding, Refused

TWIN = 0.02
"""dB: spread of the difference between two models below which they are one."""
ALIKE = 0.1
COPIED_SHARE = 0.1
LEAST_CLIPS = 8


@dataclass(frozen=True, kw_only=True)
class Other:
    """A submission on the board, as far as it is compared.

    Attributes:
        submission: The submission.
        values: PSNR of each clip, for each run's suite version and convention.
    """

    submission: Submission
    values: dict[tuple[str, str], dict[str, float]]


def read_board(board: Path | None, *, without: str) -> list[Other]:
    """Reads the scores of what is on the board.

    Args:
        board: Folder of submissions; none where ``None``.
        without: Id of the submission that is checked.
    """
    found = []
    for folder in list_submissions(board) if board else []:
        try:
            submission = read_submission(folder)
            if submission.id == without or submission.file.reported:
                continue
            values = {}
            for entry in submission.file.runs:
                if entry.benchmark == FIDELITY:
                    meta, summary = read_summary(submission, entry)
                    values[meta.suite.version, meta.convention] = {
                        row.clip: row.values["psnr"]
                        for row in summary.clip_values
                        if "psnr" in row.values
                    }
        except Refused:
            # What is wrong with another submission is no fault of this one.
            continue
        found.append(Other(submission=submission, values=values))
    return found


def check_twins(
    submission: Submission, run: SubmittedRun, suite: KnownSuite | None, others: list[Other]
) -> Iterator[Finding]:
    """Compares a fidelity run with every one on the board of the same suite.

    Yields:
        Submissions that it equals, or is suspiciously like.
    """
    if run.entry.benchmark != FIDELITY:
        return
    mine = {row.clip: row.values.get("psnr") for row in run.summary.clip_values}
    static = _static(suite)
    for other in others:
        theirs = other.values.get((run.meta.suite.version, run.meta.convention), {})
        # Where the prediction is the held frame, all models that fail there agree.
        pairs = [
            (a, theirs[clip]) for clip, a in mine.items()
            if a is not None and clip in theirs and abs(a - static.get(clip, -1.0)) > 1e-3
        ]  # fmt: skip
        if len(pairs) < LEAST_CLIPS or submission.card.supersedes == other.submission.id:
            yield from _same_baseline(submission, other, mine, theirs)
            continue
        difference = np.asarray([a - b for a, b in pairs])
        equal = float((np.abs(difference) < 1e-6).mean())
        spread = float(difference.std())
        if _both_baselines(submission, other) and spread < TWIN:
            yield _note(other)
        elif spread < TWIN or equal > COPIED_SHARE:
            yield _twin(run, other, spread, equal)
        elif spread < ALIKE:
            yield Finding(
                code="DB-W605",
                sentence=f"{run.entry.name}: its clips score what those of "
                f"'{other.submission.id}' do, to within {spread:.2f} dB; if one was made from the "
                "other, say so in the card's description.",
                where=run.entry.name,
            )


def _static(suite: KnownSuite | None) -> dict[str, float]:
    if suite is None or suite.reference is None:
        return {}
    return {
        clip: -10 * float(np.log10(max(each.static, 1e-8)))
        for clip, each in suite.reference.clips.items()
    }


def _both_baselines(submission: Submission, other: Other) -> bool:
    kinds = {submission.card.kind, other.submission.card.kind}
    return len(kinds) == 1 and "world-model" not in kinds


def _same_baseline(
    submission: Submission,
    other: Other,
    mine: dict[str, float | None],
    theirs: dict[str, float],
) -> Iterator[Finding]:
    same = [clip for clip, a in mine.items() if a is not None and abs(theirs.get(clip, -1) - a) < 1]
    if _both_baselines(submission, other) and len(same) == len(mine) and mine:
        yield _note(other)


def _note(other: Other) -> Finding:
    return Finding(
        code="DB-N701",
        sentence=f"It scores what the baseline '{other.submission.id}' on the board does.",
    )


def _twin(run: SubmittedRun, other: Other, spread: float, equal: float) -> Finding:
    told = (
        f"{100 * equal:.0f} % of its clips score exactly what those of"
        if equal > COPIED_SHARE
        else f"its clips differ by one amount (to within {spread:.3f} dB) from those of"
    )
    return Finding(
        code="DB-C304",
        sentence=f"{run.entry.name}: {told} '{other.submission.id}', so these are that model's "
        "records; send your own, or name that submission as `supersedes` in the card if yours "
        "takes its place.",
        where=run.entry.name,
    )
