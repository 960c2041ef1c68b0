"""Which pair a rater sees next: a pure function of the plan, the counts and the rater's past.

First every question gets a connected comparison graph, because strengths exist on one scale only
where models are compared, if by way of others. Then a share of trials is drawn at random, whatever
the votes say, and kept apart for audit; the others go where one more vote tells most: where
``log(1 + information x variance)`` of the pair's difference is largest under the present fit
(the gain in the log-determinant of the information, D-optimality). Pairs that others are working
on count as answered, so that raters who come at once are spread. Clips, sides and each rater's
pairs are balanced; ties are broken by keyed hash, so that equal input gives equal choices.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dojobench.human_eval.counts import Counts
from dojobench.human_eval.trial_order import Kind, planned_kinds
from dojobench.metrics.davidson import expected, fit
from dojobench.metrics.estimate import Array

DUPLICATE_GAP = 3
"""At least so many other trials lie between a pair and its repetition with sides swapped."""

NEAR_BEST = 0.9
"""Pairs that tell at least this share of the best one's gain are as good; the rater's own past
decides between them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldPair:
    """A pair with a known answer, of one clip."""

    clip: str
    kind: str
    axis: str

    @property
    def name(self) -> str:
        """What stands for the pair in the log."""
        return f"gold:{self.kind}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What does not change while a study runs.

    Attributes:
        models: Names, in the order of ``study.toml``.
        axes: Questions asked of each pair.
        clips: Clips that each pair of models is compared on, by the pair's two places in
            ``models``, lower first.
        gold: Pairs with a known answer.
        seed: Decides everything that is drawn.
        per_rater: Trials of one rater.
        gold_share: Share of trials with a known answer.
        duplicate_share: Share of trials shown again with sides swapped.
        random_share: Share of ordinary trials drawn at random.
        votes_per_pair: A pair with so many votes on each axis is done; ``None``: never.
        max_votes: So many votes end the study; ``None``: no such rule.
    """

    models: tuple[str, ...]
    axes: tuple[str, ...]
    clips: Mapping[tuple[int, int], tuple[str, ...]]
    gold: tuple[GoldPair, ...] = ()
    seed: int = 0
    per_rater: int = 50
    gold_share: float = 0.0
    duplicate_share: float = 0.0
    random_share: float = 0.25
    votes_per_pair: int | None = None
    max_votes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A trial that was handed out.

    Attributes:
        kind: ``ordinary``, ``duplicate`` or ``gold``.
        arm: ``adaptive`` or ``random``.
        pair: Name of the pair.
        clip: Clip.
        left: Model on the left, or ``gold:real`` and ``gold:`` with the kind of fake.
        right: Model on the right.
        repeat: 0, or 1 where the rater saw the pair on that clip before.
        gold_axis: Question with a known answer; ``None`` for other kinds.
        gold_answer: That answer.
    """

    kind: str
    arm: str
    pair: str
    clip: str
    left: str
    right: str
    repeat: int = 0
    gold_axis: str | None = None
    gold_answer: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What is known when a rater asks for a trial.

    Attributes:
        rater: The rater's id.
        past: The rater's trials so far, oldest first.
        counts: Votes so far.
        open: Trials that other raters are working on.
    """

    rater: str
    past: tuple[Shown, ...]
    counts: Counts
    open: tuple[Shown, ...] = ()


def pair_name(plan: Plan, pair: tuple[int, int]) -> str:
    """Names a pair of models, in the plan's order."""
    return f"{plan.models[pair[0]]} | {plan.models[pair[1]]}"


def draw(plan: Plan, *parts: object) -> float:
    """Gives a number in [0, 1) that depends on the seed and the parts alone."""
    return _draw(plan.seed, *parts)


def _draw(*parts: object) -> float:
    text = "\n".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def trials_of(plan: Plan) -> int:
    """Gives how many trials a rater gets: as planned, or fewer where pairs run out."""
    ordinary = sum(map(len, plan.clips.values()))
    share = 1 - plan.duplicate_share - (plan.gold_share if plan.gold else 0)
    return max(1, min(plan.per_rater, int(ordinary / share + 1e-9)))


