"""Was the whole suite run, in the version that it claims, and with the seeds that count?"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pydantic import ValidationError

from dojobench.benchmarks.records import Record
from dojobench.leaderboard.card import field_error
from dojobench.leaderboard.dates import parse_date
from dojobench.leaderboard.known_suites import FIDELITY, KnownSuite, is_released_set
from dojobench.leaderboard.pack import entry_of
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.leaderboard.safe_files import shown
from dojobench.leaderboard.verdict import Finding
from dojobench.metrics.conventions import CONVENTIONS, metric_version

LEAST_SEEDS = 3
LPIPS_BACKBONES = {
    "lpips_vgg": "397923af",
    "lpips_alex": "7be5be79",
    "lpips_squeeze": "b8a52dc0",
}
"""First digits of the hash of torchvision's published weights, as their file names say."""


def check_suite(
    run: SubmittedRun, suite: KnownSuite | None, *, published: bool, latest: datetime
) -> Iterator[Finding]:
    """Checks what a run says it is.

    Args:
        run: The run.
        suite: Its suite, where the board knows it.
        published: Whether an old metric version is a note instead of an error.
        latest: A moment after which nothing can have ended.

    Yields:
        What is wrong.
    """
    yield from _entry(run)
    yield from _dates(run, latest)
    yield from _seeds(run)
    yield from _versions(run, published=published)
    yield from _lpips(run)
    if run.meta.model.privileged:
        yield Finding(
            code="DB-V107",
            sentence=f"{run.entry.name}: the model sees the truth, so it tests the metrics and is "
            "no contestant; submit a model that gets context and actions only.",
            where=run.entry.name,
        )
    if suite is None:
        yield from _unknown(run)
    else:
        yield from _suite_fields(run, suite)
        yield from _clips(run, suite)
    yield from _complete(run)


def _entry(run: SubmittedRun) -> Iterator[Finding]:
    try:
        stated, found = run.entry, entry_of(run.meta)
    except ValidationError as error:
        raise field_error(error, f"runs/{run.entry.name}/run.json") from error
    for field in type(stated).model_fields:
        if getattr(stated, field) != getattr(found, field):
            yield Finding(
                code="DB-S012",
                sentence=f"submission.json says that {field} of {run.entry.name} is "
                f"{shown(getattr(stated, field))}, but its run.json says "
                f"{shown(getattr(found, field))}; pack the run again.",
                where=f"submission.json: runs: {run.entry.name}: {field}",
            )


def _dates(run: SubmittedRun, latest: datetime) -> Iterator[Finding]:
    where = f"runs/{run.entry.name}/run.json"
    try:
        started = parse_date(run.meta.started)
        ended = parse_date(run.meta.ended or "")
    except ValueError:
        yield Finding(
            code="DB-S016",
            sentence=f"{where} has no start or end with a date and a time zone; finish the run "
            "with the same `dojobench run` command.",
            where=where,
        )
        return
    if not started <= ended <= latest:
        yield Finding(
            code="DB-S016",
            sentence=f"{where} says that it ran from {run.meta.started} to {run.meta.ended}, which "
            "cannot be; set the machine's clock and run it again.",
            where=where,
        )


def _seeds(run: SubmittedRun) -> Iterator[Finding]:
    seeds = run.meta.seeds
    if len(seeds) < LEAST_SEEDS:
        yield Finding(
            code="DB-V104",
            sentence=f"{run.entry.name} has {len(seeds)} of at least {LEAST_SEEDS} seeds; run it "
            "with `--seeds 0 1 2`.",
            where=run.entry.name,
        )
    elif sorted(seeds) != list(range(len(seeds))):
        yield Finding(
            code="DB-C307",
            sentence=f"{run.entry.name} has the seeds {shown(list(seeds))}, so others may have "
            f"been left out; run it with the seeds 0 to {len(seeds) - 1}, all of them and no "
            "other.",
            where=run.entry.name,
        )


def current_version(run: SubmittedRun) -> str | None:
    """Gives the version of the code that computes a run's metrics here; ``None`` for none."""
    if run.entry.benchmark == FIDELITY:
        known = run.meta.convention in CONVENTIONS
        return metric_version(run.meta.convention) if known else None
    from dojobench.benchmarks.benchmark_runs import UNIT_BENCHMARKS

    return str(UNIT_BENCHMARKS[run.entry.benchmark].version)


def _versions(run: SubmittedRun, *, published: bool) -> Iterator[Finding]:
    meta, current = run.meta, current_version(run)
    if meta.metric_version != current:
        yield Finding(
            code="DB-N704" if published and current else "DB-V103",
            sentence=f"{run.entry.name} was scored by metric version "
            f"{shown(meta.metric_version)}, and this dojobench computes "
            f"{current or 'no such convention'}; "
            + (
                "its numbers are greyed."
                if published and current
                else "run it again with the dojobench of the board."
            ),
            where=run.entry.name,
        )
    if meta.adapt:
        yield Finding(
            code="DB-N703",
            sentence=f"{run.entry.name}: frames were resized between suite and model.",
            where=run.entry.name,
        )


