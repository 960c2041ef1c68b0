"""What is written as LeRobot is read back, frame by frame, and the check finds nothing wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from dojobench.datasets.formats import open_source
from dojobench.datasets.lerobot_write import LeRobotTarget, RecordedEpisode, write_lerobot
from dojobench.protocol import BadInputError


def episode(number: int, length: int, *, actions: bool = True) -> RecordedEpisode:
    generator = np.random.default_rng(number)
    smooth = generator.integers(40, 200, (1, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    frames = (smooth + np.arange(length)[:, None, None, None] * 2).astype(np.uint8)
    return RecordedEpisode(
        frames={"main": frames, "side": frames[:, ::-1]},
        actions=generator.random((length, 5)).astype(np.float32) if actions else None,
        states=generator.random((length, 3)).astype(np.float32),
        task=["push the box", "open the lid"][number % 2],
    )


def target(root: Path, version: str, **changes: object) -> LeRobotTarget:
    fields = {"version": version, "robot_type": "arm", "frame_rate": 10, "quality": "lossless"}
    return LeRobotTarget(root=root, **(fields | changes))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_written_and_read_again(tmp_path: Path, version: str) -> None:
    episodes = [episode(k, 12 + 5 * k) for k in range(3)]
    floor = write_lerobot(target(tmp_path / "d", version), iter(episodes))
    assert floor == {"main": 100.0, "side": 100.0}
    source = open_source(tmp_path / "d")
    assert source.format == f"lerobot-{version}"
    assert source.cameras[0].endswith("main")
    assert source.action_dim == 5
    for given, name in zip(episodes, source.episode_ids, strict=True):
        read = source.episode(name)
        assert read.length == len(given.states)
        assert read.instruction == given.task
        np.testing.assert_array_equal(read.actions(), given.actions)
        for camera in source.cameras:
            frames = read.frames(camera, [11, 0, 7]).permute(0, 2, 3, 1).numpy()
            wanted = given.frames[camera.removeprefix("observation.images.")][[11, 0, 7]]
            np.testing.assert_array_equal(frames, wanted)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_the_check_finds_nothing_wrong(tmp_path: Path, version: str) -> None:
    write_lerobot(target(tmp_path / "d", version), [episode(k, 12) for k in range(2)])
    assert [problem.message for problem in open_source(tmp_path / "d").check()] == []


def test_actions_can_be_withheld(tmp_path: Path) -> None:
    write_lerobot(target(tmp_path / "d", "v2.1"), [episode(0, 12, actions=False)])
    source = open_source(tmp_path / "d")
    assert source.action_dim == 0
    info = json.loads((tmp_path / "d/meta/info.json").read_text())
    assert "action" not in info["features"]


def test_high_quality_records_its_floor(tmp_path: Path) -> None:
    floor = write_lerobot(target(tmp_path / "d", "v3.0", quality="high"), [episode(0, 30)])
    assert 30 < floor["main"] < 60
    info = json.loads((tmp_path / "d/meta/info.json").read_text())
    assert info["dojobench"]["codec_floor_psnr_db"] == floor


def test_nothing_is_left_behind_when_it_fails(tmp_path: Path) -> None:
    def broken():
        yield episode(0, 12)
        raise RuntimeError("the simulator stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_lerobot(target(tmp_path / "d", "v2.1"), broken())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(BadInputError, match="exists already"):
        write_lerobot(target(tmp_path / "d", "v2.1"), [episode(0, 12)])


def test_no_episode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no episode"):
        write_lerobot(target(tmp_path / "d", "v3.0"), [])


def test_written_twice_is_byte_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_lerobot(target(tmp_path / name, "v3.0"), [episode(k, 12) for k in range(2)])
    files = sorted(
        p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()
    )
    assert files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
