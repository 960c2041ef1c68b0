"""The section of best, median and worst clips, and the players that every section of video uses."""

import json
from collections.abc import Iterator, Sequence
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

BRANCH_BYTES, LONG_BYTES = 5_000_000, 6_000_000
"""What of it is kept for branch grids and for long rollouts, where a report has some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pane:
    """A part of the composite picture.

    Attributes:
        title: What it shows.
        x: Left edge in the composite, pixels.
        y: Upper edge.
    """

    title: str
    x: int
    y: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """Panes under one heading: one pane, or the truth above the prediction of a branch."""

    title: str
    panes: tuple[Pane, ...]
    marks_context: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Player:
    """One composite video with its transport.

    Attributes:
        title: What is shown, such as ``Best clip``.
        about: The whole picture in words, for screen readers.
        score: The metric's value with label and unit.
        context: Leading frames that were given to the model.
        values: The metric per frame after ``lead`` frames, as JSON, for the read-out.
        size: Width and height of the composite.
        pane: Width and height of one pane.
        figures: The panes, in order.
        layout: Class of the panes: ``three`` or ``branches``.
        unit: Label, unit and decimals of the metric, for the read-out.
    """

    title: str
    clip: str
    facts: str
    about: str
    score: str
    video: str
    poster: str
    context: int
    frames: int
    rate: str
    size: tuple[int, int]
    pane: tuple[int, int]
    figures: tuple[Figure, ...]
    layout: str
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


def clips(comparison: Comparison, *, reserved: int = 0) -> Clips:
    """Composes the videos of every run that kept them, models first, within the budget.

    Args:
        comparison: The runs.
        reserved: Bytes of the budget that other sections keep.
    """
    reels, spent = [], 0
    kept = [e for e in comparison.entries if (e.run.path / VIDEOS_FOLDER).is_dir()]
    with Meter("encoding clips", 3 * len(kept)) as meter:
        for entry in kept:
            reel, size = _reel(comparison, entry, BUDGET_BYTES - reserved - spent, meter)
            reels.append(reel)
            spent += size
    return Clips(
        reels=tuple(reels),
        metric=info(comparison.primary).label,
        gain=GAIN,
        megabytes=f"{spent / 1e6:.1f}",
        missing="" if reels else _how_to_get_videos(comparison),
    )


def left_out() -> str:
    """Says that something did not fit."""
    return (
        f"Left out to keep the page within {BUDGET_BYTES / 1e6:.0f} MB of video; "
        "write a report of this run alone to see the rest."
    )


def _reel(comparison: Comparison, entry: Entry, left: int, meter: Meter) -> tuple[Reel, int]:
    """Makes one run's players within the bytes that are left; says what it left out."""
    players: list[Player] = []
    spent, missing = 0, ""
    for choice, record, composite in _composites(comparison, entry):
        meter.advance(composite.frames)
        if spent + composite.embedded_bytes > left:
            missing = left_out()
            break
        spent += composite.embedded_bytes
        players.append(_clip_player(comparison, entry, choice, record, composite))
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


def filmed(entry: Entry) -> dict[str, Record]:
    """Finds the records with a video of truth and prediction, the first seed of each clip."""
    folder = entry.run.path / VIDEOS_FOLDER
    return {
        r.clip: r
        for r in reversed(entry.run.records)
        if all(file.is_file() for file in video_files(folder, r))
    }


def video_files(folder: Path, record: Record) -> tuple[Path, Path]:
    """Where the truth and the prediction of a record lie."""
    return truth_file(folder, record.clip), prediction_file(folder, record.clip, record.seed)


def _composites(comparison: Comparison, entry: Entry) -> Iterator[tuple[Choice, Record, Composite]]:
    folder = entry.run.path / VIDEOS_FOLDER
    there = filmed(entry)
    candidates = [c.model_dump() for c in entry.summary.clip_values if c.clip in there]
    metric = comparison.primary
    for choice in choose(candidates, metric, higher_is_better=info(metric).higher_is_better):
        record = there[choice.clip]
        truth, prediction = video_files(folder, record)
        yield (
            choice,
            record,
            compose(truth, prediction, context=comparison.meta.suite.context_frames),
        )


def _clip_player(
    comparison: Comparison, entry: Entry, choice: Choice, record: Record, composite: Composite
) -> Player:
    metric = comparison.primary
    facts = [f"episode {record.episode}", f"split {record.split}"]
    if len(comparison.meta.seeds) > 1:
        facts.append(f"seed {record.seed} shown, score is the mean of all seeds")
    return make_player(
        composite,
        title=f"{choice.role.capitalize()} clip",
        clip=choice.clip,
        facts=", ".join(facts),
        about=(
            f"Truth, prediction and difference of clip {choice.clip} by {entry.label}, side by side"
        ),
        score=f"{info(metric).label} {figure(metric, choice.value)} {info(metric).unit}".strip(),
        context=comparison.meta.suite.context_frames,
        figures=three_panes(composite),
        layout="three",
        metric=metric,
        values=record.curves.get(metric, ()),
    )


def three_panes(composite: Composite) -> tuple[Figure, ...]:
    """Names the panes of truth, prediction and difference side by side."""
    return tuple(
        Figure(
            title=title,
            panes=(Pane(title=about, x=k * composite.width, y=0),),
            marks_context=k == 1,
        )
        for k, (title, about) in enumerate(
            (
                ("Truth", "Truth"),
                ("Prediction", "Prediction"),
                (f"Difference ×{GAIN}", f"Difference, amplified {GAIN} times"),
            )
        )
    )


def make_player(
    composite: Composite,
    *,
    title: str,
    clip: str,
    facts: str,
    about: str,
    score: str,
    context: int,
    figures: tuple[Figure, ...],
    layout: str,
    metric: str,
    values: Sequence[float],
    columns: int = 1,
) -> Player:
    """Makes a player of a composite.

    Args:
        composite: The video.
        title: What is shown.
        clip: Its id.
        facts: What else to know of it.
        about: The whole picture in words.
        score: Its number with label and unit.
        context: Leading frames that were given to the model.
        figures: What is where in the picture.
        layout: ``three`` for panes side by side, ``branches`` for two rows.
        metric: What ``values`` are of.
        values: One a frame at the end of the video; may be empty.
        columns: Panes in a row of ``branches``.
    """
    told = info(metric)
    kept = [round(v, 3) for v in values]
    lead = max(composite.frames - len(kept), 0)
    side = layout == "three"
    width, height = composite.width, composite.height
    return Player(
        title=title,
        clip=clip,
        facts=facts,
        about=about,
        score=score,
        video=data_address(composite.video, "video/mp4"),
        poster=data_address(composite.poster, "image/jpeg"),
        context=context,
        frames=composite.frames,
        rate=f"{composite.rate:.6g}",
        size=(len(figures) * width, height) if side else (width, 2 * height),
        pane=(width // columns, height),
        figures=figures,
        layout=layout,
        spark=plots.sparkline(kept, lead=lead),
        lead=lead,
        values=json.dumps(kept),
        unit=f"{told.label}|{told.unit}|{told.decimals}",
        metric=told.label,
    )
