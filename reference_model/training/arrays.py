"""Arrays on disk: written whole or not at all, read through memory maps, never unpickled."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dojobench.protocol.errors import BadInputError


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes a ``.npy`` file under a temporary name beside it, then renames it.

    Args:
        path: The file; its folder exists.
        array: Of numbers.

    Raises:
        BadInputError: If the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise BadInputError(
            f"The file {path} cannot be written ({(error.strerror or 'error').lower()}); make "
            "room or choose another folder, and run the same command again to go on."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def map_array(path: Path, shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """Maps a ``.npy`` file into memory, for reading.

    Args:
        path: The file.
        shape: What it must hold; -1 stands for any length.
        dtype: What it must be of, such as ``uint8``.

    Raises:
        BadInputError: If the file is missing, cut short or holds something else.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(
            f"The array {path} is missing or damaged; delete its folder and make the data again."
        ) from error
    fits = array.ndim == len(shape) and all(
        wanted in (-1, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(dtype):
        raise BadInputError(
            f"The array {path} holds {array.dtype} of shape {array.shape} and should hold {dtype} "
            f"of shape {shape}; delete its folder and make the data again."
        )
    # A plain view: the class numpy.memmap costs time at every slice.
    plain: npt.NDArray[Any] = array.view(np.ndarray)
    return plain


def array_digest(array: npt.NDArray[Any]) -> str:
    """Hashes an array's bytes: ``sha256:`` and 64 hexadecimal digits."""
    content = np.ascontiguousarray(array)
    return f"sha256:{hashlib.sha256(content.data).hexdigest()}"
