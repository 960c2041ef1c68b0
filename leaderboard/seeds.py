"""Are these all the seeds there were, or the best of many?

Honest seeds are exchangeable: none is always the best. The same clip and seed also scores the
same in two benchmarks, where picking the best would show as a gap.
"""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from dojobench.leaderboard.known_suites import FIDELITY
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.leaderboard.verdict import Finding

LEAST_CLIPS = 10
SORTED_SHARE = 0.9
LEAST_SPREAD = 0.05
"""dB; below it, an order of seeds may come from noise that all clips share."""
GAP = 0.5
"""dB by which the first run may be better than the second on the same clips and seeds."""
GAP_SHARE = 0.8


def check_seeds(runs: Sequence[SubmittedRun]) -> Iterator[Finding]:
    """Looks for seeds that were picked.

    Args:
        runs: All runs of one suite.

    Yields:
        What was found.
    """
    fidelity = next((run for run in runs if run.entry.benchmark == FIDELITY), None)
    if fidelity is None:
        return
    yield from _sorted(fidelity)
    for other in runs:
        if other.entry.benchmark == "stability":
            yield from _gap(fidelity, other)


def _table(run: SubmittedRun) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for record in run.records:
        if "psnr" in record.values:
            found.setdefault(record.clip, {})[record.seed] = record.values["psnr"]
    return found


def _sorted(run: SubmittedRun) -> Iterator[Finding]:
    seeds = sorted(run.meta.seeds)
    rows = [[row[s] for s in seeds] for row in _table(run).values() if len(row) == len(seeds)]
    if len(rows) < LEAST_CLIPS or not 3 <= len(seeds) <= 6:
        return
    scores = np.asarray(rows)
    spread = scores.max(axis=1) - scores.min(axis=1)
    varied = scores[spread > 1e-6]
    if len(varied) < LEAST_CLIPS:
        return
    orders = [tuple(row) for row in np.argsort(-varied, axis=1)]
    share = max(orders.count(each) for each in permutations(range(len(seeds)))) / len(orders)
    if share >= SORTED_SHARE and float(np.median(spread[spread > 1e-6])) > LEAST_SPREAD:
        best = seeds[max(set(orders), key=orders.count)[0]]
        yield Finding(
            code="DB-C307",
            sentence=f"{run.entry.name}: on {100 * share:.0f} % of the clips the seeds come in the "
            f"same order, seed {best} first, as if the best of many were picked and sorted; send "
            "the seeds 0, 1, 2 as they came out.",
            where=run.entry.name,
        )
    elif len(varied) < 0.5 * len(scores) and not run.meta.model.deterministic:
        yield Finding(
            code="DB-W606",
            sentence=f"{run.entry.name}: on {len(scores) - len(varied)} of {len(scores)} clips all "
            "seeds score the same, though the model says that it is random.",
            where=run.entry.name,
        )


def _gap(fidelity: SubmittedRun, other: SubmittedRun) -> Iterator[Finding]:
    first = {record.key: record.curves.get("psnr", ()) for record in fidelity.records}
    gaps = []
    for record in other.records:
        mine, theirs = first.get(record.key, ()), record.curves.get("psnr", ())
        length = min(len(mine), len(theirs))
        if length:
            gaps.append(float(np.mean(mine[:length]) - np.mean(theirs[:length])))
    if len(gaps) < 3:
        return
    better = sum(gap > GAP for gap in gaps) / len(gaps)
    if float(np.mean(gaps)) > GAP and better >= GAP_SHARE:
        yield Finding(
            code="DB-C307",
            sentence=f"The same clips and seeds score {np.mean(gaps):.2f} dB more in "
            f"{fidelity.entry.name} than in {other.entry.name}, as if the best of several runs "
            "had been picked; send the runs of one `dojobench run`.",
            where=fidelity.entry.name,
        )
