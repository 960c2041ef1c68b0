"""What stands on the pages that are not a model's: front, suites, speed, people, comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dojobench.benchmarks.report_charts import Chart
from dojobench.leaderboard.site_boards import BENCHMARKS, Board, make_boards, suite_version
from dojobench.leaderboard.site_cells import EMPTY, Cell, Column, column_of
from dojobench.leaderboard.site_charts import Point, Step, history, trade_off
from dojobench.leaderboard.site_downloads import news_of
from dojobench.leaderboard.site_entries import Entry, LeftOut
from dojobench.leaderboard.site_human import AXES, Study, read_studies
from dojobench.leaderboard.site_model import difference_row, frames_of
from dojobench.leaderboard.site_published import Published, PublishedTable
from dojobench.leaderboard.site_speed import FPS, SpeedBoard, fps_interval, speed_boards, speed_cell
from dojobench.leaderboard.site_tables import Row, Table, best_rows, board_table, short
from dojobench.leaderboard.site_texts import FOOLED, SUITES, UNKNOWN_SUITE, WHAT

FRONT_ROWS = 15
NEWS = 12


@dataclass(frozen=True, kw_only=True)
class Site:
    """Everything that pages are made of."""

    entries: Sequence[Entry]
    left_out: Sequence[LeftOut]
    boards: Sequence[Board]
    speeds: Sequence[SpeedBoard]
    studies: Sequence[Study]
    published: Sequence[Published]

    @property
    def by_key(self) -> dict[tuple[str, str, str], Board]:
        """Tables by suite, benchmark and convention."""
        return {(b.suite, b.benchmark, b.convention): b for b in self.boards}

    @property
    def suites(self) -> list[str]:
        """Names of the suites that have rows."""
        return list(dict.fromkeys(b.suite for b in self.boards))


def make_site(
    entries: Sequence[Entry], left_out: Sequence[LeftOut], published: Sequence[Published]
) -> Site:
    """Works out all tables."""
    studies, no_studies = read_studies(entries)
    return Site(
        entries=entries,
        left_out=[*left_out, *no_studies],
        boards=make_boards(entries),
        speeds=speed_boards(entries),
        studies=studies,
        published=published,
    )


def index_context(site: Site) -> dict[str, Any]:
    """Gathers what stands on the front page."""
    suites: list[dict[str, Any]] = []
    for name in site.suites:
        whole = overview(site, name)
        shown = best_rows(whole, FRONT_ROWS)
        suites.append(
            {"name": name, "id": f"{len(suites) + 1}", "what": what_of(name), "table": shown,
             "total": len(whole.rows), "more": len(whole.rows) > len(shown.rows)}
        )  # fmt: skip
    baselines = sum(e.baseline for e in site.entries)
    audited = sum(e.tier == "audited" for e in site.entries)
    return {
        "here": "index.html",
        "title": "Leaderboard",
        "description": "Robot world models compared: fidelity, control, stability, speed.",
        "counts": [
            (n, name if n == 1 or name == "audited" else f"{name}s")
            for n, name in (
                (len(site.entries) - baselines, "model"),
                (baselines, "baseline"),
                (len(site.suites), "suite"),
                (audited, "audited"),
            )
            if n
        ],
        "suites": suites,
        "studies": site.studies,
        "published": site.published,
        "news": [
            (e.updated[:10], e.label, e.id, news_of(e))
            for e in sorted(site.entries, key=lambda e: (e.updated, e.id), reverse=True)[:NEWS]
        ],
    }


def overview(site: Site, suite: str) -> Table:
    """Makes the table of a suite that has one number of each benchmark, speed and people."""
    boards = [b for b in site.boards if (b.suite == suite and b.convention == "aligned") or (
        b.suite == suite and b.benchmark != "fidelity")]  # fmt: skip
    boards = boards or [b for b in site.boards if b.suite == suite]
    lead = boards[0]
    lines = [{line.entry.id: line for line in b.lines} for b in boards]
    columns = [column_of(b.primary) for b in boards]
    studies = [s for s in site.studies if s.suite == suite]
    axes = list(dict.fromkeys(a.name for s in studies for a in s.axes))
    rows: dict[str, Row] = {}
    for board, found in zip(boards, lines, strict=True):
        ranked = {row.id: row for row in board_table(board, (), id="", caption="").rows
                  if row.state != "old"}  # fmt: skip
        for id, line in found.items():
            if id in rows:
                continue
            own = ranked[id]
            mine = [
                other[id].cells.get(b.primary, EMPTY) if id in other else EMPTY
                for b, other in zip(boards, lines, strict=True)
            ]
            mine.append(_speed(line.entry))
            mine += [_preferred(studies, id, axis) for axis in axes]
            here = board is lead
            rows[id] = Row(
                id=id, label=own.label, tags=own.tags, baseline=own.baseline,
                withdrawn=own.withdrawn, tier=own.tier, date=own.date, version=own.version,
                rank=own.rank if here else "", rank_order=own.rank_order if here else None,
                groups=own.groups if here else "", cells=tuple(mine), state=own.state,
                note=own.note,
            )  # fmt: skip
    people = [
        Column(name=f"human-{a}", label=AXES.get(a, a), unit="logits", higher=True) for a in axes
    ]
    return Table(
        id=f"overview-{site.suites.index(suite) + 1}",
        caption=f"{suite}: one number of each table; ranks by {columns[0].label}",
        columns=(*columns, FPS, *people),
        rows=tuple(rows.values()),
    )


def _speed(entry: Entry) -> Cell:
    return speed_cell(FPS, entry.speeds[0].view) if entry.speeds else EMPTY


def _preferred(studies: Sequence[Study], id: str, axis: str) -> Cell:
    return next((s.strengths[id, axis] for s in studies if (id, axis) in s.strengths), EMPTY)


def what_of(suite: str) -> str:
    """Says what a suite measures."""
    return SUITES.get(suite, UNKNOWN_SUITE)


def suite_context(site: Site, name: str) -> dict[str, Any]:
    """Gathers what stands on a suite's page."""
    boards = [b for b in site.boards if b.suite == name]
    newest = boards[0]
    meta = (newest.lines or newest.old)[0].result.meta
    of_newest = "" if suite_version(name) else ", of the newest row"
    return {
        "here": f"suites/{name}.html",
        "title": name,
        "description": what_of(name),
        "name": name,
        "what": what_of(name),
        "facts": [
            ("Version", short(newest.version[0]) + of_newest),
            ("Frames", f"{frames_of(meta)}, {meta.suite.context_frames} of context"),
            ("Rows", f"{len({x.entry.id for b in boards for x in (*b.lines, *b.old)}):,}"),
        ],
        "boards": [_board(b) for b in boards],
        "trade": trade_chart(boards[0]),
    }  # fmt: skip


