"""Where the robot's hand went, read from the pixels by the colour of its marker.

The detector is fixed and has no learned part: it finds the densest patch of a colour that the
simulator keeps for its markers. Errors are measured where it finds the marker in truth and
prediction both, and how often that is stands apart: a model must not improve its trajectory by
losing the hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from dojobench.metrics.frames import LEVELS, check_frames, to_levels

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """A colour to find.

    Attributes:
        colour: Red, green, blue in 0 to 1; only its chromaticity counts, not its brightness.
        tolerance: Greatest distance of a pixel's chromaticity (each channel's share of the sum)
            from the marker's. Grey lies at 0.41 from magenta, and a pixel that is three quarters
            magenta and one quarter grey of the same brightness at 0.10.
        least_light: Least sum of the channels, in 0 to 3; darker pixels have no sure colour.
        least_area: Fewest pixels that count as a marker.
        radius: Half the side of the patch that is looked for, in pixels; about the marker's.
    """

    colour: tuple[float, float, float]
    tolerance: float = 0.15
    least_light: float = 0.3
    least_area: int = 4
    radius: int = 4

    def __post_init__(self) -> None:
        """Refuses a colour that cannot be told from grey."""
        if min(self.colour) < 0 or max(self.colour) > 1 or sum(self.colour) <= 0:
            raise ValueError(f"colour is {self.colour}; give red, green and blue in 0 to 1.")
        share = np.array(self.colour) / sum(self.colour)
        if np.linalg.norm(share - 1 / 3) <= self.tolerance:
            raise ValueError(
                f"colour {self.colour} lies within the tolerance {self.tolerance} of grey; "
                "give a more saturated marker or a smaller tolerance."
            )


MAGENTA = Marker(colour=(1.0, 0.0, 1.0))
"""The marker of the dojo's end effectors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """Where a marker was seen.

    Attributes:
        positions: ``[T, 2]``, x to the right and y down, in pixels, of pixel centres counted
            from 0; NaN where it was not found.
        found: ``[T]``, whether it was found.
        area: ``[T]``, pixels of the marker's colour in the patch.
    """

    positions: Array
    found: Flags
    area: Array


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryScores:
    """How far the predicted track is from the true one.

    Attributes:
        values: ``ade``, ``fde``, ``ndtw`` in units of ``unit`` (0 is exact, no upper end) and
            ``detection_rate`` (share of the frames with a marker in the truth where the
            prediction has one too).
        not_computed: For each without a number, the sentence that stands in its place.
        counts: ``frames``, ``true`` (marker found in the truth), ``both`` (in both), ``invented``
            (in the prediction alone).
    """

    values: dict[str, float]
    not_computed: dict[str, str]
    counts: dict[str, int]


@torch.no_grad()
def detect_markers(frames: torch.Tensor, markers: Sequence[Marker]) -> list[Track]:
    """Finds markers in frames, each on its own.

    The pixels near the marker's chromaticity are counted in every patch of side
    ``2 radius + 1``; the fullest patch is the marker if it holds at least ``least_area`` of
    them, and its position is their centroid, taken again in the patch about the first centroid.

    Args:
        frames: ``[time, 3, height, width]``, uint8 or floating point in 0 to 1.
        markers: What to look for; their tolerances should not overlap.

    Returns:
        One track a marker.

    Raises:
        ValueError: If the frames are not RGB frames.
    """
    check_frames(frames, "the frames")
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(
            f"the frames have shape {list(frames.shape)}; give [time, 3, height, width]."
        )
    found: list[list[Array]] = [[] for _ in markers]
    for block in torch.split(frames, 64):
        levels = to_levels(block) / LEVELS
        light = levels.sum(dim=1, keepdim=True)
        share = levels / light.clamp_min(1e-6)
        for marker, parts in zip(markers, found, strict=True):
            near = _near(share, light, marker)
            parts.append(_densest_patch(near, marker.radius).cpu().numpy())
    return [_track(np.concatenate(p), m) for p, m in zip(found, markers, strict=True)]


def trajectory_scores(prediction: Track, truth: Track, *, unit: float = 1.0) -> TrajectoryScores:
    """Compares two tracks of the same frames.

    * ADE: mean distance over the frames where both are found.
    * FDE: distance at the last frame where the truth is found; only if the prediction is, too.
    * nDTW: cost of the best monotone alignment of the two paths, per true position. It forgives
      delay, which ADE does not. It is a distance, not ``exp(-d)`` or ``1/d``: exact paths give
      0, and it does not saturate.

    Args:
        prediction: Track in the predicted frames.
        truth: Track in the true frames.
        unit: Pixels in the unit of the result, such as the frame's height.

    Returns:
        The scores.

    Raises:
        ValueError: If the tracks differ in length or the unit is not positive.
    """
    if prediction.found.shape != truth.found.shape:
        raise ValueError(
            f"the predicted track has {len(prediction.found)} frames and the true one "
            f"{len(truth.found)}; give tracks of equal length."
        )
    if unit <= 0:
        raise ValueError(f"unit is {unit}, and must be positive.")
    both = prediction.found & truth.found
    counts = {
        "frames": len(both),
        "true": int(truth.found.sum()),
        "both": int(both.sum()),
        "invented": int((prediction.found & ~truth.found).sum()),
    }
    values, missing = dict[str, float](), dict[str, str]()
    if counts["true"] == 0:
        reason = "not computed: the marker is never found in the truth"
        return TrajectoryScores(
            values={}, not_computed=dict.fromkeys(_NAMES, reason), counts=counts
        )
    values["detection_rate"] = counts["both"] / counts["true"]
    if counts["both"] == 0:
        reason = "not computed: the marker is never found in the prediction"
        missing = dict.fromkeys(_NAMES[:-1], reason)
        return TrajectoryScores(values=values, not_computed=missing, counts=counts)
    gaps = np.linalg.norm(prediction.positions - truth.positions, axis=1)
    values["ade"] = float(gaps[both].mean()) / unit
    last = int(np.flatnonzero(truth.found)[-1])
    if prediction.found[last]:
        values["fde"] = float(gaps[last]) / unit
    else:
        missing["fde"] = "not computed: the marker is not found in the last predicted frame"
    cost = dtw_cost(prediction.positions[prediction.found], truth.positions[truth.found])
    values["ndtw"] = cost / counts["true"] / unit
    return TrajectoryScores(values=values, not_computed=missing, counts=counts)


_NAMES = ("ade", "fde", "ndtw", "detection_rate")


def dtw_cost(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Aligns two paths in order and sums the distances of what is aligned.

    Dynamic time warping with steps (1, 0), (0, 1) and (1, 1) of weight 1 (Sakoe and Chiba
    1978), Euclidean distances.

    Args:
        first: ``[n, d]``, n at least 1.
        second: ``[m, d]``, m at least 1.

    Returns:
        The least sum, in the unit of the positions.

    Raises:
        ValueError: If a path is empty or not finite.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or 0 in (len(a), len(b)):
        raise ValueError(f"paths have shapes {a.shape} and {b.shape}; give [n, d] and [m, d].")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a path holds values that are not finite; leave such positions out.")
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    # Cells on one anti-diagonal do not depend on each other, so a whole one is done at once.
    n, m = distances.shape
    cost = np.full((n + 1, m + 1), math.inf)
    cost[0, 0] = 0.0
    for diagonal in range(2, n + m + 1):
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        j = diagonal - i
        best = np.minimum(np.minimum(cost[i - 1, j], cost[i, j - 1]), cost[i - 1, j - 1])
        cost[i, j] = distances[i - 1, j - 1] + best
    return float(cost[n, m])


def _near(share: torch.Tensor, light: torch.Tensor, marker: Marker) -> torch.Tensor:
    """Marks the pixels of the marker's colour, float ``[T, 1, H, W]``."""
    colour = torch.tensor(marker.colour, device=share.device)
    gap = share - (colour / colour.sum()).view(1, 3, 1, 1)
    near = (gap.square().sum(dim=1, keepdim=True) <= marker.tolerance**2) & (
        light >= marker.least_light
    )
    return near.to(torch.float32)


