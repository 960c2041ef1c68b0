"""The pytest plugin: score a world model in anybody's CI.

Registered as a ``pytest11`` entry point, so it is loaded by every pytest run of every project
that has dojobench installed: nothing heavy may be imported until a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dojobench.datasets.suite import Suite
    from dojobench.protocol import WorldModel


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options; ``docs/ci.md`` explains them."""
    group = parser.getgroup("dojobench", "world-model benchmarks (dojobench)")
    add = group.addoption
    add("--world-model", metavar="MODEL", help="name, module:factory, checkpoint folder or address")
    add(
        "--world-model-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the model's factory; may be repeated",
    )
    add("--suite", metavar="SUITE", help="a manifest or a named suite")
    add("--suite-data", metavar="DIR", help="where the suite's videos lie")
    add("--suite-limit", type=int, metavar="N", help="only the first N clips")
    add("--suite-seeds", default="0", metavar="SEEDS", help="seeds, such as 0,1,2")
    add("--model-device", default="cpu", metavar="DEVICE", help="device that the harness scores on")
    add(
        "--world-model-benchmarks",
        default="",
        metavar="NAMES",
        help="further benchmarks: counterfactual,stability,probes or all that the suite supports",
    )
    add("--run-out", metavar="DIR", help="keep the run folder here")
    add(
        "--gate",
        action="append",
        default=[],
        metavar="GATE",
        help='a condition, such as "psnr>=hold+1.0"; may be repeated',
    )
    add("--gate-against", metavar="SUMMARY", help="summary.json of an earlier run to compare with")
    add("--gate-speed-against", metavar="SPEED", help="speed.json of an earlier run")
    add(
        "--gate-speed-tolerance",
        type=float,
        default=0.10,
        metavar="SHARE",
        help="how much slower a step may get (default 0.10)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuses options that cannot be read in one line, before anything runs."""
    from dojobench.protocol.errors import BadInputError

    _model_options(config)
    _seeds(config)
    for option in ("--gate-against", "--gate-speed-against"):
        previous = _path(config, option)
        if previous is not None and not previous.exists():
            raise pytest.UsageError(f"{option} {previous}: there is no such file; name an earlier "
                                    "run's, or leave the option out")  # fmt: skip
    if config.getoption("--gate"):
        from dojobench.benchmarks.gates import parse_gate

        try:
            for text in config.getoption("--gate"):
                parse_gate(text)
        except BadInputError as error:
            raise pytest.UsageError(str(error)) from error


@contextmanager
def plainly() -> Iterator[None]:
    """Lets bad input fail a test with its one sentence, without a traceback."""
    from dojobench.protocol.errors import BadInputError

    try:
        yield
    except BadInputError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes one test of each ``--gate`` for tests that take the argument ``gate``."""
    if "gate" in metafunc.fixturenames:
        metafunc.parametrize("gate", metafunc.config.getoption("--gate") or [None])


def _needed(config: pytest.Config, option: str) -> str:
    value = config.getoption(option)
    if not value:
        pytest.skip(f"needs {option}")
    return str(value)


def _path(config: pytest.Config, option: str) -> Path | None:
    value = config.getoption(option)
    return Path(value) if value else None


def _seeds(config: pytest.Config) -> tuple[int, ...]:
    text = str(config.getoption("--suite-seeds"))
    try:
        return tuple(int(seed) for seed in text.split(","))
    except ValueError as error:
        raise pytest.UsageError(f"--suite-seeds {text}: write numbers such as 0,1,2") from error


def _model_options(config: pytest.Config) -> dict[str, str]:
    options = {}
    for item in config.getoption("--world-model-option"):
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise pytest.UsageError(f"--world-model-option {item}: write KEY=VALUE")
        options[key] = value
    return options


def _benchmarks(config: pytest.Config, metrics: Sequence[str]) -> list[str] | None:
    """The fidelity run, what was asked for, and what holds the gates' metrics."""
    from dojobench.benchmarks.metric_names import FIDELITY, benchmark_of

    asked = str(config.getoption("--world-model-benchmarks"))
    if asked == "all":
        return None
    wanted = [FIDELITY, *filter(None, asked.split(",")), *map(benchmark_of, metrics)]
    return list(dict.fromkeys(wanted))


@pytest.fixture(scope="session")
def world_model(pytestconfig: pytest.Config) -> WorldModel:
    """The model named by ``--world-model``; the test skips without one."""
    reference = _needed(pytestconfig, "--world-model")
    from dojobench.protocol.lookup import load_model

    with plainly():
        model = load_model(reference, _model_options(pytestconfig))
    return model


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> Suite:
    """The suite named by ``--suite``; the test skips without one."""
    reference = _needed(pytestconfig, "--suite")
    from dojobench.datasets.suites import open_suite

    with plainly():
        opened = open_suite(reference, data=_path(pytestconfig, "--suite-data"))
    return opened


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the finished run of the model on the suite, with the baselines gates name."""
    reference = _needed(pytestconfig, "--world-model")
    suite_reference = _needed(pytestconfig, "--suite")
    from dojobench.benchmarks.benchmark_runs import run_benchmarks
    from dojobench.benchmarks.gates import parse_gate
    from dojobench.benchmarks.runner import RunConfig

    with plainly():
        gates = [parse_gate(text) for text in pytestconfig.getoption("--gate")]
        named = {gate.baseline for gate in gates}
        config = RunConfig(
            model=reference,
            options=_model_options(pytestconfig),
            suite=suite_reference,
            out=_path(pytestconfig, "--run-out") or tmp_path_factory.mktemp("run"),
            data=_path(pytestconfig, "--suite-data"),
            seeds=_seeds(pytestconfig),
            limit=pytestconfig.getoption("--suite-limit"),
            device=pytestconfig.getoption("--model-device"),
            baselines=tuple(sorted({"hold"} | {name for name in named if name})),
        )
        run_benchmarks(config, _benchmarks(pytestconfig, [gate.metric for gate in gates]))
    return config.out


@pytest.fixture(scope="session")
def run_summary(run_folder: Path) -> Mapping[str, Any]:
    """The run's ``summary.json``: metrics with intervals, values by clip, timings."""
    from dojobench.benchmarks.gates import read_summary

    return read_summary(run_folder)


@pytest.fixture(scope="session")
def benchmark_summaries(run_folder: Path) -> dict[str, Mapping[str, Any]]:
    """Summary of each benchmark that was run, by name."""
    from dojobench.benchmarks.benchmark_runs import BENCHMARKS, benchmark_folder
    from dojobench.benchmarks.gates import read_summary

    folders = {name: benchmark_folder(run_folder, name) for name in BENCHMARKS}
    return {
        name: read_summary(folder)
        for name, folder in folders.items()
        if (folder / "summary.json").exists()
    }


@pytest.fixture(scope="session")
def benchmark_baselines(
    run_folder: Path, benchmark_summaries: Mapping[str, Any]
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Of each benchmark, the summaries of the baselines run on the same clips, by name."""
    from dojobench.benchmarks.benchmark_runs import benchmark_folder
    from dojobench.benchmarks.gates import read_summary

    return {
        name: {
            path.parent.name: read_summary(path)
            for path in sorted(benchmark_folder(run_folder, name).glob("baselines/*/summary.json"))
        }
        for name in benchmark_summaries
    }


@pytest.fixture(scope="session")
def baseline_summaries(
    benchmark_baselines: Mapping[str, dict[str, Mapping[str, Any]]],
) -> dict[str, Mapping[str, Any]]:
    """Of the fidelity run, the summaries of its baselines, by name."""
    return benchmark_baselines["fidelity"]
