"""Whether objects persist: none vanishes, appears, changes size, merges or moves by itself.

Masks are amodal or visible, one for each object, and may overlap. Those of the truth come from
the simulator; those of a prediction from any segmenter, or from `segment_by_colour` where
objects have colours of their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dojobench.metrics.frames import LEVELS, check_frames, to_levels

Masks = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PersistenceConfig:
    """What counts as seen, gone and moved.

    Attributes:
        least_area: Fewest pixels of the true mask with which an object is asked for.
        least_share: An object is gone where its predicted mask has less than this share of the
            true area.
        settle: Frames after a contact during which an object may still move.
        step: Pixels that an untouched object may be off from where the truth moved it, over
            ``span`` frames.
        span: Frames over which movement is measured.
    """

    least_area: int = 12
    least_share: float = 0.25
    settle: int = 5
    step: float = 1.5
    span: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class PersistenceScores:
    """How objects fared; lower is better for each.

    Attributes:
        values: ``vanished``: share of the frames of visible objects in which the object is gone.
            ``appeared``: share of the frames of objects out of sight in which one is there.
            ``area_error``: mean ``|ln(predicted area / true area)|`` of the objects found.
            ``penetration``: overlap of two masks beyond the truth's, as a share of the smaller
            object, mean over frames and pairs. ``ghost_motion``: share of the frames of
            untouched objects in which one moves by itself.
        not_computed: For each without a number, the sentence that stands in its place.
        counts: ``visible``, ``hidden``, ``found``, ``pairs``, ``untouched``: the denominators.
        vanished_at: For each object, the first frame from which it is gone for good, or -1.
    """

    values: dict[str, float]
    not_computed: dict[str, str]
    counts: dict[str, int]
    vanished_at: list[int]


def persistence_scores(
    predicted: Masks,
    true: Masks,
    *,
    contact: npt.NDArray[np.bool_] | None = None,
    config: PersistenceConfig | None = None,
) -> PersistenceScores:
    """Compares the objects of a rollout with those of the truth.

    Args:
        predicted: Masks in the predicted frames, ``[T, objects, height, width]``.
        true: Masks in the true frames, the same shape.
        contact: Whether anything that moves touches each object in the truth, ``[T, objects]``;
            without it nothing is said about motion.
        config: What counts as gone and moved.

    Returns:
        The scores.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if predicted.ndim != 4 or predicted.shape != true.shape:
        raise ValueError(
            f"the masks have shapes {predicted.shape} and {true.shape}; give "
            "[time, objects, height, width] for both."
        )
    if contact is not None and contact.shape != true.shape[:2]:
        raise ValueError(f"contact has shape {contact.shape}; give {true.shape[:2]}.")
    chosen = config or PersistenceConfig()
    area, true_area = _area(predicted), _area(true)
    visible, hidden = true_area >= chosen.least_area, true_area == 0
    gone = area < chosen.least_share * true_area
    found = visible & ~gone
    values: dict[str, float] = {
        "vanished": _share(gone, visible),
        "appeared": _share(area >= chosen.least_area, hidden),
        "area_error": _area_error(area, true_area, found),
    }
    values["penetration"], pairs = _penetration(predicted, true, chosen)
    untouched = np.zeros_like(visible)
    if contact is not None:
        moved, untouched = _ghosts(predicted, true, found, contact, chosen)
        values["ghost_motion"] = _share(moved, untouched)
    missing = {name: _REASONS[name] for name, value in values.items() if math.isnan(value)}
    if contact is None:
        missing["ghost_motion"] = "not computed: no contacts were given"
    return PersistenceScores(
        values={name: value for name, value in values.items() if not math.isnan(value)},
        not_computed=missing,
        counts={
            "visible": int(visible.sum()), "hidden": int(hidden.sum()), "found": int(found.sum()),
            "pairs": pairs, "untouched": int(untouched.sum()),
        },
        vanished_at=[_gone_for_good(gone[:, o], visible[:, o]) for o in range(true.shape[1])],
    )  # fmt: skip


_REASONS = {
    "vanished": "not computed: no object is visible in the truth",
    "appeared": "not computed: every object is always visible in the truth",
    "area_error": "not computed: no object is found in the prediction",
    "penetration": "not computed: two objects are never visible together",
    "ghost_motion": "not computed: no object is ever untouched and found",
}


