"""Are all files there, none too many, and each the one that was packed?"""

from collections.abc import Iterator
from datetime import datetime

from dojobench.leaderboard.card import parse_card
from dojobench.leaderboard.dates import parse_date
from dojobench.leaderboard.submission import (
    ATTESTATION_FILE,
    CARD_FILE,
    LIMITS,
    MAINTAINERS_FILES,
    MAX_TOTAL,
    MAX_VIDEO,
    MAX_VIDEOS_TOTAL,
    MIB,
    PREFERENCES_FILE,
    STATUS_FILE,
    SUBMISSION_FILE,
    VIDEOS_FOLDER,
    FileEntry,
    Submission,
    expected_files,
)
from dojobench.leaderboard.verdict import Finding, Refused


def check_files(submission: Submission, *, published: bool, latest: datetime) -> Iterator[Finding]:
    """Checks the folder against its list.

    Args:
        submission: The submission.
        published: Whether it may carry the maintainers' files.
        latest: A moment after which nothing can have been packed.

    Yields:
        What is wrong.
    """
    yield from _listed(submission, published=published)
    yield from _sizes(submission)
    yield from _hashes(submission)
    yield from _card(submission)
    yield from _content(submission)
    if submission.folder.root.name != submission.id and not published:
        yield Finding(
            code="DB-S013",
            sentence=f"The folder is called '{submission.folder.root.name}', but the id in "
            f"{SUBMISSION_FILE} is '{submission.id}'; rename the folder to the id.",
        )
    if parse_date(submission.file.created) > latest:
        yield Finding(
            code="DB-S016",
            sentence=f"It says that it was packed on {submission.file.created}, which is in the "
            "future; set the clock of the machine that ran the model and run it again.",
            where=f"{SUBMISSION_FILE}: created",
        )
    if published:
        yield from _maintainers(submission)


def _listed(submission: Submission, *, published: bool) -> Iterator[Finding]:
    file = submission.file
    expected = set(expected_files(file))
    videos = {f"{VIDEOS_FOLDER}/{name}" for name in file.videos.files} if file.videos else set()
    for path in sorted(expected - set(file.files)):
        yield Finding(
            code="DB-S004",
            sentence=f"{SUBMISSION_FILE} does not list {path} with its hash, which it needs; pack "
            "it again with `dojobench submit pack`.",
            where=path,
        )
    for path in sorted(set(file.files) - expected):
        yield Finding(
            code="DB-S003",
            sentence=f"{SUBMISSION_FILE} lists {path}, which belongs to no run of it; pack it "
            "again with `dojobench submit pack`.",
            where=path,
        )
    for path in submission.folder.sizes:
        if path in MAINTAINERS_FILES:
            if not published:
                yield Finding(
                    code="DB-S014",
                    sentence=f"{path} is written by the maintainers after a submission came in; "
                    "remove it.",
                    where=path,
                )
        elif path != SUBMISSION_FILE and path not in file.files and path not in videos:
            yield Finding(
                code="DB-S003",
                sentence=f"{path} is no part of a submission; remove it.",
                where=path,
            )


def _sizes(submission: Submission) -> Iterator[Finding]:
    total = video_total = 0
    for path, size in submission.folder.sizes.items():
        video = path.startswith(f"{VIDEOS_FOLDER}/")
        limit = MAX_VIDEO if video else LIMITS.get(path.rsplit("/", 1)[-1], MIB)
        video_total, total = (video_total + size, total) if video else (video_total, total + size)
        if size > limit:
            yield Finding(
                code="DB-S005",
                sentence=f"{path} has {size / MIB:.1f} MiB, and the most is {limit / MIB:g} MiB; "
                "send fewer or shorter clips, or ask the maintainers.",
                where=path,
            )
    for what, size, most in (
        ("The files", total, MAX_TOTAL),
        ("The videos", video_total, MAX_VIDEOS_TOTAL),
    ):
        if size > most:
            yield Finding(
                code="DB-S005",
                sentence=f"{what} have {size / MIB:.0f} MiB together, and the most is "
                f"{most / MIB:.0f} MiB; split the submission by suite.",
            )


