"""Files that are whole or not there, and hashes of files that are taken once."""

import hashlib
import os
import threading
from pathlib import Path

from dojobench.protocol.errors import BadInputError

_digests: dict[tuple[str, int, int], str] = {}
_lock = threading.Lock()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    Readers see the old file or the new one, never a part; when this returns, it is on disk.

    Raises:
        BadInputError: If the folder does not exist or cannot be written to.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise BadInputError(f"The folder {path.parent} for {path.name} does not exist; make it.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise BadInputError(
            f"The file {path} cannot be written ({(error.strerror or 'error').lower()}); "
            "choose another place."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a new name in a folder outlast a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """Gives the SHA-256 of a file's bytes in hexadecimal.

    A file is read once per process as long as its path, size and modification time stay.

    Raises:
        BadInputError: If the file cannot be read.
    """
    try:
        status = path.stat()
        key = (str(path.resolve()), status.st_mtime_ns, status.st_size)
        with _lock:
            known = _digests.get(key)
        if known is None:
            with path.open("rb") as file:
                known = hashlib.file_digest(file, "sha256").hexdigest()
            with _lock:
                _digests[key] = known
    except OSError as error:
        raise BadInputError(
            f"The file {path} cannot be read ({(error.strerror or 'error').lower()}); restore it."
        ) from error
    return known
