"""From what a user wrote to a world model: a name, ``module:factory``, a folder or an address."""

import inspect
import json
import os
import sys
import tomllib
import traceback
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.model import WorldModel
from dojobench.protocol.options import bind_options
from dojobench.protocol.validate import check_spec

GROUP = "dojobench.models"
"""Entry point group of registered factories."""

CARDS = ("model.json", "dojobench.toml")
"""Files that make a folder a checkpoint folder, the first one found counting."""

MAX_CARD_BYTES = 65536


class ModelCard(BaseModel):
    """What ``model.json`` (or ``dojobench.toml``) in a checkpoint folder says.

    Attributes:
        format: 1.
        factory: A registered name, never code from the folder.
        options: The factory's options; those given by the user come before them.
        details: What the factory reads from the card itself; nothing is asked of it here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    factory: str
    options: dict[str, str | bool | int | float] = {}
    details: dict[str, Any] = {}


def load_model(reference: str, options: Mapping[str, str]) -> WorldModel:
    """Makes the model that ``reference`` names.

    Args:
        reference: A registered name, ``package.module:factory`` (the current directory is on
            the path), a checkpoint folder, or a ``ws://``, ``wss://``, ``http://`` or
            ``https://`` address.
        options: The factory's arguments as text, converted by its annotations.

    Returns:
        The model, its spec checked.

    Raises:
        BadInputError: If there is no such model or it cannot be made, with the cause.
    """
    who = f"model {reference}"
    if "://" in reference:
        return _connect(reference, options, who)
    registered = {point.name: point for point in entry_points(group=GROUP)}
    if reference in registered:
        model = _make(_load_entry(registered[reference], who), options, who)
    elif Path(reference).is_dir():
        model = _load_folder(Path(reference), options, registered, who)
    elif ":" in reference:
        model = _make(_import_factory(reference, who), options, who)
    else:
        raise BadInputError(_no_such_model(reference, sorted(registered)))
    return require_world_model(model, who=who)


def takes_option(reference: str, name: str) -> bool:
    """Says whether a registered model's factory has an option; nothing is made.

    Args:
        reference: As for ``load_model``; what is not registered is not looked at.
        name: The option.

    Raises:
        BadInputError: If the registered factory cannot be imported.
    """
    found = [point for point in entry_points(group=GROUP) if point.name == reference]
    return bool(found) and _has_parameter(_load_entry(found[0], f"model {reference}"), name)


def require_world_model(model: object, *, who: str) -> WorldModel:
    """Gives the object back as a world model.

    Raises:
        BadInputError: If it lacks ``spec`` or ``start``, or its spec contradicts itself.
    """
    missing = [name for name in ("spec", "start") if not hasattr(model, name)]
    if missing or not isinstance(model, WorldModel):
        what = " and no ".join(missing)
        raise BadInputError(
            f"{who} is a {type(model).__name__} with no {what}; a world model has a spec and a "
            "start(context, *, seed, instruction=None) that opens a session"
        )
    check_spec(model.spec, who=who)
    return model


def _no_such_model(reference: str, names: list[str]) -> str:
    near = get_close_matches(reference, names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(near)}"
    else:
        hint = f"registered are {', '.join(names) or 'none'}"
    if os.sep in reference:
        return f"there is no folder {reference}; name a checkpoint folder that exists"
    return (
        f"there is no registered model {reference}; {hint}, or write package.module:factory, a "
        "checkpoint folder or an address"
    )


def _connect(address: str, options: Mapping[str, str], who: str) -> WorldModel:
    scheme = address.partition("://")[0].lower()
    factory: Callable[..., WorldModel]
    if scheme in ("ws", "wss"):
        from dojobench.protocol.client import connect as connect_wire

        factory = connect_wire
    elif scheme in ("http", "https"):
        from dojobench.protocol.http_client import connect as connect_http

        factory = connect_http
    else:
        raise BadInputError(f"{who} has the scheme {scheme}; ws, wss, http and https are known")
    arguments = bind_options(factory, {**options, "address": address}, who=who)
    return factory(**arguments)


def _load_entry(point: EntryPoint, who: str) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise BadInputError(f"{who} is registered as {point.value}: {_cause(error)}") from error


def _import_factory(reference: str, who: str) -> Any:
    name, _, attribute = reference.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise BadInputError(
                f"{who}: there is no module {error.name} here or installed; run from the folder "
                "that holds it"
            ) from error
        raise BadInputError(f"{who}: its module fails to import: {_cause(error)}") from error
    except (Exception, SystemExit) as error:
        raise BadInputError(f"{who}: its module fails to import: {_cause(error)}") from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, [n for n in dir(found) if n[0] != "_"], n=1)
            hint = f"; did you mean {near[0]}" if near else ""
            raise BadInputError(f"{who}: module {name} has no {attribute}{hint}")
        found = getattr(found, part)
    return found


def _load_folder(
    folder: Path, options: Mapping[str, str], registered: Mapping[str, EntryPoint], who: str
) -> object:
    card = read_card(folder)
    if card.factory not in registered:
        names = ", ".join(sorted(registered)) or "none"
        raise BadInputError(
            f"{folder} names the factory {card.factory!r}, which is not registered; registered "
            f"are {names}, and a folder may not bring code of its own"
        )
    factory = _load_entry(registered[card.factory], who)
    texts = {key: _as_text(value) for key, value in card.options.items()}
    if _has_parameter(factory, "checkpoint"):
        texts["checkpoint"] = str(folder)
    return _make(factory, {**texts, **options}, who)


def read_card(folder: Path) -> ModelCard:
    """Reads the card of a checkpoint folder.

    Raises:
        BadInputError: If there is none, or it is not as ``ModelCard`` says.
    """
    path = next((folder / name for name in CARDS if (folder / name).is_file()), None)
    if path is None:
        raise BadInputError(f"{folder} holds no {CARDS[0]}, which would name its factory")
    if path.stat().st_size > MAX_CARD_BYTES:
        raise BadInputError(f"{path} is longer than {MAX_CARD_BYTES} bytes; it is no model card")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        card = ModelCard.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise BadInputError(f"{path}: {field}: {first['msg']}; see docs/serve-a-model.md") from None
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    if card.format != 1:
        raise BadInputError(f"{path} has format {card.format}, and this version reads format 1")
    return card


def _as_text(value: str | bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has_parameter(factory: Any, name: str) -> bool:
    try:
        return name in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


def _make(factory: Any, options: Mapping[str, str], who: str) -> object:
    if not callable(factory):
        if options:
            raise BadInputError(f"{who} is no factory and takes no options; leave them out")
        return factory
    arguments = bind_options(factory, options, who=who)
    try:
        return factory(**arguments)
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"{who}: its factory raised {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """Says an exception in one line, with the line of code that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name} line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' + text if text else ''}{where}"
