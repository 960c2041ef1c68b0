"""The metadata that all LeRobot versions share: ``meta/info.json`` and the features it lists."""

import math
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from dojobench.datasets.json_files import read_model


class Feature(BaseModel):
    """One column or stream of a dataset.

    Attributes:
        dtype: ``video``, ``image``, or the type of a column.
        shape: Its shape; of a video in the order that ``names`` says.
        names: What the dimensions are called, in whatever nesting the recorder chose.
        info: What the recorder says of a video, such as ``video.is_depth_map``.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    dtype: str
    shape: tuple[int, ...] = ()
    names: Any = None
    info: dict[str, Any] | None = Field(
        default=None, validation_alias=AliasChoices("info", "video_info")
    )

    @property
    def is_camera(self) -> bool:
        """Whether it is a video of colours; depth maps are not."""
        return self.dtype == "video" and not (self.info or {}).get("video.is_depth_map", False)

    @property
    def width(self) -> int:
        """Number of values in one row."""
        return math.prod(self.shape)

    def flat_names(self) -> tuple[str, ...]:
        """Gives one name for each value, or nothing where the names do not fit the shape.

        Recorders write a list, a list in a list, a dictionary of lists, or a dictionary from
        name to position.
        """
        names = tuple(_flatten(self.names))
        return names if len(names) == self.width else ()

    def picture_size(self) -> tuple[int, int] | None:
        """Gives ``(height, width)`` of a video feature, where its shape and names tell."""
        if len(self.shape) != 3:
            return None
        names = list(_flatten(self.names))
        if "height" in names and "width" in names and len(names) == 3:
            return self.shape[names.index("height")], self.shape[names.index("width")]
        if self.shape[0] in (1, 3):
            return self.shape[1], self.shape[2]
        return self.shape[0], self.shape[1]


class LeRobotInfo(BaseModel):
    """``meta/info.json``; fields that no reader needs are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    codebase_version: str
    fps: float = Field(gt=0)
    features: dict[str, Feature]
    data_path: str
    video_path: str | None = None
    chunks_size: int = Field(default=1000, gt=0)
    robot_type: str | None = None
    total_episodes: int | None = None
    total_frames: int | None = None
    total_videos: int | None = None
    splits: dict[str, str] = {}

    @property
    def video_keys(self) -> tuple[str, ...]:
        """Names of the video streams that the metadata list, depth maps left out."""
        return tuple(key for key, each in self.features.items() if each.is_camera)

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of cameras whose frames are stored as single images."""
        return tuple(key for key, each in self.features.items() if each.dtype == "image")


def read_info(root: Path) -> LeRobotInfo:
    """Reads ``meta/info.json``.

    Raises:
        BadInputError: If it is missing, no JSON, or lacks a field.
    """
    return read_model(root / "meta" / "info.json", LeRobotInfo)


def _flatten(names: Any) -> list[str]:
    if isinstance(names, str):
        return [names]
    if isinstance(names, dict):
        if names and all(isinstance(value, int) for value in names.values()):
            return [str(key) for key in sorted(names, key=lambda key: int(names[key]))]
        return [name for value in names.values() for name in _flatten(value)]
    if isinstance(names, list | tuple):
        return [name for value in names for name in _flatten(value)]
    return [] if names is None else [str(names)]
