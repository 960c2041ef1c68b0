"""Predictions in files: three formats, with and without context, and every way to be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dojobench.benchmarks.frame_files import open_frames
from dojobench.benchmarks.predictions import PredictedVideos
from dojobench.benchmarks.predictions_run import PredictionsConfig, score_predictions
from dojobench.benchmarks.records import load_run, load_summary
from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.protocol import BadInputError


def answers(suite: Any, clip: Any, seed: int = 0) -> torch.Tensor:
    """A prediction that is wrong by a known amount: the truth, darker by ten and the seed."""
    frames = suite.open(clip).read(0, clip.frames)
    return (frames.int() - 10 - seed).clamp(0).to(torch.uint8)


def write_png(frame: torch.Tensor, file: Path) -> None:
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(file)


def write_pngs(folder: Path, frames: torch.Tensor) -> None:
    folder.mkdir(parents=True)
    for k, frame in enumerate(frames):
        write_png(frame, folder / f"{k:05d}.png")


def scored(suite: Any) -> list[Any]:
    return [clip for clip in suite.clips if clip.split == "val"]


def run(folder: Path, suite: Any, out: Path, **changes: Any) -> Path:
    model = PredictedVideos(folder, suite, scored(suite), name="files", adapt=changes.get("adapt"))
    settings = {"metrics": ("psnr",), "baselines": (), "checks": 0, "videos": "none"}
    config = RunConfig(
        model=str(folder), suite="memory", out=out, seeds=model.seeds, **settings | changes
    )
    return run_benchmark(config, suite=suite, model=model)


@pytest.mark.parametrize("kind", ["png", "npz", "npz-channels-first"])
@pytest.mark.parametrize("context", [True, False])
def test_formats_agree(tmp_path: Path, memory_suite: Any, kind: str, context: bool) -> None:
    suite = memory_suite()
    (tmp_path / "p").mkdir()
    for clip in scored(suite):
        frames = answers(suite, clip)[0 if context else 2 :]
        if kind == "png":
            write_pngs(tmp_path / "p" / clip.id, frames)
        else:
            last = frames.permute(0, 2, 3, 1) if kind == "npz" else frames
            np.savez_compressed(tmp_path / "p" / clip.id, frames=last.contiguous().numpy())
    folder = run(tmp_path / "p", suite, tmp_path / "run", batch=2, steps_at_once="3")
    summary, meta = load_summary(folder), load_run(folder).meta
    assert summary.metrics["psnr"].mean == pytest.approx(20 * np.log10(255 / 10), abs=1e-6)
    assert ("files include the 2 context frames" in meta.notes[0]) == context
    assert not meta.model.privileged
    assert meta.model.weights.startswith("sha256:")


def test_video_files_and_seeds(tmp_path: Path, memory_suite: Any) -> None:
    suite = memory_suite(size=(64, 64))
    for clip in scored(suite):
        for seed in (0, 3):
            file = tmp_path / "p" / f"{clip.id}.s{seed}.mp4"
            with VideoWriter(file, rate=10, resolution=(64, 64)) as writer:
                writer.write(answers(suite, clip, 5 * seed))
    folder = run(tmp_path / "p", suite, tmp_path / "run")
    values = {r.key: r.values["psnr"] for r in load_run(folder).records}
    assert {seed for _, seed in values} == {0, 3}
    assert all(values[clip.id, 0] > values[clip.id, 3] for clip in scored(suite))
    assert any("compressed" in note for note in load_run(folder).meta.notes)


def test_changed_predictions_are_another_run(tmp_path: Path, memory_suite: Any) -> None:
    suite = memory_suite()
    for clip in scored(suite):
        write_pngs(tmp_path / "p" / clip.id, answers(suite, clip))
    run(tmp_path / "p", suite, tmp_path / "run")
    write_png(torch.zeros(3, 32, 40, dtype=torch.uint8), tmp_path / "p/clip-03/00003.png")
    with pytest.raises(BadInputError, match=r"model\.weights: sha256"):
        run(tmp_path / "p", suite, tmp_path / "run")


def test_what_is_wrong_is_named(tmp_path: Path, memory_suite: Any) -> None:
    suite = memory_suite(clips=2)
    folder = tmp_path / "p"
    with pytest.raises(BadInputError, match="does not exist"):
        run(folder, suite, tmp_path / "run")
    write_pngs(folder / "clip-03", answers(suite, suite.clips[3]))
    with pytest.raises(BadInputError, match=r"no prediction of 1 clips, such as clip-04; add"):
        run(folder, suite, tmp_path / "run")
    write_pngs(folder / "clip-04", answers(suite, suite.clips[4])[:5])
    with pytest.raises(
        BadInputError, match=r"clip-04 has 5 frames and clip clip-04 has 9, of which 2.*write 7"
    ):
        run(folder, suite, tmp_path / "run")
    (folder / "clip-04/00002.png").unlink()
    with pytest.raises(BadInputError, match=r"lacks frame 00002\.png"):
        run(folder, suite, tmp_path / "run")
    for file in (folder / "clip-04").iterdir():
        file.unlink()
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), folder / "clip-04/00000.png")
    with pytest.raises(BadInputError, match="1 frames"):
        run(folder, suite, tmp_path / "run")
    write_pngs(folder / "clip-99", answers(suite, suite.clips[4]))
    with pytest.raises(BadInputError, match="clip-99 belongs to no clip"):
        run(folder, suite, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_size_needs_adapt(tmp_path: Path, memory_suite: Any) -> None:
    suite = memory_suite(clips=1)
    (tmp_path / "p").mkdir()
    frames = answers(suite, suite.clips[3])[..., ::2, ::2].permute(0, 2, 3, 1)
    np.savez(tmp_path / "p/clip-03.npz", frames=frames.contiguous().numpy())
    with pytest.raises(BadInputError, match=r"16x20 and clip clip-03 is 32x40.*--adapt resize"):
        run(tmp_path / "p", suite, tmp_path / "run")
    folder = run(tmp_path / "p", suite, tmp_path / "run", adapt="resize")
    assert load_run(folder).meta.adapt == "resize"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"frames": np.zeros((4, 8, 8, 3), np.float32)}, "is float32; save uint8"),
        ({"frames": np.array([{"a": 1}], dtype=object)}, "is object; save uint8"),
        ({"frames": np.zeros((4, 8, 8), np.uint8)}, "has shape"),
        ({"video": np.zeros((4, 8, 8, 3), np.uint8)}, "no array frames"),
    ],
)
def test_odd_npz(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BadInputError, match=message):
        open_frames(tmp_path / "a.npz")


def test_npz_reads_any_stretch(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 12), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", frames=frames)
    opened = open_frames(tmp_path / "a.npz")
    assert (opened.count, opened.resolution) == (9, (8, 12))
    for start, stop in [(0, 3), (5, 9), (1, 2), (2, 4)]:
        np.testing.assert_array_equal(opened.read(start, stop).numpy(), frames[start:stop])
    opened.close()


@pytest.mark.parametrize("name", ["a.npz", "a.mp4"])
def test_garbage_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not what it says" * 9)
    with pytest.raises(BadInputError, match=r"a\.(npz|mp4)"):
        open_frames(tmp_path / name)


def test_pairs_without_a_suite(tmp_path: Path, memory_suite: Any) -> None:
    suite = memory_suite(clips=2)
    both = tmp_path / "both"
    for name, clip in zip(("short", "long"), scored(suite), strict=True):
        write_pngs(both / f"{name}_gt", suite.open(clip).read(0, 9))
        write_pngs(both / f"{name}_pred", answers(suite, clip))
    folder = score_predictions(
        PredictionsConfig(
            predictions=both, truth=both, name="m", out=tmp_path / "run", metrics=("psnr",),
            context=2, videos="none",
        )
    )  # fmt: skip
    run = load_run(folder)
    assert run.meta.clip_ids == ("long", "short")
    assert run.records[0].values["psnr"] == pytest.approx(20 * np.log10(25.5), abs=1e-6)
    assert set(run.baselines()) == {"hold"}
    with pytest.raises(BadInputError, match="either --suite, or --truth"):
        score_predictions(PredictionsConfig(predictions=both, name="m", out=tmp_path / "r"))
