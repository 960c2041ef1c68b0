"""How a running study goes, for its organiser: progress, speed, raters, health of the log.

It is made by the planned analysis itself, so that what is seen here is what will be counted. Who
wins is left out unless asked for: an organiser who sees results may stop when they please.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import numpy as np

from dojobench.human_eval import vote_chain
from dojobench.human_eval.analysis import analyze
from dojobench.human_eval.counts import Counts
from dojobench.human_eval.exclusions import RaterSummary, summarise
from dojobench.human_eval.preferences import Preferences
from dojobench.human_eval.running_study import RunningStudy
from dojobench.human_eval.scheduler import pair_name, trials_of
from dojobench.human_eval.study_file import ReadStudy
from dojobench.human_eval.vote_export import Header, Vote, VoteLog
from dojobench.metrics.comparison_graph import comparison_graph

QUICK_RESAMPLES = 100
"""Resamples of an analysis on the side; the final one makes as many as planned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RaterLine:
    """One rater, as the organiser sees them.

    Attributes:
        id: The rater's number.
        since: When they consented, UTC.
        state: ``training``, ``failed``, ``working``, ``finished``.
        trials: Trials answered.
        gold: Questions with a known answer: right and asked.
        left: Share of decided votes for the left; ``None`` with none.
        seconds: Median seconds of a trial; ``None`` without votes.
        flags: Flagged votes by flag.
        excluded: Why the organiser excluded them; empty: not.
    """

    id: str
    since: str
    state: str
    trials: int
    gold: tuple[int, int]
    left: float | None
    seconds: float | None
    flags: Mapping[str, int]
    excluded: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """What the organiser's page shows.

    Attributes:
        title: Of the study.
        hash: Of the plan.
        created: When the log began.
        at: When this was made, UTC.
        end: Number and hash of the last event.
        faults: Where the log is not whole.
        raters: How many in each state.
        trials: Trials answered, being worked on, and planned for one rater.
        votes: Votes by axis and kind.
        goal: Share of the planned votes that is there; ``None`` without such a rule.
        stopped: Whether a stopping rule has ended the study.
        pairs: Ordinary votes by pair: name, then one number per axis.
        covered: By pair, the clips that have a vote, and those planned.
        islands: By axis, the groups of models that are not connected; one group: all are.
        hourly: Votes in the last hour.
        seconds: Median seconds of a trial.
        left_hours: Hours to the planned votes at the last hour's speed.
        lines: The raters.
        found: The planned analysis with few resamples; its results are shown only when asked.
    """

    title: str
    hash: str
    created: str
    at: str
    end: tuple[int, str]
    faults: tuple[str, ...]
    raters: Mapping[str, int]
    trials: tuple[int, int, int]
    votes: Mapping[str, Mapping[str, int]]
    goal: float | None
    stopped: bool
    pairs: tuple[tuple[str, tuple[int, ...]], ...]
    covered: Mapping[str, tuple[int, int]]
    islands: Mapping[str, tuple[tuple[str, ...], ...]]
    hourly: int
    seconds: float | None
    left_hours: float | None
    lines: tuple[RaterLine, ...]
    found: Preferences


def overview(running: RunningStudy) -> Overview:
    """Looks at a running study; takes a second or two for a hundred thousand votes."""
    log, faults = current_log(running)
    counts = running.refresh()
    table = running.store.rater_table()
    lines = tuple(_lines(table, log))
    ends = [vote for vote in log.votes if vote.axis == running.plan.axes[0]]
    goal = _goal(running, counts)
    hourly = _last_hour(log.votes)
    missing = 0.0 if goal is None or goal <= 0 else len(log.votes) * (1 / goal - 1)
    return Overview(
        title=running.study.study.title,
        hash=running.opened.hash,
        created=running.store.facts()["created"],
        at=datetime.now(UTC).strftime("%H:%M:%S"),
        end=running.store.end(),
        faults=faults,
        raters=Counter(line.state for line in lines),
        trials=(len(ends), running.store.open_trials(now=time.time()), trials_of(running.plan)),
        votes=_votes(running, log.votes),
        goal=goal,
        stopped=running.is_over,
        pairs=_pairs(running, counts),
        covered=_covered(running, counts),
        islands=_islands(counts),
        hourly=hourly,
        seconds=_median([vote.seconds for vote in ends]),
        left_hours=missing / hourly if goal is not None and 0 < goal < 1 and hourly else None,
        lines=lines,
        found=quick_analysis(running, log),
    )


