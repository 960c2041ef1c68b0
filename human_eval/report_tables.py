"""Lays the findings of a study out as tables: names, numbers and their intervals as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from dojobench.human_eval.preferences import (
    Axis,
    Ends,
    Estimate,
    Pair,
    Preferences,
    Published,
    Strength,
)

AXIS_TITLES = {"physics": "Physics", "action": "Action following"}
"""What a question is called on the page."""

DASH = "–"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line: its name, and value and small print of each cell."""

    name: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with a caption."""

    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell of the win-rate matrix; ``shade`` is a class of the stylesheet."""

    value: str
    interval: str
    counts: str
    shade: str


def percent(value: float | None, digits: int = 1) -> str:
    """Writes a share as a percentage."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def decimal(value: float | None) -> str:
    """Writes a number with two decimals and a true minus sign."""
    return DASH if value is None else f"{value:.2f}".replace("-", "−")


def between(found: Estimate | Ends, *, share: bool) -> str:
    """Writes an interval; one with a single end as a bound, none as a dash."""
    write = (lambda v: f"{100 * v:.1f}") if share else decimal
    if found.low is None and found.high is None:
        return DASH
    if found.high is None:
        return f"at least {write(found.low)}"
    if found.low is None:
        return f"at most {write(found.high)}"
    return f"[{write(found.low)}, {write(found.high)}]"


def ranks(found: Strength) -> str:
    """Writes a range of ranks."""
    low, high = found.rank
    return str(low) if low == high else f"{low}–{high}"


def pair_table(pairs: Sequence[Pair], title: str, caption: str) -> Table:
    """Lists rates of pairs with both intervals."""
    return Table(
        title=title,
        caption=caption,
        head=("Pair", "Wins", "Ties", "Losses", "Rate", "If votes were independent"),
        rows=tuple(
            Row(
                name=f"{pair.first} against {pair.second}",
                cells=(
                    (str(pair.wins), ""),
                    (str(pair.ties), ""),
                    (str(pair.losses), ""),
                    (percent(pair.rate.value), between(pair.rate, share=True)),
                    (between(pair.naive, share=True), ""),
                ),
            )
            for pair in pairs
        ),
    )


def strength_table(axis: Axis) -> Table | None:
    """Lists strengths with all three intervals, and ranges of ranks."""
    if axis.ranking is None:
        return None
    rows = tuple(
        Row(
            name=each.model,
            cells=(
                (ranks(each), ""),
                (
                    decimal(each.strength.clustered.value),
                    between(each.strength.clustered, share=False),
                ),
                (between(each.strength.bootstrap, share=False), ""),
                (between(each.strength.naive, share=False), ""),
                (str(each.votes), ""),
            ),
        )
        for each in axis.ranking.strengths
    )
    return Table(
        title="Strengths",
        caption="Davidson's model, in logits; ranks from all pairs at once",
        head=("Model", "Rank", "Strength", "Bootstrap", "If votes were independent", "Votes"),
        rows=rows,
    )


def matrix(axis: Axis, models: Sequence[str]) -> list[tuple[str, list[Cell]]]:
    """Gives the rate of each row's model against each column's."""
    found: dict[tuple[str, str], Cell] = {}
    for pair in axis.pairs:
        found[pair.first, pair.second] = _cell(pair, turned=False)
        found[pair.second, pair.first] = _cell(pair, turned=True)
    empty = Cell(value="", interval="", counts="no votes", shade="even")
    itself = Cell(value="", interval="", counts="", shade="self")
    return [
        (row, [itself if row == column else found.get((row, column), empty) for column in models])
        for row in models
    ]


def _cell(pair: Pair, *, turned: bool) -> Cell:
    value, low, high = pair.rate.value, pair.rate.low, pair.rate.high
    wins, losses = pair.wins, pair.losses
    if turned:
        # What is not won or tied is lost, under every rule but "own", where ties are neither.
        low, high = (None if v is None else 1 - v for v in (high, low))
        value = None if value is None else 1 - value
        wins, losses = losses, wins
    ends = Ends(low=low, high=high)
    shade = "even"
    if low is not None and high is not None:
        shade = "wins" if low > 0.5 else "loses" if high < 0.5 else "even"
    counts = f"{wins} : {pair.ties} : {losses}"
    return Cell(
        value=percent(value), interval=between(ends, share=True), counts=counts, shade=shade
    )


def quality_table(found: Preferences) -> Table:
    """Lists, per question, how far raters can be relied on."""
    rows = []
    for name, axis in found.axes.items():
        nominal = axis.agreement["nominal"]
        same = axis.repeats.same
        rows.append(
            Row(
                name=AXIS_TITLES.get(name, name),
                cells=(
                    (percent(axis.position.value), between(axis.position, share=True)),
                    (
                        f"{percent(same.value)} of {same.n}",
                        f"{between(same, share=True)}; {axis.repeats.same_side} by side",
                    ),
                    (decimal(nominal.value), between(nominal, share=False)),
                    (
                        f"{percent(axis.gold.value)} of {axis.gold.n}",
                        between(axis.gold, share=True),
                    ),
                    (str(axis.unsure), ""),
                ),
            )
        )
    return Table(
        title="",
        caption="What the checks say, after exclusions",
        head=("Question", "Left chosen", "Same answer again", "Alpha", "Gold right", "Can't tell"),
        rows=tuple(rows),
    )


def exclusion_table(found: Preferences) -> Table | None:
    """Lists what was left out, and why."""
    if not found.exclusions:
        return None
    return Table(
        title="",
        caption="Votes that do not count",
        head=("Reason", "Rule", "Raters", "Votes"),
        rows=tuple(
            Row(
                name=each.sentence,
                cells=((each.rule, ""), (str(len(each.raters)), ""), (str(each.votes), "")),
            )
            for each in found.exclusions
        ),
    )


def published_table(lines: Sequence[Published]) -> Table:
    """Lists a published table."""
    return Table(
        title="As published",
        caption="DreamDojo, Table 4: win rate in percent, without intervals",
        head=("Pair", "Physics", "Action following"),
        rows=tuple(
            Row(
                name=f"{line.first} against {line.second}",
                cells=((f"{line.physics:.2f}", ""), (f"{line.action:.2f}", "")),
            )
            for line in lines
        ),
    )
