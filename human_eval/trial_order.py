"""In which order a rater meets ordinary pairs, pairs with a known answer, and repetitions."""

from collections.abc import Callable, Sequence
from typing import Literal

Kind = Literal["ordinary", "duplicate", "gold"]


def planned_kinds(
    total: int, *, gold: int, duplicates: int, gap: int, key: Callable[[int], float]
) -> tuple[Kind, ...]:
    """Lays out a rater's trials.

    Pairs with a known answer lie anywhere but first, repetitions late enough that there is
    something to repeat: none of the early places goes to a known answer that a repetition needs.

    Args:
        total: Trials in all.
        gold: Trials with a known answer.
        duplicates: Repetitions.
        gap: Trials that lie at least between a pair and its repetition.
        key: A number for each place, by which places are drawn.

    Returns:
        The kind of each trial; fewer of one kind where there is no place for it.
    """
    kinds: list[Kind] = ["ordinary"] * total
    late = [place for place in range(total) if place > max(gap, total // 3)]
    for place in sorted(late, key=key)[:duplicates]:
        kinds[place] = "duplicate"
    wanted = _repeatable(kinds, gap)
    free = [place for place in range(1, total) if kinds[place] == "ordinary"]
    for place in sorted(free, key=key):
        if kinds.count("gold") == gold:
            break
        kinds[place] = "gold"
        if _repeatable(kinds, gap) < wanted:
            kinds[place] = "ordinary"
    return tuple(kinds)


def _repeatable(kinds: Sequence[Kind], gap: int) -> int:
    """Counts the repetitions that find an ordinary pair, early enough and not yet repeated."""
    found = 0
    for place, kind in enumerate(kinds):
        if kind == "duplicate" and kinds[: place - gap].count("ordinary") > found:
            found += 1
    return found
