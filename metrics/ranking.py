"""Ranks models from pairwise votes, and says what the votes cannot tell.

Strengths are those of Davidson's model (`davidson`), with intervals that are clustered by rater
and by clip (`strengths`); ranks are ranges, from comparisons that hold together at the stated
level; and models that cannot be told apart are named as groups. Where votes cannot bear a number
(`comparison_graph`) there is NaN and a sentence, never a tight interval made of nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from dojobench.metrics.comparison_graph import ComparisonGraph, comparison_graph
from dojobench.metrics.contrasts import Contrast, ContrastTable, KnownEnds
from dojobench.metrics.davidson import Fit, Prior, fit
from dojobench.metrics.estimate import Array, check_level
from dojobench.metrics.groups import indistinguishable_groups
from dojobench.metrics.strengths import bootstrap
from dojobench.metrics.votes import TIE, Mask, Votes, read_votes
from dojobench.metrics.win_rates import PairRate, TieRule, pair_rate, pair_rates, rates_against

__all__ = [
    "Contrast",
    "Difference",
    "PairRate",
    "Prior",
    "Ranking",
    "RankingConfig",
    "Strength",
    "TieRule",
    "Votes",
    "pair_rate",
    "pair_rates",
    "rank",
    "rates_against",
    "read_votes",
]


@dataclass(frozen=True, kw_only=True)
class RankingConfig:
    """How to rank.

    Attributes:
        level: Nominal coverage.
        resamples: Refits of the bootstrap.
        seed: Its seed.
        anchor: Model whose strength is 0; the mean of all is 0 without one.
        prior: Weak normal prior on the parameters.
    """

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0
    anchor: str | None = None
    prior: Prior = field(default_factory=Prior)


@dataclass(frozen=True, kw_only=True, slots=True)
class Strength:
    """One model's place.

    Attributes:
        model: Its name.
        votes: Votes it was shown in.
        strength: In logits against the anchor or the mean.
        rank_low: Best rank that the comparisons allow, 1 the best.
        rank_high: Worst rank that they allow.
        island: Ranks hold among models with the same number.
    """

    model: str
    votes: int
    strength: Contrast
    rank_low: int
    rank_high: int
    island: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How much stronger one model is than another.

    Attributes:
        first: The one.
        second: The other.
        difference: Strength of the first minus the second's, in logits.
        distinguishable: Whether they can be told apart, all pairs considered at once.
    """

    first: str
    second: str
    difference: Contrast
    distinguishable: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ranking:
    """What votes say about models.

    Attributes:
        strengths: One per model, strongest first, islands one after the other.
        differences: One per pair, in the order of ``strengths``.
        groups: Largest sets of models of which no two can be told apart.
        side: Pull of the left side, in logits.
        nu: Davidson's nu; a tie's share is ``nu / (2 + nu)`` between equals. 0 without ties.
        critical: Standard errors that a difference needs, all pairs considered at once.
        graph: What is connected and who never loses.
        statements: All that a reader has to be told, as sentences.
        fit: The parameters, in the order of the votes' models.
    """

    strengths: tuple[Strength, ...]
    differences: tuple[Difference, ...]
    groups: tuple[tuple[str, ...], ...]
    side: Contrast
    nu: float
    critical: float
    graph: ComparisonGraph
    statements: tuple[str, ...]
    fit: Fit


def rank(votes: Votes, config: RankingConfig | None = None) -> Ranking:
    """Ranks models.

    Args:
        votes: Votes, ties among them, without golds and repeated trials.
        config: Default: `RankingConfig`'s own values.

    Returns:
        The ranking.

    Raises:
        ValueError: If there are no votes, or the anchor is no model.
    """
    config = config or RankingConfig()
    check_level(config.level)
    if not len(votes):
        raise ValueError("there are no votes to rank models from")
    counts = votes.tally()
    found = fit(counts, prior=config.prior)
    graph = comparison_graph(counts, votes.models)
    refits = bootstrap(
        votes, found, resamples=config.resamples, seed=config.seed, prior=config.prior
    )
    pairs = list(combinations(range(len(votes.models)), 2))
    columns, references = _columns(votes, graph, pairs, config.anchor)
    table = ContrastTable(votes, found, refits, columns, config.level)
    ends = KnownEnds(votes, graph, config.prior, config.level)
    same = [k for k, (a, b) in enumerate(pairs) if graph.islands[a] == graph.islands[b]]
    critical = table.critical(same)
    contrasts = {pair: ends.pair(table.contrast(k), *pair) for k, pair in enumerate(pairs)}
    better = _better(contrasts, table, critical, len(votes.models))
    strengths = [
        ends.model(table.contrast(len(pairs) + model), model, references[model])
        for model in range(len(votes.models))
    ]
    return Ranking(
        strengths=tuple(
            _strength(m, votes, strengths, better, graph) for m in _order(found, graph)
        ),
        differences=tuple(_differences(votes, found, graph, contrasts, better)),
        groups=indistinguishable_groups(votes.models, _order(found, graph), better, graph.islands),
        side=table.contrast(len(pairs) + len(votes.models)),
        nu=math.exp(float(found.parameters[-1])) if found.ties else 0.0,
        critical=critical,
        graph=graph,
        statements=(*graph.statements, *_statements(votes)),
        fit=found,
    )


