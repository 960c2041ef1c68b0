"""JSON metadata of datasets, with sentences that name the file, the line and the field."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dojobench.protocol.errors import BadInputError

_MAX_META_BYTES = 256 * 1024 * 1024

Model = TypeVar("Model", bound=BaseModel)


def read_model(path: Path, model: type[Model]) -> Model:
    """Reads a JSON file into a checked model.

    Raises:
        BadInputError: If it is missing, no JSON, or a field is absent or of the wrong kind.
    """
    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInputError(
            f"In {path} the field '{field}' is not usable ({first['msg'].lower()}); correct it."
        ) from error


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        BadInputError: If it is missing, too large or no JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{path} line {error.lineno} is not valid JSON ({error.msg.lower()}); correct it."
        ) from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a JSON Lines file of objects; blank lines are skipped.

    Raises:
        BadInputError: If it is missing or a line is no JSON object; the line is named.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInputError(
                f"{path} line {number} is not valid JSON ({error.msg.lower()}); correct it."
            ) from error
        if not isinstance(row, dict):
            raise BadInputError(f"{path} line {number} is not a JSON object; correct it.")
        rows.append(row)
    return rows


def read_text(path: Path) -> str:
    """Reads a text file of metadata.

    Raises:
        BadInputError: If it is missing, larger than 256 MiB, or no UTF-8.
    """
    if not path.is_file():
        raise BadInputError(f"The file {path} is missing; restore it or name another folder.")
    if path.stat().st_size > _MAX_META_BYTES:
        raise BadInputError(f"The file {path} is larger than 256 MiB and is not read as metadata.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"The file {path} is not UTF-8 text; save it as UTF-8.") from error
