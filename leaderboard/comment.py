"""The comment under a pull request: the verdict, and the new rows beside the board's."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from dojobench.benchmarks.records import RunMeta, Summary
from dojobench.leaderboard.known_suites import FIDELITY
from dojobench.leaderboard.runs import read_summary
from dojobench.leaderboard.submission import Submission, list_submissions, read_submission
from dojobench.leaderboard.verdict import Refused, Verdict
from dojobench.metrics.names import METRICS

ROWS = 12
Row: TypeAlias = tuple[Submission, RunMeta, Summary]
_OUTCOMES = ("refused", "look", "accepted")
_WORDS = {
    "accepted": "**accepted**: nothing is wrong with it.",
    "look": "**accepted by the check**; a person will look at the warnings.",
    "refused": "**refused**: correct what follows and push again.",
}


def worst(verdicts: Sequence[Verdict]) -> str:
    """Gives the worst outcome; ``refused`` where nothing was checked."""
    found = [verdict.outcome for verdict in verdicts] or ["refused"]
    return min(found, key=_OUTCOMES.index)


def comment(verdicts: Mapping[Path, Verdict], board: Path) -> str:
    """Writes the comment as Markdown; whatever a stranger wrote is escaped.

    Args:
        verdicts: Each submission's folder and verdict.
        board: The board's submissions, to compare with.
    """
    if not verdicts:
        return "There is no submission in this pull request.\n"
    parts = []
    for folder, verdict in verdicts.items():
        parts.append(f"### {escape(verdict.id or folder.name)}\n\n{_WORDS[verdict.outcome]}\n")
        for each in verdict.findings[:60]:
            parts.append(f"- {each.level} `{each.code}` {escape(each.sentence)}")
        if verdict.accepted:
            parts.append(_table(folder, board))
    parts.append(
        "\n`dojobench submit check` gives the same verdict on your machine; "
        "`docs/submit.md` explains the codes."
    )
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Makes text harmless in Markdown: no markup, links, mentions or line breaks."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~@:&$-])", r"\\\1", plain)


def _table(folder: Path, board: Path) -> str:
    """Puts the new rows beside those of the board, best first; intervals in every cell."""
    mine = read_submission(folder)
    lines: list[str] = []
    for entry in mine.file.runs:
        if entry.benchmark != FIDELITY:
            continue
        rows: list[Row] = [(mine, *read_summary(mine, entry))]
        rows += _others(board, mine.id, entry.suite_version, entry.metric_version)
        rows.sort(key=lambda row: -row[2].metrics["psnr"].mean if "psnr" in row[2].metrics else 0)
        names = [name for name in METRICS if name in rows[0][2].metrics][:4]
        lines += ["", f"{escape(entry.suite)}, with 95 % intervals:", ""]
        lines.append("| | " + " | ".join(METRICS[name].label for name in names) + " |")
        lines.append("|---" * (len(names) + 1) + "|")
        for row, _, summary in rows[:ROWS]:
            mark = "**" if row is mine else ""
            cells = [_cell(summary.metrics.get(name)) for name in names]
            lines.append(f"| {mark}{escape(row.id)}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _others(board: Path, without: str, version: str, metric: str) -> list[Row]:
    found: list[Row] = []
    for folder in list_submissions(board):
        try:
            other = read_submission(folder)
            if other.id == without or (other.status and other.status.withdrawn):
                continue
            for entry in other.file.runs:
                same = entry.suite_version == version and entry.metric_version == metric
                if entry.benchmark == FIDELITY and same:
                    found.append((other, *read_summary(other, entry)))
        except Refused:
            continue
    return found


def _cell(metric: object) -> str:
    mean, low, high = (getattr(metric, name, None) for name in ("mean", "low", "high"))
    if mean is None:
        return "–"
    ends = f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else ""
    return f"{mean:.2f}{ends}"
