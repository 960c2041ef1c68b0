"""``dojobench submit``: pack a submission, check it, audit it, and print schema and card."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dojobench.leaderboard.verdict import Verdict
from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.subcommands import Subcommand, dispatch


@dataclass(frozen=True, kw_only=True)
class PackCommand:
    """Makes a submission of run folders and a card; the same input gives the same bytes."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN …")]
    """Run folders of `dojobench run`; counterfactual, stability, probes and speed come along."""
    card: Path
    """The card (.toml); `dojobench submit card` prints one to fill in."""
    out: Path | None = None
    """Folder to make. Default: submissions/ID."""
    id: str | None = None
    """Name of the folder and of the page. Default: of the card's name and version."""
    preferences: Path | None = None
    """The preferences.json of a human study that the model took part in."""
    videos: Literal["none", "copy"] = "none"
    """Put the predicted videos of the runs into the folder; they do not go into git."""
    videos_at: str | None = None
    """Address (https) from which the videos of the runs can be fetched; their hashes are kept."""
    board: Path | None = None
    """Submissions to compare with. Default: leaderboard/submissions, where there is one."""


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """Gives the verdict that the pull request will get; exits with 1 if it is refused."""

    submission: tyro.conf.Positional[Path]
    """Folder of the submission, or an archive of it (.zip, .tar, .tar.gz)."""
    json: bool = False
    """Print the verdict as JSON."""
    board: Path | None = None
    """Submissions to compare with. Default: leaderboard/submissions, where there is one."""
    published: bool = False
    """The submission is on the board already: it may be attested, withdrawn or old."""


@dataclass(frozen=True, kw_only=True)
class AuditCommand:
    """Recomputes scores on clips drawn after submission; exits with 1 if the audit fails.

    The clips follow from the hash of the submission and the round's public seed, so anybody can
    repeat the draw and nobody can know it before.
    """

    submission: tyro.conf.Positional[Path]
    """Folder of the submission."""
    options: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[KEY=VALUE …]")
    ] = ()
    """With --model: its options."""
    round: str
    """Name of the round, such as 2026-12."""
    round_seed: str
    """Public seed of the round, published after its submissions came in."""
    auditor: str = "unnamed"
    """Who audits."""
    clips: int = 16
    """Clips and seeds to draw from each fidelity run."""
    videos: Path | None = None
    """Folder with the videos. Default: videos/ in the submission."""
    model: str | None = None
    """Run this model again instead of reading videos: ws://…, or whatever `dojobench run` takes."""
    data: Path | None = None
    """Folder that holds the suite's videos. Default: DOJOBENCH_DATA."""
    secret_seed: str | None = None
    """With --model: seed of the private clips of the dojo, or a file that holds it."""
    private_clips: int = 12
    """Private clips to run."""
    no_training: bool = False
    """Do not search the training split for predicted frames."""
    out: Path | None = None
    """File to write. Default: attestation.json in the submission."""


@dataclass(frozen=True, kw_only=True)
class SchemaCommand:
    """Prints the JSON Schema of submission.json."""

    out: Path | None = None
    """File to write it to instead."""


@dataclass(frozen=True, kw_only=True)
class CardCommand:
    """Prints a card to fill in."""


def pack(argv: list[str]) -> int:
    """Runs ``dojobench submit pack``."""
    command = parse(PackCommand, argv, "dojobench submit pack")
    from dojobench.leaderboard.check import CheckConfig, board_folder, check
    from dojobench.leaderboard.pack import PackConfig
    from dojobench.leaderboard.pack import pack as make

    def examine(made: Path) -> Verdict:
        return check(made, CheckConfig(board=board_folder(command.board)))

    folder, verdict = make(
        PackConfig(
            runs=command.runs,
            card=command.card,
            out=command.out,
            id=command.id,
            preferences=command.preferences,
            videos=command.videos,
            videos_at=command.videos_at,
        ),
        examine,
    )
    _tell(verdict)
    if not verdict.accepted:
        print("Nothing was written. Correct what is said above and pack again.", file=sys.stderr)
        return 1
    print(f"\nSubmission: {folder}")
    print(f"Next:       dojobench submit check {folder}")
    return 0


