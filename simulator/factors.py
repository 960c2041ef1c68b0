"""The declared factors of variation of a scene, their ranges, and scenes sampled from a seed.

Every factor is drawn from its own random stream, so that holding one leaves the others as
they were. A factor is held by giving a value, narrowed by giving a ``(low, high)`` pair or a
list of choices; names of object factors (``object.…``) speak of every object.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.seeding import Seed, stream

Value: TypeAlias = float | int | str
Choice: TypeAlias = Value | tuple[float, float] | Sequence[str]

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.86, 0.13, 0.12),
    "green": (0.16, 0.66, 0.24),
    "blue": (0.12, 0.33, 0.85),
    "yellow": (0.97, 0.80, 0.10),
    "orange": (0.97, 0.50, 0.08),
    "purple": (0.46, 0.22, 0.70),
    "teal": (0.05, 0.66, 0.66),
    "white": (0.93, 0.93, 0.90),
    "brown": (0.45, 0.26, 0.13),
}
"""Object colours by name; magenta is left to the end effector's marker."""

SURFACES: Mapping[str, tuple[float, float, float]] = {
    "oak": (0.80, 0.64, 0.44),
    "walnut": (0.50, 0.36, 0.25),
    "grey": (0.62, 0.64, 0.67),
    "cream": (0.88, 0.84, 0.74),
    "slate": (0.44, 0.50, 0.56),
    "sage": (0.62, 0.70, 0.60),
    "sky": (0.66, 0.77, 0.87),
    "sand": (0.84, 0.76, 0.60),
    "mint": (0.62, 0.85, 0.76),
    "brick": (0.66, 0.37, 0.30),
}
"""Colours of tables, walls and floors by name."""

