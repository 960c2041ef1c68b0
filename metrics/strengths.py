"""How sure strengths and their differences are: sandwich and bootstrap, by rater and by clip."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from dojobench.metrics.davidson import Expected, Fit, Prior, expected, fit
from dojobench.metrics.estimate import Array, Codes
from dojobench.metrics.preference_intervals import OneWay, TwoWay, one_way, two_way
from dojobench.metrics.votes import TIE, Votes

BLOCK = 1 << 22
"""So many numbers of a bootstrap are held at once, at most."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sandwich:
    """Variances of K contrasts of the parameters.

    Attributes:
        two_way: Clustered by rater and by clip.
        naive: As if votes were independent, ``[K]``.
    """

    two_way: TwoWay
    naive: Array


def sandwich(votes: Votes, found: Fit, contrasts: Array) -> Sandwich:
    """Estimates the variance of contrasts of the parameters.

    The variance by raters is that of the sums of each rater's scores, carried through the inverse
    information; each sum is enlarged by one minus the rater's share in what is known of the
    contrast, and likewise for clips (see `preference_intervals`).

    Args:
        votes: The votes that were fitted.
        found: The fit.
        contrasts: Weights of the parameters in each contrast, ``[M + 2, K]``.

    Returns:
        The variances.
    """
    spread = found.covariance @ contrasts
    naive = (contrasts * spread).sum(axis=0)
    seen = expected(found.parameters, ties=found.ties)
    scores = _Scores(votes, seen, len(votes.models))
    known = _information_by_pair(seen, spread, len(votes.models))
    parts = [
        _by_cluster(scores, codes, count, spread, known)
        for codes, count in ((votes.raters, votes.rater_count), (votes.clips, votes.clip_count))
    ]
    cells, count = _numbered(votes.cells)
    sums = scores.by(cells, count)
    by_cell = (spread * (sums.T @ sums @ spread)).sum(axis=0) * count / max(count - 1, 1)
    floor = np.maximum(by_cell, naive)
    return Sandwich(two_way=two_way(parts[0], parts[1], by_cell, floor, count), naive=naive)


class _Scores:
    """The derivative of each vote's log likelihood, kept as the two numbers that are not zero."""

    def __init__(self, votes: Votes, seen: Expected, models: int) -> None:
        pair = (votes.left, votes.right)
        lean = np.array([0.5, -0.5, 0.0])[votes.outcome]
        self.lean = lean - seen.lean[pair]
        self.tie = (votes.outcome == TIE) - seen.tie[pair]
        self.left, self.right = pair
        self.models = models
        self.pair = votes.left * models + votes.right

    def by(self, codes: Codes, count: int) -> Array:
        """Adds up the scores of each cluster, ``[count, M + 2]``."""
        size = self.models + 2
        found = np.bincount(codes * size + self.left, self.lean, count * size)
        found -= np.bincount(codes * size + self.right, self.lean, count * size)
        found = found.reshape(count, size)
        found[:, -2] = np.bincount(codes, self.lean, count)
        found[:, -1] = np.bincount(codes, self.tie, count)
        return np.asarray(found, dtype=np.float64)


def _by_cluster(scores: _Scores, codes: Codes, count: int, spread: Array, known: Array) -> OneWay:
    votes = csr_matrix((np.ones(len(codes)), (codes, scores.pair)), shape=(count, scores.models**2))
    information = np.asarray(votes @ known)
    total = information.sum(axis=0)
    # A contrast that no vote informs is decided by the prior: as if by a single cluster.
    shares = np.where(total > 0, information / np.where(total > 0, total, 1), 1.0)
    return one_way(scores.by(codes, count) @ spread, shares)


def _information_by_pair(seen: Expected, spread: Array, models: int) -> Array:
    """What one vote on each ordered pair tells of each contrast, ``[M * M, K]``."""
    by_model = spread[:models]
    lean = by_model[:, None] - by_model[None, :] + spread[-2]
    tie = spread[-1]
    known = lean**2 * seen.lean_variance[..., None]
    known += 2 * lean * tie * seen.covariance[..., None]
    known += tie**2 * seen.tie_variance[..., None]
    return np.asarray(known.reshape(models * models, -1), dtype=np.float64)


def _numbered(labels: Codes) -> tuple[Codes, int]:
    found, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.intp), len(found)


def bootstrap(
    votes: Votes, found: Fit, *, resamples: int, seed: int, prior: Prior | None = None
) -> Array:
    """Refits the model with raters and clips weighted at random.

    Each rater and each clip gets an exponential weight, and a vote the product of both: Owen and
    Eckles's (2012) bootstrap of crossed arrays, in Rubin's smooth form, which leaves no model
    without votes.

    Args:
        votes: The votes that were fitted.
        found: The fit, from which every refit begins.
        resamples: How many refits.
        seed: Equal seeds give equal refits.
        prior: As in `fit`.

    Returns:
        The parameters of each refit, ``[resamples, M + 2]``.
    """
    rng = np.random.default_rng(seed)
    models = len(votes.models)
    size = models * models * 3
    place = (votes.left * models + votes.right) * 3 + votes.outcome
    # Equal votes of a rater on a clip move together, so they are one entry.
    keys, amount = np.unique((votes.cells * size + place).astype(np.int64), return_counts=True)
    cells, place = np.divmod(keys, size)
    raters, clips = np.divmod(cells, max(votes.clip_count, 1))
    block = max(1, BLOCK // size)
    results = []
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        counts = np.empty((rows, size))
        for row in range(rows):
            weights = rng.standard_exponential(votes.rater_count)[raters]
            weights *= rng.standard_exponential(votes.clip_count)[clips]
            weights *= amount
            weights *= len(votes) / weights.sum()
            counts[row] = np.bincount(place, weights, size)
        tables = counts.reshape(rows, models, models, 3)
        results.append(fit(tables, prior=prior, start=found.parameters).parameters)
    return np.concatenate(results)
