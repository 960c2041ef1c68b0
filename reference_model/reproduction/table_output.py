"""Writes a compared table for programs (JSON), for documents (Markdown) and for people (HTML)."""

import json
from collections.abc import Sequence
from pathlib import Path

from dojobench.benchmarks.tables_page import (
    PageCell,
    PageClaim,
    PageRow,
    PageSection,
    PageTable,
    tables_page,
)
from dojobench.datasets.files import write_atomically
from dojobench.metrics.names import METRICS
from dojobench.protocol.words import count
from dojobench.reference_model.reproduction.compare import (
    Compared,
    Difference,
    as_document,
    decimals,
    signed,
)
from dojobench.reference_model.reproduction.published import SETS, SOURCE

_TONES = {"same direction": "better", "opposite direction": "worse", "cannot be told": "same"}


def write_table(compared: Compared, out: Path) -> tuple[Path, Path, Path]:
    """Writes ``table.json``, ``table.md`` and ``table.html`` into a folder.

    Returns:
        The three files. Equal results give equal bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    made = {
        "table.json": json.dumps(as_document(compared), indent=1, ensure_ascii=False) + "\n",
        "table.md": markdown(compared),
        "table.html": page(compared),
    }
    for name, text in made.items():
        write_atomically(out / name, text.encode())
    first, second, third = (out / name for name in made)
    return first, second, third


def _metrics(compared: Compared) -> list[str]:
    return list(dict.fromkeys(cell.metric for cell in compared.cells))


def _cell(compared: Compared, row: str, split: str, metric: str) -> tuple[str, str, str]:
    """Gives a score as text: ours, its interval and seeds' deviation, the paper's."""
    cell = compared.cell(row, split, metric)
    if cell is None:
        return "–", "", ""
    digits = decimals(metric)
    ours, lines = f"{cell.ours.mean:.{digits}f}", []
    if cell.ours.is_defined:
        lines.append(f"[{cell.ours.low:.{digits}f}, {cell.ours.high:.{digits}f}]")
    if cell.seed_sd is not None:
        lines.append(f"seeds ±{cell.seed_sd:.{digits}f}")
    paper = "" if cell.paper is None else f"paper {cell.paper:.3f}"
    return ours, " ".join(lines), paper


def _speed(compared: Compared, row: str) -> tuple[str, str]:
    ours = compared.speeds.get(row)
    paper = (compared.table.speeds or {}).get(row)
    return (
        "–" if ours is None else f"{ours:.1f}",
        "" if paper is None else f"paper {paper:.2f}",
    )


def _interval(one: Difference) -> str:
    if not one.ours.is_defined:
        return one.ours.method
    return f"[{signed(one.ours.low, one.metric)}, {signed(one.ours.high, one.metric)}]"


def _title(metric: str) -> str:
    info = METRICS[metric]
    arrow = "higher is better" if info.higher_is_better else "lower is better"
    return f"{info.label}{f', {info.unit}' if info.unit else ''} ({arrow})"


def _lede(compared: Compared) -> str:
    return (
        f"{compared.table.where} of the paper in miniature: the reference model, "
        f"{count(len(compared.seeds), 'training seed')}, on {compared.suite.partition(' ')[0]}."
    )


def _notes(compared: Compared) -> list[str]:
    clips = ", ".join(
        f"{split} {count(compared.clips[split], 'clip')} of "
        f"{count(compared.episodes[split], 'episode')}"
        for split in compared.table.splits
    )
    sets = ", ".join(f"{split} is made after {SETS[split]}" for split in compared.table.splits)
    notes = [
        "A clip's value is the mean over training seeds; differences are paired by clip, and "
        "intervals (95 %) resample episodes. “Same direction” asks that the interval exclude 0 "
        "and that every seed agree in sign; the paper itself gives no intervals.",
        f"Scored: {clips}. Suite: {compared.suite}.",
        f"The paper's figures ({SOURCE}, {compared.table.where}) are of another robot, another "
        f"model and other clips: their size is not to be compared, their order is. Here {sets}.",
    ]
    notes += [f"{name}: {value}." for name, value in compared.conditions.items()]
    return notes


def markdown(compared: Compared) -> str:
    """Gives the table as Markdown, to be put into a document."""
    table = compared.table
    lines = [f"### {table.title}", "", _lede(compared), ""]
    lines += [f"- {sentence}" for sentence in compared.sentences] + [""]
    for metric in _metrics(compared):
        rows = []
        for row in table.rows:
            texts = [_cell(compared, row.name, split, metric) for split in table.splits]
            rows.append([row.label, *("<br>".join(filter(None, text)) for text in texts)])
        lines += _markdown_table(_title(metric), table.splits, rows)
    if compared.speeds:
        rows = [
            [row.label, "<br>".join(filter(None, _speed(compared, row.name)))] for row in table.rows
        ]
        lines += _markdown_table("Frames a second on long rollouts", ("frames/s",), rows)
    rows = [
        [
            f"{one.row} − {one.against}",
            one.split,
            METRICS[one.metric].label,
            f"{signed(one.ours.mean, one.metric)} {_interval(one)}",
            ", ".join(signed(value, one.metric) for value in one.by_seed),
            "–" if one.paper is None else f"{one.paper:+.3f}".replace("-", "−"),
            one.verdict,
        ]
        for one in compared.differences
    ]
    columns = ("split", "metric", "ours", "by seed", "paper", "verdict")
    lines += _markdown_table("Differences", columns, rows)
    lines += [line for note in _notes(compared) for line in (note, "")]
    return "\n".join(lines).rstrip("\n") + "\n"


def _markdown_table(
    corner: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[str]:
    return [
        f"| {corner} | {' | '.join(columns)} |",
        f"| --- |{' --- |' * len(columns)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def page(compared: Compared) -> str:
    """Gives the table as a page that opens from disk and loads nothing."""
    table = compared.table
    claims = tuple(
        PageClaim(text=sentence, tone=_tone(sentence)) for sentence in compared.sentences
    )
    scores = [_page_scores(compared, metric) for metric in _metrics(compared)]
    if compared.speeds:
        scores.append(_page_speeds(compared))
    differences = [
        _page_differences(compared, metric)
        for metric in dict.fromkeys(one.metric for one in compared.differences)
    ]
    return tables_page(
        eyebrow=f"dojobench reproduce {table.name}",
        title=table.title,
        lede=_lede(compared),
        sections=(
            PageSection(title="What it says", claims=claims),
            PageSection(title="Scores", tables=tuple(scores)),
            PageSection(title="Differences", tables=tuple(differences)),
            PageSection(title="Conditions", notes=tuple(_notes(compared))),
        ),
    )


def _tone(sentence: str) -> str:
    if "opposite direction" in sentence:
        return "bad"
    return "good" if "same direction" in sentence else ""


def _page_scores(compared: Compared, metric: str) -> PageTable:
    def cell(row: str, split: str) -> PageCell:
        ours, lines, paper = _cell(compared, row, split, metric)
        return PageCell(value=ours, lines=tuple(filter(None, (lines, paper))))

    table = compared.table
    return PageTable(
        caption=_title(metric),
        corner="row",
        columns=table.splits,
        rows=tuple(
            PageRow(label=row.label, cells=tuple(cell(row.name, split) for split in table.splits))
            for row in table.rows
        ),
    )


def _page_speeds(compared: Compared) -> PageTable:
    def cell(row: str) -> PageCell:
        ours, paper = _speed(compared, row)
        return PageCell(value=ours, lines=tuple(filter(None, (paper,))))

    return PageTable(
        caption="Frames a second on long rollouts, decoding included, one clip at a time",
        corner="row",
        columns=("frames/s",),
        rows=tuple(
            PageRow(label=row.label, cells=(cell(row.name),)) for row in compared.table.rows
        ),
    )


def _page_differences(compared: Compared, metric: str) -> PageTable:
    table = compared.table
    labels = {row.name: row.label for row in table.rows}
    found = {
        (one.row, one.against, one.split): one
        for one in compared.differences
        if one.metric == metric
    }

    def cell(row: str, against: str, split: str) -> PageCell:
        one = found.get((row, against, split))
        if one is None:
            return PageCell(value="–")
        paper = () if one.paper is None else (f"paper {one.paper:+.3f}".replace("-", "−"),)
        return PageCell(
            value=signed(one.ours.mean, metric),
            lines=(_interval(one), *paper),
            mark=one.verdict,
            tone=_TONES.get(one.verdict, "same"),
        )

    return PageTable(
        caption=f"{_title(metric)}: row minus the other",
        corner="rows",
        columns=table.splits,
        rows=tuple(
            PageRow(
                label=f"{labels[pair.row]} − {labels[pair.against]}",
                cells=tuple(cell(pair.row, pair.against, split) for split in table.splits),
            )
            for pair in table.pairs
        ),
    )