def _board(board: Board) -> dict[str, Any]:
    head, rest = board.columns[: board.headline], board.columns[board.headline :]
    id = board.key.replace(".", "-")
    steps = {c.name: records(board, c) for c in board.columns if c.higher is not None}
    primary = column_of(board.primary)
    return {
        "id": id,
        "key": board.key,
        "title": board.title,
        "what": WHAT[board.benchmark],
        "fooled": FOOLED[board.benchmark],
        "table": board_table(
            board, head, id=f"{id}-table",
            caption=f"{board.suite}, {board.title.lower()}; ranked by {primary.label}",
        ),
        "further": board_table(
            board, rest, id=f"{id}-further",
            caption=f"{board.suite}, {board.title.lower()}: further numbers",
        ) if rest else None,
        "all_columns": board.columns,
        "history": history(steps.get(board.primary, []), primary),
        "records": [
            (column_of(name).label, s.day, s.label, s.text)
            for name, found in steps.items() for s in found
        ],
        "suite_version": short(board.version[0]),
        "metric_version": board.version[1],
    }  # fmt: skip


def records(board: Board, column: Column) -> list[Step]:
    """Finds the days on which a column's best value was beaten, baselines and controls left out."""
    found: list[Step] = []
    best = float("-inf")
    lines = [x for x in board.lines if x.standing and not x.entry.baseline]
    for line in sorted(lines, key=lambda x: (x.entry.created, x.entry.id)):
        cell = line.cells.get(column.name, EMPTY)
        if cell.order is None:
            continue
        good = -abs(cell.order - column.target) if column.target is not None else cell.order
        good = -good if column.target is None and column.higher is False else good
        if good > best:
            best = good
            found.append(
                Step(day=line.entry.date, label=line.entry.label, value=cell.order,
                     text=f"{cell.text} ({cell.interval})" if cell.interval else cell.text)
            )  # fmt: skip
    return found


