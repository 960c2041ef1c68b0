"""What a rendered clip must look like, in a few bytes, and how far another rendering is off.

The same seed gives the same bytes on the same machine. Another processor, or another version of
MuJoCo, may round differently; then a hash only says that something differs. A fingerprint says
by how much: four small grey pictures of the clip, compared in grey levels.
"""

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

CELLS = 8
"""Cells along each side of a small picture."""
MOMENTS = 4
"""Small pictures a clip: its first and last frame and two evenly between them."""
TOLERANCE = 1.0
"""Mean difference, in grey levels of 255, up to which pictures count as the same.

Where the states of a clip differ by the last bits of a double, most clips lie below 0.1; other
episodes of the same suite lie above 5 in their first picture alone (``docs/measurements.md``).
"""

Kind: TypeAlias = Literal["rounding", "diverged", "other"]

_LUMA = np.array([299, 587, 114], np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """How far a rendering is from the fingerprint; differences in grey levels of 255.

    Attributes:
        mean: Mean absolute difference of the cells.
        first: The same, of the clip's first frame alone.
        largest: Largest difference of a cell.
        share: Share of the cells that differ by more than 2.
        psnr: In dB, capped at 100.
    """

    mean: float
    first: float
    largest: int
    share: float
    psnr: float

    @property
    def kind(self) -> Kind:
        """What this is.

        ``rounding``: the same clip. ``diverged``: it begins as frozen, but contacts have made
        another future of a difference in the last bits; the clip is whole and its truth is its
        own, but it is not the frozen one. ``other``: it begins otherwise already.
        """
        if self.mean <= TOLERANCE:
            return "rounding"
        return "diverged" if self.first <= TOLERANCE else "other"

    def __str__(self) -> str:
        """Says it in words."""
        return (
            f"its small pictures are off by {self.mean:.2f} grey levels in the mean "
            f"({self.first:.2f} in the first) and {self.largest} at most ({self.share:.0%} of the "
            f"cells by more than 2, PSNR {self.psnr:.1f} dB)"
        )


def take_fingerprint(frames: npt.NDArray[np.uint8]) -> str:
    """Takes the fingerprint of a clip.

    Args:
        frames: uint8 RGB ``[n, 3, height, width]``, at least 8x8.

    Returns:
        256 bytes in base64.
    """
    return base64.b64encode(_cells(frames).tobytes()).decode()


def compare_fingerprint(frames: npt.NDArray[np.uint8], fingerprint: str) -> Deviation:
    """Compares a clip with a fingerprint.

    Args:
        frames: uint8 RGB ``[n, 3, height, width]``.
        fingerprint: As ``take_fingerprint`` gave it.

    Raises:
        ValueError: If it is no fingerprint.
    """
    try:
        content = base64.b64decode(fingerprint, validate=True)
    except binascii.Error as error:
        raise ValueError("no fingerprint") from error
    if len(content) != MOMENTS * CELLS**2:
        raise ValueError(f"a fingerprint has {MOMENTS * CELLS**2} bytes, not {len(content)}")
    stated = np.frombuffer(content, np.uint8).astype(np.int64)
    off = np.abs(_cells(frames).reshape(-1).astype(np.int64) - stated)
    squared = float(np.square(off).mean()) / 255**2
    return Deviation(
        mean=float(off.mean()),
        first=float(off[: CELLS**2].mean()),
        largest=int(off.max()),
        share=float((off > 2).mean()),
        psnr=-10 * math.log10(max(squared, 1e-10)),
    )


def _cells(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Averages the luminance of four frames over 8x8 cells; in whole numbers, so exactly."""
    count, _, height, width = frames.shape
    moments = [round(k * (count - 1) / (MOMENTS - 1)) for k in range(MOMENTS)]
    grey = np.einsum("nchw,c->nhw", frames[moments].astype(np.int64), _LUMA)
    rows = [height * k // CELLS for k in range(CELLS + 1)]
    columns = [width * k // CELLS for k in range(CELLS + 1)]
    total = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=1), columns[:-1], axis=2)
    area = np.outer(np.diff(rows), np.diff(columns))
    return np.asarray((total + 500 * area) // (1000 * area), np.uint8)
