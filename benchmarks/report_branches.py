"""The section on branches: does a model do what its actions say?

One state has several true futures here, one for each sequence of actions. The numbers say
whether a model's answers differ as the true futures do; the grids show it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dojobench.benchmarks import plot_rows, plot_scatter
from dojobench.benchmarks.metric_names import BENCHMARK_METRICS, COUNTERFACTUAL
from dojobench.benchmarks.progress import Meter
from dojobench.benchmarks.records import VIDEOS_FOLDER, MetricSummary, Record
from dojobench.benchmarks.report_charts import NARROW, WIDE, Chart
from dojobench.benchmarks.report_clips import Composite, compose
from dojobench.benchmarks.report_data import (
    Comparison,
    Entry,
    figure,
    measured,
    percent,
    percents,
)
from dojobench.benchmarks.report_players import (
    BRANCH_BYTES,
    Figure,
    Pane,
    Player,
    Reel,
    filmed,
    left_out,
    make_player,
    video_files,
)
from dojobench.benchmarks.report_tables import Table, csv_address, runs_table

MOST_GROUPS = 3
"""Branch groups shown of each run."""
LEAST_SCALE, MOST_SCALE = 0.0, 2.0
"""Effect gains outside are put at the chart's edge; the table has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Branches:
    """Data of the section."""

    summary: str
    main: Table
    more: Table | None
    charts: tuple[Chart, ...]
    reels: tuple[Reel, ...]
    missing: str
    csv: str


def branches(comparison: Comparison, clips: Sequence[str] = ()) -> Branches:
    """Lays out the counterfactual benchmark: tables, charts, and the futures side by side.

    Args:
        comparison: Its runs.
        clips: Ids of the suite's clips that other runs scored, which may name the branches.
    """
    metrics = [m for m in comparison.metrics if m in BENCHMARK_METRICS]
    headline = [m for m in metrics if BENCHMARK_METRICS[m].headline]
    rest = [m for m in metrics if m not in headline]
    count = comparison.entries[0].summary.clips
    reels = grids(comparison, clips)
    return Branches(
        summary=_summary(comparison, count),
        main=runs_table(
            comparison,
            headline,
            caption=f"Mean over {count} groups of branches, with its 95 % interval",
            unit="Groups",
        ),
        more=runs_table(comparison, rest, caption="The other numbers", unit="Groups")
        if rest
        else None,
        charts=tuple(c for c in (_effects(comparison), _retrieval(comparison), _gap(comparison))
                     if c is not None),
        reels=reels,
        missing="" if reels else _how_to_film(comparison),
        csv=csv_address(comparison),
    )  # fmt: skip


def futures(entry: Entry) -> int:
    """Gives how many branches a group has, the usual number where groups differ."""
    found = entry.summary.checks.get("branches")
    return round(found.mean) if found else 0


def chance(entry: Entry) -> float | None:
    """Gives the share of branches that guessing would find."""
    found = entry.summary.checks.get("retrieval_chance")
    return found.mean if found else None


def _summary(comparison: Comparison, count: int) -> str:
    first = comparison.entries[0]
    many = futures(first)
    branches_ = f"{many} futures" if many else "several futures"
    return (
        f"{count:,} states, each with {branches_} that begin alike and differ in their actions "
        "alone; the simulator knows every one of them exactly."
    )


def _effects(comparison: Comparison) -> Chart | None:
    pairs = [
        (e, e.summary.metrics["effect_cosine"], e.summary.metrics["effect_gain"])
        for e in comparison.entries
        if {"effect_cosine", "effect_gain"} <= e.summary.metrics.keys()
    ]
    if not pairs:
        return None
    judged = comparison.models
    points = [
        plot_scatter.Point(
            label=e.label,
            style=e.style,
            x=_ends(cosine),
            y=_ends(gain),
            cloud=_cloud(e) if e in judged else (),
        )
        for e, cosine, gain in pairs
    ]
    gains = [v for p in points for v in p.y if math.isfinite(v)]
    lowest = min([0.0, *(v for p in points for v in p.x if math.isfinite(v))])
    wide, narrow = (
        plot_scatter.scatter(
            points,
            label="Effect gain against effect cosine; the table below has the numbers",
            x_label="effect cosine: does it go the right way?",
            y_label="effect gain: does it go far enough?",
            ideal=(1.0, 1.0),
            ideal_name="right",
            x_range=(max(lowest, -1.0), 1.0),
            y_range=(
                max(min([LEAST_SCALE, *gains]), -0.5),
                min(max([1.2, *gains]), MOST_SCALE),
            ),
            width=width,
            height=height,
        )
        for width, height in ((WIDE, 400), (NARROW, 330))
    )
    return Chart(
        title="Effect of the actions",
        wide=wide,
        narrow=narrow,
        head=("Run", "Effect cosine", "Effect gain"),
        rows=tuple(
            (e.label, measured("effect_cosine", c), measured("effect_gain", g)) for e, c, g in pairs
        ),
        note=(
            "Large dots are means with their 95 % intervals, small ones a model's single groups. "
            "Left: the answer goes the wrong way or ignores the actions. Below the line: it "
            "goes the right way, but not far enough."
        ),
    )