def current_log(running: RunningStudy) -> tuple[VoteLog, tuple[str, ...]]:
    """Gives the log as an export would give it now, and where it is not whole."""
    events = running.store.events()
    votes: list[Vote] = []
    excluded: dict[str, str] = {}
    for event in events:
        if event.body is None:
            continue
        if event.type == "vote":
            votes.append(Vote.model_validate({**event.body, "time": event.time}))
        elif event.type == "exclude":
            excluded[str(event.body["rater"])] = str(event.body["reason"])
    try:
        end = running.store.end()
        faults = vote_chain.verify(events, running.opened.hash, end=end)
    except ValueError as error:
        faults = [vote_chain.Fault(len(events), str(error))]
    log = VoteLog(
        header=Header(format=1, kind="dojobench-votes", study=running.opened.hash),
        hash="", events=len(events), votes=tuple(votes), excluded=excluded,
        erased=sum(event.body is None for event in events), faults=tuple(faults),
    )  # fmt: skip
    return log, tuple(fault.sentence for fault in faults)


def quick_analysis(running: RunningStudy, log: VoteLog) -> Preferences:
    """Runs the planned analysis on the votes so far, with few resamples."""
    study = running.study
    few = study.analysis.model_copy(update={"bootstrap": QUICK_RESAMPLES})
    plan = ReadStudy(study.model_copy(update={"analysis": few}), running.opened.hash)
    return analyze(plan, log, unplanned=True)


def _lines(table: Sequence[Mapping[str, Any]], log: VoteLog) -> list[RaterLine]:
    votes: dict[str, list[Vote]] = defaultdict(list)
    for vote in log.votes:
        votes[vote.rater].append(vote)
    about = summarise(log.votes)
    nobody = RaterSummary(votes=0, gold=0, gold_right=0, decided=0, left=0)
    return [
        _line(row, votes[row["id"]], about.get(row["id"], nobody), log.excluded.get(row["id"], ""))
        for row in table
    ]


def _line(
    row: Mapping[str, Any], votes: Sequence[Vote], about: RaterSummary, excluded: str
) -> RaterLine:
    if row["finished"] is not None:
        state = "finished"
    elif row["passed"]:
        state = "working"
    else:
        state = "failed" if row["tries"] >= 2 else "training"
    seconds = {vote.trial: vote.seconds for vote in votes}
    return RaterLine(
        id=row["id"],
        since=datetime.fromtimestamp(row["since"], UTC).strftime("%Y-%m-%d %H:%M"),
        state=state,
        trials=len(seconds),
        gold=(about.gold_right, about.gold),
        left=about.left / about.decided if about.decided else None,
        seconds=_median(list(seconds.values())),
        flags=Counter(flag for vote in votes for flag in vote.flags),
        excluded=excluded,
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _votes(running: RunningStudy, votes: Sequence[Vote]) -> dict[str, dict[str, int]]:
    found = Counter((vote.axis, vote.kind) for vote in votes)
    return {
        axis: {kind: found[axis, kind] for kind in ("ordinary", "duplicate", "gold")}
        for axis in running.plan.axes
    }


def _pairs(running: RunningStudy, counts: Counts) -> tuple[tuple[str, tuple[int, ...]], ...]:
    both = counts.answered + counts.answered.transpose(0, 2, 1)
    return tuple(
        (pair_name(running.plan, pair), tuple(int(axis[pair]) for axis in both))
        for pair in running.plan.clips
    )


def _covered(running: RunningStudy, counts: Counts) -> dict[str, tuple[int, int]]:
    seen = Counter(pair for pair, _ in counts.clips)
    names = {pair_name(running.plan, pair): clips for pair, clips in running.plan.clips.items()}
    return {name: (seen[name], len(clips)) for name, clips in names.items()}


def _goal(running: RunningStudy, counts: Counts) -> float | None:
    """How much of the planned votes is there, by the rule that will end the study first."""
    rule = running.study.stopping
    shares = []
    if rule.max_votes is not None:
        shares.append(counts.votes / rule.max_votes)
    if rule.votes_per_pair is not None:
        wanted = rule.votes_per_pair * len(running.plan.axes) * len(running.plan.clips)
        there = sum(
            min(number, rule.votes_per_pair)
            for _, numbers in _pairs(running, counts)
            for number in numbers
        )
        shares.append(there / max(wanted, 1))
    return min(1.0, max(shares)) if shares else None


def _islands(counts: Counts) -> dict[str, tuple[tuple[str, ...], ...]]:
    found = {}
    for axis, tally in zip(counts.axes, counts.tally, strict=True):
        islands = comparison_graph(tally, counts.models).islands
        found[axis] = tuple(
            tuple(counts.models[k] for k in np.flatnonzero(islands == island))
            for island in np.unique(islands)
        )
    return found


def _last_hour(votes: Sequence[Vote]) -> int:
    since = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return sum(vote.time >= since for vote in votes)
