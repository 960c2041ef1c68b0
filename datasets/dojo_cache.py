"""Rendered clips kept on disk, so that the next run need not render them again.

A clip is filed under the hash that its manifest states. What is read back is checked by that
hash or, where this machine renders other bytes, by the clip's fingerprint, as a fresh one is. A
cache that cannot be used is left alone: it saves time and decides nothing.
"""

import contextlib
import os
import sys
from pathlib import Path

from dojobench.datasets.dojo_data import DojoClipData, pack, unpack

CACHE_VARIABLE = "DOJOBENCH_CACHE"
"""Environment variable that names the folder of the cache; ``off`` for none."""
_LIMIT = 4 * 2**30


def default_folder() -> Path | None:
    """Gives the folder of the cache: the variable's, or ``dojobench`` in the user's own."""
    given = os.environ.get(CACHE_VARIABLE, "")
    if given:
        return None if given == "off" else Path(given) / "dojo"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "dojobench" / "dojo"
    except RuntimeError:
        return None


class ClipCache:
    """A folder of packed clips with a bound on its size.

    Args:
        folder: The folder, made when it is first written to; ``None`` for no cache.
        limit: Bytes; the clips that were not used for longest give way.
    """

    def __init__(self, folder: Path | None, *, limit: int = _LIMIT) -> None:
        self._folder, self._limit = folder, limit
        self._written = 0

    def has(self, clip_hash: str) -> bool:
        """Says whether a clip is filed under a hash."""
        return self._folder is not None and self._path(clip_hash).is_file()

    def load(self, clip_hash: str) -> DojoClipData | None:
        """Gives the clip that is filed under a hash, or ``None``."""
        if self._folder is None:
            return None
        path = self._path(clip_hash)
        try:
            data = unpack(path.read_bytes())
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return data

    def save(self, clip_hash: str, data: DojoClipData) -> None:
        """Files a clip, whole or not at all."""
        if self._folder is None:
            return
        path = self._path(clip_hash)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(pack(data))
            self._written += part.stat().st_size
            part.replace(path)
        except OSError:
            self._folder = None
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            return
        if self._written > self._limit // 8:
            self._written = 0
            self._trim()

    def _path(self, clip_hash: str) -> Path:
        if self._folder is None:
            raise ValueError("there is no cache")
        return self._folder / f"{clip_hash.removeprefix('sha256:')}.npz"

    def _trim(self) -> None:
        with contextlib.suppress(OSError):
            files = [(path, path.stat()) for path in sorted((self._folder or Path()).glob("*.npz"))]
            total = sum(status.st_size for _, status in files)
            for path, status in sorted(files, key=lambda entry: entry[1].st_mtime_ns):
                if total <= self._limit:
                    return
                path.unlink(missing_ok=True)
                total -= status.st_size