def check(argv: list[str]) -> int:
    """Runs ``dojobench submit check``."""
    command = parse(CheckCommand, argv, "dojobench submit check")
    from dojobench.leaderboard.check import CheckConfig, board_folder
    from dojobench.leaderboard.check import check as examine

    verdict = examine(
        command.submission,
        CheckConfig(board=board_folder(command.board), published=command.published),
    )
    if command.json:
        print(json.dumps(verdict.to_json(), indent=1, ensure_ascii=False))
    else:
        _tell(verdict)
    return 0 if verdict.accepted else 1


def audit(argv: list[str]) -> int:
    """Runs ``dojobench submit audit``."""
    command = parse(AuditCommand, argv, "dojobench submit audit")
    from dojobench.datasets.dojo_plans import read_secret
    from dojobench.leaderboard.audit import AuditConfig, default_out, write_attestation
    from dojobench.leaderboard.audit import audit as recompute
    from dojobench.protocol.options import parse_pairs

    if command.secret_seed is not None and command.model is None:
        raise BadInputError("--secret-seed needs --model: private clips have no videos")
    found = recompute(
        AuditConfig(
            folder=command.submission,
            round_name=command.round,
            round_seed=command.round_seed,
            auditor=command.auditor,
            clips=command.clips,
            videos=command.videos,
            model=command.model,
            options=parse_pairs(command.options),
            data=command.data,
            secret=read_secret(command.secret_seed) if command.secret_seed else None,
            private_clips=command.private_clips,
            training=not command.no_training,
        )
    )
    out = command.out or default_out(command.submission)
    write_attestation(found, out)
    for sentence in (*found.checks.values(), *found.failures):
        print(sentence)
    if found.floors:
        mean = sum(floor.psnr for floor in found.floors) / len(found.floors)
        print(f"Codec floor (truth against its own compressed copy): {mean:.1f} dB on average.")
    within = sum(each.within for each in found.comparisons)
    print(f"{within} of {len(found.comparisons)} numbers agree within their tolerance.")
    print(f"The audit {'passed' if found.passed else 'FAILED'}; attestation: {out}")
    return 0 if found.passed else 1


def schema(argv: list[str]) -> int:
    """Runs ``dojobench submit schema``."""
    command = parse(SchemaCommand, argv, "dojobench submit schema")
    from dojobench.leaderboard.schema import schema_text

    if command.out is None:
        print(schema_text(), end="")
        return 0
    try:
        command.out.write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{command.out} cannot be written ({error.strerror})") from error
    print(f"written to {command.out}", file=sys.stderr)
    return 0


def card(argv: list[str]) -> int:
    """Runs ``dojobench submit card``."""
    parse(CardCommand, argv, "dojobench submit card")
    from dojobench.leaderboard.card import CARD_TEMPLATE

    print(CARD_TEMPLATE, end="")
    return 0


OUTCOMES = {
    "accepted": "accepted: nothing is wrong with it",
    "look": "accepted, and a person should look at the warnings",
    "refused": "refused",
}


def _tell(verdict: Verdict) -> None:
    """Prints a verdict for people."""
    for each in verdict.findings:
        print(f"{each.level:<8} {each.code}  {each.sentence}")
    counts = {level: 0 for level in ("error", "warning", "note")}
    for each in verdict.findings:
        counts[each.level] += 1
    print(
        f"{verdict.id or 'submission'}: {OUTCOMES[verdict.outcome]} "
        f"({counts['error']} errors, {counts['warning']} warnings, {counts['note']} notes)"
    )


SUBCOMMANDS: dict[str, Subcommand] = {
    "card": Subcommand(card, "print a card to fill in"),
    "pack": Subcommand(pack, "make a submission of run folders and a card"),
    "check": Subcommand(check, "say what the pull request's check will say"),
    "audit": Subcommand(audit, "recompute scores on clips drawn after submission"),
    "schema": Subcommand(schema, "print the JSON Schema of submission.json"),
}


def main(argv: list[str]) -> int:
    """Runs ``dojobench submit``.

    Args:
        argv: Arguments behind ``submit``.

    Returns:
        The exit code: 1 where a submission is refused, 2 for bad input.
    """
    return dispatch("submit", SUBCOMMANDS, argv)
