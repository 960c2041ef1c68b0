"""Boxes, cylinders, capsules, spheres and ellipsoids, met by rays in closed form.

MuJoCo casts each ray at every geom, one after another. Here all pairs of ray and solid that
can meet go through array arithmetic at once, which is several times quicker when most of the
picture changes from frame to frame. The results are those of ``mujoco.mj_multiRay`` up to
rounding, for rays that begin outside every solid.
"""

from typing import Any, NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from dojobench.simulator.outlines import Pairs, Whole, hulls

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_G = mujoco.mjtGeom
_KINDS = (
    (_G.mjGEOM_BOX,),
    (_G.mjGEOM_ELLIPSOID,),
    (_G.mjGEOM_CYLINDER,),
    (_G.mjGEOM_CAPSULE, _G.mjGEOM_SPHERE),
)
_AXIS = 6
"""Row of the table from which solids that are round about an axis need it."""
_TINY = 1e-300
"""Added to what may be 0 before it divides; anything else it leaves as it is."""


class Poses(NamedTuple):
    """Where solids are.

    Attributes:
        place: Their middles, ``[3, solids]``, metres.
        turn: Their own axes: ``turn[i, j]`` is part ``j`` of axis ``i``, ``[3, 3, solids]``.
    """

    place: Array
    turn: Array


class Skin(NamedTuple):
    """Points on the surface of solids.

    Attributes:
        local: The points in the solids' frames, ``[3, n]``, metres.
        own: Outward unit normals in the solids' frames, ``[3, n]``.
        normal: The same in the world frame.
    """

    local: Array
    own: Array
    normal: Array


class Solids:
    """Some geoms of a model, in an order by kind.

    Args:
        model: The MuJoCo model.
        geoms: Which geoms.

    Attributes:
        geoms: The geoms in the order of the solids.
    """

    def __init__(self, model: Any, geoms: Whole) -> None:
        of_kind = [geoms[np.isin(model.geom_type[geoms], kind)] for kind in _KINDS]
        self.geoms = np.concatenate(of_kind)
        self._ends = np.cumsum([0] + [len(some) for some in of_kind])
        size = model.geom_size[self.geoms].T.copy()
        ball = model.geom_type[self.geoms] == _G.mjGEOM_SPHERE
        # A sphere is a capsule without length.
        size[1:, ball] = 0
        self._size = size
        self._corners = hulls(model, self.geoms)

    def poses(self, data: Any) -> Poses:
        """Reads where the solids are now."""
        turn = data.geom_xmat[self.geoms].reshape(-1, 3, 3)
        return Poses(data.geom_xpos[self.geoms].T, np.ascontiguousarray(turn.transpose(2, 1, 0)))

    def corners(self, poses: Poses) -> Array:
        """Gives corners around the solids in the world frame, ``[3, corners, solids]``."""
        x, y, z = self._corners
        turned = (
            x * poses.turn[0, :, None] + y * poses.turn[1, :, None] + z * poses.turn[2, :, None]
        )
        return np.asarray(turned + poses.place[:, None])

    def meet(self, poses: Poses, origin: Array, ways: Array, pairs: Pairs) -> Array:
        """Finds how far along its ray each pair meets.

        Args:
            poses: Where the solids are.
            origin: Where all rays begin, ``[3]``, outside every solid.
            ways: Directions of the rays, of any length, ``[3, rays]``.
            pairs: What to try.

        Returns:
            Multiples of the ray's direction, above 0, ``inf`` where a pair does not meet.
        """
        out = np.full(len(pairs.ray), np.inf)
        edges = np.concatenate([[0], np.cumsum(pairs.each)])[self._ends].tolist()
        kinds = (_meet_boxes, _meet_ellipsoids, _meet_cylinders, _meet_capsules)
        table = self._table(poses, origin)
        for kind, meet in enumerate(kinds):
            low, high = edges[kind], edges[kind + 1]
            if low < high:
                own = slice(self._ends[kind], self._ends[kind + 1])
                first = 0 if kind < 2 else _AXIS
                values = np.repeat(table[first:, own], pairs.each[own], axis=1)
                meet(values, ways.take(pairs.ray[low:high], axis=1), out[low:high])
        return out

    def _table(self, poses: Poses, origin: Array) -> Array:
        """Gives what an intersection needs to know of the solids, one row a number.

        The rows: three axes, where rays begin in the solid's frame, size, where they begin from
        its middle, and how far outside that is of the ball of its radius and of the rod.
        """
        offset = origin[:, None] - poses.place
        start = (poses.turn * offset).sum(1)
        ball = (offset * offset).sum(0) - np.square(self._size[0])
        rest = [ball, ball - np.square(start[2])]
        return np.concatenate([poses.turn.reshape(9, -1), start, self._size, offset, rest])

    def skin(self, poses: Poses, count: Whole, points: Array) -> Skin:
        """Turns points on surfaces into the solids' frames and finds their normals.

        Args:
            poses: Where the solids are.
            count: Points of every solid, ``[solids]``.
            points: The points in the world frame, solid by solid, ``[3, n]``, metres.
        """
        turn = np.repeat(poses.turn.reshape(9, -1), count, axis=1).reshape(3, 3, -1)
        place, size = np.repeat(poses.place, count, axis=1), np.repeat(self._size, count, axis=1)
        x, y, z = points - place
        local = turn[:, 0] * x + turn[:, 1] * y + turn[:, 2] * z
        own = np.zeros_like(local)
        edges = np.concatenate([[0], np.cumsum(count)])[self._ends].tolist()
        normals = (_face_boxes, _face_ellipsoids, _face_cylinders, _face_capsules)
        for normal, low, high in zip(normals, edges[:-1], edges[1:], strict=True):
            if low < high:
                normal(local[:, low:high], size[:, low:high], own[:, low:high])
        return Skin(local, own, turn[0] * own[0] + turn[1] * own[1] + turn[2] * own[2])


