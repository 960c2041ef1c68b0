"""Finds pictures that are nearly the same: re-encoded, resized or brightened copies.

A 64-bit perceptual hash proposes pairs (signs of the low frequencies of a discrete cosine
transform of the luminance, as pHash does: Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010), and the correlation of small colour pictures confirms
them. Both forget the brightness and the contrast of a picture; values at the ends of the scale,
where brightening cuts off, are left out of the correlation. Pictures without contrast are left
out as a whole, because they all look alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

_LUMA = torch.tensor([0.299, 0.587, 0.114])
_HASHED = 32
_SMALL = 16
_BLOCK = 2048
_PAIRS = 8192
_DARKEST, _BRIGHTEST = 6.0, 249.0
_MOST_CUT = 0.05
_LEAST_USABLE = 0.15

Words = npt.NDArray[np.uint64]
Pictures = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """When two pictures count as the same.

    Attributes:
        bits: Greatest Hamming distance of their hashes, of 64.
        distance: Greatest distance ``sqrt(2 - 2 r)``, with ``r`` the correlation of their small
            pictures; that is the root mean square difference of pictures brought to mean 0 and
            standard deviation 1. Unrelated pictures lie at about 1.4, and 0 is the same.
        contrast: Least standard deviation of the luminance, in grey levels of 255; pictures below
            it are ignored.
    """

    bits: int = 12
    distance: float = 0.15
    contrast: float = 4.0


@dataclass(frozen=True, slots=True)
class Prints:
    """What is kept of pictures to find them again.

    Attributes:
        words: 64-bit hashes, ``[n]``.
        small: Small pictures in grey levels, float32 ``[n, 768]``.
        whole: Which of their values were averaged from pixels within the scale, ``[n, 768]``.
        usable: Whether a picture has contrast, ``[n]``.
    """

    words: Words
    small: Pictures
    whole: npt.NDArray[np.bool_]
    usable: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, slots=True)
class Match:
    """Two pictures that are nearly the same.

    Attributes:
        first: Index into the first set.
        second: Index into the second set.
        bits: Hamming distance of their hashes.
        distance: As in ``Likeness``.
    """

    first: int
    second: int
    bits: int
    distance: float


def take_prints(frames: torch.Tensor, likeness: Likeness | None = None) -> Prints:
    """Takes the prints of pictures.

    Args:
        frames: uint8 RGB, ``[n, 3, height, width]``.
        likeness: Whose ``contrast`` decides which pictures are usable.
    """
    likeness = likeness or Likeness()
    count = len(frames)
    if not count:
        empty = np.zeros(0, np.uint64)
        none = np.zeros((0, 3 * _SMALL**2), np.float32)
        return Prints(empty, none, none.astype(np.bool_), empty.astype(np.bool_))
    colour = frames.float()
    luma = torch.einsum("nchw,c->nhw", colour, _LUMA)[:, None]
    grey = interpolate(luma, (_HASHED, _HASHED), mode="bilinear", antialias=True)[:, 0].numpy()
    small = interpolate(colour, (_SMALL, _SMALL), mode="bilinear", antialias=True)
    cut = ((colour < _DARKEST) | (colour > _BRIGHTEST)).float()
    share = interpolate(cut, (_SMALL, _SMALL), mode="bilinear", antialias=True)
    return Prints(
        _hash(grey),
        small.reshape(count, -1).numpy(),
        (share < _MOST_CUT).reshape(count, -1).numpy(),
        grey.std(axis=(1, 2)) >= likeness.contrast,
    )


def join_prints(parts: Iterable[Prints]) -> Prints:
    """Puts prints behind one another."""
    listed = list(parts)
    if not listed:
        return take_prints(torch.zeros(0, 3, 1, 1, dtype=torch.uint8))
    return Prints(
        np.concatenate([part.words for part in listed]),
        np.concatenate([part.small for part in listed]),
        np.concatenate([part.whole for part in listed]),
        np.concatenate([part.usable for part in listed]),
    )


def find_matches(first: Prints, second: Prints, likeness: Likeness | None = None) -> list[Match]:
    """Finds, for every picture of the first set, the most similar one of the second.

    Args:
        first: The pictures that are looked for.
        second: The pictures that are searched.
        likeness: When two count as the same.

    Returns:
        At most one match for a picture of the first set, in its order; of several equally near
        ones the first.
    """
    likeness = likeness or Likeness()
    best: dict[int, Match] = {}
    columns = np.flatnonzero(second.usable)
    rows = np.flatnonzero(first.usable)
    for start in range(0, len(columns), _BLOCK):
        block = columns[start : start + _BLOCK]
        for low in range(0, len(rows), _BLOCK):
            part = rows[low : low + _BLOCK]
            differing = np.bitwise_count(first.words[part][:, None] ^ second.words[block][None])
            near = np.argwhere(differing <= likeness.bits)
            _keep_nearest(best, first, second, likeness, part[near[:, 0]], block[near[:, 1]])
    return [best[index] for index in sorted(best)]


def _keep_nearest(
    best: dict[int, Match],
    first: Prints,
    second: Prints,
    likeness: Likeness,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
) -> None:
    """Confirms candidates by their small pictures and keeps each row's nearest."""
    for start in range(0, len(rows), _PAIRS):
        row, column = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
        whole = first.whole[row] & second.whole[column]
        distance = _distances(first.small[row], second.small[column], whole)
        for at in np.flatnonzero(distance <= likeness.distance):
            index = int(row[at])
            if index in best and best[index].distance <= distance[at]:
                continue
            bits = int(np.bitwise_count(first.words[index] ^ second.words[column[at]]))
            best[index] = Match(index, int(column[at]), bits, float(distance[at]))


def _distances(a: Pictures, b: Pictures, whole: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Compares small pictures pair by pair, ``[n, 768]`` each; see ``Likeness.distance``."""
    kept = whole.copy()
    kept[kept.mean(1) < _LEAST_USABLE] = True
    count = kept.sum(1, keepdims=True)
    x = np.where(kept, a - np.sum(a, axis=1, keepdims=True, where=kept) / count, 0.0)
    y = np.where(kept, b - np.sum(b, axis=1, keepdims=True, where=kept) / count, 0.0)
    spread = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
    correlation = np.einsum("ij,ij->i", x, y) / np.maximum(spread, 1e-6)
    return np.asarray(np.sqrt(np.maximum(2 - 2 * correlation, 0.0)), np.float64)


def _hash(grey: npt.NDArray[np.float32]) -> Words:
    """Signs of 64 low frequencies against their median, the mean brightness left out."""
    n = np.arange(_HASHED)
    basis = np.cos(np.pi * (n[None] + 0.5) * np.arange(1, 9)[:, None] / _HASHED)
    low = np.einsum("ui,nij,vj->nuv", basis, grey.astype(np.float64), basis, optimize=True)
    flat = low.reshape(len(grey), 64)
    signs = flat > np.median(flat, axis=1, keepdims=True)
    weights = np.uint64(1) << np.arange(64, dtype=np.uint64)
    return np.asarray(np.where(signs, weights, np.uint64(0)).sum(axis=1, dtype=np.uint64))
