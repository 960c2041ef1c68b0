"""Gives the shares in a summary the interval of a share, in place of that of a mean.

Where all groups agree the general interval is a point, and with few groups it may leave 0 to 1;
neither is so for Wilson's at the effective number of trials (``docs/metrics/intervals.md``).
"""

from collections.abc import Sequence

from dojobench.benchmarks.metric_names import BENCHMARK_METRICS
from dojobench.benchmarks.records import Record, Run, Summary
from dojobench.benchmarks.summary import check_summary, metric_summary
from dojobench.protocol import BadInputError

SHARE_CHECKS = ("broken", "objects_readable", "repeats", "batch_invariant")
"""Shares, and answers of yes and no, that stand among the checks."""


def with_share_intervals(run: Run, summary: Summary) -> Summary:
    """Estimates the shares of a summary anew; the means stay.

    Args:
        run: The finished run.
        summary: Its summary with the general intervals.

    Raises:
        BadInputError: If a record has a share beyond 0 to 1.
    """
    metrics, checks = dict(summary.metrics), dict(summary.checks)
    for name in metrics:
        if name in BENCHMARK_METRICS and BENCHMARK_METRICS[name].share:
            _require_shares(run.records, name)
            metrics[name] = metric_summary(run.records, name, share=True)
    for name in checks:
        if name in SHARE_CHECKS:
            _require_shares(run.records, name)
            checks[name] = check_summary(run.records, name, share=True)
    return summary.model_copy(update={"metrics": metrics, "checks": checks})


def _require_shares(records: Sequence[Record], name: str) -> None:
    for record in records:
        value = record.values.get(name, record.checks.get(name, 0.0))
        if isinstance(value, str) or not 0 <= value <= 1:
            raise BadInputError(
                f"the record of {record.clip}, seed {record.seed}, has {name} {value}, and a share "
                "lies between 0 and 1; remove the line and run the command again"
            )
