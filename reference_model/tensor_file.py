"""Writes a safetensors file tensor by tensor, so that memory holds one of them at a time.

The library's own writer wants all tensors at once, which for a 14B model is 59 GB. The format
(https://github.com/huggingface/safetensors): 8 bytes with the header's length, a JSON header that
says where each tensor lies, the tensors' bytes.
"""

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from dojobench.protocol.errors import BadInputError

_NAMES = {
    torch.bfloat16: "BF16",
    torch.bool: "BOOL",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.int8: "I8",
    torch.uint8: "U8",
}
DTYPES = {name: dtype for dtype, name in _NAMES.items()}
"""Number formats by their names in safetensors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A tensor to be written.

    Attributes:
        dtype: Number format in the file.
        shape: Sizes.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_tensors(
    path: Path,
    planned: Mapping[str, Planned],
    read: Callable[[str], torch.Tensor],
    *,
    metadata: Mapping[str, str],
    track: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    Args:
        path: File to write or replace; its folder is made.
        planned: What it will hold, by name.
        read: Gives a tensor of the planned shape; it is converted to the planned number format.
        metadata: Texts for the header.
        track: Wraps the names to show progress.

    Raises:
        BadInputError: If the file cannot be written, the disk being full for example.
    """
    names = sorted(planned)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(_header(names, planned, metadata))
            for name in track(names):
                file.write(_bytes(read(name), planned[name], name))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise BadInputError(
            f"The file {path} cannot be written ({(error.strerror or 'error').lower()}); "
            "choose another place or make room."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _header(
    names: Iterable[str], planned: Mapping[str, Planned], metadata: Mapping[str, str]
) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name in names:
        each = planned[name]
        stop = start + each.length
        header[name] = {
            "dtype": _NAMES[each.dtype],
            "shape": list(each.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _bytes(tensor: torch.Tensor, planned: Planned, name: str) -> bytes:
    if tuple(tensor.shape) != planned.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, planned was {planned.shape}")
    ready = tensor.detach().to(device="cpu", dtype=planned.dtype).contiguous()
    return ready.view(-1).view(torch.uint8).numpy().tobytes()