def choose(plan: Plan, state: State) -> Shown | None:
    """Chooses a rater's next trial.

    Args:
        plan: The study.
        state: Everything that changes.

    Returns:
        The trial, or ``None`` where the rater is done or nothing is left to compare.
    """
    number = len(state.past)
    total = trials_of(plan)
    if number >= total or _is_over(plan, state):
        return None
    kind = _kind(plan, state.rater, number, total)
    found: Shown | None = None
    if kind == "gold":
        found = _gold(plan, state)
    elif kind == "duplicate":
        found = _duplicate(plan, state)
    return found or _ordinary(plan, state) or _duplicate(plan, state)


def _kind(plan: Plan, rater: str, number: int, total: int) -> Kind:
    """Gives the kind of one of a rater's trials."""
    gold = round(total * plan.gold_share) if plan.gold else 0
    return _kinds(plan.seed, rater, total, gold, round(total * plan.duplicate_share))[number]


@lru_cache(maxsize=1024)
def _kinds(seed: int, rater: str, total: int, gold: int, duplicates: int) -> tuple[Kind, ...]:
    """Lays out a rater's trials; kept, as it is asked for before each of them."""
    return planned_kinds(
        total, gold=gold, duplicates=duplicates, gap=DUPLICATE_GAP,
        key=lambda place: _draw(seed, "kind", rater, place),
    )  # fmt: skip


def _is_over(plan: Plan, state: State) -> bool:
    if plan.max_votes is None:
        return False
    coming = len(plan.axes) * len(state.open)
    return state.counts.votes + coming >= plan.max_votes


def _gold(plan: Plan, state: State) -> Shown | None:
    seen = {(past.pair, past.clip) for past in state.past}
    asked = [past.gold_axis for past in state.past if past.kind == "gold"]
    left = [gold for gold in plan.gold if (gold.name, gold.clip) not in seen]
    if not left:
        return None
    gold = min(
        left,
        key=lambda each: (
            asked.count(each.axis),
            draw(plan, "gold", state.rater, each.kind, each.clip),
        ),
    )
    answers = [past.gold_answer for past in state.past if past.kind == "gold"]
    difference = answers.count("left") - answers.count("right")
    on_left = _to_the_left(
        difference, draw(plan, "gold side", state.rater, gold.kind, gold.clip), slack=1
    )
    left_name, right_name = ("gold:real", gold.name) if on_left else (gold.name, "gold:real")
    return Shown(
        kind="gold", arm="random", pair=gold.name, clip=gold.clip, left=left_name,
        right=right_name, gold_axis=gold.axis, gold_answer="left" if on_left else "right",
    )  # fmt: skip


def _duplicate(plan: Plan, state: State) -> Shown | None:
    again = {(past.pair, past.clip) for past in state.past if past.repeat}
    old = state.past[: max(0, len(state.past) - DUPLICATE_GAP)]
    left = [p for p in old if p.kind == "ordinary" and (p.pair, p.clip) not in again]
    if not left:
        return None
    first = min(left, key=lambda each: draw(plan, "again", state.rater, each.pair, each.clip))
    return Shown(
        kind="duplicate", arm=first.arm, pair=first.pair, clip=first.clip, left=first.right,
        right=first.left, repeat=1,
    )  # fmt: skip


def _ordinary(plan: Plan, state: State) -> Shown | None:
    seen = {(past.pair, past.clip) for past in state.past if past.kind == "ordinary"}
    working = _working(plan, state)
    choices: dict[tuple[int, int], list[str]] = {}
    for pair, clips in plan.clips.items():
        name = pair_name(plan, pair)
        left = [clip for clip in clips if (name, clip) not in seen]
        if left and not _is_full(plan, state, working, pair):
            choices[pair] = left
    if not choices:
        return None
    pair, arm = _pair(plan, state, working, tuple(choices))
    at_random = arm == "random"
    clip = _clip(plan, state, pair, choices[pair], at_random=at_random)
    first, second = (plan.models[place] for place in pair)
    shown = state.counts.answered[0] + working
    difference = int(shown[pair] - shown[pair[::-1]])
    side = draw(plan, "side", state.rater, first, second, clip)
    left_name, right_name = (
        (first, second) if _to_the_left(difference, side, slack=2) else (second, first)
    )
    return Shown(
        kind="ordinary", arm=arm, pair=pair_name(plan, pair), clip=clip, left=left_name,
        right=right_name,
    )  # fmt: skip


def _to_the_left(difference: int, drawn: float, *, slack: int) -> bool:
    """Whether the first of two goes left: by lot, unless it was there ``slack`` times more."""
    if abs(difference) >= slack:
        return difference < 0
    return drawn < 0.5


