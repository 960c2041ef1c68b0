"""A scene: table, surroundings, objects and one embodiment, composed from factors.

The table top is the plane z = 0, x runs to the right and y away from the camera; a low rim
keeps what rolls on the table. Ground truth about every geom is recorded as it is made.
"""

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.building import Builder
from dojobench.simulator.embodiments import Embodiment
from dojobench.simulator.factors import FIXTURES, SURFACES, SceneFactors
from dojobench.simulator.objects import BUILDERS, ObjectInfo, shade
from dojobench.simulator.seeding import stream
from dojobench.simulator.textures import Look, LookTable

AREA = ((-0.19, 0.19), (-0.15, 0.10))
"""Where free objects start: x and y ranges in metres."""
SUBSTEP_S = 0.005
SUBSTEPS = 20
"""Physics steps per control step: control runs at 10 Hz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """The lamp and the light from everywhere.

    Attributes:
        position: Metres, world frame.
        diffuse: RGB strength of the lamp.
        ambient: RGB strength of the light from everywhere.
    """

    position: tuple[float, float, float]
    diffuse: tuple[float, float, float]
    ambient: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A compiled scene and the ground truth about it.

    Attributes:
        model: The MuJoCo model.
        factors: What it was made from.
        embodiment: Who acts in it.
        objects: The objects in order.
        looks: Looks of all geoms.
        geom_looks: The same by geom name.
        owner: For every geom, an index into ``owners``.
        owners: ``background``, ``robot``, then the objects' names.
        light: The lamp.
    """

    model: Any
    factors: SceneFactors
    embodiment: Embodiment
    objects: tuple[ObjectInfo, ...]
    looks: LookTable
    geom_looks: dict[str, Look]
    owner: np.ndarray[Any, np.dtype[np.uint8]]
    owners: tuple[str, ...]
    light: Light


def make_light(factors: SceneFactors) -> Light:
    """Places the lamp 2.2 m from the table's middle."""
    azimuth = math.radians(factors["light.azimuth"])
    height = math.radians(factors["light.elevation"])
    flat = 2.2 * math.cos(height)
    warm = 0.05 * factors["light.warmth"]
    strength = factors["light.intensity"]
    return Light(
        position=(flat * math.sin(azimuth), -flat * math.cos(azimuth), 2.2 * math.sin(height)),
        diffuse=(strength * (1 + warm), strength, strength * (1 - warm)),
        ambient=(0.40 * (1 - 0.4 * warm), 0.40, 0.40 * (1 + 0.4 * warm)),
    )


def _surface(name: str, texture: str, scale: float) -> Look:
    rgb = SURFACES[name]
    contrast = 0.84 if texture in ("wood", "noise") else 0.88
    return Look(rgb=rgb, rgb2=shade(rgb, contrast), texture=texture, scale=scale)


def _room(build: Builder, factors: SceneFactors) -> None:
    friction = (factors["table.friction"], 0.005, 0.0005)
    top = _surface(factors["table.colour"], factors["table.texture"], 0.085)
    floor_kind = factors["surroundings.floor_texture"]
    floor = _surface(factors["surroundings.floor"], floor_kind, 0.25)
    wall_kind = factors["surroundings.wall_texture"]
    wall = _surface(factors["surroundings.wall"], wall_kind, 0.12)
    edge = Look(rgb=shade(top.rgb, 0.6))
    boxes = [
        ("table", (0.46, 0.44, 0.02), (0, 0.09, -0.02), top),
        ("rim.left", (0.008, 0.285, 0.011), (-0.34, 0.0, 0.011), edge),
        ("rim.right", (0.008, 0.285, 0.011), (0.34, 0.0, 0.011), edge),
        ("rim.near", (0.348, 0.008, 0.011), (0, -0.285, 0.011), edge),
        ("rim.far", (0.348, 0.008, 0.011), (0, 0.285, 0.011), edge),
        ("floor", (3.0, 3.0, 0.02), (0, 0, -0.77), floor),
        ("wall", (3.0, 0.02, 2.0), (0, 1.0, 0.6), wall),
    ]
    for name, size, pos, look in boxes:
        build.geom(
            build.world,
            name,
            "box",
            size,
            pos,
            look=look,
            owner="background",
            group="furniture",
            friction=friction,
        )


