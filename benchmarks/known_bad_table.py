"""The test of the metrics: models that are wrong in one known way, through every benchmark.

No metric may rank a model above one that is better in the respect that it measures. What that
means for each metric stands in ``ORDER``; the table itself is written by

    python -m dojobench.benchmarks.known_bad_table --suite dojo-mini --out known-bad.md
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import tyro

from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.benchmark_runs import BENCHMARKS, run_benchmarks
from dojobench.benchmarks.metric_names import (
    BENCHMARK_METRICS,
    BenchmarkMetric,
    badness,
    benchmark_of,
    metric_info,
)
from dojobench.benchmarks.records import load_summary
from dojobench.benchmarks.runner import RunConfig
from dojobench.datasets.files import write_atomically
from dojobench.datasets.suite import Suite
from dojobench.datasets.suites import open_suite

MODELS: Mapping[str, str] = {
    "oracle": "perfect",
    "noisy-oracle": "perfect with noise",
    "blurred-oracle": "blurred",
    "lag-2": "two frames late",
    "mean-future": "mean future",
    "hold": "holds the last frame",
    "swap": "swaps branches",
    "under-react": "reacts by half",
    "garbage": "random pixels",
    "freeze": "freezes after 3 s",
    "colour-drift": "drifts in colour",
    "seam": "jumps at chunk borders",
    "vanish": "an object vanishes",
}
"""The models of the table and what is wrong with them."""

_BLIND = ("mean-future", "hold", "garbage")
_FOLLOW = ("noisy-oracle", "blurred-oracle", "lag-2", "under-react", "seam", "vanish")
_LAST = (*_BLIND, "swap")

ORDER: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "psnr": (("oracle",), ("noisy-oracle", "blurred-oracle"), ("garbage",)),
    "ssim": (("oracle",), ("noisy-oracle", "blurred-oracle", "seam"), ("garbage",)),
    "skill": (("oracle",), ("noisy-oracle", "blurred-oracle", "under-react"), ("hold",)),
    "motion_psnr": (("oracle",), ("noisy-oracle", "blurred-oracle"), ("hold", "garbage")),
    "effect_cosine": (("oracle",), _FOLLOW, _BLIND, ("swap",)),
    "effect_gain": (("oracle",), ("noisy-oracle",), ("under-react",), _BLIND, ("swap",)),
    "branch_retrieval": (("oracle",), ("noisy-oracle", "blurred-oracle", "vanish"), _LAST),
    "two_way_choice": (("oracle",), ("noisy-oracle", "blurred-oracle", "vanish"), _BLIND,
                       ("swap",)),
    "mrr": (("oracle",), ("noisy-oracle", "blurred-oracle"), _BLIND, ("swap",)),
    "object_retrieval": (("oracle",), ("noisy-oracle", "blurred-oracle"), _BLIND),
    "shuffle_drop": (("oracle",), ("noisy-oracle", "blurred-oracle"), _BLIND, ("swap",)),
    "cf_psnr": (("oracle",), ("noisy-oracle", "blurred-oracle"), ("hold",), ("garbage",)),
    "cf_skill": (("oracle",), ("noisy-oracle", "under-react"), ("hold",), ("garbage",)),
    "effector_ade": (("oracle",), ("noisy-oracle",), ("lag-2",), ("hold",)),
    "effector_ndtw": (("oracle",), ("noisy-oracle", "lag-2"), ("hold", "swap")),
    "effector_detection": (("oracle", "noisy-oracle", "lag-2"), ("blurred-oracle",)),
    "object_ade": (("oracle",), ("noisy-oracle", "lag-2"), ("hold",)),
    "object_ndtw": (("oracle",), ("noisy-oracle", "lag-2"), ("hold",)),
    "object_detection": (("oracle",), ("noisy-oracle",), ("vanish",), ("garbage",)),
    "stable_horizon": (("oracle",), ("noisy-oracle", "blurred-oracle"), ("freeze",),
                       ("hold", "garbage")),
    "excess_drift": (("oracle",), ("noisy-oracle", "blurred-oracle", "under-react"), ("hold",),
                     ("garbage",)),
    "late_psnr": (("oracle",), ("noisy-oracle", "blurred-oracle"), ("freeze", "garbage")),
    "freeze_rate": (("oracle",), ("noisy-oracle", "under-react", "seam", "lag-2"), ("freeze",),
                    ("hold",)),
    "seam_ratio": (("oracle",), ("blurred-oracle", "lag-2", "under-react", "colour-drift"),
                   ("seam",)),
    "sharpness_drift": (("oracle",), ("lag-2", "vanish"), ("blurred-oracle",)),
    "colour_drift": (("oracle",), ("noisy-oracle", "lag-2", "seam", "vanish"), ("colour-drift",)),
    "flicker": (("oracle",), ("lag-2", "vanish"), ("noisy-oracle",), ("garbage",)),
    "palindrome_excess": (("oracle",), ("noisy-oracle",), ("mean-future", "swap", "garbage")),
    "vanished": (("oracle",), ("noisy-oracle", "lag-2"), ("vanish",), ("garbage",)),
    "area_error": (("oracle",), ("lag-2", "noisy-oracle"), ("mean-future",)),
    "ghost_motion": (("oracle",), ("noisy-oracle", "hold"), ("seam",)),
    "zero_drop": (("oracle",), ("noisy-oracle", "blurred-oracle"), _BLIND),
    "shuffled_drop": (("oracle",), ("noisy-oracle", "blurred-oracle"), _BLIND),
    "foreign_drop": (("oracle",), ("noisy-oracle", "blurred-oracle"), _BLIND),
    "action_lag": (("oracle", "noisy-oracle", "blurred-oracle", "under-react"), ("lag-2",)),
    "joints_answered": (("oracle", "noisy-oracle"), _BLIND),
    "joint_retrieval": (("oracle", "noisy-oracle"), _BLIND),
    "joint_cosine": (("oracle",), ("noisy-oracle", "under-react"), _BLIND),
}  # fmt: skip
"""For each metric, tiers of models from better to worse in the respect that it measures.

