"""Which votes do not count, and why: the rules of ``study.toml``, applied and counted.

A vote is left out for one reason, the first that holds: by the organiser, then by a rule about
its rater, then by a rule about the vote. Rules about raters look at all of their votes.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dojobench.human_eval.study_file import ExclusionsPart
from dojobench.human_eval.vote_export import Vote

LEAST_DECIDED = 10
"""With fewer decided votes than this nobody is judged by the side of their votes."""

LEAST_GOLD = 2
"""With fewer gold trials than this nobody is judged by them: one slip is no pattern."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Excluded:
    """One reason, and what it took out.

    Attributes:
        rule: ``organiser``, ``min_gold``, ``max_same_side``, ``min_seconds``,
            ``max_drift_frames`` or ``repeated``.
        sentence: What the rule says.
        raters: Raters who lost votes by it, sorted.
        votes: How many votes it took.
    """

    rule: str
    sentence: str
    raters: tuple[str, ...]
    votes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RaterSummary:
    """What one rater did.

    Attributes:
        votes: All votes, each axis its own.
        gold: Gold questions answered.
        gold_right: Of these, rightly.
        decided: Votes for a side, golds apart.
        left: Of these, for the left.
    """

    votes: int
    gold: int
    gold_right: int
    decided: int
    left: int

    @property
    def gold_share(self) -> float | None:
        """Share of gold questions answered rightly; ``None`` with too few to judge by."""
        return self.gold_right / self.gold if self.gold >= LEAST_GOLD else None

    @property
    def side_share(self) -> float | None:
        """Share of the side that was chosen more; ``None`` with too few votes to judge by."""
        if self.decided < LEAST_DECIDED:
            return None
        return max(self.left, self.decided - self.left) / self.decided


def summarise(votes: Sequence[Vote]) -> dict[str, RaterSummary]:
    """Sums up each rater's votes, raters sorted by id."""
    by_rater: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_rater[vote.rater].append(vote)
    return {rater: _summary(by_rater[rater]) for rater in sorted(by_rater)}


def _summary(votes: Sequence[Vote]) -> RaterSummary:
    gold = [v for v in votes if v.kind == "gold" and v.gold_answer is not None]
    decided = [v for v in votes if v.kind != "gold" and v.answer in ("left", "right")]
    return RaterSummary(
        votes=len(votes),
        gold=len(gold),
        gold_right=sum(v.answer == v.gold_answer for v in gold),
        decided=len(decided),
        left=sum(v.answer == "left" for v in decided),
    )


def exclude(
    votes: Sequence[Vote], rules: ExclusionsPart, by_organiser: Mapping[str, str]
) -> tuple[list[Vote], list[Excluded]]:
    """Leaves out the votes that do not count.

    Args:
        votes: All votes of the log.
        rules: The rules that were planned.
        by_organiser: Raters that were excluded while the study ran, with the reason.

    Returns:
        The votes that count, in order, and the reasons that took any away.
    """
    about = summarise(votes)
    taken: dict[tuple[str, str], list[str]] = {}
    kept: list[Vote] = []
    seen: set[tuple[str, str, str]] = set()
    for vote in votes:
        place = (vote.rater, vote.trial, vote.axis)
        why = _why(vote, rules, by_organiser, about[vote.rater])
        if why is None and place in seen:
            why = ("repeated", "a second vote on the same trial and question")
        seen.add(place)
        if why is None:
            kept.append(vote)
        else:
            taken.setdefault(why, []).append(vote.rater)
    reasons = [
        Excluded(rule=rule, sentence=sentence, raters=tuple(sorted(set(raters))), votes=len(raters))
        for (rule, sentence), raters in taken.items()
    ]
    return kept, sorted(reasons, key=lambda each: (each.rule, each.sentence))


def _why(
    vote: Vote, rules: ExclusionsPart, by_organiser: Mapping[str, str], rater: RaterSummary
) -> tuple[str, str] | None:
    """Names the first rule that leaves a vote out."""
    if vote.rater in by_organiser:
        return "organiser", f"excluded by the organiser: {by_organiser[vote.rater]}"
    gold, side = rater.gold_share, rater.side_share
    if rules.min_gold is not None and gold is not None and gold < rules.min_gold:
        return "min_gold", f"fewer than {rules.min_gold:.0%} of gold questions answered rightly"
    if rules.max_same_side is not None and side is not None and side > rules.max_same_side:
        return "max_same_side", f"more than {rules.max_same_side:.0%} of votes for one side"
    least, seconds, drift = rules.min_seconds, vote.seconds, vote.drift_frames
    if least is not None and seconds is not None and seconds < least:
        return "min_seconds", f"voted within less than {least:g} s"
    if rules.max_drift_frames is not None and drift is not None and drift > rules.max_drift_frames:
        frames = f"{rules.max_drift_frames:g} frame{'s' if rules.max_drift_frames != 1 else ''}"
        return "max_drift_frames", f"the videos drifted apart by more than {frames}"
    return None
