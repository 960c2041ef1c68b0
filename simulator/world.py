"""``Dojo``: the environment. Reset, step, look, save, restore, branch."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mujoco
import numpy as np
import numpy.typing as npt

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.arm import Arm
from dojobench.simulator.arm2 import Arm2
from dojobench.simulator.camera import Picture, RayCamera
from dojobench.simulator.embodiments import Embodiment
from dojobench.simulator.factors import Choice, SceneFactors, sample
from dojobench.simulator.hand import Hand
from dojobench.simulator.objects import ObjectInfo
from dojobench.simulator.scene import SUBSTEPS, Scene, build_scene
from dojobench.simulator.seeding import Seed, stream
from dojobench.simulator.views import View

EMBODIMENTS: Mapping[str, type[Embodiment]] = {"arm": Arm, "arm2": Arm2, "hand": Hand}
CAMERAS = ("front", "side", "top", "head")
FRAME_RATE = 10.0
_RAMP = np.arange(1, SUBSTEPS + 1)[:, None]
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything that decides the future of a dojo, short of the actions.

    Attributes:
        physics: MuJoCo's integration state, float64.
        control: The controller's own variables, float64.
        steps: Control steps since the reset.
        clipped: Actions clipped since the reset.
    """

    physics: npt.NDArray[np.float64]
    control: npt.NDArray[np.float64]
    steps: int
    clipped: int

    def __eq__(self, other: object) -> bool:
        """Compares bit by bit."""
        return isinstance(other, Snapshot) and (
            self.physics.tobytes() == other.physics.tobytes()
            and self.control.tobytes() == other.control.tobytes()
            and (self.steps, self.clipped) == (other.steps, other.clipped)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectState:
    """One object at one moment.

    Attributes:
        name: Such as ``object0``.
        position: Its middle in metres, world frame; a fixture's handle.
        quaternion: Its turn, ``w x y z``; a fixture's is that of its moving part.
        speed: Metres per second; of a fixture, its joint's speed.
        opening: Share of a fixture's travel, 0 closed to 1; 0 for a free object.
    """

    name: str
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    speed: float
    opening: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """Two things that touch: owners by name, and the normal force in newtons."""

    first: str
    second: str
    force: float


def make_embodiment(name: str) -> Embodiment:
    """Makes an embodiment by name.

    Raises:
        BadInputError: If there is none of that name; the nearest is named.
    """
    if name not in EMBODIMENTS:
        near = difflib.get_close_matches(name, EMBODIMENTS, n=1, cutoff=0.0)[0]
        raise BadInputError(
            f"There is no embodiment {name!r}: choose one of {', '.join(EMBODIMENTS)} "
            f"(did you mean {near!r}?)."
        )
    return EMBODIMENTS[name]()


def _place(model: Any, item: ObjectInfo) -> tuple[int, int, int, int, float]:
    """Finds an object's numbers: position, degree of freedom, body, handle's geom and travel."""
    joint = model.joint(item.joint)
    body = int(joint.bodyid[0])
    knob = "knob" if item.factors.kind == "lidbox" else "part4"
    handle = int(model.geom(f"{item.name}.{knob}").id) if item.fixture else -1
    return int(joint.qposadr[0]), int(joint.dofadr[0]), body, handle, float(joint.range[1])


class Dojo:
    """A table, some objects and a body that acts on them, at 10 Hz.

    Args:
        embodiment: ``arm``, ``arm2`` or ``hand``.
        out_of_bounds: What becomes of an action out of bounds: ``clip`` (counted in
            ``clipped``) or ``refuse``.
        supersample: Samples along each side of a pixel.

    Attributes:
        embodiment: Who acts.
        scene: The scene of the last reset.
        control: The controller's variables.
        steps: Control steps since the reset.
        clipped: Actions that were clipped since the reset.
    """

    scene: Scene

    def __init__(
        self,
        embodiment: str = "arm",
        *,
        out_of_bounds: Literal["clip", "refuse"] = "clip",
        supersample: int = 2,
    ) -> None:
        self.embodiment = make_embodiment(embodiment)
        self.steps = 0
        self.clipped = 0
        self._refuse = out_of_bounds == "refuse"
        self._supersample = supersample

    def reset(
        self, seed: Seed, factors: Mapping[str, Choice] | SceneFactors | None = None
    ) -> "Dojo":
        """Builds the scene of a seed and lets it come to rest.

        Args:
            seed: Any number or text; also decides where the embodiment starts.
            factors: Factors to hold or narrow, as ``factors.sample`` takes them, or all of
                them.

        Raises:
            BadInputError: If a factor is unknown or the scene cannot be built.
        """
        if not isinstance(factors, SceneFactors):
            factors = sample(seed, factors)
        self.scene = build_scene(factors, self.embodiment)
        self._model = self.scene.model
        self._data = mujoco.MjData(self._model)
        self._camera = RayCamera(self.scene, supersample=self._supersample)
        self._places = {item.name: _place(self._model, item) for item in self.scene.objects}
        self._state_size = mujoco.mj_stateSize(self._model, _STATE)
        self.control = self.embodiment.start(stream(seed, "start"))
        self.steps = self.clipped = 0
        targets = self.embodiment.targets(self.control)
        for target, joint in zip(targets, self._model.actuator_trnid[:, 0], strict=True):
            self._data.qpos[self._model.jnt_qposadr[joint]] = target
        self._data.ctrl[:] = targets
        mujoco.mj_step(self._model, self._data, 3 * SUBSTEPS)
        self._data.time = 0.0
        mujoco.mj_forward(self._model, self._data)
        return self

    def _checked(self, action: npt.ArrayLike) -> npt.NDArray[np.float64]:
        spec = self.embodiment.spec
        array = np.asarray(action, np.float64)
        if array.shape != (spec.dim,):
            raise BadInputError(
                f"An action of {self.embodiment.name!r} has {spec.dim} numbers "
                f"({', '.join(spec.names)}), not shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise BadInputError(f"Action {self.steps} holds a number that is not finite.")
        clipped: npt.NDArray[np.float64] = np.clip(array, spec.low, spec.high)
        # An action that went through single precision may miss its bound by a rounding.
        off = np.abs(clipped - array) > 1e-6
        if off.any():
            if self._refuse:
                k = int(np.flatnonzero(off)[0])
                raise BadInputError(
                    f"Action {self.steps} has {spec.names[k]} = {array[k]:g}, outside "
                    f"[{spec.low[k]:g}, {spec.high[k]:g}]: keep within bounds or let the dojo clip."
                )
            self.clipped += 1
        return clipped

    def step(self, action: npt.ArrayLike) -> None:
        """Applies one action for a tenth of a second.

        Args:
            action: ``[dim]``, in the units of ``embodiment.spec``.

        Raises:
            BadInputError: If it has another shape, is not finite, or is out of bounds and the
                dojo was told to refuse that.
        """
        self.control = self.embodiment.advance(self.control, self._checked(action))
        ctrl = self._data.ctrl
        before = ctrl.copy()
        way = (self.embodiment.targets(self.control) - before) / SUBSTEPS
        for targets in before + _RAMP * way:
            ctrl[:] = targets
            mujoco.mj_step(self._model, self._data)
        mujoco.mj_forward(self._model, self._data)
        self.steps += 1

    def save(self) -> Snapshot:
        """Saves the state; it can be restored any number of times."""
        physics = np.empty(self._state_size)
        mujoco.mj_getState(self._model, self._data, physics, _STATE)
        return Snapshot(physics, self.control.copy(), self.steps, self.clipped)

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a saved state of the same scene, to the bit.

        Raises:
            BadInputError: If the snapshot is of a scene of another shape.
        """
        if snapshot.physics.shape != (self._state_size,):
            raise BadInputError("The snapshot was taken in another scene: reset to that first.")
        mujoco.mj_setState(self._model, self._data, snapshot.physics, _STATE)
        mujoco.mj_forward(self._model, self._data)
        # What mj_forward derives must not leak into what the next step starts from.
        mujoco.mj_setState(self._model, self._data, snapshot.physics, _STATE)
        self.control = snapshot.control.copy()
        self.steps, self.clipped = snapshot.steps, snapshot.clipped

    def view(self, camera: str) -> View:
        """Gives where a camera stands now.

        Raises:
            BadInputError: If there is no such camera, or the embodiment has no head.
        """
        values = self.scene.factors.values
        if camera == "head":
            head = self.embodiment.head(self.control)
            if head is None:
                raise BadInputError(
                    f"{self.embodiment.name!r} has no head camera: choose front, side or top."
                )
            eye, gaze = (tuple(float(x) for x in point) for point in head)
            return View(eye, gaze, 42.0)  # type: ignore[arg-type]
        if camera not in CAMERAS:
            raise BadInputError(
                f"There is no camera {camera!r}: choose one of {', '.join(CAMERAS)}."
            )
        turn = {"front": 0.0, "side": 62.0, "top": 0.0}[camera] + values["camera.azimuth"]
        lift = 86.0 if camera == "top" else values["camera.elevation"]
        far = values["camera.distance"] * (0.96 if camera == "top" else 1.0)
        a, e = math.radians(turn), math.radians(lift)
        gaze = (0.0, 0.055, 0.055)
        flat = far * math.cos(e)
        eye = (flat * math.sin(a), -flat * math.cos(a), gaze[2] + far * math.sin(e))
        return View(eye, gaze, values["camera.fov"])

    def observe(
        self,
        camera: str | None = None,
        size: tuple[int, int] = (64, 64),
        *,
        depth: bool = False,
        segmentation: bool = False,
    ) -> Picture:
        """Renders what a camera sees now.

        Args:
            camera: ``front``, ``side``, ``top`` or ``head``; the embodiment's own where
                ``None``.
            size: Height and width, from 64x64 to 480x640.
            depth: Whether to give depth.
            segmentation: Whether to give whom every pixel belongs to.

        Raises:
            BadInputError: If the camera is unknown or the resolution out of range.
        """
        camera = camera or self.embodiment.camera
        return self._camera.render(
            self._data,
            self.view(camera),
            size,
            moving=camera == "head",
            depth=depth,
            segmentation=segmentation,
        )

    @property
    def tip(self) -> npt.NDArray[np.float64]:
        """Where the point between the fingertips is, ``[3]``, metres."""
        return np.array(self._data.site("tip").xpos)

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """What the objects are."""
        return self.scene.objects

    def states(self) -> tuple[ObjectState, ...]:
        """Gives where all objects are."""
        return tuple(self.state(item) for item in self.scene.objects)

    def state(self, item: ObjectInfo) -> ObjectState:
        """Gives where one object is."""
        adr, dof, body, knob, travel = self._places[item.name]
        data = self._data
        opening, speed = 0.0, float(np.linalg.norm(data.qvel[dof : dof + 3]))
        position = data.xpos[body]
        if item.fixture:
            opening = float(data.qpos[adr]) / travel
            speed = float(abs(data.qvel[dof]))
            position = data.geom_xpos[knob]
        return ObjectState(
            name=item.name,
            position=tuple(position.tolist()),
            quaternion=tuple(data.xquat[body].tolist()),
            speed=speed,
            opening=opening,
        )

    def contacts(self) -> tuple[Contact, ...]:
        """Gives all pairs of different owners that touch now, strongest first."""
        found: dict[tuple[str, str], float] = {}
        force = np.zeros(6)
        owners, owner = self.scene.owners, self.scene.owner
        touching = owner[self._data.contact.geom]
        for index in np.flatnonzero(touching[:, 0] != touching[:, 1]).tolist():
            first, second = sorted(owners[one] for one in touching[index].tolist())
            mujoco.mj_contactForce(self._model, self._data, index, force)
            found[first, second] = found.get((first, second), 0.0) + float(force[0])
        ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
        return tuple(Contact(first=a, second=b, force=value) for (a, b), value in ordered)

    def touching(self, name: str) -> bool:
        """Says whether the embodiment touches an object."""
        return any(
            {contact.first, contact.second} == {"robot", name} for contact in self.contacts()
        )

    def branches(
        self,
        state: Snapshot,
        action_sequences: Sequence[npt.ArrayLike],
        *,
        camera: str | None = None,
        size: tuple[int, int] | None = (64, 64),
        segmentation: bool = False,
    ) -> "list[Branch]":
        """Plays several futures of one state.

        Args:
            state: Where all branches begin; the dojo is left at the end of the last one.
            action_sequences: One ``[n, dim]`` array a branch; lengths may differ.
            camera: As for ``observe``.
            size: Resolution, or ``None`` to render nothing.
            segmentation: Whether to give whom every pixel belongs to.

        Returns:
            One branch an action sequence: the frames *after* each action.
        """
        return [
            self._branch(state, np.asarray(actions, np.float64), camera, size, segmentation)
            for actions in action_sequences
        ]

    def _branch(
        self,
        state: Snapshot,
        actions: npt.NDArray[np.float64],
        camera: str | None,
        size: tuple[int, int] | None,
        segmentation: bool,
    ) -> "Branch":
        self.restore(state)
        pictures, states = [], []
        for action in actions:
            self.step(action)
            states.append(self.states())
            if size is not None:
                pictures.append(self.observe(camera, size, segmentation=segmentation))
        masks = [p.segmentation for p in pictures if p.segmentation is not None]
        return Branch(
            frames=np.stack([p.rgb for p in pictures]) if pictures else None,
            segmentation=np.stack(masks) if masks else None,
            states=tuple(states),
            end=self.save(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """One future.

    Attributes:
        frames: ``[n, height, width, 3]`` uint8, or ``None`` where nothing was rendered.
        segmentation: ``[n, height, width]`` uint8, where asked for.
        states: Object states after every action.
        end: The state at the end.
    """

    frames: npt.NDArray[np.uint8] | None
    segmentation: npt.NDArray[np.uint8] | None
    states: tuple[tuple[ObjectState, ...], ...]
    end: Snapshot
