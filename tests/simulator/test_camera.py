import math
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.camera import FAR, RayCamera
from dojobench.simulator.embodiments import MARKER
from dojobench.simulator.policies import Performer
from dojobench.simulator.seeding import stream
from dojobench.simulator.views import rays
from dojobench.simulator.world import Dojo


def played(embodiment: str, seed: int, steps: int) -> Dojo:
    dojo = Dojo(embodiment).reset(seed)
    performer = Performer(dojo, stream(seed, "test"), ("push", "pick", "explore"))
    for _ in range(steps):
        dojo.step(performer.act())
    return dojo


@pytest.mark.parametrize(("embodiment", "seed"), [("arm", 1), ("arm2", 5), ("hand", 2)])
def test_keeping_the_background_changes_no_byte(embodiment: str, seed: int) -> None:
    dojo = played(embodiment, seed, 9)
    view = dojo.view("front")
    kept = RayCamera(dojo.scene)
    first = kept.render(dojo._data, view, (64, 64))
    dojo.step(np.mean([dojo.embodiment.spec.low, dojo.embodiment.spec.high], axis=0))
    kept_picture = kept.render(dojo._data, view, (64, 64), depth=True, segmentation=True)
    fresh = RayCamera(dojo.scene, cache=False)
    new = fresh.render(dojo._data, view, (64, 64), depth=True, segmentation=True)
    assert kept_picture.rgb.tobytes() == new.rgb.tobytes()
    assert kept_picture.depth.tobytes() == new.depth.tobytes()
    assert kept_picture.segmentation.tobytes() == new.segmentation.tobytes()
    assert first.rgb.tobytes() != new.rgb.tobytes()


@pytest.mark.parametrize("embodiment", ["arm", "hand"])
def test_frames_equal_a_cast_of_every_ray_at_every_geom(embodiment: str) -> None:
    """The plain way, written out: no boxes, no cells, no kept background."""
    dojo = played(embodiment, 3, 12)
    scene, data, model = dojo.scene, dojo._data, dojo._model
    view = dojo.view("front")
    directions = rays(view, 128, 128)
    eye, lamp = np.array(view.eye), np.array(scene.light.position)

    def cast(origin: np.ndarray, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(ways)
        geom, distance, normal = np.zeros(n, np.int32), np.zeros(n), np.zeros((n, 3))
        flat = np.ascontiguousarray(ways).reshape(-1)
        out = normal.reshape(-1)
        mujoco.mj_multiRay(model, data, origin, flat, None, True, -1, geom, distance, out, n, FAR)
        return geom, distance, normal

    geom, distance, normal = cast(eye, directions)
    assert (geom >= 0).all()
    points = eye + directions * distance[:, None]
    colour = scene.looks.colours(geom, points - 0.0015 * normal, data.geom_xpos, data.geom_xmat)
    ways = points + 0.0015 * normal - lamp
    length = np.linalg.norm(ways, axis=1)
    blocker, reach, _ = cast(lamp, ways / length[:, None])
    free = ~((blocker >= 0) & (reach < length - 1e-4))
    to_lamp = (lamp - points) / np.linalg.norm(lamp - points, axis=1, keepdims=True)
    cosine = np.maximum(np.einsum("ij,ij->i", to_lamp, normal), 0) * free
    sky = (0.8 + 0.2 * normal[:, 2:]) * np.array(scene.light.ambient)
    glow = scene.looks.emission[geom][:, None]
    light = sky + cosine[:, None] * np.array(scene.light.diffuse)
    shaded = colour * (glow + (1 - glow) * light)
    expected = shaded.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3)) * 255
    got = dojo.observe("front").rgb
    off = np.abs(got - np.clip(expected, 0, 255)).max(axis=-1)
    assert (off > 1.0).mean() < 0.002  # a ray along a silhouette may fall either way
    kept = dojo.observe("front", depth=True, segmentation=True)
    ids = scene.owner[geom].reshape(128, 128)[::2, ::2]
    assert (kept.segmentation != ids).mean() < 0.002


