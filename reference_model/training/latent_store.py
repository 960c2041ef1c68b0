"""Encoded episodes and the latent actions between their frames, for reading."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from dojobench.datasets.json_files import read_model
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.arrays import map_array
from dojobench.reference_model.training.episodes import EpisodeGroup, EpisodeStore
from dojobench.reference_model.video_tokenizer import GROUP

Halves = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]

LATENTS = "latents"
LATENT_ACTIONS = "latent_actions"


class LatentInfo(BaseModel):
    """What a group's latents are.

    Attributes:
        format: Version of the files.
        episodes: Digest of the episodes that were encoded.
        tokenizer: Digest of the tokenizer's weights.
        every: See ``LatentConfig``.
        stored: Latent frames of a stored window.
        joins: Whether longer windows are put together from these.
        precision: See ``LatentConfig``.
        shape: Channels, height and width of a latent frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    episodes: str
    tokenizer: str
    every: int
    stored: int
    joins: bool
    precision: str
    shape: tuple[int, int, int]

    def windows(self, length: int, latent_frames: int) -> int:
        """Counts the windows of an episode of ``length`` frames."""
        room = length - 1 - GROUP * (latent_frames - 1)
        return max(0, room // self.every + 1)


class LatentActionInfo(BaseModel):
    """What a group's latent actions are.

    Attributes:
        format: Version of the files.
        episodes: Digest of the episodes that were read.
        model: Digest of the latent action model's weights.
        dim: Width of a latent action.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    episodes: str
    model: str
    dim: int


_Info = TypeVar("_Info", LatentInfo, LatentActionInfo)


class LatentGroup:
    """Latents of a group, for reading.

    Attributes:
        group: Its episodes.
        info: What its latents are; ``None`` where only latent actions were read.
        action_info: What its latent actions are; ``None`` where there are none.
    """

    def __init__(self, folder: Path, group: EpisodeGroup) -> None:
        self.folder, self.group = Path(folder), group
        self.info = self._read_info(LATENTS, LatentInfo)
        self.action_info = self._read_info(LATENT_ACTIONS, LatentActionInfo)
        self._latents: list[Halves] = []
        self._actions: list[Floats] = []
        if self.info is not None:
            info = self.info
            counts = [info.windows(length, info.stored) for length in group.lengths]
            self._latents = self._map(LATENTS, counts, (info.stored, *info.shape), "float16")
            self._first = self._offsets(counts)
        if self.action_info is not None:
            counts = [length - 1 for length in group.lengths]
            shape = (self.action_info.dim,)
            self._actions = self._map(LATENT_ACTIONS, counts, shape, "float32")
            self._first_action = self._offsets(counts)

    def _read_info(self, stem: str, kind: type[_Info]) -> _Info | None:
        path = self.folder / f"{stem}.json"
        if not path.is_file():
            return None
        info = read_model(path, kind)
        if info.episodes != self.group.digest:
            raise BadInputError(
                f"The {stem.replace('_', ' ')} in {self.folder} were made from other episodes than "
                f"those in {self.group.folder}; delete them and run the stage 'latents' again."
            )
        return info

    def _map(
        self, stem: str, counts: Sequence[int], shape: tuple[int, ...], dtype: str
    ) -> list[npt.NDArray[Any]]:
        mapped = []
        for shard in range(self.group.info.shards):
            total = sum(counts[each] for each in self.group.info.members(shard))
            path = self.folder / f"{stem}-{shard:05d}.npy"
            if not path.is_file():
                raise BadInputError(
                    f"The {stem.replace('_', ' ')} in {self.folder} are not whole; run the stage "
                    "'latents' again, which makes what is missing."
                )
            mapped.append(map_array(path, (total, *shape), dtype))
        return mapped

    def _offsets(self, counts: Sequence[int]) -> list[int]:
        """Gives for every episode the number of its first row within its shard."""
        offsets: list[int] = []
        for shard in range(self.group.info.shards):
            own = [counts[each] for each in self.group.info.members(shard)]
            offsets.extend((0, *accumulate(own))[:-1])
        return offsets

    def windows(self, latent_frames: int) -> list[int]:
        """Counts each episode's windows of a length.

        Raises:
            BadInputError: If there are no latents, or windows are not stored that long.
        """
        info = self._known()
        if latent_frames < 1 or (latent_frames > info.stored and not info.joins):
            raise BadInputError(
                f"The latents in {self.folder} have windows of up to {info.stored} latent frames, "
                f"not {latent_frames}; encode them again with longer windows."
            )
        # A window of one latent frame needs a stored one all the same.
        least = max(latent_frames, info.stored)
        return [info.windows(length, least) for length in self.group.lengths]

    def start(self, index: int) -> int:
        """Gives the number of the frame with which a window begins."""
        return index * self._known().every

    def window(self, episode: int, index: int, latent_frames: int) -> Halves:
        """Gives a window's latents, float16 ``[latent_frames, channels, h, w]``, normalised."""
        info = self._known()
        shard = self._latents[episode // self.group.info.shard]
        row = self._first[episode] + index
        if not info.joins:
            return shard[row, :latent_frames]
        step = GROUP // info.every
        later = shard[row : row + (latent_frames - 1) * step : step, 1]
        return np.concatenate([shard[row, :1], later])

    def actions(self, episode: int, start: int, stop: int) -> Floats:
        """Gives latent actions ``start..stop-1`` of an episode, float32 ``[n, dim]``.

        Raises:
            BadInputError: If they were not read.
        """
        if self.action_info is None:
            raise BadInputError(
                f"There are no latent actions in {self.folder}; train the latent action model and "
                "run the stage 'latents' again."
            )
        first = self._first_action[episode]
        return self._actions[episode // self.group.info.shard][first + start : first + stop]

    def _known(self) -> LatentInfo:
        if self.info is None:
            raise BadInputError(
                f"There are no latents in {self.folder}; train the tokenizer and run the stage "
                "'latents'."
            )
        return self.info


class LatentStore:
    """A folder of groups of latents, with the episodes that they were made from.

    Attributes:
        episodes: The episodes.
        root: The folder.
    """

    def __init__(self, episodes: EpisodeStore, root: Path) -> None:
        self.episodes, self.root = episodes, Path(root)
        self._groups: dict[str, LatentGroup] = {}

    def group(self, name: str) -> LatentGroup:
        """Opens a group.

        Raises:
            BadInputError: If there are no such episodes, or their latents are not whole.
        """
        if name not in self._groups:
            self._groups[name] = LatentGroup(self.root / name, self.episodes.group(name))
        return self._groups[name]
