"""Episodes on disk, ready to be drawn from: groups by name, in shards that are memory-mapped.

A group is made once and then only read: pixels as uint8, the actions between them, and what they
were made from. Human video stands there like any other group; its actions, where the simulator
knows them, lie under another name and are never given by accident.

Files of a group: ``group.json`` says what it is to be; ``frames-00000.npy`` holds the frames of a
shard's episodes end to end, ``actions-00000.npy`` (or ``withheld-00000.npy``) their actions, and
``shard-00000.json`` their names and lengths. That last file is written last, so a shard that has
one is whole, and whoever is interrupted goes on with the shards that have none.
"""

import bisect
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_model
from dojobench.datasets.statistics import ActionStatistics, load_statistics, save_statistics
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.arrays import array_digest, map_array, save_array

Frames = npt.NDArray[np.uint8]
ActionRows = npt.NDArray[np.float32]

_GROUP_FILE = "group.json"
_STATISTICS_FILE = "statistics.json"


@dataclass(frozen=True, kw_only=True)
class StoredEpisode:
    """An episode as it goes into the store.

    Attributes:
        id: Unique within its group.
        frames: uint8 RGB ``[n, 3, height, width]``.
        actions: float32 ``[n - 1, dim]``, physical units; row ``i`` leads from frame ``i`` to
            ``i + 1``. The width is 0 where there are none.
    """

    id: str
    frames: Frames
    actions: ActionRows


class GroupInfo(BaseModel):
    """What a group is to be, decided before its first episode is made.

    Attributes:
        format: Version of the files.
        name: Such as ``arm-train``; also its folder.
        embodiment: Who acts, stated by name.
        frame_rate: Frames per second.
        height: Of a frame, pixels.
        width: Of a frame, pixels.
        action_dim: Width of an action; 0 where none are stored.
        columns: The stored actions' column of each of the embodiment's slots, where they have
            more than the embodiment takes; the identity where ``None``.
        withheld: Whether the actions are there for comparisons alone, as those of human video.
        episodes: Number of episodes.
        shard: Episodes of a shard; the last may have fewer.
        origin: What they are made from, in plain values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    embodiment: str
    frame_rate: float = Field(gt=0)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    action_dim: int = Field(ge=0)
    columns: tuple[int, ...] | None = None
    withheld: bool = False
    episodes: int = Field(ge=1)
    shard: int = Field(ge=1)
    origin: dict[str, Any] = Field(default_factory=dict)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.episodes // self.shard)

    def members(self, shard: int) -> range:
        """Gives the numbers of a shard's episodes."""
        return range(shard * self.shard, min(self.episodes, (shard + 1) * self.shard))