def _cloud(entry: Entry) -> tuple[tuple[float, float], ...]:
    cosine, gain = entry.values("effect_cosine"), entry.values("effect_gain")
    return tuple((cosine[k], gain[k]) for k in cosine if k in gain)


def _ends(found: MetricSummary) -> tuple[float, float, float]:
    low = math.nan if found.low is None else found.low
    high = math.nan if found.high is None else found.high
    return found.mean, low, high


def _retrieval(comparison: Comparison) -> Chart | None:
    metric = "branch_retrieval"
    pairs = [(e, found) for e in comparison.entries if (found := e.summary.metrics.get(metric))]
    guess = chance(comparison.entries[0])
    if not pairs or guess is None:
        return None
    rows = [
        plot_rows.Row(
            label=e.label,
            style=e.style,
            value=100 * found.mean,
            low=100 * _ends(found)[1],
            high=100 * _ends(found)[2],
            text=percent(found.mean),
        )
        for e, found in pairs
    ]
    wide, narrow = (
        plot_rows.forest(
            rows,
            label="Share of branches whose own future is the nearest; the table has the numbers",
            zero=f"chance {percent(guess)}",
            unit="branches whose own true future is the nearest, %",
            at_value=100 * guess,
            domain=(0.0, 100.0),
            width=width,
        )
        for width in (WIDE, NARROW)
    )
    return Chart(
        title="Picking the right future",
        wide=wide,
        narrow=narrow,
        head=("Run", "Right future nearest", "95 % interval", "Chance"),
        rows=tuple(
            (e.label, percent(f.mean), percents(f.low, f.high) or "none", percent(guess))
            for e, f in pairs
        ),
        note=(
            "A late or weak answer still picks the right future: read it beside the effect gain."
        ),
    )


def _gap(comparison: Comparison) -> Chart | None:
    found = [
        (e, e.summary.metrics["cf_skill"], e.summary.checks["factual_skill"])
        for e in comparison.entries
        if "cf_skill" in e.summary.metrics and "factual_skill" in e.summary.checks
    ]
    if not found:
        return None
    rows = [
        plot_rows.Row(
            label=e.label, style=e.style, value=other.mean, low=_ends(other)[1],
            high=_ends(other)[2], other=own.mean,
            text=f"gap {figure('cf_gap', own.mean - other.mean)}",
        )
        for e, other, own in found
    ]  # fmt: skip
    domain = comparison.scale({r.label: (r.value, r.other or r.value) for r in rows})
    low, high = domain or (0.0, 1.0)
    wide, narrow = (
        plot_rows.forest(
            rows,
            label="Skill on usual and on unusual actions; the table below has the numbers",
            zero="static frame",
            unit="skill: ring usual actions, dot unusual ones",
            better="right",
            domain=(max(low, -3.0), min(max(high, 1.0), 1.0)),
            width=width,
        )
        for width in (WIDE, NARROW)
    )
    return Chart(
        title="Usual and unusual actions",
        wide=wide,
        narrow=narrow,
        head=("Run", "Factual skill", "Counterfactual skill", "Gap"),
        rows=tuple(
            (
                e.label,
                measured("cf_skill", own),
                measured("cf_skill", other),
                measured("cf_gap", gap)
                if (gap := e.summary.metrics.get("cf_gap"))
                else figure("cf_gap", own.mean - other.mean),
            )
            for e, other, own in found
        ),
        note=(
            "The ring is the branch whose actions are like the training data's, the dot the "
            "others, with their interval. A ring far to the right of its dot has learnt habits."
        ),
    )


