"""The things on the table: six kinds, from a box to a drawer.

Free objects have a free joint; a lid box and a drawer are fixed to the table and have one
joint that opens them. Each builder returns what scripted behaviour needs to know.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco

from dojobench.simulator.building import Builder
from dojobench.simulator.factors import COLOURS, ObjectFactors
from dojobench.simulator.textures import Look

Rgb = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """What is known of an object when it is made.

    Attributes:
        name: ``object0`` and so on; owner of its geoms in the segmentation.
        factors: What it was made from.
        joint: Name of its free joint, or of the joint that opens it.
        fixture: Whether it is fixed to the table and opens.
        half_height: Half its height, metres.
        half_width: Half of what a gripper closes on, metres.
        radius: Half its extent on the table, metres.
        handle: Where a gripper holds it, in the object's own frame, metres.
        rgb: Main colour, each channel in [0, 1].
    """

    name: str
    factors: ObjectFactors
    joint: str
    fixture: bool
    half_height: float
    half_width: float
    radius: float
    handle: tuple[float, float, float]
    rgb: Rgb

    @property
    def label(self) -> str:
        """How an instruction calls it, such as ``red ball``."""
        nouns = {"lidbox": "box with a lid", "box": "block"}
        return f"{self.factors.colour} {nouns.get(self.factors.kind, self.factors.kind)}"


def shade(rgb: Rgb, factor: float) -> Rgb:
    """Darkens (below 1) or lightens (above 1) a colour."""
    if factor <= 1:
        return (rgb[0] * factor, rgb[1] * factor, rgb[2] * factor)
    t = factor - 1
    return (rgb[0] + (1 - rgb[0]) * t, rgb[1] + (1 - rgb[1]) * t, rgb[2] + (1 - rgb[2]) * t)


def object_look(item: ObjectFactors) -> Look:
    """Gives the look of an object's main surface."""
    rgb = COLOURS[item.colour]
    bright = sum(rgb) / 3 > 0.55
    scale = {"checker": 1.0, "stripes": 0.9, "noise": 0.7, "dots": 0.95, "waves": 0.8}
    return Look(
        rgb=rgb,
        rgb2=shade(rgb, 0.45 if bright else 1.6),
        texture=item.texture,
        scale=item.size * scale.get(item.texture, 1.0),
    )


def _free(build: Builder, name: str, height: float, x: float, y: float, yaw: float) -> Any:
    body = build.body(
        build.world,
        name,
        (x, y, height + 0.0005),
        quat=[math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)],
    )
    body.add_freejoint(name=f"{name}.free")
    return body


def _info(name: str, item: ObjectFactors, joint: str = "free", **facts: Any) -> ObjectInfo:
    return ObjectInfo(
        name=name,
        factors=item,
        joint=f"{name}.{joint}",
        fixture=joint == "open",
        rgb=COLOURS[item.colour],
        **{"handle": (0.0, 0.0, 0.0), **facts},
    )


def _box(build: Builder, name: str, item: ObjectFactors, place: Any) -> ObjectInfo:
    half = (item.size * 1.05, item.size * 0.85, item.size * item.aspect)
    body = _free(build, name, half[2], *place)
    build.geom(
        body,
        f"{name}.body",
        "box",
        half,
        look=object_look(item),
        owner=name,
        group="object",
        mass=item.mass,
        friction=(item.friction, 0.005, 0.0005),
    )
    radius = math.hypot(half[0], half[1])
    return _info(name, item, half_height=half[2], half_width=half[1], radius=radius)


def _ball(build: Builder, name: str, item: ObjectFactors, place: Any) -> ObjectInfo:
    radius = item.size * 1.05
    body = _free(build, name, radius, *place)
    build.geom(
        body,
        f"{name}.body",
        "sphere",
        (radius,),
        look=object_look(item),
        owner=name,
        group="object",
        mass=item.mass,
        friction=(item.friction, 0.006, 0.0015),
        condim=6,
    )
    return _info(name, item, half_height=radius, half_width=radius, radius=radius)


def _cylinder(build: Builder, name: str, item: ObjectFactors, place: Any) -> ObjectInfo:
    radius, half = item.size * 0.9, item.size * item.aspect
    body = _free(build, name, half, *place)
    build.geom(
        body,
        f"{name}.body",
        "cylinder",
        (radius, half),
        look=object_look(item),
        owner=name,
        group="object",
        mass=item.mass,
        friction=(item.friction, 0.006, 0.001),
        condim=6,
    )
    return _info(name, item, half_height=half, half_width=radius, radius=radius)


def _mug(build: Builder, name: str, item: ObjectFactors, place: Any) -> ObjectInfo:
    """A filled cylinder with a dark top that looks hollow, and a handle of three rods."""
    radius, half = item.size * 0.95, item.size * 1.15
    body = _free(build, name, half, *place)
    look = object_look(item)
    build.geom(
        body,
        f"{name}.body",
        "cylinder",
        (radius, half),
        look=look,
        owner=name,
        group="object",
        mass=item.mass,
        friction=(item.friction, 0.006, 0.001),
        condim=6,
    )
    inside = Look(rgb=shade(look.rgb, 0.3))
    disc = (radius * 0.8, 0.0006)
    build.geom(
        body,
        f"{name}.inside",
        "cylinder",
        disc,
        (0, 0, half),
        look=inside,
        owner=name,
        group="none",
    )
    out = radius + item.size * 0.55
    corners = [(radius * 0.95, 0.55), (out, 0.5), (out, -0.4), (radius * 0.95, -0.5)]
    plain = Look(rgb=look.rgb)
    for i, ((x0, z0), (x1, z1)) in enumerate(itertools.pairwise(corners)):
        build.rod(
            body,
            f"{name}.handle{i}",
            (x0, 0, z0 * half),
            (x1, 0, z1 * half),
            item.size * 0.17,
            look=plain,
            owner=name,
            group="object",
            mass=0.002,
        )
    return _info(name, item, half_height=half, half_width=radius, radius=out)


