"""One safetensors file for a small model: weights, and the configuration that shapes them.

The configuration is JSON in the file's own metadata, so a weights file explains itself, and
nothing in it is ever unpickled. A file is written under another name and renamed, so a crash
leaves the old one or the new one.
"""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.tensor_file import Planned, write_tensors

Config = TypeVar("Config")
_LONGEST_CONFIG = 1 << 20


class Tensors(dict[str, Tensor]):
    """Weights by name, and the file that they come from."""

    def __init__(self, values: Mapping[str, Tensor], path: Path) -> None:
        super().__init__(values)
        self.path = path

    def checked(self, module: nn.Module) -> dict[str, Tensor]:
        """Gives the weights once they are those of ``module``, by name and shape.

        Raises:
            BadInputError: Naming the first weight that is missing, unknown or of another shape.
        """
        own = module.state_dict()
        for name, tensor in own.items():
            if name not in self:
                raise BadInputError(
                    f"{self.path} has no weight '{name}'; it belongs to another model."
                )
            if self[name].shape != tensor.shape:
                raise BadInputError(
                    f"{self.path} has '{name}' of shape {list(self[name].shape)}, and this model "
                    f"needs {list(tensor.shape)}; it is of another size."
                )
        for name in self:
            if name not in own:
                raise BadInputError(
                    f"{self.path} has a weight '{name}' that this model does not know; it belongs "
                    "to another model."
                )
        return dict(self)


def write_model(
    path: Path,
    module: nn.Module,
    *,
    kind: str,
    config: object,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes a module's weights and its configuration.

    Args:
        path: File to write or to replace.
        module: What to write; every persistent weight and buffer.
        kind: What it is, such as ``tokenizer``.
        config: A dataclass of plain values.
        dtype: Number format of matrices and kernels, their own where ``None``; vectors, such as
            the statistics of latents, keep theirs.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config is a {type(config).__name__}, not a dataclass")
    metadata = {
        "dojobench": kind,
        "config": json.dumps(dataclasses.asdict(config), sort_keys=True),
    }
    weights = module.state_dict()
    planned = {
        name: Planned(dtype=dtype if dtype and one.dim() > 1 else one.dtype, shape=(*one.shape,))
        for name, one in weights.items()
    }
    write_tensors(path, planned, weights.__getitem__, metadata=metadata)


def read_model(path: Path, *, kind: str) -> tuple[dict[str, Any], Tensors]:
    """Reads what ``write_model`` wrote.

    Returns:
        The configuration's values and the weights, on the CPU.

    Raises:
        BadInputError: If the file is missing, cut short or holds another kind of model.
    """
    with _opened(path, kind) as file:
        metadata = file.metadata() or {}
        tensors = Tensors({name: file.get_tensor(name) for name in file.keys()}, path)
    found = metadata.get("dojobench", "model of another program")
    if found != kind:
        raise BadInputError(f"{path} holds a {found}, not a {kind}; give another file.")
    return _values(path, metadata.get("config", "")), tensors


def read_note(path: Path, name: str, *, kind: str) -> dict[str, Any] | None:
    """Reads values that a weights file's header holds beside the configuration.

    Args:
        path: The file.
        name: Of the note.
        kind: What the file holds, for messages.

    Returns:
        The values, or ``None`` where there is no such note.

    Raises:
        BadInputError: If the file is missing or cut short, or the note not readable.
    """
    with _opened(path, kind) as file:
        text = (file.metadata() or {}).get(name)
    return None if text is None else _values(path, text)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Any]:
    """Opens a weights file; what is wrong with it becomes a sentence."""
    if not path.is_file():
        raise BadInputError(f"There is no file {path} to read a {kind} from.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise BadInputError(
            f"{path} is no whole safetensors file ({error}); write it or fetch it again."
        ) from error


def _values(path: Path, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text[:_LONGEST_CONFIG])
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise BadInputError(f"{path} says nothing readable of its configuration; write it again.")
    return values


def config_from(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Builds a configuration from values read from a file.

    Args:
        kind: A dataclass of plain values and tuples of them.
        values: By field; JSON's lists become tuples.
        where: The file, for the message.

    Raises:
        BadInputError: Naming a field that does not exist, with the nearest that does, or one
            that is missing.
    """
    fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)
            raise BadInputError(
                f"{where} sets '{name}', which does not exist; the nearest is '{near[0]}'."
            )
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING:
            raise BadInputError(f"{where} does not set '{name}', which has no default.")
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise BadInputError(f"{where} has a value of the wrong kind: {error}.") from error
