"""Branch grids: all futures of one state in one video, truth above prediction."""

from collections.abc import Sequence

from dojobench.benchmarks.progress import Meter
from dojobench.benchmarks.records import VIDEOS_FOLDER, Record
from dojobench.benchmarks.report_clips import Composite, compose
from dojobench.benchmarks.report_data import Comparison, Entry, figure, percent
from dojobench.benchmarks.report_players import (
    BRANCH_BYTES,
    Figure,
    Pane,
    Player,
    Reel,
    filmed,
    left_out,
    make_player,
    video_files,
)

MOST_GROUPS = 3
"""Branch groups shown of each run."""


def grids(comparison: Comparison, clips: Sequence[str] = ()) -> tuple[Reel, ...]:
    """Composes the branch grids of every run that kept them, the same groups for each."""
    kept = [(e, filmed(e)) for e in comparison.entries if (e.run.path / VIDEOS_FOLDER).is_dir()]
    kept = [(e, there) for e, there in kept if there]
    reels, spent = [], 0
    with Meter("encoding branches", MOST_GROUPS * len(kept)) as meter:
        for entry, there in kept:
            players, missing = list[Player](), ""
            for group in list(dict.fromkeys(c.clip for c in entry.summary.clip_values)):
                if group not in there or len(players) == MOST_GROUPS:
                    continue
                record = there[group]
                composite = _grid(comparison, entry, record)
                meter.advance(composite.frames)
                if spent + composite.embedded_bytes > BRANCH_BYTES:
                    missing = left_out()
                    break
                spent += composite.embedded_bytes
                players.append(_player(comparison, entry, record, composite, clips))
            reels.append(
                Reel(label=entry.label, style=entry.style, players=tuple(players), missing=missing)
            )
    return tuple(reels)


def columns_of(record: Record) -> int:
    """How many branches stand in a row of the video."""
    return min(max(round(float(record.checks.get("branches", 1))), 1), 4)


def _grid(comparison: Comparison, entry: Entry, record: Record) -> Composite:
    truth, prediction = video_files(entry.run.path / VIDEOS_FOLDER, record)
    context = comparison.meta.suite.context_frames
    return compose(
        truth, prediction, context=context, layout="stack", columns=columns_of(record)
    )  # fmt: skip


def _player(
    comparison: Comparison,
    entry: Entry,
    record: Record,
    composite: Composite,
    clips: Sequence[str],
) -> Player:
    columns = columns_of(record)
    metric = "branch_retrieval"
    parts = [
        f"picks {percent(record.values[metric])} right" if metric in record.values else "",
        f"effect gain {figure('effect_gain', record.values['effect_gain'])}"
        if "effect_gain" in record.values
        else "",
    ]
    return make_player(
        composite,
        title=f"{columns} futures of one state",
        clip=record.clip,
        facts="upper row truth, lower row prediction",
        about=(
            f"{columns} branches of {record.clip} by {entry.label}: truth above, prediction below"
        ),
        score=", ".join(p for p in parts if p),
        context=comparison.meta.suite.context_frames,
        figures=_columns(record, composite, _names(record, clips, columns), columns),
        layout="branches",
        metric="cf_psnr",
        values=record.curves.get("cf_psnr", ()),
        columns=columns,
    )


def _names(record: Record, clips: Sequence[str], columns: int) -> list[str]:
    """Names the branches: as the record says, or by what their clips' ids add to the group's."""
    if names := _listed(record, "branch_names"):
        return names
    group = f"{record.clip}-"
    found = [clip.removeprefix(group) for clip in clips if clip.startswith(group)]
    return found if len(found) == columns else []


def _columns(
    record: Record, composite: Composite, names: Sequence[str], columns: int
) -> tuple[Figure, ...]:
    nearest = _listed(record, "nearest")
    factual = record.checks.get("factual_branch")
    width = composite.width // columns
    figures = []
    for k in range(columns):
        name = names[k] if k < len(names) else f"Branch {k + 1}"
        if isinstance(factual, float) and not isinstance(factual, bool) and k == round(factual):
            name += " (usual)"
        figures.append(
            Figure(
                title=name,
                panes=(
                    Pane(title=f"{name}: truth", x=k * width, y=0),
                    Pane(title=f"{name}: prediction", x=k * width, y=composite.height),
                ),
                note=_found(nearest, names, k),
            )
        )
    return tuple(figures)


def _found(nearest: Sequence[str], names: Sequence[str], branch: int) -> str:
    """Says which true future a branch's prediction is nearest to, where the record has it."""
    if branch >= len(nearest) or not nearest[branch].strip().isdigit():
        return ""
    there = int(nearest[branch])
    if there == branch:
        return "✓ nearest to its own"
    return f"✕ nearest to {names[there] if there < len(names) else f'branch {there + 1}'}"


def _listed(record: Record, check: str) -> list[str]:
    text = record.checks.get(check)
    return text.split("|") if isinstance(text, str) and text else []
