"""Follows one long rollout, a step at a time: error, look and objects against the truth's own."""

import math

import numpy as np
import numpy.typing as npt

from dojobench.benchmarks.object_finder import Masks, ObjectFinder, make_finder, readable
from dojobench.benchmarks.parts import Part
from dojobench.benchmarks.rollouts import OpenClip
from dojobench.metrics.appearance import AppearanceCurves, AppearanceTracker, tail_mean
from dojobench.metrics.persistence import PersistenceConfig, persistence_scores
from dojobench.metrics.psnr import MSE_FLOOR, mean_squared_error
from dojobench.metrics.stability import (
    break_horizon,
    error_growth,
    excess_drift,
    freeze_rate,
    frozen,
    seam_ratio,
    worse_than_still,
)
from dojobench.protocol import Frames

PATIENCE_SECONDS = 1.0
"""Seconds in a row without skill, or without motion, that make a break."""
TAIL = 0.2
"""Share of a rollout at its end that drift is read from."""
NEAR = 0.10
"""Metres between two middles below which things may touch."""
MOVING = 0.001
"""Metres a frame from which a thing moves in the truth."""
_NO_TRUTH = "not computed: the clip has no ground truth with objects"
_OBJECTS = ("vanished", "appeared", "area_error", "penetration", "ghost_motion")
_NAN_REASONS = {
    "excess_drift": "not computed: the truth ends as it began",
    "freeze_rate": "not computed: the truth never moves",
    "seam_ratio": "not computed: the rollout has no border between chunks",
}


class StabilityScorer:
    """Scores one rollout as it streams."""

    def __init__(self, opened: OpenClip, *, chunk: int, frame_rate: float) -> None:
        """Starts with a clip's context.

        Args:
            opened: The clip.
            chunk: Frames that the model makes at once.
            frame_rate: Frames per second.
        """
        self._chunk, self._rate = chunk, frame_rate
        self._last = opened.context[-1]
        self._looks = AppearanceTracker(opened.context), AppearanceTracker(opened.context)
        self._errors: list[float] = []
        self._static: list[float] = []
        self._objects = ObjectWatch.of(opened)

    def update(self, answer: Frames, truth: Frames, position: int) -> None:
        """Adds the next frames, uint8 ``[n, 3, height, width]`` each, from ``position`` on."""
        self._errors.extend(mean_squared_error(answer, truth).tolist())
        self._static.extend(mean_squared_error(self._last.expand_as(truth), truth).tolist())
        self._looks[0].update(answer)
        self._looks[1].update(truth)
        if self._objects is not None:
            self._objects.update(answer, truth, position)

    def finish(self) -> Part:
        """Gives the numbers and the curves."""
        look, true = (tracker.finish() for tracker in self._looks)
        errors, static = np.array(self._errors), np.array(self._static)
        patience = max(1, round(PATIENCE_SECONDS * self._rate))
        broken = worse_than_still(errors, static) | frozen(look.motion, true.motion)
        horizon = break_horizon(broken, patience=patience, frame_rate=self._rate)
        tail = max(1, round(TAIL * len(errors)))
        decibels = -10 * np.log10(np.maximum(errors, MSE_FLOOR))
        values = {
            "stable_horizon": horizon.seconds,
            "excess_drift": excess_drift(errors, static, tail=tail),
            "error_growth": error_growth(errors, frame_rate=self._rate),
            "late_psnr": float(decibels[-tail:].mean()),
            "freeze_rate": freeze_rate(look.motion, true.motion),
            "seam_ratio": self._seams(look, true),
            "sharpness_drift": _drift(look.sharpness, true.sharpness, tail),
            "colour_drift": _drift(look.colour_drift, true.colour_drift, tail),
            "flicker": max(0.0, float(np.mean(look.flicker)) - float(np.mean(true.flicker))),
        }
        objects = (
            self._objects.finish()
            if self._objects is not None
            else Part(not_computed=dict.fromkeys(_OBJECTS, _NO_TRUTH))
        )
        seen: dict[str, bool | float | str] = {
            "broken": horizon.broken,
            "break_frame": float(horizon.frames),
        }
        missing = {name: _NAN_REASONS[name] for name, v in values.items() if math.isnan(v)}
        return Part(
            values={k: v for k, v in values.items() if k not in missing} | objects.values,
            not_computed=missing | objects.not_computed,
            checks=seen | objects.checks,
            curves={
                "psnr": tuple(decibels.tolist()),
                "static_psnr": tuple((-10 * np.log10(np.maximum(static, MSE_FLOOR))).tolist()),
                "motion": tuple(look.motion),
                "true_motion": tuple(true.motion),
                "sharpness": tuple(look.sharpness),
                "true_sharpness": tuple(true.sharpness),
                "colour_drift": tuple(look.colour_drift),
                "true_colour_drift": tuple(true.colour_drift),
            },
        )

    def _seams(self, look: AppearanceCurves, true: AppearanceCurves) -> float:
        if self._chunk < 2:
            return math.nan
        own = seam_ratio(true.motion, chunk=self._chunk)
        return seam_ratio(look.motion, chunk=self._chunk) / own


