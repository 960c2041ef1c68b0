"""Unpacks an archive of a stranger: nothing is written outside, no link is made, sizes are bounded.

Members are read and written by this code, never by the archive library's own extraction.
"""

import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from dojobench.leaderboard.safe_files import NAME, shown
from dojobench.leaderboard.submission import MAX_TOTAL, SUBMISSION_FILE
from dojobench.leaderboard.verdict import Refused

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_MEMBERS = 2000
MAX_RATIO = 200
_BLOCK = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Gives a submission's folder: the path itself, or where an archive was unpacked to.

    Raises:
        Refused: If the archive is unsafe, damaged or holds no submission.
    """
    if not path.is_file():
        yield path
        return
    if not path.name.lower().endswith(SUFFIXES):
        raise Refused(
            "DB-S001",
            f"{path.name} is a file; give the folder that `dojobench submit pack` made, or an "
            "archive of it (.zip, .tar, .tar.gz).",
        )
    with tempfile.TemporaryDirectory(prefix="dojobench-submission-") as temporary:
        root = Path(temporary)
        try:
            if path.name.lower().endswith(".zip"):
                _unzip(path, root)
            else:
                _untar(path, root)
        except (
            zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError,
            RuntimeError, OSError, OverflowError,
        ) as error:  # fmt: skip
            if isinstance(error, Refused):
                raise
            raise Refused(
                "DB-S015",
                f"{path.name} cannot be unpacked ({shown(error, 120)}); make the archive again.",
            ) from error
        yield _folder(root)


def _folder(root: Path) -> Path:
    """Finds the submission: the archive's only folder, or its top."""
    if (root / SUBMISSION_FILE).exists():
        raise Refused(
            "DB-S015",
            f"{SUBMISSION_FILE} lies at the archive's top; put the folder, named by the id, into "
            "the archive.",
        )
    entries = list(root.iterdir())
    if len(entries) != 1:
        raise Refused(
            "DB-S015",
            f"The archive has {len(entries)} entries at its top, and a submission is one folder; "
            "put the folder into the archive and nothing else.",
        )
    return entries[0]


class _Budget:
    """Counts what was written; an archive may not grow beyond its bounds."""

    def __init__(self, packed: int) -> None:
        self.most = min(MAX_TOTAL, MAX_RATIO * max(packed, 4096))
        self.members = 0
        self.written = 0

    def member(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise Refused(
                "DB-S005",
                f"The archive has more than {MAX_MEMBERS} entries; send the videos by address.",
            )

    def take(self, size: int) -> None:
        self.written += size
        if self.written > self.most:
            raise Refused(
                "DB-S015",
                f"The archive unpacks to more than {self.most >> 20} MiB, which no submission "
                "needs; send the folder that `dojobench submit pack` made.",
            )


def _target(root: Path, name: str) -> Path:
    """Gives a safe place for a member."""
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or "\\" in name
        or not path.parts
        or any(not NAME.fullmatch(part) for part in path.parts)
        or len(path.parts) > 6
    ):
        raise Refused(
            "DB-S015",
            f"The archive has the entry '{shown(name)}', which would lie outside its folder or has "
            "a name that is not allowed; archive the folder alone.",
        )
    return root.joinpath(*path.parts)


def _unzip(path: Path, root: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        budget = _Budget(path.stat().st_size)
        for member in archive.infolist():
            budget.member()
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _link(member.filename)
            if member.is_dir():
                _target(root, member.filename).mkdir(parents=True, exist_ok=True)
                continue
            with archive.open(member) as stream:
                _write(stream, _target(root, member.filename), budget)


def _untar(path: Path, root: Path) -> None:
    budget = _Budget(path.stat().st_size)
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            budget.member()
            if member.isdir():
                _target(root, member.name).mkdir(parents=True, exist_ok=True)
            elif member.isreg() and not member.issparse():
                stream = archive.extractfile(member)
                if stream is not None:
                    with stream:
                        _write(stream, _target(root, member.name), budget)
            else:
                raise _link(member.name)


def _link(name: str) -> Refused:
    return Refused(
        "DB-S015",
        f"The archive has '{shown(name)}', which is a link or no plain file; put the file itself "
        "into the archive.",
    )


def _write(stream: IO[bytes], target: Path, budget: _Budget) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:
            while block := stream.read(_BLOCK):
                budget.take(len(block))
                file.write(block)
    except FileExistsError as error:
        raise Refused(
            "DB-S015", f"The archive has '{shown(target.name)}' twice; make the archive again."
        ) from error
