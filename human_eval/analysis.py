"""What a vote log says under the plan of ``study.toml``: a pure function of both."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from dojobench.human_eval import preferences as entry
from dojobench.human_eval.exclusions import exclude
from dojobench.human_eval.study_file import ReadStudy, Study
from dojobench.human_eval.vote_export import Vote, VoteLog
from dojobench.metrics.agreement import krippendorff_alpha
from dojobench.metrics.preference_intervals import rate_interval
from dojobench.metrics.ranking import (
    PairRate,
    Ranking,
    RankingConfig,
    Votes,
    pair_rates,
    rank,
    rates_against,
    read_votes,
)
from dojobench.metrics.votes import TIE
from dojobench.protocol.errors import BadInputError

TABLE_4 = (
    entry.Published(
        first="DreamDojo 2B", second="Cosmos-Predict2.5 2B", physics=62.5, action=63.45
    ),
    entry.Published(
        first="DreamDojo 14B", second="Cosmos-Predict2.5 2B", physics=73.5, action=72.55
    ),
    entry.Published(first="DreamDojo 14B", second="DreamDojo 2B", physics=72.5, action=65.53),
)
"""Win rates of DreamDojo's Table 4, in percent; 12 raters, 50 clips, no tie rule stated."""

_Measure = Literal["nominal", "ordinal"]

SPANS = 60
"""At most so many points stand on the time line."""


def analyze(plan: ReadStudy, log: VoteLog, *, unplanned: bool = False) -> entry.Preferences:
    """Analyses a study.

    Args:
        plan: The study file and its hash.
        log: The exported votes.
        unplanned: Go on where the log names another study file or is damaged; the result says so.

    Returns:
        What ``preferences.json`` holds. Equal inputs give equal results.

    Raises:
        BadInputError: If the log belongs to another plan or is damaged, or names a model or a
            question that the plan does not know.
    """
    study = plan.study
    registered = _bare(log.header.study) == _bare(plan.hash)
    if not unplanned:
        _refuse(registered, log)
    _check_names(study, log.votes)
    kept, reasons = exclude(log.votes, study.exclusions, log.excluded)
    return entry.Preferences(
        study=_plan(plan, registered),
        log=_log(log),
        models=study.model_names,
        counts=_counts(log.votes, kept),
        exclusions=tuple(
            entry.Reason(
                rule=each.rule, sentence=each.sentence, raters=each.raters, votes=each.votes
            )
            for each in reasons
        ),
        axes={axis: _axis(study, [v for v in kept if v.axis == axis]) for axis in study.axes.names},
        timeline=_timeline([vote.time for vote in log.votes]),
        published=TABLE_4 if study.analysis.preset == "dreamdojo" else (),
    )


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _refuse(registered: bool, log: VoteLog) -> None:
    if not registered:
        raise BadInputError(
            "the vote log names another study file than the one given: the plan was changed after "
            "the first vote, or belongs to another study; analyse with the original file, or with "
            "--unplanned, which the result then says"
        )
    if log.faults:
        raise BadInputError(
            f"the vote log is not whole ({len(log.faults)} fault{'s'[: len(log.faults) > 1]}; "
            f"{log.faults[0].sentence}); take an undamaged export, or analyse with --unplanned, "
            "which the result then says"
        )


def _check_names(study: Study, votes: Sequence[Vote]) -> None:
    known = set(study.model_names)
    for vote in votes:
        if vote.axis not in study.axes.names:
            raise BadInputError(
                f"a vote of trial {vote.trial} answers '{vote.axis}', which the study does not "
                f"ask; it asks about {', '.join(study.axes.names)}"
            )
        strange = {vote.left, vote.right} - known if vote.kind != "gold" else set()
        if strange or (vote.kind != "gold" and vote.left == vote.right):
            named = f"model '{min(strange)}'" if strange else f"{vote.left} against itself"
            raise BadInputError(
                f"a vote of trial {vote.trial} is on {named}, which is not in the study; its "
                f"models are {', '.join(study.model_names)}"
            )


def _plan(plan: ReadStudy, registered: bool) -> entry.Plan:
    study, planned = plan.study, plan.study.analysis
    return entry.Plan(
        title=study.study.title, suite=study.study.suite, hash=plan.hash, registered=registered,
        consent_version=study.study.consent_version, ties=study.ties.rule, preset=planned.preset,
        anchor=planned.anchor, level=planned.level, bootstrap=planned.bootstrap, seed=planned.seed,
    )  # fmt: skip


