"""A table's rows side by side: scores, paired differences, and what the paper says of each.

A clip's value is the mean over training seeds; differences are taken clip by clip, and episodes
are what is resampled. Such an interval knows nothing of what another training seed would have
done, so a verdict also asks that the difference has one sign in every seed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dojobench.benchmarks.records import Run, load_run, load_summary
from dojobench.metrics.intervals import Interval, cluster_bootstrap, paired_difference
from dojobench.metrics.names import METRICS
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.reproduction.documents import plain_interval
from dojobench.reference_model.reproduction.published import SOURCE
from dojobench.reference_model.reproduction.rows import scores_folder
from dojobench.reference_model.reproduction.tables import Row, Table

Verdict: TypeAlias = Literal[
    "same direction", "opposite direction", "cannot be told", "no figure of the paper"
]
Values: TypeAlias = npt.NDArray[np.float64]

COMPARED = ("psnr", "ssim", "lpips_vgg")
"""Metrics of the paper's tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A row's score on a split.

    Attributes:
        row: Name of the row.
        split: Of the suite.
        metric: Such as ``psnr``.
        ours: Mean over clips with its interval; a clip's value is the mean over seeds.
        seed_sd: Deviation of the mean between training seeds; ``None`` with one seed.
        paper: The paper's figure, where it gives one.
    """

    row: str
    split: str
    metric: str
    ours: Interval
    seed_sd: float | None
    paper: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What a row gains over another on a split.

    Attributes:
        row: Name of the row.
        against: Name of the other.
        split: Of the suite.
        metric: Such as ``psnr``.
        ours: Mean of row minus other over the same clips, with its interval.
        by_seed: The same mean for each training seed.
        paper: The paper's difference, where it gives both figures.
        verdict: Whether ours goes the paper's way.
    """

    row: str
    against: str
    split: str
    metric: str
    ours: Interval
    by_seed: tuple[float, ...]
    paper: float | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A table with figures.

    Attributes:
        table: Which.
        seeds: Of training.
        suite: Name and version of the suite.
        clips: Clips of each split.
        episodes: Episodes of each split.
        cells: All scores.
        differences: All differences.
        sentences: What they say, one for each pair of rows.
        speeds: Frames a second of each row on long rollouts, where the table has them.
        conditions: What the result depends on, in words and numbers.
    """

    table: Table
    seeds: tuple[int, ...]
    suite: str
    clips: Mapping[str, int]
    episodes: Mapping[str, int]
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]
    speeds: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def cell(self, row: str, split: str, metric: str) -> Cell | None:
        """Finds a score."""
        return next(
            (c for c in self.cells if (c.row, c.split, c.metric) == (row, split, metric)), None
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scores:
    """A row on a split: its values ``[seeds, clips]`` by metric."""

    clips: tuple[str, ...]
    clusters: tuple[str, ...]
    values: Mapping[str, Values]
    suite: str
    speed: float | None


def compare(
    table: Table, out: Path, seeds: Sequence[int], *, conditions: Mapping[str, Any] | None = None
) -> Compared:
    """Compares the rows of a table that has been run.

    Args:
        table: Which.
        out: Its folder.
        seeds: Of training; all of them must have been run.
        conditions: What else the reader has to know, for the table's end.

    Raises:
        BadInputError: If a run is missing or not whole, or two runs scored different clips.
    """
    scores = {
        (row.name, split): _read(out, row, seeds, split)
        for row in table.rows
        for split in table.splits
    }
    for (name, split), one in scores.items():
        first = scores[table.rows[0].name, split]
        if (one.clips, one.suite) != (first.clips, first.suite):
            raise BadInputError(
                f"On the split '{split}' the rows '{table.rows[0].name}' and '{name}' of {out} "
                "were scored on different clips; remove the folder 'scores' of one and run the "
                "table again."
            )
    cells = tuple(
        _cell(table, row.name, split, metric, scores[row.name, split])
        for row in table.rows
        for split in table.splits
        for metric in scores[row.name, split].values
    )
    differences = tuple(
        _difference(table, pair.row, pair.against, split, metric, scores)
        for pair in table.pairs
        for split in table.splits
        for metric in scores[pair.row, split].values
        if metric in scores[pair.against, split].values
    )
    whole = {split: scores[table.rows[0].name, split] for split in table.splits}
    speeds = {
        row.name: speed
        for row in table.rows
        if "long" in table.splits and (speed := scores[row.name, "long"].speed) is not None
    }
    return Compared(
        table=table,
        seeds=tuple(seeds),
        suite=whole[table.splits[0]].suite,
        clips={split: len(one.clips) for split, one in whole.items()},
        episodes={split: len(set(one.clusters)) for split, one in whole.items()},
        cells=cells,
        differences=differences,
        sentences=tuple(_sentences(table, differences)),
        speeds=speeds,
        conditions=dict(conditions or {}),
    )


def _read(out: Path, row: Row, seeds: Sequence[int], split: str) -> _Scores:
    runs = [load_run(scores_folder(out, row, seed, split)) for seed in seeds]
    for run in runs:
        run.require_complete()
    first = runs[0]
    if any(run.meta.clip_ids != first.meta.clip_ids for run in runs):
        raise BadInputError(
            f"The seeds of the row '{row.name}' in {out} were scored on different clips of "
            f"'{split}'; remove the folder 'scores' of one and run the table again."
        )
    by_clip = {record.clip: record for record in first.records}
    metrics = [
        name
        for name in COMPARED
        if all(name in record.values for run in runs for record in run.records)
    ]
    speeds = [
        speed
        for run in runs
        if (speed := load_summary(run.path).timings.get("frames_per_second")) is not None
    ]
    return _Scores(
        clips=first.meta.clip_ids,
        clusters=tuple(by_clip[clip].cluster for clip in first.meta.clip_ids),
        values={name: np.stack([_clip_values(run, name) for run in runs]) for name in metrics},
        suite=f"{first.meta.suite.name} {first.meta.suite.version}",
        speed=float(np.mean(speeds)) if speeds else None,
    )


def _clip_values(run: Run, metric: str) -> Values:
    """Gives each clip's value in the suite's order, ``[clips]``; its rollouts are averaged."""
    found: dict[str, list[float]] = {}
    for record in run.records:
        found.setdefault(record.clip, []).append(record.values[metric])
    return np.array([np.mean(found[clip]) for clip in run.meta.clip_ids])


def _figure(table: Table, row: str, split: str, metric: str) -> float | None:
    score = table.figures.get(row, {}).get(split)
    return None if score is None else float(getattr(score, metric))


def _cell(table: Table, row: str, split: str, metric: str, scores: _Scores) -> Cell:
    values = scores.values[metric]
    return Cell(
        row=row,
        split=split,
        metric=metric,
        ours=cluster_bootstrap(values.mean(axis=0), scores.clusters),
        seed_sd=float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None,
        paper=_figure(table, row, split, metric),
    )


def _difference(
    table: Table,
    row: str,
    against: str,
    split: str,
    metric: str,
    scores: Mapping[tuple[str, str], _Scores],
) -> Difference:
    one, other = scores[row, split], scores[against, split]
    a, b = one.values[metric], other.values[metric]
    ours = paired_difference(a.mean(axis=0), b.mean(axis=0), one.clusters)
    by_seed = tuple(float(value) for value in (a - b).mean(axis=1))
    figures = (_figure(table, row, split, metric), _figure(table, against, split, metric))
    paper = None if None in figures else round(figures[0] - figures[1], 3)  # type: ignore[operator]
    return Difference(
        row=row,
        against=against,
        split=split,
        metric=metric,
        ours=ours,
        by_seed=by_seed,
        paper=paper,
        verdict=verdict_of(ours, by_seed, paper),
    )


def verdict_of(ours: Interval, by_seed: Sequence[float], paper: float | None) -> Verdict:
    """Says whether a difference goes the paper's way.

    Args:
        ours: Our difference.
        by_seed: The same for each training seed; all must have one sign.
        paper: The paper's, ``None`` where it gives none and 0 where it shows no difference.
    """
    if paper is None:
        return "no figure of the paper"
    known = ours.is_defined and (ours.low > 0 or ours.high < 0)
    agree = all(value * ours.mean > 0 for value in by_seed)
    if not known or not agree or paper == 0:
        return "cannot be told"
    return "same direction" if ours.mean * paper > 0 else "opposite direction"


def _sentences(table: Table, differences: Sequence[Difference]) -> list[str]:
    """Sums up each pair of rows by its PSNR."""
    labels = {row.name: row.label for row in table.rows}
    told = []
    for pair in table.pairs:
        own = [d for d in differences if (d.row, d.against) == pair and d.metric == "psnr"]
        by_verdict: dict[Verdict, list[str]] = {}
        for each in own:
            by_verdict.setdefault(each.verdict, []).append(_clause(each))
        clauses = "; ".join(
            f"{verdict}: {', '.join(found)}" for verdict, found in by_verdict.items()
        )
        told.append(f"“{labels[pair.row]}” against “{labels[pair.against]}” — {clauses}.")
    return told


def _clause(one: Difference) -> str:
    ours = signed(one.ours.mean, "psnr")
    if one.ours.is_defined:
        ours += f" [{signed(one.ours.low, 'psnr')}, {signed(one.ours.high, 'psnr')}]"
    paper = "" if one.paper is None else f", paper {signed(one.paper, 'psnr')}"
    return f"{one.split} {ours} dB{paper}"


def decimals(metric: str) -> int:
    """Says how many decimals a metric is shown with."""
    return 2 if METRICS[metric].unit == "dB" else 3


def signed(value: float, metric: str) -> str:
    """Writes a difference with its sign, with a minus and not a hyphen."""
    if not math.isfinite(value):
        return "–"
    return f"{value:+.{decimals(metric)}f}".replace("-", "−")


def as_document(compared: Compared) -> dict[str, Any]:
    """Gives all figures of a table as plain values, for ``table.json``."""
    return {
        "format": 1,
        "table": compared.table.name,
        "title": compared.table.title,
        "paper": {"source": SOURCE, "where": compared.table.where},
        "suite": compared.suite,
        "seeds": list(compared.seeds),
        "clips": dict(compared.clips),
        "episodes": dict(compared.episodes),
        "rows": {row.name: row.label for row in compared.table.rows},
        "cells": [
            {
                **_fields(cell, "row", "split", "metric", "seed_sd", "paper"),
                "ours": plain_interval(cell.ours),
            }
            for cell in compared.cells
        ],
        "differences": [
            {
                **_fields(one, "row", "against", "split", "metric", "paper", "verdict"),
                "by_seed": list(one.by_seed),
                "ours": plain_interval(one.ours),
            }
            for one in compared.differences
        ],
        "sentences": list(compared.sentences),
        "frames_per_second": {
            "ours": dict(compared.speeds),
            "paper": dict(compared.table.speeds or {}),
        },
        "conditions": dict(compared.conditions),
    }


def _fields(thing: object, *names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}
