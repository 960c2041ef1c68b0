"""The section on branches: does a model do what its actions say?

One state has several true futures here, one for each sequence of actions. The numbers say
whether a model's answers differ as the true futures do; the grids show it.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dojobench.benchmarks import plot_rows, plot_scatter
from dojobench.benchmarks.metric_names import BENCHMARK_METRICS
from dojobench.benchmarks.records import MetricSummary
from dojobench.benchmarks.report_branch_videos import grids
from dojobench.benchmarks.report_charts import NARROW, WIDE, Chart
from dojobench.benchmarks.report_data import (
    Comparison,
    Entry,
    figure,
    measured,
    percent,
    percents,
)
from dojobench.benchmarks.report_players import Reel
from dojobench.benchmarks.report_tables import Table, csv_address, runs_table

MOST_SCALE = 2.0
"""Effect gains beyond are put at the chart's edge; the table has them."""

LEAST_SKILL = -3.0
"""The same for skills on the lower side."""


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
    lowest = min(0.0, *(round(v, 1) for p in points for v in p.x if math.isfinite(v)))
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
                max(min(0.0, *(round(g, 1) for g in gains)), -MOST_SCALE / 4),
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
        (e, e.summary.metrics["cf_skill"], e.summary.metrics["cf_gap"], factual_skill(e))
        for e in comparison.entries
        if {"cf_skill", "cf_gap"} <= e.summary.metrics.keys()
    ]
    if not found:
        return None
    rows = [
        plot_rows.Row(
            label=e.label,
            style=e.style,
            value=other.mean,
            low=_ends(other)[1],
            high=_ends(other)[2],
            other=own,
            text=f"gap {figure('cf_gap', gap.mean)}",
        )
        for e, other, gap, own in found
    ]
    domain = comparison.scale({e.label: (other.mean, own) for e, other, _, own in found})
    low, high = domain or (0.0, 1.0)
    wide, narrow = (
        plot_rows.forest(
            rows,
            label="Skill on usual and on unusual actions; the table below has the numbers",
            zero="static frame",
            unit="skill: ring usual actions, dot unusual ones",
            better="right",
            domain=(max(low, LEAST_SKILL), max(high, 1.0)),
            width=width,
        )
        for width in (WIDE, NARROW)
    )
    return Chart(
        title="Usual and unusual actions",
        wide=wide,
        narrow=narrow,
        head=("Run", "Skill on usual actions", "Skill on unusual actions", "Gap"),
        rows=tuple(
            (e.label, figure("cf_skill", own), measured("cf_skill", other), measured("cf_gap", gap))
            for e, other, gap, own in found
        ),
        note=(
            "Usual are the branches whose behaviour the training data has, unusual the others, "
            "drawn with their interval. A model whose ring lies far to the right of its dot has "
            "learnt habits in place of consequences."
        ),
    )


def factual_skill(entry: Entry) -> float:
    """Gives the skill on branches like the training data, over the groups that have such."""
    skill, gap = entry.values("cf_skill"), entry.values("cf_gap")
    return statistics.fmean(skill[k] + gap[k] for k in gap if k in skill)


def _how_to_film(comparison: Comparison) -> str:
    return (
        "These runs kept no videos of their branches; run them again with --videos selected to "
        f"see the futures of {comparison.meta.suite.name} side by side here."
    )
