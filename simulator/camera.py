"""The camera: casts rays with ``mujoco.mj_multiRay`` and shades what they hit.

There is no OpenGL anywhere. Every sample is Lambert-shaded with a lamp that throws hard
shadows (a second cast, from the lamp) and light from everywhere; 2x2 samples make a pixel.

What stands still is cast once per view and kept, with the light it gets. A frame then casts
only at what moves, inside the image boxes of the moving geoms, and takes whichever is
nearer; likewise for shadows. That is exact: it gives the bytes of a full cast. A view that
moves has nothing to keep and is rendered by ``roaming``.
"""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from dojobench.simulator.roaming import FAR, LIFT, SKY, Roamer
from dojobench.simulator.scene import Scene
from dojobench.simulator.shell import SHELL
from dojobench.simulator.views import (
    Boxes,
    LightGrid,
    View,
    check_size,
    image_mask,
    rays,
)

Array = npt.NDArray[np.float64]
Rgb = npt.NDArray[np.float32]

_KEPT = 400_000
"""Pixels of background that are kept: one view of 480x640, or 97 of 64x64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One rendered frame.

    Attributes:
        rgb: ``[height, width, 3]`` uint8.
        depth: Metres along the optical axis, ``[height, width]`` float32, of each pixel's upper
            left sample, where asked for; ``FAR`` where nothing was hit.
        segmentation: Index into the scene's owners, ``[height, width]`` uint8, of the same
            sample, where asked for.
    """

    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32] | None = None
    segmentation: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class _Background:
    """What stands still, as one view sees it; one row per sample."""

    rays: Array
    axes: Array
    geom: npt.NDArray[np.int32]
    distance: Array
    points: Array
    lit: Rgb
    unlit: Rgb
    shadowable: npt.NDArray[np.bool_]
    cell: npt.NDArray[np.int32]