def _meet_boxes(values: Array, ways: Array, out: Array) -> None:
    x, y, z = ways
    first, last = np.full(len(x), -np.inf), np.full(len(x), np.inf)
    for i in range(3):
        way = values[3 * i] * x
        way += values[3 * i + 1] * y
        way += values[3 * i + 2] * z
        way += _TINY
        np.divide(1.0, way, out=way)
        middle = values[9 + i] * way
        half = np.abs(way, out=way)
        half *= values[12 + i]
        np.minimum(last, half - middle, out=last)
        half += middle
        np.maximum(first, np.negative(half, out=half), out=first)
    np.copyto(out, first, where=(first < last) & (first > 0))


def _meet_ellipsoids(values: Array, ways: Array, out: Array) -> None:
    turn = values[:9].reshape(3, 3, -1)
    way = (turn[:, 0] * ways[0] + turn[:, 1] * ways[1] + turn[:, 2] * ways[2]) / values[12:15]
    start = values[9:12] / values[12:15]
    a, b = _dot(way, way), _dot(way, start)
    root = b * b - a * (_dot(start, start) - 1)
    far = -(b + np.sqrt(np.maximum(root, 0))) / a
    np.copyto(out, far, where=(root >= 0) & (far > 0))


class _Rod(NamedTuple):
    """How rays meet the cylinder without ends about a solid's axis.

    Attributes:
        far: Multiple of the way at which it is met.
        met: Whether it is met.
        beyond: Whether that is beyond an end of the solid.
        end: Which end is nearer to it, along the axis, metres.
        along: The way's part along the axis.
        start: Dot product of the way with where it begins from the solid's middle.
        square: Squared length of the way.
        slope: Squared length of its part across the axis.
        middle: Like ``start``, across the axis.
        root: Root of the discriminant.
    """

    far: Array
    met: Bools
    beyond: Bools
    end: Array
    along: Array
    start: Array
    square: Array
    slope: Array
    middle: Array
    root: Array


def _meet_rod(values: Array, ways: Array) -> _Rod:
    """Meets such cylinders; ``values`` are the table's rows from ``_AXIS`` on."""
    z, b0, dd = _dot(values[:3], ways), _dot(values[9:12], ways), _dot(ways, ways)
    start, half, rest = values[5], values[7], values[13]
    a = np.maximum(dd - z * z, 1e-12)
    b = b0 - start * z
    square = b * b - a * rest
    root = np.sqrt(np.maximum(square, 0))
    far = -(b + root) / a
    height = start + far * z
    beyond, end = np.abs(height) > half, np.copysign(half, height)
    return _Rod(far, square >= 0, beyond, end, z, b0, dd, a, b, root)


def _meet_cylinders(values: Array, ways: Array, out: Array) -> None:
    rod = _meet_rod(values, ways)
    cap = (rod.end - values[5]) / (rod.along + _TINY)
    within = np.abs(rod.middle + rod.slope * cap) <= rod.root
    _close(rod, cap, within, out)


def _meet_capsules(values: Array, ways: Array, out: Array) -> None:
    rod = _meet_rod(values, ways)
    b = rod.start - rod.end * rod.along
    root = b * b - rod.square * (values[12] + rod.end * (rod.end - 2 * values[5]))
    cap = -(b + np.sqrt(np.maximum(root, 0))) / rod.square
    _close(rod, cap, root >= 0, out)


def _close(rod: _Rod, cap: Array, within: Bools, out: Array) -> None:
    """Closes a rod with what lies beyond its ends, where a ray meets that."""
    np.copyto(rod.far, cap, where=rod.beyond)
    np.copyto(out, rod.far, where=rod.met & (~rod.beyond | within) & (rod.far > 0))


def _face_boxes(local: Array, size: Array, out: Array) -> None:
    outside = np.abs(local) - size
    most = np.maximum(np.maximum(outside[0], outside[1]), outside[2])
    free = np.ones(len(most), np.bool_)
    for i in range(3):
        rows = free & (outside[i] == most)
        np.copyto(out[i], np.sign(local[i]), where=rows)
        free &= ~rows


def _face_ellipsoids(local: Array, size: Array, out: Array) -> None:
    np.divide(local, np.square(size), out=out)
    out /= np.sqrt(_dot(out, out))


def _face_cylinders(local: Array, size: Array, out: Array) -> None:
    np.divide(local, size[0], out=out)
    out[2] = 0
    cap = np.abs(local[2]) - size[1] > np.sqrt(_dot(local[:2], local[:2])) - size[0]
    out[:2] *= ~cap
    np.copyto(out[2], np.sign(local[2]), where=cap)


def _face_capsules(local: Array, size: Array, out: Array) -> None:
    out[:] = local
    out[2] -= np.clip(local[2], -size[1], size[1])
    out /= size[0]


def _dot(one: Array, two: Array) -> Array:
    out = one[0] * two[0]
    for a, b in zip(one[1:], two[1:], strict=True):
        out += a * b
    return np.asarray(out)