KINDS = ("box", "ball", "cylinder", "mug", "lidbox", "drawer")
FIXTURES = ("lidbox", "drawer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Factor:
    """One factor of variation.

    Attributes:
        name: Such as ``object.size``.
        kind: ``real`` and ``whole`` have a range, ``choice`` has options.
        low: Smallest value.
        high: Largest value.
        options: What may be chosen.
        held_out: Options that are allowed but only drawn where asked for by name.
        unit: Unit in words.
        doc: What it changes.
    """

    name: str
    kind: Literal["real", "whole", "choice"]
    low: float = 0.0
    high: float = 0.0
    options: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    unit: str = ""
    doc: str = ""


def _real(name: str, low: float, high: float, unit: str, doc: str) -> Factor:
    return Factor(name=name, kind="real", low=low, high=high, unit=unit, doc=doc)


def _choice(name: str, options: Sequence[str], doc: str, held_out: Sequence[str] = ()) -> Factor:
    return Factor(
        name=name, kind="choice", options=tuple(options), held_out=tuple(held_out), doc=doc
    )


_SURFACES = tuple(name for name in SURFACES if name not in ("mint", "brick"))
_NEW = ("dots", "waves")

FACTORS: Mapping[str, Factor] = {
    factor.name: factor
    for factor in (
        Factor(name="objects.number", kind="whole", low=2, high=5, doc="objects on the table"),
        _choice("object.kind", KINDS, "what the object is"),
        _real("object.size", 0.030, 0.040, "m", "half width"),
        _real("object.aspect", 0.9, 1.7, "", "height over width"),
        _choice("object.colour", tuple(COLOURS), "main colour; no two objects share one"),
        _choice("object.texture", ("plain", "stripes", "checker", "noise"), "pattern", _NEW),
        _real("object.mass", 0.05, 0.25, "kg", "mass"),
        _real("object.friction", 0.5, 1.1, "", "sliding friction"),
        _choice("table.colour", _SURFACES, "table top", ("mint", "brick")),
        _choice("table.texture", ("wood", "plain", "noise"), "table pattern", (*_NEW, "checker")),
        _real("table.friction", 0.6, 1.0, "", "sliding friction"),
        _choice("surroundings.wall", _SURFACES, "wall colour", ("mint", "brick")),
        _choice("surroundings.wall_texture", ("plain", "stripes"), "wall pattern", _NEW),
        _choice("surroundings.floor", _SURFACES, "floor colour", ("mint", "brick")),
        _choice("surroundings.floor_texture", ("wood", "checker", "plain"), "pattern", _NEW),
        Factor(name="surroundings.props", kind="whole", low=0, high=3, doc="things behind"),
        _real("light.azimuth", -70, 70, "deg", "where the light comes from; 0: the camera"),
        _real("light.elevation", 52, 72, "deg", "height of the light"),
        _real("light.intensity", 0.62, 0.78, "", "strength of the lamp"),
        _real("light.warmth", -1.0, 1.0, "", "-1 bluish, 1 yellowish"),
        _real("camera.azimuth", -7, 7, "deg", "turn around the table"),
        _real("camera.elevation", 40, 47, "deg", "height of the camera"),
        _real("camera.distance", 0.80, 0.88, "m", "from the middle of the table"),
        _real("camera.fov", 37, 41, "deg", "vertical field of view"),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectFactors:
    """What one object is; the fields are the factors ``object.…``."""

    kind: str
    size: float
    aspect: float
    colour: str
    texture: str
    mass: float
    friction: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFactors:
    """All factors of one scene.

    Attributes:
        seed: What it was sampled from; also seeds where the objects stand.
        objects: One entry an object.
        values: The factors that are not an object's, by name.
    """

    seed: Seed
    objects: tuple[ObjectFactors, ...]
    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Gives the value of a factor that is not an object's."""
        return self.values[name]


def _known(name: str) -> Factor:
    if name not in FACTORS:
        near = difflib.get_close_matches(name, FACTORS, n=1, cutoff=0.0)
        raise BadInputError(f"There is no factor {name!r}: did you mean {near[0]!r}?")
    return FACTORS[name]


def _checked_number(factor: Factor, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInputError(f"Factor {factor.name!r} takes a number, not {value!r}.")
    if not factor.low <= value <= factor.high:
        raise BadInputError(
            f"Factor {factor.name!r} is {value} but must lie in "
            f"[{factor.low:g}, {factor.high:g}]{' ' + factor.unit if factor.unit else ''}."
        )
    return float(value)


def _checked_option(factor: Factor, value: object) -> str:
    allowed = factor.options + factor.held_out
    if not isinstance(value, str) or value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.0)[0]
        raise BadInputError(
            f"Factor {factor.name!r} cannot be {value!r}: choose one of "
            f"{', '.join(allowed)} (did you mean {near!r}?)."
        )
    return value


def _draw(factor: Factor, seed: Seed, index: int, held: Mapping[str, Choice]) -> Value:
    """Draws one factor; the stream is used alike whether it is held or not."""
    rng = stream(seed, "factor", factor.name, index)
    u = float(rng.random())
    given = held.get(factor.name)
    if factor.kind == "choice":
        if isinstance(given, str):
            return _checked_option(factor, given)
        options: Sequence[str] = factor.options
        if given is not None:
            if not isinstance(given, Sequence) or not given:
                raise BadInputError(f"Factor {factor.name!r} takes names, not {given!r}.")
            options = [_checked_option(factor, option) for option in given]
        return options[int(u * len(options))]
    low, high = factor.low, factor.high
    if isinstance(given, tuple | list):
        ends = [_checked_number(factor, end) for end in given]
        if len(ends) != 2 or ends[0] > ends[1]:
            raise BadInputError(f"Factor {factor.name!r} takes (low, high), not {given!r}.")
        low, high = ends
    elif given is not None:
        low = high = _checked_number(factor, given)
    if factor.kind == "whole":
        return int(low) + int(u * (int(high) - int(low) + 1))
    return low + u * (high - low)


def _distinct(objects: list[ObjectFactors]) -> tuple[ObjectFactors, ...]:
    """Gives later objects the next free colour, and drops a second fixture of a kind."""
    seen: set[str] = set()
    fixtures: set[str] = set()
    out = []
    for item in objects:
        names = list(COLOURS)
        while item.colour in seen:
            item = replace(item, colour=names[(names.index(item.colour) + 1) % len(names)])
        seen.add(item.colour)
        if item.kind in fixtures:
            item = replace(item, kind="box")
        if item.kind in FIXTURES:
            fixtures.add(item.kind)
        out.append(item)
    return tuple(out)


def sample(seed: Seed, held: Mapping[str, Choice] | None = None) -> SceneFactors:
    """Samples the factors of a scene.

    Args:
        seed: Any number or text.
        held: By factor name, a value that is held, a ``(low, high)`` range or a list of
            options that is drawn from instead of the declared one. A colour that is held for
            all objects is kept by the first and moved on for the others; a lid box and a
            drawer occur once a scene, further ones become boxes.

    Returns:
        The same factors for the same seed and ``held``.

    Raises:
        BadInputError: If a factor is unknown (names the nearest) or a value is out of range.
    """
    held = dict(held or {})
    for name in held:
        _known(name)
    values = {
        name: _draw(factor, seed, 0, held)
        for name, factor in FACTORS.items()
        if not name.startswith("object.")
    }
    objects = []
    for index in range(int(values["objects.number"])):
        drawn: dict[str, Any] = {
            name.removeprefix("object."): _draw(factor, seed, index, held)
            for name, factor in FACTORS.items()
            if name.startswith("object.")
        }
        objects.append(ObjectFactors(**drawn))
    return SceneFactors(seed=seed, objects=_distinct(objects), values=values)


def sweep(
    name: str, count: int, seed: Seed, held: Mapping[str, Choice] | None = None
) -> Iterator[SceneFactors]:
    """Varies one factor over its whole range and leaves every other as the seed has it.

    Args:
        name: The factor to sweep.
        count: Number of scenes for a factor with a range, at least 2; a factor of choices
            gives one scene an option, its held-out options included.
        seed: Seed of all other factors.
        held: Factors to hold, as in ``sample``.

    Yields:
        Scenes in the order of the factor's values.

    Raises:
        BadInputError: If the factor is unknown or ``count`` is below 2.
    """
    factor = _known(name)
    steps: Sequence[Value]
    if factor.kind == "choice":
        steps = factor.options + factor.held_out
    else:
        if count < 2:
            raise BadInputError(f"A sweep of {name!r} needs a count of at least 2, not {count}.")
        span = (factor.high - factor.low) / (count - 1)
        steps = [factor.low + span * i for i in range(count - 1)] + [factor.high]
        if factor.kind == "whole":
            steps = sorted({round(step) for step in steps})
    for value in steps:
        yield sample(seed, {**(held or {}), name: value})
