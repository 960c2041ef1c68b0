"""The audit: scores recomputed on clips that were drawn after the submission came in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from dojobench.benchmarks.provenance import code_entry, hardware, package_versions
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.datasets.suites import open_suite
from dojobench.leaderboard.attestation import (
    Attestation,
    Comparison,
    Floor,
    PrivateScore,
    Round,
)
from dojobench.leaderboard.dates import now
from dojobench.leaderboard.draw import draw, draw_hash
from dojobench.leaderboard.known_suites import FIDELITY
from dojobench.leaderboard.pack import machine_of
from dojobench.leaderboard.runs import SubmittedRun, read_run
from dojobench.leaderboard.submission import (
    ATTESTATION_FILE,
    VIDEOS_FOLDER,
    Submission,
    read_submission,
)
from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What to audit, and how.

    Attributes:
        folder: The submission.
        round_name: Name of the round.
        round_seed: Its public seed.
        auditor: Who audits.
        clips: Clips and seeds to draw from each fidelity run.
        videos: Folder with the videos, where they are not in the submission.
        model: The model, to run it again instead of reading videos.
        options: Its options.
        data: Folder of the data sets.
        secret: Seed of the private split of the dojo.
        private_clips: Private clips to run.
        training: Whether to search the training split for predicted frames.
    """

    folder: Path
    round_name: str
    round_seed: str
    auditor: str
    clips: int = 16
    videos: Path | None = None
    model: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    data: Path | None = None
    secret: str | None = None
    private_clips: int = 12
    training: bool = True


@dataclass(kw_only=True)
class _Found:
    """What an audit has found so far."""

    comparisons: list[Comparison] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    private: list[PrivateScore] = field(default_factory=list)
    commitment: str | None = None
    checks: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    suites: dict[str, str] = field(default_factory=dict)


def audit(config: AuditConfig) -> Attestation:
    """Audits a submission; nothing is written.

    Returns:
        The sealed attestation.

    Raises:
        BadInputError: If the submission cannot be read, or what an audit needs is not there.
    """
    named = _round(config)
    submission = read_submission(config.folder)
    runs = [
        read_run(submission, entry) for entry in submission.file.runs if entry.benchmark == FIDELITY
    ]
    if not runs:
        raise BadInputError(f"{config.folder} has no fidelity run, so there is nothing to audit")
    drawn_by = draw_hash(submission.sha256, config.round_seed)
    found = _Found()
    for run in runs:
        suite = open_suite(run.meta.suite.name, data=config.data)
        if suite.spec.version != run.meta.suite.version:
            raise BadInputError(
                f"{run.entry.name} was run on another version of {run.meta.suite.name}; audit it "
                "with the dojobench that it was run with"
            )
        found.suites[run.meta.suite.name] = suite.spec.version
        if config.model is None:
            _from_videos(config, submission, run, suite, drawn_by, found)
        else:
            _from_model(config, submission, run, suite, drawn_by, found)
    return _attest(config, named, submission, drawn_by, found)


def draw_records(
    run: SubmittedRun, suite: Suite, drawn_by: str, count: int
) -> list[tuple[str, int]]:
    """Draws clips and seeds; of a branch group, another branch with the same seed comes along."""
    chosen = draw(run.run.plan(), drawn_by, count)
    by_id = {clip.id: clip for clip in suite.clips}
    groups: dict[str, list[str]] = {}
    for clip in suite.clips:
        if clip.branch_group:
            groups.setdefault(clip.branch_group, []).append(clip.id)
    planned = set(run.run.plan())
    for name, seed in list(chosen):
        group = by_id[name].branch_group if name in by_id else None
        for other in groups.get(group or "", ()):
            if other != name and (other, seed) in planned:
                chosen.append((other, seed))
                break
    return list(dict.fromkeys(chosen))


def _from_videos(
    config: AuditConfig,
    submission: Submission,
    run: SubmittedRun,
    suite: Suite,
    drawn_by: str,
    found: _Found,
) -> None:
    from dojobench.benchmarks.progress import Meter, busy
    from dojobench.leaderboard import audit_videos as frames

    listed = submission.file.videos
    if listed is None:
        raise BadInputError(
            f"{config.folder} lists no videos; audit the model itself with --model, or ask for a "
            "submission packed with --videos"
        )
    root = config.videos or config.folder / VIDEOS_FOLDER
    clips = {clip.id: clip for clip in suite.clips}
    wanted = draw_records(run, suite, drawn_by, config.clips)
    loaded = []
    compared: list[Comparison] = []
    with Meter(f"auditing {run.entry.name}", len(wanted)) as meter:
        for clip, seed in wanted:
            name = frames.video_name(run.entry.name, clip, seed)
            if name not in listed.files:
                found.failures.append(f"The submission lists no video {name}, which was drawn.")
                continue
            one = frames.load(suite, _clip(clips, clip), seed, root / name, listed.files[name])
            floor = frames.floor_of(one, suite.spec.frame_rate)
            compared += frames.compare(run, one, floor)
            found.floors.append(floor)
            loaded.append(one)
            meter.advance(len(one.prediction))
    found.comparisons += [*compared, *frames.compare_means(compared)]
    kind = submission.card.kind
    told = list(frames.look_for_copies(loaded))
    if kind not in ("static", "noise"):
        told += frames.look_for_frozen(loaded)
    if kind == "world-model":
        told += frames.look_for_ignored_actions(loaded)
    looked = "copied truth, frozen frames and equal branches"
    if kind != "retrieval" and config.training:
        with busy("searching the training split"):
            told += frames.look_for_retrieval(loaded, suite)
        looked += ", and for frames of the training split"
    found.failures += told
    found.checks[f"{run.entry.name}: frames"] = (
        f"{len(loaded)} videos were looked through for {looked}; "
        + ("nothing was found." if not told else f"{len(told)} things were found.")
    )


