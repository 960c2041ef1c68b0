"""Freezes a dataset into a manifest: which clips, in which split, with which hashes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pydantic import ValidationError

from dojobench.datasets.clips import ClipRules, FrozenClip
from dojobench.datasets.manifest import ActionSpaceFields, Header, SourceFields
from dojobench.datasets.progress import track
from dojobench.datasets.sampling import (
    ActionRule,
    Window,
    all_windows,
    assign_split,
    even_starts,
    split_window95,
    spread,
)
from dojobench.datasets.source import EpisodeSource
from dojobench.datasets.suite import ClipRecord
from dojobench.protocol import ActionKind
from dojobench.protocol.errors import BadInputError

_WINDOW95_CLIPS = 100


@dataclass(frozen=True, kw_only=True)
class FreezePlan:
    """What a suite is to be made of.

    Attributes:
        name: The suite's name.
        embodiment: The robot, stated; ``none`` for video without actions.
        frames: Clip frames, context included.
        stride: Recorded frames per clip frame.
        context: Leading frames that models may see and that are not scored.
        lead: Clip steps that an episode must have before a clip, so that relative actions have
            the step that they start from.
        clips_per_episode: At most so many clips of an episode; as many as fit where ``None``.
        spacing: Least number of recorded frames between two starts; a clip's length, so that
            clips do not overlap, where ``None``.
        limit: At most so many clips of each split, spread evenly over it.
        splits: Share of the episodes in each split.
        assigned: Split of single episodes, by id; the shares hold for the others.
        window95: Splits windows instead of episodes, as the released DreamDojo loader does.
        seed: Gives another assignment of episodes to splits.
        exclude: Episodes to leave out.
        camera: Main camera; the dataset's first where ``None``.
        views: Further cameras.
        resolution: Size that frames are cropped and resized to; the video's own where ``None``.
        rule: Which recorded actions lead from one clip frame to the next.
        kind: What the numbers of an action are.
        units: Their units, in words.
        revision: Where the data come from, such as ``owner/name@commit``.
        obtain: Where to get them, in words.
        action_key: Which of the dataset's several actions the source was opened with.
        description: What the suite is for.
    """

    name: str
    embodiment: str
    frames: int = 49
    stride: int = 1
    context: int = 1
    lead: int = 1
    clips_per_episode: int | None = None
    spacing: int | None = None
    limit: int | None = None
    splits: Mapping[str, float] = field(default_factory=lambda: {"val": 1.0})
    assigned: Mapping[str, str] = field(default_factory=dict)
    window95: bool = False
    seed: int = 0
    exclude: tuple[str, ...] = ()
    camera: str | None = None
    views: tuple[str, ...] = ()
    resolution: tuple[int, int] | None = None
    rule: ActionRule = "first"
    kind: ActionKind = "absolute"
    units: str = ""
    revision: str = "unstated"
    obtain: str = ""
    action_key: str | None = None
    description: str = ""


class Chosen(NamedTuple):
    """A window of a dataset and the split that it goes to."""

    source: str
    split: str
    window: Window


class Frozen(NamedTuple):
    """A suite ready to be written.

    Attributes:
        header: The manifest's first line.
        clips: Its clips.
        too_short: Episodes that no clip fits into.
    """

    header: Header
    clips: tuple[ClipRecord, ...]
    too_short: tuple[str, ...]


def freeze(source: EpisodeSource, plan: FreezePlan) -> Frozen:
    """Freezes a dataset.

    The first and the last frame of every clip are decoded, so that a suite whose clips cannot
    be read is not made.

    Args:
        source: The dataset.
        plan: What to make of it.

    Returns:
        Header and clips; nothing has been written.

    Raises:
        BadInputError: If the plan does not fit the dataset, no clip fits into any episode, or a
            clip cannot be read or holds NaN.
    """
    _check_plan(source, plan)
    lead = plan.lead if source.action_dim else 0
    kept = [each for each in source.episode_ids if each not in plan.exclude]
    lengths = {
        each: source.episode(each).length for each in track(kept, "reading episodes", len(kept))
    }
    first = lead * plan.stride
    needed = first + (plan.frames - 1) * plan.stride + 1
    too_short = tuple(each for each, length in lengths.items() if length < needed)
    name = slug(source.name)
    if plan.window95:
        chosen = _choose_window95(name, lengths, plan, lead)
    else:
        chosen = _choose_evenly(name, lengths, plan, first)
    if not chosen:
        raise BadInputError(
            f"No clip of {plan.frames} frames at stride {plan.stride} fits into an episode of "
            f"{source.root}: it needs {needed} frames and the longest has "
            f"{max(lengths.values(), default=0)}; state fewer frames or a smaller stride."
        )
    header = make_header({name: source}, plan)
    return Frozen(header, make_records({name: source}, chosen, plan, header), too_short)


def make_header(sources: Mapping[str, EpisodeSource], plan: FreezePlan) -> Header:
    """Makes a manifest's first line.

    Args:
        sources: The datasets by name; they agree in rate, actions and, unless the plan states
            one, resolution.
        plan: What the suite is made of.

    Raises:
        BadInputError: If they do not agree, or a field of the plan is not valid.
    """
    first = next(iter(sources.values()))
    for each in sources.values():
        if (each.frame_rate, each.action_dim) != (first.frame_rate, first.action_dim):
            raise BadInputError(
                f"{each.root} has {each.action_dim} action dimensions at {each.frame_rate:g} Hz, "
                f"but {first.root} {first.action_dim} at {first.frame_rate:g} Hz; freeze them "
                "as suites of their own."
            )
    resolution = plan.resolution or first.resolution
    sizes = {each.resolution for each in sources.values()}
    if plan.resolution is None and len(sizes) > 1:
        raise BadInputError(
            f"The datasets' videos have the sizes {sorted(sizes)}; state one resolution."
        )
    repeat = plan.stride if plan.rule == "concat" else 1
    try:
        return Header(
            dojobench_manifest=1,
            name=plan.name,
            description=plan.description,
            resolution=resolution,
            fit="exact" if sizes == {resolution} else "crop-resize",
            frame_rate=first.frame_rate / plan.stride,
            context_frames=plan.context,
            action_space=ActionSpaceFields(
                dim=first.action_dim * repeat,
                embodiment=plan.embodiment,
                kind=plan.kind if first.action_dim else "none",
                names=_repeated(first.action_names, repeat),
                units=plan.units,
            ),
            actions=plan.rule,
            views=list(plan.views),
            sources={
                name: SourceFields(
                    format=each.format,
                    revision=plan.revision,
                    obtain=plan.obtain,
                    root=each.root.resolve().name,
                    action_key=plan.action_key,
                )
                for name, each in sources.items()
            },
        )
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadInputError(
            f"The suite's '{where}' is not valid ({problem['msg'].lower()}); state another."
        ) from error


def make_records(
    sources: Mapping[str, EpisodeSource],
    chosen: Sequence[Chosen],
    plan: FreezePlan,
    header: Header,
    *,
    decode: bool = True,
) -> tuple[ClipRecord, ...]:
    """Makes and hashes the records of chosen windows.

    Args:
        sources: The datasets by name.
        chosen: The windows, in the manifest's order.
        plan: What the suite is made of.
        header: Its header.
        decode: Whether to decode each clip's first and last frame as a check.

    Raises:
        BadInputError: If a clip cannot be read, or its actions hold NaN.
    """
    rules = ClipRules(
        resolution=header.resolution,
        fit=header.fit,
        rule=header.actions,
        views=plan.views,
        names=tuple(header.action_space.names),
    )
    records = []
    for each in track(chosen, "hashing clips", len(chosen)):
        source = sources[each.source]
        episode = source.episode(each.window.episode)
        record = ClipRecord(
            id=f"{each.source}-{slug(each.window.episode)}-{each.window.start}",
            source=each.source,
            revision=plan.revision,
            episode=each.window.episode,
            start=each.window.start,
            stride=plan.stride,
            frames=plan.frames,
            split=each.split,
            embodiment=plan.embodiment,
            camera=plan.camera or source.cameras[0],
            instruction=episode.instruction,
        )
        clip = FrozenClip(episode, record, rules)
        if decode:
            clip.read(0, 1)
            clip.read(plan.frames - 1, plan.frames)
        records.append(replace(record, sha256=clip.content_hash()))
        clip.close()
    return tuple(records)


def slug(name: str) -> str:
    """Turns a name into one that may stand in a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100] or "data"


