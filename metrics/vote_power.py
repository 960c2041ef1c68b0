"""How many votes tell one win rate from another, when votes share raters and clips.

More votes of the same raters on the same clips help less and less: what raters and clips bring of
their own is averaged over their number, not over the number of votes. So there are designs in
which no number of votes is enough, and this says which.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, expit, ndtr, stdtrit

_NODES = 40
_MIDDLES = (np.arange(400) + 0.5) / 400
_MANY = 1e6
"""From so many degrees of freedom on the error counts as known."""


@dataclass(frozen=True, kw_only=True)
class PowerDesign:
    """A comparison of two models, planned.

    Attributes:
        raters: How many raters vote on the pair.
        clips: On how many clips.
        rate: The true win rate, ties as halves.
        against: The rate that it is to be told from.
        ties: Share of ties.
        rater_effect: Standard deviation of the raters' leanings, in logits; 0.6 moves a rater who
            is one of them away from 50 % to 65 %.
        clip_effect: The same of clips.
        level: Coverage of the interval that has to leave out ``against``.
    """

    raters: int
    clips: int
    rate: float = 0.55
    against: float = 0.5
    ties: float = 0.0
    rater_effect: float = 0.6
    clip_effect: float = 0.6
    level: float = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Components:
    """Where the variance of a vote comes from, on the scale of rates."""

    raters: float
    clips: float
    total: float


def components(design: PowerDesign) -> Components:
    """Computes the variance of one vote and the parts that raters and clips bring.

    Returns:
        Variances of a vote worth 1, 1/2 or 0.

    Raises:
        ValueError: If the rate cannot be with so many ties, or a number is out of range.
    """
    _check(design)
    share = 1 - design.ties
    decided = (design.rate - 0.5 * design.ties) / share
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    leaning = np.add.outer(design.rater_effect * nodes, design.clip_effect * nodes)

    def mean(centre: float) -> float:
        return float(weights @ expit(centre + leaning) @ weights)

    centre = float(brentq(lambda x: mean(x) - decided, -40, 40))
    chance = expit(centre + leaning)
    by_rater, by_clip = chance @ weights, weights @ chance
    spread = [float(weights @ np.square(each - decided)) for each in (by_rater, by_clip)]
    total = share * decided * (1 - decided) + share * (1 - share) * (decided - 0.5) ** 2
    return Components(raters=share**2 * spread[0], clips=share**2 * spread[1], total=total)


def power(design: PowerDesign, votes: int) -> float:
    """Gives the chance that the two-way clustered interval leaves ``against`` out.

    Args:
        design: The comparison.
        votes: Votes on the pair, spread evenly over raters and clips.

    Returns:
        The power: that of Student's t with Satterthwaite's degrees of freedom.
    """
    parts = components(design)
    variance = _variance(parts, design, votes)
    by_rater = parts.raters / design.raters + (parts.total - parts.raters) / votes
    by_clip = parts.clips / design.clips + (parts.total - parts.clips) / votes
    noise = by_rater**2 / max(design.raters - 1, 1) + by_clip**2 / max(design.clips - 1, 1)
    freedom = max(1.0, variance**2 / (noise + (parts.total / votes) ** 2 / max(votes - 1, 1)))
    far = abs(design.rate - design.against) / math.sqrt(variance)
    critical = float(stdtrit(freedom, (1 + design.level) / 2))
    # The noncentral t, as a mean over the estimated error: scipy's own fails far out.
    error = np.sqrt(chdtri(freedom, _MIDDLES) / freedom) if freedom < _MANY else np.ones(1)
    return float((ndtr(far - critical * error) + ndtr(-far - critical * error)).mean())


def votes_needed(design: PowerDesign, wanted: float = 0.8) -> int | None:
    """Finds how many votes on the pair give the wanted power.

    Returns:
        The fewest votes, each rater voting once on a clip at most; ``None`` where even
        ``raters x clips`` are not enough.
    """
    most = design.raters * design.clips
    if power(design, most) < wanted:
        return None
    return _fewest(lambda votes: power(design, votes) >= wanted, 2, most)


def independent_votes_needed(design: PowerDesign, wanted: float = 0.8) -> int:
    """Finds how many votes were needed if each came from a rater and a clip of its own."""
    alone = replace(design, raters=1 << 40, clips=1 << 40, rater_effect=0.0, clip_effect=0.0)
    return _fewest(lambda votes: power(alone, votes) >= wanted, 2, 1 << 32)


def raters_needed(design: PowerDesign, wanted: float = 0.8) -> int | None:
    """Finds how many raters, each on every clip, give the wanted power; ``None`` for no number."""

    def enough(raters: int) -> bool:
        return power(replace(design, raters=raters), raters * design.clips) >= wanted

    most = 1 << 20
    return _fewest(enough, 2, most) if enough(most) else None


def detectable_rate(design: PowerDesign, votes: int, wanted: float = 0.8) -> float | None:
    """Finds the smallest rate above ``against`` that so many votes tell from it."""
    most = 1 - 0.5 * design.ties - 1e-6

    def missing(rate: float) -> float:
        return power(replace(design, rate=rate), votes) - wanted

    if missing(most) < 0:
        return None
    return float(brentq(missing, design.against + 1e-9, most))


def design_effect(design: PowerDesign, votes: int) -> float:
    """Gives how many times larger the variance is than that of independent votes."""
    parts = components(design)
    return _variance(parts, design, votes) / (parts.total / votes)


def _variance(parts: Components, design: PowerDesign, votes: int) -> float:
    rest = parts.total - parts.raters - parts.clips
    return parts.raters / design.raters + parts.clips / design.clips + rest / votes


def _fewest(enough: Callable[[int], bool], low: int, high: int) -> int:
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def _check(design: PowerDesign) -> None:
    if design.raters < 2 or design.clips < 2:
        raise ValueError("an interval needs at least 2 raters and 2 clips")
    if not 0 <= design.ties < 1:
        raise ValueError(f"the share of ties is {design.ties}, and must lie in [0, 1)")
    low, high = 0.5 * design.ties, 1 - 0.5 * design.ties
    if not low < design.rate < high:
        raise ValueError(
            f"the rate is {design.rate}; with {design.ties:.0%} ties it must lie between "
            f"{low:g} and {high:g}"
        )
    if not 0 < design.against < 1 or not 0 < design.level < 1:
        raise ValueError("rates and the level must lie strictly between 0 and 1")
    if design.rater_effect < 0 or design.clip_effect < 0:
        raise ValueError("effects are standard deviations and must not be negative")
