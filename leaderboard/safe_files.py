"""Reads what strangers send: no link is followed, nothing special is opened, sizes are bounded.

Whatever is wrong raises `Refused` with a code, so that a check goes on to a verdict and never
ends in a traceback.
"""

import hashlib
import json
import lzma
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dojobench.leaderboard.verdict import Refused

MAX_ENTRIES = 50_000
MAX_DEPTH = 4
MAX_NESTING = 24
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_XZ_MEMORY = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SafeFolder:
    """A folder of files from a stranger.

    Attributes:
        root: The folder.
        sizes: Bytes of each file by its path within the folder, with ``/`` between names.
    """

    root: Path
    sizes: dict[str, int]

    def read(self, path: str, limit: int) -> bytes:
        """Reads a file of at most ``limit`` bytes.

        Raises:
            Refused: If it is missing, no plain file, or too large.
        """
        if path not in self.sizes:
            raise Refused(
                "DB-S004", f"{path} is missing; pack the submission again with `submit pack`.", path
            )
        descriptor = _open_plain(self.root, path)
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise Refused(
                "DB-S005",
                f"{path} is larger than {limit / 2**20:g} MiB, the most that such a file may "
                "have; send a smaller one or ask the maintainers.",
                path,
            )
        return content

    def digest(self, path: str) -> str:
        """Gives the SHA-256 of a listed file in hexadecimal."""
        with os.fdopen(_open_plain(self.root, path), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def open_folder(root: Path) -> SafeFolder:
    """Lists a folder without following anything.

    Raises:
        Refused: If it is no folder, or holds links, devices, pipes, strange names or too much.
    """
    if not root.is_dir():
        raise Refused(
            "DB-S001",
            f"{root} is no folder; give the one that `dojobench submit pack` made, or an archive "
            "of it (.zip, .tar, .tar.gz).",
        )
    return SafeFolder(root=root, sizes=dict(sorted(_walk(root, "", 0, [0]))))


def unpack_xz(content: bytes, limit: int, where: str) -> bytes:
    """Unpacks one xz stream of at most ``limit`` bytes, in bounded memory.

    Raises:
        Refused: If it is damaged, cut off, followed by something, or unpacks to more.
    """
    packed = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    try:
        text = packed.decompress(content, max_length=limit + 1)
    except lzma.LZMAError as error:
        raise Refused(
            "DB-S015",
            f"{where} is damaged and cannot be unpacked; pack the run again.",
            where,
        ) from error
    if len(text) > limit:
        raise Refused(
            "DB-S005",
            f"{where} unpacks to more than {limit / 2**20:g} MiB, the most that such a file may "
            "have; ask the maintainers.",
            where,
        )
    if not packed.eof or packed.unused_data:
        fault = "is followed by something else" if packed.eof else "is cut off"
        raise Refused("DB-S015", f"{where} {fault}; pack the run again.", where)
    return text


def _walk(folder: Path, prefix: str, depth: int, seen: list[int]) -> Iterator[tuple[str, int]]:
    if depth > MAX_DEPTH:
        raise Refused(
            "DB-S003", f"{prefix} lies too deep; a submission has no such folders.", prefix
        )
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                seen[0] += 1
                if seen[0] > MAX_ENTRIES:
                    raise Refused(
                        "DB-S005",
                        f"there are more than {MAX_ENTRIES} files; keep the videos elsewhere and "
                        "name their address with --videos-at.",
                    )
                yield from _entry(entry, prefix, depth, seen)
    except OSError as error:
        raise Refused(
            "DB-S001", f"{prefix or folder} cannot be listed ({error.strerror}); make it readable."
        ) from error


def _entry(
    entry: "os.DirEntry[str]", prefix: str, depth: int, seen: list[int]
) -> Iterator[tuple[str, int]]:
    shown = prefix + entry.name.encode("ascii", "backslashreplace").decode()
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        raise Refused(
            "DB-S002", f"{shown} is a link; put the file itself there, links are not followed.",
            shown,
        )  # fmt: skip
    if not NAME.fullmatch(entry.name):
        raise Refused(
            "DB-S006",
            f"'{shown}' is no allowed name; names have letters, digits, '.', '_' and '-', begin "
            "with a letter or digit and have at most 128 characters. Remove or rename it.",
            shown,
        )
    if stat.S_ISDIR(mode):
        yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", depth + 1, seen)
    elif stat.S_ISREG(mode):
        yield prefix + entry.name, entry.stat(follow_symlinks=False).st_size
    else:
        raise Refused(
            "DB-S002", f"{shown} is no plain file (a pipe, socket or device); remove it.", shown
        )


def _open_plain(root: Path, path: str) -> int:
    """Opens a plain file name by name, so that no link on the way is followed."""
    *folders, name = path.split("/")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                below = os.open(folder, flags | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
            descriptor = os.open(name, flags | os.O_NONBLOCK, dir_fd=here)
        finally:
            os.close(here)
    except OSError as error:
        raise Refused(
            "DB-S001", f"{path} cannot be read ({error.strerror}); make it a readable file.", path
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused("DB-S002", f"{path} is no plain file; put the file itself there.", path)
    return descriptor


def parse_json(content: bytes, where: str) -> Any:
    """Reads JSON strictly: UTF-8, no repeated keys, finite numbers, bounded nesting.

    Raises:
        Refused: Saying what is not JSON about it.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"the key {twice[:40]!r} stands there twice")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number that JSON knows")

    def finite(text: str) -> float:
        value = float(text)
        if abs(value) == float("inf"):
            raise ValueError(f"{text[:40]} is too large for a number")
        return value

    try:
        text = content.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=once, parse_constant=refuse, parse_float=finite
        )  # fmt: skip
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        _bounded(value, 0)
    except UnicodeDecodeError as error:
        raise Refused(
            "DB-S007", f"{where} is not UTF-8 text; save it as UTF-8, or pack it again.", where
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(
            "DB-S007",
            f"{where} is not valid JSON ({_plain(reason)}); restore the file that dojobench "
            "wrote, or pack it again.",
            where,
        ) from error
    return value


def _bounded(value: Any, depth: int) -> None:
    if depth > MAX_NESTING:
        raise RecursionError
    if isinstance(value, dict):
        for each in value.values():
            _bounded(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, dict | list):
                _bounded(each, depth + 1)


def _plain(text: str) -> str:
    """Keeps what a stranger wrote harmless on a terminal: printable ASCII, in one line."""
    return re.sub(r"[^\x20-\x7e]+", " ", text)[:200]


def shown(text: object, most: int = 80) -> str:
    """Shows what a stranger wrote in a sentence: no control characters, bounded, in one line."""
    cleaned = "".join(c if c.isprintable() else " " for c in str(text))
    return cleaned if len(cleaned) <= most else f"{cleaned[:most]}…"