def _columns(
    votes: Votes, graph: ComparisonGraph, pairs: Sequence[tuple[int, int]], anchor: str | None
) -> tuple[Array, list[Array]]:
    """Gives the weights of all differences, then of all strengths, then of the side.

    Returns:
        The weights, ``[M + 2, K]``, and for each model those that it is measured against.
    """
    models = len(votes.models)
    if anchor is not None and anchor not in votes.models:
        raise ValueError(f"the anchor '{anchor}' is none of {', '.join(votes.models)}")
    columns = np.zeros((models + 2, len(pairs) + models + 1))
    for k, (first, second) in enumerate(pairs):
        columns[first, k], columns[second, k] = 1, -1
    references = []
    for model in range(models):
        others = (graph.islands == graph.islands[model]).astype(np.float64)
        if anchor is not None and others[votes.models.index(anchor)]:
            others = np.zeros(models)
            others[votes.models.index(anchor)] = 1
        columns[:models, len(pairs) + model] = -others / others.sum()
        columns[model, len(pairs) + model] += 1
        references.append(others)
    columns[models, -1] = 1
    return columns, references


def _better(
    contrasts: dict[tuple[int, int], Contrast], table: ContrastTable, critical: float, models: int
) -> Mask:
    """Says which model is better than which, all pairs considered at once, ``[M, M]``."""
    better = np.zeros((models, models), dtype=bool)
    for k, ((first, second), contrast) in enumerate(contrasts.items()):
        known = contrast.clustered
        if math.isfinite(known.low) and math.isfinite(known.high):
            half = table.widened(k, critical)
            low, high = known.mean - half, known.mean + half
        else:
            low, high = known.low, known.high
        better[first, second], better[second, first] = low > 0, high < 0
    return better


def _order(found: Fit, graph: ComparisonGraph) -> list[int]:
    """Strongest first, islands one after the other, equals in the votes' order."""
    models = range(len(graph.islands))
    return sorted(
        models, key=lambda m: (graph.islands[m], -round(float(found.strengths[m]), 12), m)
    )


def _strength(
    model: int, votes: Votes, strengths: Sequence[Contrast], better: Mask, graph: ComparisonGraph
) -> Strength:
    peers = int((graph.islands == graph.islands[model]).sum())
    return Strength(
        model=votes.models[model],
        votes=int(((votes.left == model) | (votes.right == model)).sum()),
        strength=strengths[model],
        rank_low=1 + int(better[:, model].sum()),
        rank_high=peers - int(better[model].sum()),
        island=int(graph.islands[model]),
    )


def _differences(
    votes: Votes,
    found: Fit,
    graph: ComparisonGraph,
    contrasts: dict[tuple[int, int], Contrast],
    better: Mask,
) -> list[Difference]:
    differences = []
    for first, second in combinations(_order(found, graph), 2):
        turned = first > second
        contrast = contrasts[(second, first) if turned else (first, second)]
        differences.append(
            Difference(
                first=votes.models[first],
                second=votes.models[second],
                difference=contrast.turned() if turned else contrast,
                distinguishable=bool(better[first, second] or better[second, first]),
            )
        )
    return differences


def _statements(votes: Votes) -> list[str]:
    said = []
    n = len(votes)
    if votes.rater_count == 1:
        said.append(
            f"All {n} votes come from one rater, so nothing can be said about other raters: "
            "there are no clustered intervals and nobody is told apart."
        )
    if votes.clip_count == 1:
        said.append(
            f"All {n} votes are on one clip, so nothing can be said about other clips: there are "
            "no clustered intervals and nobody is told apart."
        )
    if bool((votes.outcome == TIE).all()):
        said.append(f"All {n} votes are ties, so no model is told from any other.")
    return said
