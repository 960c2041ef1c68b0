"""What a group of episodes looks like on disk: its description, its shards, their names.

A group is made once (``episode_writer``) and then only read (``episodes``): pixels as uint8, the
actions between them, and what they were made from. Human video stands there like any other group;
its actions, where the simulator knows them, lie under another name and are never given by accident.

Files of a group: ``group.json`` says what it is to be; ``frames-00000.npy`` holds the frames of a
shard's episodes end to end, ``actions-00000.npy`` (or ``withheld-00000.npy``) their actions, and
``shard-00000.json`` their names and lengths. That last file is written last, so a shard that has
one is whole, and whoever is interrupted goes on with the shards that have none.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Frames = npt.NDArray[np.uint8]
ActionRows = npt.NDArray[np.float32]

GROUP_FILE = "group.json"
STATISTICS_FILE = "statistics.json"


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


def shard_file(shard: int) -> str:
    """Names the file that says what a shard holds."""
    return f"shard-{shard:05d}.json"


def frames_file(shard: int) -> str:
    """Names the file of a shard's frames."""
    return f"frames-{shard:05d}.npy"


def actions_file(info: GroupInfo, shard: int) -> str:
    """Names the file of a shard's actions."""
    return f"{'withheld' if info.withheld else 'actions'}-{shard:05d}.npy"
