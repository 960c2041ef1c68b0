"""Training episodes out of recorded video: LeRobot folders and any other that can be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dojobench.datasets.clips import crop_resize
from dojobench.datasets.embodiments import EMBODIMENTS, embodiment
from dojobench.datasets.formats import open_source
from dojobench.datasets.manifest import Manifest, read_manifest
from dojobench.datasets.progress import track
from dojobench.datasets.reading import ReadOptions
from dojobench.datasets.sampling import ActionRule, clip_actions, stride_for
from dojobench.datasets.source import Episode, EpisodeSource
from dojobench.datasets.statistics import load_modality
from dojobench.datasets.suites import load_named, named_manifests
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.episode_files import GroupInfo, StoredEpisode
from dojobench.reference_model.training.episode_writer import fill_group
from dojobench.reference_model.training.episodes import EpisodeStore

_DECODED_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class FolderDataConfig:
    """Training data out of a folder of recorded video.

    Attributes:
        name: The groups are called ``name-train`` and, where episodes are held out, ``name-val``.
        root: The folder.
        embodiment: Who acts, stated; ``none`` for video without actions.
        frame_rate: Frames per second wanted; the recording's own is a whole multiple of it.
        size: Height and width; frames are cropped about the centre and resized with antialiasing,
            as suites do it.
        suite: A suite, by name or by its manifest's file: its episodes that are not for training
            are held out.
        held_out: Further episodes to hold out, by id.
        left_out: Episodes to leave out altogether, by id.
        camera: The dataset's first where ``None``.
        action_key: Which of the dataset's several actions; its default where ``None``.
        rule: Which recorded actions lead from one frame to the next.
        phases: Whether a recording with twice or more frames per second is used once for every
            frame that a strided episode can begin with; validation uses the first alone.
        shard: Episodes of a shard.
    """

    name: str
    root: str
    embodiment: str
    frame_rate: float = 10.0
    size: tuple[int, int] = (64, 64)
    suite: str | None = None
    held_out: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    camera: str | None = None
    action_key: str | None = None
    rule: ActionRule = "first"
    phases: bool = True
    shard: int = 60


@dataclass(frozen=True, kw_only=True)
class _Recording:
    """An episode of the folder, and the frame that a strided episode begins with."""

    episode: str
    phase: int


def make_folder_data(config: FolderDataConfig, root: Path) -> EpisodeStore:
    """Reads training data from a folder into the store, or what is missing of it.

    Args:
        config: What to read.
        root: The store's folder.

    Returns:
        The store.

    Raises:
        BadInputError: If the folder cannot be read, the frame rate or the embodiment does not fit
            it, an episode to hold out does not exist, or nothing is left to train on.
    """
    options = ReadOptions(camera=config.camera, action_key=config.action_key)
    source = open_source(Path(config.root), options=options)
    stride = stride_for(source.frame_rate, config.frame_rate)
    held_out = _held_out(config, source)
    kept = [each for each in source.episode_ids if each not in set(config.left_out)]
    parts = {
        "train": [each for each in kept if each not in held_out],
        "val": [each for each in kept if each in held_out],
    }
    for part, episodes in parts.items():
        phases = stride if config.phases and part == "train" else 1
        recordings = [
            _Recording(episode=episode, phase=phase)
            for episode in episodes
            for phase in range(phases)
            if source.episode(episode).length > phase + stride
        ]
        if recordings:
            _make_part(config, source, part, recordings, stride, root)
        elif part == "train":
            raise BadInputError(
                f"No episode of {config.root} is left to train on at {config.frame_rate:g} frames "
                "per second; hold out fewer or choose a higher rate."
            )
    return EpisodeStore(root)


def _held_out(config: FolderDataConfig, source: EpisodeSource) -> set[str]:
    unknown = [
        each for each in (*config.held_out, *config.left_out) if each not in source.episode_ids
    ]
    if unknown:
        raise BadInputError(
            f"The dataset {config.root} has no episode '{unknown[0]}' to hold or leave out; its "
            f"first is '{source.episode_ids[0]}'."
        )
    held_out = set(config.held_out)
    if config.suite is not None:
        clips = _manifest(config.suite).clips
        held_out |= {clip.episode for clip in clips if clip.split != "train"}
        if not held_out & set(source.episode_ids):
            raise BadInputError(
                f"The suite '{config.suite}' holds out no episode of {config.root}; name the suite "
                "of this dataset, or the episodes as 'held_out'."
            )
    return held_out


def _manifest(reference: str) -> Manifest:
    if reference in named_manifests():
        return load_named(reference)
    return read_manifest(Path(reference))


def _make_part(
    config: FolderDataConfig,
    source: EpisodeSource,
    part: str,
    recordings: Sequence[_Recording],
    stride: int,
    root: Path,
) -> None:
    width = source.action_dim * (stride if config.rule == "concat" else 1)
    info = GroupInfo(
        name=f"{config.name}-{part}",
        embodiment=config.embodiment,
        frame_rate=config.frame_rate,
        height=config.size[0],
        width=config.size[1],
        action_dim=width,
        columns=_columns(config, source, width),
        episodes=len(recordings),
        shard=config.shard,
        origin={
            "kind": source.format,
            "dataset": source.name,
            "episodes": list(dict.fromkeys(each.episode for each in recordings)),
            "phases": max(each.phase for each in recordings) + 1,
            "stride": stride,
            "rule": config.rule,
            "camera": source.cameras[0],
        },
    )

    def make(numbers: Sequence[int]) -> Iterator[StoredEpisode]:
        last: tuple[str, npt.NDArray[np.uint8]] | None = None
        # Without further phases the frames between are never decoded.
        step = 1 if any(each.phase for each in recordings) else stride
        for number in track(numbers, f"reading {info.name}", len(numbers)):
            recording = recordings[number]
            episode = source.episode(recording.episode)
            if last is None or last[0] != recording.episode:
                last = recording.episode, _pictures(episode, info, step)
            frames = last[1][recording.phase :: stride // step]
            yield _stored(recording, frames, episode.actions(), stride, config.rule)

    fill_group(root, info, make)


def _columns(config: FolderDataConfig, source: EpisodeSource, width: int) -> tuple[int, ...] | None:
    """Finds the embodiment's slots among the dataset's actions."""
    if not source.action_dim or config.embodiment not in EMBODIMENTS:
        if source.action_dim:
            embodiment(config.embodiment)
        return None
    robot = embodiment(config.embodiment)
    if width == robot.width:
        return None
    return robot.columns(load_modality(source.root / "meta" / "modality.json"), width)


def _pictures(episode: Episode, info: GroupInfo, step: int) -> npt.NDArray[np.uint8]:
    """Decodes every ``step``-th frame of an episode and resizes it, a stretch at a time."""
    size, camera = (info.height, info.width), info.origin["camera"]
    numbers = range(0, episode.length, step)
    made = []
    for first in range(0, len(numbers), _DECODED_AT_ONCE):
        frames = episode.frames(camera, numbers[first : first + _DECODED_AT_ONCE])
        made.append(frames if tuple(frames.shape[-2:]) == size else crop_resize(frames, size))
    return torch.cat(made).numpy()


def _stored(
    recording: _Recording,
    frames: npt.NDArray[np.uint8],
    actions: npt.NDArray[np.float32],
    stride: int,
    rule: ActionRule,
) -> StoredEpisode:
    rows = clip_actions(actions, recording.phase, stride, len(frames), rule)
    suffix = f"+{recording.phase}" if recording.phase else ""
    return StoredEpisode(id=f"{recording.episode}{suffix}", frames=frames, actions=rows)
