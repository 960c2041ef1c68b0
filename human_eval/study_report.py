"""The study's report: one HTML file that opens from disk and asks no network.

It wears the clothes of the benchmark report and is made from `preferences.Preferences` alone, so
equal findings give equal bytes.
"""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from dojobench import __version__
from dojobench.benchmarks.plot_rows import Row as PlotRow
from dojobench.benchmarks.plot_rows import forest
from dojobench.human_eval.plot_timeline import timeline
from dojobench.human_eval.preferences import Axis, Preferences
from dojobench.human_eval.report_tables import (
    AXIS_TITLES,
    Table,
    between,
    decimal,
    exclusion_table,
    matrix,
    pair_table,
    percent,
    published_table,
    quality_table,
    ranks,
    strength_table,
)

WIDE, NARROW = 820.0, 400.0
"""Every chart is drawn at both widths, in pixels; the page shows the one that fits."""

TIES = {
    "half": "a tie counts as half a win for both",
    "drop": "ties do not count",
    "own": "a tie is an outcome of its own: the rate is the share of wins among all votes",
}

GLOSSARY = (
    ("Rate", "Share of votes for a model. Its interval is clustered by rater and by clip: votes "
     "that share one are not independent, and the usual interval, given beside it, is too narrow."),
    ("Strength", "Davidson's extension of the Bradley-Terry model to ties, with the pull of the "
     "left side taken out. A difference of 1 is odds of 2.7 to 1."),
    ("Rank", "The range of ranks that no comparison rules out, all pairs considered at once."),
    ("Alpha", "Krippendorff's alpha: 1 where raters always agree, 0 where they agree as by "
     "chance. Low alpha is not bad data: near-equal models give it, too."),
    ("Same answer again", "Pairs that a rater saw twice with sides swapped: how often the answer "
     "was the same about the models; by side: how often the same side was chosen instead."),
    ("Gold", "Pairs with a known answer, made from true videos."),
)  # fmt: skip


def render(found: Preferences) -> str:
    """Renders the page.

    Args:
        found: What `analysis.analyze` gave.

    Returns:
        HTML text with style and charts inside.
    """
    environment = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    sheets = ("page.css", "charts.css", "report.css", "preferences.css")
    style = "".join(_asset(sheet) for sheet in sheets)
    return environment.get_template("preferences.html.j2").render(
        title=found.study.title,
        lede=_lede(found),
        verdicts=[_verdict(name, axis, found) for name, axis in found.axes.items()],
        warnings=_warnings(found),
        axes=[_axis(name, axis, found) for name, axis in found.axes.items()],
        published=_published(found),
        quality=[quality_table(found)],
        timeline=_timeline(found),
        exclusions=[table] if (table := exclusion_table(found)) else [],
        exclusion_lede=_exclusion_lede(found),
        conditions=_conditions(found),
        glossary=GLOSSARY,
        style=Markup(style),  # noqa: S704 - our own files
        policy=_policy(style),
        version=__version__,
    )


def _asset(name: str) -> str:
    room = "dojobench.human_eval" if name.startswith("preferences.") else "dojobench.benchmarks"
    return files(room).joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _lede(found: Preferences) -> str:
    counts = found.counts
    suite = found.study.suite.partition("@")[0]  # its hash stands among the conditions
    return (
        f"{counts['votes']} votes of {counts['raters']} raters on {counts['clips']} clips of "
        f"{suite}, comparing {len(found.models)} models; {TIES[found.study.ties]}."
    )


def _verdict(name: str, axis: Axis, found: Preferences) -> dict[str, str]:
    title, ranking = AXIS_TITLES.get(name, name), axis.ranking
    if ranking is None:
        return {"kind": "open", "claim": f"{title}: no votes.", "evidence": ""}
    if not ranking.connected:
        return {
            "kind": "bad", "claim": f"{title}: the models cannot be ranked on one scale.",
            "evidence": axis.statements[0],
        }  # fmt: skip
    top = [each.model for each in ranking.strengths if each.rank[0] == 1]
    evidence = _evidence(axis, found)
    if len(top) == 1:
        claim, kind = f"{title}: {top[0]} is first, told apart from all others.", "good"
    elif len(top) == len(found.models):
        claim, kind = f"{title}: no model can be told to be better than all others.", "open"
        if not any(each.distinguishable for each in ranking.differences):
            claim = f"{title}: these votes tell no model from any other."
    else:
        claim, kind = f"{title}: the first place is open between {' and '.join(top)}.", "open"
    return {"kind": kind, "claim": claim, "evidence": evidence}


def _evidence(axis: Axis, found: Preferences) -> str:
    """Gives the rates of the strongest model against the others, or of some pairs."""
    if axis.ranking is None or found.study.ties == "own":
        rates = [
            (p.first, p.second, percent(p.rate.value), between(p.rate, share=True))
            for p in axis.pairs[:3]
        ]
    else:
        first = axis.ranking.strengths[0].model
        row = dict(matrix(axis, found.models))[first]
        rates = [
            (first, other, cell.value, cell.interval)
            for other, cell in zip(found.models, row, strict=True)
            if cell.value
        ][:3]
    return "; ".join(f"{a} against {b} {value} {interval}" for a, b, value, interval in rates)


