"""Making a study: media that tell nothing, gold pairs that are gold, commands that are seen."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.datasets.suite import Clip, ClipRecord, SuiteSpec
from dojobench.human_eval.catalog import CatalogClip, media_path, open_study
from dojobench.human_eval.create import CreateConfig, create_study
from dojobench.human_eval.gold import difference, other_future, partners, shuffled
from dojobench.human_eval.lanes import dimension_units, fit_compass, lane_data, value_limits
from dojobench.human_eval.media_encoder import encode_video, pad_alike, scale, watchable
from dojobench.protocol import ActionSpace, BadInputError

FRAMES, CONTEXT, SIZE = 10, 3, 32
SPACE = ActionSpace(
    dim=4,
    embodiment="toy",
    kind="mixed",
    names=("dx", "dy", "dz", "grip"),
    units="m, m, m relative to the last target; open fraction",
)


class ToyTruth:
    """Knows which pixels the toy's square covers."""

    def __init__(self, frames: torch.Tensor) -> None:
        self._frames = frames

    def segmentation(self, start: int, stop: int) -> torch.Tensor:
        return (self._frames[start:stop, 0] > 200).to(torch.uint8)


class ToyClip:
    """A white square that moves as it is told: dx to the right, dz upwards."""

    def __init__(self, record: ClipRecord, known: bool) -> None:
        self.record = record
        rng = np.random.default_rng(list(record.id.encode()))
        steps = rng.integers(-1, 2, (record.frames - 1, 2))
        if record.branch_group is not None:
            shared = np.random.default_rng(list(record.branch_group.encode()))
            steps[: CONTEXT - 1] = shared.integers(-1, 2, (CONTEXT - 1, 2))
        places = np.clip(14 + 2 * np.concatenate([[[0, 0]], steps.cumsum(axis=0)]), 2, 24)
        moved = np.diff(places, axis=0) / 2
        self.actions = torch.zeros(record.frames - 1, SPACE.dim)
        self.actions[:, 0] = torch.from_numpy(moved[:, 0]) * 0.01
        self.actions[:, 2] = torch.from_numpy(-moved[:, 1]) * 0.01
        self._frames = torch.full((record.frames, 3, SIZE, SIZE), 60, dtype=torch.uint8)
        for frame, (x, y) in zip(self._frames, places, strict=True):
            frame[:, y : y + 6, x : x + 6] = 250
        if known:
            self.truth = ToyTruth(self._frames)

    def read(self, start: int, stop: int, *, view: str | None = None) -> torch.Tensor:
        return self._frames[start:stop]

    def close(self) -> None:
        pass


class ToySuite:
    """Six clips, of which the first three are branches of one state."""

    def __init__(self, known: bool = True) -> None:
        self.spec = SuiteSpec(
            name="toy",
            version="sha256:" + "0" * 64,
            resolution=(SIZE, SIZE),
            frame_rate=10.0,
            context_frames=CONTEXT,
            action_space=SPACE,
        )
        self._known = known
        self.clips = tuple(
            ClipRecord(
                id=f"clip-{k}",
                source="toy",
                revision="1",
                episode="branched" if k < 3 else f"episode-{k}",
                start=0,
                stride=1,
                frames=FRAMES,
                split="counterfactual" if k < 3 else "val",
                embodiment="toy",
                camera="front",
                branch_group="branched" if k < 3 else None,
            )
            for k in range(6)
        )

    def open(self, clip: ClipRecord) -> Clip:
        return ToyClip(clip, self._known)


SUITE = ToySuite()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models' videos: one with the context, one without and twice as large."""
    folder = tmp_path_factory.mktemp("videos")
    for name, skip, factor in (("mimsy-large", 0, 1), ("borogove-xl", CONTEXT, 2)):
        for record in SUITE.clips:
            frames = 255 - SUITE.open(record).read(skip, FRAMES)
            frames = frames.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
            file = folder / name / f"{record.id}.mp4"
            with VideoWriter(file, rate=10, resolution=(SIZE * factor, SIZE * factor)) as video:
                video.write(frames)
    return [str(folder / "mimsy-large"), str(folder / "borogove-xl")]


