"""Runs on real clips, judged by computations that share no code with the project."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.predictions_run import PredictionsConfig, score_predictions
from dojobench.benchmarks.records import load_run, load_summary
from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.datasets.formats import open_source
from dojobench.datasets.freeze import FreezePlan, freeze
from dojobench.datasets.manifest import write_manifest

pytestmark = pytest.mark.data

FRAMES, CONTEXT = 49, 1


@pytest.fixture(scope="module")
def gr1(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A suite of 19 clips that do not overlap, of 5 episodes, at 10 Hz."""
    folder = tmp_path_factory.mktemp("gr1")
    plan = FreezePlan(name="gr1-test", embodiment="gr1", frames=FRAMES, stride=2, lead=0)
    frozen = freeze(open_source(data_dir / "gr1_sim"), plan)
    write_manifest(folder / "gr1.jsonl", frozen.header, frozen.clips)
    return {
        "suite": str(folder / "gr1.jsonl"),
        "data": data_dir,
        "metrics": ("psnr",),
        "baselines": (),
        "videos": "none",
        "checks": 0,
    }


def test_hold_agrees_with_ten_lines_of_numpy(
    gr1: dict[str, Any], data_dir: Path, tmp_path: Path
) -> None:
    run_benchmark(RunConfig(model="hold", out=tmp_path / "hold", **gr1))
    run = load_run(tmp_path / "hold")
    assert len(run.records) == 19

    scores, videos = [], {}
    for record in run.records:
        line = next(c for c in Path(gr1["suite"]).read_text().splitlines() if record.clip in c)
        start = int(line.split('"start":')[1].split(",")[0])
        file = f"videos/chunk-000/observation.images.ego_view/episode_{int(record.episode):06d}.mp4"
        if file not in videos:
            with av.open(str(data_dir / "gr1_sim" / file)) as video:
                videos[file] = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
        clip = np.stack(videos[file][start : start + 2 * FRAMES : 2]) / 255.0
        mse = ((clip[CONTEXT:] - clip[CONTEXT - 1]) ** 2).mean(axis=(1, 2, 3))
        scores.append(np.mean(-10 * np.log10(np.maximum(mse, 1e-8))))
        assert record.values["psnr"] == pytest.approx(scores[-1], abs=1e-4)
    summary = load_summary(tmp_path / "hold")
    assert summary.metrics["psnr"].mean == pytest.approx(np.mean(scores), abs=1e-4)
    assert 15 < summary.metrics["psnr"].mean < 30
    assert summary.metrics["skill"].mean == pytest.approx(0, abs=1e-6)


def test_oracle_scores_the_cap_in_aligned(gr1: dict[str, Any], tmp_path: Path) -> None:
    run_benchmark(
        RunConfig(
            model="oracle",
            out=tmp_path / "oracle",
            **gr1 | {"metrics": ("psnr", "ssim"), "limit": 8},
        ),
        model=make_baseline("oracle"),
    )
    metrics = load_summary(tmp_path / "oracle").metrics
    assert metrics["psnr"].mean == 80
    assert metrics["ssim"].mean == pytest.approx(1, abs=1e-6)
    assert metrics["skill"].mean == 1
    assert metrics["motion_psnr"].mean == 80
    assert metrics["mse"].mean == 0


def test_lag_of_the_published_evaluator(gr1: dict[str, Any], tmp_path: Path) -> None:
    """A perfect model scores 80 dB for 13 frames and about 31 to 33 dB for the 36 late ones."""
    run_benchmark(
        RunConfig(model="oracle", out=tmp_path / "lag", convention="dreamdojo", **gr1),
        model=make_baseline("oracle"),
    )
    curves = np.array([r.curves["psnr"] for r in load_run(tmp_path / "lag").records])
    assert curves.shape == (19, FRAMES)
    np.testing.assert_allclose(curves[:, :13], 80, atol=1e-3)
    assert 31 <= curves[:, 13:].mean() <= 33
    assert (curves[:, 13:] < 80).all()


def test_published_rollouts_fall_and_short_ones_score_above_long_ones(
    data_dir: Path, tmp_path: Path
) -> None:
    folder = score_predictions(
        PredictionsConfig(
            predictions=data_dir / "irasim_predictions",
            truth=data_dir / "irasim_predictions",
            name="irasim",
            out=tmp_path / "irasim",
            videos="none",
            metrics=("psnr",),
        )
    )
    run = load_run(folder)
    assert set(run.meta.clip_ids) == {
        f"{length}_{kind}" for length in ("short", "long") for kind in ("bridge", "language_table")
    }
    scores = {record.clip: record for record in run.records}
    for kind in ("bridge", "language_table"):
        long, short = scores[f"long_{kind}"], scores[f"short_{kind}"]
        assert long.frames == 52
        assert short.frames == 17
        assert short.values["psnr"] > long.values["psnr"]
        sixths = [np.mean(part) for part in np.array_split(long.curves["psnr"], 6)]
        assert sixths[0] > max(sixths[1:])
    # One of the two scenes comes to rest where it began, so only their mean falls to the end.
    mean = load_summary(folder).curves["psnr"].mean
    assert len(mean) == 52
    long_mean = np.mean([r.curves["psnr"] for r in run.records if r.frames == 52], axis=0)
    assert long_mean[:17].mean() > long_mean[35:].mean()
    assert "include the context frame" in run.meta.notes[0]
    assert "hold" in run.baselines()
