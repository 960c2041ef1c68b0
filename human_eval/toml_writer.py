"""Writes plain values as TOML, with a comment above each key: the standard library only reads.

Only what a study file needs: tables, lists of tables, texts, numbers, truth values and lists of
them. Keys keep their order, so equal values give equal bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard

Plain: TypeAlias = "str | int | float | bool | Sequence[str | int | float | bool] | None"
"""A value that stands to the right of an equals sign; ``None``: nothing is set."""

Table: TypeAlias = "Mapping[str, Plain | Table | Sequence[Table]]"
"""A table: plain values, tables in it, and lists of tables."""


def to_toml(table: Table, comments: Mapping[str, str] | None = None) -> str:
    """Writes a table of tables as a TOML document.

    Args:
        table: Values by key; a key whose value is ``None`` is written as a comment, so that who
            reads the file sees that it could be set.
        comments: Comment by dotted key (``study.title``); keys without one get none.

    Returns:
        The document, ending with a newline.

    Raises:
        ValueError: If a value is of a kind that has no place here, or a number is not finite.
    """
    lines: list[str] = []
    _table(table, (), comments or {}, lines)
    return "\n".join(lines).strip("\n") + "\n"


def _table(
    table: Table, path: tuple[str, ...], comments: Mapping[str, str], lines: list[str]
) -> None:
    inner: list[tuple[str, list[Table], bool]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner.append((key, [value], False))
            continue
        if _is_tables(value):
            inner.append((key, list(value), True))
            continue
        comment = comments.get(".".join((*path, key)))
        if comment:
            lines.append(f"# {comment}{' (not set)' if value is None else ''}")
        lines.append(f"# {_key(key)} =" if value is None else f"{_key(key)} = {_value(value)}")
    for key, tables, many in inner:
        name = ".".join(_key(part) for part in (*path, key))
        comment = comments.get(".".join((*path, key)))
        for each in tables:
            lines.append("")
            if comment:
                lines.append(f"# {comment}")
                comment = None
            lines.append(f"[[{name}]]" if many else f"[{name}]")
            _table(each, (*path, key), comments, lines)


def _is_tables(value: object) -> TypeGuard[Sequence[Table]]:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(each, Mapping) for each in value)
    )


def _key(key: str) -> str:
    plain = key and all(sign.isascii() and (sign.isalnum() or sign in "-_") for sign in key)
    return key if plain else _text(key)


def _text(value: str) -> str:
    # JSON escapes are TOML escapes, but for DEL, which JSON leaves bare and TOML forbids.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number that a study file may hold")
        return repr(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    raise ValueError(f"a {type(value).__name__} has no place in a study file")