def _from_model(
    config: AuditConfig,
    submission: Submission,
    run: SubmittedRun,
    suite: Suite,
    drawn_by: str,
    found: _Found,
) -> None:
    from dojobench.leaderboard import audit_model as again
    from dojobench.protocol.lookup import load_model

    model = load_model(config.model or "", config.options)
    try:
        stated = (run.meta.model.name, run.meta.model.version, run.meta.model.weights)
        if (model.spec.name, model.spec.version, model.spec.weights) != stated:
            raise BadInputError(
                f"the model at {config.model} is {model.spec.name} {model.spec.version} with "
                f"weights {model.spec.weights}, and the submission is of {' '.join(stated)}; "
                "audit the same model"
            )
        again.prepare(model, suite, suite.clips)
        wanted = draw_records(run, suite, drawn_by, config.clips)
        records = again.rerun(suite, model, run, wanted)
        found.comparisons += again.compare(run, records)
        if submission.card.kind == "world-model":
            found.failures += again.ignored_actions(run, records)
        if config.secret is not None and run.meta.suite.name.startswith("dojo-"):
            private = again.private_suite(
                suite.spec, run.meta.suite.name, config.secret, drawn_by, config.private_clips
            )
            new = again.rerun(private, model, run, [(clip.id, 0) for clip in private.clips])
            found.private += again.compare_private(run, new)
            found.commitment = private.spec.version
    finally:
        if callable(close := getattr(model, "close", None)):
            close()


def _clip(clips: dict[str, ClipRecord], name: str) -> ClipRecord:
    if name not in clips:
        raise BadInputError(f"the suite has no clip {name}; check the submission first")
    return clips[name]


def _round(config: AuditConfig) -> Round:
    try:
        return Round(name=config.round_name, seed=config.round_seed)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise BadInputError(
            f"{'--round-seed' if problem['loc'][0] == 'seed' else '--round'} cannot be used "
            f"({problem['msg']}); give the round's name, such as 2026-12, and its public seed"
        ) from error


def _attest(
    config: AuditConfig, named: Round, submission: Submission, drawn_by: str, found: _Found
) -> Attestation:
    failures = [*_outside(found.comparisons), *found.failures]
    failures += [
        f"On private clips the skill is {each.private:.3f} and on public ones {each.public:.3f}, "
        f"more than {each.tolerance:.3f} apart: the model seems to know the public clips."
        for each in found.private
        if not each.within
    ]
    code = code_entry()
    before = submission.attestation
    return Attestation(
        submission_id=submission.id,
        submission_sha256=submission.sha256,
        round=named,
        draw=drawn_by,
        method="videos" if config.model is None else "model",
        suites=found.suites,
        comparisons=tuple(found.comparisons),
        floors=tuple(found.floors),
        private=tuple(found.private),
        private_commitment=found.commitment,
        checks=found.checks,
        failures=tuple(failures),
        passed=not failures,
        code={"version": code.version, "commit": code.commit, "dirty": code.dirty},
        packages=package_versions(),
        hardware=machine_of(hardware())[:200],
        audited=now(),
        auditor=config.auditor,
        previous=before.sha256 if before else None,
    ).sealed()


def _outside(comparisons: Sequence[Comparison]) -> list[str]:
    if not comparisons:
        return ["Nothing could be compared."]
    return [
        f"{each.metric} of {each.clip} with seed {each.seed} in {each.run} is "
        f"{each.submitted:.4f} in the records and {each.recomputed:.4f} recomputed, further apart "
        f"than {each.tolerance:.4f}."
        for each in comparisons
        if not each.within
    ]


def write_attestation(attestation: Attestation, out: Path) -> None:
    """Writes an attestation, whole or not at all.

    Raises:
        BadInputError: If it cannot be written.
    """
    import json

    from dojobench.datasets.files import write_atomically

    text = json.dumps(attestation.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    write_atomically(out, text.encode("utf-8"))


def default_out(folder: Path) -> Path:
    """Gives the place of an attestation: beside ``submission.json``."""
    return folder / ATTESTATION_FILE
