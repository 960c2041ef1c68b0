"""Where a camera stands, its rays, and which rays a moving thing can be in the way of."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dojobench.protocol.errors import BadInputError

Array = npt.NDArray[np.float64]

SMALLEST, LARGEST = (64, 64), (480, 640)
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


@dataclass(frozen=True, slots=True)
class View:
    """A camera's place.

    Attributes:
        eye: Metres, world frame.
        gaze: Point that it looks at; up is as near to +z as that allows.
        fov: Vertical field of view, degrees.
    """

    eye: tuple[float, float, float]
    gaze: tuple[float, float, float]
    fov: float

    def axes(self) -> Array:
        """Gives the unit vectors right, up and forward as rows of a 3x3 array."""
        forward = np.subtract(self.gaze, self.eye)
        forward = forward / np.linalg.norm(forward)
        right = np.array([forward[1], -forward[0], 0.0])
        right = right / np.linalg.norm(right)
        (a, b, c), (d, e, f) = right.tolist(), forward.tolist()
        return np.array([right, [b * f - c * e, c * d - a * f, a * e - b * d], forward])


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Refuses a resolution that the camera does not offer.

    Args:
        size: Height and width in pixels.

    Raises:
        BadInputError: If it is not between 64x64 and 480x640.
    """
    height, width = size
    if not (SMALLEST[0] <= height <= LARGEST[0] and SMALLEST[1] <= width <= LARGEST[1]):
        raise BadInputError(
            f"The camera's resolution is {height}x{width} (height x width) but must lie between "
            f"{SMALLEST[0]}x{SMALLEST[1]} and {LARGEST[0]}x{LARGEST[1]}."
        )
    return size


def plane(view: View, rows: int, columns: int) -> tuple[Array, Array]:
    """Gives where columns and rows of samples cut the plane one metre ahead of a camera.

    Returns:
        Metres to the right of its middle ``[columns]`` and above it ``[rows]``.
    """
    half = math.tan(math.radians(view.fov) / 2)
    x = ((np.arange(columns) + 0.5) * 2 - columns) / rows * half
    y = (rows - (np.arange(rows) + 0.5) * 2) / rows * half
    return x, y


def rays(view: View, rows: int, columns: int) -> Array:
    """Gives one unit ray per sample, row by row from the top left.

    Args:
        view: The camera.
        rows: Samples down the image.
        columns: Samples across.

    Returns:
        ``[rows * columns, 3]``, world frame.
    """
    x, y = plane(view, rows, columns)
    right, up, forward = view.axes()
    out = forward + y[:, None, None] * up + x[None, :, None] * right
    out /= np.sqrt(np.einsum("ijk,ijk->ij", out, out))[:, :, None]
    return np.ascontiguousarray(out.reshape(-1, 3))


class Boxes:
    """Boxes that hold some geoms; a long geom gets several along its length.

    Args:
        model: The MuJoCo model.
        geoms: Which geoms.
    """

    def __init__(self, model: Any, geoms: npt.NDArray[np.int64]) -> None:
        owners: list[int] = []
        corners: list[Array] = []
        for geom in geoms.tolist():
            middle, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
            axis = int(half.argmax())
            count = int(np.clip(round(half[axis] / max(np.median(half), 1e-3)), 1, 6))
            piece = half.copy()
            piece[axis] /= count
            for k in range(count):
                at = middle.copy()
                at[axis] += half[axis] * ((2 * k + 1) / count - 1)
                owners.append(geom)
                corners.append(at + _CORNERS * piece)
        self._geom = np.array(owners, np.int64)
        self._local = np.array(corners).reshape(-1, 8, 3)

    def corners(self, data: Any) -> Array:
        """Gives the boxes' corners in the world frame, ``[n, 8, 3]``."""
        turn = data.geom_xmat[self._geom].reshape(-1, 3, 3).transpose(0, 2, 1)
        return np.asarray(self._local @ turn + data.geom_xpos[self._geom][:, None, :])


