"""Makes groups of episodes on disk, shard by shard; what is whole is not made again."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_model
from dojobench.datasets.statistics import ActionStatistics, save_statistics
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.arrays import array_digest, save_array
from dojobench.reference_model.training.episode_files import (
    GROUP_FILE,
    STATISTICS_FILE,
    GroupInfo,
    ShardInfo,
    StoredEpisode,
    actions_file,
    frames_file,
    shard_file,
)
from dojobench.reference_model.training.episodes import EpisodeGroup


def fill_group(
    root: Path, info: GroupInfo, make: Callable[[Sequence[int]], Iterator[StoredEpisode]]
) -> EpisodeGroup:
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
    missing = [n for n in range(info.shards) if not (folder / shard_file(n)).is_file()]
    made = make([each for shard in missing for each in info.members(shard)])
    for shard in missing:
        _write_shard(folder, info, shard, [next(made) for _ in info.members(shard)])
    # Lets the progress come to its end.
    next(made, None)
    group = EpisodeGroup(folder)
    if info.action_dim and not (folder / STATISTICS_FILE).is_file():
        save_statistics(_statistics_of(group), folder / STATISTICS_FILE)
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
    path = folder / GROUP_FILE
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
    save_array(folder / frames_file(shard), frames)
    if info.action_dim:
        actions = np.concatenate([episode.actions for episode in episodes])
        save_array(folder / actions_file(info, shard), actions.astype(np.float32))
    done = ShardInfo(
        ids=tuple(episode.id for episode in episodes),
        lengths=tuple(len(episode.frames) for episode in episodes),
        frames_sha256=array_digest(frames),
    )
    write_atomically(folder / shard_file(shard), (done.model_dump_json() + "\n").encode())


def _statistics_of(group: EpisodeGroup) -> ActionStatistics:
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