@pytest.fixture(scope="module")
def study(folders: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of all six clips."""
    out = tmp_path_factory.mktemp("made") / "study"
    create_study(folders, SUITE, out, CreateConfig(title="Robots", pairs=6))
    return out


@pytest.fixture
def make(folders: list[str], tmp_path: Path) -> Callable[..., Path]:
    def make(out: str = "study", suite: ToySuite = SUITE, **options: object) -> Path:
        config = CreateConfig(**{"title": "Robots", "pairs": 2, **options})
        create_study(folders, suite, tmp_path / out, config)
        return tmp_path / out

    return make


def videos_of(clip: CatalogClip) -> list[str]:
    fakes = [gold.fake for gold in clip.gold]
    return [clip.truth, *clip.outputs.values(), *fakes]


def read_video(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_a_study_can_be_opened_and_its_models_are_those_named(study: Path) -> None:
    opened = open_study(study)
    assert opened.study.model_names == ("mimsy-large", "borogove-xl")
    assert len(opened.clips) == 6
    assert {clip.frames for clip in opened.clips.values()} == {FRAMES}


def test_all_videos_of_a_clip_are_alike_in_everything_but_their_pictures(study: Path) -> None:
    folder = study
    for clip in open_study(folder).clips.values():
        facts = set()
        for media in videos_of(clip):
            path = media_path(folder, media, "mp4")
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                frames = list(container.decode(video=0))
                facts.add((
                    path.stat().st_size, path.stat().st_mtime, stream.average_rate, stream.frames,
                    stream.duration, stream.codec_context.name, stream.codec_context.pix_fmt,
                    stream.codec_context.profile, len(container.streams), len(frames),
                    stream.codec_context.extradata, frames[0].width, frames[0].height,
                    str(container.metadata), str(stream.metadata),
                ))  # fmt: skip
                assert all(frame.key_frame for frame in frames)
        assert len(facts) == 1
        (fact,) = facts
        assert fact[2] == 10
        assert fact[3] == FRAMES


def test_no_file_but_plan_and_catalogue_names_a_model_or_an_encoder(study: Path) -> None:
    folder = study
    for path in (folder / "media").iterdir():
        assert re.fullmatch(r"[0-9a-f]{32}\.(mp4|png|json)", path.name)
        content = path.read_bytes().lower()
        for word in (b"mimsy", b"borogove", b"clip-", b"x264", b"lavf", b"lavc"):
            assert word not in content
    assert (folder / "catalog.json").stat().st_mode & 0o077 == 0


def test_made_twice_all_bytes_are_equal_and_another_seed_gives_other_names(
    make: Callable[..., Path],
) -> None:
    first, second, other = make("first"), make("second"), make("other", seed=1)
    names = [{p.name for p in (f / "media").iterdir()} for f in (first, other)]
    assert names[0].isdisjoint(names[1])
    files = [p.relative_to(first) for p in first.rglob("*") if p.is_file()]
    assert len(files) > 12
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_a_model_without_context_is_shown_with_the_true_one(study: Path) -> None:
    folder = study
    for clip in open_study(folder).clips.values():
        truth = read_video(media_path(folder, clip.truth, "mp4")).astype(int)
        shown = read_video(media_path(folder, clip.outputs["borogove-xl"], "mp4")).astype(int)
        assert np.abs(truth[:CONTEXT] - shown[:CONTEXT]).mean() < 6
        assert np.abs(truth[CONTEXT:] - shown[CONTEXT:]).mean() > 60


def test_gold_is_the_truth_spoilt(study: Path) -> None:
    folder = study
    kinds = []
    for clip in open_study(folder).clips.values():
        for gold in clip.gold:
            kinds.append((gold.kind, gold.axis))
            assert gold.real == clip.truth
            real = read_video(media_path(folder, gold.real, "mp4"))
            fake = read_video(media_path(folder, gold.fake, "mp4"))
            assert np.abs(real.astype(int) - fake)[CONTEXT:].max() > 100
    assert set(kinds) == {
        ("frame-shuffled", "physics"), ("other-branch", "action"), ("other-clip", "action"),
    }  # fmt: skip


def test_a_shuffle_keeps_context_and_pictures_and_is_none_where_nothing_moves() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (8, 4, 4, 3), dtype=np.uint8)
    fake = shuffled(frames, 3, rng)
    assert fake is not None
    assert (fake.frames[:3] == frames[:3]).all()
    assert sorted(map(bytes, fake.frames[3:])) == sorted(map(bytes, frames[3:]))
    assert shuffled(np.repeat(frames[:1], 8, axis=0), 3, rng) is None


def test_branches_come_first_and_the_clip_itself_never() -> None:
    first, *others = SUITE.clips
    assert {clip.id for clip in partners(first, SUITE.clips)} == {"clip-1", "clip-2"}
    assert {clip.id for clip in partners(others[-1], SUITE.clips)} == {
        "clip-0", "clip-1", "clip-2", "clip-3", "clip-4",
    }  # fmt: skip


def test_a_future_like_the_truth_is_no_gold() -> None:
    frames = np.zeros((6, 8, 8, 3), dtype=np.uint8)
    far = frames.copy()
    far[4:, :3] = 90
    assert other_future(SUITE.clips[0], frames, {"a": frames.copy()}, 2) is None
    found = other_future(SUITE.clips[0], frames, {"a": frames.copy(), "b": far}, 2)
    assert found is not None
    assert found.kind == "other-branch"
    assert difference(frames, found.frames, 2) > 40


@pytest.mark.parametrize(
    ("resolution", "shown"),
    [
        ((64, 64), (384, 384)),
        ((192, 320), (384, 640)),
        ((480, 640), (480, 640)),
        ((1080, 1920), (360, 640)),
        ((65, 97), (390, 582)),
    ],
)
def test_pictures_get_a_watchable_even_size(
    resolution: tuple[int, int], shown: tuple[int, int]
) -> None:
    picture = watchable(resolution)
    assert (picture.height, picture.width) == shown


def test_nearest_shows_each_pixel_as_it_is() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    scaled = scale(frames, watchable((64, 64), "nearest"))
    assert (scaled[:, 3::6, 3::6] == frames).all()


def test_padding_makes_files_equally_long_and_keeps_them_playable(tmp_path: Path) -> None:
    still = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, still.shape, dtype=np.uint8)
    files = {"still": encode_video(still, 10), "noise": encode_video(noise, 10)}
    assert len(files["still"]) < len(files["noise"]) / 4
    padded = pad_alike(files)
    assert len(padded["still"]) == len(padded["noise"])
    for name, content in padded.items():
        assert content.startswith(files[name])
        assert content[len(files[name]) + 4 :].startswith(b"free")
        (tmp_path / name).write_bytes(content)
        assert len(read_video(tmp_path / name)) == 4


def test_the_lane_gives_back_the_commands(study: Path) -> None:
    folder = study
    for clip in open_study(folder).clips.values():
        lane = json.loads(media_path(folder, clip.actions, "json").read_text())
        actions = SUITE.open(next(c for c in SUITE.clips if c.id == clip.clip)).actions
        assert [dim["name"] for dim in lane["dims"]] == list(SPACE.names)
        assert [dim["unit"] for dim in lane["dims"]] == ["m", "m", "m", ""]
        for k, dim in enumerate(lane["dims"]):
            raw = dim["low"] + np.array(dim["values"]) * (dim["high"] - dim["low"])
            assert raw == pytest.approx(actions[:, k].numpy(), abs=1e-4)
        assert lane["context"] == CONTEXT


def test_ranges_are_symmetric_around_zero_and_never_empty() -> None:
    limits = value_limits([np.array([[-1.0, 0.2, 5]]), np.array([[3.0, 0.4, 5]])])
    assert limits[:, 0] == pytest.approx([-3, 3])
    assert limits[:, 1] == pytest.approx([0.2, 0.4])
    assert limits[0, 2] < 5 < limits[1, 2]


@pytest.mark.parametrize(
    ("units", "found"), [("rad", ("rad", "rad")), ("rad, m", ("rad", "m")), ("", ("", ""))]
)
def test_units_are_told_apart_where_they_can_be(units: str, found: tuple[str, ...]) -> None:
    assert dimension_units(ActionSpace(dim=2, embodiment="x", units=units)) == found


def test_a_space_without_names_is_numbered() -> None:
    space = ActionSpace(dim=2, embodiment="x")
    limits = np.array([[-1.0, -1], [1, 1]])
    lane = lane_data(
        np.zeros((4, 2)), space, frames=5, rate=5.0, context=1, limits=limits, compass=None
    )
    assert [dim["name"] for dim in lane["dims"]] == ["a1", "a2"]


def test_the_compass_points_where_the_square_goes() -> None:
    compass = fit_compass([SUITE.open(clip) for clip in SUITE.clips], SPACE)
    assert compass is not None
    right, down = np.array(compass["matrix"])
    assert right[0] == pytest.approx(2 / SIZE / 0.01, rel=0.05)  # dx: to the right
    assert down[2] == pytest.approx(-2 / SIZE / 0.01, rel=0.05)  # dz: upwards
    assert abs(right[2]) < 0.1 * right[0]
    assert compass["grip"] == 3


def test_there_is_no_compass_without_truth_or_without_known_directions() -> None:
    clips = [ToySuite(known=False).open(clip) for clip in SUITE.clips]
    assert fit_compass(clips, SPACE) is None
    other = ActionSpace(dim=4, embodiment="x", names=("a", "b", "c", "d"))
    assert fit_compass([SUITE.open(clip) for clip in SUITE.clips], other) is None


def test_there_is_no_compass_where_commands_do_not_explain_the_motion() -> None:
    clips = [SUITE.open(clip) for clip in SUITE.clips]
    rng = np.random.default_rng(0)
    for clip in clips:
        clip.actions = torch.from_numpy(rng.normal(size=tuple(clip.actions.shape))).float()
    assert fit_compass(clips, SPACE) is None


def test_without_truth_shown_the_first_frame_stands_in(make: Callable[..., Path]) -> None:
    clips = open_study(make(reference="first-frame")).clips.values()
    assert all(clip.truth is None and clip.gold for clip in clips)


def test_long_clips_are_cut_for_all_alike(make: Callable[..., Path]) -> None:
    folder = make(max_seconds=0.6)
    for clip in open_study(folder).clips.values():
        assert clip.frames == 6
        assert {len(read_video(media_path(folder, m, "mp4"))) for m in videos_of(clip)} == {6}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 7}, "only 6 clips"),
        ({"anchor": "mimsy-lage"}, "did you mean 'mimsy-large'"),
        ({"title": "Is Mimsy-Large good?"}, "names the model mimsy-large"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(
    make: Callable[..., Path], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        make(**options)
    assert not [path for path in tmp_path.iterdir() if "study" in path.name]


def test_runs_that_do_not_fit_are_named(folders: list[str], tmp_path: Path) -> None:
    other = tmp_path / "borogove-xl"
    shutil.copytree(folders[1], other)
    folders = [folders[0], str(other)]
    config = CreateConfig(title="Robots", pairs=2)

    def refuse(runs: list[str], message: str) -> None:
        with pytest.raises(BadInputError, match=message):
            create_study(runs, SUITE, tmp_path / "study", config)
        assert not (tmp_path / "study").exists()

    refuse(folders[:1], "compares two models")
    refuse([folders[0], f"mimsy-large={folders[1]}"], "both called 'mimsy-large'")
    refuse([folders[0], str(tmp_path / "absent")], "there is no folder")
    (other / "clip-9.mp4").write_bytes(b"")
    refuse(folders, "clip-9.mp4 belongs to no clip")
    (other / "clip-9.mp4").unlink()
    for record in SUITE.clips:
        wide = other / f"{record.id}.mp4"
        with VideoWriter(wide, rate=10, resolution=(SIZE, 2 * SIZE)) as video:
            video.write(torch.zeros(FRAMES, 3, SIZE, 2 * SIZE, dtype=torch.uint8))
    refuse(folders, "another shape")


def test_an_existing_folder_is_left_alone(study: Path, folders: list[str]) -> None:
    before = (study / "study.toml").read_bytes()
    with pytest.raises(BadInputError, match="exists"):
        create_study(folders, SUITE, study, CreateConfig(title="Other", pairs=2))
    assert (study / "study.toml").read_bytes() == before
