"""What stands on a model's page, and in its JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from dojobench.leaderboard.site_boards import PRIMARY, Board, Line
from dojobench.leaderboard.site_cells import Column, column_of, signed, span
from dojobench.leaderboard.site_charts import rollout
from dojobench.leaderboard.site_downloads import bibtex, drawn_curves
from dojobench.leaderboard.site_entries import Clip, Entry, MetaView, Result
from dojobench.leaderboard.site_speed import COLUMNS, conditions_of, speed_cell
from dojobench.leaderboard.site_tables import KINDS, short

MOST_OTHERS = 8


def model_context(
    entry: Entry, boards: Mapping[tuple[str, str, str], Board], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Gathers what the template of a model's page lays out.

    Args:
        entry: The submission.
        boards: Tables by suite, benchmark and convention.
        labels: Names of all entries by id.
    """
    card = entry.card
    return {
        "here": "",
        "title": entry.label,
        "description": f"{entry.label}: scores, conditions and how to make them again.",
        "id": entry.id,
        "label": entry.label,
        "kind": f"Baseline: {KINDS[card.kind]}" if entry.baseline else "World model",
        "tier": entry.tier,
        "card": card,
        "events": entry.status.events if entry.status else (),
        "authors": ", ".join(_author(a.name, a.affiliation) for a in card.authors),
        "links": [(n, a) for n, a in card.links.model_dump().items() if a],
        "results": [_result(entry, r, boards, labels) for r in entry.results],
        "speeds": [
            {
                "id": f"speed-{n}",
                "conditions": conditions_of(s),
                "rows": [
                    (f"{c.label} ({c.unit})", cell.text or "–", cell.interval or "–")
                    for c in COLUMNS
                    for cell in [speed_cell(c, s.view)]
                ],
            }
            for n, s in enumerate(entry.speeds, start=1)
        ],
        "reported": _reported(entry),
        "again": list(_again(entry).items()),
        "facts": _facts(entry),
        "training": [
            (t.name, t.source, ", ".join(t.splits) or "–",
             "–" if t.hours is None else f"{t.hours:g}", "yes" if t.searched else "no")
            for t in card.training
        ],
        "audit": _audit(entry),
        "bibtex": bibtex(entry),
        "videos_at": entry.videos_at,
    }  # fmt: skip


def _author(name: str, affiliation: str | None) -> str:
    return f"{name} ({affiliation})" if affiliation else name


def _reported(entry: Entry) -> list[tuple[str, ...]]:
    """Lists published values, each with its source."""
    found = entry.reported
    if found is None:
        return []
    rows: list[tuple[str, ...]] = []
    for each in found.values:
        source = found.sources[each.source] if each.source < len(found.sources) else None
        told = f"{source.title}, {source.place}, {source.date}" if source else "not named"
        name = f"{each.metric} ({each.unit})" if each.unit else each.metric
        ends = "–" if each.low is None or each.high is None else f"{each.low:g} to {each.high:g}"
        rows.append((each.suite, name, each.convention, f"{each.value:g}", ends, told))
    return rows


def _again(entry: Entry) -> dict[str, str]:
    """Gives for each suite the row's name and the command that made it."""
    return {f"{r.run.suite}/{entry.id}": command_of(r) for r in reversed(entry.results)}


def _facts(entry: Entry) -> list[tuple[str, str]]:
    card, c = entry.card, entry.card.conditions
    facts = [
        ("Submitted", entry.date),
        ("Licence", card.licence),
        ("Parameters", f"{card.parameters:,}" if card.parameters else "none: a rule"),
        ("Precision", c.precision),
        ("Sampling steps", str(c.steps)),
        ("Guidance", f"{c.guidance:g}"),
        ("Contact", card.contact),
        ("Hash of the submission", entry.sha256),
    ]
    if c.flops_per_frame is not None:
        facts.append(("FLOPs a frame", f"{c.flops_per_frame:.3g}"))
    if c.peak_memory_gib is not None:
        facts.append(("Peak memory", f"{c.peak_memory_gib:g} GiB"))
    if c.notes:
        facts.append(("Notes", c.notes))
    if card.supersedes:
        facts.append(("Takes the place of", card.supersedes))
    return facts


