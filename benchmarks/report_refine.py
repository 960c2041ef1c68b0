"""Derives a run's summary as its benchmark does, from the records alone."""

from dojobench.benchmarks.benchmark_runs import UNIT_BENCHMARKS
from dojobench.benchmarks.records import Run, Summary
from dojobench.benchmarks.summary import summarise


def refined(run: Run) -> Summary:
    """Summarises a finished run; a summary that was sent along is not looked at.

    Raises:
        BadInputError: If records are missing.
    """
    summary = summarise(run)
    benchmark = UNIT_BENCHMARKS.get(run.meta.benchmark)
    return benchmark.refine(run, summary) if benchmark else summary