class RayCamera:
    """Renders one scene from any view.

    Args:
        scene: The scene, whose looks and lamp are used.
        supersample: Samples along each side of a pixel, 1 to 4.
        cache: Whether to keep what stands still; without, every frame casts at everything.
    """

    def __init__(self, scene: Scene, *, supersample: int = 2, cache: bool = True) -> None:
        self._scene = scene
        self._model = scene.model
        self._samples = supersample
        self._cache = cache
        self._backgrounds: dict[tuple[View, tuple[int, int]], _Background] = {}
        still = self._model.body_weldid[self._model.geom_bodyid] == 0
        self._moving = Boxes(self._model, np.flatnonzero(~still))
        self._grid = LightGrid(scene.light.position)
        self._lamp = np.array(scene.light.position)
        shell = np.array([self._model.geom(i).name in SHELL for i in range(self._model.ngeom)])
        self._roamer = Roamer(scene)
        self._standing = Boxes(self._model, np.flatnonzero(still & ~shell))
        self._still_cells: npt.NDArray[np.bool_] | None = None
        self._diffuse = np.array(scene.light.diffuse, np.float32)
        self._ambient = np.array(scene.light.ambient, np.float32)

    def render(
        self,
        data: Any,
        view: View,
        size: tuple[int, int],
        *,
        moving: bool = False,
        depth: bool = False,
        segmentation: bool = False,
    ) -> Picture:
        """Renders one frame.

        Args:
            data: MuJoCo data whose geoms are in place (after ``mj_forward``).
            view: The camera.
            size: Height and width, from 64x64 to 480x640.
            moving: Whether the view moves, so that nothing seen from it is worth keeping; the
                picture is the same but for rounding.
            depth: Whether to give depth.
            segmentation: Whether to give whom every pixel belongs to.

        Returns:
            The same bytes for the same state on the same machine.

        Raises:
            BadInputError: If the resolution is out of range.
        """
        rows, columns = (side * self._samples for side in check_size(size))
        if moving:
            return self._roam(data, view, (rows, columns), depth, segmentation)
        back = self._background(data, view, size)
        rgb = back.lit.copy()
        corners = self._moving.corners(data)
        mask = image_mask(corners, view, back.axes, rows, columns)
        index = np.flatnonzero(mask.reshape(-1))
        geom, distance, normal = self._cast(data, back.rays[index], np.array(view.eye), False)
        nearer = np.flatnonzero((geom >= 0) & (distance < back.distance[index]))
        index, geom, distance = index[nearer], geom[nearer], distance[nearer]
        points = back.rays[index] * distance[:, None] + np.array(view.eye)
        self._shade_background(data, back, corners, index, rgb)
        light, shade, facing = self._light(geom, points, normal[nearer], data)
        above = points + LIFT * normal[nearer]
        shadowed = self._shadowed(data, above, facing, False)
        facing[shadowed] = False
        light[shadowed] = shade[shadowed]
        shadowed = self._shadowed(data, above, self._by_standing(data, above, facing), True)
        light[shadowed] = shade[shadowed]
        rgb[index] = light
        out = self._pixels(rgb.T, rows, columns)
        if not (depth or segmentation):
            return Picture(rgb=out)
        all_geoms, all_distances = back.geom.copy(), back.distance.copy()
        all_geoms[index], all_distances[index] = geom, distance
        along = (back.rays @ back.axes[2]) * all_distances
        return self._layers(out, all_geoms, along, (rows, columns), depth, segmentation)

    def _roam(
        self, data: Any, view: View, shape: tuple[int, int], depth: bool, segmentation: bool
    ) -> Picture:
        """Renders a view that keeps nothing."""
        samples = self._roamer.render(data, view, *shape)
        out = self._pixels(samples.rgb, *shape)
        if not (depth or segmentation):
            return Picture(rgb=out)
        return self._layers(out, samples.geom, samples.depth, shape, depth, segmentation)

    def _layers(
        self,
        rgb: npt.NDArray[np.uint8],
        geom: npt.NDArray[np.int32],
        along: Array,
        shape: tuple[int, int],
        depth: bool,
        segmentation: bool,
    ) -> Picture:
        """Adds depth and segmentation of each pixel's upper left sample."""
        step = self._samples
        first = geom.reshape(shape)[::step, ::step]
        along[geom < 0] = FAR
        owner = np.where(first >= 0, self._scene.owner[np.maximum(first, 0)], 0)
        return Picture(
            rgb=rgb,
            depth=along.reshape(shape)[::step, ::step].astype(np.float32) if depth else None,
            segmentation=owner.astype(np.uint8) if segmentation else None,
        )

    def _pixels(self, rgb: Rgb, rows: int, columns: int) -> npt.NDArray[np.uint8]:
        """Averages the samples of every pixel; ``rgb`` is ``[3, rows * columns]``."""
        s = self._samples
        cells = rgb.reshape(3, rows // s, s, columns // s, s)
        total = cells[:, :, 0, :, 0].copy()
        for i in range(1, s * s):
            total += cells[:, :, i // s, :, i % s]
        total *= 255.0 / (s * s)
        total += 0.5
        np.clip(total, 0, 255, out=total)
        return np.ascontiguousarray(total.astype(np.uint8).transpose(1, 2, 0))

    def _cast(
        self, data: Any, directions: Array, origin: Array, still: bool
    ) -> tuple[npt.NDArray[np.int32], Array, Array]:
        """Casts unit rays from one point: geom (-1: none), distance and surface normal."""
        count = len(directions)
        geom = np.full(count, -1, np.int32)
        distance = np.full(count, FAR)
        normal = np.zeros((count, 3))
        if count:
            flat = np.ascontiguousarray(directions).reshape(-1)
            mujoco.mj_multiRay(
                self._model,
                data,
                origin,
                flat,
                None,
                still,
                -1,
                geom,
                distance,
                normal.reshape(-1),
                count,
                FAR,
            )
            distance[geom < 0] = FAR
        return geom, distance, normal

    def _light(
        self, geom: npt.NDArray[np.int32], points: Array, normal: Array, data: Any
    ) -> tuple[Rgb, Rgb, npt.NDArray[np.bool_]]:
        """Colours hit points with and without the lamp, and says which ones face it."""
        colour = self._scene.looks.colours(
            geom, points - LIFT * normal, data.geom_xpos, data.geom_xmat
        )
        glow = self._scene.looks.emission[geom][:, None]
        to_lamp = (self._lamp - points).astype(np.float32)
        to_lamp /= np.sqrt(np.einsum("ij,ij->i", to_lamp, to_lamp))[:, None]
        cosine = np.einsum("ij,ij->i", to_lamp, normal.astype(np.float32))
        facing = cosine > 0
        sky = (0.80 + 0.20 * normal[:, 2]).astype(np.float32)[:, None] * self._ambient
        unlit = colour * (glow + (1 - glow) * sky)
        lamp = np.maximum(cosine, 0)[:, None] * self._diffuse
        return unlit + colour * (1 - glow) * lamp, unlit, facing

    def _by_standing(
        self, data: Any, points: Array, ask: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Narrows points down to those that something standing still may shade.

        Table, floor and wall shade nothing above the table; whatever is below may be shaded.
        """
        if self._still_cells is None:
            self._still_cells = self._grid.mask(self._standing.corners(data))
        near = self._still_cells[self._grid.cell(points)] | (points[:, 2] < 0)
        return np.asarray(near & ask)

    def _shadowed(
        self,
        data: Any,
        points: Array,
        ask: npt.NDArray[np.bool_],
        still: bool,
    ) -> npt.NDArray[np.int64]:
        """Gives the rows, among those asked for, that the lamp does not reach.

        Args:
            data: MuJoCo data.
            points: Points lifted off their surface, so that it does not shade them itself.
            ask: Which points to ask for.
            still: Whether what stands still is in the way too.
        """
        rows = np.flatnonzero(ask)
        ways = points[rows] - self._lamp
        length = np.sqrt(np.einsum("ij,ij->i", ways, ways))
        geom, distance, _ = self._cast(data, ways / length[:, None], self._lamp, still)
        return np.asarray(rows[(geom >= 0) & (distance < length - 1e-4)])

    def _shade_background(
        self, data: Any, back: _Background, corners: Array, hidden: Any, rgb: Rgb
    ) -> None:
        """Takes the lamp away where something that moves stands before it."""
        ask = self._grid.mask(corners)[back.cell] & back.shadowable
        ask[hidden] = False
        dark = self._shadowed(data, back.points, ask, False)
        rgb[dark] = back.unlit[dark]

    def _background(self, data: Any, view: View, size: tuple[int, int]) -> _Background:
        key = (view, size)
        if key not in self._backgrounds or not self._cache:
            held = [*self._backgrounds, key]
            while len(held) > 1 and sum(rows * columns for _, (rows, columns) in held) > _KEPT:
                self._backgrounds.pop(held.pop(0), None)
            self._backgrounds[key] = self._make_background(data, view, size)
        return self._backgrounds[key]

    def _make_background(self, data: Any, view: View, size: tuple[int, int]) -> _Background:
        """Casts at what stands still; moving geoms are put aside for the cast."""
        rows, columns = (side * self._samples for side in size)
        directions = rays(view, rows, columns)
        with _OnlyStill(self._model):
            geom, distance, normal = self._cast(data, directions, np.array(view.eye), True)
            points = directions * distance[:, None] + np.array(view.eye)
            hit = np.flatnonzero(geom >= 0)
            lit = np.tile(SKY, (len(geom), 1))
            unlit = lit.copy()
            light, shade, facing = self._light(geom[hit], points[hit], normal[hit], data)
            points[hit] += LIFT * normal[hit]
            shadowed = self._shadowed(data, points[hit], facing, True)
        light[shadowed] = shade[shadowed]
        facing[shadowed] = False
        lit[hit], unlit[hit] = light, shade
        shadowable = np.zeros(len(geom), np.bool_)
        shadowable[hit] = facing
        return _Background(
            directions,
            view.axes(),
            geom,
            distance,
            points,
            lit,
            unlit,
            shadowable,
            self._grid.cell(points),
        )


class _OnlyStill:
    """Makes moving geoms invisible to rays for a while."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._moving = model.body_weldid[model.geom_bodyid] != 0

    def __enter__(self) -> None:
        self._model.geom_rgba[self._moving, 3] = 0

    def __exit__(self, *_: object) -> None:
        self._model.geom_rgba[self._moving, 3] = 1