def _audit(entry: Entry) -> list[tuple[str, str]]:
    found = entry.attestation
    if found is None:
        return []
    within = sum(each.within for each in found.comparisons)
    facts = [
        ("Outcome", "passed" if found.passed else "not passed"),
        ("Audited", f"{found.audited[:10]} by {found.auditor}"),
        (
            "Method",
            {"videos": "scores recomputed from the videos", "model": "run again"}[found.method],
        ),
        ("Numbers that agree", f"{within} of {len(found.comparisons)}"),
        ("Round", found.round.name),
        ("Hardware", found.hardware),
        ("Seal", f"{found.sha256[:16]}, {'whole' if found.whole else 'BROKEN'}"),
    ]
    return [*facts, *(("Failure", each) for each in found.failures)]


def _result(
    entry: Entry,
    result: Result,
    boards: Mapping[tuple[str, str, str], Board],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    run, summary = result.run, result.summary
    board = boards[run.suite, run.benchmark, run.convention]
    line = board.by_id[entry.id]
    primary = column_of(PRIMARY[run.benchmark])
    columns = [
        c for c in board.columns if c.name in summary.metrics or c.name in summary.not_computed
    ]
    ranked = [c for c in summary.clip_values if primary.name in c.values]
    return {
        "id": run.name.replace(".", "-"),
        "suite": run.suite,
        "anchor": board.key.replace(".", "-"),
        "title": board.title,
        "primary": primary.label,
        "note": _note(line),
        "head": ("Number", "Mean", "95 % interval", "Rank", "Between seeds", "Clips"),
        "rows": [_row(c, result, line) for c in columns],
        "differences": _differences(entry, board, primary, labels),
        "charts": [
            rollout(curve, column_of(name), entry.label, result.meta.suite.frame_rate)
            for name, curve in drawn_curves(result).items()
        ],
        "clips": _showcase(ranked, primary),
        "videos": _videos(entry, result, ranked, primary),
        "split_head": ("Split", *(c.label for c in columns[:5])),
        "splits": _splits(result, columns[:5]),
        "conditions": _conditions(result),
    }


def _note(line: Line) -> str:
    if line.old:
        return (
            "These numbers are of another version of the suite or the metrics; they are kept, and "
            "neither ranked nor compared with present ones."
        )
    return f"Not ranked: {line.note}." if line.note else ""


def _row(column: Column, result: Result, line: Line) -> tuple[str, ...]:
    number = result.summary.metrics.get(column.name)
    label = f"{column.label} ({column.unit})" if column.unit else column.label
    if number is None:
        return (label, result.summary.not_computed[column.name], "–", "–", "–", "–")
    sd = "–" if number.seed_sd is None else f"± {column.write(number.seed_sd)}"
    cell = line.cells[column.name]
    return (
        label, cell.text, cell.interval or "–", cell.rank or "–", sd,
        f"{number.n} in {number.clusters} episodes",
    )  # fmt: skip


def _differences(
    entry: Entry, board: Board, primary: Column, labels: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Compares with every baseline and with the neighbours in the table."""
    matrix = board.matrices.get(primary.name)
    if matrix is None or entry.id not in matrix.ids:
        return []
    place = next(k for k, line in enumerate(board.order) if line.entry is entry)
    near = range(place - 3, place + 4)
    others = [
        line.entry.id
        for k, line in enumerate(board.order)
        if k != place and (line.entry.baseline or k in near)
    ]
    return [difference_row(board, primary, entry.id, e, labels[e]) for e in others[:MOST_OTHERS]]


def difference_row(
    board: Board, column: Column, first: str, second: str, name: str
) -> tuple[str, ...]:
    """Writes a paired difference: name, difference, interval, whether they can be told apart."""
    matrix = board.matrices[column.name]
    found = matrix.comparison.difference(matrix.ids[first], matrix.ids[second])
    apart = found.low > 0 or found.high < 0
    better = found.mean > 0 if column.higher is not False else found.mean < 0
    said = (
        "no"
        if not apart
        else ("yes" if column.target is not None else ("yes, better" if better else "yes, worse"))
    )
    ends = f"{signed(found.low, column.unit)} to {signed(found.high, column.unit)}"
    if found.high == float("inf"):
        ends = "too few episodes"
    unit = f" {column.unit}" if column.unit else ""
    return name, signed(found.mean, column.unit) + unit, ends, said


def _goodness(column: Column, clip: Clip) -> float:
    value = clip.values[column.name]
    if column.target is not None:
        return -abs(value - column.target)
    return -value if column.higher is False else value


def _picked(clips: Sequence[Clip], column: Column) -> list[tuple[str, Clip]]:
    """Picks the best, median and worst clip, each once."""
    ordered = sorted(clips, key=lambda c: (-_goodness(column, c), c.clip))
    if len(ordered) < 3:
        return [("Clip", each) for each in ordered]
    return [("Best", ordered[0]), ("Median", ordered[len(ordered) // 2]), ("Worst", ordered[-1])]


def _showcase(clips: Sequence[Clip], column: Column) -> list[tuple[str, ...]]:
    return [
        (f"{name}: {c.clip}", c.split, column.write(c.values[column.name]))
        for name, c in _picked(clips, column)
    ]


def _videos(
    entry: Entry, result: Result, clips: Sequence[Clip], column: Column
) -> list[tuple[str, str]]:
    found = []
    for name, clip in _picked(clips, column):
        file = f"{result.run.name}/{clip.clip}.s{min(result.run.seeds, default=0)}.pred.mp4"
        if file in entry.videos:
            found.append((f"{name}: {clip.clip}", f"media/{entry.id}/{file}"))
    return found


def _splits(result: Result, columns: Sequence[Column]) -> list[tuple[str, ...]]:
    splits = dict.fromkeys(s for m in result.summary.metrics.values() for s in m.by_split)
    if len(splits) < 2:
        return []
    rows = []
    for split in splits:
        row = [split]
        for column in columns:
            number = result.summary.metrics.get(column.name)
            found = number.by_split.get(split) if number else None
            ends = span(found.low, found.high, column.unit) if found else ""
            text = column.write(found.mean) if found else "–"
            row.append(f"{text} ({ends})" if ends else text)
        rows.append(tuple(row))
    return rows


def command_of(result: Result) -> str:
    """Writes the command that made a run, from its fields and never from the submitter's text."""
    run, model = result.run, result.meta.model
    parts = ["dojobench run", model.reference, "--suite", run.suite, "--seeds"]
    parts += [str(seed) for seed in run.seeds]
    if run.convention and run.benchmark == "fidelity" and run.convention != "aligned":
        parts += ["--convention", run.convention]
    return " ".join(parts)


def frames_of(meta: MetaView) -> str:
    """Says what the frames of a suite are."""
    height, width = meta.suite.resolution
    return f"{width}×{height} at {meta.suite.frame_rate:g} a second"


def _conditions(result: Result) -> list[tuple[str, str]]:
    run, meta = result.run, result.meta
    facts = [
        ("Suite", f"{run.suite}, version {short(run.suite_version)}"),
        ("Metrics", run.metric_version),
        ("Seeds", ", ".join(str(seed) for seed in run.seeds)),
        ("Records", f"{run.records:,}"),
        ("Hardware", run.hardware or "not said"),
        (
            "Commit of dojobench",
            f"{run.commit or 'unknown'}{', with changes' if run.dirty else ''}",
        ),
        ("Weights", run.weights),
        (
            "Frames",
            frames_of(meta),
        ),
    ]
    facts += [("Option", f"{name} = {value}") for name, value in meta.model.options.items()]
    facts += [("Package", f"{name} {version}") for name, version in meta.packages.items()]
    return [*facts, *(("Note", note) for note in meta.notes)]
