"""Which rays can meet which solids: outlines in a plane, row by row.

A camera's image and the plane that the lamp shines on both see a solid as a convex outline. Each
row of the plane cuts an outline in one stretch of cells; what lies in the stretches of all
solids are the pairs of ray and solid that are worth an intersection.
"""

import math
from typing import Any, NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from dojobench.simulator.views import View

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_SLOPES = np.tan(np.radians([-65, -40, -20, 0, 20, 40, 65]))
_NEAREST = 0.01
_SLACK = 1e-3
"""Share of a cell by which outlines are drawn larger, against rounding."""


class Pairs(NamedTuple):
    """Rays and the solids that they may meet, solid by solid.

    Attributes:
        ray: Index of a ray, ``[n]``.
        each: Number of pairs of every solid, ``[solids]``; adds up to ``n``.
    """

    ray: Whole
    each: Whole


def hulls(model: Any, geoms: Whole) -> Array:
    """Gives corners of a body around each geom: of its box, or of a prism with eight sides.

    Returns:
        In the geoms' frames, ``[3, 16, geoms]``, metres; a box has every corner twice.
    """
    turn = np.arange(8) * math.pi / 4 + math.pi / 8
    ring = np.stack([np.cos(turn), np.sin(turn)])
    square = model.geom_type[geoms] == mujoco.mjtGeom.mjGEOM_BOX
    flat = np.where(square, np.sign(ring)[:, :, None], (ring / ring.max())[:, :, None])
    middle, half = model.geom_aabb[geoms, :3].T, model.geom_aabb[geoms, 3:].T
    corners = np.ones((3, 16, len(geoms)))
    corners[:2, :8] = corners[:2, 8:] = flat
    corners[2, 8:] = -1
    return np.asarray(middle[:, None] + corners * half[:, None])


def stretches(
    across: Array, down: Array, rows: int, columns: int, spread: float
) -> tuple[Whole, Whole]:
    """Cuts the outlines of solids into rows of cells.

    An outline is bounded by lines of a few slopes, so that it holds the convex hull.

    Args:
        across: Where a solid's points lie across the plane, ``[points, solids]``; column ``c``
            reaches from ``c`` to ``c + 1``.
        down: Where they lie down the plane, likewise.
        rows: Rows of the plane.
        columns: Columns of the plane.
        spread: 0 to find the cells whose middle is in an outline, 1 to find those of which any
            part is.

    Returns:
        First column, and one past the last, of every solid in every row, ``[solids, rows]``;
        the same where there is none.
    """
    middle = np.arange(rows) + 0.5
    along = across[:, None] + _SLOPES[:, None] * down[:, None]
    grow = (0.5 * spread * (1 + np.abs(_SLOPES)) + _SLACK)[:, None]
    rest = (_SLOPES[:, None] * middle)[:, None]
    left = ((along.min(0) - grow)[:, :, None] - rest).max(0)
    right = ((along.max(0) + grow)[:, :, None] - rest).min(0)
    first = np.clip(np.ceil(left - 0.5), 0, columns).astype(np.int64)
    last = np.clip(np.floor(right + 0.5), 0, columns).astype(np.int64)
    grow_down = 0.5 * spread + _SLACK
    above = middle < (down.min(0) - grow_down)[:, None]
    below = middle > (down.max(0) + grow_down)[:, None]
    np.copyto(last, 0, where=above | below)
    return first, np.maximum(first, last)


def spread_out(start: Whole, length: Whole) -> Pairs:
    """Lists what stretches hold.

    Args:
        start: First ray of every stretch, ``[solids, stretches]``.
        length: Rays of every stretch, likewise.
    """
    count = length.sum(1)
    some = np.flatnonzero(length)
    start, length = start.reshape(-1)[some], length.reshape(-1)[some]
    before = np.cumsum(length) - length
    return Pairs(np.arange(int(count.sum())) + np.repeat(start - before, length), count)


def image_place(points: Array, view: View, rows: int, columns: int) -> tuple[Array, Array]:
    """Projects points into an image.

    Args:
        points: Corners around the solids in the world frame, ``[3, points, solids]``, metres.
        view: The camera.
        rows: Samples down the image.
        columns: Samples across.

    Returns:
        Column and row, ``[points, solids]``; a sample's middle is half a column and row from its
        border. ``nan`` for a solid that reaches behind the camera.
    """
    offset = points.reshape(3, -1) - np.array(view.eye)[:, None]
    right, up, depth = (view.axes() @ offset).reshape(points.shape)
    scale = rows / (2 * math.tan(math.radians(view.fov) / 2) * np.maximum(depth, _NEAREST))
    across, down = columns / 2 + right * scale, rows / 2 - up * scale
    across[:, depth.min(0) < _NEAREST] = np.nan
    return across, down


def image_pairs(across: Array, down: Array, rows: int, columns: int) -> Pairs:
    """Pairs an image's samples with the solids in whose outline they lie.

    Args:
        across: As ``image_place`` gives it.
        down: Likewise.
        rows: Samples down the image.
        columns: Samples across.
    """
    behind = np.isnan(across[0])
    first, last = stretches(np.where(behind, 0, across), down, rows, columns, spread=0)
    first[behind], last[behind] = 0, columns
    return spread_out(first + np.arange(rows) * columns, last - first)


class LampSquare:
    """A square on the table's plane, as the lamp shines through things onto it.

    Args:
        lamp: The lamp's place, metres.
    """

    CELLS = 96
    REACH = 0.8
    """Half the side of the square about the table's middle, metres."""

    def __init__(self, lamp: Array) -> None:
        self._lamp = lamp.tolist()

    def _project(self, points: Array) -> tuple[Array, Array]:
        """Follows the light through points: column and row of the square, in cells."""
        x, y, z = self._lamp
        scale = z / np.maximum(z - points[2], 0.05)
        k = self.CELLS / (2 * self.REACH)
        u = ((points[0] - x) * scale + (x + self.REACH)) * k
        v = ((points[1] - y) * scale + (y + self.REACH)) * k
        return u, v

    def pairs(self, corners: Array, points: Array) -> Pairs:
        """Pairs points below the lamp with the solids that may keep its light from them.

        Points are sorted into the cells of the square; all that the light carries outside of it
        share one more cell.

        Args:
            corners: Corners around the solids, ``[3, corners, solids]``, metres.
            points: The points, ``[3, n]``, metres.
        """
        side, cells = self.CELLS, self.CELLS**2
        u, v = self._project(points)
        outside = np.minimum(u, v) < 0
        outside |= np.maximum(u, v) >= side
        cell = np.floor(v) * side + np.floor(u)
        np.copyto(cell, cells, where=outside)
        cell = cell.astype(np.uint16)
        order = np.argsort(cell, kind="stable")
        begin = np.zeros(cells + 2, np.int64)
        np.cumsum(np.bincount(cell, minlength=cells + 1), out=begin[1:])
        u, v = self._project(corners)
        first, last = stretches(u, v, side, side, spread=1)
        base = np.arange(side) * side
        start = begin.take(base + first)
        length = begin.take(base + last) - start
        beyond = (np.minimum(u, v).min(0) < 0) | (np.maximum(u, v).max(0) > side)
        start = np.column_stack([start, np.full(len(start), begin[-2])])
        length = np.column_stack([length, beyond * (begin[-1] - begin[-2])])
        pairs = spread_out(start, length)
        return Pairs(order.take(pairs.ray), pairs.each)