def test_a_moving_view_gives_the_same_picture_but_for_rounding() -> None:
    for seed in range(4):
        dojo = played("hand", seed, 8)
        view, camera = dojo.view("head"), RayCamera(dojo.scene)
        moving = camera.render(
            dojo._data, view, (64, 64), moving=True, depth=True, segmentation=True
        )
        still = camera.render(dojo._data, view, (64, 64), depth=True, segmentation=True)
        difference = np.abs(moving.rgb.astype(int) - still.rgb)
        assert (difference > 0).mean() < 0.0005
        assert np.abs(moving.depth - still.depth).max() < 1e-4
        assert (moving.segmentation != still.segmentation).mean() < 0.001


def test_depth_of_the_table_is_what_geometry_says() -> None:
    dojo = Dojo("arm").reset(4)
    view = dojo.view("top")
    picture = dojo.observe("top", (64, 64), depth=True, segmentation=True)
    axes, eye = view.axes(), np.array(view.eye)
    directions = rays(view, 128, 128).reshape(128, 128, 3)[::2, ::2]
    along = (-eye[2] / directions[:, :, 2]) * (directions @ axes[2])
    table = np.abs(picture.depth - along) < 1e-5
    assert table.mean() > 0.5
    assert (picture.segmentation[table] == 0).all()


def test_the_marker_keeps_its_colour_and_can_be_found() -> None:
    want = np.array(MARKER.rgb) * 255
    for embodiment in ("arm", "arm2", "hand"):
        found = []
        for seed in range(6):
            frame = Dojo(embodiment).reset(seed).observe().rgb.astype(float)
            found.append((np.abs(frame - want).max(axis=-1) < 40).sum())
        assert np.min(found) >= 4


def test_every_resolution_shows_the_same_scene() -> None:
    dojo = Dojo("arm").reset(7)
    small = dojo.observe("front", (64, 64)).rgb.astype(float)
    large = dojo.observe("front", (192, 192)).rgb.astype(float)
    shrunk = large.reshape(64, 3, 64, 3, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 3.0
    # One sample a pixel is enough where 64 pixels are averaged.
    wide = Dojo("arm", supersample=1).reset(7).observe("front", (480, 640)).rgb
    assert wide.shape == (480, 640, 3)
    middle = wide[:, 80:560].astype(float).reshape(60, 8, 60, 8, 3).mean(axis=(1, 3))
    again = dojo.observe("front", (120, 120)).rgb.astype(float)
    assert np.abs(middle - again.reshape(60, 2, 60, 2, 3).mean(axis=(1, 3))).mean() < 3.0


@pytest.mark.parametrize("size", [(32, 64), (64, 700), (481, 640), (0, 0)])
def test_other_resolutions_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInputError, match="resolution"):
        Dojo("arm").reset(1).observe(size=size)


def test_a_shadow_falls_where_the_lamp_casts_it() -> None:
    """The shadow of a ball's highest point is where the line from the lamp meets the table."""
    checked = 0
    for seed in range(12):
        held = {"object.kind": "ball", "table.texture": "plain", "light.elevation": 52}
        dojo = Dojo("arm", supersample=1).reset(seed, held)
        picture = dojo.observe("top", (128, 128), segmentation=True)
        view, lamp = dojo.view("top"), np.array(dojo.scene.light.position)
        bright = picture.rgb.astype(float).mean(axis=-1)
        lit = np.median(bright[picture.segmentation == 0])
        for item, state in zip(dojo.objects, dojo.states(), strict=True):
            ball = np.add(state.position, (0, 0, item.half_height))
            spot = ball + (ball - lamp) * ball[2] / (lamp[2] - ball[2])
            right, up, forward = (spot - np.array(view.eye)) @ view.axes().T
            scale = 64 / math.tan(math.radians(view.fov) / 2) / forward
            column, row = int(64 + right * scale), int(64 - up * scale)
            if not (0 <= row < 128 and 0 <= column < 128) or picture.segmentation[row, column]:
                continue
            checked += 1
            assert bright[row, column] < 0.8 * lit
    assert checked >= 8


def test_neither_opengl_nor_torch_is_loaded() -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("only Linux lists the libraries that a process has loaded")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from dojobench.simulator.world import Dojo\n"
        "dojo = Dojo('arm').reset(1); dojo.observe(); dojo.step([0, 0, 0, 0, 1])\n"
        "maps = Path('/proc/self/maps').read_text()\n"
        "found = [n for n in ('libGL.', 'libEGL', 'libOSMesa', 'libX11') if n in maps]\n"
        "found += ['torch'] if 'torch' in sys.modules else []\n"
        "raise SystemExit(f'loaded {found}' if found else 0)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
