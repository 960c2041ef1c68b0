"""Files written by ``torch.save``, tensor by tensor, without unpickling them.

Such a file is a zip archive, stored uncompressed: ``data.pkl`` describes the object, ``data/<key>``
holds the bytes of each storage. The description is read as inert records (``safe_pickle``) and a
tensor's bytes only when it is asked for, so that the weights of a training checkpoint can be taken
without its optimiser.
"""

import math
import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.safe_pickle import (
    Record,
    Reference,
    is_record,
    read_pickle,
    record_class_name,
)

_STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class Span(NamedTuple):
    """A stretch of a file's bytes."""

    start: int
    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """Where a tensor lies in an archive.

    Attributes:
        key: Of its storage.
        dtype: Number format.
        shape: Sizes.
        strides: Elements from one index to the next.
        offset: First element within the storage.
    """

    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def reach(self) -> int:
        """Elements of the storage up to the tensor's last, 0 for an empty tensor."""
        if 0 in self.shape:
            return 0
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + 1 + sum((size - 1) * stride for size, stride in steps)


class FileBytes:
    """A file's bytes, read where they are asked for.

    Not mapped into memory, where every page that was read would count as the process's own.

    Attributes:
        length: Bytes.
    """

    def __init__(self, path: Path) -> None:
        """Looks at the file.

        Raises:
            BadInputError: If it is missing, empty or unreadable.
        """
        self._path = path
        try:
            with path.open("rb") as file:
                self.length = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise BadInputError(f"The file {path} is missing; fetch it again.") from error
        if self.length == 0:
            raise BadInputError(f"The file {path} is empty; fetch it again.")

    def read(self, span: Span) -> bytes:
        """Reads a stretch; less where the file ends before."""
        with self._path.open("rb") as file:
            file.seek(span.start)
            return file.read(span.length)

    def stream(self) -> BinaryIO:
        """Opens the file."""
        return self._path.open("rb")


class MemoryBytes:
    """Bytes that were read already.

    Attributes:
        length: Bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def read(self, span: Span) -> bytes:
        """Copies a stretch."""
        return self._content[span.start : span.start + span.length]

    def stream(self) -> BinaryIO:
        """Gives the bytes as a file."""
        return BytesIO(self._content)


class TorchArchive:
    """An archive in a file, or in a stretch of one.

    Attributes:
        root: What was saved, as plain values, ``Record`` and ``StoredTensor``.
    """

    def __init__(self, data: "FileBytes | MemoryBytes", where: str) -> None:
        """Reads the description.

        Args:
            data: The archive.
            where: The file, for messages.

        Raises:
            BadInputError: If it is no whole archive.
        """
        self._data = data
        self._where = where
        self._members = self._list_members()
        description = next((n for n in self._members if n.endswith("/data.pkl")), None)
        if description is None:
            raise BadInputError(
                f"{where} is no checkpoint of torch.save; give the file with the weights."
            )
        self._prefix = description[: -len("data.pkl")]
        order = self._members.get(f"{self._prefix}byteorder")
        if order is not None and self._bytes(order) != b"little":
            raise BadInputError(f"{where} was written on a big-endian machine; convert it there.")
        index = self._bytes(self._members[description])
        try:
            self.root = self._resolve(read_pickle(index, where))
        except RecursionError as error:
            raise BadInputError(f"The index of {where} contains itself; it is damaged.") from error

    def read(self, tensor: StoredTensor) -> torch.Tensor:
        """Reads a tensor's values into memory of its own.

        Raises:
            BadInputError: If its storage is missing or too short.
        """
        member = self._members.get(f"{self._prefix}data/{tensor.key}")
        # An expanded tensor would need more memory than the file has bytes; weights never are.
        needed = max(tensor.reach, math.prod(tensor.shape)) * tensor.dtype.itemsize
        negative = tensor.offset < 0 or min((*tensor.strides, *tensor.shape), default=0) < 0
        if member is None or needed > member.length or negative:
            raise BadInputError(
                f"{self._where} lacks the bytes of a tensor of shape {list(tensor.shape)}; it is "
                "damaged or cut short, fetch it again."
            )
        if needed == 0:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        stored = bytearray(self._bytes(Span(member.start, needed)))
        flat = torch.frombuffer(stored, dtype=tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.strides, tensor.offset).contiguous()

    def _bytes(self, span: Span) -> bytes:
        return self._data.read(span)

    def _list_members(self) -> dict[str, Span]:
        """Finds every member's bytes; checksums are left alone, since torch may omit them."""
        try:
            with self._data.stream() as stream, zipfile.ZipFile(stream) as archive:
                return {each.filename: self._locate(each) for each in archive.infolist()}
        except (zipfile.BadZipFile, OSError, ValueError, struct.error) as error:
            raise BadInputError(
                f"{self._where} is no whole checkpoint of torch.save (format of torch 1.6 or "
                "newer); fetch it again."
            ) from error

    def _locate(self, member: zipfile.ZipInfo) -> Span:
        header = self._bytes(Span(member.header_offset, _LOCAL_HEADER.size))
        magic, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        whole = magic == b"PK\x03\x04" and start + member.file_size <= self._data.length
        if not whole or member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(member.filename)
        return Span(start, member.file_size)

    def _resolve(self, value: Any) -> Any:
        """Turns records of dictionaries and tensors into these, deeply."""
        if isinstance(value, dict):
            return {key: self._resolve(each) for key, each in value.items()}
        if is_record(value, "collections.OrderedDict"):
            return {key: self._resolve(each) for key, each in value.entries.items()}
        if is_record(value, "torch._utils._rebuild_parameter") and value.arguments:
            return self._resolve(value.arguments[0])
        if isinstance(value, Record) and value.name.startswith("torch._utils._rebuild_tensor"):
            return _stored_tensor(value, self._where)
        return value


def _stored_tensor(record: Record, where: str) -> StoredTensor:
    try:
        storage, offset, shape, strides = record.arguments[:4]
        _, kind, key, _, _ = cast(Reference, storage)
        name = record_class_name(kind).rpartition(".")[2]
        if record.name.endswith("_v3"):
            dtype = getattr(torch, record_class_name(record.arguments[6]).rpartition(".")[2])
        else:
            dtype = _STORAGES[name]
        if not isinstance(dtype, torch.dtype):
            raise TypeError(name)
        return StoredTensor(
            key=str(key),
            dtype=dtype,
            shape=plain_size(shape),
            strides=plain_size(strides),
            offset=int(offset),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{where} describes a tensor in a way that is not known ({record.name}); save its "
            "weights with a plain torch.save."
        ) from error


def plain_size(value: Any) -> tuple[int, ...]:
    """Turns a tuple or a record of a ``torch.Size`` into a tuple of integers.

    Raises:
        TypeError: If it is neither.
    """
    if is_record(value, "torch.Size"):
        value = value.arguments[0] if value.arguments else ()
    if not isinstance(value, tuple | list) or not all(type(each) is int for each in value):
        raise TypeError(f"not a size: {value!r}")
    return tuple(value)


def named_tensors(root: Any, prefix: str = "") -> Iterator[tuple[str, StoredTensor]]:
    """Walks nested dictionaries and gives their tensors under dotted names."""
    for key, value in root.items() if isinstance(root, dict) else ():
        name = f"{prefix}{key}"
        if isinstance(value, StoredTensor):
            yield name, value
        else:
            yield from named_tensors(value, f"{name}.")
