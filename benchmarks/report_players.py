"""The section of best, median and worst clips: which are shown, and what stands beside them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from dojobench.benchmarks import plots
from dojobench.benchmarks.progress import Meter
from dojobench.benchmarks.records import VIDEOS_FOLDER, Record
from dojobench.benchmarks.report_clips import GAIN, Choice, Composite, choose, compose, data_address
from dojobench.benchmarks.report_data import Comparison, Entry, figure, info
from dojobench.benchmarks.video_writer import prediction_file, truth_file

BUDGET_BYTES = 25_000_000
"""What all videos of a report may take up together, as text in the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Player:
    """One clip with its transport.

    Attributes:
        role: ``best``, ``median``, ``worst`` or ``only``.
        score: The metric's value with label and unit.
        context: Leading frames that were given to the model.
        values: The metric per frame after ``lead`` frames, as JSON, for the read-out.
        panes: The width and height of one pane.
        unit: Label, unit and decimals of the metric, for the read-out.
    """

    role: str
    clip: str
    facts: str
    score: str
    video: str
    poster: str
    context: int
    frames: int
    rate: str
    panes: tuple[int, int]
    spark: Markup
    lead: int
    values: str
    unit: str
    metric: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reel:
    """The clips of one run, or the sentence that stands in their place."""

    label: str
    style: int
    players: tuple[Player, ...]
    missing: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Clips:
    """Data of the clips' section."""

    reels: tuple[Reel, ...]
    metric: str
    gain: int
    megabytes: str
    missing: str


def clips(comparison: Comparison) -> Clips:
    """Composes the videos of every run that kept them, models first, within the budget."""
    reels, spent = [], 0
    kept = [e for e in comparison.entries if (e.run.path / VIDEOS_FOLDER).is_dir()]
    with Meter("encoding clips", 3 * len(kept)) as meter:
        for entry in kept:
            reel, size = _reel(comparison, entry, BUDGET_BYTES - spent, meter)
            reels.append(reel)
            spent += size
    return Clips(
        reels=tuple(reels),
        metric=info(comparison.primary).label,
        gain=GAIN,
        megabytes=f"{spent / 1e6:.1f}",
        missing="" if reels else _how_to_get_videos(comparison),
    )


def _reel(comparison: Comparison, entry: Entry, left: int, meter: Meter) -> tuple[Reel, int]:
    """Makes one run's players within the bytes that are left; says what it left out."""
    players: list[Player] = []
    spent, missing = 0, ""
    for choice, record, composite in _composites(comparison, entry):
        meter.advance(composite.frames)
        if spent + composite.embedded_bytes > left:
            missing = (
                f"Left out to keep the page within {BUDGET_BYTES / 1e6:.0f} MB of video; "
                "write a report of this run alone to see the rest."
            )
            break
        spent += composite.embedded_bytes
        players.append(_player(comparison, choice, record, composite))
    if not players and not missing:
        missing = "No clip of this run has both a score and a video."
    reel = Reel(label=entry.label, style=entry.style, players=tuple(players), missing=missing)
    return reel, spent


def _how_to_get_videos(comparison: Comparison) -> str:
    suite, reference = comparison.meta.suite.name, comparison.entries[0].meta.model.reference
    return (
        "These runs kept no videos. Run again with --videos to see the best, median and worst "
        f"clips here: dojobench run {reference} --suite {suite} --videos selected"
    )


def _composites(comparison: Comparison, entry: Entry) -> Iterator[tuple[Choice, Record, Composite]]:
    folder = entry.run.path / VIDEOS_FOLDER
    filmed = {
        r.clip: r
        for r in reversed(entry.run.records)
        if _files(folder, r)[0].is_file() and _files(folder, r)[1].is_file()
    }
    candidates = [c.model_dump() for c in entry.summary.clip_values if c.clip in filmed]
    metric = comparison.primary
    for choice in choose(candidates, metric, higher_is_better=info(metric).higher_is_better):
        record = filmed[choice.clip]
        truth, prediction = _files(folder, record)
        yield (
            choice,
            record,
            compose(truth, prediction, context=comparison.meta.suite.context_frames),
        )


def _files(folder: Path, record: Record) -> tuple[Path, Path]:
    return truth_file(folder, record.clip), prediction_file(folder, record.clip, record.seed)


def _player(comparison: Comparison, choice: Choice, record: Record, composite: Composite) -> Player:
    metric = comparison.primary
    told = info(metric)
    values = [round(v, 3) for v in record.curves.get(metric, ())]
    lead = max(composite.frames - len(values), 0)
    facts = [f"episode {record.episode}", f"split {record.split}"]
    if len(comparison.meta.seeds) > 1:
        facts.append(f"seed {record.seed} shown, score is the mean of all seeds")
    return Player(
        role=choice.role,
        clip=choice.clip,
        facts=", ".join(facts),
        score=f"{told.label} {figure(metric, choice.value)} {told.unit}".strip(),
        video=data_address(composite.video, "video/mp4"),
        poster=data_address(composite.poster, "image/jpeg"),
        context=comparison.meta.suite.context_frames,
        frames=composite.frames,
        rate=f"{composite.rate:.6g}",
        panes=(composite.width, composite.height),
        spark=plots.sparkline(values, lead=lead),
        lead=lead,
        values=json.dumps(values),
        unit=f"{told.label}|{told.unit}|{told.decimals}",
        metric=told.label,
    )