Every model of a tier must be at least as good as every model of a later one, and the first tier
strictly better than the last. Models that are left out differ in other respects only.
"""

Scores = Mapping[str, Mapping[str, float]]
"""Mean of each metric, by model and then by metric."""


class Misranked(NamedTuple):
    """A metric that ranks a worse model above a better one."""

    metric: str
    better: str
    worse: str
    better_value: float
    worse_value: float

    def __str__(self) -> str:
        return (
            f"{self.metric} ranks {self.worse} ({self.worse_value:.4g}) above {self.better} "
            f"({self.better_value:.4g})"
        )


def score_known_bad(
    suite: Suite,
    folder: Path,
    *,
    models: Sequence[str] = tuple(MODELS),
    benchmarks: Sequence[str] = BENCHMARKS,
    limit: int | None = None,
) -> dict[str, dict[str, float]]:
    """Runs the known-bad models through the benchmarks, or resumes what was stopped.

    Args:
        suite: With counterfactual, long and training clips.
        folder: Where the runs lie, one folder a model.
        models: Which models.
        benchmarks: Which benchmarks.
        limit: At most so many units a benchmark.

    Returns:
        Means by model and metric.
    """
    found: dict[str, dict[str, float]] = {}
    for name in models:
        config = RunConfig(
            model=name,
            suite=suite.spec.name,
            out=folder / name,
            metrics=("psnr", "ssim"),
            videos="none",
            baselines=(),
            checks=0,
            limit=limit,
        )
        outcome = run_benchmarks(config, benchmarks, suite=suite, model=make_baseline(name))
        found[name] = {
            metric: value.mean
            for run in outcome.folders.values()
            for metric, value in load_summary(run).metrics.items()
        }
    return found


def misranked(scores: Scores, *, tolerance: float = 1e-6) -> list[Misranked]:
    """Finds what metrics rank wrongly.

    Args:
        scores: As ``score_known_bad`` gives them; a model without a number for a metric is not
            ranked by it.
        tolerance: Differences up to this are ties.

    Returns:
        One entry a pair; empty where all is well.
    """
    wrong = []
    for metric, tiers in _all_orders().items():
        last = len(tiers) - 1
        for place, later in combinations(range(len(tiers)), 2):
            strict = metric in ORDER and place == 0 and later == last
            for better, worse in product(tiers[place], tiers[later]):
                wrong += _pair(scores, metric, better, worse, tolerance, strict=strict)
    return wrong


def _all_orders() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Adds for every ranked metric that nothing is better than the truth."""
    rest = tuple(name for name in MODELS if name != "oracle")
    least = {
        name: (("oracle",), rest) for name, info in BENCHMARK_METRICS.items()
        if info.ranks and name not in ORDER
    }  # fmt: skip
    return least | dict(ORDER)


