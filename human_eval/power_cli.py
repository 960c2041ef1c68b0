"""``dojobench study power``: what a study can find, before anyone votes."""

from dataclasses import dataclass

from dojobench.protocol.command_line import parse
from dojobench.protocol.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class PowerCommand:
    """Says how many votes tell one win rate from another, given raters and clips."""

    raters: int = 12
    """Raters who take part; each votes once on a pair and clip at most."""
    clips: int = 50
    """Clips that each pair of models is compared on."""
    pairs: int = 1
    """Pairs of models that are compared."""
    rate: float = 0.55
    """The win rate that is to be found, ties counted as halves."""
    against: float = 0.5
    """The win rate that it is to be told from."""
    power: float = 0.8
    """The chance of finding it."""
    level: float = 0.95
    """Coverage of the interval."""
    ties: float = 0.2
    """Share of ties."""
    rater_effect: float = 0.6
    """How much raters differ: standard deviation of their leanings, in logits."""
    clip_effect: float = 0.6
    """How much clips differ, likewise."""
    seconds: float = 30.0
    """Time for a trial, in which all questions are answered."""


def power(argv: list[str]) -> int:
    """Runs ``dojobench study power``."""
    command = parse(PowerCommand, argv, "dojobench study power")
    from dojobench.metrics.vote_power import PowerDesign, components

    if not 0 < command.power < 1 or command.pairs < 1 or command.seconds <= 0:
        raise BadInputError("--power must lie in (0, 1), --pairs and --seconds be above 0")
    design = PowerDesign(
        raters=command.raters, clips=command.clips, rate=command.rate, against=command.against,
        ties=command.ties, rater_effect=command.rater_effect, clip_effect=command.clip_effect,
        level=command.level,
    )  # fmt: skip
    try:
        components(design)
    except ValueError as error:
        raise BadInputError(f"study power: {error}") from error
    print("\n".join(describe(command)))
    return 0


def describe(command: PowerCommand) -> list[str]:
    """Writes what a design can find, as lines of text."""
    from dojobench.metrics import vote_power as planned

    design = planned.PowerDesign(
        raters=command.raters, clips=command.clips, rate=command.rate, against=command.against,
        ties=command.ties, rater_effect=command.rater_effect, clip_effect=command.clip_effect,
        level=command.level,
    )  # fmt: skip
    wanted, most = command.power, design.raters * design.clips
    alone = planned.independent_votes_needed(design, wanted)
    needed = planned.votes_needed(design, wanted)
    found = planned.detectable_rate(design, most, wanted)
    lines = [
        f"To tell {design.rate:.1%} from {design.against:.1%} with {wanted:.0%} power, "
        f"at {design.level:.0%}:",
        f"  {alone} votes per pair of models, if every vote had a rater and a clip of its own",
    ]
    everything = f"{design.raters} raters on {design.clips} clips ({most} votes per pair)"
    if needed is not None:
        lines.append(
            f"  {needed} votes per pair from {design.raters} raters on {design.clips} clips"
        )
    else:
        lines.append(
            f"  no number of votes is enough: {everything} reach "
            f"{planned.power(design, most):.0%} power"
        )
        raters = planned.raters_needed(design, wanted)
        lines.append(
            f"  {raters} raters on all {design.clips} clips would be"
            if raters is not None
            else f"  nor is any number of raters: {design.clips} clips are too few"
        )
    lines.append(f"{everything}:")
    effect = planned.design_effect(design, most)
    lines.append(f"  are worth {most / effect:.0f} independent votes (design effect {effect:.1f})")
    lines.append(
        f"  tell {design.against:.1%} from {found:.1%} and more"
        if found is not None
        else f"  tell {design.against:.1%} from no other rate"
    )
    votes = most if needed is None else needed
    each = -(-votes * command.pairs // design.raters)
    lines += [
        f"Cost: {votes * command.pairs} trials for {command.pairs} "
        f"pair{'s'[: command.pairs > 1]} of models, {each} a rater, "
        f"{each * command.seconds / 60:.0f} minutes a rater at {command.seconds:g} s each; "
        "golds and repeats come on top.",
        f"Assumed: {design.ties:.0%} ties; leanings of raters and clips vary by "
        f"{design.rater_effect:g} and {design.clip_effect:g} logits (0 means alike). "
        "A pilot study's report tells yours.",
    ]
    return lines
