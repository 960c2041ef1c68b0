"""`dojobench demo`: models and baselines on the dojo, and on real clips where some are at hand.

It is what somebody sees first, so it takes minutes, shows how far it is, and ends with the
one thing to open.
"""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from dojobench.protocol.command_line import parse

SHIPPED_MODELS = ("nano-teacher", "nano-student")
"""Models that may come with the package; an installation without their weights shows none."""
DOJO_MODELS = ("hold", "mean-future", "nearest-neighbour", "under-react", "lag-2", "oracle")
REAL_MODELS = ("hold", "mean-future", "nearest-neighbour", "lag-2", "oracle")
REAL_SUITE = "gr1-sim-sample"


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Scores the shipped models and the baselines on the dojo and writes reports to look at."""

    out: Path = Path("demo")
    """Folder for runs and reports; what is finished in it is not done again."""
    suite: str = "dojo-mini"
    """Suite to score on; the default is made in memory and needs no download."""
    limit: int | None = None
    """At most so many clips."""


def demo(argv: list[str]) -> int:
    """Runs ``dojobench demo``.

    Args:
        argv: Its arguments.

    Returns:
        The exit code.
    """
    command = parse(DemoCommand, argv, "dojobench demo")
    models = (*_shipped(), *DOJO_MODELS)
    reports = [_score(command.suite, models, command.out / "dojo", None, command.limit)]
    data = Path(os.environ.get("DOJOBENCH_DATA", ""))
    if os.environ.get("DOJOBENCH_DATA") and (data / "gr1_sim").is_dir():
        reports.append(_score(REAL_SUITE, REAL_MODELS, command.out / "robot", data, command.limit))
    else:
        print("Set DOJOBENCH_DATA to score robot video, too: dojobench data list says where it is.")
    print("\nOpen in a browser:")
    for report in reports:
        print(f"  {shlex.quote(str(report))}")
    return 0


def _shipped() -> list[str]:
    """Names the models that come with this installation; says in a sentence what is left out."""
    from dojobench.protocol.errors import BadInputError
    from dojobench.protocol.lookup import load_model

    there = []
    for name in SHIPPED_MODELS:
        try:
            load_model(name, {})
        except BadInputError as error:
            print(f"{name} is left out of the demo: {error}", file=sys.stderr)
        else:
            there.append(name)
    return there


def _score(
    suite: str, models: tuple[str, ...], out: Path, data: Path | None, limit: int | None
) -> Path:
    """Scores models on one suite and writes one report of them all."""
    from dojobench.benchmarks.benchmark_runs import run_benchmarks
    from dojobench.benchmarks.report import write_report
    from dojobench.benchmarks.runner import RunConfig
    from dojobench.datasets.suites import open_suite

    opened, folders = open_suite(suite, data=data), []
    for number, model in enumerate(models, start=1):
        print(f"{suite}, {number} of {len(models)}: {model}", file=sys.stderr)
        folder = out / "runs" / model
        config = RunConfig(
            model=model,
            suite=suite,
            out=folder,
            data=data,
            limit=limit,
            batch=4,
            baselines=(),
        )
        run_benchmarks(config, suite=opened)
        folders.append(folder)
    return write_report(folders, out / "report.html")
