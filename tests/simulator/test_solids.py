"""What meets rays in closed form, held to MuJoCo's cast of every ray at every geom."""

import mujoco
import numpy as np
import pytest

from dojobench.simulator.camera import FAR, RayCamera
from dojobench.simulator.outlines import LampSquare, Pairs, image_pairs, image_place
from dojobench.simulator.policies import Performer
from dojobench.simulator.seeding import stream
from dojobench.simulator.shell import Shell
from dojobench.simulator.solids import Solids
from dojobench.simulator.views import View, plane, rays
from dojobench.simulator.world import Dojo

KINDS = ("box", "sphere", "capsule", "cylinder", "ellipsoid")


def model_of(geoms: list[str]) -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody>{''.join(geoms)}</worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def scattered(seed: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Solids of every kind, turned at random and partly in one another."""
    rng = np.random.default_rng(seed)
    geoms = []
    for index in range(25):
        size = " ".join(map(str, rng.uniform(0.03, 0.25, 3)))
        place = " ".join(map(str, rng.uniform(-0.6, 0.6, 3)))
        turn = " ".join(map(str, rng.normal(0, 1, 4)))
        kind = KINDS[index % len(KINDS)]
        geoms.append(f'<geom type="{kind}" size="{size}" pos="{place}" quat="{turn}"/>')
    return model_of(geoms)


def cast(
    model: mujoco.MjModel, data: mujoco.MjData, origin: np.ndarray, ways: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MuJoCo's answer: geom, multiple of the way, normal ``[n, 3]``."""
    n, length = len(ways), np.linalg.norm(ways, axis=1)
    geom, far, normal = np.zeros(n, np.int32), np.zeros(n), np.zeros((n, 3))
    flat, out = np.ascontiguousarray(ways / length[:, None]).reshape(-1), normal.reshape(-1)
    mujoco.mj_multiRay(model, data, origin, flat, None, True, -1, geom, far, out, n, 100.0)
    return geom, np.where(geom >= 0, far / length, np.inf), normal


@pytest.mark.parametrize("seed", range(6))
def test_solids_are_met_where_a_cast_meets_them(seed: int) -> None:
    model, data = scattered(seed)
    rng = np.random.default_rng(seed)
    eye = np.array([1.7, -0.8, 0.9]) * rng.choice([-1, 1], 3)
    ways = rng.uniform(-0.7, 0.7, (2000, 3)) - eye
    ways[:25] = data.geom_xpos - eye  # through the middles, so that every kind is met head-on
    solids = Solids(model, np.arange(model.ngeom))
    poses, count = solids.poses(data), len(ways)
    pairs = Pairs(np.tile(np.arange(count), model.ngeom), np.full(model.ngeom, count))
    met = solids.meet(poses, eye, ways.T, pairs).reshape(model.ngeom, count)
    geom, far, normal = cast(model, data, eye, ways)
    nearest = met.argmin(0)
    hit = geom >= 0
    assert 0.3 < hit.mean() < 1
    assert (np.isfinite(met.min(0)) == hit).all()
    np.testing.assert_allclose(met.min(0)[hit], far[hit], rtol=1e-9)
    assert (solids.geoms[nearest[hit]] == geom[hit]).mean() > 0.999
    order = np.argsort(nearest[hit], kind="stable")
    solid, points = nearest[hit][order], (eye + ways * met.min(0)[:, None])[hit][order]
    skin = solids.skin(poses, np.bincount(solid, minlength=model.ngeom), points.T)
    np.testing.assert_allclose(skin.normal.T, normal[hit][order], atol=1e-6)
    back = np.einsum("ijn,in->jn", poses.turn[:, :, solid], skin.local) + poses.place[:, solid]
    np.testing.assert_allclose(back.T, points, atol=1e-12)


def test_rays_along_an_axis_and_past_a_solid() -> None:
    """Straight onto every kind, where a slope is 0, and just beside it."""
    for kind in KINDS:
        model, data = model_of([f'<geom type="{kind}" size="0.1 0.1 0.1"/>'])
        solids = Solids(model, np.array([0]))
        top = {"capsule": 0.2}.get(kind, 0.1)
        ways = np.array([[0, 0, -1.0], [0, 0, 1.0], [0, -1e-9, -1.0], [0.2, 0, -1.0]]).T
        met = solids.meet(
            solids.poses(data), np.array([0, 0, 1.0]), ways, Pairs(np.arange(4), np.array([4]))
        )
        np.testing.assert_allclose(met[[0, 2]], 1 - top, rtol=1e-9)
        assert np.isinf(met[[1, 3]]).all()


@pytest.mark.parametrize("eye", [(1.4, -0.8, 0.9), (0.1, 0.2, 1.5), (-0.3, 0.9, 0.2)])
def test_outlines_leave_no_hit_out(eye: tuple[float, float, float]) -> None:
    """The last place has solids beside and behind it."""
    for seed in range(4):
        model, data = scattered(seed)
        solids = Solids(model, np.arange(model.ngeom))
        view, rows, columns = View(eye, (0.0, 0.0, 0.0), 40.0), 90, 110
        ways = rays(view, rows, columns)
        geom, _, _ = cast(model, data, np.array(eye), ways)
        across, down = image_place(solids.corners(solids.poses(data)), view, rows, columns)
        pairs = image_pairs(across, down, rows, columns)
        paired = set(zip(np.repeat(solids.geoms, pairs.each), pairs.ray, strict=True))
        hits = set(zip(geom[geom >= 0], np.flatnonzero(geom >= 0), strict=True))
        assert len(hits) > 500
        assert hits <= paired
        lower = image_pairs(across, down - 40, rows - 40, columns)
        below = {(g, ray - 40 * columns) for g, ray in hits if ray >= 40 * columns}
        assert below <= set(zip(np.repeat(solids.geoms, lower.each), lower.ray, strict=True))


def test_the_lamp_square_leaves_no_shadow_out() -> None:
    rng = np.random.default_rng(0)
    for seed in range(4):
        model, data = scattered(seed)
        solids = Solids(model, np.arange(model.ngeom))
        lamp = np.array([0.9, -0.6, 2.0])
        points = rng.uniform(-1.5, 1.5, (3000, 3))
        points[:, 2] = rng.uniform(-0.8, 0.5, 3000)
        geom, far, _ = cast(model, data, lamp, points - lamp)
        dark = np.flatnonzero((geom >= 0) & (far < 1))
        pairs = LampSquare(lamp).pairs(solids.corners(solids.poses(data)), points.T)
        paired = set(zip(np.repeat(solids.geoms, pairs.each), pairs.ray, strict=True))
        assert len(dark) > 300
        assert set(zip(geom[dark], dark, strict=True)) <= paired
        assert len(paired) < 0.25 * len(points) * model.ngeom


@pytest.mark.parametrize(
    ("eye", "gaze"),
    [
        ((0.1, -0.5, 0.7), (0.0, 0.0, 0.0)),
        ((-0.9, -0.4, 0.3), (0.0, 0.0, -0.1)),
        ((0.8, 0.3, -0.3), (0.0, 0.9, 0.0)),
        ((0.0, 0.2, 0.5), (0.1, 0.5, 4.0)),
    ],
)
def test_the_room_is_what_a_cast_at_it_shows(
    eye: tuple[float, float, float], gaze: tuple[float, float, float]
) -> None:
    """From above, from the side, from below the table, and towards the sky."""
    boxes = (("table", "0.46 0.44 0.02", "0 0.09 -0.02"), ("floor", "3 3 0.02", "0 0 -0.77"))
    boxes += (("wall", "3 0.02 2", "0 1 0.6"),)
    model, data = model_of(
        [f'<geom name="{name}" type="box" size="{s}" pos="{p}"/>' for name, s, p in boxes]
    )
    view, shell = View(eye, gaze, 60.0), Shell(model)
    shown, near, present = shell.look(np.array(eye), view.axes(), *plane(view, 80, 100))
    geom, far, normal = cast(model, data, np.array(eye), rays(view, 80, 100))
    assert (shell.geoms_of[shown] == geom).mean() > 0.9995  # an edge may fall either way
    assert set(shown) - {-1} <= set(present)
    same = (shell.geoms_of[shown] == geom) & (geom >= 0)
    along = far * (rays(view, 80, 100) @ view.axes()[2])
    np.testing.assert_allclose(1 / near[same], along[same], rtol=1e-9)
    faces = [shell.faces[number] for number in shown[same]]
    outward = np.zeros((len(faces), 3))
    outward[np.arange(len(faces)), [f.axis for f in faces]] = [f.outward for f in faces]
    assert (np.abs(outward - normal[same]).max(1) < 1e-9).mean() > 0.999


def test_the_table_keeps_the_lamp_from_what_is_below_it() -> None:
    model = Dojo("arm").reset(1).scene.model
    lamp = np.array([0.2, -0.9, 2.0])
    points = np.array([[0, 0.1, -0.5], [0, -0.3505, -0.02], [2.0, 0, -0.7], [0, 0.09, 0.001]])
    dark = Shell(model).under_table(lamp, (points - lamp).T)
    assert dark.tolist() == [True, False, False, False]


@pytest.mark.parametrize("size", [(64, 64), (144, 256)])
def test_a_moving_view_shows_fixtures_as_one_that_stands_still(size: tuple[int, int]) -> None:
    """Boards of a drawer share planes, where rounding decides which stripes show.

    The larger picture is rendered in several bands.
    """
    held = {"object.kind": ["drawer", "lidbox"], "object.texture": "stripes"}
    for seed in range(3):
        dojo = Dojo("hand").reset(seed, held)
        performer = Performer(dojo, stream(seed, "test"), ("open",))
        for _ in range(6):
            dojo.step(performer.act())
        view, camera = dojo.view("head"), RayCamera(dojo.scene)
        moving, still = (
            camera.render(dojo._data, view, size, moving=way, depth=True, segmentation=True)
            for way in (True, False)
        )
        assert (moving.rgb != still.rgb).mean() < 0.0005
        assert np.abs(moving.depth - still.depth).max() < 1e-4
        assert (moving.segmentation != still.segmentation).mean() < 0.0005


def test_the_sky_is_empty_and_far() -> None:
    dojo = Dojo("hand").reset(1)
    up = View((0.0, -0.5, 0.6), (0.0, 0.5, 2.6), 60.0)
    picture = RayCamera(dojo.scene).render(
        dojo._data, up, (64, 64), moving=True, depth=True, segmentation=True
    )
    still = RayCamera(dojo.scene).render(dojo._data, up, (64, 64), depth=True)
    assert (picture.depth == FAR).mean() > 0.1
    assert (picture.rgb != still.rgb).mean() < 0.0005
    np.testing.assert_allclose(picture.depth, still.depth, atol=1e-4)
    assert (picture.segmentation[picture.depth == FAR] == 0).all()
