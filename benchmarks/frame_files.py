"""Frames in files, as models that run elsewhere leave them: mp4, a folder of png, or npz.

All three are read a few frames at a time, none is ever unpickled, and what is wrong with a
file is said with its name.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Protocol

import av
import numpy as np
import torch

from dojobench.datasets.video import VideoReader
from dojobench.protocol import BadInputError, Frames

SUFFIXES = (".mp4", ".npz")
ARRAY_KEY = "frames"
MAX_HEADER = 10_000


class FrameFile(Protocol):
    """Frames of one clip, read by number.

    Attributes:
        count: How many there are.
        resolution: ``(height, width)``.
        frame_rate: Frames per second where the file says so, else ``None``.
    """

    count: int
    resolution: tuple[int, int]
    frame_rate: float | None

    def read(self, start: int, stop: int) -> Frames:
        """Reads frames ``start..stop-1``, uint8 ``[stop - start, 3, height, width]``."""
        ...

    def close(self) -> None:
        """Frees the file."""
        ...


def list_frame_files(folder: Path) -> dict[str, Path]:
    """Lists the clips in a folder by stem: mp4 and npz files, and folders of png files.

    Raises:
        BadInputError: If the folder does not exist, or two entries have one stem.
    """
    if not folder.exists():
        raise BadInputError(f"{folder} does not exist; give a folder of mp4, npz or png clips")
    entries = [folder] if folder.is_file() else sorted(folder.iterdir())
    found: dict[str, Path] = {}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and next(entry.glob("*.png"), None):
            stem = entry.name
        elif entry.suffix.lower() in SUFFIXES:
            stem = entry.name[: -len(entry.suffix)]
        else:
            continue
        if stem in found:
            raise BadInputError(
                f"{folder} has both {found[stem].name} and {entry.name} for clip {stem}; leave one"
            )
        found[stem] = entry
    return found


def open_frames(path: Path) -> FrameFile:
    """Opens the frames of one clip.

    Raises:
        BadInputError: If the file is none of the three kinds, or damaged.
    """
    if path.is_dir():
        return _PngFolder(path)
    if path.suffix.lower() == ".npz":
        return _NpzFrames(path)
    return _VideoFrames(path)


def fingerprint(paths: Iterable[Path]) -> str:
    """Hashes names and contents of files and png folders: ``sha256:…``."""
    total = hashlib.sha256()
    for path in sorted(paths):
        for file in sorted(path.glob("*.png")) if path.is_dir() else [path]:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{path.name}/{file.name} {digest}\n".encode())
    return f"sha256:{total.hexdigest()}"


class _VideoFrames:
    def __init__(self, path: Path) -> None:
        self._reader = VideoReader(path)
        self.count = len(self._reader)
        self.resolution = self._reader.index.resolution
        self.frame_rate: float | None = self._reader.index.rate or None
        if self._reader.index.truncated:
            raise BadInputError(
                f"{path} is truncated: it holds {self.count} of {self._reader.index.declared} "
                "frames; write it again"
            )

    def read(self, start: int, stop: int) -> Frames:
        return self._reader.read(range(start, stop))

    def close(self) -> None:
        self._reader.close()


class _PngFolder:
    frame_rate: float | None = None

    def __init__(self, path: Path) -> None:
        numbered: dict[int, Path] = {}
        for file in path.glob("*.png"):
            digits = re.search(r"(\d+)$", file.stem)
            if digits is None:
                raise BadInputError(f"{file} has no frame number; name frames 00000.png and so on")
            numbered[int(digits.group(1))] = file
        first = min(numbered)
        for number in range(first, first + len(numbered)):
            if number not in numbered:
                raise BadInputError(f"{path} lacks frame {number:05d}.png; write every frame")
        if first > 1:
            raise BadInputError(f"{path} begins with frame {first}; number frames from 0")
        self._files = [numbered[number] for number in sorted(numbered)]
        self.count = len(self._files)
        height, width = self._decode(self._files[0]).shape[-2:]
        self.resolution = (int(height), int(width))

    def read(self, start: int, stop: int) -> Frames:
        pictures = [self._decode(file) for file in self._files[start:stop]]
        for file, picture in zip(self._files[start:stop], pictures, strict=True):
            if tuple(picture.shape[-2:]) != self.resolution:
                raise BadInputError(
                    f"{file} is {picture.shape[-2]}x{picture.shape[-1]} and the first frame beside "
                    f"it is {self.resolution[0]}x{self.resolution[1]}; write all at one size"
                )
        return torch.stack(pictures)

    def close(self) -> None:
        """Holds nothing open."""

    @staticmethod
    def _decode(file: Path) -> torch.Tensor:
        try:
            with av.open(str(file), format="png_pipe") as container:
                frame = next(container.decode(video=0))
                return torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
        except (OSError, ValueError, StopIteration, av.FFmpegError) as error:
            raise BadInputError(f"{file} is no readable PNG; write it again") from error


class _NpzFrames:
    """Streams the array ``frames`` out of an npz: never unpickled, never whole in memory."""

    frame_rate: float | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[bytes] | None = None
        self._position = 0
        shape = self._begin()
        channels_last = len(shape) == 4 and shape[3] == 3
        if not channels_last and not (len(shape) == 4 and shape[1] == 3):
            raise BadInputError(
                f"{path}: the array {ARRAY_KEY} has shape {shape}; it is [time, height, width, 3] "
                "or [time, 3, height, width]"
            )
        self._channels_last, self._shape = channels_last, shape[1:]
        self.count = shape[0]
        self.resolution = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])

    def _begin(self) -> tuple[int, ...]:
        self.close()
        try:
            self._archive = zipfile.ZipFile(self._path)
            self._stream = self._archive.open(f"{ARRAY_KEY}.npy")
            shape, fortran, dtype = _read_header(self._stream)
        except KeyError as error:
            raise BadInputError(
                f"{self._path} has no array {ARRAY_KEY}; save it with np.savez(path, {ARRAY_KEY}=…)"
            ) from error
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise BadInputError(f"{self._path} is no readable npz; write it again") from error
        if dtype != np.uint8 or fortran:
            raise BadInputError(
                f"{self._path}: the array {ARRAY_KEY} is {dtype}{' in Fortran order' * fortran}; "
                "save uint8 0 to 255 in C order"
            )
        self._position = 0
        return shape

    def read(self, start: int, stop: int) -> Frames:
        if start < self._position or self._stream is None:
            self._begin()
        size = int(np.prod(self._shape))
        parts = []
        for number in range(self._position, stop):
            data = self._take(size)
            if number >= start:
                parts.append(np.frombuffer(data, np.uint8).reshape(self._shape))
        frames = torch.from_numpy(np.stack(parts))
        return frames.permute(0, 3, 1, 2).contiguous() if self._channels_last else frames

    def _take(self, size: int) -> bytes:
        try:
            data = self._stream.read(size) if self._stream is not None else b""
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise BadInputError(f"{self._path} is damaged; write it again") from error
        if len(data) < size:
            raise BadInputError(f"{self._path} is truncated; write it again")
        self._position += 1
        return data

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._archive.close()
            self._stream = None


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(stream, max_header_size=MAX_HEADER)
    return tuple(int(n) for n in shape), bool(fortran), dtype
