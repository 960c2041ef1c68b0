"""``arm``: a jointed arm at the far side of the table with a two-finger gripper.

Six joints and a gripper, driven to where the fingertips shall be by closed-form inverse
kinematics. An action moves that place: ``dx, dy, dz, dyaw`` and how far the gripper opens.
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

BASE = (0.0, 0.40, 0.0)
SHOULDER = 0.24
UPPER = 0.37
FORE = 0.36
_WHITE = Look(rgb=(0.90, 0.91, 0.93))
_GREY = Look(rgb=(0.34, 0.37, 0.42))
_DARK = Look(rgb=(0.17, 0.18, 0.21))


class Arm(Embodiment):
    """The target robot: five actions, relative in place and absolute in grip."""

    name = "arm"
    spec = ActionSpec(
        names=("dx", "dy", "dz", "dyaw", "grip"),
        low=(-0.06, -0.06, -0.06, -0.35, 0.0),
        high=(0.06, 0.06, 0.06, 0.35, 1.0),
        kind="mixed",
        units="m, m, m, rad relative to the last target; open fraction",
    )

    def build(self, build: Builder) -> None:
        """Adds base, two links, wrist and gripper."""
        robot: dict[str, Any] = {"owner": "robot", "group": "none"}
        base = build.body(build.world, "base", BASE)
        build.geom(base, "foot", "cylinder", (0.065, 0.015), (0, 0, 0.015), look=_GREY, **robot)
        turret = build.body(base, "turret", (0, 0, 0.03), gravcomp=1)
        add_joint(turret, "turn", (0, 0, 1))
        build.geom(
            turret, "turret", "cylinder", (0.05, 0.09), (0, 0, 0.09), look=_WHITE, mass=1.0, **robot
        )
        upper = build.body(turret, "upper", (0, 0, SHOULDER - 0.03), gravcomp=1)
        add_joint(upper, "shoulder", (-1, 0, 0))
        self._link(build, upper, "upper", UPPER, 0.037)
        fore = build.body(upper, "fore", (0, -UPPER, 0), gravcomp=1)
        add_joint(fore, "elbow", (-1, 0, 0))
        self._link(build, fore, "fore", FORE, 0.030)
        wrist = build.body(fore, "wrist", (0, -FORE, 0), gravcomp=1)
        add_joint(wrist, "bend", (-1, 0, 0))
        build.rod(
            wrist,
            "wrist",
            (-0.032, 0, 0),
            (0.032, 0, 0),
            0.030,
            shape="cylinder",
            look=_GREY,
            mass=0.2,
            **robot,
        )
        hand = build.body(wrist, "hand", (0, 0, 0), quat=[0.5**0.5, -(0.5**0.5), 0, 0], gravcomp=1)
        add_joint(hand, "roll", (0, 0, 1))
        for joint, stiffness in (
            ("turn", 900),
            ("shoulder", 900),
            ("elbow", 700),
            ("bend", 300),
            ("roll", 150),
        ):
            add_servo(build, joint, stiffness, stiffness * 0.055, 120.0)
        add_gripper(build, hand, shell=_GREY, finger=_DARK)

    @staticmethod
    def _link(build: Builder, body: Any, name: str, length: float, radius: float) -> None:
        robot: dict[str, Any] = {"owner": "robot", "group": "none"}
        axle = ((-radius - 0.012, 0, 0), (radius + 0.012, 0, 0))
        build.rod(body, f"{name}.axle", *axle, radius * 1.1, shape="cylinder", look=_GREY, **robot)
        build.rod(
            body, f"{name}.link", (0, 0, 0), (0, -length, 0), radius, look=_WHITE, mass=0.8, **robot
        )

    def start(self, rng: np.random.Generator) -> Vector:
        """Starts above the table, half open."""
        place = [rng.uniform(-0.15, 0.15), rng.uniform(-0.10, 0.12), rng.uniform(0.13, 0.22)]
        return np.array([*place, rng.uniform(-0.4, 0.4), rng.uniform(0.3, 1.0)])

    def advance(self, control: Vector, action: Vector) -> Vector:
        """Moves the target by the action, within the workspace."""
        out = np.empty(5)
        out[:3] = in_workspace(control[:3] + action[:3])
        out[3] = np.clip(control[3] + action[3], -1.7, 1.7)
        out[4] = action[4]
        return out

    def targets(self, control: Vector) -> Vector:
        """Solves for the joints that put the fingertips at the target, pointing down."""
        dx, dy = control[0] - BASE[0], control[1] - BASE[1]
        turn = math.atan2(dx, -dy)
        r, h = math.hypot(dx, dy), control[2] + LENGTH - SHOULDER
        far = min(math.hypot(r, h), 0.995 * (UPPER + FORE))
        bend = -math.acos(min(1.0, max(-1.0, (far**2 - UPPER**2 - FORE**2) / (2 * UPPER * FORE))))
        lift = math.atan2(h, r) + math.atan2(-FORE * math.sin(bend), UPPER + FORE * math.cos(bend))
        finger = control[4] * HALF_OPENING - (0.004 if control[4] < 0.02 else 0.0)
        wrist = -math.pi / 2 - lift - bend
        return np.array([turn, lift, bend, wrist, wrap(control[3] - turn), finger, finger])

    def encode(self, control: Vector, intent: Intent) -> Vector:
        """Clips the way to the intent to one step."""
        action = np.empty(5)
        action[:3] = self.stepped(control, intent) - control[:3]
        action[3] = intent.yaw - control[3]
        action[4] = intent.grip
        return np.clip(action, self.spec.low, self.spec.high)

    def held(self, control: Vector) -> Intent:
        """Gives the target itself."""
        return Intent(position=control[:3].copy(), yaw=float(control[3]), grip=float(control[4]))
