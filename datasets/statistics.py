"""Statistics of actions, by which they are normalised: always named, never chosen in silence.

The released DreamDojo loader prefers its own shared statistics over the dataset's without
saying so. Here whoever normalises names a file or computes the statistics, and their hash says
which numbers were used.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_json, read_json_lines
from dojobench.datasets.source import EpisodeSource
from dojobench.protocol.errors import BadInputError

Vector = npt.NDArray[np.float64]

_FIELDS = ("min", "max", "mean", "std")
_QUANTILES = ("q01", "q99")


@dataclass(frozen=True, kw_only=True, eq=False)
class ActionStatistics:
    """Per-dimension statistics of a dataset's actions, in physical units.

    Attributes:
        name: Where they come from, such as the file's name.
        minimum: ``[dim]``.
        maximum: ``[dim]``.
        mean: ``[dim]``.
        std: ``[dim]``, population standard deviation.
        quantiles: ``q01`` and ``q99`` where known, each ``[dim]``.
        sha256: ``sha256:`` and the hash of the numbers, whatever file they came in.
    """

    name: str
    minimum: Vector
    maximum: Vector
    mean: Vector
    std: Vector
    quantiles: Mapping[str, Vector] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Width of the actions."""
        return len(self.minimum)

    @property
    def sha256(self) -> str:
        """Names the statistics by their numbers."""
        numbers = [each.tolist() for each in (self.minimum, self.maximum, self.mean, self.std)]
        return f"sha256:{hashlib.sha256(json.dumps(numbers).encode()).hexdigest()}"

    def select(self, columns: Sequence[int]) -> "ActionStatistics":
        """Picks dimensions, as ``Embodiment.columns`` names them.

        Raises:
            BadInputError: If a column lies outside.
        """
        if columns and max(columns) >= self.dim:
            raise BadInputError(
                f"The statistics '{self.name}' are {self.dim} wide and have no column "
                f"{max(columns)}; they belong to another dataset."
            )
        at = list(columns)
        return ActionStatistics(
            name=self.name,
            minimum=self.minimum[at],
            maximum=self.maximum[at],
            mean=self.mean[at],
            std=self.std[at],
            quantiles={name: values[at] for name, values in self.quantiles.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Gives the block that LeRobot's ``stats.json`` keeps for one column."""
        return {
            "min": self.minimum.tolist(),
            "max": self.maximum.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            **{name: values.tolist() for name, values in self.quantiles.items()},
        }


def load_statistics(path: Path, *, key: str = "action") -> ActionStatistics:
    """Reads the statistics of one column.

    Args:
        path: A JSON file from column to statistics (LeRobot's ``meta/stats.json``, DreamDojo's
            ``shared_meta/*_stats.json``), or LeRobot v2.1's ``meta/episodes_stats.jsonl``, whose
            episodes are pooled by their counts.
        key: The column.

    Returns:
        Its statistics, named after the file.

    Raises:
        BadInputError: If the file, the column or a field is missing or not usable.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        return _pool_episodes(path, key)
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get(key), dict):
        known = ", ".join(document) if isinstance(document, dict) else "none"
        raise BadInputError(
            f"The statistics {path} have no column '{key}'; their columns are: {known}."
        )
    return _from_block(document[key], path.name, f"{path} column '{key}'")


def load_modality(path: Path, *, key: str = "action") -> dict[str, range]:
    """Reads the parts of a dataset's actions from its ``modality.json``.

    Args:
        path: The file.
        key: The column; parts of other columns are left out.

    Returns:
        Columns of each part, in the file's order.

    Raises:
        BadInputError: If the file is missing or a part has no usable ``start`` and ``end``.
    """
    document = read_json(Path(path))
    parts = document.get("action") if isinstance(document, dict) else None
    if not isinstance(parts, dict):
        raise BadInputError(f"The modality file {path} has no object 'action'; correct it.")
    found: dict[str, range] = {}
    for name, part in parts.items():
        start, end = (part.get("start"), part.get("end")) if isinstance(part, dict) else (0, None)
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end):
            raise BadInputError(
                f"In {path} the field 'action.{name}' has no whole numbers 'start' < 'end'; "
                "correct it."
            )
        if part.get("original_key") in (None, key):
            found[name] = range(start, end)
    return found


def load_camera(path: Path, name: str) -> str | None:
    """Looks up which stream a camera name of a ``modality.json`` stands for.

    Args:
        path: The file.
        name: Such as ``ego_view``.

    Returns:
        The stream's name in the dataset, or ``None`` where the file does not name the camera.

    Raises:
        BadInputError: If the file is missing or not usable.
    """
    document = read_json(Path(path))
    videos = document.get("video") if isinstance(document, dict) else None
    entry = videos.get(name) if isinstance(videos, dict) else None
    key = entry.get("original_key") if isinstance(entry, dict) else None
    return key if isinstance(key, str) else None


def compute_statistics(
    source: EpisodeSource, *, episodes: Iterable[str] | None = None
) -> ActionStatistics:
    """Computes statistics over all action rows of a dataset.

    Args:
        source: The dataset.
        episodes: Only these episodes, such as those of a training split; all where ``None``.

    Returns:
        The statistics, with quantiles, named after the dataset.

    Raises:
        BadInputError: If the dataset has no actions, or they hold NaN or infinity.
    """
    if source.action_dim == 0:
        raise BadInputError(f"The dataset {source.root} has no actions to take statistics of.")
    chosen = source.episode_ids if episodes is None else tuple(episodes)
    rows: list[npt.NDArray[np.float32]] = []
    for episode_id in chosen:
        actions = source.episode(episode_id).actions()
        if not np.isfinite(actions).all():
            row, column = np.argwhere(~np.isfinite(actions))[0]
            raise BadInputError(
                f"Episode {episode_id} of {source.root} has {actions[row, column]} in action row "
                f"{row}, column {column}; repair it or leave the episode out."
            )
        rows.append(actions)
    values = np.concatenate(rows).astype(np.float64) if rows else np.zeros((0, source.action_dim))
    if not len(values):
        raise BadInputError(f"The chosen episodes of {source.root} hold no action rows.")
    low, high = np.quantile(values, (0.01, 0.99), axis=0)
    return ActionStatistics(
        name=source.name,
        minimum=values.min(axis=0),
        maximum=values.max(axis=0),
        mean=values.mean(axis=0),
        std=values.std(axis=0),
        quantiles={"q01": low, "q99": high},
    )


def save_statistics(statistics: ActionStatistics, path: Path, *, key: str = "action") -> None:
    """Writes statistics as LeRobot's ``stats.json`` has them, whole or not at all."""
    text = json.dumps({key: statistics.to_json()}, indent=1) + "\n"
    write_atomically(Path(path), text.encode())


def _from_block(block: Mapping[str, Any], name: str, where: str) -> ActionStatistics:
    vectors: dict[str, Vector] = {}
    for each in (*_FIELDS, *_QUANTILES):
        if each in block:
            vectors[each] = _vector(block[each], f"{where}, field '{each}'")
        elif each in _FIELDS:
            raise BadInputError(f"{where} lacks the field '{each}'; compute the statistics again.")
    widths = {len(vector) for vector in vectors.values()}
    if len(widths) != 1:
        raise BadInputError(f"{where} has fields of different widths {sorted(widths)}; correct it.")
    if (vectors["min"] > vectors["max"]).any():
        column = int(np.argmax(vectors["min"] > vectors["max"]))
        raise BadInputError(f"{where} has a minimum above its maximum at {column}; correct it.")
    return ActionStatistics(
        name=name,
        minimum=vectors["min"],
        maximum=vectors["max"],
        mean=vectors["mean"],
        std=vectors["std"],
        quantiles={each: vectors[each] for each in _QUANTILES if each in vectors},
    )


def _vector(values: Any, where: str) -> Vector:
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.asarray([np.nan])
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise BadInputError(f"{where} is not a list of finite numbers; correct it.")
    return vector


def _pool_episodes(path: Path, key: str) -> ActionStatistics:
    blocks: list[ActionStatistics] = []
    counts: list[float] = []
    for number, row in enumerate(read_json_lines(path), start=1):
        block = (row.get("stats") or {}).get(key)
        if not isinstance(block, dict):
            raise BadInputError(f"{path} line {number} has no 'stats.{key}'; name another column.")
        blocks.append(_from_block(block, path.name, f"{path} line {number}"))
        counts.append(float(_vector(block.get("count"), f"{path} line {number}, 'count'")[0]))
    if not blocks:
        raise BadInputError(f"{path} lists no episodes; compute the statistics again.")
    if len({block.dim for block in blocks}) != 1:
        raise BadInputError(f"{path} has episodes of different widths; compute them again.")
    weights = np.asarray(counts) / np.sum(counts)
    mean = np.einsum("e,ed->d", weights, np.stack([block.mean for block in blocks]))
    second = np.stack([block.std**2 + block.mean**2 for block in blocks])
    variance = np.einsum("e,ed->d", weights, second) - mean**2
    return ActionStatistics(
        name=path.name,
        minimum=np.min([block.minimum for block in blocks], axis=0),
        maximum=np.max([block.maximum for block in blocks], axis=0),
        mean=mean,
        std=np.sqrt(np.maximum(variance, 0.0)),
    )
