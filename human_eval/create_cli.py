"""``dojobench study create``: from runs to a folder that can be served."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dojobench.protocol.command_line import parse


@dataclass(frozen=True, kw_only=True)
class CreateCommand:
    """Makes a study: draws clips, encodes all videos alike, makes gold pairs, writes the plan.

    The plan, study.toml, may be edited until the first vote; its hash is the pre-registration.
    """

    runs: tuple[str, ...]
    """Run folders with all videos (`dojobench run … --videos all`), or folders of videos called
    CLIP.mp4; PATH or NAME=PATH, two or more."""
    suite: str
    """Manifest (.jsonl) or name of the suite that was run: true videos and actions come from it."""
    pairs: int
    """Clips that each pair of models is compared on."""
    out: Path
    """Folder to make."""
    data: Path | None = None
    """Folder that holds the suite's videos. Default: DOJOBENCH_DATA."""
    title: str | None = None
    """Shown to raters; name no model. Default: a title that names the suite."""
    axes: tuple[Literal["physics", "action"], ...] = ("physics", "action")
    """Questions asked."""
    languages: tuple[str, ...] = ("en", "zh")
    """Languages that raters may choose; the first is the default."""
    reference: Literal["truth", "first-frame"] = "truth"
    """What stands between the two: the true video, or only the frame it began with."""
    scaling: Literal["nearest", "lanczos"] = "lanczos"
    """How pictures under 384 pixels are enlarged: smoothly, or with each pixel as it is."""
    max_seconds: float = 10.0
    """Longer clips are cut, at the same frame for all."""
    per_rater: int = 50
    """Trials of one rater."""
    votes_per_pair: int | None = None
    """Stop after so many ordinary votes per pair of models and question."""
    min_gold: float | None = None
    """Exclude raters who answer a smaller share of gold pairs rightly."""
    min_seconds: float | None = None
    """Exclude votes given faster."""
    anchor: str | None = None
    """Model that the others are set against."""
    preset: Literal["clustered", "dreamdojo"] = "clustered"
    """Planned analysis; dreamdojo adds that paper's own win rates."""
    seed: int = 0
    """Decides clips, gold pairs and names of files."""


def create(argv: list[str]) -> int:
    """Runs ``dojobench study create``.

    Args:
        argv: Arguments behind ``create``.

    Returns:
        The exit code.
    """
    command = parse(CreateCommand, argv, prog="dojobench study create")
    from dojobench.benchmarks.progress import Meter
    from dojobench.datasets.suites import open_suite
    from dojobench.human_eval.create import CreateConfig, create_study

    suite = open_suite(command.suite, data=command.data)
    config = CreateConfig(
        title=command.title or f"Robot videos: {suite.spec.name}",
        pairs=command.pairs,
        axes=command.axes,
        languages=command.languages,
        reference=command.reference,
        scaling=command.scaling,
        max_seconds=command.max_seconds,
        per_rater=command.per_rater,
        votes_per_pair=command.votes_per_pair,
        min_gold=command.min_gold,
        min_seconds=command.min_seconds,
        anchor=command.anchor,
        preset=command.preset,
        seed=command.seed,
    )
    with Meter("encoding", command.pairs) as meter:
        made = create_study(command.runs, suite, command.out, config, advance=meter.advance)
    height, width = suite.spec.resolution
    gold = ", ".join(f"{count} {kind}" for kind, count in made.gold.items()) or "none"
    least, most = made.frames
    lines = [
        f"Study:  {command.out} ({made.clips} clips of {_range(least, most)} frames at "
        f"{suite.spec.frame_rate:g} Hz, {made.bytes / 2**20:.1f} MiB of media)",
        f"Size:   {height}x{width} shown at {made.picture.height}x{made.picture.width} "
        f"({made.picture.scaling})",
        f"Gold:   {gold}",
        f"Plan:   {command.out / 'study.toml'}",
        f"        {made.hash}",
        f"Next:   read the plan, then dojobench study serve {command.out}",
    ]
    print("\n".join(lines))
    return 0


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"
