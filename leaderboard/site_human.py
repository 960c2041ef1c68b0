"""The table of human preference: strengths with clustered intervals, from ``preferences.json``."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from dojobench.human_eval.preferences import Axis, Pair, Preferences
from dojobench.leaderboard.site_cells import EMPTY, Cell, Column, span, written
from dojobench.leaderboard.site_entries import Entry, LeftOut
from dojobench.leaderboard.site_tables import Row, Table, span_of, tags_of

AXES = {"physics": "Physical correctness", "action": "Action following"}
STRENGTH = Column(
    name="strength", label="Strength", unit="logits", higher=True,
    description="How strong a model is in Davidson's model of paired comparisons with ties, "
    "against the study's anchor or the mean; intervals are clustered by rater and by clip.",
)  # fmt: skip
RATE = Column(
    name="rate", label="Preferred", unit="%", higher=True,
    description="How often it was preferred to the study's anchor; ties as its plan counts them.",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanAxis:
    """One question of a study."""

    name: str
    title: str
    table: Table
    statements: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    pairs: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study, once, whoever sent it along."""

    id: str
    title: str
    suite: str
    axes: tuple[HumanAxis, ...]
    facts: tuple[tuple[str, str], ...]
    strengths: dict[tuple[str, str], Cell]


def read_studies(entries: Sequence[Entry]) -> tuple[list[Study], list[LeftOut]]:
    """Reads the studies that came with submissions; one that came twice is shown once."""
    found: dict[str, Preferences] = {}
    left_out: list[LeftOut] = []
    for entry in entries:
        if entry.preferences is None:
            continue
        try:
            each = Preferences.model_validate_json(entry.preferences)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            sentence = f"preferences.json is no study's result ({reason})."
            left_out.append(LeftOut(name=entry.id, sentence=sentence))
            continue
        found.setdefault(each.log.hash, each)
    ordered = sorted(found.values(), key=lambda p: (p.study.suite, p.study.title, p.log.hash))
    return [_study(n, each, entries) for n, each in enumerate(ordered, start=1)], left_out


def _study(number: int, found: Preferences, entries: Sequence[Entry]) -> Study:
    by_name = {e.card.name: e for e in reversed(entries)} | {e.id: e for e in entries}
    axes = tuple(
        _axis(f"study-{number}-{place}", name, axis, found, by_name)
        for place, (name, axis) in enumerate(found.axes.items(), start=1)
    )
    log, plan = found.log, found.study
    registered = "registered before the first vote" if plan.registered else "not registered"
    whole = "whole" if log.whole else f"with faults: {'; '.join(log.faults)}"
    return Study(
        id=f"study-{number}",
        title=plan.title,
        suite=plan.suite,
        axes=axes,
        facts=(
            ("Votes in the log", f"{log.votes:,} from {log.first[:10]} to {log.last[:10]}"),
            ("Plan", f"{_short(plan.hash)}, {registered}"),
            ("Log", f"{_short(log.hash)}, {whole}"),
            ("Ties", plan.ties),
        ),
        strengths={
            (row.id, axis.name): row.cells[0] for axis in axes for row in axis.table.rows if row.id
        },
    )  # fmt: skip


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _axis(
    id: str, name: str, axis: Axis, found: Preferences, by_name: dict[str, Entry]
) -> HumanAxis:
    alpha = axis.agreement.get("nominal")
    facts = [("Votes that count", f"{axis.votes:,} by {axis.raters} raters on {axis.clips} clips")]
    facts.append(('Answers "can\'t tell"', f"{axis.unsure:,}"))
    if alpha is not None and alpha.value is not None:
        ends = span(alpha.low, alpha.high)
        facts.append(("Agreement (Krippendorff's alpha)", f"{written(alpha.value)} ({ends})"))
    title = AXES.get(name, name)
    anchor = found.study.anchor
    against = f"the anchor {anchor}" if anchor else "the mean of all models"
    return HumanAxis(
        name=name,
        title=title,
        table=Table(
            id=id,
            caption=f"{title}: strength against {against}; intervals clustered by rater and clip",
            columns=(STRENGTH, RATE) if anchor else (STRENGTH,),
            rows=tuple(_rows(axis, anchor, by_name)),
        ),
        statements=axis.statements,
        facts=tuple(facts),
        pairs=tuple(_pair(pair) for pair in axis.pairs),
    )


def _rows(axis: Axis, anchor: str | None, by_name: dict[str, Entry]) -> list[Row]:
    if axis.ranking is None:
        return []
    rates = {p.first: p for p in axis.anchor_rates or axis.pairs if p.second == anchor}
    rows = []
    for place in axis.ranking.strengths:
        known, found = by_name.get(place.model), place.strength.clustered
        groups = [n for n, g in enumerate(axis.ranking.groups, start=1) if place.model in g]
        strength = EMPTY
        if found.value is not None:
            strength = Cell(
                text=written(found.value, "logits"), interval=span(found.low, found.high, "logits"),
                order=found.value,
            )  # fmt: skip
        low, high = place.rank
        rows.append(
            Row(
                id=known.id if known else "",
                label=known.label if known else place.model,
                tags=tags_of(known) if known else (),
                baseline=bool(known and known.baseline),
                tier=known.tier if known else "",
                date=known.date if known else "",
                rank=str(low) if low == high else f"{low}–{high}",
                rank_order=(low + high) / 2,
                groups=span_of(groups) if groups else "",
                cells=(strength, _rate(rates.get(place.model))) if anchor else (strength,),
            )
        )
    return rows


def _rate(pair: Pair | None) -> Cell:
    if pair is None or pair.rate.value is None:
        return EMPTY
    rate = pair.rate
    low, high = (None if end is None else 100 * end for end in (rate.low, rate.high))
    value = 100 * (rate.value or 0.0)
    return Cell(text=written(value, "%"), interval=span(low, high, "%"), order=value)


def _pair(pair: Pair) -> tuple[str, ...]:
    rate = _rate(pair)
    counts = (str(pair.wins), str(pair.ties), str(pair.losses), str(pair.n))
    return (pair.first, pair.second, rate.text or "–", rate.interval, *counts)
