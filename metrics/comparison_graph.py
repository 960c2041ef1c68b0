"""Whether votes can rank models at all: what is connected, and who never loses.

Strengths exist on one scale only where models are compared, if by way of others; and they are
finite only if no group of models wins every vote against the rest (Ford 1957). Where that does
not hold a fit still gives numbers, with the tightest of intervals; so it is looked for and said.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from dojobench.metrics.estimate import Array, Codes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComparisonGraph:
    """What a table of votes can and cannot tell.

    Attributes:
        islands: Number of the island of each model, ``[M]``: models on different islands were
            never compared, not even by way of others.
        tiers: Number of the tier of each model, ``[M]``: between tiers of an island all votes
            went one way, so that the distance is unbounded.
        above: Whether a model's tier won every vote, direct or by way of others, against
            another's, ``[M, M]``.
        statements: What has to be said, as sentences; empty where all is well.
    """

    islands: Codes
    tiers: Codes
    above: Array
    statements: tuple[str, ...]

    @property
    def is_connected(self) -> bool:
        """Whether all models stand on one scale."""
        return bool((self.islands == 0).all())

    @property
    def is_separated(self) -> bool:
        """Whether some group never lost to the rest of its island."""
        return bool(self.above.any())


def comparison_graph(counts: Array, models: tuple[str, ...]) -> ComparisonGraph:
    """Looks at a table of votes.

    Args:
        counts: Votes by left model, right model and outcome, ``[M, M, 3]``.
        models: Their names.

    Returns:
        Islands, tiers and what has to be said of them.
    """
    size = len(models)
    # points[i, j]: what i got against j; a tie is half a point for both.
    wins = counts[..., 0] + counts[..., 1].T
    points = wins + (counts[..., 2] + counts[..., 2].T) / 2
    island_count, islands = _components(points, "weak")
    tier_count, tiers = _components(points, "strong")
    above = np.zeros((size, size))
    if tier_count > island_count:
        reach = (points > 0) | np.eye(size, dtype=bool)
        for _ in range(max(1, size.bit_length())):
            reach = (reach.astype(np.float64) @ reach.astype(np.float64)) > 0
        above = (reach & ~reach.T).astype(np.float64)
    said = _island_statements(points, islands, models)
    said += _tier_statements(points, islands, tiers, models)
    return ComparisonGraph(
        islands=islands, tiers=tiers, above=above, statements=tuple(said)
    )  # fmt: skip


def _components(points: Array, connection: Literal["weak", "strong"]) -> tuple[int, Codes]:
    graph = csr_matrix((points > 0).astype(np.float64))
    count, labels = connected_components(graph, connection=connection)
    return int(count), labels.astype(np.intp)


def _island_statements(points: Array, islands: Codes, models: tuple[str, ...]) -> list[str]:
    voted = (points + points.T).any(axis=1)
    said = [
        f"{models[k]} is in no vote, so nothing is known of it." for k in np.flatnonzero(~voted)
    ]
    groups = [_join(np.flatnonzero(islands == k), models) for k in dict.fromkeys(islands[voted])]
    if len(groups) > 1:
        said.append(
            f"The models fall into {len(groups)} groups that were never compared, not even by way "
            f"of others: {' | '.join(groups)}; strengths and ranks hold within a group only."
        )
    return said


def _tier_statements(
    points: Array, islands: Codes, tiers: Codes, models: tuple[str, ...]
) -> list[str]:
    said = []
    for tier in range(int(tiers.max(initial=-1)) + 1):
        inside = tiers == tier
        rest = (islands == islands[inside][0]) & ~inside
        given, taken = points[np.ix_(inside, rest)].sum(), points[np.ix_(rest, inside)].sum()
        if given + taken == 0 or (given > 0 and taken > 0):
            continue
        if given == 0 and len(set(tiers[islands == islands[inside][0]])) == 2:
            continue  # The other of two tiers says it already.
        what, end = ("lost", "lower") if taken == 0 else ("won", "upper")
        count = round(float(given + taken))
        said.append(
            f"{_join(np.flatnonzero(inside), models)} never {what} or tied a vote against the "
            f"others ({count} {'vote' if count == 1 else 'votes'}); only the {end} end of such a "
            "strength is known, the estimate itself comes from the prior."
        )
    return said


def _join(places: Codes, models: tuple[str, ...]) -> str:
    return ", ".join(models[k] for k in places)