def _log(log: VoteLog) -> entry.Log:
    times = sorted(vote.time for vote in log.votes) or [""]
    return entry.Log(
        hash=log.hash, events=log.events, votes=len(log.votes), erased=log.erased,
        whole=not log.faults, faults=tuple(fault.sentence for fault in log.faults),
        first=times[0], last=times[-1],
    )  # fmt: skip


def _counts(votes: Sequence[Vote], kept: Sequence[Vote]) -> dict[str, int]:
    kinds = Counter(vote.kind for vote in votes)
    return {
        "raters": len({vote.rater for vote in votes}),
        "clips": len({vote.clip for vote in votes}),
        "votes": len(votes),
        **{kind: kinds[kind] for kind in ("ordinary", "duplicate", "gold")},
        "excluded": len(votes) - len(kept),
        "raters_left": len({vote.rater for vote in kept}),
    }


def _axis(study: Study, votes: Sequence[Vote]) -> entry.Axis:
    ordinary = [v for v in votes if v.kind == "ordinary"]
    counted = [v for v in ordinary if v.answer != "unsure"]
    table = _table(study, counted)
    level, rule = study.analysis.level, study.ties.rule
    audit = table.where(np.array([v.arm == "random" for v in counted], dtype=bool))
    against: tuple[PairRate, ...] = ()
    if study.analysis.preset == "dreamdojo":
        against = rates_against(table, _anchor(study), ties=rule, level=level)
    ranked = table.where(table.outcome != TIE) if rule == "drop" else table
    ranking = _rank(study, ranked)
    statements = ranking.statements if ranking else ("No votes, so nothing can be said.",)
    return entry.Axis(
        statements=(*statements, *_remarks(study, ordinary, table)),
        votes=len(table),
        raters=table.rater_count,
        clips=table.clip_count,
        unsure=len(ordinary) - len(counted),
        pairs=_pairs(pair_rates(table, ties=rule, level=level)),
        random_pairs=_pairs(pair_rates(audit, ties=rule, level=level)),
        anchor_rates=_pairs(against),
        ranking=_ranking(ranking) if ranking else None,
        position=_position(table, level),
        repeats=_repeats(votes, level),
        agreement=_agreement(table, level),
        gold=_gold(votes, level),
    )


def _table(study: Study, votes: Sequence[Vote]) -> Votes:
    return read_votes(
        [v.left for v in votes], [v.right for v in votes], [v.answer for v in votes],
        [v.rater for v in votes], [v.clip for v in votes], models=study.model_names,
    )  # fmt: skip


def _anchor(study: Study) -> int:
    """Place of the anchor; the first model where the plan names none."""
    named = study.analysis.anchor
    return study.model_names.index(named) if named is not None else 0


def _rank(study: Study, table: Votes) -> Ranking | None:
    planned = study.analysis
    if not len(table):
        return None
    config = RankingConfig(
        level=planned.level, resamples=planned.bootstrap, seed=planned.seed, anchor=planned.anchor
    )
    return rank(table, config)


def _remarks(study: Study, ordinary: Sequence[Vote], table: Votes) -> list[str]:
    said = []
    unsure = len(ordinary) - len(table)
    if ordinary and unsure / len(ordinary) > 0.2:
        said.append(
            f'{unsure / len(ordinary):.0%} of answers are "can\'t tell"; the rates hold for the '
            "rest."
        )
    planned = study.stopping.votes_per_pair
    if planned is not None and len(table):
        counts = table.tally().sum(axis=-1)
        both = (counts + counts.T)[np.triu_indices(len(table.models), 1)]
        if both.min() < planned:
            said.append(
                f"A pair has {int(both.min())} votes where {planned} were planned: the study was "
                "stopped early or is still running."
            )
    return said


def _pairs(rates: Iterable[PairRate]) -> tuple[entry.Pair, ...]:
    return tuple(
        entry.Pair(
            first=each.first, second=each.second, n=each.votes, wins=each.wins, ties=each.ties,
            losses=each.losses, rate=entry.estimate(each.rate), naive=entry.estimate(each.naive),
        )
        for each in rates
    )  # fmt: skip


