"""Composing a MuJoCo model: every geom gets a look and an owner as it is added.

Contact is decided by four groups of geoms, so that a robot never collides with itself nor a
drawer with its cabinet: the robot touches all else, objects touch all, furniture and the
moving parts of fixtures touch the robot and the objects.
"""

from collections.abc import Sequence
from typing import Any, Literal

import mujoco

from dojobench.simulator.textures import Look

Shape = Literal["box", "sphere", "cylinder", "capsule", "ellipsoid"]
Group = Literal["robot", "object", "furniture", "moving", "none"]

_BITS: dict[str, tuple[int, int]] = {
    "robot": (2, 0),
    "object": (1, 15),
    "furniture": (8, 2),
    "moving": (4, 2),
    "none": (0, 0),
}
_SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}


class Builder:
    """A model under construction.

    Attributes:
        spec: The MuJoCo specification.
        world: Its world body.
        looks: Look of every geom by geom name.
        owners: Owner of every geom by geom name: ``background``, ``robot`` or an object's name.
    """

    def __init__(self) -> None:
        self.spec = mujoco.MjSpec()
        self.world = self.spec.worldbody
        self.looks: dict[str, Look] = {}
        self.owners: dict[str, str] = {}

    def body(self, parent: Any, name: str, pos: Sequence[float], **more: Any) -> Any:
        """Adds a body to a parent body; ``pos`` in metres in the parent's frame."""
        return parent.add_body(name=name, pos=list(pos), **more)

    def geom(
        self,
        body: Any,
        name: str,
        shape: Shape,
        size: Sequence[float],
        pos: Sequence[float] = (0, 0, 0),
        *,
        look: Look,
        owner: str,
        group: Group,
        mass: float = 0.0,
        friction: Sequence[float] = (0.8, 0.005, 0.0005),
        condim: int = 4,
        **more: Any,
    ) -> None:
        """Adds a geom.

        Args:
            body: Body that carries it.
            name: Unique name.
            shape: Kind of shape.
            size: MuJoCo's half sizes or radius and half length, metres.
            pos: Place in the body's frame, metres.
            look: How it looks.
            owner: Whom it belongs to in the segmentation.
            group: What it touches.
            mass: Kilograms; 0 for decoration.
            friction: Sliding, torsional and rolling friction.
            condim: Dimension of its contacts.
            more: Further MuJoCo attributes such as ``quat``, ``fromto`` or ``priority``.
        """
        touch, touched = _BITS[group]
        full = [*size, 0.0, 0.0][:3]
        body.add_geom(
            name=name,
            type=_SHAPES[shape],
            size=full,
            pos=list(pos),
            mass=mass,
            friction=list(friction),
            condim=condim,
            contype=touch,
            conaffinity=touched,
            rgba=[*look.rgb, 1.0],
            **more,
        )
        self.looks[name] = look
        self.owners[name] = owner

    def rod(
        self,
        body: Any,
        name: str,
        start: Sequence[float],
        end: Sequence[float],
        radius: float,
        *,
        shape: Literal["capsule", "cylinder"] = "capsule",
        look: Look,
        owner: str,
        group: Group,
        mass: float = 0.0,
        friction: Sequence[float] = (0.8, 0.005, 0.0005),
    ) -> None:
        """Adds a capsule or cylinder from one point to another, in the body's frame."""
        self.geom(
            body,
            name,
            shape,
            (radius,),
            look=look,
            owner=owner,
            group=group,
            mass=mass,
            friction=friction,
            fromto=[*start, *end],
        )
