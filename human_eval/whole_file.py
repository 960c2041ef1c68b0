"""Writes a file whole or not at all."""

import os
import tempfile
from pathlib import Path

from dojobench.protocol.errors import BadInputError


def write_whole(path: Path, content: bytes) -> None:
    """Writes under a temporary name beside the file, then renames it.

    Raises:
        BadInputError: If the folder is not there or cannot be written to.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written ({error.strerror}); choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
