"""``arm2``: a four-axis assembly robot on the left with another look and other actions.

An action is the absolute target of every joint (two turns, a lift, a roll and two fingers);
the controller lets a joint travel only so far in one step.
"""

import math
from typing import Any

import numpy as np

from dojobench.simulator.building import Builder
from dojobench.simulator.embodiments import (
    ActionSpec,
    Embodiment,
    Intent,
    Vector,
    add_joint,
    add_servo,
    in_workspace,
    wrap,
)
from dojobench.simulator.gripper import HALF_OPENING, LENGTH, add_gripper
from dojobench.simulator.textures import Look

BASE = (-0.41, 0.08, 0.0)
HEIGHT = 0.50
FIRST = 0.38
SECOND = 0.37
REST = 0.16
"""Height of the fingertips when the lift stands at 0."""
_ORANGE = Look(rgb=(0.93, 0.47, 0.10))
_BLACK = Look(rgb=(0.15, 0.15, 0.17))
_STEEL = Look(rgb=(0.70, 0.73, 0.77))
_RATE = np.array([0.30, 0.40, 0.06, 0.50, 0.03, 0.03])


class Arm2(Embodiment):
    """The second robot: six actions, all absolute joint targets."""

    name = "arm2"
    spec = ActionSpec(
        names=("turn", "elbow", "lift", "roll", "finger_left", "finger_right"),
        low=(-2.0, -2.7, -0.15, -3.1, 0.0, 0.0),
        high=(2.0, 2.7, 0.15, 3.1, HALF_OPENING, HALF_OPENING),
        kind="absolute",
        units="rad, rad, m, rad, m, m",
    )

    def build(self, build: Builder) -> None:
        """Adds column, two horizontal links, a lift and the gripper."""
        robot: dict[str, Any] = {"owner": "robot", "group": "none"}
        base = build.body(build.world, "base", BASE)
        half = HEIGHT / 2 - 0.03
        build.geom(base, "column", "box", (0.045, 0.05, half), (0, 0, half), look=_BLACK, **robot)
        first = build.body(base, "first", (0, 0, HEIGHT - 0.03), gravcomp=1)
        add_joint(first, "turn", (0, 0, 1))
        self._link(build, first, "first", FIRST, 0.05)
        second = build.body(first, "second", (FIRST, 0, 0), gravcomp=1)
        add_joint(second, "elbow", (0, 0, 1))
        self._link(build, second, "second", SECOND, 0.042)
        quill = build.body(second, "quill", (SECOND, 0, REST + LENGTH - HEIGHT + 0.03), gravcomp=1)
        add_joint(quill, "lift", (0, 0, 1), slide=True)
        build.geom(
            quill, "rod", "cylinder", (0.018, 0.13), (0, 0, 0.115), look=_STEEL, mass=0.3, **robot
        )
        hand = build.body(quill, "hand", (0, 0, 0), gravcomp=1)
        add_joint(hand, "roll", (0, 0, 1))
        servos = (("turn", 900, 60), ("elbow", 700, 45), ("lift", 3000, 160), ("roll", 150, 9))
        for joint, stiffness, damping in servos:
            add_servo(build, joint, stiffness, damping, 150.0)
        add_gripper(build, hand, shell=_BLACK, finger=_STEEL)

    @staticmethod
    def _link(build: Builder, body: Any, name: str, length: float, radius: float) -> None:
        robot: dict[str, Any] = {"owner": "robot", "group": "none"}
        half = (length / 2, radius * 0.8, 0.022)
        build.geom(
            body, f"{name}.link", "box", half, (length / 2, 0, 0), look=_ORANGE, mass=1.0, **robot
        )
        build.geom(body, f"{name}.hub", "cylinder", (radius, 0.032), look=_BLACK, **robot)

    def start(self, rng: np.random.Generator) -> Vector:
        """Starts above the table, half open."""
        place = np.array(
            [rng.uniform(-0.12, 0.15), rng.uniform(-0.10, 0.12), rng.uniform(0.13, 0.22)]
        )
        return self._joints(place, float(rng.uniform(-0.4, 0.4)), float(rng.uniform(0.3, 1.0)))

    @staticmethod
    def _joints(place: Vector, yaw: float, grip: float) -> Vector:
        dx, dy = place[0] - BASE[0], place[1] - BASE[1]
        far = min(math.hypot(dx, dy), 0.998 * (FIRST + SECOND))
        cosine = (far**2 - FIRST**2 - SECOND**2) / (2 * FIRST * SECOND)
        elbow = -math.acos(min(1.0, max(-1.0, cosine)))
        inner = math.atan2(SECOND * math.sin(elbow), FIRST + SECOND * math.cos(elbow))
        turn = math.atan2(dy, dx) - inner
        finger = grip * HALF_OPENING
        return np.array([turn, elbow, place[2] - REST, wrap(yaw - turn - elbow), finger, finger])

    def advance(self, control: Vector, action: Vector) -> Vector:
        """Moves every joint target towards the action as far as its rate allows."""
        return control + np.clip(action - control, -_RATE, _RATE)

    def targets(self, control: Vector) -> Vector:
        """Gives the joint targets, fingers pressing a little when closed."""
        out = control.copy()
        out[4:] -= 0.004 * (out[4:] < 0.001)
        return out

    def encode(self, control: Vector, intent: Intent) -> Vector:
        """Solves for the joints of the place that one step reaches."""
        place = in_workspace(self.stepped(control, intent))
        joints = self._joints(place, intent.yaw, intent.grip)
        return np.clip(joints, self.spec.low, self.spec.high)

    def held(self, control: Vector) -> Intent:
        """Solves for where the joint targets put the fingertips."""
        turn, elbow, lift, roll = control[:4]
        x = BASE[0] + FIRST * math.cos(turn) + SECOND * math.cos(turn + elbow)
        y = BASE[1] + FIRST * math.sin(turn) + SECOND * math.sin(turn + elbow)
        return Intent(
            position=np.array([x, y, lift + REST]),
            yaw=wrap(float(turn + elbow + roll)),
            grip=float(control[4] / HALF_OPENING),
        )
