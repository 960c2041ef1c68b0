"""Procedural surface patterns, evaluated where a ray hits, in the frame of the geom it hit.

Patterns are functions of a point in space, so that they need no texture coordinates and stay
fixed to a body that moves. All are evaluated on arrays of points in single precision.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a surface looks.

    Attributes:
        rgb: Main colour, each channel in [0, 1].
        rgb2: Second colour of the pattern.
        texture: Name in ``TEXTURES``.
        scale: Size of one period of the pattern in metres.
        emission: Share of the colour that needs no light, in [0, 1]; markers use 1.
    """

    rgb: tuple[float, float, float]
    rgb2: tuple[float, float, float] = (0.0, 0.0, 0.0)
    texture: str = "plain"
    scale: float = 0.04
    emission: float = 0.0


def _part(x: Array) -> Array:
    """Gives what is above the next lower whole number; to the bit ``np.mod(x, 1)``, but quick."""
    return np.asarray(x - np.floor(x))


def _checker(p: Array) -> Array:
    cells = np.floor(p + np.float32(0.21)).sum(axis=1)
    return np.asarray(_part(0.5 * cells) > 0.25, np.float32)


def _stripes(p: Array) -> Array:
    return np.asarray(_part(p[:, 0] + 0.7 * p[:, 2] + np.float32(0.29)) < 0.5, np.float32)


def _noise(p: Array) -> Array:
    """Sums three plane waves bent by a fourth: soft blotches without a lattice."""
    x, y, z = p[:, 0], p[:, 1], p[:, 2]
    bend = np.sin(1.7 * x - 2.3 * y + 1.9 * z)
    wave = np.sin(3.1 * x + 1.3 * y + bend) + np.sin(2.7 * y - 1.9 * z + 1.3 * bend)
    return np.asarray(
        np.clip(0.5 + 0.33 * wave + 0.2 * np.sin(5.3 * z + 4.1 * x), 0, 1), np.float32
    )


def _wood(p: Array) -> Array:
    """Boards along x, each with its own grain."""
    board = np.floor(p[:, 1])
    x = 0.6 * p[:, 0] + 2.7 * board
    grain = np.sin(18.85 * p[:, 1] + 1.3 * np.sin(x) + 0.5 * np.sin(3.7 * x))
    tone = 0.3 * np.sin(12.9898 * board)
    seam = np.abs(_part(p[:, 1]) - 0.5) > 0.47
    return np.asarray(np.clip(0.45 + 0.16 * grain + tone + 0.7 * seam, 0, 1), np.float32)


def _dots(p: Array) -> Array:
    q = _part(p + np.float32(0.33)) - np.float32(0.5)
    return np.asarray(np.einsum("ij,ij->i", q, q) < 0.15, np.float32)


def _waves(p: Array) -> Array:
    phase = 6.283 * (p[:, 1] + 0.3 * np.sin(3.1 * p[:, 0])) + p[:, 2]
    return np.asarray(np.sin(phase) > 0, np.float32)


TEXTURES: Mapping[str, Callable[[Array], Array] | None] = {
    "plain": None,
    "checker": _checker,
    "stripes": _stripes,
    "noise": _noise,
    "wood": _wood,
    "dots": _dots,
    "waves": _waves,
}


class LookTable:
    """The looks of all geoms of a model, as arrays indexed by geom.

    Args:
        looks: One look per geom, in the model's order.
    """

    def __init__(self, looks: Iterable[Look]) -> None:
        self.looks = tuple(looks)
        self.rgb = np.array([look.rgb for look in self.looks], np.float32)
        self.emission = np.array([look.emission for look in self.looks], np.float32)
        self._rgb2 = np.array([look.rgb2 for look in self.looks], np.float32)
        self._scale = np.array([look.scale for look in self.looks], np.float32)
        names = list(TEXTURES)
        self._code = np.array([names.index(look.texture) for look in self.looks])
        self._patterns = [
            (code, pattern)
            for code, name in enumerate(names)
            if (pattern := TEXTURES[name]) is not None and (self._code == code).any()
        ]

    def colours(
        self,
        geom: npt.NDArray[np.int32],
        points: npt.NDArray[np.float64],
        xpos: npt.NDArray[np.float64],
        xmat: npt.NDArray[np.float64],
    ) -> Array:
        """Evaluates the surface colour of hit points.

        Args:
            geom: Geom of every point, ``[n]``.
            points: Points just below the surface in the world frame, ``[n, 3]``, metres. Below,
                because on a face a pattern's cell border would be decided by rounding.
            xpos: Geom positions, ``[ngeom, 3]``.
            xmat: Geom orientations, ``[ngeom, 9]``.

        Returns:
            RGB in [0, 1], ``[n, 3]``.
        """
        out = self.rgb[geom]
        code = self._code[geom]
        for pattern_code, pattern in self._patterns:
            rows = np.flatnonzero(code == pattern_code)
            if not rows.size:
                continue
            hit = geom[rows]
            local = np.einsum("nji,nj->ni", xmat.reshape(-1, 3, 3)[hit], points[rows] - xpos[hit])
            mix = pattern((local / self._scale[hit, None]).astype(np.float32))[:, None]
            out[rows] += mix * (self._rgb2[hit] - out[rows])
        return out

    def painted(self, geom: npt.NDArray[np.int64], local: npt.NDArray[np.float64]) -> Array:
        """Evaluates the surface colour of points in the frames of their geoms.

        Args:
            geom: Geom of every point, ``[n]``.
            local: Points just below the surface, ``[3, n]``, metres.

        Returns:
            RGB in [0, 1], ``[3, n]``.
        """
        out = self.rgb.T.take(geom, axis=1)
        code = self._code.take(geom)
        for pattern_code, pattern in self._patterns:
            rows = np.flatnonzero(code == pattern_code)
            if rows.size:
                hit = geom.take(rows)
                scaled = local.take(rows, axis=1) / self._scale.take(hit)
                mix = pattern(scaled.astype(np.float32).T)
                for channel, other in zip(out, self._rgb2.T, strict=True):
                    main = channel.take(rows)
                    channel[rows] = main + mix * (other.take(hit) - main)
        return out

    def painted_alike(self, geom: int, local: npt.NDArray[np.float64]) -> Array:
        """Evaluates the surface colour of points that all lie on one geom.

        Args:
            geom: The geom.
            local: As for ``painted``.

        Returns:
            RGB in [0, 1], ``[3, n]``; ``[3, 1]`` where the geom has no pattern.
        """
        rgb = self.rgb[geom][:, None]
        for code, pattern in self._patterns:
            if code == self._code[geom]:
                mix = pattern((local / self._scale[geom]).astype(np.float32).T)
                return np.asarray(rgb + mix * (self._rgb2[geom][:, None] - rgb))
        return np.asarray(rgb)
