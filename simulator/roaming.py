"""Renders a view that moves, so that nothing seen from it is worth keeping.

Every frame starts afresh: the room's faces by their straight edges, everything else by the
pairs of ray and solid that can meet, and shadows by the same from the lamp. Arrays are kept one
coordinate after another, for which numpy is quickest. The picture is that of a cast of every
ray at every geom, up to rounding.
"""

from typing import Any, NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from dojobench.simulator.outlines import LampSquare, Pairs, Whole, image_pairs, image_place
from dojobench.simulator.scene import Scene
from dojobench.simulator.shell import SHELL, Shell
from dojobench.simulator.solids import Poses, Solids
from dojobench.simulator.views import View, plane

Array = npt.NDArray[np.float64]
Rgb = npt.NDArray[np.float32]

LIFT = 0.0015
"""How far above a surface shadows, and below it patterns, are evaluated, metres."""
SKY = np.array([0.80, 0.86, 0.92], np.float32)
FAR = 12.0
"""How far a ray goes, metres."""
_BAND = 1 << 16
"""Samples that are rendered at once: few enough for their arrays to stay in the cache."""
_SAME = 1 + 1e-9
"""Ratio up to which two depths count as one."""
_TOUCHING = 1e-4
"""How near to a point the lamp's light must come to reach it, metres."""


class Samples(NamedTuple):
    """What the samples of an image show.

    Attributes:
        rgb: ``[3, n]`` float32.
        geom: Geom, -1 where none, ``[n]``.
        depth: Along the camera's axis, metres, ``inf`` where nothing, ``[n]``.
    """

    rgb: Rgb
    geom: npt.NDArray[np.int32]
    depth: Array


class _Moment(NamedTuple):
    """Where everything is while one image is rendered."""

    data: Any
    eye: Array
    axes: Array
    poses: Poses
    corners: Array


class _Surface(NamedTuple):
    """Samples that are shaded together: where they are, and how they look lamp apart."""

    rows: Whole
    above: Array
    cosine: Rgb
    colour: Rgb
    unlit: Rgb
    glow: Rgb