def _props(build: Builder, factors: SceneFactors) -> None:
    """Things behind the rim that nothing touches: books, a plant, a jar."""
    rng = stream(factors.seed, "props")
    places = rng.permutation([-0.38, -0.25, 0.26, 0.39])
    for index in range(int(factors["surroundings.props"])):
        x, y = float(places[index]), 0.36 + 0.05 * float(rng.random())
        parts: list[tuple[Any, tuple[float, ...], float, tuple[float, float, float]]]
        kind = ("books", "plant", "jar")[int(rng.integers(3))]
        tone = 0.8 + 0.3 * float(rng.random())
        if kind == "books":
            parts = [
                ("box", (0.05, 0.035, 0.012), 0.012, shade((0.35, 0.42, 0.55), tone)),
                ("box", (0.045, 0.032, 0.010), 0.034, shade((0.62, 0.50, 0.42), tone)),
            ]
        elif kind == "plant":
            parts = [
                ("cylinder", (0.028, 0.025), 0.025, shade((0.72, 0.48, 0.36), tone)),
                ("ellipsoid", (0.042, 0.042, 0.05), 0.09, shade((0.34, 0.50, 0.32), tone)),
            ]
        else:
            parts = [("cylinder", (0.03, 0.045), 0.045, shade((0.60, 0.66, 0.70), tone))]
        for i, (shape, size, z, rgb) in enumerate(parts):
            build.geom(
                build.world,
                f"prop{index}.{i}",
                shape,
                size,
                (x, y, z),
                look=Look(rgb=rgb),
                owner="background",
                group="none",
            )


def find_places(factors: SceneFactors) -> list[tuple[float, float, float]]:
    """Finds a place for every object: fixtures to the rear left and right, others apart.

    Args:
        factors: Sampled factors; their seed decides the places.

    Returns:
        x and y in metres and the turn in radians of every object.

    Raises:
        BadInputError: If the objects do not fit.
    """
    rng = stream(factors.seed, "places")
    side = float(rng.choice([-1, 1]))
    for _ in range(400):
        out: list[tuple[float, float, float]] = []
        blocked: list[tuple[float, float, float]] = []
        flank = side
        for item in factors.objects:
            if item.kind in FIXTURES:
                place = (flank * float(rng.uniform(0.19, 0.22)), float(rng.uniform(0.15, 0.18)))
                flank = -flank
                reach = 0.13 if item.kind == "drawer" else 0.10
                blocked.append((place[0], place[1] - reach + 0.06, reach))
            else:
                place = (float(rng.uniform(*AREA[0])), float(rng.uniform(*AREA[1])))
            out.append((*place, float(rng.uniform(-math.pi / 2, math.pi / 2))))
        for item, (x, y, _yaw) in zip(factors.objects, out, strict=True):
            if item.kind not in FIXTURES:
                blocked.append((x, y, 1.55 * item.size))
        pairs = [(a, b) for i, a in enumerate(blocked) for b in blocked[:i]]
        if all(math.hypot(a[0] - b[0], a[1] - b[1]) > a[2] + b[2] for a, b in pairs):
            return out
    raise BadInputError(
        f"The {len(factors.objects)} objects of scene {factors.seed!r} do not fit on the table: "
        "ask for fewer or smaller ones with 'objects.number' or 'object.size'."
    )


def _options(build: Builder) -> None:
    build.spec.compiler.degree = False
    option = build.spec.option
    option.timestep = SUBSTEP_S
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 5
    option.iterations = 20


def build_scene(factors: SceneFactors, embodiment: Embodiment) -> Scene:
    """Composes and compiles a scene.

    Args:
        factors: Sampled factors.
        embodiment: Who acts in it.

    Returns:
        The scene; the same factors give the same model.

    Raises:
        BadInputError: If the objects do not fit on the table.
    """
    build = Builder()
    _options(build)
    _room(build, factors)
    _props(build, factors)
    embodiment.build(build)
    objects = tuple(
        BUILDERS[item.kind](build, f"object{index}", item, place)
        for index, (item, place) in enumerate(
            zip(factors.objects, find_places(factors), strict=True)
        )
    )
    model = build.spec.compile()
    names = [model.geom(i).name for i in range(model.ngeom)]
    owners = ("background", "robot", *(item.name for item in objects))
    return Scene(
        model=model,
        factors=factors,
        embodiment=embodiment,
        objects=objects,
        looks=LookTable(build.looks[name] for name in names),
        geom_looks=dict(build.looks),
        owner=np.array([owners.index(build.owners[name]) for name in names], np.uint8),
        owners=owners,
        light=make_light(factors),
    )
