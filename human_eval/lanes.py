"""The commanded action as raters see it: a curve for each dimension, and a compass for arms.

Whether a robot follows its command cannot be judged without the command. Where a simulator knows
where the effector is, the compass shows in which direction on the screen a command points.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dojobench.datasets.suite import Clip, GroundTruth
from dojobench.protocol import ActionSpace

Array = npt.NDArray[np.floating[Any]]

FORMAT: Final = 1
"""Version of the lane's format."""

MIN_FIT: Final = 0.6
"""Least share of the effector's motion on the screen that commands must explain."""

_MOVES = ("dx", "dy", "dz")
_FIT_CLIPS = 16


def lane_data(
    actions: Array,
    space: ActionSpace,
    *,
    frames: int,
    rate: float,
    context: int,
    limits: Array,
    compass: dict[str, Any] | None,
) -> dict[str, Any]:
    """Gives what the page draws.

    Args:
        actions: ``[frames - 1, dim]``; row ``k`` leads from frame ``k`` to ``k + 1``.
        space: Names and units of the dimensions.
        frames: Frames shown.
        rate: Frames per second.
        context: Leading frames that all models were given.
        limits: ``[2, dim]``, as ``value_limits`` gives them.
        compass: As ``fit_compass`` gives it.

    Returns:
        ``dims``: for each dimension ``name``, ``unit``, ``low`` and ``high`` (the values that 0
        and 1 stand for), and ``values``, one for each action, 0 to 1.
    """
    names, units = dimension_names(space), dimension_units(space)
    low, high = limits
    shares = np.clip((actions[: frames - 1] - low) / (high - low), 0, 1)
    dims = [
        {
            "name": names[k],
            "unit": units[k],
            "low": _short(low[k]),
            "high": _short(high[k]),
            "values": [round(float(value), 4) for value in shares[:, k]],
        }
        for k in range(space.dim)
    ]
    return {
        "format": FORMAT,
        "frames": frames,
        "rate": rate,
        "context": context,
        "kind": space.kind,
        "dims": dims,
        "compass": compass,
    }


def value_limits(actions: Sequence[Array]) -> Array:
    """Gives the range of each dimension over all clips, so that curves of two trials compare.

    A range that holds zero is made symmetric: no motion is then in the middle.

    Args:
        actions: ``[n, dim]`` of each clip.

    Returns:
        ``[2, dim]``, lowest and highest; they always differ.
    """
    together = np.concatenate([np.asarray(each, dtype=np.float64) for each in actions])
    low, high = together.min(axis=0), together.max(axis=0)
    largest = np.maximum(np.abs(low), np.abs(high))
    around = (low < 0) & (high > 0)
    low, high = np.where(around, -largest, low), np.where(around, largest, high)
    flat = high - low < 1e-9
    return np.stack([np.where(flat, low - 1, low), np.where(flat, high + 1, high)])


def dimension_names(space: ActionSpace) -> tuple[str, ...]:
    """Gives one name per dimension; those without one are numbered from 1."""
    return space.names or tuple(f"a{k + 1}" for k in range(space.dim))


def dimension_units(space: ActionSpace) -> tuple[str, ...]:
    """Gives one unit per dimension, where the stated units can be told apart, else empty ones."""
    parts = [part.strip() for part in re.split(r"[,;]", space.units)]
    if len(parts) == space.dim:
        return tuple(_unit(part) for part in parts)
    return (_unit(parts[0]) if len(parts) == 1 else "",) * space.dim


def _unit(text: str) -> str:
    """Leaves ``rad`` of ``rad relative to the last target``, and nothing of a fraction."""
    return "" if "fraction" in text else re.sub(r"\s+(relative|absolute|per step)\b.*$", "", text)


def fit_compass(clips: Sequence[Clip], space: ActionSpace) -> dict[str, Any] | None:
    """Finds where on the screen each commanded direction points.

    Args:
        clips: Opened clips of one camera, some of them with ground truth.
        space: Its first directions must be called ``dx``, ``dy`` and ``dz``.

    Returns:
        ``dims`` (the three dimensions), ``matrix`` (2 rows, rightwards and downwards, in widths
        of the picture per unit), ``reach`` (length of the longest command), ``grip`` (the
        gripper's dimension or ``None``); ``None`` where it cannot be told.
    """
    names = [name.lower() for name in dimension_names(space)]
    known = [clip for clip in clips if getattr(clip, "truth", None) is not None][:_FIT_CLIPS]
    if not known or any(name not in names for name in _MOVES):
        return None
    dims = [names.index(name) for name in _MOVES]
    commands, moves = map(np.concatenate, zip(*(_moves(clip, dims) for clip in known), strict=True))
    if len(commands) < 4 * len(dims):
        return None
    matrix = np.linalg.lstsq(commands, moves, rcond=None)[0]
    left = np.square(moves - commands @ matrix).sum()
    if left > (1 - MIN_FIT) * np.square(moves).sum():
        return None
    reach = float(np.hypot(*(commands @ matrix).T).max())
    grips = [k for k, name in enumerate(names) if "grip" in name]
    return {
        "dims": dims,
        "matrix": [[round(float(value), 4) for value in row] for row in matrix.T],
        "reach": _short(reach),
        "grip": grips[0] if len(grips) == 1 else None,
    }


def _moves(clip: Clip, dims: list[int]) -> tuple[Array, Array]:
    """Commands ``[n, 3]`` of a clip, and how the effector then moved on the screen ``[n, 2]``."""
    places = _effector(clip)
    seen = ~np.isnan(places[:, 0])
    both = seen[1:] & seen[:-1]
    commands = clip.actions.numpy()[:, dims].astype(np.float64)
    return commands[both], (places[1:] - places[:-1])[both]


def _effector(clip: Clip) -> Array:
    """Middle of the effector's pixels, ``[frames, 2]`` in widths; NaN where it is hidden."""
    truth: GroundTruth = clip.truth  # type: ignore[attr-defined]
    masks = truth.segmentation(0, clip.record.frames).numpy() == 1
    places = np.full((len(masks), 2), np.nan)
    for k, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        if len(rows) >= 3:
            places[k] = columns.mean(), rows.mean()
    places /= masks.shape[2]
    return places


def _short(value: float) -> float:
    return float(f"{value:.5g}")
