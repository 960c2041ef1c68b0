"""Runs the benchmarks that a suite supports, one run folder beside the other.

The fidelity run is the folder itself; each of the others is the folder of its name within, with
its own ``baselines/``. What was stopped is resumed benchmark by benchmark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.compatibility import require_fit
from dojobench.benchmarks.counterfactual import Counterfactual
from dojobench.benchmarks.metric_names import FIDELITY
from dojobench.benchmarks.probes import Probes
from dojobench.benchmarks.records import BASELINES_FOLDER
from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.benchmarks.stability_run import Stability
from dojobench.benchmarks.unit_run import UnitBenchmark, planned_units, run_units
from dojobench.datasets.suite import Suite
from dojobench.datasets.suites import open_suite
from dojobench.protocol import BadInputError, WorldModel
from dojobench.protocol.lookup import load_model

UNIT_BENCHMARKS: Mapping[str, UnitBenchmark] = {
    benchmark.name: benchmark for benchmark in (Counterfactual(), Stability(), Probes())
}
"""The benchmarks beside the fidelity run, by name."""

BENCHMARKS = (FIDELITY, *UNIT_BENCHMARKS)
"""Everything that ``dojobench run --benchmarks`` takes, in the order in which it runs."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was run.

    Attributes:
        folders: Run folder of each benchmark that ran, by name.
        left_out: For each that did not, the reason.
    """

    folders: dict[str, Path]
    left_out: dict[str, str] = field(default_factory=dict)


def run_benchmarks(
    config: RunConfig,
    names: Sequence[str] | None = None,
    *,
    suite: Suite | None = None,
    model: WorldModel | None = None,
) -> Outcome:
    """Runs a model and its baselines on several benchmarks, or resumes what was stopped.

    Args:
        config: What to run; ``out`` is the fidelity run's folder, the others lie within.
        names: Benchmarks; all that the suite supports where ``None``.
        suite: An opened suite, instead of opening ``config.suite``.
        model: A made model, instead of looking up ``config.model``.

    Returns:
        Where the results are, and what was left out.

    Raises:
        BadInputError: If anything about the input is wrong, or a benchmark is asked for that
            the suite does not support; one sentence says what.
    """
    for name in names or ():
        if name not in BENCHMARKS:
            raise BadInputError(f"there is no benchmark {name}; they are {', '.join(BENCHMARKS)}")
    if suite is None:
        suite = open_suite(config.suite, data=config.data)
    chosen, left_out = _chosen(config, names, suite)
    for name in config.baselines:
        make_baseline(name)  # before anything runs: one that does not exist ends the run
    made = load_model(config.model, config.options) if model is None else model
    try:
        require_fit(made.spec, suite.spec, adapt=config.adapt)
        folders = {name: _run(name, config, suite, made) for name in chosen}
    finally:
        if model is None and callable(close := getattr(made, "close", None)):
            close()
    return Outcome(folders=folders, left_out=left_out)


def benchmark_folder(out: Path, name: str) -> Path:
    """Says where a benchmark's run lies, given the fidelity run's folder."""
    return out if name == FIDELITY else out / name


def _chosen(
    config: RunConfig, names: Sequence[str] | None, suite: Suite
) -> tuple[list[str], dict[str, str]]:
    """Puts the benchmarks in order; those that the suite does not support are left out."""
    left_out: dict[str, str] = {}
    for name, benchmark in UNIT_BENCHMARKS.items():
        asked = names is None or name in names
        if asked and not planned_units(benchmark, config, suite):
            left_out[name] = benchmark.unsupported(suite)
    if names is not None and left_out:
        raise BadInputError(next(iter(left_out.values())))
    chosen = [
        name for name in BENCHMARKS if name not in left_out and (names is None or name in names)
    ]
    return chosen, left_out


def _run(name: str, config: RunConfig, suite: Suite, model: WorldModel) -> Path:
    """Runs one benchmark of the model and its baselines."""
    if name == FIDELITY:
        return run_benchmark(config, suite=suite, model=model)
    benchmark = UNIT_BENCHMARKS[name]
    here = replace(config, out=benchmark_folder(config.out, name))
    run_units(here, suite, model, benchmark)
    for baseline in config.baselines:
        beside = replace(
            here,
            model=baseline,
            options={},
            out=here.out / BASELINES_FOLDER / baseline.replace("/", "_"),
            adapt=None,
            steps_at_once="chunk",
            videos="none",
        )
        run_units(beside, suite, make_baseline(baseline), benchmark)
    return here.out
