"""Episodes on disk, ready to be drawn from: groups by name, in shards that are memory-mapped.

What lies there is said in ``episode_files``, and made by ``episode_writer``.
"""

import bisect
import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from dojobench.datasets.json_files import read_model
from dojobench.datasets.statistics import ActionStatistics, load_statistics
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.arrays import map_array
from dojobench.reference_model.training.episode_files import (
    GROUP_FILE,
    STATISTICS_FILE,
    ActionRows,
    Frames,
    GroupInfo,
    ShardInfo,
    actions_file,
    frames_file,
    shard_file,
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
        info = read_model(self.folder / GROUP_FILE, GroupInfo)
        self.info = info
        self.ids: tuple[str, ...] = ()
        self.lengths: tuple[int, ...] = ()
        self._frames: list[Frames] = []
        self._actions: list[ActionRows] = []
        self._starts: list[int] = []
        digest = hashlib.sha256((self.folder / GROUP_FILE).read_bytes())
        for shard in range(info.shards):
            self._open_shard(shard, digest)
        self.digest = f"sha256:{digest.hexdigest()}"
        self._first = [shard * info.shard for shard in range(info.shards)]

    def _open_shard(self, shard: int, digest: "hashlib._Hash") -> None:
        info, path = self.info, self.folder / shard_file(shard)
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
        self._frames.append(map_array(self.folder / frames_file(shard), size, "uint8"))
        if info.action_dim:
            rows = (total - count, info.action_dim)
            self._actions.append(
                map_array(self.folder / actions_file(info, shard), rows, "float32")
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
        return replace(load_statistics(self.folder / STATISTICS_FILE), name=self.info.name)


class EpisodeStore:
    """A folder of groups, for reading.

    Attributes:
        root: The folder.
        names: Of its groups, in alphabetical order.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.names = tuple(sorted(path.parent.name for path in self.root.glob(f"*/{GROUP_FILE}")))
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