def _working(plan: Plan, state: State) -> Array:
    """Ordinary trials that others work on, by left and right model, ``[M, M]``."""
    place = {name: k for k, name in enumerate(plan.models)}
    found = np.zeros((len(plan.models), len(plan.models)))
    for shown in state.open:
        if shown.kind == "ordinary" and shown.left in place and shown.right in place:
            found[place[shown.left], place[shown.right]] += 1
    return found


def _is_full(plan: Plan, state: State, working: Array, pair: tuple[int, int]) -> bool:
    if plan.votes_per_pair is None:
        return False
    back = pair[::-1]
    answered = state.counts.answered[:, [pair[0], back[0]], [pair[1], back[1]]].sum(axis=1)
    return bool(answered.min() + working[pair] + working[back] >= plan.votes_per_pair)


def _pair(
    plan: Plan, state: State, working: Array, pairs: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], str]:
    """Chooses the pair of models, and says in which arm of the design."""
    number = len(state.past)
    joining = _joining(plan, state, working, pairs)
    if joining:
        shown = state.counts.answered[0] + working
        return min(
            joining,
            key=lambda p: (shown[p] + shown[p[::-1]], draw(plan, "join", state.rater, number, *p)),
        ), "adaptive"
    if draw(plan, "arm", state.rater, number) < plan.random_share:
        return min(pairs, key=lambda p: draw(plan, "random", state.rater, number, *p)), "random"
    gains = gain(state.counts.tally, working)
    best = max(gains[pair] for pair in pairs)
    good = [pair for pair in pairs if gains[pair] >= NEAR_BEST * best]
    seen = [past.pair for past in state.past if past.kind == "ordinary"]
    return min(
        good,
        key=lambda p: (
            seen.count(pair_name(plan, p)),
            -gains[p],
            draw(plan, "best", state.rater, number, *p),
        ),
    ), "adaptive"


def gain(tally: Array, working: Array) -> Array:
    """Says how much one more vote on each pair would tell, summed over the questions.

    Args:
        tally: Votes by axis, left model, right model and outcome, ``[A, M, M, 3]``.
        working: Trials being worked on by left and right model, ``[M, M]``.

    Returns:
        ``log(1 + information x variance)``, ``[M, M]``, symmetric.
    """
    size = tally.shape[1]
    found = fit(tally)
    seen = expected(found.parameters, ties=found.ties).lean_variance
    weight = (seen + seen.swapaxes(-1, -2)) / 2
    information = found.information[:, :size, :size] + _laplacian(weight * (working + working.T))
    spread = np.asarray(np.linalg.inv(information), dtype=np.float64)
    own = np.diagonal(spread, axis1=-2, axis2=-1)
    variance = own[:, :, None] + own[:, None, :] - 2 * spread
    total: Array = np.log1p(weight * np.maximum(variance, 0.0)).sum(axis=0)
    return total


def _laplacian(weight: Array) -> Array:
    """The information that trials with these weights add, ``[A, M, M]``."""
    between = weight * (1 - np.eye(weight.shape[-1]))
    found: Array = between.sum(axis=-1)[..., None] * np.eye(weight.shape[-1]) - between
    return found


def _joining(
    plan: Plan, state: State, working: Array, pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Pairs that join two parts of a question's graph that is not connected yet."""
    for axis in range(len(plan.axes)):
        told = state.counts.tally[axis].sum(axis=-1) + working
        find = _parts((told + told.T) > 0)
        joining = [pair for pair in pairs if find(pair[0]) != find(pair[1])]
        if joining:
            return joining
    return []


def _parts(edges: Array) -> Callable[[int], int]:
    """Gives a function from a model to the part of the graph it lies in."""
    part = list(range(len(edges)))
    for first, second in np.argwhere(edges):
        old, new = part[first], part[second]
        part = [new if each == old else each for each in part]
    return part.__getitem__


def _clip(
    plan: Plan, state: State, pair: tuple[int, int], clips: Sequence[str], *, at_random: bool
) -> str:
    name = pair_name(plan, pair)
    lot = {clip: draw(plan, "clip", state.rater, name, clip) for clip in clips}
    if at_random:
        return min(clips, key=lot.__getitem__)
    open_now = Counter((shown.pair, shown.clip) for shown in state.open)
    seen = Counter(past.clip for past in state.past)
    return min(
        clips,
        key=lambda clip: (
            state.counts.clips[name, clip] + open_now[name, clip],
            seen[clip],
            lot[clip],
        ),
    )