def trade_chart(board: Board) -> Chart | None:
    """Draws quality against speed of the rows that have both."""
    column = column_of(board.primary)
    points = []
    for line in board.lines:
        number = line.result.summary.metrics.get(column.name)
        speed = fps_interval(line.entry.speeds[0].view) if line.entry.speeds else None
        if number is None or speed is None or not line.standing:
            continue
        low, high = number.low, number.high
        nan = float("nan")
        points.append(
            Point(label=line.entry.label, speed=speed, baseline=line.entry.baseline,
                  quality=(number.mean, nan if low is None else low, nan if high is None else high))
        )  # fmt: skip
    return trade_off(points, column, f"{column.label} against speed")


def published_context(source: Published) -> dict[str, Any]:
    """Gathers what stands on the page of a source."""
    return {
        "here": "",
        "title": source.title,
        "description": f"What {source.title} reports.",
        "source": source,
        "tables": [_published(t) for t in source.tables],
    }


def _published(table: PublishedTable) -> dict[str, Any]:
    places = [{"dB": 3, "%": 2, "FPS": 2}.get(unit, 3) for _, unit, _ in table.columns]
    body = [
        (row.name, [[f"{v:.{d}f}" for v, d in zip(values, places, strict=True)]
                    for values in row.values])
        for row in table.rows
    ]  # fmt: skip
    return {
        "id": table.id, "title": table.title, "place": table.place, "note": table.note,
        "convention": table.convention, "row_head": table.row_head, "suites": table.suites,
        "columns": table.columns, "body": body, "chart": _published_trade(table),
    }  # fmt: skip


def _published_trade(table: PublishedTable) -> Chart | None:
    units = [unit for _, unit, _ in table.columns]
    if "FPS" not in units:
        return None
    nan = float("nan")
    label, unit, higher = table.columns[0]
    points = [
        Point(label=row.name, speed=(row.values[0][units.index("FPS")], nan, nan),
              quality=(row.values[0][0], nan, nan))
        for row in table.rows
    ]  # fmt: skip
    column = Column(name=label, label=label, unit=unit, higher=higher)
    return trade_off(points, column, f"{label} against speed, as published")


def compare_context(site: Site) -> dict[str, Any]:
    """Gathers the comparisons that stand ready: the best rows and the baselines of each table."""
    labels = {e.id: e.label for e in site.entries}
    boards = []
    for board in site.boards:
        if board.primary not in board.matrices:
            continue
        column = column_of(board.primary)
        known = board.matrices[board.primary].ids
        ranked = [x.entry for x in board.lines if x.entry.id in known]
        top = ranked[:3]
        picked = [*top, *(e for e in ranked[3:] if e.baseline)][:6]
        rows = [
            difference_row(board, column, a.id, b.id, f"{labels[a.id]} minus {labels[b.id]}")
            for k, a in enumerate(picked)
            for b in picked[k + 1 :]
        ]
        if rows:
            boards.append(
                {"suite": board.suite, "title": board.title, "primary": column.label, "rows": rows}
            )
    return {
        "here": "compare.html",
        "title": "Compare",
        "description": "Two to four models side by side, with paired differences.",
        "boards": boards,
    }


def compare_data(site: Site) -> dict[str, Any]:
    """Gives what the comparing script needs to offer choices: tables and their rows."""
    return {
        "format": 1,
        "benchmarks": BENCHMARKS,
        "boards": [
            {
                "key": b.key, "suite": b.suite, "title": b.title, "benchmark": b.benchmark,
                "convention": b.convention, "version": list(b.version), "primary": b.primary,
                "columns": [
                    {"name": c.name, "label": c.label, "unit": c.unit, "higher": c.higher,
                     "target": c.target, "text": c.better}
                    for c in b.columns
                ],
                "rows": [{"id": x.entry.id, "name": x.entry.label} for x in b.lines],
            }
            for b in site.boards
        ],
    }  # fmt: skip


def navigation(site: Site) -> list[tuple[str, str]]:
    """Lists the pages that every page leads to."""
    suites = [(name, f"suites/{name}.html") for name in site.suites[:6]]
    return [
        ("Overview", "index.html"), *suites, ("Speed", "speed.html"), ("People", "human.html"),
        ("Compare", "compare.html"), ("About", "about.html"),
    ]  # fmt: skip


def labels_of(site: Site) -> Mapping[str, str]:
    """Gives the name of each entry by id."""
    return {e.id: e.label for e in site.entries}
