"""Nested configuration dataclasses from plain values and back, for files and ``--set``.

pydantic does the checking of kinds; what it lets pass is a key that does not exist, and that is
what people get wrong most.
"""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dojobench.protocol.errors import BadInputError

Config = TypeVar("Config")
Values = dict[str, Any]


def config_values(config: object) -> Values:
    """Gives all values of a configuration as JSON knows them, nested as it is."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config is a {type(config).__name__}, not a dataclass")
    values = TypeAdapter(type(config)).dump_python(config, mode="json")
    assert isinstance(values, dict)  # noqa: S101 - a dataclass always gives one
    return values


def build_config(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Builds a configuration from plain values; what they do not set has its default.

    Args:
        kind: A dataclass, whose fields may be dataclasses.
        values: Nested like it; lists stand for tuples and texts for paths.
        where: What they come from, for messages.

    Raises:
        BadInputError: If a key does not exist (with the nearest that does), a value is of the
            wrong kind or one without default is missing.
    """
    adapter = TypeAdapter(kind)
    try:
        config = adapter.validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise BadInputError(f"{where} {_complaint(error)}.") from error
    known = adapter.dump_python(config, mode="json")
    for name in _names(values):
        _look_up(known, name, where)
    return config


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"does not set '{name}', which has no default"
    told = first["msg"].removeprefix("Input ")
    told = f"which {told}" if told.startswith("should") else told[0].lower() + told[1:]
    return f"sets '{name}' to {first['input']!r}, {told}"


def _names(values: object, name: str = "") -> Iterator[str]:
    """Gives the dotted names of all keys, outer before inner."""
    if isinstance(values, Mapping):
        pairs: list[tuple[object, object]] = list(values.items())
    else:
        pairs = list(enumerate(values)) if isinstance(values, list | tuple) else []
    for key, value in pairs:
        inner = f"{name}.{key}" if name else str(key)
        yield inner
        yield from _names(value, inner)


def _look_up(known: Any, name: str, where: str) -> tuple[Any, Any]:
    """Gives what holds a name, and its key there.

    Raises:
        BadInputError: If it does not exist, with the nearest name that does.
    """
    holder: Any = None
    key: Any = None
    value = known
    for part in name.split("."):
        holder = value
        if isinstance(holder, Mapping) and part in holder:
            key = part
        elif isinstance(holder, list) and part.isdecimal() and int(part) < len(holder):
            key = int(part)
        else:
            near = difflib.get_close_matches(name, list(_names(known)), n=1, cutoff=0.0)
            raise BadInputError(
                f"{where} sets '{name}', which does not exist; the nearest is '{near[0]}'."
            )
        value = holder[key]
    return holder, key


def changed_values(config: object, changes: Mapping[str, Any]) -> Values:
    """Gives all values of a configuration with some replaced, field by field at every depth.

    A mapping that is itself a value, such as weights by name, is replaced as a whole.
    """
    values = config_values(config)
    for key, value in changes.items():
        former = getattr(config, key, None)
        if dataclasses.is_dataclass(former) and isinstance(value, Mapping):
            value = changed_values(former, value)
        values[key] = value
    return values


def set_value(values: Values, assignment: str) -> None:
    """Carries out one ``--set``.

    The text after ``=`` is read as JSON where it is JSON, so ``3``, ``1e-4``, ``true``, ``null``
    and ``[0.9, 0.99]`` are what they seem; for a value that is a text, it is taken as it stands.

    Args:
        values: All values of a configuration; altered.
        assignment: Such as ``posttrain.loop.steps=100``; numbers stand for places in lists.

    Raises:
        BadInputError: If it has no ``=``, or the name does not exist.
    """
    name, equals, text = assignment.partition("=")
    if not equals:
        raise BadInputError(f"--set {assignment} has no '='; write it like loop.steps=100.")
    holder, key = _look_up(values, name.strip(), "--set")
    if isinstance(holder[key], str) and text != "null":
        holder[key] = text
        return
    try:
        holder[key] = json.loads(text)
    except ValueError:
        holder[key] = text
