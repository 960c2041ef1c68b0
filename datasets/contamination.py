"""Does a training set hold what a suite tests? Nearly equal frames and identical scenes.

Frames are compared one by one, so a copy is found however it was cut, sped up, re-encoded,
resized or brightened. A clip counts as copied where one training episode shows most of it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dojobench.datasets.dojo_plans import scene_id
from dojobench.datasets.dojo_suite import DojoSuite
from dojobench.datasets.near_duplicates import (
    Likeness,
    Match,
    Prints,
    find_matches,
    join_prints,
    take_prints,
)
from dojobench.datasets.progress import track
from dojobench.datasets.source import EpisodeSource
from dojobench.datasets.suite import ClipRecord, Suite

_MAX_INFO = 64 * 2**20
_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class ContaminationConfig:
    """How closely to look.

    Attributes:
        likeness: When two frames count as the same.
        clip_step: Every which frame of a clip is looked for; the first and the last always are.
        train_step: Every which frame of the training set is searched.
        share: Least share of a clip's frames that one episode must show for it to be a copy.
        splits: Splits of the suite to look for; all but ``train`` where empty.
    """

    likeness: Likeness = field(default_factory=Likeness)
    clip_step: int = 4
    train_step: int = 1
    share: float = 0.5
    splits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CopiedClip:
    """A clip of the suite that the training set shows.

    Attributes:
        clip: Its id.
        split: Its split.
        episode: Training episode that shows most of it.
        frames: Number of its frames that this episode shows.
        looked_for: Number of its frames that were looked for.
        distance: Mean distance of those that were found.
    """

    clip: str
    split: str
    episode: str
    frames: int
    looked_for: int
    distance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Contamination:
    """What was found.

    Attributes:
        clips: Clips looked for.
        clip_frames: Their frames looked for, those without contrast left out.
        train_frames: Frames searched, those without contrast left out.
        frames_found: Frames of the suite that the training set shows, in copied clips or not.
        copies: Copied clips.
        same_scenes: Clips whose scene was made from a seed of the training set, by id.
        scenes_known: Whether both sides say what scenes they were made from.
    """

    clips: int
    clip_frames: int
    train_frames: int
    frames_found: int
    copies: tuple[CopiedClip, ...]
    same_scenes: tuple[str, ...]
    scenes_known: bool

    @property
    def found(self) -> bool:
        """Whether the training set holds what the suite tests."""
        return bool(self.copies or self.same_scenes)


def check_contamination(
    source: EpisodeSource, suite: Suite, config: ContaminationConfig | None = None
) -> Contamination:
    """Compares a training set with a suite.

    Args:
        source: The training set.
        suite: The suite.
        config: How closely to look.

    Raises:
        BadInputError: If a video or a clip cannot be read.
    """
    config = config or ContaminationConfig()
    clips = [
        clip
        for clip in suite.clips
        if (clip.split in config.splits if config.splits else clip.split != "train")
    ]
    wanted, owners = _suite_prints(suite, clips, config)
    found: list[tuple[str, Match]] = []
    searched = 0
    ids = source.episode_ids
    for name in track(ids, f"searching {source.name}", len(ids)):
        prints = _episode_prints(source, name, config)
        searched += int(prints.usable.sum())
        found += [(name, match) for match in find_matches(wanted, prints, config.likeness)]
    scenes, same = _same_scenes(source, suite, clips)
    return Contamination(
        clips=len(clips),
        clip_frames=int(wanted.usable.sum()),
        train_frames=searched,
        frames_found=len({match.first for _, match in found}),
        copies=tuple(_copies(clips, wanted, owners, found, config)),
        same_scenes=same,
        scenes_known=scenes,
    )


def _suite_prints(
    suite: Suite, clips: Sequence[ClipRecord], config: ContaminationConfig
) -> tuple[Prints, list[int]]:
    parts: list[Prints] = []
    owners: list[int] = []
    for place, record in enumerate(track(clips, "reading the suite", len(clips))):
        clip = suite.open(record)
        for at in sorted({*range(0, record.frames, config.clip_step), record.frames - 1}):
            parts.append(take_prints(clip.read(at, at + 1), config.likeness))
            owners.append(place)
        clip.close()
    return join_prints(parts), owners


def _episode_prints(source: EpisodeSource, name: str, config: ContaminationConfig) -> Prints:
    episode = source.episode(name)
    wanted = range(0, episode.length, config.train_step)
    parts = []
    for start in range(0, len(wanted), _BLOCK):
        block = wanted[start : start + _BLOCK]
        frames = episode.frames(source.cameras[0], list(block))
        parts.append(take_prints(frames, config.likeness))
    return join_prints(parts)


def _copies(
    clips: Sequence[ClipRecord],
    wanted: Prints,
    owners: Sequence[int],
    found: Sequence[tuple[str, Match]],
    config: ContaminationConfig,
) -> list[CopiedClip]:
    usable = Counter(owner for owner, each in zip(owners, wanted.usable, strict=True) if each)
    shown: dict[tuple[int, str], list[Match]] = {}
    for name, match in found:
        shown.setdefault((owners[match.first], name), []).append(match)
    best: dict[int, tuple[str, list[Match]]] = {}
    for (place, name), matches in shown.items():
        if place not in best or len(matches) > len(best[place][1]):
            best[place] = (name, matches)
    return [
        CopiedClip(
            clip=clips[place].id,
            split=clips[place].split,
            episode=best[place][0],
            frames=len(best[place][1]),
            looked_for=usable[place],
            distance=sum(match.distance for match in best[place][1]) / len(best[place][1]),
        )
        for place in sorted(best)
        if len(best[place][1]) >= config.share * usable[place]
    ]


def _same_scenes(
    source: EpisodeSource, suite: Suite, clips: Sequence[ClipRecord]
) -> tuple[bool, tuple[str, ...]]:
    """Compares the seeds of scenes, where both sides were simulated."""
    trained = trained_scenes(source.root)
    if trained is None or not isinstance(suite, DojoSuite):
        return False, ()
    same = tuple(clip.id for clip in clips if scene_id(suite.plan(clip).seed) in trained)
    return True, same


def trained_scenes(root: Path) -> frozenset[str] | None:
    """Reads which scenes a folder that `dojobench dojo make` wrote was made from.

    Returns:
        Hashes of their seeds, or ``None`` where the folder does not say.
    """
    path = root / "meta" / "info.json"
    try:
        if path.stat().st_size > _MAX_INFO:
            return None
        info = json.loads(path.read_text(encoding="utf-8"))
        scenes = info["dojobench"]["dojo"]["scenes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return frozenset(map(str, scenes)) if isinstance(scenes, list) else None
