"""What can be taken away: CSV and JSON of every table, BibTeX, and an Atom feed of new entries."""

import csv
import io
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pydantic_core

from dojobench.leaderboard.dates import parse_date
from dojobench.leaderboard.site_boards import Board, Line
from dojobench.leaderboard.site_entries import Curve, Entry, Result
from dojobench.leaderboard.site_published import Published
from dojobench.leaderboard.site_speed import COLUMNS, SpeedBoard

FEED_ENTRIES = 50
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%",
          "#": r"\#", "_": r"\_", "^": r"\^{}", "~": r"\~{}"}  # fmt: skip


def to_json(value: Any) -> str:
    """Writes JSON that is equal for equal values."""
    return pydantic_core.to_json(value).decode("utf-8") + "\n"


def to_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Writes CSV; a text that a spreadsheet would take for a formula gets a quote before it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_plain(each) for each in row])
    return stream.getvalue()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def board_csv(board: Board) -> str:
    """Writes a table with every number in full."""
    head = ["id", "name", "tier", "date", "state", "note", "suite_version", "metric_version",
            "rank_low", "rank_high", "groups"]  # fmt: skip
    for column in board.columns:
        head += [column.name, f"{column.name}_low", f"{column.name}_high"]
    return to_csv(head, (_csv_row(board, line) for line in (*board.lines, *board.old)))


def _csv_row(board: Board, line: Line) -> list[object]:
    e, run, s = line.entry, line.result.run, line.standing
    row: list[object] = [e.id, e.label, e.tier, e.date, line.state, line.note]
    row += [run.suite_version, run.metric_version, s.low if s else "", s.high if s else ""]
    row.append(" ".join(map(str, s.groups)) if s else "")
    for column in board.columns:
        n = line.result.summary.metrics.get(column.name)
        row += (
            ["", "", ""] if n is None else [_or_empty(n.mean), _or_empty(n.low), _or_empty(n.high)]
        )
    return row


def _or_empty(value: float | None) -> object:
    return "" if value is None else value


def board_json(board: Board) -> dict[str, Any]:
    """Gives a table as data."""
    return {
        "format": 1,
        "suite": board.suite,
        "benchmark": board.benchmark,
        "convention": board.convention,
        "suite_version": board.version[0],
        "metric_version": board.version[1],
        "primary": board.primary,
        "columns": [
            {"name": c.name, "label": c.label, "unit": c.unit, "higher_is_better": c.higher,
             "target": c.target}
            for c in board.columns
        ],
        "rows": [_json_row(board, line) for line in (*board.lines, *board.old)],
    }  # fmt: skip


def _json_row(board: Board, line: Line) -> dict[str, Any]:
    s, run = line.standing, line.result.run
    return {
        "id": line.entry.id,
        "name": line.entry.label,
        "tier": line.entry.tier,
        "state": line.state,
        "note": line.note,
        "suite_version": run.suite_version,
        "metric_version": run.metric_version,
        "rank": [s.low, s.high] if s else None,
        "groups": list(s.groups) if s else [],
        "values": {
            name: {
                "mean": n.mean,
                "low": n.low,
                "high": n.high,
                "clips": n.n,
                "episodes": n.clusters,
            }
            for name, n in line.result.summary.metrics.items()
        },
    }


DRAWN = ("psnr", "cf_psnr", "survival")


def drawn_curves(result: Result) -> dict[str, Curve]:
    """Gives the curve that a model's page draws, the first that there is."""
    curves = result.summary.curves
    return {name: curves[name] for name in [n for n in DRAWN if n in curves][:1]}


def entry_json(entry: Entry) -> dict[str, Any]:
    """Gives an entry with everything that its page is made of."""
    return {
        "format": 1,
        **entry_line(entry),
        "card": entry.card,
        "status": entry.status,
        "results": [
            {
                "run": r.run,
                "frame_rate": r.meta.suite.frame_rate,
                "metrics": r.summary.metrics,
                "curves": drawn_curves(r),
                "clips": r.summary.clip_values,
                "not_computed": r.summary.not_computed,
            }
            for r in entry.results
        ],
        "speeds": [s.view for s in entry.speeds],
        "videos": list(entry.videos),
    }


