"""Win rates of pairs of models: the plain count, with an interval that holds."""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from dojobench.metrics.estimate import Interval
from dojobench.metrics.preference_intervals import naive_rate, rate_interval
from dojobench.metrics.votes import TIE, Votes

TieRule = Literal["half", "drop", "own"]
"""How a tie counts: as half a win, not at all, or against both, as an outcome of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRate:
    """How often one model was preferred to another.

    Attributes:
        first: The model whose rate it is.
        second: The other.
        votes: Votes on the pair, ties included.
        wins: Votes for the first.
        ties: Ties.
        losses: Votes for the second.
        rate: The rate under the tie rule, clustered by rater and clip.
        naive: The same as if votes were independent, by Wilson's formula.
    """

    first: str
    second: str
    votes: int
    wins: int
    ties: int
    losses: int
    rate: Interval
    naive: Interval


def pair_rate(
    votes: Votes, first: int, second: int, *, ties: TieRule = "half", level: float = 0.95
) -> PairRate:
    """Estimates how often a model is preferred to another.

    Args:
        votes: Votes on any pairs.
        first: Place in ``votes.models`` of the model whose rate it is.
        second: Place of the other.
        ties: ``half``: a tie is half a win; ``drop``: it does not count; ``own``: the rate is
            the share of wins among all votes, so that the rates of both do not sum to one.
        level: Nominal coverage.

    Returns:
        Counts and rates; without votes the rate is NaN.
    """
    shown = votes.where(votes.between(first, second))
    scores = shown.scores(first)
    tied = shown.outcome == TIE
    raters, clips, values = shown.raters, shown.clips, scores
    if ties == "drop":
        values, raters, clips = scores[~tied], raters[~tied], clips[~tied]
    elif ties == "own":
        values = (scores == 1.0).astype(np.float64)
    return PairRate(
        first=votes.models[first], second=votes.models[second], votes=len(shown),
        wins=int((scores == 1.0).sum()), ties=int(tied.sum()), losses=int((scores == 0.0).sum()),
        rate=rate_interval(values, raters, clips, level=level),
        naive=naive_rate(values, level=level),
    )  # fmt: skip


def pair_rates(
    votes: Votes, *, ties: TieRule = "half", level: float = 0.95
) -> tuple[PairRate, ...]:
    """Estimates the rates of all pairs that were voted on, in the models' order."""
    found = (
        pair_rate(votes, first, second, ties=ties, level=level)
        for first, second in combinations(range(len(votes.models)), 2)
    )
    return tuple(each for each in found if each.votes)


def rates_against(
    votes: Votes, anchor: int, *, ties: TieRule = "half", level: float = 0.95
) -> tuple[PairRate, ...]:
    """Estimates every model's rate against one: DreamDojo's own definition (its section 4.1).

    The paper averages votes per pair of models and does not say how ties count; so that is a
    choice here, to be stated with the numbers.
    """
    found = (
        pair_rate(votes, model, anchor, ties=ties, level=level)
        for model in range(len(votes.models))
        if model != anchor
    )
    return tuple(each for each in found if each.votes)
