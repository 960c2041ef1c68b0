"""Lets one process at a time train in a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dojobench.protocol.errors import BadInputError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; a process that dies holds nothing.

    Two that train in one folder, such as a job and its requeued self, would spoil its log. Where
    the file system cannot lock folders (some of NFS), nothing is held.

    Raises:
        BadInputError: If another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInputError(
                f"Another process is training in {folder}; wait for its end or stop it."
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)
