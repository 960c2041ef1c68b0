"""Names the models that votes cannot tell apart."""

from collections.abc import Sequence

import numpy as np

from dojobench.metrics.estimate import Codes
from dojobench.metrics.votes import Mask


def indistinguishable_groups(
    models: Sequence[str], order: Sequence[int], better: Mask, islands: Codes
) -> tuple[tuple[str, ...], ...]:
    """Finds the largest sets of models of which no two can be told apart.

    A model may stand in several of them: A like B and B like C does not make A like C.

    Args:
        models: Names.
        order: Places of the models, strongest first; members and groups come in this order.
        better: Whether a model was found better than another, ``[M, M]``.
        islands: Models on different islands were never compared and share no group.

    Returns:
        The groups, each a maximal clique; a model that differs from all others stands alone.
    """
    alike = ~(better | better.T) & (islands[:, None] == islands[None, :])
    np.fill_diagonal(alike, False)
    place = {model: k for k, model in enumerate(order)}
    near = {m: {int(k) for k in np.flatnonzero(alike[m])} for m in order}
    found: list[list[int]] = []
    # Bron and Kerbosch (1973) with pivots, without recursion: group so far, candidates, excluded.
    open_sets: list[tuple[set[int], set[int], set[int]]] = [(set(), set(order), set())]
    while open_sets:
        group, candidates, excluded = open_sets.pop()
        if not candidates and not excluded:
            found.append(sorted(group, key=lambda m: place[m]))
            continue
        pivot = max(candidates | excluded, key=lambda m: (len(near[m] & candidates), -place[m]))
        for model in sorted(candidates - near[pivot], key=lambda m: place[m]):
            open_sets.append((group | {model}, candidates & near[model], excluded & near[model]))
            candidates = candidates - {model}
            excluded = excluded | {model}
    found.sort(key=lambda group: [place[m] for m in group])
    return tuple(tuple(models[m] for m in group) for group in found)
