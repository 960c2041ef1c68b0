"""The table at the end of a run: the model beside its baselines, every number with its interval."""

from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dojobench.benchmarks.baselines import BASELINES
from dojobench.benchmarks.metric_names import (
    BENCHMARK_METRICS,
    COUNTERFACTUAL,
    FIDELITY,
    BenchmarkMetric,
)
from dojobench.benchmarks.records import MetricSummary, Run, Summary, load_summary
from dojobench.metrics.names import METRICS, MetricInfo
from dojobench.protocol.words import count


def print_table(run: Run, *, file: TextIO) -> None:
    """Prints a finished run and its baselines, and what was not computed."""
    summary = load_summary(run.path)
    rows = [summary, *(load_summary(baseline.path) for baseline in run.baselines().values())]
    names = _chosen(summary.benchmark, rows)
    table = _wide(rows, names) if summary.benchmark == FIDELITY else _long(rows, names)
    table.title, table.title_justify = _title(summary), "left"
    console = Console(file=file, width=None if file.isatty() else 120, highlight=False)
    console.print(table)
    interval = next(iter(summary.metrics.values()), None)
    if interval is not None and interval.low is not None:
        told = f"{interval.level:.0%} intervals by episode, of which there are {interval.clusters}"
        console.print(f"{told} (method: {interval.method})", markup=False)
    elif interval is not None:
        console.print("No intervals: all clips come from one episode.")
    for name, reason in summary.not_computed.items():
        console.print(f"{name}: {reason}", markup=False)
    for sentence in (*_warnings(rows), *run.meta.notes):
        console.print(sentence, markup=False)


def _wide(rows: list[Summary], names: list[str]) -> Table:
    """One row a model: for few metrics."""
    table = Table()
    table.add_column("model")
    for name in names:
        info = _info(name)
        unit = f", {info.unit}" if info.unit else ""
        table.add_column(f"{info.label}{unit}\n({_direction(info)})", justify="right")
    for place, row in enumerate(rows):
        cells = [_cell(row.metrics.get(name)) for name in names]
        table.add_row(_label(row), *cells, style="bold" if place == 0 else None)
    return table


def _long(rows: list[Summary], names: list[str]) -> Table:
    """One row a metric: for many."""
    table = Table()
    table.add_column("")
    for place, row in enumerate(rows):
        table.add_column(_label(row), justify="right", style="bold" if place == 0 else None)
    for name in names:
        info = _info(name)
        unit = f", {info.unit}" if info.unit else ""
        cells = [_cell(row.metrics.get(name)).replace("\n", "  [") for row in rows]
        closed = [cell + "]" if "[" in cell else cell for cell in cells]
        table.add_row(f"{info.label}{unit} ({_direction(info)})", *map(escape, closed))
    return table


def _label(row: Summary) -> str:
    return row.model + (" (sees the truth)" if row.privileged else "")


def _chosen(benchmark: str, rows: list[Summary]) -> list[str]:
    """Chooses what stands in the table: all of a fidelity run, the headlines of the others."""
    known = [name for name in METRICS if name != "mse"]
    if benchmark != FIDELITY:
        of_it = (i for i in BENCHMARK_METRICS.values() if i.benchmark == benchmark)
        known = [info.name for info in of_it if info.headline]
    return [name for name in known if any(name in row.metrics for row in rows)]


def _info(name: str) -> MetricInfo:
    return METRICS[name] if name in METRICS else BENCHMARK_METRICS[name]


def _direction(info: MetricInfo) -> str:
    if isinstance(info, BenchmarkMetric) and not info.ranks:
        return "a diagnosis"
    if isinstance(info, BenchmarkMetric) and info.target is not None:
        return f"{info.target:g} is right"
    return "higher is better" if info.higher_is_better else "lower is better"


def _title(summary: Summary) -> str:
    unit = "group" if summary.benchmark == COUNTERFACTUAL else "clip"
    what = "" if summary.benchmark == FIDELITY else f"{summary.benchmark}: "
    seeds = f", {len(summary.seeds)} seeds" if len(summary.seeds) > 1 else ""
    return (
        f"{what}{summary.model} on {summary.suite}: {count(summary.clips, unit)} of "
        f"{count(summary.episodes, 'episode')}{seeds}, convention {summary.convention}"
    )


def _cell(found: MetricSummary | None) -> str:
    if found is None:
        return "not computed"
    if found.low is None or found.high is None:
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f}\n{found.low:.3f} to {found.high:.3f}"


def _warnings(rows: list[Summary]) -> list[str]:
    """Says in plain language where a model does not beat hold or ignores its actions."""
    said, model = [], rows[0]
    hold = next((row for row in rows[1:] if row.model == "hold"), None)
    if hold is not None and model.model != "hold" and "psnr" in model.metrics:
        mine, its = model.metrics["psnr"].mean, hold.metrics["psnr"].mean
        if mine <= its:
            said.append(
                f"{model.model} does not beat hold: repeating the last frame scores "
                f"{its:.2f} dB and {model.model} {mine:.2f} dB."
            )
    change = model.checks.get("answer_change")
    if change is not None and change.mean == 0 and model.model not in BASELINES:
        said.append(
            f"{model.model} ignores its actions: others changed no pixel on "
            f"{count(change.n, 'clip')}."
        )
    return said
