"""Turns what a user states on the command line into a plan for freezing."""

from pathlib import Path
from typing import TYPE_CHECKING

from dojobench.datasets.freeze import FreezePlan
from dojobench.datasets.manifest import read_manifest
from dojobench.datasets.sampling import stride_for
from dojobench.datasets.source import EpisodeSource
from dojobench.protocol.errors import BadInputError

if TYPE_CHECKING:
    from dojobench.datasets.cli import FreezeCommand

WINDOW95 = "window95"


def plan_from(command: "FreezeCommand", source: EpisodeSource, name: str) -> FreezePlan:
    """Makes a plan.

    Args:
        command: What the user states.
        source: The dataset.
        name: The suite's name.

    Raises:
        BadInputError: If the rate, a split or an assignment is not usable.
    """
    for option, value in (("--limit", command.limit), ("--spacing", command.spacing),
                          ("--clips-per-episode", command.clips_per_episode)):  # fmt: skip
        if value is not None and value < 1:
            raise BadInputError(f"{option} is {value}, but must be at least 1.")
    if command.lead < 0:
        raise BadInputError(f"--lead is {command.lead}, but must be at least 0.")
    window95 = command.split == WINDOW95
    return FreezePlan(
        name=name,
        embodiment=command.embodiment,
        frames=command.frames,
        stride=1 if command.rate is None else stride_for(source.frame_rate, command.rate),
        context=command.context,
        lead=command.lead,
        clips_per_episode=command.clips_per_episode,
        spacing=command.spacing,
        limit=command.limit,
        splits={"val": 1.0} if window95 else parse_splits(command.split),
        assigned=parse_assigned(command.assign),
        window95=window95,
        seed=command.seed,
        exclude=command.exclude,
        camera=command.camera,
        views=command.views,
        resolution=command.resolution,
        rule=command.actions,
        kind=command.kind,
        units=command.units,
        revision=command.revision,
        obtain=command.obtain,
        action_key=command.action_key,
        description=command.description,
    )


def parse_splits(text: str) -> dict[str, float]:
    """Reads ``val``, or shares such as ``val=0.2,train=0.8``.

    Raises:
        BadInputError: If a share is no number.
    """
    if "=" not in text:
        return {text: 1.0}
    shares: dict[str, float] = {}
    for part in text.split(","):
        split, _, share = part.partition("=")
        try:
            shares[split.strip()] = float(share)
        except ValueError as error:
            raise BadInputError(
                f"The split '{part}' has no share that is a number; state it as in "
                "val=0.2,train=0.8."
            ) from error
    return shares


def parse_assigned(texts: tuple[str, ...]) -> dict[str, str]:
    """Reads assignments such as ``val=3,4``: from episode to split.

    Raises:
        BadInputError: If one names no episodes, or an episode stands in two splits.
    """
    assigned: dict[str, str] = {}
    for text in texts:
        split, _, episodes = text.partition("=")
        for episode in filter(None, (each.strip() for each in episodes.split(","))):
            if assigned.setdefault(episode, split) != split:
                raise BadInputError(
                    f"Episode {episode} is assigned to '{assigned[episode]}' and to '{split}'; "
                    "state one."
                )
        if not split or not episodes:
            raise BadInputError(f"The assignment '{text}' must be stated as in val=3,4.")
    return assigned


def episodes_of(manifest: Path, split: str, source: EpisodeSource) -> tuple[str, ...]:
    """Names the episodes of a manifest's split.

    Raises:
        BadInputError: If the split has none, or one is not in the dataset.
    """
    clips = read_manifest(manifest).clips
    episodes = tuple(dict.fromkeys(clip.episode for clip in clips if clip.split == split))
    unknown = [each for each in episodes if each not in source.episode_ids]
    if not episodes or unknown:
        splits = ", ".join(sorted({clip.split for clip in clips}))
        reason = f"has no split '{split}', only {splits}"
        if unknown:
            reason = f"names the episode '{unknown[0]}', which {source.root} has not"
        raise BadInputError(f"The manifest {manifest} {reason}; name another.")
    return episodes