def _lpips(run: SubmittedRun) -> Iterator[Finding]:
    names = {name for record in run.records for name in record.values if name in LPIPS_BACKBONES}
    entry = run.meta.lpips
    hashes = (entry.weights_sha256 or {}) if entry else {}
    for name in sorted(names):
        asked = bool(entry) and f"lpips_{entry.net}" == name if entry else False
        if not asked or not hashes.get("backbone", "").startswith(LPIPS_BACKBONES[name]):
            yield Finding(
                code="DB-V106",
                sentence=f"{run.entry.name} has {name}, computed with weights that are not "
                f"torchvision's (their hash begins with {LPIPS_BACKBONES[name]}); run it again "
                "with the published weights, or without this metric.",
                where=run.entry.name,
            )


def _unknown(run: SubmittedRun) -> Iterator[Finding]:
    name = run.meta.suite.name
    if is_released_set(name):
        yield Finding(
            code="DB-W610",
            sentence=f"{name} has no manifest here, because its clips are listed when it is "
            "downloaded; a person has to compare its version with that of other rows.",
            where=run.entry.name,
        )
        if run.meta.limit is not None or run.meta.suite.clips != len(run.meta.clip_ids):
            yield _dropped(run, run.meta.suite.clips - len(run.meta.clip_ids), "")
    else:
        yield Finding(
            code="DB-V101",
            sentence=f"The board has no suite called '{shown(name)}'; submit runs of a suite that "
            "`dojobench data list` shows, or propose yours in an issue.",
            where=run.entry.name,
        )


def _suite_fields(run: SubmittedRun, suite: KnownSuite) -> Iterator[Finding]:
    stated, spec = run.meta.suite, suite.spec
    if stated.version != spec.version:
        yield Finding(
            code="DB-C309",
            sentence=f"{run.entry.name} was run on version {shown(stated.version, 20)} of "
            f"{spec.name}, and the board's is {spec.version[:20]}…; run it again on the suite "
            "that comes with dojobench.",
            where=run.entry.name,
        )
        return
    for field, ours, theirs in (
        ("resolution", spec.resolution, stated.resolution),
        ("frame_rate", spec.frame_rate, stated.frame_rate),
        ("context_frames", spec.context_frames, stated.context_frames),
        ("action_space.dim", spec.action_space.dim, stated.action_space.dim),
        ("action_space.embodiment", spec.action_space.embodiment, stated.action_space.embodiment),
        ("clips", len(suite.clips), stated.clips),
    ):
        if ours != theirs:
            yield Finding(
                code="DB-V102",
                sentence=f"{run.entry.name} says that {spec.name} has {field} {shown(theirs)}, but "
                f"its manifest says {ours}; send the run.json that dojobench wrote.",
                where=f"runs/{run.entry.name}/run.json: suite.{field}",
            )


def _dropped(run: SubmittedRun, count: int, first: str) -> Finding:
    such = f", such as {first}" if first else ""
    return Finding(
        code="DB-C306",
        sentence=f"{run.entry.name} lacks {count} clips of the suite{such}; run all of them, "
        "without --limit and --splits, because a table compares models on the same clips.",
        where=run.entry.name,
    )


def _clips(run: SubmittedRun, suite: KnownSuite) -> Iterator[Finding]:
    planned = dict(suite.planned(run.entry.benchmark))
    there = set(run.meta.clip_ids)
    if missing := [clip for clip in planned if clip not in there]:
        yield _dropped(run, len(missing), missing[0])
    if foreign := [clip for clip in run.meta.clip_ids if clip not in planned]:
        yield Finding(
            code="DB-R203",
            sentence=f"{run.entry.name} has the clip {shown(foreign[0])}, which a run of "
            f"{suite.spec.name} does not score; run the suite that comes with dojobench.",
            where=run.entry.name,
        )
    for record in run.records:
        if record.clip in planned and (field := _wrong(run, record, planned[record.clip], suite)):
            yield Finding(
                code="DB-R206",
                sentence=f"{run.entry.name}: the record of {record.clip} with seed {record.seed} "
                f"says another {field} than the suite's manifest; send the records that dojobench "
                "wrote.",
                where=f"runs/{run.entry.name}/records.jsonl",
            )
            return


def _wrong(
    run: SubmittedRun, record: Record, clips: Sequence[object], suite: KnownSuite
) -> str | None:
    """Names the first field in which a record does not describe its clip."""
    clip = clips[0]
    for field in ("split", "episode", "source", "embodiment"):
        if getattr(record, field) != getattr(clip, field):
            return field
    if run.entry.benchmark == FIDELITY:
        scored = getattr(clip, "frames", 0) - suite.spec.context_frames
        if record.frames != scored:
            return "number of frames"
    return None


def _complete(run: SubmittedRun) -> Iterator[Finding]:
    if missing := run.run.missing():
        clip, seed = missing[0]
        yield Finding(
            code="DB-R202",
            sentence=f"{run.entry.name} lacks {len(missing)} of {len(run.run.plan())} records, "
            f"such as clip {shown(clip)} with seed {seed}; finish the run with the same "
            "`dojobench run` command and pack it again.",
            where=f"runs/{run.entry.name}/records.jsonl",
        )