def _warnings(found: Preferences) -> list[dict[str, str]]:
    said = []
    if not found.study.registered:
        said.append({
            "head": "Not the registered plan.",
            "text": "The vote log names another study file than the one this was analysed with.",
        })  # fmt: skip
    if not found.log.whole:
        said.append({
            "head": "The vote log is damaged.",
            "text": f"{len(found.log.faults)} faults, the first: {found.log.faults[0]}.",
        })  # fmt: skip
    return said


def _axis(name: str, axis: Axis, found: Preferences) -> dict[str, Any]:
    tables: list[Table] = []
    strengths = strength_table(axis)
    if strengths is not None and strengths.rows:
        tables.append(strengths)
    if axis.pairs:
        tables.append(pair_table(axis.pairs, "Pairs", f"Win rates; {TIES[found.study.ties]}"))
    if axis.random_pairs:
        caption = "Win rates from votes whose pair was drawn at random"
        tables.append(pair_table(axis.random_pairs, "The random arm, for audit", caption))
    return {
        "id": f"axis-{name}",
        "title": AXIS_TITLES.get(name, name),
        "lede": f"{axis.votes} votes of {axis.raters} raters on {axis.clips} clips count"
        + (f"; {axis.unsure} could not tell." if axis.unsure else "."),
        "statements": axis.statements,
        "forest": _forest(name, axis, found),
        "matrix": _matrix(axis, found),
        "tables": tables,
    }


def _matrix(axis: Axis, found: Preferences) -> dict[str, Any] | None:
    # Where ties are neither's, the rate of the other is not what is left.
    if not axis.pairs or found.study.ties == "own":
        return None
    return {
        "caption": "Rate of the row's model, interval in percent, wins : ties : losses; shaded "
        "where the interval leaves out 50 %",
        "names": found.models,
        "rows": [{"name": row, "cells": cells} for row, cells in matrix(axis, found.models)],
    }


def _forest(name: str, axis: Axis, found: Preferences) -> dict[str, Any] | None:
    ranking = axis.ranking
    if ranking is None:
        return None
    rows, cells = [], []
    for each in ranking.strengths:
        known, value = each.strength.clustered, each.strength.clustered.value
        if value is None:
            continue
        low, high = (value if end is None else end for end in (known.low, known.high))
        style = found.models.index(each.model)
        text = f"rank {ranks(each)}"
        rows.append(
            PlotRow(label=each.model, style=style, value=value, low=low, high=high, text=text)
        )
        cells.append((each.model, ranks(each), decimal(value), between(known, share=False)))
    if not rows:
        return None
    title = AXIS_TITLES.get(name, name)
    label = f"Strength of {len(rows)} models, {title}, with {found.study.level:.0%} intervals"
    zero = found.study.anchor or "mean"

    def draw(width: float) -> Markup:
        return forest(
            rows, label=label, zero=zero, unit="strength in logits", better="right", width=width
        )

    groups = [group for group in ranking.groups if len(group) > 1]
    alike = "; ".join(", ".join(group) for group in groups)
    return {
        "title": f"Strength of each model, {title.lower()}",
        "wide": draw(WIDE), "narrow": draw(NARROW),
        "note": f"Cannot be told apart: {alike}." if alike else "All models can be told apart.",
        "head": ("Model", "Rank", "Strength", "Interval"), "rows": cells,
    }  # fmt: skip


def _timeline(found: Preferences) -> dict[str, Any] | None:
    if not found.timeline:
        return None
    label = f"Votes over time, {found.timeline[0][0]} to {found.timeline[-1][0]}"
    return {
        "title": "Votes over time",
        "wide": timeline(found.timeline, label=label, width=WIDE),
        "narrow": timeline(found.timeline, label=label, width=NARROW),
        "note": "", "head": ("From", "Votes"),
        "rows": [(time.replace("T", " "), count) for time, count in found.timeline],
    }  # fmt: skip


def _published(found: Preferences) -> list[Table]:
    if not found.published:
        return []
    ours = [
        pair_table(
            axis.anchor_rates, AXIS_TITLES.get(name, name),
            f"Ours against the anchor; {TIES[found.study.ties]}",
        )
        for name, axis in found.axes.items()
    ]  # fmt: skip
    return [published_table(found.published), *ours]


def _exclusion_lede(found: Preferences) -> str:
    counts = found.counts
    text = (
        f"{counts['excluded']} of {counts['votes']} votes do not count; {counts['raters_left']} of "
        f"{counts['raters']} raters have votes that do."
    )
    erased = found.log.erased
    return text + (f" {erased} votes were erased on their raters' wish." if erased else "")


def _conditions(found: Preferences) -> list[tuple[str, str]]:
    plan, log = found.study, found.log
    return [
        ("Study file", plan.hash),
        ("Suite", plan.suite),
        ("Vote log", log.hash),
        ("Registered", "yes: the log names this study file" if plan.registered else "no"),
        ("Chain", "whole" if log.whole else f"{len(log.faults)} faults"),
        ("Events", str(log.events)),
        ("Votes", f"{log.first} to {log.last}" if log.votes else "none"),
        ("Ordinary, repeated, gold",
         f"{found.counts['ordinary']}, {found.counts['duplicate']}, {found.counts['gold']}"),
        ("Consent text", f"version {plan.consent_version}"),
        ("Preset", plan.preset),
        ("Anchor", plan.anchor or "none; strengths are about their mean"),
        ("Level", f"{plan.level:.0%}"),
        ("Bootstrap", f"{plan.bootstrap} resamples of raters and clips, seed {plan.seed}"),
    ]  # fmt: skip
