"""In which order a rater meets ordinary pairs, pairs with a known answer, and repetitions."""

from collections.abc import Callable
from typing import Literal

Kind = Literal["ordinary", "duplicate", "gold"]


def planned_kinds(
    total: int, *, gold: int, duplicates: int, gap: int, key: Callable[[int], float]
) -> tuple[Kind, ...]:
    """Lays out a rater's trials.

    Pairs with a known answer lie anywhere but first, repetitions late enough that there is
    something to repeat.

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
    free = [place for place in range(1, total) if kinds[place] == "ordinary"]
    for place in sorted(free, key=key)[:gold]:
        kinds[place] = "gold"
    return tuple(kinds)
