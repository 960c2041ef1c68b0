"""``hand``: a five-fingered hand seen from a moving head camera; it stands for human video.

The palm faces down. Fingers are on its far side and bend down and back, the thumb stands
opposite them, so that it pinches along its own y axis. The head follows the hand with a lag
and sways; eye and gaze belong to the controller's state.
"""

import math
from typing import Any

import numpy as np

from dojobench.simulator.building import Builder
from dojobench.simulator.embodiments import (
    MARKER,
    ActionSpec,
    Embodiment,
    Intent,
    Vector,
    add_joint,
    add_servo,
    in_workspace,
    wrap,
)
from dojobench.simulator.textures import Look

_SKIN = Look(rgb=(0.87, 0.66, 0.53))
_NAIL = Look(rgb=(0.95, 0.78, 0.68))
_SLEEVE = Look(rgb=(0.24, 0.30, 0.42), rgb2=(0.30, 0.37, 0.50), texture="stripes", scale=0.02)
_TIP = np.array([0.0, 0.018, -0.082])
_FINGERS = (("index", -0.033), ("middle", -0.011), ("ring", 0.011), ("little", 0.033))
_OPEN, _FLAT, _SHUT = 0.42, 0.03, 1.0


class Hand(Embodiment):
    """The human stand-in: nine actions, withheld where it plays the part of video."""

    name = "hand"
    camera = "head"
    floor = -0.06
    spec = ActionSpec(
        names=("dx", "dy", "dz", "dyaw", "thumb", "index", "middle", "ring", "little"),
        low=(-0.06, -0.06, -0.06, -0.35, 0.0, 0.0, 0.0, 0.0, 0.0),
        high=(0.06, 0.06, 0.06, 0.35, 1.0, 1.0, 1.0, 1.0, 1.0),
        kind="mixed",
        units="m, m, m, rad relative to the last target; bent fraction",
    )

    def build(self, build: Builder) -> None:
        """Adds forearm, palm, four fingers and a thumb."""
        arm = build.body(build.world, "forearm", (0, 0, 0), gravcomp=1)
        for axis, joint in (((1, 0, 0), "x"), ((0, 1, 0), "y"), ((0, 0, 1), "z")):
            add_joint(arm, joint, axis, slide=True)
        quiet: dict[str, Any] = {"owner": "robot", "group": "none"}
        build.rod(
            arm, "forearm", (0, -0.048, 0.008), (0.10, -0.30, 0.050), 0.024, look=_SKIN, **quiet
        )
        build.rod(
            arm,
            "sleeve",
            (0.060, -0.190, 0.032),
            (0.24, -0.62, 0.105),
            0.034,
            look=_SLEEVE,
            **quiet,
        )
        build.rod(
            arm,
            "band",
            (0.004, -0.058, 0.0097),
            (0.013, -0.080, 0.0133),
            0.0275,
            shape="cylinder",
            look=MARKER,
            mass=0.3,
            **quiet,
        )
        palm = build.body(arm, "palm", (0, 0, 0), gravcomp=1)
        add_joint(palm, "yaw", (0, 0, 1))
        touch: dict[str, Any] = {"owner": "robot", "group": "robot", "look": _SKIN}
        build.geom(palm, "palm", "box", (0.040, 0.036, 0.012), (0, 0, 0), mass=0.2, **touch)
        build.geom(
            palm, "heel", "ellipsoid", (0.036, 0.024, 0.016), (0, -0.034, 0.0), mass=0.05, **touch
        )
        palm.add_site(name="tip", pos=_TIP.tolist())
        for joint in ("x", "y", "z"):
            add_servo(build, joint, 2500.0, 150.0, 80.0)
        add_servo(build, "yaw", 150.0, 9.0, 20.0)
        self._finger(build, palm, "thumb", (-0.012, -0.030, -0.006), thumb=True)
        for name, x in _FINGERS:
            size = 0.006 if name == "little" else 0.0
            self._finger(build, palm, name, (x, 0.034 - size, 0.0), thumb=False)

    @staticmethod
    def _finger(
        build: Builder, palm: Any, name: str, pos: tuple[float, float, float], *, thumb: bool
    ) -> None:
        """Adds two bones; a bent fraction drives both joints."""
        skin: dict[str, Any] = {
            "owner": "robot",
            "group": "robot",
            "look": _SKIN,
            "friction": (1.3, 0.02, 0.002),
        }
        long, radius = (0.040, 0.0125) if thumb else (0.044, 0.0105)
        axis = (1, 0, 0) if thumb else (-1, 0, 0)
        first = (0.0, -0.45, -0.89) if thumb else (0.0, 1.0, 0.0)
        bone = [long * part for part in first]
        near = build.body(palm, name, pos, gravcomp=1)
        add_joint(near, name, axis, armature=0.01)
        build.rod(near, f"{name}.near", (0, 0, 0), bone, radius, mass=0.03, **skin)
        far = build.body(near, f"{name}.far", bone, gravcomp=1)
        add_joint(far, f"{name}.far", axis, armature=0.01)
        build.rod(far, f"{name}.tip", (0, 0, 0), bone, radius * 0.93, mass=0.02, **skin)
        up = (0.0, -0.005, 0.0) if thumb else (0.0, 0.0, 0.005)
        build.geom(
            far,
            f"{name}.nail",
            "sphere",
            (radius * 0.72,),
            [b + u for b, u in zip(bone, up, strict=True)],
            look=_NAIL,
            owner="robot",
            group="none",
        )
        # The thumb alone stands against four fingers.
        stiff, force = (40.0, 4.0) if thumb else (9.0, 0.55)
        add_servo(build, name, stiff, 0.07 * stiff, force)
        add_servo(build, f"{name}.far", 0.7 * stiff, 0.045 * stiff, 0.7 * force)

    def start(self, rng: np.random.Generator) -> Vector:
        """Starts above the near half of the table; the last six numbers are the head's."""
        place = [rng.uniform(-0.12, 0.15), rng.uniform(-0.15, 0.05), rng.uniform(0.13, 0.20)]
        bent = np.full(5, rng.uniform(0.1, 0.4))
        phase = rng.uniform(0, 2 * math.pi, 2)
        pace = rng.uniform(0.05, 0.12)
        yaw = rng.uniform(-0.3, 0.3)
        return np.array([*place, yaw, *bent, place[0], place[1], *phase, pace, 0.0])

    def advance(self, control: Vector, action: Vector) -> Vector:
        """Moves the hand's target and lets the gaze follow it."""
        out = control.copy()
        out[:3] = in_workspace(control[:3] + action[:3], self.floor)
        out[3] = np.clip(control[3] + action[3], -1.7, 1.7)
        out[4:9] = action[4:9]
        out[9:11] += 0.12 * (out[:2] - out[9:11])
        out[11:13] += control[13] * np.array([1.0, 0.73])
        return out

    def targets(self, control: Vector) -> Vector:
        """Gives wrist, yaw and finger joint targets."""
        c, s = math.cos(control[3]), math.sin(control[3])
        offset = np.array([c * _TIP[0] - s * _TIP[1], s * _TIP[0] + c * _TIP[1], _TIP[2]])
        out = np.empty(14)
        out[:3] = control[:3] - offset
        out[3] = control[3]
        bent = control[4:9]
        out[4] = -0.25 + 1.0 * bent[0]
        out[5] = 0.05 + 0.45 * bent[0]
        out[6::2] = 0.05 + 1.45 * bent[1:]
        out[7::2] = 0.05 + 0.95 * bent[1:]
        return out

    def encode(self, control: Vector, intent: Intent) -> Vector:
        """Clips the way to the intent to one step and bends all fingers alike."""
        action = np.empty(9)
        action[:3] = self.stepped(control, intent) - control[:3]
        action[3] = wrap(intent.yaw) - control[3]
        action[4:] = _FLAT if intent.flat else _SHUT + (_OPEN - _SHUT) * intent.grip
        return np.clip(action, self.spec.low, self.spec.high)

    def held(self, control: Vector) -> Intent:
        """Gives the target; the index finger tells the grip."""
        grip = (control[5] - _SHUT) / (_OPEN - _SHUT)
        return Intent(
            position=control[:3].copy(),
            yaw=float(control[3]),
            grip=float(np.clip(grip, 0, 1)),
            flat=bool(control[5] < 0.1),
        )

    def head(self, control: Vector) -> tuple[Vector, Vector]:
        """Gives eye and gaze point: the gaze goes a third of the way with the hand."""
        sway = 0.012 * np.sin(control[11:13])
        eye = np.array([-0.03 + sway[0] + 0.10 * control[9], -0.52, 0.68 + sway[1]])
        gaze = np.array([0.30 * control[9], 0.0 + 0.25 * control[10], 0.03])
        return eye, gaze
