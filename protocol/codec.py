"""Messages as bytes: msgpack, with arrays in the two-key form that openpi's clients send.

An array is a map with the byte-string keys ``__ndarray__``, ``data``, ``dtype`` and ``shape``
(openpi, ``packages/openpi-client/src/openpi_client/msgpack_numpy.py``), a numpy scalar one with
``__npgeneric__``, ``data`` and ``dtype``. Only numbers and booleans travel: whatever numpy would
need pickle or Python objects for is refused on both sides, and so is a message that is built to
cost its reader more memory than its own size.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]

MAX_ITEMS = 100_000
"""Elements of all lists and maps of one message together; arrays count as one."""

MAX_LENGTH = 4096
"""Elements of one list or map."""

MAX_DIMENSIONS = 16
"""Dimensions of one array."""

_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")
_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"


class CodecError(ValueError):
    """Bytes that are no message, or a value that no message may hold; one sentence."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Encodes a message.

    Args:
        message: Plain values (``None``, bool, int, float, str, bytes, lists, maps) and numpy
            arrays and scalars of numbers or booleans.

    Raises:
        CodecError: If it holds anything else.
    """
    try:
        packed: bytes = msgpack.packb(dict(message), default=_encode)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"this cannot be sent: {error}") from error
    return packed


def unpack(data: bytes) -> dict[Any, Any]:
    """Decodes a message.

    Args:
        data: One whole message. Its size is limited by whoever received it.

    Returns:
        The map; arrays in it are read-only views of ``data`` in native byte order where
        possible (``as_tensor`` copies).

    Raises:
        CodecError: If it is no msgpack map, or holds what no message may hold.
    """
    budget = _Budget()
    try:
        message = msgpack.unpackb(
            data,
            object_hook=budget.read_map,
            list_hook=budget.read_list,
            ext_hook=_refuse_extension,
            max_ext_len=0,
            max_array_len=MAX_LENGTH,
            max_map_len=MAX_LENGTH,
        )
    except CodecError:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
        raise CodecError(f"this is no msgpack message: {error or type(error).__name__}") from error
    if not isinstance(message, dict):
        raise CodecError(f"a message is a msgpack map, not a {type(message).__name__}")
    return message


def as_array(tensor: torch.Tensor) -> Array:
    """Gives a tensor's values as a contiguous array on the CPU, without a copy where it can."""
    array: Array = tensor.detach().cpu().contiguous().numpy()
    return array


def as_tensor(array: Array) -> torch.Tensor:
    """Copies an array into a tensor of its own, since received arrays are read-only views."""
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _encode(value: object) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"a {type(value).__name__} is neither a plain value nor an array")
    if not _DTYPE.fullmatch(value.dtype.str):
        raise TypeError(f"arrays of dtype {value.dtype} do not travel, only numbers and booleans")
    if isinstance(value, np.generic):
        return {_SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    return {_ARRAY: True, b"data": flat.data, b"dtype": value.dtype.str, b"shape": value.shape}


def _refuse_extension(code: int, data: bytes) -> object:
    raise CodecError(f"msgpack extension type {code} is not part of the protocol")


class _Budget:
    """Turns maps into arrays, and stops a message of very many small things."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS

    def read_list(self, items: list[Any]) -> list[Any]:
        self._spend(len(items))
        return items

    def read_map(self, items: dict[Any, Any]) -> object:
        self._spend(len(items))
        if _ARRAY in items:
            return _decode_array(items)
        if _SCALAR in items:
            return _dtype(items).type(items.get(b"data"))
        return items

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise CodecError(f"a message holds at most {MAX_ITEMS} list and map elements")


def _dtype(items: Mapping[Any, Any]) -> np.dtype[Any]:
    name = items.get(b"dtype")
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise CodecError(f"arrays of dtype {name!r} are refused, only numbers and booleans travel")
    return np.dtype(name)


def _decode_array(items: Mapping[Any, Any]) -> Array:
    dtype, data, shape = _dtype(items), items.get(b"data"), items.get(b"shape")
    if not isinstance(data, bytes):
        raise CodecError("an array's data must be bytes")
    whole = isinstance(shape, list) and all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**31 for size in shape
    )
    if not whole or not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise CodecError(f"an array's shape is a list of at most {MAX_DIMENSIONS} sizes")
    if prod(shape) * dtype.itemsize != len(data):
        raise CodecError(
            f"an array of shape {shape} and dtype {dtype.str} has {prod(shape) * dtype.itemsize} "
            f"bytes, and {len(data)} came"
        )
    try:
        array: Array = np.frombuffer(data, dtype=dtype).reshape(shape)
    except ValueError as error:
        raise CodecError(f"an array of shape {shape} is refused: {error}") from error
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
