"""Tables as the templates lay them out, whatever they are about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dojobench.leaderboard.site_boards import Board, Line
from dojobench.leaderboard.site_cells import EMPTY, Cell, Column
from dojobench.leaderboard.site_entries import Entry

KINDS = {
    "static": "repeats a frame it was given",
    "noise": "answers noise",
    "mean": "answers the mean future",
    "retrieval": "replays training clips",
    "unconditioned": "does not look at the actions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        id: The entry's; empty where there is no page of it.
        tags: Words beside the name: baseline, withdrawn, corrected, seeds.
        rank: Range of ranks; empty where it has none.
        rank_order: What the rank sorts by.
        groups: Groups of rows that cannot be told apart.
        version: Suite and metric version in short.
        cells: One for each column.
        state: ``ranked``, ``aside`` or ``old``.
        note: Why it is not ranked.
    """

    id: str
    label: str
    tags: tuple[str, ...] = ()
    baseline: bool = False
    withdrawn: bool = False
    tier: str = ""
    date: str = ""
    version: str = ""
    rank: str = ""
    rank_order: float | None = None
    groups: str = ""
    cells: tuple[Cell, ...] = ()
    state: str = "ranked"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table.

    Attributes:
        id: Unique within its page.
        ranked: Whether it has columns for rank and group.
        rows: Rows; those of older versions last.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    ranked: bool = True
    head: str = "Model"


def row_of(entry: Entry, cells: Sequence[Cell], *, state: str = "ranked", note: str = "") -> Row:
    """Makes the row of an entry without rank."""
    return Row(
        id=entry.id,
        label=entry.label,
        tags=tags_of(entry),
        baseline=entry.baseline,
        withdrawn=entry.withdrawn,
        tier=entry.tier,
        date=entry.date,
        cells=tuple(cells),
        state=state,
        note=note,
    )


def tags_of(entry: Entry) -> tuple[str, ...]:
    """Says in a word or two what a reader of the row has to know."""
    tags = ["baseline"] if entry.baseline else []
    if entry.withdrawn:
        tags.append("withdrawn")
    elif entry.status is not None:
        tags.append(entry.status.events[-1].what)
    if entry.results and min(len(each.run.seeds) for each in entry.results) < 3:
        tags.append("fewer than 3 seeds")
    return tuple(tags)


def board_table(board: Board, columns: Sequence[Column], *, id: str, caption: str) -> Table:
    """Makes the table of a board, with some of its columns."""
    lines = [_row(line, columns) for line in (*board.lines, *board.old)]
    return Table(id=id, caption=caption, columns=tuple(columns), rows=tuple(lines))


def _row(line: Line, columns: Sequence[Column]) -> Row:
    entry, standing, run = line.entry, line.standing, line.result.run
    if line.old:
        note = f"other version: suite {short(run.suite_version)}, metrics {run.metric_version}"
    else:
        note = line.note
    cells = [line.cells.get(column.name, EMPTY) for column in columns]
    return replace(
        row_of(entry, cells, state=line.state, note=note),
        version=short(run.suite_version),
        rank=standing.text if standing else "",
        rank_order=(standing.low + standing.high) / 2 if standing else None,
        groups=span_of(standing.groups) if standing else "",
    )


def span_of(numbers: Sequence[int]) -> str:
    """Writes neighbouring numbers as a range."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def short(version: str) -> str:
    """Shortens a hash to what a person compares."""
    return version.removeprefix("sha256:")[:8]


def best_rows(table: Table, most: int) -> Table:
    """Keeps the first rows and every baseline: what the front page has room for."""
    ranked = [row for row in table.rows if row.state == "ranked"]
    kept = ranked[:most] + [row for row in ranked[most:] if row.baseline][:8]
    return Table(
        id=table.id, caption=table.caption, columns=table.columns, rows=tuple(kept),
        ranked=table.ranked, head=table.head,
    )  # fmt: skip
