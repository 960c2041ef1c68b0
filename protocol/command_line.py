"""How every command reads its arguments, so that all of their helps look alike.

A command is a frozen dataclass whose fields are documented; ``tyro`` makes options of them. What
it would add to the help of an option that may be left out (``{None}|PATH``, ``(default: None)``,
``--no-deep``) says nothing to who types the command, and is left away.
"""

from collections.abc import Sequence
from dataclasses import fields
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

Config = TypeVar("Config")


def parse(config: type[Config], argv: Sequence[str], prog: str) -> Config:
    """Reads a command's arguments; prints help, or what is wrong with them, and exits.

    Args:
        config: Dataclass of the command.
        argv: Its arguments.
        prog: What the user typed before them, such as ``dojobench run``.

    Returns:
        The arguments, as ``config``.

    Raises:
        SystemExit: With 0 after ``--help``, and with 2 where the arguments cannot be read.
    """
    hints = get_type_hints(config, include_extras=True)
    shown: dict[str, Any] = {}
    for field in fields(config):  # type: ignore[arg-type]
        hint = hints[field.name]
        # What it means to leave such an option out stands in the field's own words.
        quiet = field.default is None or field.default is False or field.default in ((), "")
        placeholder = tyro.conf.arg(
            metavar=_placeholder(hint), help_behavior_hint="" if quiet else None
        )
        # What the command itself states comes last, for the last one counts.
        stated = getattr(hint, "__metadata__", ())
        shown[field.name] = Annotated[(hint, placeholder, *stated)]
    # tyro reads what a field is from the class, so it is given a class that says more.
    body = {"__annotations__": shown, "__doc__": config.__doc__, "__module__": config.__module__}
    return tyro.cli(
        type(config.__name__, (config,), body),
        prog=prog,
        args=list(argv),
        config=(tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff),
    )


def _placeholder(hint: Any) -> str | None:
    """What stands for the values of a list, such as ``INT …``; ``None`` for all but lists."""
    if get_origin(hint) is Annotated:
        return _placeholder(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        found = [_placeholder(each) for each in get_args(hint) if each is not type(None)]
        return found[0] if len(found) == 1 else None
    items = get_args(hint)
    if get_origin(hint) is not tuple:
        return None
    if items[-1:] != (Ellipsis,):
        return " ".join(_one(each) for each in items)
    return f"{_one(items[0])} …"


def _one(item: Any) -> str:
    if get_origin(item) is Literal:
        return "{" + ",".join(map(str, get_args(item))) + "}"
    return str(item.__name__).upper()