class ShardInfo(BaseModel):
    """What a shard holds.

    Attributes:
        ids: Of its episodes.
        lengths: Frames of each.
        frames_sha256: Hash of the frames' bytes, by which copies are told apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: tuple[str, ...]
    lengths: tuple[int, ...]
    frames_sha256: str


def fill_group(
    root: Path, info: GroupInfo, make: Callable[[Sequence[int]], Iterator[StoredEpisode]]
) -> "EpisodeGroup":
    """Makes a group, or what is missing of it.

    Args:
        root: The store's folder; it is made where it does not exist.
        info: What the group is to be.
        make: Gives the episodes of these numbers, in their order.

    Returns:
        The whole group, with its action statistics where it has actions.

    Raises:
        BadInputError: If the group is there already and is another, or cannot be written.
    """
    folder = Path(root) / info.name
    _claim(folder, info)
    missing = [n for n in range(info.shards) if not (folder / _shard_file(n)).is_file()]
    made = make([each for shard in missing for each in info.members(shard)])
    for shard in missing:
        _write_shard(folder, info, shard, [next(made) for _ in info.members(shard)])
    # Lets the progress come to its end.
    next(made, None)
    group = EpisodeGroup(folder)
    if info.action_dim and not (folder / _STATISTICS_FILE).is_file():
        save_statistics(_statistics_of(group), folder / _STATISTICS_FILE)
    return group


def _claim(folder: Path, info: GroupInfo) -> None:
    """Writes what the group is to be, or sees that it is what stands there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"The folder {folder} cannot be made ({(error.strerror or 'error').lower()}); choose "
            "another place for the data."
        ) from error
    path = folder / _GROUP_FILE
    if not path.is_file():
        text = json.dumps(info.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
        write_atomically(path, text.encode())
        return
    there, wanted = read_model(path, GroupInfo).model_dump(), info.model_dump()
    differing = [field for field in wanted if _plain(there[field]) != _plain(wanted[field])]
    if differing:
        raise BadInputError(
            f"The data in {folder} was made with another '{differing[0]}' "
            f"({_plain(there[differing[0]])} instead of {_plain(wanted[differing[0]])}); delete "
            "the folder or name another."
        )


def _plain(value: Any) -> str:
    """Gives a value as JSON, in which tuples and lists are the same."""
    return json.dumps(value, sort_keys=True)


def _shard_file(shard: int) -> str:
    return f"shard-{shard:05d}.json"


def _actions_file(info: GroupInfo, shard: int) -> str:
    return f"{'withheld' if info.withheld else 'actions'}-{shard:05d}.npy"


def _write_shard(
    folder: Path, info: GroupInfo, shard: int, episodes: Sequence[StoredEpisode]
) -> None:
    for episode in episodes:
        length = len(episode.frames)
        size = (length, 3, info.height, info.width)
        rows = (max(0, length - 1), info.action_dim)
        if episode.frames.shape != size or episode.actions.shape != rows or not length:
            raise BadInputError(
                f"The episode '{episode.id}' has frames of shape {episode.frames.shape} and "
                f"actions of shape {episode.actions.shape}, but the group '{info.name}' takes "
                f"{size} and {rows}; leave the episode out or make another group."
            )
        if not np.isfinite(episode.actions).all():
            raise BadInputError(
                f"The episode '{episode.id}' of the group '{info.name}' has NaN or infinity among "
                "its actions; repair it or leave it out."
            )
    frames = np.concatenate([episode.frames for episode in episodes])
    save_array(folder / f"frames-{shard:05d}.npy", frames)
    if info.action_dim:
        actions = np.concatenate([episode.actions for episode in episodes])
        save_array(folder / _actions_file(info, shard), actions.astype(np.float32))
    done = ShardInfo(
        ids=tuple(episode.id for episode in episodes),
        lengths=tuple(len(episode.frames) for episode in episodes),
        frames_sha256=array_digest(frames),
    )
    write_atomically(folder / _shard_file(shard), (done.model_dump_json() + "\n").encode())


def _statistics_of(group: "EpisodeGroup") -> ActionStatistics:
    """Takes statistics over all actions of a group, withheld or not."""
    rows = [group.actions(n, withheld=True) for n in range(len(group))]
    values = np.concatenate(rows).astype(np.float64)
    low, high = np.quantile(values, (0.01, 0.99), axis=0)
    return ActionStatistics(
        name=group.info.name,
        minimum=values.min(axis=0),
        maximum=values.max(axis=0),
        mean=values.mean(axis=0),
        std=values.std(axis=0),
        quantiles={"q01": low, "q99": high},
    )


class EpisodeGroup:
    """A whole group, for reading; frames come as views of the memory map.

    Attributes:
        info: What it is.
        folder: Where it lies.
        ids: Of its episodes.
        lengths: Frames of each episode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        info = read_model(self.folder / _GROUP_FILE, GroupInfo)
        self.info = info
        self.ids: tuple[str, ...] = ()
        self.lengths: tuple[int, ...] = ()
        self._frames: list[Frames] = []
        self._actions: list[ActionRows] = []
        self._starts: list[int] = []
        digest = hashlib.sha256((self.folder / _GROUP_FILE).read_bytes())
        for shard in range(info.shards):
            self._open_shard(shard, digest)
        self.digest = f"sha256:{digest.hexdigest()}"
        self._first = [shard * info.shard for shard in range(info.shards)]

    def _open_shard(self, shard: int, digest: "hashlib._Hash") -> None:
        info, path = self.info, self.folder / _shard_file(shard)
        if not path.is_file():
            raise BadInputError(
                f"The data in {self.folder} is not whole: {path.name} is missing; run the stage "
                "'data' again, which makes what is missing."
            )
        described = read_model(path, ShardInfo)
        total, count = sum(described.lengths), len(described.lengths)
        if count != len(described.ids) or count != len(info.members(shard)):
            raise BadInputError(f"{path} lists {count} episodes; delete it and make them again.")
        digest.update(described.model_dump_json().encode())
        size = (total, 3, info.height, info.width)
        self._frames.append(map_array(self.folder / f"frames-{shard:05d}.npy", size, "uint8"))
        if info.action_dim:
            rows = (total - count, info.action_dim)
            self._actions.append(
                map_array(self.folder / _actions_file(info, shard), rows, "float32")
            )
        self._starts.extend((0, *accumulate(described.lengths))[:-1])
        self.ids += described.ids
        self.lengths += described.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def frames(self, episode: int, start: int = 0, stop: int | None = None) -> Frames:
        """Gives frames ``start..stop-1`` of an episode, uint8 ``[n, 3, height, width]``.

        They are a view of the file and cannot be written to.

        Raises:
            BadInputError: If the episode or the range does not exist.
        """
        shard, first = self._locate(episode, start, stop, self.lengths)
        return self._frames[shard][first + start : first + self._stop(episode, stop)]

    def actions(
        self, episode: int, start: int = 0, stop: int | None = None, *, withheld: bool = False
    ) -> ActionRows:
        """Gives action rows ``start..stop-1`` of an episode, float32 ``[n, dim]``.

        Args:
            episode: Its number.
            start: First row; it leads from frame ``start`` to the next.
            stop: One past the last row; all where ``None``.
            withheld: Whether actions that are withheld are meant to be read nevertheless.

        Raises:
            BadInputError: If the group has no actions or they are withheld, or the range does
                not exist.
        """
        if not self.info.action_dim:
            raise BadInputError(
                f"The group '{self.info.name}' in {self.folder} has no actions; train on it with "
                "latent actions or with none."
            )
        if self.info.withheld and not withheld:
            raise BadInputError(
                f"The actions of the group '{self.info.name}' in {self.folder} are withheld; train "
                "on it with latent actions, with none, or ask for the withheld ones by name."
            )
        rows = [length - 1 for length in self.lengths]
        shard, first = self._locate(episode, start, stop, rows)
        before = episode - self._first[shard]
        end = rows[episode] if stop is None else stop
        return self._actions[shard][first - before + start : first - before + end]

    def _stop(self, episode: int, stop: int | None) -> int:
        return self.lengths[episode] if stop is None else stop

    def _locate(
        self, episode: int, start: int, stop: int | None, lengths: Sequence[int]
    ) -> tuple[int, int]:
        """Gives an episode's shard and where its frames begin there."""
        if not 0 <= episode < len(self.lengths):
            raise BadInputError(
                f"The group '{self.info.name}' has episodes 0 to {len(self) - 1}, not {episode}."
            )
        end = lengths[episode] if stop is None else stop
        if not 0 <= start <= end <= lengths[episode]:
            raise BadInputError(
                f"Episode {episode} of '{self.info.name}' has rows 0 to {lengths[episode] - 1}, "
                f"not {start} to {end - 1}."
            )
        return bisect.bisect_right(self._first, episode) - 1, self._starts[episode]

    def statistics(self) -> ActionStatistics:
        """Reads the statistics of the group's actions, withheld ones included.

        Raises:
            BadInputError: If the group has no actions.
        """
        if not self.info.action_dim:
            raise BadInputError(
                f"The group '{self.info.name}' in {self.folder} has no actions to normalise by; "
                "name a group that has."
            )
        return replace(load_statistics(self.folder / _STATISTICS_FILE), name=self.info.name)


class EpisodeStore:
    """A folder of groups, for reading.

    Attributes:
        root: The folder.
        names: Of its groups, in alphabetical order.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.names = tuple(sorted(path.parent.name for path in self.root.glob(f"*/{_GROUP_FILE}")))
        self._groups: dict[str, EpisodeGroup] = {}
        if not self.names:
            raise BadInputError(
                f"There is no training data in {self.root}; make it with the stage 'data'."
            )

    def group(self, name: str) -> EpisodeGroup:
        """Opens a group.

        Raises:
            BadInputError: If there is none of that name, or it is not whole.
        """
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.0)[0]
            raise BadInputError(
                f"There is no group '{name}' in {self.root}: did you mean '{near}'? It has "
                f"{', '.join(self.names)}."
            )
        if name not in self._groups:
            self._groups[name] = EpisodeGroup(self.root / name)
        return self._groups[name]
