"""The check: from a folder or archive of a stranger to a verdict; it never ends in a traceback.

It runs the same on a submitter's machine and in CI, needs no data set, no GPU and no network, and
reads files only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from dojobench.leaderboard.archive import opened
from dojobench.leaderboard.cheats import check_cheats
from dojobench.leaderboard.check_files import check_files
from dojobench.leaderboard.check_records import check_numbers, check_summary
from dojobench.leaderboard.check_suite import check_suite
from dojobench.leaderboard.declarations import check_code, check_declarations
from dojobench.leaderboard.known_suites import FIDELITY, KnownSuite, known_suite
from dojobench.leaderboard.machines import check_machine
from dojobench.leaderboard.runs import SubmittedRun, read_run
from dojobench.leaderboard.safe_files import shown
from dojobench.leaderboard.seeds import check_seeds
from dojobench.leaderboard.speed_check import check_speed
from dojobench.leaderboard.submission import (
    VIDEOS_FOLDER,
    RunEntry,
    Submission,
    read_submission,
)
from dojobench.leaderboard.twins import Other, check_twins, read_board
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
        suite: Gives a suite that the board knows by name.
    """

    board: Path | None = None
    published: bool = False
    now: datetime | None = None
    suite: Callable[[str], KnownSuite | None] = known_suite


def board_folder(given: Path | None) -> Path | None:
    """Gives the folder of submissions: as asked for, or the checkout's, or none."""
    if given is not None:
        return given
    return BOARD if BOARD.is_dir() else None


def check(path: Path, config: CheckConfig | None = None) -> Verdict:
    """Checks a submission.

    Args:
        path: Its folder, or an archive of it.
        config: How to check.

    Returns:
        The verdict; whatever is wrong with the submission is in it.
    """
    config = config or CheckConfig()
    try:
        with opened(path) as folder:
            submission = read_submission(folder)
            findings = ordered(_all(submission, config))
    except Refused as error:
        return Verdict(id="", submission_sha256="", findings=ordered([_finding(error)]))
    return Verdict(id=submission.id, submission_sha256=submission.sha256, findings=findings)


def _all(submission: Submission, config: CheckConfig) -> Iterator[Finding]:
    latest = (config.now or datetime.now(UTC)) + timedelta(days=1)
    yield from guarded(lambda: check_files(submission, published=config.published, latest=latest))
    if submission.file.reported:
        yield Finding(
            code="DB-N709", sentence="Its numbers were published elsewhere and are not checked."
        )
    runs: list[SubmittedRun] = []
    for entry in submission.file.runs:
        if entry.benchmark == "speed":
            yield from guarded(partial(check_speed, submission, entry))
            continue
        yield from guarded(partial(_read, submission, entry, runs))
    suites = {run.meta.suite.name: config.suite(run.meta.suite.name) for run in runs}
    others = read_board(config.board, without=submission.id)
    for run in runs:
        suite = suites[run.meta.suite.name]
        for part in _parts(submission, run, suite, others, config, latest):
            yield from guarded(part)
    yield from guarded(lambda: check_declarations(submission.card, suites))
    yield from guarded(lambda: check_code(runs))
    yield from guarded(lambda: _together(submission, runs))


def _read(submission: Submission, entry: RunEntry, runs: list[SubmittedRun]) -> Iterator[Finding]:
    runs.append(read_run(submission, entry))
    yield from ()


def _parts(
    submission: Submission,
    run: SubmittedRun,
    suite: KnownSuite | None,
    others: list[Other],
    config: CheckConfig,
    latest: datetime,
) -> list[Callable[[], Iterator[Finding]]]:
    """Everything that is asked of one run; each question is asked whatever the others say."""
    return [
        lambda: check_suite(run, suite, published=config.published, latest=latest),
        lambda: check_summary(run),
        lambda: check_numbers(run, suite),
        lambda: check_cheats(run, suite, submission.card.kind),
        lambda: check_twins(submission, run, suite, others),
        lambda: check_machine(run, submission.card),
    ]


def _together(submission: Submission, runs: list[SubmittedRun]) -> Iterator[Finding]:
    """Checks what runs have to have in common."""
    by_suite: dict[str, list[SubmittedRun]] = {}
    for run in runs:
        by_suite.setdefault(run.meta.suite.version, []).append(run)
    for group in by_suite.values():
        yield from check_seeds(group)
        if not any(run.entry.benchmark == FIDELITY for run in group):
            yield Finding(
                code="DB-V105",
                sentence=f"There is no fidelity run of {shown(group[0].meta.suite.name)}, which "
                "every row of its table needs; pack the whole run folder.",
            )
    models = {(run.meta.model.name, run.meta.model.version, run.meta.model.weights) for run in runs}
    if len(models) > 1:
        names = ", ".join(sorted(shown(f"{name} {version}") for name, version, _ in models))
        yield Finding(
            code="DB-V108",
            sentence=f"Its runs are of different models or weights ({shown(names, 200)}); submit "
            "each model by itself.",
        )
    yield from _auditable(submission, runs)


def _auditable(submission: Submission, runs: list[SubmittedRun]) -> Iterator[Finding]:
    listed = submission.file.videos
    if listed and listed.where == VIDEOS_FOLDER:
        if not any(path.startswith(f"{VIDEOS_FOLDER}/") for path in submission.folder.sizes):
            yield Finding(
                code="DB-N710",
                sentence="Its videos are listed and not here; an auditor will ask for them.",
            )
    elif runs and listed is None and submission.card.kind == "world-model":
        yield Finding(
            code="DB-N710",
            sentence="It names no videos, so it can be audited only by running the model; add "
            "them with --videos copy or --videos-at.",
        )


def guarded(part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Turns what ends one part of the check into a finding, so that the other parts still run."""
    try:
        yield from part()
    except Refused as error:
        yield _finding(error)
    except Exception as error:
        # A stranger's file that nobody thought of must end in a verdict, too; the fuzzer
        # counts this as a fault of the checker.
        yield Finding(
            code="DB-S018",
            sentence=f"A part of the check could not be made ({type(error).__name__}); the files "
            "may be damaged, so pack the run again, and report it if that does not help.",
        )


def _finding(error: Refused) -> Finding:
    return Finding(code=error.code, sentence=str(error), where=error.where)
