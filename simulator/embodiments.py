"""What an embodiment is: a body to build, an action space, and the control between them.

A controller is a vector of numbers and pure functions on it, so that saving a dojo saves its
controller too. Scripted behaviour speaks in ``Intent``; each embodiment turns that into its
own actions, so that the same behaviour makes data for all of them.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dojobench.protocol import ActionKind, ActionSpace
from dojobench.simulator.building import Builder
from dojobench.simulator.textures import Look

Vector = npt.NDArray[np.float64]

MARKER = Look(rgb=(0.95, 0.05, 0.75), emission=1.0)
"""The end effector's band: it shines, so its pixels keep one colour that no object has."""
WORKSPACE = ((-0.25, 0.25), (-0.22, 0.20), (0.012, 0.30))
"""Where the point between the fingertips may go: x, y and z ranges in metres."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpec:
    """The actions of an embodiment.

    Attributes:
        names: One name per dimension.
        low: Smallest value per dimension.
        high: Largest value per dimension.
        kind: As in the protocol.
        units: Units in words.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    kind: ActionKind
    units: str

    @property
    def dim(self) -> int:
        """Width of one action."""
        return len(self.names)

    def space(self, embodiment: str) -> ActionSpace:
        """Gives the same in the protocol's words."""
        return ActionSpace(
            dim=self.dim,
            embodiment=embodiment,
            kind=self.kind,
            names=self.names,
            units=self.units,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """Where behaviour wants the end effector at the end of a control step.

    Attributes:
        position: Point between the fingertips, ``[3]``, metres, world frame.
        yaw: Turn about the vertical, radians; at 0 a gripper closes along x.
        grip: 0 closed to 1 open.
        flat: Whether a hand holds its fingers straight, as for patting; grippers ignore it.
    """

    position: Vector
    yaw: float
    grip: float
    flat: bool = False


class Embodiment(ABC):
    """A body, its actions and its controller.

    Attributes:
        name: Such as ``arm``.
        spec: Its actions.
        camera: Its main camera.
        reach: Furthest that it may move in one control step, metres.
        floor: Lowest height of the point between the fingertips, metres; a hand with straight
            fingers may bring it below the table.
    """

    name: str
    spec: ActionSpec
    camera: str = "front"
    reach: float = 0.06
    floor: float = WORKSPACE[2][0]

    @abstractmethod
    def build(self, build: Builder) -> None:
        """Adds bodies, actuators and the site ``tip`` between the fingertips."""

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Vector:
        """Gives the controller's state at the beginning of an episode."""

    @abstractmethod
    def advance(self, control: Vector, action: Vector) -> Vector:
        """Gives the controller's next state; ``action`` lies within its bounds."""

    @abstractmethod
    def targets(self, control: Vector) -> Vector:
        """Gives the target of every actuator."""

    @abstractmethod
    def encode(self, control: Vector, intent: Intent) -> Vector:
        """Gives the action that comes nearest to an intent, within bounds."""

    @abstractmethod
    def held(self, control: Vector) -> Intent:
        """Gives the intent that the controller is holding now."""

    def head(self, control: Vector) -> tuple[Vector, Vector] | None:
        """Gives eye and gaze point of a moving head camera; ``None`` without one."""
        return None

    def stepped(self, control: Vector, intent: Intent) -> Vector:
        """Gives the position nearest to the intent's within reach of one step."""
        start = self.held(control).position
        move = intent.position - start
        far = float(np.linalg.norm(move))
        return start + move * min(1.0, self.reach / far) if far > 0 else start


def in_workspace(position: Vector, floor: float = WORKSPACE[2][0]) -> Vector:
    """Clips a position to the workspace, whose lowest height may be given otherwise."""
    low, high = np.array(WORKSPACE).T
    low[2] = floor
    return np.clip(position, low, high)


def wrap(angle: float) -> float:
    """Brings an angle into [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def add_servo(build: Builder, joint: str, stiffness: float, damping: float, force: float) -> None:
    """Adds a position servo to a joint.

    Args:
        build: The model under construction.
        joint: Joint to drive; actuators act in the order in which they are added.
        stiffness: N/m or N m/rad.
        damping: N s/m or N m s/rad.
        force: Largest force or torque.
    """
    import mujoco

    servo = build.spec.add_actuator(name=joint, target=joint)
    servo.trntype = mujoco.mjtTrn.mjTRN_JOINT
    servo.gaintype = mujoco.mjtGain.mjGAIN_FIXED
    servo.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    servo.gainprm[0] = stiffness
    servo.biasprm[1] = -stiffness
    servo.biasprm[2] = -damping
    servo.forcelimited = True
    servo.forcerange = [-force, force]


def add_joint(
    body: Any,
    name: str,
    axis: tuple[float, float, float],
    *,
    slide: bool = False,
    armature: float = 0.15,
) -> None:
    """Adds a driven joint with the armature that keeps its servo stable."""
    import mujoco

    kind = mujoco.mjtJoint.mjJNT_SLIDE if slide else mujoco.mjtJoint.mjJNT_HINGE
    body.add_joint(name=name, type=kind, axis=list(axis), armature=armature)