@torch.no_grad()
def segment_by_colour(
    frames: torch.Tensor,
    colours: Sequence[tuple[float, float, float]],
    *,
    tolerance: float = 0.08,
    least_light: float = 0.15,
) -> Masks:
    """Marks the pixels of objects that have colours of their own.

    A pixel belongs to the object whose chromaticity is nearest, if it is near enough. Shading
    leaves chromaticity alone; grey and pale objects, textures and shadows of coloured light do
    not, so use it where colours are known to be far apart, and check it on the truth's masks.

    Args:
        frames: ``[time, 3, height, width]``, uint8 or floating point in 0 to 1.
        colours: Red, green and blue of each object, 0 to 1.
        tolerance: Greatest distance in chromaticity (each channel's share of the sum).
        least_light: Least sum of the channels, 0 to 3.

    Returns:
        ``[time, objects, height, width]``; masks do not overlap.

    Raises:
        ValueError: If the frames are no RGB frames or a colour is black.
    """
    check_frames(frames, "the frames")
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(
            f"the frames have shape {list(frames.shape)}; give [time, 3, height, width]."
        )
    wanted = torch.tensor(colours, device=frames.device, dtype=torch.float32)
    if wanted.ndim != 2 or wanted.shape[1] != 3 or bool((wanted.sum(dim=1) <= 0).any()):
        raise ValueError("colours holds no list of colours; give red, green, blue, none black.")
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    masks = []
    for block in torch.split(frames, 16):
        levels = to_levels(block) / LEVELS
        light = levels.sum(dim=1)
        share = levels / light.clamp_min(1e-6)[:, None]
        gap = torch.stack([(share - w.view(1, 3, 1, 1)).square().sum(dim=1) for w in wanted], 1)
        nearest, which = gap.min(dim=1)
        sure = (nearest <= tolerance**2) & (light >= least_light)
        chosen = which[:, None] == torch.arange(len(wanted), device=frames.device).view(1, -1, 1, 1)
        masks.append((chosen & sure[:, None]).cpu().numpy())
    return np.concatenate(masks)


def _area(masks: Masks) -> Array:
    return np.asarray(masks.sum(axis=(2, 3)), dtype=np.float64)


def _share(flags: npt.NDArray[np.bool_], where: npt.NDArray[np.bool_]) -> float:
    return float(flags[where].mean()) if where.any() else math.nan


def _area_error(area: Array, true_area: Array, found: npt.NDArray[np.bool_]) -> float:
    if not found.any():
        return math.nan
    return float(np.abs(np.log(area[found] / true_area[found])).mean())


def _penetration(predicted: Masks, true: Masks, config: PersistenceConfig) -> tuple[float, int]:
    """Mean overlap beyond the truth's over all pairs and frames, and how many those are."""
    flat, true_flat = (m.reshape(*m.shape[:2], -1).astype(np.float32) for m in (predicted, true))
    overlap, true_overlap = flat @ flat.mT, true_flat @ true_flat.mT
    area = np.diagonal(true_overlap, axis1=1, axis2=2)
    smaller = np.minimum(area[:, :, None], area[:, None, :])
    first, second = np.triu_indices(true.shape[1], 1)
    together = smaller[:, first, second] >= config.least_area
    if not together.any():
        return math.nan, 0
    beyond = np.maximum(overlap - true_overlap, 0)[:, first, second][together]
    share = beyond / smaller[:, first, second][together]
    return float(np.minimum(share, 1).mean()), int(together.sum())


def _ghosts(
    predicted: Masks,
    true: Masks,
    found: npt.NDArray[np.bool_],
    contact: npt.NDArray[np.bool_],
    config: PersistenceConfig,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Marks untouched objects that move otherwise than in the truth, and those untouched at all."""
    frames, span = len(found), config.span
    moved, untouched = np.zeros_like(found), np.zeros_like(found)
    where, true_where = _centroids(predicted), _centroids(true)
    for t in range(span, frames):
        recent = contact[max(0, t - span - config.settle) : t + 1].any(axis=0)
        untouched[t] = found[t] & found[t - span] & ~recent
        shift = (where[t] - where[t - span]) - (true_where[t] - true_where[t - span])
        with np.errstate(invalid="ignore"):
            moved[t] = np.hypot(shift[:, 0], shift[:, 1]) > config.step
    return moved, untouched


def _centroids(masks: Masks) -> Array:
    """Centroid x, y of each mask, ``[T, objects, 2]``; NaN where empty."""
    area = _area(masks)
    x = masks.sum(axis=2) @ np.arange(masks.shape[3], dtype=np.float64)
    y = masks.sum(axis=3) @ np.arange(masks.shape[2], dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([x / area, y / area], axis=-1)


def _gone_for_good(gone: npt.NDArray[np.bool_], visible: npt.NDArray[np.bool_]) -> int:
    """First frame from which a visible object is gone whenever it should be seen, or -1."""
    asked = np.flatnonzero(visible)
    kept = asked[~gone[asked]]
    lost = asked if len(kept) == 0 else asked[asked > kept[-1]]
    return int(lost[0]) if len(lost) else -1