def image_mask(
    corners: Array, view: View, axes: Array, rows: int, columns: int
) -> npt.NDArray[np.bool_]:
    """Marks the samples whose ray may hit a geom: a superset, because a box holds its geom.

    Returns:
        ``[rows, columns]``.
    """
    mask = np.zeros((rows, columns), np.bool_)
    seen = (corners - np.array(view.eye)) @ axes.T
    depth = seen[:, :, 2]
    half = math.tan(math.radians(view.fov) / 2)
    safe = np.maximum(depth, 1e-6)
    column = (seen[:, :, 0] / safe / half * rows + columns) / 2
    row = (rows - seen[:, :, 1] / safe / half * rows) / 2
    for behind, r0, r1, c0, c1 in zip(
        (depth.min(1) < 0.01).tolist(),
        *(np.clip(row.min(1) - 1, 0, rows).astype(int).tolist(),),
        *(np.clip(row.max(1) + 2, 0, rows).astype(int).tolist(),),
        *(np.clip(column.min(1) - 1, 0, columns).astype(int).tolist(),),
        *(np.clip(column.max(1) + 2, 0, columns).astype(int).tolist(),),
        strict=True,
    ):
        if behind:
            mask[:] = True
            return mask
        mask[r0:r1, c0:c1] = True
    return mask


class LightGrid:
    """A map of the directions from the lamp, to find the points that a geom may shade.

    Directions are projected onto a horizontal plane below the lamp and sorted into cells;
    points level with the lamp or above it count as never shaded.

    Args:
        position: The lamp's place, metres.
        cells: Cells along each side.
    """

    EXTENT = 2.0

    def __init__(self, position: tuple[float, float, float], cells: int = 192) -> None:
        self._position = np.array(position)
        self._cells = cells

    def _project(self, points: Array) -> tuple[Array, Array]:
        drop = np.maximum(self._position[2] - points[..., 2], 0.05)
        scale = self._position[2] / drop
        u = (points[..., 0] - self._position[0]) * scale + self._position[0]
        v = (points[..., 1] - self._position[1]) * scale + self._position[1]
        k = self._cells / (2 * self.EXTENT)
        return (u + self.EXTENT) * k, (v + self.EXTENT) * k

    def cell(self, points: Array) -> npt.NDArray[np.int32]:
        """Gives the cell of every point; the last cell stands for all that lie outside."""
        u, v = self._project(points)
        inside = (u >= 0) & (u < self._cells) & (v >= 0) & (v < self._cells)
        column, row = np.where(inside, u, 0).astype(np.int32), np.where(inside, v, 0)
        index = row.astype(np.int32) * self._cells + column
        return np.where(inside, index, self._cells**2).astype(np.int32)

    def mask(self, corners: Array) -> npt.NDArray[np.bool_]:
        """Marks the cells in which a point may lie in the shadow of a geom.

        Args:
            corners: Corners of the geoms' boxes, ``[n, 8, 3]``.

        Returns:
            ``[cells**2 + 1]``, to be indexed with what ``cell`` gives.
        """
        grid = np.zeros((self._cells, self._cells), np.bool_)
        outside = False
        u, v = self._project(corners)
        low_u, high_u = np.floor(u.min(1)).astype(int), np.floor(u.max(1)).astype(int)
        low_v, high_v = np.floor(v.min(1)).astype(int), np.floor(v.max(1)).astype(int)
        bounds = (low_u.tolist(), high_u.tolist(), low_v.tolist(), high_v.tolist())
        for u0, u1, v0, v1 in zip(*bounds, strict=True):
            grid[max(v0, 0) : max(v1 + 1, 0), max(u0, 0) : max(u1 + 1, 0)] = True
            outside |= u0 < 0 or v0 < 0 or u1 >= self._cells or v1 >= self._cells
        return np.append(grid.reshape(-1), outside)