def _pair(
    scores: Scores, metric: str, better: str, worse: str, tolerance: float, *, strict: bool
) -> list[Misranked]:
    a, b = (scores.get(name, {}).get(metric) for name in (better, worse))
    if a is None or b is None:
        return []
    gap = badness(metric, b) - badness(metric, a)
    fine = gap > tolerance if strict else gap >= -tolerance
    return [] if fine else [Misranked(metric, better, worse, a, b)]


def table(scores: Scores) -> str:
    """Writes the table in Markdown, one benchmark after the other, models as rows."""
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    lines: list[str] = []
    for benchmark in BENCHMARKS:
        of_it = [
            name for name in names
            if benchmark_of(name) == benchmark and metric_info(name) is not None and name != "mse"
        ]  # fmt: skip
        if not of_it:
            continue
        lines += [f"**{benchmark.capitalize()}.**", ""]
        for start in range(0, len(of_it), 9):
            lines += _block(scores, of_it[start : start + 9])
    return "\n".join(lines)


def _block(scores: Scores, names: Sequence[str]) -> list[str]:
    heads = " | ".join(_heading(name) for name in names)
    rows = [f"| model | {heads} |", "|---" * (len(names) + 1) + "|"]
    for model, values in scores.items():
        cells = " | ".join(f"{values[n]:.2f}" if n in values else "" for n in names)
        rows.append(f"| {model} | {cells} |")
    return [*rows, ""]


def _heading(name: str) -> str:
    info = metric_info(name)
    if info is None:
        return name
    if isinstance(info, BenchmarkMetric) and not info.ranks:
        sign = ""
    elif isinstance(info, BenchmarkMetric) and info.target is not None:
        sign = f" →{info.target:g}"
    else:
        sign = " ↑" if info.higher_is_better else " ↓"
    return f"`{name}`{sign}{', ' + info.unit if info.unit else ''}"


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Runs the known-bad models and writes what the metrics say of them."""

    suite: str = "dojo-mini"
    """Suite with counterfactual and long clips."""
    out: Path
    """The Markdown file."""
    runs: Path | None = None
    """Keep the runs here; what is there is resumed. Default: a temporary folder."""
    stamp: str = ""
    """A line that says where and when it was measured."""
    limit: int | None = None
    """At most so many units a benchmark."""


def main(argv: list[str] | None = None) -> int:
    """Runs ``python -m dojobench.benchmarks.known_bad_table``."""
    config = tyro.cli(TableConfig, args=argv)
    suite = open_suite(config.suite)
    with TemporaryDirectory() as temporary:
        scores = score_known_bad(suite, config.runs or Path(temporary), limit=config.limit)
    wrong = misranked(scores)
    told = "\n".join(f"- {name}: {what}" for name, what in MODELS.items())
    text = (
        "## Known-bad models on the dojo\n\n"
        f"`python -m dojobench.benchmarks.known_bad_table --suite {config.suite} --out FILE`"
        f"{', ' + config.stamp if config.stamp else ''}. ↑ higher is better, ↓ lower, →1 nearest "
        "to 1. An empty cell has no number, and the run says why.\n\n"
        f"{told}\n\n{table(scores)}"
    )
    write_atomically(config.out, text.encode())
    for each in wrong:
        sys.stderr.write(f"{each}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
