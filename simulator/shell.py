"""The table, the floor and the wall, met by rays in closed form.

A camera that moves sees the whole room anew in every frame, and most rays end on one of these
three boxes. In an image the edges of a flat face are straight lines, so that a few comparisons
of rows with columns tell which face each sample shows.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SHELL = ("table", "floor", "wall")


@dataclass(frozen=True, slots=True)
class Face:
    """One side of a box of the room.

    Attributes:
        geom: The geom.
        axis: The axis that it stands across: 0, 1 or 2.
        outward: 1 where it faces along that axis, -1 where against it.
        place: Where it cuts that axis, metres.
        middle: Middle of its box, metres.
        low: Smallest x, y and z of its box, metres.
        high: Largest x, y and z of its box, metres.
    """

    geom: int
    axis: int
    outward: int
    place: float
    middle: Array
    low: Array
    high: Array


class Shell:
    """The boxes of the room, upright and standing still.

    Args:
        model: The MuJoCo model; its geoms named in ``SHELL`` must be boxes along the axes.

    Attributes:
        geoms: The geoms.
        faces: All their faces.
        geoms_of: Geom of every face, and at last -1 for no face.
    """

    def __init__(self, model: Any) -> None:
        self.geoms = [int(model.geom(name).id) for name in SHELL]
        self.faces: list[Face] = []
        for geom in self.geoms:
            middle, half = model.geom_pos[geom].copy(), model.geom_size[geom].copy()
            low, high = middle - half, middle + half
            for axis, outward in itertools.product(range(3), (1, -1)):
                place = float(middle[axis] + outward * half[axis])
                self.faces.append(Face(geom, axis, outward, place, middle, low, high))
        self.geoms_of = np.array([face.geom for face in self.faces] + [-1], np.int32)
        self._table = self.faces[0]

    def look(
        self, eye: Array, axes: Array, x: Array, y: Array
    ) -> tuple[npt.NDArray[np.int8], Array, list[int]]:
        """Finds the nearest face in each sample of an image.

        Args:
            eye: Where the camera stands, outside every box.
            axes: Its unit vectors right, up and forward.
            x: Where the columns of samples cut the plane one metre ahead, metres.
            y: Where the rows do.

        Returns:
            Index into ``faces`` (-1: none) and one over the depth along the camera's axis, per
            metre (0: none), each ``[rows * columns]``; and the faces that are in the image, some
            of which may be hidden by others.
        """
        shape = (len(y), len(x))
        shown, near = np.full(shape, -1, np.int8), np.zeros(shape)
        present = []
        down, across = axes[2][:, None] + axes[1][:, None] * y, axes[0]
        for number, face in enumerate(self.faces):
            i, gap = face.axis, face.place - eye[face.axis]
            if gap * face.outward >= 0:
                continue
            # One over the depth is linear in row and column, and so is every edge.
            row, column = down[i] / gap, across[i] / gap
            limits = [(column, -row)]
            for k in (i - 1, i - 2):
                for edge, sign in ((face.low[k] - eye[k], 1), (face.high[k] - eye[k], -1)):
                    slope = sign * (across[k] - edge * column)
                    limits.append((slope, sign * (edge * row - down[k])))
            left, right = _between(limits)
            some = np.flatnonzero(np.maximum(left, x[0]) < np.minimum(right, x[-1]))
            if not some.size:
                continue
            rows = slice(int(some[0]), int(some[-1]) + 1)
            nearness = row[rows, None] + column * x
            inside = nearness > near[rows]
            inside &= x > left[rows, None]
            inside &= x < right[rows, None]
            present.append(number)
            np.copyto(shown[rows], np.int8(number), where=inside)
            np.copyto(near[rows], nearness, where=inside)
        return shown.reshape(-1), near.reshape(-1), present

    def under_table(self, lamp: Array, ways: Array) -> npt.NDArray[np.bool_]:
        """Says which points the table keeps from the lamp.

        Args:
            lamp: The lamp's place, outside the table.
            ways: From the lamp to the points, ``[3, n]``.
        """
        table = self._table
        first, last = np.zeros(ways.shape[1]), np.full(ways.shape[1], 1 - 1e-4)
        for i in range(3):
            way = np.where(np.abs(ways[i]) < 1e-12, 1e-12, ways[i])
            one, other = (table.low[i] - lamp[i]) / way, (table.high[i] - lamp[i]) / way
            np.maximum(first, np.minimum(one, other), out=first)
            np.minimum(last, np.maximum(one, other), out=last)
        return np.asarray(first < last)


def _between(limits: list[tuple[float, Array]]) -> tuple[Array, Array]:
    """Solves ``slope * x > limit`` for all pairs at once: between what and what ``x`` lies."""
    left, right = np.full(len(limits[0][1]), -np.inf), np.full(len(limits[0][1]), np.inf)
    for slope, limit in limits:
        if slope > 0:
            np.maximum(left, limit / slope, out=left)
        elif slope < 0:
            np.minimum(right, limit / slope, out=right)
        else:
            left[limit >= 0] = np.inf
    return left, right
