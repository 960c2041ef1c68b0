"""Writes episodes of the simulated world as LeRobot folders, for training and for other tools."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dojobench.datasets.dojo_data import DojoClipData
from dojobench.datasets.dojo_plans import checked_size, scene_id
from dojobench.datasets.dojo_pool import render_all
from dojobench.datasets.lerobot_write import (
    LeRobotTarget,
    LeRobotVersion,
    RecordedEpisode,
    write_lerobot,
)
from dojobench.datasets.video_encode import VideoQuality
from dojobench.protocol.errors import BadInputError
from dojobench.simulator.clips import GENERATOR, ClipPlan
from dojobench.simulator.world import FRAME_RATE, make_embodiment

STATE_NAMES = ("tip_x", "tip_y", "tip_z")
_AIMLESS = "explore"


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """Where and how to write.

    Attributes:
        root: The folder to make; it must not exist.
        version: ``v2.1`` or ``v3.0``.
        quality: ``high`` or ``lossless``.
        size: Height and width.
        actions: Whether actions and states are written.
        origin: Seed or suite that the episodes come from, in words, for ``info.json``.
        workers: Processes; all usable cores where ``None``.
    """

    root: Path
    version: LeRobotVersion = "v2.1"
    quality: VideoQuality = "high"
    size: tuple[int, int] = (64, 64)
    actions: bool = True
    origin: str = ""
    workers: int | None = None


def write_folder(config: FolderConfig, plans: Sequence[ClipPlan]) -> dict[str, float]:
    """Renders episodes on all cores and writes them.

    Args:
        config: Where and how.
        plans: The episodes, of one embodiment and camera, each with one frame more than is
            written: the last action leads to it.

    Returns:
        The codec floor in dB by camera, as ``write_lerobot`` gives it.

    Raises:
        BadInputError: If the folder exists, the size is out of range, or a scene cannot be built.
    """
    size = checked_size(config.size)
    if config.root.exists():
        raise BadInputError(f"{config.root} exists already; name a new folder for the data set.")
    if not config.root.absolute().parent.is_dir():
        raise BadInputError(f"There is no folder {config.root.absolute().parent}; make it first.")
    first = plans[0]
    spec = make_embodiment(first.embodiment).spec
    target = LeRobotTarget(
        root=config.root,
        version=config.version,
        robot_type=first.embodiment,
        frame_rate=round(FRAME_RATE),
        quality=config.quality,
        action_names=spec.names if config.actions else (),
        state_names=STATE_NAMES if config.actions else (),
        notes={
            "dojo": {
                "generator": GENERATOR,
                "origin": config.origin,
                "splits": sorted({plan.split for plan in plans}),
                "action_kind": spec.kind if config.actions else "withheld",
                "action_units": spec.units if config.actions else "",
                "scenes": [scene_id(plan.seed) for plan in plans],
            }
        },
    )
    return write_lerobot(target, _episodes(config, plans, size))


def _episodes(
    config: FolderConfig, plans: Sequence[ClipPlan], size: tuple[int, int]
) -> Iterator[RecordedEpisode]:
    rendered = render_all(plans, size, f"making {config.root.name}", config.workers)
    for plan, data in zip(plans, rendered, strict=True):
        yield _episode(plan, data, actions=config.actions)


def _episode(plan: ClipPlan, data: DojoClipData, *, actions: bool) -> RecordedEpisode:
    length = len(data.actions)
    states = data.positions[:length, 0] if actions else np.zeros((length, 0), np.float32)
    return RecordedEpisode(
        frames={plan.camera: np.ascontiguousarray(data.frames[:length].transpose(0, 2, 3, 1))},
        actions=data.actions if actions else None,
        states=states,
        task=data.instruction or _AIMLESS,
    )
