"""Runs again what a row of the board states, and compares number by number."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dojobench.leaderboard.site_cells import column_of, signed, span
from dojobench.leaderboard.site_entries import Entry, LeftOut, Number, Result, read_entry
from dojobench.leaderboard.submission import RunEntry
from dojobench.protocol.errors import BadInputError

if TYPE_CHECKING:
    from dojobench.benchmarks.records import Summary

OURS = (
    "hold", "noise", "garbage", "mean-future", "nearest-neighbour", "reference-model",
    "nano-teacher", "nano-student", "dreamdojo-2b", "dreamdojo-14b",
)  # fmt: skip
"""Models whose code is dojobench's own; another reference is a stranger's code."""


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """What to run.

    Attributes:
        row: ``SUITE/SUBMISSION``.
        submissions: Folder of the board's submissions.
        out: Folder of the new runs; ``runs/reproduce/SUITE.ID`` where ``None``.
        data: Folder of the suite's videos.
        weights: Folder of LPIPS backbones.
        device: Where the model runs.
        trusted: Whether code that the row names, and that is not ours, may run.
    """

    row: str
    submissions: Path
    out: Path | None = None
    data: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    trusted: bool = False


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One number: what the row states, and what came out."""

    benchmark: str
    metric: str
    stated: Number
    found: float | None

    @property
    def within(self) -> bool:
        """Whether it came out within the stated interval; equal where there is none."""
        if self.found is None:
            return False
        low, high = self.stated.low, self.stated.high
        slack = 1e-6 * max(1.0, abs(self.stated.mean))
        if low is None or high is None:
            return abs(self.found - self.stated.mean) <= slack
        return low - slack <= self.found <= high + slack


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """All numbers of a row."""

    row: str
    compared: tuple[Compared, ...]

    @property
    def within(self) -> bool:
        """Whether every number is within its interval."""
        return all(each.within for each in self.compared)


def reproduce_row(config: ReproduceConfig) -> Reproduced:
    """Runs a row's benchmarks and compares.

    Args:
        config: What to run.

    Returns:
        The comparison; an unfinished run in ``out`` goes on.

    Raises:
        BadInputError: If there is no such row, it states other versions than this dojobench
            computes, or it names code that was not allowed to run.
    """
    entry, results = _find(config)
    _require_trust(config, entry, results)
    out = config.out or Path("runs") / "reproduce" / config.row.replace("/", ".")
    compared: list[Compared] = []
    for result in results:
        compared += _compare(result, _run(config, result, out))
    return Reproduced(row=config.row, compared=tuple(compared))


def _find(config: ReproduceConfig) -> tuple[Entry, list[Result]]:
    suite, slash, id = config.row.partition("/")
    folder = config.submissions / id
    if not slash or not id or id != Path(id).name or id.startswith("."):
        raise BadInputError(f"'{config.row}' is no row; write SUITE/SUBMISSION")
    if not folder.is_dir():
        raise BadInputError(f"there is no submission '{id}' in {config.submissions}")
    entry = read_entry(folder)
    if isinstance(entry, LeftOut):
        raise BadInputError(f"{folder} cannot be read: {entry.sentence}")
    results = [each for each in entry.results if each.run.suite == suite]
    if not results:
        have = ", ".join(sorted({r.run.suite for r in entry.results})) or "none"
        raise BadInputError(f"{id} has no row on the suite '{suite}'; it has {have}")
    return entry, results


def _require_trust(config: ReproduceConfig, entry: Entry, results: list[Result]) -> None:
    for result in results:
        reference = result.meta.model.reference
        if reference not in OURS and not config.trusted:
            raise BadInputError(
                f"{entry.id} names the model '{reference[:80]}', whose code is not dojobench's; "
                "look at what it is and give --yes to run it"
            )


def _run(config: ReproduceConfig, result: Result, out: Path) -> "Summary":
    from dojobench.benchmarks.benchmark_runs import benchmark_folder, run_benchmarks
    from dojobench.benchmarks.records import load_summary
    from dojobench.benchmarks.runner import RunConfig
    from dojobench.datasets.suites import open_suite

    run, meta = result.run, result.meta
    suite = open_suite(run.suite, data=config.data)
    if suite.spec.version != run.suite_version:
        raise BadInputError(
            f"the row is of version {run.suite_version[:15]} of {run.suite}, and here is "
            f"{suite.spec.version[:15]}; take the dojobench of the row's commit, {run.commit}"
        )
    settings = RunConfig(
        model=meta.model.reference,
        options=meta.model.options,
        suite=run.suite,
        out=out,
        data=config.data,
        seeds=run.seeds,
        splits=run.splits or None,
        limit=meta.limit,
        device=config.device,
        convention=run.convention,
        weights=config.weights,
        adapt=meta.adapt,
        videos="none",
        baselines=(),
    )
    run_benchmarks(settings, [run.benchmark], suite=suite)
    return load_summary(benchmark_folder(out, run.benchmark))


def _compare(result: Result, found: "Summary") -> Iterator[Compared]:
    run: RunEntry = result.run
    if found.metric_version != run.metric_version:
        raise BadInputError(
            f"the row was scored by metrics {run.metric_version}, and this dojobench computes "
            f"{found.metric_version}; take the dojobench of the row's commit, {run.commit}"
        )
    for name, stated in result.summary.metrics.items():
        new = found.metrics.get(name)
        yield Compared(
            benchmark=run.benchmark, metric=name, stated=stated,
            found=None if new is None else new.mean,
        )  # fmt: skip


def report_text(found: Reproduced) -> str:
    """Writes the comparison for people."""
    lines = [
        f"{found.row}",
        f"{'':2}{'number':<22}{'stated':>10}  {'interval':<22}{'found':>10}  {'difference':>10}",
    ]
    benchmark = ""
    for each in found.compared:
        if each.benchmark != benchmark:
            benchmark = each.benchmark
            lines.append(benchmark)
        column = column_of(each.metric)
        ends = span(each.stated.low, each.stated.high, column.unit) or "none"
        new = "not computed" if each.found is None else column.write(each.found)
        gap = "" if each.found is None else signed(each.found - each.stated.mean, column.unit)
        mark = "" if each.within else "  OUTSIDE"
        lines.append(
            f"{'':2}{column.label:<22}{column.write(each.stated.mean):>10}  {ends:<22}{new:>10}  "
            f"{gap:>10}{mark}"
        )
    outside = sum(not each.within for each in found.compared)
    total = len(found.compared)
    lines.append(
        f"all {total} numbers are within their intervals" if not outside
        else f"{outside} of {total} numbers are outside their intervals"
    )  # fmt: skip
    return "\n".join(lines)