def _hashes(submission: Submission) -> Iterator[Finding]:
    file = submission.file
    entries: dict[str, FileEntry] = dict(file.files)
    here = any(path.startswith(f"{VIDEOS_FOLDER}/") for path in submission.folder.sizes)
    # Videos do not go into git: all of them may be elsewhere, but not some.
    if file.videos and here:
        entries |= {f"{VIDEOS_FOLDER}/{name}": each for name, each in file.videos.files.items()}
    gone = []
    for path, entry in entries.items():
        if path not in submission.folder.sizes:
            gone.append(path)
        elif (
            submission.folder.sizes[path] != entry.bytes
            or submission.folder.digest(path) != entry.sha256
        ):
            yield Finding(
                code="DB-S010",
                sentence=f"{path} is not the file that was packed: its size or hash differs from "
                f"the one in {SUBMISSION_FILE}; restore it, or pack the run again.",
                where=path,
            )
    for path in gone[:20]:
        yield Finding(
            code="DB-S004",
            sentence=f"{path} is missing; put it back, or pack the run again.",
            where=path,
        )


def _card(submission: Submission) -> Iterator[Finding]:
    if CARD_FILE not in submission.folder.sizes:
        return
    card = parse_card(submission.folder.read(CARD_FILE, LIMITS[CARD_FILE]))
    if card != submission.card:
        different = next(
            name for name in type(card).model_fields
            if getattr(card, name) != getattr(submission.card, name)
        )  # fmt: skip
        yield Finding(
            code="DB-S011",
            sentence=f"The card in {SUBMISSION_FILE} differs from {CARD_FILE} in '{different}'; "
            "change card.toml and pack again.",
            where=f"{CARD_FILE}: {different}",
        )


def _content(submission: Submission) -> Iterator[Finding]:
    file = submission.file
    if (file.reported is None) == (not file.runs):
        yield Finding(
            code="DB-S017",
            sentence="A submission has either runs or reported values, and this one has "
            f"{'both' if file.runs else 'neither'}; pack the runs with `dojobench submit pack`.",
            where=SUBMISSION_FILE,
        )
    if file.reported:
        for number, value in enumerate(file.reported.values):
            if value.source >= len(file.reported.sources):
                yield Finding(
                    code="DB-S017",
                    sentence=f"Reported value {number} names source {value.source}, which is not "
                    "in the list of sources; every published number needs its source.",
                    where=f"{SUBMISSION_FILE}: reported.values.{number}.source",
                )
    names = [run.name for run in file.runs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(
            code="DB-S012",
            sentence=f"Two runs are called {name}; a submission has one of a suite and benchmark.",
            where=f"{SUBMISSION_FILE}: runs",
        )
    if PREFERENCES_FILE in submission.folder.sizes:
        yield from _preferences(submission)


def _preferences(submission: Submission) -> Iterator[Finding]:
    from dojobench.human_eval.preferences import Preferences
    from dojobench.leaderboard.submission import read_part

    _, found = read_part(submission.folder, PREFERENCES_FILE, Preferences)
    if submission.card.name not in found.models:
        yield Finding(
            code="DB-S012",
            sentence=f"{PREFERENCES_FILE} has no model called '{submission.card.name}'; give the "
            "card the name that the model has in the study, or leave the file out.",
            where=PREFERENCES_FILE,
        )
    if not found.log.whole:
        yield Finding(
            code="DB-S012",
            sentence=f"{PREFERENCES_FILE} comes of a vote log with faults "
            f"({len(found.log.faults)}); check it with `dojobench study verify` and analyse it "
            "again.",
            where=PREFERENCES_FILE,
        )


def _maintainers(submission: Submission) -> Iterator[Finding]:
    try:
        status, attestation = submission.status, submission.attestation
    except Refused as error:
        yield Finding(code=error.code, sentence=str(error), where=error.where)
        return
    if status:
        last = status.events[-1]
        yield Finding(
            code="DB-N707",
            sentence=f"It was {last.what} on {last.date[:10]}: {last.reason}",
            where=STATUS_FILE,
        )
    if attestation is None:
        return
    if not attestation.whole or attestation.submission_sha256 != submission.sha256:
        yield Finding(
            code="DB-S010",
            sentence=f"{ATTESTATION_FILE} was changed, or is about another version of this "
            "submission; audit it again with `dojobench submit audit`.",
            where=ATTESTATION_FILE,
        )
    else:
        passed = "passed" if attestation.passed else "did not pass"
        yield Finding(
            code="DB-N708",
            sentence=f"It {passed} the audit of {attestation.audited[:10]} by "
            f"{attestation.auditor}, which compared {len(attestation.comparisons)} numbers.",
            where=ATTESTATION_FILE,
        )
