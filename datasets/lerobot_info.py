"""The metadata that all LeRobot versions share: ``meta/info.json`` and the features it lists."""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dojobench.protocol.errors import BadInputError

_MAX_META_BYTES = 256 * 1024 * 1024


class Feature(BaseModel):
    """One column or stream of a dataset.

    Attributes:
        dtype: ``video``, ``image``, or the type of a column.
        shape: Its shape; of a video in the order that ``names`` says.
        names: What the dimensions are called, in whatever nesting the recorder chose.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    dtype: str
    shape: tuple[int, ...] = ()
    names: Any = None

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
        """Names of the video streams that the metadata list."""
        return tuple(key for key, each in self.features.items() if each.dtype == "video")

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of cameras whose frames are stored as single images."""
        return tuple(key for key, each in self.features.items() if each.dtype == "image")


def read_info(root: Path) -> LeRobotInfo:
    """Reads ``meta/info.json``.

    Raises:
        BadInputError: If it is missing, no JSON, or lacks a field.
    """
    path = root / "meta" / "info.json"
    try:
        return LeRobotInfo.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(
            f"In {path} the field '{where}' is not usable ({first['msg'].lower()}); "
            "correct it as the LeRobot format says."
        ) from error


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        BadInputError: If it is missing, too large or no JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{path} line {error.lineno} is not valid JSON ({error.msg.lower()}); correct it."
        ) from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a JSON Lines file of objects; blank lines are skipped.

    Raises:
        BadInputError: If it is missing or a line is no JSON object; the line is named.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInputError(
                f"{path} line {number} is not valid JSON ({error.msg.lower()}); correct it."
            ) from error
        if not isinstance(row, dict):
            raise BadInputError(f"{path} line {number} is not a JSON object; correct it.")
        rows.append(row)
    return rows


def read_text(path: Path) -> str:
    """Reads a text file of metadata.

    Raises:
        BadInputError: If it is missing, larger than 256 MiB, or no UTF-8.
    """
    if not path.is_file():
        raise BadInputError(f"The file {path} is missing; restore it or name another folder.")
    if path.stat().st_size > _MAX_META_BYTES:
        raise BadInputError(f"The file {path} is larger than 256 MiB and is not read as metadata.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"The file {path} is not UTF-8 text; save it as UTF-8.") from error


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
