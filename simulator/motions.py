"""How scripted behaviour moves: smooth travel, reaching for things, grasping them.

A behaviour is a generator of intents, one a control step; it reads the world between steps.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dojobench.simulator.embodiments import WORKSPACE, Intent, Vector, in_workspace, wrap
from dojobench.simulator.objects import ObjectInfo
from dojobench.simulator.world import Dojo

Behaviour: TypeAlias = Iterator[Intent]

HOVER = 0.05
"""Clear height above a thing before coming down on it, metres."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How somebody moves.

    Attributes:
        speed: Top speed, metres per control step.
        noise: Standard deviation of the slow wobble around the intended path, metres.
        patience: Chance of pausing at a waypoint.
    """

    speed: float = 0.025
    noise: float = 0.003
    patience: float = 0.2


def draw_style(rng: np.random.Generator) -> Style:
    """Draws how one episode moves: 2 to 3 cm a step, a wobble of 1.5 to 4 mm."""
    return Style(
        speed=float(rng.uniform(0.020, 0.030)),
        noise=float(rng.uniform(0.0015, 0.004)),
        patience=float(rng.uniform(0.0, 0.3)),
    )


def travel(
    dojo: Dojo,
    goal: Vector,
    *,
    style: Style,
    yaw: float | None = None,
    grip: float | None = None,
    flat: bool = False,
    speed: float | None = None,
    limit: int = 60,
) -> Behaviour:
    """Goes straight to a place, gathering speed and slowing down at its end.

    Args:
        dojo: The world.
        goal: Where the fingertips shall be, metres; clipped to the workspace.
        style: Whose speed is used.
        yaw: Turn to reach on the way; the present one where ``None``.
        grip: Opening from the first step on; the present one where ``None``.
        flat: Whether a hand holds its fingers straight.
        speed: Metres a step, instead of the style's.
        limit: Most steps to take.
    """
    start = dojo.embodiment.held(dojo.control)
    place, turn = start.position.copy(), start.yaw
    goal = in_workspace(np.asarray(goal, np.float64), dojo.embodiment.floor)
    yaw = turn if yaw is None else yaw
    grip = start.grip if grip is None else grip
    top, pace = speed or style.speed, 0.0
    for _ in range(limit):
        way = goal - place
        far = float(np.linalg.norm(way))
        if far < 1e-4 and abs(yaw - turn) < 0.02:
            return
        pace = min(top, pace + 0.55 * top, 0.006 + 0.45 * far)
        place = place + way * min(1.0, pace / max(far, 1e-9))
        turn += float(np.clip(yaw - turn, -0.22, 0.22))
        yield Intent(position=place.copy(), yaw=turn, grip=grip, flat=flat)


def wait(dojo: Dojo, steps: int, *, grip: float | None = None, flat: bool = False) -> Behaviour:
    """Stays for some steps, opening or closing to ``grip`` over three of them."""
    start = dojo.embodiment.held(dojo.control)
    end = start.grip if grip is None else grip
    for k in range(1, steps + 1):
        share = min(1.0, k / 3)
        now = start.grip + (end - start.grip) * share
        yield Intent(position=start.position, yaw=start.yaw, grip=now, flat=flat)


def rest(dojo: Dojo, style: Style, rng: np.random.Generator) -> Behaviour:
    """Pauses now and then."""
    if rng.random() < style.patience:
        yield from wait(dojo, int(rng.integers(1, 5)))


def place_of(dojo: Dojo, item: ObjectInfo) -> Vector:
    """Gives where an object, or a fixture's handle, is now."""
    return np.array(dojo.state(item).position)


def axes_of(dojo: Dojo, item: ObjectInfo) -> Vector:
    """Gives an object's own axes as columns of a rotation matrix."""
    w, x, y, z = dojo.state(item).quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def upright(dojo: Dojo, item: ObjectInfo) -> bool:
    """Says whether an object stands as it was put (a ball always does)."""
    return item.factors.kind == "ball" or bool(axes_of(dojo, item)[2, 2] > 0.8)


def top_of(dojo: Dojo, item: ObjectInfo) -> float:
    """Gives the height of an object's highest point, metres, roughly where it lies."""
    height = item.half_height if upright(dojo, item) else item.half_width
    if item.fixture:
        return 0.018 + float(place_of(dojo, item)[2])
    return float(place_of(dojo, item)[2]) + height


def grasp_yaw(dojo: Dojo, item: ObjectInfo) -> float:
    """Gives the turn at which the fingers close across the narrow side of an object."""
    closing = 0.5 * math.pi if dojo.embodiment.camera == "head" else 0.0
    if item.fixture:
        return closing
    if item.factors.kind in ("ball", "cylinder") and upright(dojo, item):
        return 0.25 * dojo.embodiment.held(dojo.control).yaw
    axes = axes_of(dojo, item)
    narrow = axes[:2, 1] if upright(dojo, item) else np.array([-axes[1, 2], axes[0, 2]])
    angle = math.atan2(narrow[1], narrow[0]) - closing
    return float(wrap(2 * angle) / 2)


def grasp_height(dojo: Dojo, item: ObjectInfo) -> float:
    """Gives the height of the fingertips for grasping: low, the palm clear of the top."""
    if item.fixture:
        return float(place_of(dojo, item)[2]) - 0.004
    return max(0.018, top_of(dojo, item) - 0.048)


def above(dojo: Dojo, item: ObjectInfo) -> Vector:
    """Gives a place above an object from which to come down."""
    place = place_of(dojo, item)
    place[2] = max(top_of(dojo, item) + HOVER, 0.10)
    return place


def grasp(dojo: Dojo, item: ObjectInfo, rng: np.random.Generator, style: Style) -> Behaviour:
    """Comes over an object, goes down around it and closes."""
    yaw = grasp_yaw(dojo, item)
    error = rng.normal(0, 0.003, 2)
    goal = above(dojo, item)
    goal[:2] += error
    yield from travel(dojo, goal, style=style, yaw=yaw, grip=1.0)
    yield from rest(dojo, style, rng)
    goal = place_of(dojo, item)
    goal[:2] += error
    goal[2] = grasp_height(dojo, item)
    yield from travel(dojo, goal, style=style, yaw=yaw, grip=1.0)
    yield from wait(dojo, 5, grip=0.0)


def retreat(dojo: Dojo, rng: np.random.Generator, style: Style) -> Behaviour:
    """Opens, goes up and a little aside."""
    yield from wait(dojo, 3, grip=1.0)
    yield from raise_up(dojo, rng, style)


def raise_up(dojo: Dojo, rng: np.random.Generator, style: Style) -> Behaviour:
    """Goes up and a little aside without opening."""
    goal = dojo.embodiment.held(dojo.control).position
    goal[2] += float(rng.uniform(0.08, 0.13))
    yield from travel(dojo, goal, style=style)
    goal[:2] += rng.normal(0, 0.03, 2)
    yield from travel(dojo, goal, style=style)


def crowding(dojo: Dojo, place: Vector, but: ObjectInfo | None = None) -> float:
    """Gives the free distance from a place on the table to the nearest other object, metres."""
    gaps = [1.0]
    for item in dojo.objects:
        if item is not but:
            away = float(np.hypot(*(place_of(dojo, item)[:2] - place[:2])))
            gaps.append(away - item.radius)
    return min(gaps)


def inside(place: Vector, margin: float = 0.0) -> bool:
    """Says whether a place lies in the workspace's footprint, ``margin`` from its border."""
    (x0, x1), (y0, y1), _ = WORKSPACE
    return bool(x0 + margin <= place[0] <= x1 - margin and y0 + margin <= place[1] <= y1 - margin)
