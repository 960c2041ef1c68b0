"""LeRobot folders, real ones and ones written here, against their own tables and videos."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dojobench.datasets.formats import open_source
from dojobench.datasets.lerobot import LeRobotSource
from dojobench.datasets.lerobot_info import Feature
from dojobench.datasets.reading import ReadOptions
from dojobench.protocol.errors import BadInputError

WriteV3 = Callable[..., Path]
Read = Callable[[torch.Tensor], list[int]]


def _codes(problems: list[Any]) -> list[str]:
    return [each.code for each in problems]


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _rewrite(path: Path, change: Callable[[Any], None]) -> None:
    """Changes a parquet file as a pandas frame."""
    frame = pq.read_table(path).to_pandas()
    change(frame)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


class TestV3:
    def test_episodes_that_share_a_file_get_their_own_frames_and_rows(
        self, lerobot_v3: WriteV3, read_codes: Read
    ) -> None:
        source = open_source(lerobot_v3((7, 12, 9, 5), files=(0, 0, 1, 1)))
        assert source.format == "lerobot-v3.0"
        assert source.cameras == ("observation.images.top", "observation.images.wrist")
        assert source.resolution == (32, 160)
        assert source.frame_rate == 20
        assert source.action_names == ("a", "b", "c")
        assert source.episode_ids == ("0", "1", "2", "3")
        first = 0
        for number, length in enumerate((7, 12, 9, 5)):
            episode = source.episode(str(number))
            assert episode.length == length
            assert episode.instruction == ("stack the cups", "open the drawer")[number % 2]
            expected = list(range(first, first + length))
            assert read_codes(episode.frames(source.cameras[0], range(length))) == expected
            shuffled = [length - 1, 0, 2, 2]
            codes = read_codes(episode.frames(source.cameras[1], shuffled))
            assert codes == [first + 100 + k for k in shuffled]
            actions = episode.actions()
            assert actions.dtype == np.float32
            assert actions.tolist() == [[k, number, -k] for k in expected]
            video, table = episode.files(source.cameras[0])
            assert video.name == table.with_suffix(".mp4").name
            for beyond in (length, -1):
                with pytest.raises(BadInputError, match=f"has no frame {beyond} of this episode"):
                    episode.frames(source.cameras[0], [beyond])
            first += length
        assert source.check() == []
        assert source.check(deep=True) == []

    def test_a_rate_with_thirds_of_seconds_keeps_its_frames(
        self, lerobot_v3: WriteV3, read_codes: Read
    ) -> None:
        source = open_source(lerobot_v3((101, 100, 99), rate=30, cameras=("cam",)))
        for number, first in enumerate((0, 101, 201)):
            episode = source.episode(str(number))
            codes = read_codes(episode.frames("cam", range(episode.length)))
            assert codes == list(range(first, first + episode.length))

    def test_the_user_chooses_camera_and_action(self, lerobot_v3: WriteV3) -> None:
        root = lerobot_v3()
        options = ReadOptions(camera="observation.images.wrist", action_key="timestamp")
        source = open_source(root, options=options)
        assert source.cameras == ("observation.images.wrist", "observation.images.top")
        assert source.action_dim == 1
        np.testing.assert_allclose(source.episode("0").actions()[:, 0], np.arange(7) / 20)
        with pytest.raises(BadInputError, match="no video of a camera 'left'; its cameras are"):
            open_source(root, options=ReadOptions(camera="left"))
        with pytest.raises(BadInputError, match="lists no feature 'torque'; choose the actions"):
            open_source(root, options=ReadOptions(action_key="torque"))

    def test_what_the_check_finds(self, lerobot_v3: WriteV3) -> None:
        root = lerobot_v3(total_frames=99, total_episodes=9, splits={"train": "0:50"})
        episodes = root / "meta/episodes/chunk-000/file-000.parquet"

        def shift(frame: Any) -> None:
            frame.loc[1, "videos/observation.images.top/to_timestamp"] += 0.5
            frame.loc[2, "length"] += 3

        _rewrite(episodes, shift)
        (root / "meta/stats.json").unlink()
        found = open_source(root).check()
        assert sorted(set(_codes(found))) == [
            "count-mismatch",
            "length-mismatch",
            "missing-stats",
            "segment-mismatch",
            "split-range",
        ]
        text = "\n".join(f"{each.where}: {each.message}" for each in found)
        assert "It says 99 frames but the tables of the listed episodes hold 28 rows" in text
        assert "Episode 2 is listed with 12 frames but has 9 rows" in text
        assert "0.3500 s to 1.4500 s" in text

    def test_a_missing_table_and_video_are_named(self, lerobot_v3: WriteV3) -> None:
        root = lerobot_v3((7, 12, 9), files=(0, 0, 1))
        (root / "data/chunk-000/file-001.parquet").unlink()
        (root / "videos/observation.images.top/chunk-000/file-000.mp4").unlink()
        source = open_source(root)
        found = {(each.code, each.severity, each.where) for each in source.check()}
        assert ("missing-table", "error", "data/chunk-000/file-001.parquet") in found
        video = "videos/observation.images.top/chunk-000/file-000.mp4"
        assert ("missing-video", "error", video) in found
        with pytest.raises(BadInputError, match=r"file-001\.parquet is missing"):
            source.episode("2")
        with pytest.raises(BadInputError, match=r"file-000\.mp4 of episode 0 does not exist"):
            source.episode("0")
        with pytest.raises(
            BadInputError, match="no episode '7'; its episodes are 0 to 2, 3 in all"
        ):
            source.episode("7")

    def test_actions_that_are_wrong(self, lerobot_v3: WriteV3) -> None:
        root = lerobot_v3((7, 12))
        table = root / "data/chunk-000/file-000.parquet"

        def poison(frame: Any) -> None:
            frame.at[9, "action"] = np.asarray([1.0, np.nan, 2.0])

        _rewrite(table, poison)
        (problem,) = open_source(root).check()
        assert (problem.code, problem.severity) == ("not-finite", "error")
        assert "the first in row 2, dimension 1" in problem.message
        info = root / "meta/info.json"
        features = json.loads(info.read_text())["features"]
        features["action"]["shape"] = [4]
        _edit(info, features=features)
        source = open_source(root)
        assert {"action-width", "action-names"} <= set(_codes(source.check()))
        with pytest.raises(BadInputError, match=r"is 3 wide, but .*info\.json says 4"):
            source.episode("0").actions()

    def test_times_that_do_not_rise_and_rows_that_repeat(self, lerobot_v3: WriteV3) -> None:
        root = lerobot_v3((6, 6, 6), cameras=("cam",))

        def spoil(frame: Any) -> None:
            frame.loc[3, "timestamp"] = 0.0
            frame.loc[8, "frame_index"] = 7
            for row in range(6):
                frame.at[12 + row, "action"] = frame.at[6 + row, "action"]

        _rewrite(root / "data/chunk-000/file-000.parquet", spoil)
        found = open_source(root).check()
        assert sorted(_codes(found)) == ["frame-index", "repeated-episode", "timestamps"]
        text = "\n".join(each.message for each in found)
        assert "equal those of episode 1" in text
        assert "time does not rise at row 3" in text

    def test_a_video_that_ends_early_is_used_as_far_as_it_goes(
        self, lerobot_v3: WriteV3, encode_video: Callable[..., Path], read_codes: Read
    ) -> None:
        root = lerobot_v3((7, 12), cameras=("cam",))
        encode_video(root / "videos/cam/chunk-000/file-000.mp4", 15)
        source = open_source(root)
        episode = source.episode("1")
        assert episode.length == 8
        assert episode.actions().shape == (8, 3)
        assert read_codes(episode.frames("cam", [7])) == [14]
        (problem,) = source.check()
        assert (problem.code, problem.severity) == ("length-mismatch", "warning")
        assert "shorter than its rows: 8 frames and 12 rows" in problem.message

    def test_a_rate_that_the_video_does_not_keep(self, lerobot_v3: WriteV3) -> None:
        root = lerobot_v3((20,), cameras=("cam",))
        _edit(root / "meta/info.json", fps=10)
        assert {"frame-rate", "timestamps"} <= set(_codes(open_source(root).check()))


class TestV2:
    def _convert(self, root: Path) -> Path:
        """Cuts a written v3 dataset with one episode a file into the v2.1 layout."""
        table = pq.read_table(root / "data/chunk-000/file-000.parquet")
        v2 = root.parent / "v2"
        for index in (0, 2):
            rows = table.filter(pa.compute.equal(table["episode_index"], 0))
            rows = rows.set_column(
                rows.column_names.index("episode_index"), "episode_index", pa.array([index] * 7)
            )
            path = v2 / f"data/chunk-{index // 2:03d}/episode_{index:06d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, path)
            video = v2 / f"videos/chunk-{index // 2:03d}/cam/episode_{index:06d}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / "videos/cam/chunk-000/file-000.mp4", video)
        info = json.loads((root / "meta/info.json").read_text())
        info |= {
            "codebase_version": "v2.1",
            "chunks_size": 2,
            "total_episodes": 2,
            "total_frames": 14,
            "splits": {},
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
            "episode_{episode_index:06d}.mp4",
        }
        (v2 / "meta").mkdir()
        (v2 / "meta/info.json").write_text(json.dumps(info))
        lines = [{"episode_index": i, "tasks": [f"task {i}"], "length": 7} for i in (0, 2)]
        (v2 / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
        (v2 / "meta/episodes_stats.jsonl").write_text("")
        return v2

    def test_gaps_chunks_and_longer_video(self, lerobot_v3: WriteV3, read_codes: Read) -> None:
        root = self._convert(lerobot_v3((7, 4), cameras=("cam",)))
        source = open_source(root)
        assert source.format == "lerobot-v2.1"
        assert source.episode_ids == ("0", "2")
        episode = source.episode("2")
        assert episode.length == 7, "the video has 11 frames, the table 7 rows"
        assert episode.instruction == "task 2"
        assert read_codes(episode.frames("cam", [6, 0])) == [6, 0]
        found = source.check()
        assert sorted(_codes(found)) == [
            "episode-gaps",
            "length-mismatch",
            "length-mismatch",
            "repeated-episode",
        ]
        text = "\n".join(each.message for each in found)
        assert "1 of 0 to 2 are absent (1)" in text
        assert "longer than its rows: 11 frames and 7 rows" in text

    def test_malformed_lists_are_named_by_line(self, lerobot_v3: WriteV3) -> None:
        root = self._convert(lerobot_v3((7,), cameras=("cam",)))
        listing = root / "meta/episodes.jsonl"
        good = listing.read_text()
        listing.write_text(good + good.splitlines()[0])
        found = open_source(root).check()
        assert "duplicate-episode" in _codes(found)
        listing.write_text(good + "{not json\n")
        with pytest.raises(BadInputError, match=r"episodes\.jsonl line 4 is not valid JSON"):
            open_source(root)
        listing.write_text('{"episode_index": "x"}')
        with pytest.raises(BadInputError, match="'episode_index' is 'x'"):
            open_source(root)
        listing.unlink()
        with pytest.raises(BadInputError, match=r"episodes\.jsonl is missing"):
            open_source(root)

    def test_a_truncated_video_is_an_error(self, lerobot_v3: WriteV3) -> None:
        root = self._convert(lerobot_v3((7,), cameras=("cam",)))
        video = root / "videos/chunk-001/cam/episode_000002.mp4"
        video.write_bytes(video.read_bytes()[:300])
        source = open_source(root)
        (problem,) = [each for each in source.check() if each.severity == "error"]
        assert problem.code == "unreadable-video"
        assert problem.where == "videos/chunk-001/cam/episode_000002.mp4"
        with pytest.raises(BadInputError, match="cannot be opened as a video"):
            source.episode("2")


class TestRefusals:
    def test_versions_images_and_paths(self, lerobot_v3: WriteV3) -> None:
        root = lerobot_v3()
        info = root / "meta/info.json"
        good = json.loads(info.read_text())
        _edit(info, codebase_version="v1.6")
        with pytest.raises(BadInputError, match=r"of version 'v1\.6', but v2\.0, v2\.1, v3\.0 are"):
            open_source(root)
        image = {"dtype": "image", "shape": [32, 32, 3], "names": None}
        _edit(info, codebase_version="v3.0", features={"observation.image": image})
        with pytest.raises(BadInputError, match=r"'observation\.image' as single images"):
            open_source(root)
        _edit(info, features=good["features"], data_path="../{chunk_index}/{file_index}.parquet")
        with pytest.raises(BadInputError, match="'data_path' leads out of the dataset"):
            open_source(root)
        _edit(info, data_path="data/{shard}.parquet")
        with pytest.raises(BadInputError, match=r"'data_path' is 'data/\{shard\}\.parquet'"):
            open_source(root)
        _edit(info, data_path=good["data_path"], fps=0)
        with pytest.raises(BadInputError, match="the field 'fps' is not usable"):
            open_source(root)
        info.write_text("{")
        with pytest.raises(BadInputError, match=r"info\.json line 1 is not valid JSON"):
            open_source(root)


def test_depth_maps_are_no_cameras(lerobot_v3: WriteV3) -> None:
    root = lerobot_v3((5,), cameras=("depth", "rgb"))
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features["depth"]["info"] = {"video.is_depth_map": True}
    features["rgb"]["video_info"] = {"video.is_depth_map": False}
    _edit(root / "meta/info.json", features=features)
    assert open_source(root).cameras == ("rgb",)


@pytest.mark.parametrize(
    ("names", "flat"),
    [
        (None, ()),
        (["x", "y"], ("x", "y")),
        ([["x", "y"]], ("x", "y")),
        ({"motors": ["x", "y"]}, ("x", "y")),
        ({"y": 1, "x": 0}, ("x", "y")),
        (["only one"], ()),
    ],
)
def test_names_in_every_nesting(names: Any, flat: tuple[str, ...]) -> None:
    assert Feature(dtype="float32", shape=(2,), names=names).flat_names() == flat


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((240, 320, 3), ["height", "width", "channel"]),
        ((3, 240, 320), ["channels", "height", "width"]),
        ((3, 240, 320), None),
        ((240, 320, 3), None),
    ],
)
def test_picture_sizes_in_every_order(shape: tuple[int, ...], names: Any) -> None:
    assert Feature(dtype="video", shape=shape, names=names).picture_size() == (240, 320)


@pytest.mark.data
class TestRealData:
    def test_gr1_sim(self, data_dir: Path) -> None:
        source = open_source(data_dir / "gr1_sim")
        assert source.format == "lerobot-v2.0"
        assert source.cameras == ("observation.images.ego_view",), "egoview has no video"
        assert (source.frame_rate, source.resolution, source.action_dim) == (20, (256, 256), 44)
        assert source.action_names[:2] == ("motor_0", "motor_1")
        lengths = [source.episode(i).length for i in source.episode_ids]
        assert lengths == [416, 470, 470, 412, 328]
        assert sum(lengths) == 2096
        episode = source.episode("1")
        assert episode.instruction is not None
        assert episode.instruction.startswith("pick the sweet potato")
        table = pq.read_table(episode.files(source.cameras[0])[1])
        expected = np.asarray(table["action"].to_pylist(), dtype=np.float32)
        np.testing.assert_array_equal(episode.actions(), expected)
        with av.open(str(episode.files(source.cameras[0])[0])) as container:
            plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        chosen = [0, 469, 251, 249, 250, 17]
        read = episode.frames(source.cameras[0], chosen).permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(read, np.stack([plain[number] for number in chosen]))
        found = [(each.code, each.severity, each.where) for each in source.check(deep=True)]
        assert found == [
            (
                "missing-stream",
                "warning",
                "meta/info.json features.observation.images.egoview",
            ),
            ("count-mismatch", "warning", "meta/info.json total_videos"),
            ("split-range", "warning", "meta/info.json splits.train"),
        ]

    def test_g1_real(self, data_dir: Path) -> None:
        source = open_source(data_dir / "g1_real")
        assert source.format == "lerobot-v2.1"
        assert len(source.episode_ids) == 71
        assert source.action_names[:2] == ("kLeftShoulderPitch", "kLeftShoulderRoll")
        assert len(source.action_names) == source.action_dim == 26
        (problem,) = source.check()
        assert (problem.code, problem.severity) == ("episode-gaps", "warning")
        assert "29 of 0 to 99 are absent (0, 3-4, 6," in problem.message
        episode = source.episode("99")
        assert episode.frames(source.cameras[0], [0, 264]).shape == (2, 3, 240, 320)
        # The video of this dataset lags its states by about two frames: reported in its sources,
        # and given as recorded.
        table = pq.read_table(episode.files(source.cameras[0])[1])
        np.testing.assert_array_equal(episode.actions()[0], table["action"][0].as_py())

    def test_reachy2(self, data_dir: Path) -> None:
        source = open_source(data_dir / "reachy2_v30_meta")
        assert isinstance(source, LeRobotSource)
        assert source.cameras == ()
        assert source.resolution == (720, 960)
        assert [source.episode(i).length for i in source.episode_ids] == [299, 300, 300]
        assert source.episode("1").instruction == "place the apple in the plate"
        found = source.check()
        assert [(each.code, each.severity) for each in found] == [
            ("missing-stream", "error"),
            ("split-range", "warning"),
            ("count-mismatch", "warning"),
        ]
        assert "14983 frames but the tables of the listed episodes hold 899" in found[2].message
        with pytest.raises(BadInputError, match=r"no video of a camera 'observation\.image'"):
            source.episode("0").frames("observation.image", [0])
