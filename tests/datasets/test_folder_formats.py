"""Plain folders, EgoDex, DROID annotations, and telling the formats apart."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.spatial.transform import Rotation

from dojobench.datasets.droid_json import DroidJsonSource
from dojobench.datasets.egodex import SIDES, TIPS, action_names
from dojobench.datasets.formats import FORMATS, detect_format, open_source
from dojobench.datasets.reading import ReadOptions
from dojobench.protocol.errors import BadInputError

Encode = Callable[..., Path]
Read = Callable[[torch.Tensor], list[int]]


def _codes(problems: list[Any]) -> list[str]:
    return [each.code for each in problems]


class TestVideoFolder:
    def test_videos_below_the_folder_with_actions_of_every_kind(
        self, tmp_path: Path, encode_video: Encode, read_codes: Read
    ) -> None:
        encode_video(tmp_path / "a.mp4", range(5, 15))
        encode_video(tmp_path / "deep/b.mkv", 9)
        encode_video(tmp_path / "deep/c.MP4", range(3, 11))
        values = np.arange(20, dtype=np.float64).reshape(10, 2)
        np.save(tmp_path / "a.npy", values)
        table = pa.table({"action": values[:8].tolist(), "note": ["x"] * 8})
        pq.write_table(table, tmp_path / "deep/b.parquet")
        columns = pa.table({"x": values[:8, 0], "y": values[:8, 1]})
        pq.write_table(columns, tmp_path / "deep/c.parquet")
        source = open_source(tmp_path)
        assert source.format == "video-folder"
        assert source.episode_ids == ("a", "deep/b", "deep/c")
        assert (source.frame_rate, source.resolution, source.action_dim) == (20, (32, 160), 2)
        a, b, c = (source.episode(episode_id) for episode_id in source.episode_ids)
        np.testing.assert_array_equal(a.actions(), values.astype(np.float32))
        assert b.length == 9
        np.testing.assert_array_equal(b.actions()[:8], values[:8].astype(np.float32))
        np.testing.assert_array_equal(b.actions()[8], values[7], "the last frame needs none")
        np.testing.assert_array_equal(c.actions(), values[:8].astype(np.float32))
        assert read_codes(c.frames("video", [7, 0])) == [10, 3]
        assert [path.name for path in a.files("video")] == ["a.mp4", "a.npy"]
        assert source.check() == []

    def test_videos_alone(self, tmp_path: Path, encode_video: Encode) -> None:
        encode_video(tmp_path / "one.mp4", 4)
        shutil.copy(tmp_path / "one.mp4", tmp_path / "two.mp4")
        encode_video(tmp_path / "three.avi", 4, codec="mpeg4", rate=10, height=48)
        encode_video(tmp_path / ".hidden.mp4", 4)
        source = open_source(tmp_path)
        assert source.episode_ids == ("one", "three", "two")
        assert source.episode("two").actions().shape == (4, 0)
        assert source.episode("two").files("video") == (tmp_path / "two.mp4",)
        assert sorted(_codes(source.check())) == ["frame-rate", "repeated-episode", "resolution"]
        with pytest.raises(BadInputError, match="has no video 'four'"):
            source.episode("four")

    @pytest.mark.parametrize("rows", [8, 11, 0])
    def test_rows_that_match_neither_frames_nor_one_fewer(
        self, rows: int, tmp_path: Path, encode_video: Encode
    ) -> None:
        encode_video(tmp_path / "a.mp4", 10)
        np.save(tmp_path / "a.npy", np.zeros((rows, 2)))
        source = open_source(tmp_path)
        said = rf"a\.npy have {rows} rows but a\.mp4 has 10 frames; give one row for each frame"
        with pytest.raises(BadInputError, match=said):
            source.episode("a")
        assert {each.severity for each in source.check()} == {"error"}

    def test_actions_that_cannot_be_used(self, tmp_path: Path, encode_video: Encode) -> None:
        for name in "abcd":
            encode_video(tmp_path / f"{name}.mp4", ord(name) - 90)
        np.save(tmp_path / "a.npy", np.zeros((7, 2)))
        np.save(tmp_path / "b.npy", np.asarray([{"an": "object"}]), allow_pickle=True)
        np.save(tmp_path / "c.npy", np.full((9, 3), np.nan))
        source = open_source(tmp_path)
        found = {each.where: each for each in source.check()}
        assert found["b.npy"].code == "unreadable-actions"
        assert "cannot be read as numbers" in found["b.npy"].message
        assert "are 3 wide, but the first of the dataset are 2" in found["c.npy"].message
        assert found["d.mp4"].code == "missing-actions"
        assert all(each.severity == "error" for each in found.values())
        with pytest.raises(BadInputError, match="has no actions beside it"):
            source.episode("d").actions()

    def test_a_deep_check_decodes(self, tmp_path: Path, encode_video: Encode) -> None:
        path = encode_video(tmp_path / "a.mp4", 30, options={"bf": "0"})
        with av.open(str(path)) as container:
            victim = [packet for packet in container.demux(video=0) if packet.size][12]
            at, size = victim.pos, victim.size
        data = bytearray(path.read_bytes())
        data[at + 8 : at + size] = bytes(255 - byte for byte in data[at + 8 : at + size])
        path.write_bytes(bytes(data))
        source = open_source(tmp_path)
        assert source.check() == []
        (problem,) = source.check(deep=True)
        assert (problem.code, problem.severity, problem.where) == (
            "undecodable-frame",
            "error",
            "a.mp4",
        )

    def test_a_truncated_video_is_refused(self, tmp_path: Path, encode_video: Encode) -> None:
        path = encode_video(tmp_path / "a.mp4", 60, container_options={"movflags": "faststart"})
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        source = open_source(tmp_path)
        with pytest.raises(BadInputError, match=r"a\.mp4 is cut off: it holds \d+ of 60 frames"):
            source.episode("a")
        (problem,) = source.check()
        assert (problem.code, problem.severity) == ("truncated-video", "error")


class TestEgoDex:
    def _poses(self, frames: int) -> dict[str, np.ndarray]:
        """Rigid poses that move at random, the camera's among them."""
        generator = np.random.default_rng(4)
        joints = ["camera", *(f"{side}{joint}" for side in SIDES for joint in ("Hand", *TIPS))]
        poses = {}
        for joint in joints:
            pose = np.tile(np.eye(4), (frames, 1, 1))
            pose[:, :3, :3] = Rotation.random(frames, rng=generator).as_matrix()
            pose[:, :3, 3] = generator.normal(size=(frames, 3))
            poses[joint] = pose
        return poses

    def _write(self, path: Path, frames: int, **attributes: Any) -> dict[str, np.ndarray]:
        poses = self._poses(frames)
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["camera/intrinsic"] = np.eye(3, dtype=np.float32)
            for joint, pose in poses.items():
                file[f"transforms/{joint}"] = pose.astype(np.float32)
            file.attrs.update(attributes)
        return poses

    def test_the_next_hands_as_this_camera_sees_them(
        self, tmp_path: Path, encode_video: Encode, read_codes: Read
    ) -> None:
        texts = {"llm_description": "fold the towel.", "llm_description2": "unfold the towel."}
        reversible = {"llm_type": "reversible", "which_llm_description": "2"}
        poses = self._write(tmp_path / "fold_towel/0.hdf5", 12, **texts, **reversible)
        self._write(tmp_path / "fold_towel/10.hdf5", 9, **texts)
        self._write(tmp_path / "fold_towel/2.hdf5", 9)
        for name, frames in (("0", 12), ("10", 10), ("2", 9)):
            encode_video(tmp_path / f"fold_towel/{name}.mp4", frames, rate=30)
        source = open_source(tmp_path)
        assert source.format == "egodex"
        assert source.episode_ids == ("fold_towel/0", "fold_towel/2", "fold_towel/10")
        assert (source.cameras, source.frame_rate, source.action_dim) == (("head",), 30, 48)
        episode = source.episode("fold_towel/0")
        assert episode.length == 12
        assert episode.instruction == "unfold the towel."
        assert source.episode("fold_towel/10").instruction == "fold the towel."
        assert source.episode("fold_towel/2").instruction is None
        assert read_codes(episode.frames("head", [11, 0])) == [11, 0]
        actions = episode.actions()
        assert actions.shape == (12, 48)
        names = action_names()
        for k in (0, 5, 10):
            camera = poses["camera"][k]
            for side in SIDES:
                wrist = poses[f"{side}Hand"][k + 1]
                rotation = camera[:3, :3].T @ wrist[:3, :3]
                position = camera[:3, :3].T @ (wrist[:3, 3] - camera[:3, 3])
                at = names.index(f"{side}_wrist_x")
                np.testing.assert_allclose(actions[k, at : at + 3], position, atol=1e-5)
                columns = np.concatenate([rotation[:, 0], rotation[:, 1]])
                np.testing.assert_allclose(actions[k, at + 3 : at + 9], columns, atol=1e-5)
                tip = poses[f"{side}RingFingerTip"][k + 1][:3, 3]
                at = names.index(f"{side}_RingFingerTip_x")
                seen = camera[:3, :3].T @ (tip - camera[:3, 3])
                np.testing.assert_allclose(actions[k, at : at + 3], seen, atol=1e-5)

    def test_what_the_check_finds(self, tmp_path: Path, encode_video: Encode) -> None:
        self._write(tmp_path / "t/0.hdf5", 12)
        self._write(tmp_path / "t/1.hdf5", 9)
        self._write(tmp_path / "t/9.hdf5", 9)
        encode_video(tmp_path / "t/0.mp4", 10)
        encode_video(tmp_path / "t/1.mp4", 9)
        encode_video(tmp_path / "t/5.mp4", 9)
        with h5py.File(tmp_path / "t/1.hdf5", "a") as file:
            del file["transforms/leftThumbTip"]
        source = open_source(tmp_path)
        found = {each.where: each.code for each in source.check()}
        assert found == {
            "t/0.mp4": "length-mismatch",
            "t/1.hdf5": "unreadable-poses",
            "t/5.mp4": "unpaired-file",
            "t/9.hdf5": "unpaired-file",
        }
        assert source.episode("t/0").length == 10
        with h5py.File(tmp_path / "t/0.hdf5", "a") as file:
            file["transforms/camera"][3] = 0.0
        with pytest.raises(BadInputError, match="is no rigid transform"):
            source.episode("t/0").actions()
        with pytest.raises(BadInputError, match="has no 'transforms/leftThumbTip'"):
            source.episode("t/1").actions()
        (tmp_path / "t/0.hdf5").write_bytes(b"not hdf5")
        with pytest.raises(BadInputError, match=r"0\.hdf5 cannot be read as HDF5"):
            open_source(tmp_path).episode("t/0")

    def test_without_h5py_it_says_how_to_install_it(
        self, tmp_path: Path, encode_video: Encode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._write(tmp_path / "t/0.hdf5", 3)
        encode_video(tmp_path / "t/0.mp4", 3)
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(BadInputError, match=r"pip install 'dojobench\[egodex\]'"):
            open_source(tmp_path)


class TestDroid:
    def _write(self, root: Path, encode: Encode, raw: int = 25, **changes: Any) -> Path:
        """An episode whose command at raw step ``i`` is ``i + 0.5`` and whose pose is ``i``."""
        poses = np.repeat(np.arange(raw, dtype=float)[:, None], 6, axis=1)
        grippers = (np.arange(raw) / 100).tolist()
        frames = len(poses[::3])
        states = np.concatenate([poses, np.asarray(grippers)[:, None]], axis=1)[::3]
        annotation = {
            "texts": ["", "put it down"],
            "episode_id": 4,
            "success": 0,
            "video_length": frames,
            "state_length": frames,
            "raw_length": raw,
            "videos": [{"video_path": f"videos/train/4/{camera}.mp4"} for camera in range(3)],
            "states": states.tolist(),
            "observation.state.cartesian_position": poses.tolist(),
            "observation.state.gripper_position": grippers,
            "action.cartesian_position": (poses + 0.5).tolist(),
            "action.gripper_position": [value + 0.005 for value in grippers],
        }
        for camera in range(3):
            encode(root / f"videos/train/4/{camera}.mp4", range(camera, camera + frames), rate=5)
        path = root / "annotation/train/4.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(annotation | changes))
        return path

    def test_commands_and_states_lead_to_the_next_frame(
        self, tmp_path: Path, encode_video: Encode, read_codes: Read
    ) -> None:
        self._write(tmp_path, encode_video)
        source = open_source(tmp_path)
        assert source.format == "droid-json"
        assert source.cameras == ("exterior_1_left", "exterior_2_left", "wrist_left")
        assert (source.frame_rate, source.action_dim) == (5, 7)
        episode = source.episode("train/4")
        assert (episode.length, episode.success, episode.instruction) == (9, False, "put it down")
        assert read_codes(episode.frames("wrist_left", [8, 0])) == [10, 2]
        # Frame k shows raw step 3 k; the last command before frame k + 1 is that of step 3 k + 2.
        expected = [3 * k + 2 + 0.5 for k in range(8)] + [24.5]
        np.testing.assert_allclose(episode.actions()[:, 0], expected)
        np.testing.assert_allclose(episode.actions()[3, 6], 0.11 + 0.005)
        states = open_source(tmp_path, options=ReadOptions(action_key="state"))
        reached = states.episode("train/4").actions()
        np.testing.assert_allclose(reached[:, 0], [3, 6, 9, 12, 15, 18, 21, 24, 24])
        assert source.check(deep=True) == []

    def test_what_the_check_finds(self, tmp_path: Path, encode_video: Encode) -> None:
        self._write(tmp_path, encode_video, raw_length=99, video_length=8)
        encode_video(tmp_path / "videos/train/4/1.mp4", 6, rate=5)
        (tmp_path / "videos/train/4/2.mp4").unlink()
        source = open_source(tmp_path)
        assert source.cameras == ("exterior_1_left", "exterior_2_left")
        assert source.episode("train/4").length == 6
        assert sorted(_codes(source.check())) == [
            "count-mismatch",
            "count-mismatch",
            "count-mismatch",
            "length-mismatch",
            "missing-stream",
        ]

    def test_annotations_that_cannot_be_used(self, tmp_path: Path, encode_video: Encode) -> None:
        self._write(tmp_path, encode_video, states=[[0.0] * 7] * 9)
        with pytest.raises(BadInputError, match="no stride turns the 25 recorded poses"):
            open_source(tmp_path).episode("train/4")
        state = ReadOptions(action_key="state")
        assert open_source(tmp_path, options=state).episode("train/4").length == 9
        with pytest.raises(BadInputError, match="offer the actions command and state, not 'x'"):
            open_source(tmp_path, options=ReadOptions(action_key="x"))
        videos = [{"video_path": "../../secret.mp4"}]
        self._write(tmp_path, encode_video, videos=videos)
        with pytest.raises(BadInputError, match="lies outside the dataset"):
            open_source(tmp_path)
        self._write(tmp_path, encode_video, videos="none")
        with pytest.raises(BadInputError, match=r"4\.json the field 'videos' is not usable"):
            open_source(tmp_path)

    @pytest.mark.data
    def test_real_annotations(self, data_dir: Path) -> None:
        source = open_source(data_dir / "droid_real")
        assert isinstance(source, DroidJsonSource)
        assert len(source.episode_ids) == 11
        assert source.episode_ids[0] == "train/0"
        assert source.episode_ids[-4:] == ("val/199", "val/899", "val/1799", "val/18599")
        assert (source.frame_rate, source.resolution) == (5, (192, 320))
        assert source.check() == []
        outcomes = [source.episode(i).success for i in source.episode_ids]
        assert outcomes.count(True) == 4
        assert outcomes.count(False) == 7
        for episode_id in ("train/0", "val/899"):
            raw = json.loads(source.annotations[episode_id].read_text())
            episode = source.episode(episode_id)
            assert episode.length == raw["video_length"]
            actions = episode.actions()
            for k in (0, 7, episode.length - 2):
                expected = [
                    *raw["action.cartesian_position"][3 * k + 2],
                    raw["action.gripper_position"][3 * k + 2],
                ]
                np.testing.assert_allclose(actions[k], expected, rtol=1e-6)
            reached = open_source(source.root, options=ReadOptions(action_key="state"))
            rows = reached.episode(episode_id).actions()
            np.testing.assert_allclose(rows[:-1], raw["states"][1:], rtol=1e-6)
            for camera in source.cameras:
                assert episode.frames(camera, [episode.length - 1]).shape == (1, 3, 192, 320)

    @pytest.mark.data
    def test_real_commands_tell_where_the_arm_goes_next(self, data_dir: Path) -> None:
        """A command minus the pose it is given at points the way that the arm then moves."""
        source = open_source(data_dir / "droid_real")
        agreement = []
        for episode_id in source.episode_ids:
            raw = json.loads(source.annotations[episode_id].read_text())
            states = np.asarray(raw["states"])[:, :3]
            towards = source.episode(episode_id).actions()[:-1, :3] - states[:-1]
            moved = np.diff(states, axis=0)
            fast = np.linalg.norm(moved, axis=1) > 0.01
            dots = (towards * moved).sum(1)[fast]
            sizes = np.linalg.norm(towards, axis=1)[fast] * np.linalg.norm(moved, axis=1)[fast]
            agreement.append((dots / sizes).mean())
        assert min(agreement) > 0.6


class TestFormats:
    @pytest.mark.data
    @pytest.mark.parametrize(
        ("folder", "format_", "episodes"),
        [
            ("gr1_sim", "lerobot-v2.0", 5),
            ("g1_real", "lerobot-v2.1", 71),
            ("reachy2_v30_meta", "lerobot-v3.0", 3),
            ("droid_real", "droid-json", 11),
            ("human_hand_video", "video-folder", 1),
            ("umi_wrist_video", "video-folder", 1),
            ("labeled_frames_video", "video-folder", 2),
            ("irasim_predictions", "video-folder", 8),
        ],
    )
    def test_real_folders(
        self, folder: str, format_: str, episodes: int, data_dir: Path, tmp_path: Path
    ) -> None:
        source = open_source(data_dir / folder)
        assert (source.format, len(source.episode_ids)) == (format_, episodes)
        assert open_source(data_dir / folder, source.format).format == format_
        disguised = tmp_path / "egodex_droid_lerobot"
        disguised.symlink_to(data_dir / folder)
        assert open_source(disguised).format == format_, "a path's name says nothing"

    @pytest.mark.data
    def test_real_video_folders(self, data_dir: Path) -> None:
        hand = open_source(data_dir / "human_hand_video")
        assert (hand.resolution, hand.frame_rate) == ((720, 1280), 30)
        assert hand.episode("human_hand_video").length == 621
        wrist = open_source(data_dir / "umi_wrist_video")
        assert (wrist.resolution, wrist.frame_rate) == ((224, 224), 10)
        assert wrist.episode(wrist.episode_ids[0]).length == 400
        assert hand.check() == wrist.check() == []
        predictions = open_source(data_dir / "irasim_predictions")
        assert _codes(predictions.check()) == ["resolution"] * 4
        labelled = open_source(data_dir / "labeled_frames_video")
        assert labelled.check(deep=True) == []

    def test_unknown_folders_list_what_is_known(self, tmp_path: Path) -> None:
        with pytest.raises(BadInputError, match="in no known format") as caught:
            detect_format(tmp_path)
        assert all(name in str(caught.value) for name in FORMATS)
        with pytest.raises(BadInputError, match="There is no folder"):
            open_source(tmp_path / "absent")
        with pytest.raises(BadInputError, match="There is no dataset format 'rlds'"):
            open_source(tmp_path, "rlds")
        with pytest.raises(BadInputError, match="holds no video"):
            open_source(tmp_path, "video-folder")
        with pytest.raises(BadInputError, match="has no annotation/"):
            open_source(tmp_path, "droid-json")
        with pytest.raises(BadInputError, match=r"holds no N\.hdf5"):
            open_source(tmp_path, "egodex")

    def test_lerobot_without_its_info_is_not_taken_for_a_video_folder(
        self, tmp_path: Path, lerobot_v3: Callable[..., Path]
    ) -> None:
        root = lerobot_v3()
        with pytest.raises(BadInputError, match=r"to be read as lerobot-v2\.1 but is lerobot-v3"):
            open_source(root, "lerobot-v2.1")
        (root / "meta/info.json").unlink()
        with pytest.raises(BadInputError, match=r"without its meta/info\.json"):
            open_source(root)
        assert open_source(root, "video-folder").format == "video-folder"
