"""What the card declares, held against the suite; and what a reader has to know of the code."""

from collections.abc import Iterator, Sequence

from dojobench.leaderboard.card import Card
from dojobench.leaderboard.known_suites import KnownSuite
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.leaderboard.safe_files import shown
from dojobench.leaderboard.verdict import Finding


def check_declarations(card: Card, suites: dict[str, KnownSuite | None]) -> Iterator[Finding]:
    """Checks the declared training data.

    Args:
        card: The card.
        suites: The suites that were run, by name.

    Yields:
        What is missing, or cannot be.
    """
    if card.kind == "world-model" and card.parameters > 0 and not card.training:
        yield Finding(
            code="DB-T402",
            sentence="The card declares no training data, and a model with "
            f"{card.parameters:,} parameters had some; add a [[training]] table for each data set.",
            where="card.toml: training",
        )
    for suite in suites.values():
        if suite is not None:
            yield from _against(card, suite)
    unsearched = [data.name for data in card.training if not data.searched]
    if unsearched:
        yield Finding(
            code="DB-N706",
            sentence=f"{shown(', '.join(unsearched), 120)}: not said to have been searched for "
            "copies of the suite's clips (`dojobench dojo contamination`).",
            where="card.toml: training",
        )


def _against(card: Card, suite: KnownSuite) -> Iterator[Finding]:
    own = {name.lower() for name in (*suite.sources, suite.spec.name)}
    tested = {clip.split for clip in suite.scored}
    for data in card.training:
        if data.name.lower() not in own:
            continue
        if not data.splits:
            yield Finding(
                code="DB-T403",
                sentence=f"The card says that the model was trained on {shown(data.name)}, which "
                f'{suite.spec.name} tests, but not on which splits; add splits = ["train"] or '
                "whichever they were.",
                where="card.toml: training",
            )
        elif both := sorted(tested & {split.lower() for split in data.splits}):
            yield Finding(
                code="DB-T401",
                sentence=f"The card says that the model was trained on {', '.join(both)} of "
                f"{shown(data.name)}, which {suite.spec.name} tests; train it without, and submit "
                "it again.",
                where="card.toml: training",
            )


def check_code(runs: Sequence[SubmittedRun]) -> Iterator[Finding]:
    """Says what is to be known of the code that ran."""
    dirty = [run.entry.name for run in runs if run.meta.code.dirty]
    if dirty:
        yield Finding(
            code="DB-W604",
            sentence=f"{', '.join(dirty)} ran on a dojobench with uncommitted changes; use a clean "
            "checkout or the installed package.",
            where=dirty[0],
        )
    unknown = [run.entry.name for run in runs if run.meta.code.commit is None]
    if unknown:
        yield Finding(
            code="DB-N705",
            sentence=f"{', '.join(unknown)} ran on an installed package, which carries no commit.",
            where=unknown[0],
        )
    for run in runs:
        if any("compressed video" in note for note in run.meta.notes):
            yield Finding(
                code="DB-N702",
                sentence=f"{run.entry.name} was scored from compressed video, which caps what it "
                "can score.",
                where=run.entry.name,
            )