def _ranking(found: Ranking) -> entry.Ranking:
    return entry.Ranking(
        strengths=tuple(
            entry.Strength(
                model=each.model, votes=each.votes, strength=entry.logits(each.strength),
                rank=(each.rank_low, each.rank_high), island=each.island,
            )
            for each in found.strengths
        ),
        differences=tuple(
            entry.Difference(
                first=each.first, second=each.second, difference=entry.logits(each.difference),
                distinguishable=each.distinguishable,
            )
            for each in found.differences
        ),
        groups=found.groups, side=entry.logits(found.side), nu=entry.number(found.nu) or 0.0,
        connected=found.graph.is_connected, separated=found.graph.is_separated,
    )  # fmt: skip


def _position(table: Votes, level: float) -> entry.Estimate:
    decided = table.where(table.outcome != TIE)
    left = (decided.outcome == 0).astype(np.float64)
    return entry.estimate(rate_interval(left, decided.raters, decided.clips, level=level))


def _gold(votes: Sequence[Vote], level: float) -> entry.Estimate:
    asked = [v for v in votes if v.kind == "gold" and v.gold_answer is not None]
    right = np.array([float(v.answer == v.gold_answer) for v in asked])
    raters, clips = [v.rater for v in asked], [v.clip for v in asked]
    return entry.estimate(rate_interval(right, raters, clips, level=level))


def _winner(vote: Vote) -> str:
    return {"left": vote.left, "right": vote.right}.get(vote.answer, vote.answer)


def _repeats(votes: Sequence[Vote], level: float) -> entry.Repeats:
    """Compares each repeated trial with the first time; "can't tell" on either leaves it out."""
    first = {
        (v.rater, v.clip, frozenset((v.left, v.right))): v for v in votes if v.kind == "ordinary"
    }
    pairs = []
    for vote in votes:
        before = first.get((vote.rater, vote.clip, frozenset((vote.left, vote.right))))
        if vote.kind == "duplicate" and before is not None:
            if "unsure" not in (vote.answer, before.answer):
                pairs.append((before, vote))
    same = np.array([float(_winner(a) == _winner(b)) for a, b in pairs])
    raters, clips = [b.rater for _, b in pairs], [b.clip for _, b in pairs]
    return entry.Repeats(
        same=entry.estimate(rate_interval(same, raters, clips, level=level)),
        same_side=sum(
            b.answer == a.answer and b.answer != "tie" and b.left == a.right for a, b in pairs
        ),
    )


def _agreement(table: Votes, level: float) -> dict[_Measure, entry.Estimate]:
    """Alpha on who wins, a unit being two models on one clip."""
    size = len(table.models)
    low, high = np.minimum(table.left, table.right), np.maximum(table.left, table.right)
    units = (table.clips * size + low) * size + high
    values = np.array([1.0, -1.0, 0.0])[table.outcome] * np.where(table.left == low, 1.0, -1.0)
    measures: tuple[_Measure, _Measure] = ("nominal", "ordinal")
    return {
        measure: entry.estimate(
            krippendorff_alpha(
                values, units, table.raters, measure=measure, clips=table.clips, level=level
            )
        )
        for measure in measures
    }


def _timeline(times: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Counts votes by hour, day or more, so that at most `SPANS` points stand on the line."""
    found = sorted(_moment(time) for time in times)
    if not found or found[0] is None:
        return ()
    first, last = found[0], found[-1]
    steps = (1, 5, 15, 60, 360, 1440, 7 * 1440, 28 * 1440, 365 * 1440)
    span = (last - first).total_seconds() / 60
    step = next((s for s in steps if span / s < SPANS - 1), steps[-1])
    origin = first.replace(hour=0, minute=0, second=0, microsecond=0)
    count = Counter(int((each - origin).total_seconds() // 60 // step) for each in found)
    return tuple(
        ((origin + timedelta(minutes=k * step)).strftime("%Y-%m-%dT%H:%MZ"), count[k])
        for k in range(min(count), max(count) + 1)
    )


def _moment(time: str) -> datetime:
    try:
        return datetime.fromisoformat(time)
    except ValueError as error:
        raise BadInputError(
            f"a vote has the time '{time}', which is none; it must read like 2026-01-31T12:00:00Z"
        ) from error