def grids(comparison: Comparison, clips: Sequence[str] = ()) -> tuple[Reel, ...]:
    """Composes the branch grids of every run that kept them, the same groups for each."""
    kept = [(e, filmed(e)) for e in comparison.entries if (e.run.path / VIDEOS_FOLDER).is_dir()]
    kept = [(e, there) for e, there in kept if there]
    reels, spent = [], 0
    with Meter("encoding branches", MOST_GROUPS * len(kept)) as meter:
        for entry, there in kept:
            players, missing = list[Player](), ""
            for group in list(dict.fromkeys(c.clip for c in entry.summary.clip_values)):
                if group not in there or len(players) == MOST_GROUPS:
                    continue
                record = there[group]
                composite = _grid(comparison, entry, record)
                meter.advance(composite.frames)
                if spent + composite.embedded_bytes > BRANCH_BYTES:
                    missing = left_out()
                    break
                spent += composite.embedded_bytes
                players.append(_player(comparison, entry, record, composite, clips))
            reels.append(
                Reel(label=entry.label, style=entry.style, players=tuple(players), missing=missing)
            )
    return tuple(reels)


def columns_of(record: Record) -> int:
    """How many branches stand in a row of the video."""
    return min(max(round(float(record.checks.get("branches", 1))), 1), 4)


def _grid(comparison: Comparison, entry: Entry, record: Record) -> Composite:
    truth, prediction = video_files(entry.run.path / VIDEOS_FOLDER, record)
    context = comparison.meta.suite.context_frames
    return compose(
        truth, prediction, context=context, layout="stack", columns=columns_of(record)
    )  # fmt: skip


def _player(
    comparison: Comparison,
    entry: Entry,
    record: Record,
    composite: Composite,
    clips: Sequence[str],
) -> Player:
    columns = columns_of(record)
    metric = "branch_retrieval"
    parts = [
        f"picks {percent(record.values[metric])} right" if metric in record.values else "",
        f"effect gain {figure('effect_gain', record.values['effect_gain'])}"
        if "effect_gain" in record.values
        else "",
    ]
    return make_player(
        composite,
        title=f"{columns} futures of one state",
        clip=record.clip,
        facts="upper row truth, lower row prediction",
        about=(
            f"{columns} branches of {record.clip} by {entry.label}: truth above, prediction below"
        ),
        score=", ".join(p for p in parts if p),
        context=comparison.meta.suite.context_frames,
        figures=_columns(record, composite, _names(record, clips, columns), columns),
        layout="branches",
        metric="cf_psnr",
        values=record.curves.get("cf_psnr", ()),
        columns=columns,
    )


def _names(record: Record, clips: Sequence[str], columns: int) -> list[str]:
    """Names the branches: as the record says, or by what their clips' ids add to the group's."""
    if names := _listed(record, "branch_names"):
        return names
    group = f"{record.clip}-"
    found = [clip.removeprefix(group) for clip in clips if clip.startswith(group)]
    return found if len(found) == columns else []


def _columns(
    record: Record, composite: Composite, names: Sequence[str], columns: int
) -> tuple[Figure, ...]:
    nearest = _listed(record, "nearest")
    factual = record.checks.get("factual_branch")
    width = composite.width // columns
    figures = []
    for k in range(columns):
        name = names[k] if k < len(names) else f"Branch {k + 1}"
        if isinstance(factual, float) and not isinstance(factual, bool) and k == round(factual):
            name += " (usual)"
        figures.append(
            Figure(
                title=name,
                panes=(
                    Pane(title=f"{name}: truth", x=k * width, y=0),
                    Pane(title=f"{name}: prediction", x=k * width, y=composite.height),
                ),
                note=_found(nearest, names, k),
            )
        )
    return tuple(figures)


def _found(nearest: Sequence[str], names: Sequence[str], branch: int) -> str:
    """Says which true future a branch's prediction is nearest to, where the record has it."""
    if branch >= len(nearest) or not nearest[branch].strip().isdigit():
        return ""
    there = int(nearest[branch])
    if there == branch:
        return "✓ nearest to its own"
    return f"✕ nearest to {names[there] if there < len(names) else f'branch {there + 1}'}"


def _listed(record: Record, check: str) -> list[str]:
    text = record.checks.get(check)
    return text.split("|") if isinstance(text, str) and text else []


def _how_to_film(comparison: Comparison) -> str:
    return (
        "These runs kept no videos of their branches; run them again with --videos selected to "
        f"see the futures of {comparison.meta.suite.name} side by side here."
    )


__all__ = ["COUNTERFACTUAL", "Branches", "branches", "chance", "futures"]