def _check_plan(source: EpisodeSource, plan: FreezePlan) -> None:
    if plan.frames <= plan.context or plan.context < 1 or plan.stride < 1:
        raise BadInputError(
            f"Clips of {plan.frames} frames with {plan.context} of context at stride "
            f"{plan.stride} have nothing to predict; state frames > context >= 1 and stride >= 1."
        )
    if not source.cameras:
        raise BadInputError(f"The dataset {source.root} has no video; name one that has.")
    for camera in (*([plan.camera] if plan.camera else []), *plan.views):
        if camera not in source.cameras:
            raise BadInputError(
                f"The dataset {source.root} has no camera '{camera}'; its cameras are: "
                f"{', '.join(source.cameras)}."
            )
    for episode in (*plan.assigned, *plan.exclude):
        if episode not in source.episode_ids:
            raise BadInputError(
                f"The dataset {source.root} has no episode '{episode}'; its "
                f"{len(source.episode_ids)} episodes begin with "
                f"{', '.join(source.episode_ids[:5])}."
            )
    total = sum(plan.splits.values())
    if not plan.splits or min(plan.splits.values()) < 0 or abs(total - 1) > 1e-6:
        shares = ", ".join(f"{name}={share:g}" for name, share in plan.splits.items())
        raise BadInputError(f"The shares of the splits ({shares}) must sum to 1.")