class ObjectWatch:
    """Watches whether objects persist, by their colours."""

    def __init__(self, opened: OpenClip, finder: ObjectFinder) -> None:
        """Starts without frames."""
        self._opened, self._finder = opened, finder
        self._predicted: list[Masks] = []
        self._found: list[Masks] = []
        self._true: list[Masks] = []

    @classmethod
    def of(cls, opened: OpenClip) -> "ObjectWatch | None":
        """Makes one for a clip with objects; ``None`` for others."""
        finder = make_finder(opened)
        return cls(opened, finder) if finder is not None else None

    def update(self, answer: Frames, truth: Frames, position: int) -> None:
        """Adds the next frames."""
        self._predicted.append(self._finder.find(answer))
        self._found.append(self._finder.find(truth))
        self._true.append(self._finder.true_masks(self._opened, position, position + len(truth)))

    def finish(self) -> Part:
        """Compares the objects found in the prediction with those found in the truth."""
        predicted, found, true = map(
            np.concatenate, (self._predicted, self._found, self._true)
        )  # fmt: skip
        # What the finder cannot read in the truth is neither asked for nor held against anyone.
        legible = readable(found, true)[:, :, None, None]
        hidden = ~true.any(axis=(2, 3), keepdims=True) & ~found.any(axis=(2, 3), keepdims=True)
        asked = legible | hidden
        scores = persistence_scores(
            predicted & asked,
            found & asked,
            contact=touched(self._opened, self._finder.labels),
            config=PersistenceConfig(least_area=6),
        )
        missing = {name: why for name, why in scores.not_computed.items() if name in _OBJECTS}
        checks: dict[str, bool | float | str] = {
            f"{name}_gone_at": float(frame)
            for name, frame in zip(self._finder.names, scores.vanished_at, strict=True)
            if frame >= 0
        }
        share = float(legible.mean())
        return Part(
            values=dict(scores.values),
            not_computed=missing,
            checks=checks | {"objects_readable": share},
        )


def touched(opened: OpenClip, labels: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Says when something may touch an object in the truth.

    Args:
        opened: A clip with ground truth.
        labels: Numbers of the objects in the segmentation.

    Returns:
        bool ``[predicted frames, objects]``: the embodiment touches it, it moves in the truth, or
        something that moves is near enough to touch it.
    """
    if opened.truth is None:
        raise ValueError("the clip has no ground truth")
    places = opened.truth.positions(opened.start - 1, opened.record.frames).numpy()
    moving = np.linalg.norm(np.diff(places, axis=0), axis=2) > MOVING
    here = places[1:]
    gaps = np.linalg.norm(here[:, :, None] - here[:, None], axis=3)
    near = (gaps < NEAR) & moving[:, None, :]
    near[:, np.arange(near.shape[1]), np.arange(near.shape[1])] = False
    hit = opened.truth.touched(opened.start, opened.record.frames).numpy()
    return np.asarray((moving | near.any(axis=2) | hit)[:, [label - 1 for label in labels]])


def _drift(curve: list[float], true: list[float], tail: int) -> float:
    """Distance between the ends of two curves: scenes change their look on their own."""
    return abs(tail_mean(curve, tail) - tail_mean(true, tail))