def _densest_patch(near: torch.Tensor, radius: int) -> torch.Tensor:
    """Gives x, y and the number of marked pixels of the fullest patch, ``[T, 3]``."""
    count, _, height, width = near.shape
    kernel = torch.ones(1, 1, 1, 2 * radius + 1, device=near.device)
    rows = functional.conv2d(near, kernel, padding=(0, radius))
    filled = functional.conv2d(rows, kernel.mT, padding=(radius, 0))
    place = filled.flatten(1).argmax(dim=1)
    ys = torch.arange(height, device=near.device, dtype=torch.float32)
    xs = torch.arange(width, device=near.device, dtype=torch.float32)
    x, y = (place % width).float(), (place // width).float()
    for _ in range(2):
        column = (ys - y[:, None]).abs() <= radius
        row = (xs - x[:, None]).abs() <= radius
        patch = near[:, 0] * column[:, :, None] * row[:, None, :]
        area = patch.sum(dim=(1, 2))
        x = (patch.sum(dim=1) * xs).sum(dim=1) / area.clamp_min(1)
        y = (patch.sum(dim=2) * ys).sum(dim=1) / area.clamp_min(1)
    return torch.stack([x, y, area], dim=1).reshape(count, 3)


def _track(rows: Array, marker: Marker) -> Track:
    area = rows[:, 2].astype(np.float64)
    found = area >= marker.least_area
    positions = np.where(found[:, None], rows[:, :2].astype(np.float64), np.nan)
    return Track(positions=positions, found=found, area=area)