def _choose_evenly(
    name: str, lengths: Mapping[str, int], plan: FreezePlan, first: int
) -> list[Chosen]:
    chosen = []
    for episode, length in lengths.items():
        starts = even_starts(
            first,
            length - 1 - (plan.frames - 1) * plan.stride,
            count=plan.clips_per_episode,
            spacing=plan.spacing or plan.frames * plan.stride,
        )
        split = plan.assigned.get(episode) or assign_split(
            name, episode, plan.splits, seed=plan.seed
        )
        chosen += [Chosen(name, split, Window(episode, start)) for start in starts]
    return _limit(chosen, plan.limit)


def _limit(chosen: Sequence[Chosen], limit: int | None) -> list[Chosen]:
    """Thins every split out evenly and keeps the order."""
    if limit is None:
        return list(chosen)
    kept: set[int] = set()
    for split in {each.split for each in chosen}:
        places = [place for place, each in enumerate(chosen) if each.split == split]
        number = min(limit, len(places))
        kept |= {places[i * len(places) // number] for i in range(number)}
    return [each for place, each in enumerate(chosen) if place in kept]


def _choose_window95(
    name: str, lengths: Mapping[str, int], plan: FreezePlan, lead: int
) -> list[Chosen]:
    windows = all_windows(lengths, steps=plan.frames + lead, stride=plan.stride, lead=lead)
    count = plan.limit or _WINDOW95_CLIPS
    return [
        Chosen(name, split, window)
        for split, part in split_window95(windows).items()
        for window in spread(part, count)
    ]


def _repeated(names: Iterable[str], repeat: int) -> list[str]:
    if repeat == 1:
        return list(names)
    return [f"{name}@{step}" for step in range(repeat) for name in names]
