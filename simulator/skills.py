"""The scripted skills: pick, place, push, slide, open, topple, pat, miss, slap, wave.

Each takes the world, an object, a goal (a place or a direction on the table), a random stream
and a style, and yields intents until it is done.
"""

import math

import numpy as np

from dojobench.simulator.embodiments import Vector, wrap
from dojobench.simulator.motions import (
    HOVER,
    Behaviour,
    Style,
    above,
    grasp,
    grasp_height,
    place_of,
    raise_up,
    rest,
    retreat,
    top_of,
    travel,
    wait,
)
from dojobench.simulator.objects import ObjectInfo
from dojobench.simulator.world import Dojo


def pick(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Grasps an object, lifts it and holds it up."""
    yield from grasp(dojo, item, rng, style)
    up = dojo.embodiment.held(dojo.control).position
    up[2] += float(rng.uniform(0.09, 0.13))
    yield from travel(dojo, up, style=style, grip=0.0)
    yield from wait(dojo, 4, grip=0.0)


def place(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Grasps an object, carries it to a place and sets it down."""
    yield from grasp(dojo, item, rng, style)
    low = float(dojo.embodiment.held(dojo.control).position[2])
    up = dojo.embodiment.held(dojo.control).position
    up[2] = low + 0.07
    yield from travel(dojo, up, style=style, grip=0.0)
    yield from travel(dojo, np.array([goal[0], goal[1], low + 0.07]), style=style, grip=0.0)
    yield from travel(dojo, np.array([goal[0], goal[1], low + 0.002]), style=style, grip=0.0)
    yield from retreat(dojo, rng, style)


def _line_up(
    dojo: Dojo, item: ObjectInfo, back: float, way: Vector, height: float, style: Style
) -> Behaviour:
    """Comes down behind an object, seen in the direction of a push, fingers closed."""
    start = place_of(dojo, item)
    start[:2] -= way * (item.radius + back)
    over = start.copy()
    over[2] = max(top_of(dojo, item) + HOVER, 0.10)
    yaw = float(np.clip(wrap(math.atan2(way[1], way[0]) * 2) / 2, -1.5, 1.5))
    yield from travel(dojo, over, style=style, yaw=0.3 * yaw, grip=0.0)
    start[2] = height
    yield from travel(dojo, start, style=style, grip=0.0)


def push(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Pushes an object over the table in the direction ``goal``, a step of that length."""
    far = float(np.hypot(*goal[:2]))
    way = goal[:2] / far
    height = max(0.016, min(0.030, item.half_height * 0.7))
    yield from _line_up(dojo, item, 0.035, way, height, style)
    yield from rest(dojo, style, rng)
    end = dojo.embodiment.held(dojo.control).position
    end[:2] += way * (0.03 + far)
    yield from travel(dojo, end, style=style, grip=0.0)
    back = dojo.embodiment.held(dojo.control).position
    back[:2] -= way * 0.03
    yield from travel(dojo, back, style=style, grip=0.0)
    yield from raise_up(dojo, rng, style)


def slide(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Takes an object without lifting it and drags it in the direction ``goal``."""
    yield from grasp(dojo, item, rng, style)
    end = dojo.embodiment.held(dojo.control).position
    end[:2] += goal[:2]
    yield from travel(dojo, end, style=style, grip=0.0, speed=0.8 * style.speed)
    yield from retreat(dojo, rng, style)


def open_up(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Takes a handle and pulls a drawer towards the camera or turns a lid up."""
    yield from grasp(dojo, item, rng, style)
    held = dojo.embodiment.held(dojo.control).position
    if item.factors.kind == "drawer":
        held[1] -= 0.085
        yield from travel(dojo, held, style=style, grip=0.0)
    else:
        k = item.factors.size / 0.035
        hinge_y = float(place_of(dojo, item)[1]) + 1.7 * 0.055 * k
        hinge_z = 2 * 0.032 * k + 0.005
        arm, rise = hinge_y - held[1], held[2] - hinge_z
        radius, first = math.hypot(arm, rise), math.atan2(rise, arm)
        for angle in np.arange(0.18, 1.25, 0.9 * style.speed / radius):
            turn = first + angle
            goal = np.array(
                [held[0], hinge_y - radius * math.cos(turn), hinge_z + radius * math.sin(turn)]
            )
            yield from travel(dojo, goal, style=style, grip=0.0, speed=0.03, limit=2)
    yield from retreat(dojo, rng, style)


def topple(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Pushes an object near its top until it falls over."""
    way = goal[:2] / np.hypot(*goal[:2])
    height = top_of(dojo, item) - 0.014
    yield from _line_up(dojo, item, 0.04, way, height, style)
    end = dojo.embodiment.held(dojo.control).position
    end[:2] += way * (0.07 + item.radius + item.half_height * 0.8)
    yield from travel(dojo, end, style=style, grip=0.0, speed=1.3 * style.speed)
    yield from raise_up(dojo, rng, style)


def pat(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Pats an object from above, two or three times, gently."""
    over = above(dojo, item)
    over[:2] += rng.normal(0, 0.003, 2)
    # Straight fingers pat with their undersides, which lie above the pinching point.
    drop = 0.0715 if dojo.embodiment.camera == "head" else 0.0
    if drop:
        over[1] -= 0.045
    top = top_of(dojo, item) - drop
    over[2] = top + 0.045
    yield from travel(dojo, over, style=style, grip=0.0, flat=True)
    for _ in range(int(rng.integers(2, 4))):
        for height in (-0.006, 0.04):
            down = over.copy()
            down[2] = top + height
            yield from travel(dojo, down, style=style, grip=0.0, flat=True, speed=0.022)
    yield from wait(dojo, 2, flat=True)


def miss(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Reaches for an object as if to take it, but closes beside it and comes back empty.

    The direction of ``goal`` says on which side.
    """
    way = goal[:2] / np.hypot(*goal[:2])
    beside = place_of(dojo, item)
    beside[:2] += way * (item.radius + 0.075)
    over = beside.copy()
    over[2] = above(dojo, item)[2]
    yield from travel(dojo, over, style=style, grip=1.0)
    beside[2] = max(grasp_height(dojo, item), 0.03)
    yield from travel(dojo, beside, style=style, grip=1.0)
    yield from wait(dojo, 4, grip=0.0)
    over[2] += 0.04
    yield from travel(dojo, over, style=style, grip=0.0)


def slap(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Swings back and hits an object sideways, fast."""
    way = goal[:2] / np.hypot(*goal[:2])
    height = float(np.clip(item.half_height, 0.03, 0.05))
    yield from _line_up(dojo, item, 0.075, way, height, style)
    end = dojo.embodiment.held(dojo.control).position
    end[:2] += way * (0.16 + item.radius)
    end[2] += 0.01
    yield from travel(dojo, end, style=style, grip=0.0, speed=0.055)
    yield from raise_up(dojo, rng, style)


def wave(
    dojo: Dojo, item: ObjectInfo, goal: Vector, rng: np.random.Generator, style: Style
) -> Behaviour:
    """Waves quickly to the camera, well above the table."""
    middle = dojo.embodiment.held(dojo.control).position
    middle[0] = float(np.clip(middle[0], -0.12, 0.12))
    middle[2] = float(rng.uniform(0.18, 0.22))
    yield from travel(dojo, middle, style=style, grip=1.0, flat=True)
    width, swings = float(rng.uniform(0.07, 0.09)), int(rng.integers(3, 5))
    for k in range(swings):
        for side in (1, -1):
            end = middle.copy()
            end[0] += side * width * (0.7 if k == 0 and side == 1 else 1.0)
            yaw = 0.35 * side
            yield from travel(dojo, end, style=style, yaw=yaw, flat=True, speed=0.055, limit=6)
    yield from travel(dojo, middle, style=style, yaw=0.0, flat=True)