def entry_line(entry: Entry) -> dict[str, Any]:
    """Gives what a list of entries says of one."""
    return {
        "id": entry.id,
        "name": entry.label,
        "kind": entry.card.kind,
        "tier": entry.tier,
        "created": entry.created,
        "updated": entry.updated,
        "withdrawn": entry.withdrawn,
        "sha256": entry.sha256,
        "page": f"models/{entry.id}.html",
    }


def speed_csv(boards: Sequence[SpeedBoard]) -> str:
    """Writes the tables of speed with every number as shown in the cells' order."""
    head = ["conditions", "id", "name", "tier", "date", *(c.name for c in COLUMNS)]
    rows = [
        [b.conditions, r.id, r.label, r.tier, r.date,
         *("" if c.order is None else c.order for c in r.cells)]
        for b in boards
        for r in b.table.rows
    ]  # fmt: skip
    return to_csv(head, rows)


def published_csv(source: Published) -> str:
    """Writes all tables of a source, a line a number."""
    head = [
        "place",
        "table",
        "convention",
        "row",
        "clips",
        "metric",
        "unit",
        "higher_is_better",
        "value",
    ]
    rows = [
        [t.place, t.title, t.convention, row.name, suite, label, unit, higher, value]
        for t in source.tables
        for row in t.rows
        for suite, values in zip(t.suites, row.values, strict=True)
        for (label, unit, higher), value in zip(t.columns, values, strict=True)
    ]
    return to_csv(head, rows)


def bibtex(entry: Entry) -> str:
    """Writes a reference to an entry."""
    key = re.sub(r"[^A-Za-z0-9]+", "", entry.id) or "entry"
    fields = {
        "title": f"{entry.label} on the dojobench leaderboard",
        "author": " and ".join(f"{{{_latex(a.name)}}}" for a in entry.card.authors),
        "year": entry.date[:4],
        "note": f"Submission {entry.id}, sha256 {entry.sha256[:16]}, tier {entry.tier}",
    }
    if entry.card.links.paper:
        fields["url"] = entry.card.links.paper
    lines = [
        f"  {name} = {{{text if name in ('author', 'url') else _latex(text)}}},"
        for name, text in fields.items()
    ]
    return "\n".join([f"@misc{{dojobench-{key},", *lines, "}"])


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def feed(entries: Sequence[Entry], address: str) -> str:
    """Writes the Atom feed of what is new: entries and what was said about them since.

    Args:
        entries: All.
        address: Where the site stands, ending in ``/``; empty where that is not known.
    """
    newest = sorted(entries, key=lambda e: (parse_date(e.updated), e.id), reverse=True)[
        :FEED_ENTRIES
    ]
    moment = newest[0].updated if newest else "1970-01-01T00:00:00+00:00"
    base = f" xml:base={quoteattr(address)}" if address else ""
    parts = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"{base}>',
        "<title>dojobench leaderboard</title>",
        f"<id>{_urn('feed')}</id>",
        f"<updated>{parse_date(moment).isoformat()}</updated>",
        '<link rel="self" type="application/atom+xml" href="feed.xml"/>',
        '<link rel="alternate" type="text/html" href="index.html"/>',
        "<author><name>dojobench leaderboard</name></author>",
        *(_feed_entry(each) for each in newest),
        "</feed>",
    ]
    return "\n".join(parts) + "\n"


def _feed_entry(entry: Entry) -> str:
    authors = "".join(f"<author><name>{escape(a.name)}</name></author>" for a in entry.card.authors)
    return (
        f"<entry><title>{escape(entry.label)}: {escape(news_of(entry))}</title>"
        f"<id>{_urn(entry.id)}</id>"
        f"<published>{parse_date(entry.created).isoformat()}</published>"
        f"<updated>{parse_date(entry.updated).isoformat()}</updated>"
        f'<link rel="alternate" type="text/html" href="models/{escape(entry.id)}.html"/>'
        f"{authors}<summary>{escape(_xml(entry.card.description) or entry.label)}</summary></entry>"
    )


def _xml(text: str) -> str:
    return "".join(c for c in text if c == "\n" or c >= " ")


def _urn(name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'dojobench-leaderboard/{name}')}"


def news_of(entry: Entry) -> str:
    """Says in a word or two what happened last to an entry."""
    if entry.status is not None:
        return entry.status.events[-1].what
    return (
        f"{entry.tier}, on {', '.join(sorted({r.run.suite for r in entry.results})) or 'no suite'}"
    )
