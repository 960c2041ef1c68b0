"""The tables: rows that may stand beside each other, with what can be said about their order.

Rows share a table only with the same suite, benchmark and convention, and are compared only with
the same suite version and metric version; older versions stay visible below, greyed and unranked.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

import numpy as np

from dojobench.benchmarks.metric_names import BENCHMARK_METRICS, BenchmarkMetric, metric_info
from dojobench.leaderboard.site_cells import Cell, Column, column_of, span
from dojobench.leaderboard.site_entries import Entry, Number, Result
from dojobench.leaderboard.site_ranks import Comparison, Standing
from dojobench.metrics.conventions import CONVENTIONS, metric_version
from dojobench.metrics.names import METRICS

BENCHMARKS: dict[str, str] = {
    "fidelity": "Fidelity",
    "counterfactual": "Counterfactual",
    "stability": "Stability",
    "probes": "Probes",
}
"""Benchmarks that are scored on clips, in the order of the site, with their names."""
PRIMARY = {
    "fidelity": "psnr",
    "counterfactual": "effect_cosine",
    "stability": "stable_horizon",
    "probes": "foreign_drop",
}
"""What each table is ranked by when it is opened."""
UNIT_VERSIONS = {
    "counterfactual": "counterfactual 2",
    "stability": "stability 2",
    "probes": "probes 2",
}
"""Metric versions of the benchmarks whose code needs torch; a test compares them with it."""
_HEADLINE = ("psnr", "ssim", "lpips_vgg", "skill", "motion_psnr")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One row.

    Attributes:
        cells: One for each of the board's columns.
        standing: Its place by the primary metric; ``None`` where it is not ranked.
        note: Why it is not ranked, or empty.
        old: Whether it is of another version of the suite or the metrics.
    """

    entry: Entry
    result: Result
    cells: dict[str, Cell]
    standing: Standing | None
    note: str = ""
    old: bool = False

    @property
    def state(self) -> str:
        """``ranked``, ``aside`` or ``old``."""
        return "old" if self.old else ("ranked" if self.standing else "aside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Rows of a board by one metric on the same clips, and the place of each entry in them."""

    ids: Mapping[str, int]
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One table.

    Attributes:
        columns: Headline numbers first.
        headline: How many of the columns these are.
        lines: Ranked rows, best first, then rows that are shown and not ranked.
        old: Rows of other versions of the suite or the metrics, newest first.
        matrices: By metric, for paired differences.
        version: Suite version and metric version of ``lines``.
        by_id: Every line by its entry's id.
        order: The lines that are compared by the primary metric, best first.
    """

    suite: str
    benchmark: str
    convention: str
    columns: tuple[Column, ...]
    headline: int
    primary: str
    lines: tuple[Line, ...]
    old: tuple[Line, ...]
    matrices: Mapping[str, Matrix]
    version: tuple[str, str]
    by_id: Mapping[str, Line]
    order: tuple[Line, ...]

    @property
    def key(self) -> str:
        """Name of its page and files."""
        tail = "" if self.convention == "aligned" else f".{self.convention}"
        return f"{self.suite}.{self.benchmark}{tail}"

    @property
    def title(self) -> str:
        """Heading."""
        tail = "" if self.convention == "aligned" else f", convention {self.convention}"
        return f"{BENCHMARKS[self.benchmark]}{tail}"

    @property
    def groups(self) -> int:
        """How many groups the data tell apart."""
        return max(
            (g for each in self.lines if each.standing for g in each.standing.groups), default=0
        )


def make_boards(entries: Sequence[Entry]) -> list[Board]:
    """Makes all tables, sorted by suite and benchmark."""
    rows: dict[tuple[str, str, str], list[tuple[Entry, Result]]] = {}
    for entry in entries:
        for result in entry.results:
            run = result.run
            rows.setdefault((run.suite, run.benchmark, run.convention), []).append((entry, result))
    order = list(BENCHMARKS)
    return [
        _board(key, rows[key])
        for key in sorted(rows, key=lambda k: (k[0], order.index(k[1]), k[2]))
    ]


@cache
def suite_version(name: str) -> str | None:
    """Gives the present version of a suite that comes with the package."""
    file = files("dojobench.datasets") / "manifests" / f"{name}.jsonl"
    return f"sha256:{sha256(file.read_bytes()).hexdigest()}" if file.is_file() else None


def current_version(benchmark: str, convention: str) -> str | None:
    """Gives the version of the metrics that this package computes."""
    if benchmark == "fidelity":
        return metric_version(convention) if convention in CONVENTIONS else None
    return UNIT_VERSIONS.get(benchmark)


def _board(key: tuple[str, str, str], rows: Sequence[tuple[Entry, Result]]) -> Board:
    suite, benchmark, convention = key
    newest = rows[0][1].run
    version = (
        suite_version(suite) or newest.suite_version,
        current_version(benchmark, convention) or newest.metric_version,
    )
    now = [each for each in rows if _version(each[1]) == version]
    old = [each for each in rows if _version(each[1]) != version]
    columns, headline = _columns(result for _, result in rows)
    ranked = [(e, r) for e, r in now if not _reason(e, r)]
    matrices = {c.name: m for c in columns if (m := _matrix(c.name, ranked)) is not None}
    standings = {c.name: _standings(c, matrices.get(c.name)) for c in columns}
    primary = PRIMARY[benchmark]
    lines = _ordered([_line(e, r, columns, standings, primary) for e, r in now], column_of(primary))
    past = [_line(e, r, columns, {}, primary, old=True) for e, r in old]
    return Board(
        suite=suite,
        benchmark=benchmark,
        convention=convention,
        columns=columns,
        headline=headline,
        primary=primary,
        lines=tuple(lines),
        old=tuple(past),
        by_id={line.entry.id: line for line in (*past, *lines)},
        order=tuple(line for line in lines if line.standing),
        matrices=matrices,
        version=version,
    )


def _version(result: Result) -> tuple[str, str]:
    return result.run.suite_version, result.run.metric_version


def _reason(entry: Entry, result: Result) -> str:
    """Says why a row of the present version is not ranked."""
    if entry.withdrawn:
        return "withdrawn"
    if result.summary.privileged:
        return "saw the truth; it checks the metrics and does not compete"
    if entry.card.supersedes is None and _replaced(entry):
        return "replaced by a later submission"
    return "only a part of the clips" if result.meta.limit is not None else ""


def _replaced(entry: Entry) -> bool:
    return entry.status is not None and any(e.replaced_by for e in entry.status.events)


def _columns(results: Iterable[Result]) -> tuple[tuple[Column, ...], int]:
    found = {name for result in results for name in result.summary.metrics}
    known = [name for name in (*METRICS, *BENCHMARK_METRICS) if name in found]
    other = sorted(name for name in found if metric_info(name) is None)
    first = [name for name in known if _is_headline(name)]
    names = [*first, *(name for name in (*known, *other) if name not in first)]
    return tuple(column_of(name) for name in names), len(first)


def _is_headline(name: str) -> bool:
    info = BENCHMARK_METRICS.get(name)
    return info.headline if isinstance(info, BenchmarkMetric) else name in _HEADLINE


def _matrix(metric: str, rows: Sequence[tuple[Entry, Result]]) -> Matrix | None:
    """Lays out the rows that have a metric on the same clips; other rows are left out."""
    found = {
        entry.id: {c.clip: c for c in result.summary.clip_values if metric in c.values}
        for entry, result in rows
    }
    sets = Counter(frozenset(clips) for clips in found.values() if clips)
    if not sets:
        return None
    common = max(sets, key=lambda s: (sets[s], len(s), sorted(s)))
    ids = tuple(name for name, clips in found.items() if clips.keys() == common)
    clips = sorted(common)
    first = found[ids[0]]
    episodes = [f"{first[c].source}/{first[c].episode}" for c in clips]
    _, codes = np.unique(episodes, return_inverse=True)
    values = np.array([[found[i][c].values[metric] for c in clips] for i in ids], dtype=np.float64)
    places = {name: place for place, name in enumerate(ids)}
    return Matrix(ids=places, comparison=Comparison(values, codes.astype(np.int64)))


def _standings(column: Column, matrix: Matrix | None) -> dict[str, Standing]:
    if matrix is None or (column.higher is None and column.target is None):
        return {}
    sign = np.array(-1.0 if column.higher is False else 1.0)
    standings = matrix.comparison.standings(sign, column.target)
    return dict(zip(matrix.ids, standings, strict=True))


def _line(
    entry: Entry,
    result: Result,
    columns: Sequence[Column],
    standings: Mapping[str, Mapping[str, Standing]],
    primary: str,
    *,
    old: bool = False,
) -> Line:
    cells = {}
    for column in columns:
        standing = standings.get(column.name, {}).get(entry.id)
        cells[column.name] = cell_of(column, result, standing, len(standings.get(column.name, {})))
    standing = standings.get(primary, {}).get(entry.id)
    note = "" if standing else (_reason(entry, result) or "other clips than the rest")
    return Line(entry=entry, result=result, cells=cells, standing=standing, note=note, old=old)


def cell_of(column: Column, result: Result, standing: Standing | None, rows: int) -> Cell:
    """Makes a cell; *best* is told apart from all others, *≈ best* from none that is better."""
    number: Number | None = result.summary.metrics.get(column.name)
    if number is None:
        return Cell(missing=result.summary.not_computed.get(column.name, "–"))
    mark = ""
    if standing and rows > 1 and standing.low == 1 and standing.high < rows:
        mark = "best" if standing.high == 1 else "≈ best"
    return Cell(
        text=column.write(number.mean),
        interval=span(number.low, number.high, column.unit),
        rank=standing.text if standing else "",
        mark=mark,
        order=number.mean,
    )


def _ordered(lines: Sequence[Line], column: Column) -> list[Line]:
    def goodness(line: Line) -> float:
        value = line.cells[column.name].order if column.name in line.cells else None
        if value is None:
            return -np.inf
        if column.target is not None:
            return -abs(value - column.target)
        return -value if column.higher is False else value

    return sorted(lines, key=lambda x: (x.standing is None, -goodness(x), x.entry.id))