def _joint(body: Any, name: str, kind: Any, axis: list[float], **more: Any) -> None:
    body.add_joint(name=f"{name}.open", type=kind, axis=axis, limited=True, **more)


def _shell(
    build: Builder, body: Any, name: str, half: tuple[float, float, float], look: Look, top: bool
) -> None:
    """A hollow block of thin boards without a front where it has a top, else without a top."""
    hx, hy, hz = half
    t = 0.006
    boards = [
        ((hx, hy, t), (0, 0, t)),
        ((t, hy, hz), (-hx + t, 0, hz)),
        ((t, hy, hz), (hx - t, 0, hz)),
        ((hx, t, hz), (0, hy - t, hz)),
        ((hx, hy, t), (0, 0, 2 * hz - t)) if top else ((hx, t, hz), (0, -hy + t, hz)),
    ]
    for i, (size, pos) in enumerate(boards):
        build.geom(
            body, f"{name}.board{i}", "box", size, pos, look=look, owner=name, group="furniture"
        )


def _lidbox(build: Builder, name: str, item: ObjectFactors, place: Any) -> ObjectInfo:
    """A box whose lid turns about its far edge; a plate on the lid is there to be held."""
    k = item.size / 0.035
    hx, hy, hz = 0.065 * k, 0.055 * k, 0.032 * k
    look = object_look(item)
    base = build.body(build.world, name, (place[0], place[1], 0))
    _shell(build, base, name, (hx, hy, hz), Look(rgb=shade(look.rgb, 0.7)), top=False)
    lid = build.body(base, f"{name}.lid", (0, hy, 2 * hz + 0.005))
    _joint(
        lid,
        name,
        mujoco.mjtJoint.mjJNT_HINGE,
        [-1, 0, 0],
        range=[0, 1.9],
        damping=0.02,
        frictionloss=0.03,
    )
    size = (hx + 0.004, hy + 0.004, 0.006)
    build.geom(
        lid,
        f"{name}.top",
        "box",
        size,
        (0, -hy, 0),
        look=look,
        owner=name,
        group="moving",
        mass=0.05,
    )
    grip = (0.013, 0.008, 0.018)
    knob = Look(rgb=(0.16, 0.16, 0.18))
    handle = (0.0, -1.7 * hy, 0.022)
    build.geom(
        lid,
        f"{name}.knob",
        "box",
        grip,
        handle,
        look=knob,
        owner=name,
        group="moving",
        mass=0.005,
        friction=(1.2, 0.01, 0.001),
    )
    held = (0.0, hy + handle[1], 2 * hz + 0.005 + handle[2])
    return _info(
        name,
        item,
        "open",
        half_height=hz,
        half_width=grip[0],
        radius=math.hypot(hx, hy),
        handle=held,
    )


def _drawer(build: Builder, name: str, item: ObjectFactors, place: Any) -> ObjectInfo:
    """A cabinet with a drawer that slides towards the camera; a plate is there to be held."""
    k = item.size / 0.035
    hx, hy, hz = 0.07 * k, 0.055 * k, 0.042 * k
    look = object_look(item)
    base = build.body(build.world, name, (place[0], place[1], 0))
    _shell(build, base, name, (hx, hy, hz), look, top=True)
    box = build.body(base, f"{name}.box", (0, -hy, hz))
    _joint(
        box,
        name,
        mujoco.mjtJoint.mjJNT_SLIDE,
        [0, -1, 0],
        range=[0, 1.5 * hy],
        damping=2.0,
        frictionloss=0.4,
    )
    inner = Look(rgb=shade(look.rgb, 1.55))
    parts: list[tuple[tuple[float, float, float], tuple[float, float, float], Look]] = [
        ((hx - 0.008, 0.006, hz - 0.008), (0, 0, 0.002), inner),
        ((hx - 0.014, 0.9 * hy, 0.003), (0, 0.9 * hy, -hz + 0.018), inner),
        ((0.003, 0.9 * hy, 0.6 * hz), (-hx + 0.017, 0.9 * hy, -0.2 * hz), inner),
        ((0.003, 0.9 * hy, 0.6 * hz), (hx - 0.017, 0.9 * hy, -0.2 * hz), inner),
        ((0.012, 0.017, 0.016), (0, -0.022, 0.002), Look(rgb=(0.16, 0.16, 0.18))),
    ]
    for i, (size, pos, part) in enumerate(parts):
        build.geom(
            box,
            f"{name}.part{i}",
            "box",
            size,
            pos,
            look=part,
            owner=name,
            group="moving",
            mass=0.04,
            friction=(1.2, 0.01, 0.001),
        )
    return _info(
        name,
        item,
        "open",
        half_height=hz,
        half_width=0.012,
        radius=math.hypot(hx, hy),
        handle=(0.0, -hy - 0.024, hz + 0.002),
    )


BUILDERS: Mapping[str, Callable[[Builder, str, ObjectFactors, Any], ObjectInfo]] = {
    "box": _box,
    "ball": _ball,
    "cylinder": _cylinder,
    "mug": _mug,
    "lidbox": _lidbox,
    "drawer": _drawer,
}