class Roamer:
    """Renders one scene from views that move.

    Args:
        scene: The scene, whose looks and lamp are used.
    """

    def __init__(self, scene: Scene) -> None:
        self._model = scene.model
        self._looks = scene.looks
        names = [scene.model.geom(i).name for i in range(scene.model.ngeom)]
        self._shell = Shell(scene.model)
        others = np.array([i for i, name in enumerate(names) if name not in SHELL], np.int64)
        self._solids = Solids(scene.model, others)
        self._lamp = np.array(scene.light.position)
        # Solids that look alike all over share a number.
        looks = [scene.looks.looks[geom] for geom in self._solids.geoms]
        plain = [look if look.texture == "plain" else k for k, look in enumerate(looks)]
        self._look_of = np.array([plain.index(look) for look in plain])
        self._solid_of = np.full(scene.model.ngeom + 1, -1)
        self._solid_of[self._solids.geoms] = np.arange(len(self._solids.geoms))
        self._square = LampSquare(self._lamp)
        self._diffuse = np.array(scene.light.diffuse, np.float32)[:, None]
        self._ambient = np.array(scene.light.ambient, np.float32)[:, None]

    def render(self, data: Any, view: View, rows: int, columns: int) -> Samples:
        """Colours every sample of an image.

        Args:
            data: MuJoCo data whose geoms are in place.
            view: The camera.
            rows: Samples down the image.
            columns: Samples across.
        """
        poses = self._solids.poses(data)
        corners = self._solids.corners(poses)
        now = _Moment(data, np.array(view.eye), view.axes(), poses, corners)
        across, down = image_place(corners, view, rows, columns)
        x, y = plane(view, rows, columns)
        step = max(1, _BAND // columns)
        bands = []
        for top in range(0, rows, step):
            part = y[top : top + step]
            pairs = image_pairs(across, down - top, len(part), columns)
            bands.append(self._band(now, x, part, pairs))
        if len(bands) == 1:
            return bands[0]
        return Samples(*(np.concatenate(parts, axis=-1) for parts in zip(*bands, strict=True)))

    def _band(self, now: _Moment, x: Array, y: Array, pairs: Pairs) -> Samples:
        """Colours some rows of samples."""
        eye, axes = now.eye[:, None], now.axes[:, :, None, None]
        shown, near, faces = self._shell.look(now.eye, now.axes, x, y)
        ways = (axes[2] + axes[1] * y[:, None] + axes[0] * x).reshape(3, -1)
        solid, ray, far = self._nearest(now, ways, pairs, near)
        geom = self._shell.geoms_of.take(shown)
        geom[ray] = self._solids.geoms.take(solid)
        shown[ray] = -1
        surfaces = []
        for number in faces:
            rows = np.flatnonzero(shown == np.int8(number))
            points = ways.take(rows, axis=1) / near.take(rows) + eye
            surfaces.append(self._face(number, rows, points))
        points = ways.take(ray, axis=1) * far + eye
        surfaces.append(self._things(now.poses, solid, ray, points))
        rgb = np.tile(SKY[:, None], len(geom))
        lit = self._lit(now, surfaces)
        for surface, cosine in zip(surfaces, lit, strict=True):
            light = (surface.colour * (1 - surface.glow)) * (cosine * self._diffuse)
            light += surface.unlit
            for channel, values in zip(rgb, light, strict=True):
                channel[surface.rows] = values
        depth = np.divide(1, near, out=np.full(len(near), np.inf), where=near > 0)
        depth[ray] = far
        return Samples(rgb, geom, depth)

    def _nearest(
        self, now: _Moment, ways: Array, pairs: Pairs, near: Array
    ) -> tuple[Whole, Whole, Array]:
        """Finds what is in front of the room: solid, sample and depth, solid by solid."""
        depth = self._solids.meet(now.poses, now.eye, ways, pairs)
        with np.errstate(invalid="ignore"):  # what misses a solid and shows the sky
            hit = np.flatnonzero(depth * near.take(pairs.ray) < 1)
        ray, depth = pairs.ray.take(hit), depth.take(hit)
        first = np.full(len(near), np.inf)
        np.minimum.at(first, ray, depth)
        close = np.flatnonzero(depth <= _SAME * first.take(ray))
        ray, depth = ray.take(close), depth.take(close)
        solid = np.repeat(np.arange(len(pairs.each)), pairs.each).take(hit.take(close))
        last, number = np.empty(len(near), np.int64), np.arange(len(ray))
        last[ray] = number
        alone = last.take(ray) == number
        if alone.all():
            return solid, ray, depth
        second = np.flatnonzero(~alone)
        best = last.take(ray.take(second))
        differ = self._look_of.take(solid.take(second)) != self._look_of.take(solid.take(best))
        if differ.any():
            tied = np.unique(best[differ])
            solid[tied] = self._settle(now, ways.take(ray.take(tied), axis=1), solid[tied])
        solid, ray, depth = solid[alone], ray[alone], depth[alone]
        order = np.argsort(solid, kind="stable")
        return solid.take(order), ray.take(order), depth.take(order)

    def _settle(self, now: _Moment, ways: Array, solid: Whole) -> Whole:
        """Lets a cast decide which of several solids shows where their faces lie in one plane.

        It is rounding that decides there, and for views that stand still it is that of the cast.
        """
        ways = np.ascontiguousarray(ways.T)
        ways /= np.sqrt(np.einsum("ij,ij->i", ways, ways))[:, None]
        geom, far = np.full(len(ways), -1, np.int32), np.zeros(len(ways))
        flat, count = ways.reshape(-1), len(ways)
        mujoco.mj_multiRay(
            self._model, now.data, now.eye, flat, None, True, -1, geom, far, None, count, FAR
        )
        found = self._solid_of.take(geom)
        return np.where(found >= 0, found, solid)

    def _face(self, number: int, rows: Whole, points: Array) -> _Surface:
        """Prepares what one face of the room shows."""
        face = self._shell.faces[number]
        points[face.axis] = face.place
        to_lamp = (self._lamp[:, None] - points).astype(np.float32)
        cosine = face.outward * to_lamp[face.axis] / np.sqrt(_squares(to_lamp))
        points[face.axis] -= LIFT * face.outward
        colour = self._looks.painted_alike(face.geom, points - face.middle[:, None])
        points[face.axis] += 2 * LIFT * face.outward
        upward = face.outward if face.axis == 2 else 0
        sky = np.float32(0.80 + 0.20 * upward) * self._ambient
        glow = self._looks.emission[face.geom]
        return _Surface(rows, points, cosine, colour, colour * (glow + (1 - glow) * sky), glow)

    def _things(self, poses: Poses, solid: Whole, rows: Whole, points: Array) -> _Surface:
        """Prepares what solids show."""
        geom = self._solids.geoms[solid]
        count = np.bincount(solid, minlength=len(self._solids.geoms))
        local, own, normal = self._solids.skin(poses, count, points)
        to_lamp = (self._lamp[:, None] - points).astype(np.float32)
        to_lamp /= np.sqrt(_squares(to_lamp))
        cosine = (to_lamp * normal.astype(np.float32)).sum(0)
        colour = self._looks.painted(geom, local - LIFT * own)
        sky = (0.80 + 0.20 * normal[2]).astype(np.float32) * self._ambient
        glow = self._looks.emission[geom]
        unlit = colour * (glow + (1 - glow) * sky)
        return _Surface(rows, points + LIFT * normal, cosine, colour, unlit, glow)

    def _lit(self, now: _Moment, surfaces: list[_Surface]) -> list[Rgb]:
        """Gives the cosine under which the lamp reaches every sample, 0 in shadow."""
        cosine = np.maximum(np.concatenate([surface.cosine for surface in surfaces]), 0)
        above = np.concatenate([surface.above for surface in surfaces], axis=1)
        ways = above - self._lamp[:, None]
        low = np.flatnonzero(above[2] < 0)
        under = self._shell.under_table(self._lamp, ways.take(low, axis=1))
        cosine[low[under]] = 0
        asked = np.flatnonzero(cosine > 0)
        above, ways = above.take(asked, axis=1), ways.take(asked, axis=1)
        pairs = self._square.pairs(now.corners, above)
        met = self._solids.meet(now.poses, self._lamp, ways, pairs)
        before = np.flatnonzero(met < 1)
        ray = pairs.ray.take(before)
        gap = (1 - met.take(before)) * np.sqrt(_squares(ways)).take(ray)
        cosine[asked.take(ray[gap > _TOUCHING])] = 0
        ends = np.cumsum([len(surface.rows) for surface in surfaces])
        return np.split(cosine, ends[:-1])


def _squares(rows: Rgb) -> Rgb:
    return np.asarray(rows[0] * rows[0] + rows[1] * rows[1] + rows[2] * rows[2])
