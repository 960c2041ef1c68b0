"""The stability benchmark: horizons, seams, drift and objects of rollouts with known faults."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.known_bad import ColourDrift, Freeze, Seam, Vanish
from dojobench.benchmarks.palindrome import relative_dimensions, there_and_back
from dojobench.benchmarks.records import load_run, load_summary
from dojobench.benchmarks.runner import RunConfig
from dojobench.benchmarks.stability_run import Stability, survival_curve
from dojobench.benchmarks.unit_run import run_units
from dojobench.protocol import ActionSpace


def run(out: Path, suite: Any, model: Any, **changes: Any) -> Any:
    fields = {"model": model.spec.name, "suite": "toy", "out": out, "videos": "none"}
    run_units(RunConfig(**fields | changes), suite, model, Stability())
    return load_summary(out)


def test_the_truth_never_breaks(tmp_path: Path, toy_suite: Any) -> None:
    summary = run(tmp_path, toy_suite(), make_baseline("oracle"))
    horizon = summary.metrics["stable_horizon"]
    assert horizon.mean == horizon.high == 12
    assert 0 < horizon.low < 12  # two episodes do not exclude that others break
    assert horizon.by_split["long"].mean == 12
    best = {
        "excess_drift": 0, "error_growth": 0, "late_psnr": 80, "freeze_rate": 0, "seam_ratio": 1,
        "sharpness_drift": 0, "colour_drift": 0, "flicker": 0, "palindrome_excess": 0,
        "vanished": 0, "area_error": 0, "penetration": 0, "ghost_motion": 0,
    }  # fmt: skip
    for name, value in best.items():
        assert summary.metrics[name].mean == pytest.approx(value, abs=1e-9), name
    assert len(summary.curves["psnr"].mean) == 120
    assert set(summary.curves["survival"].mean) == {1.0}
    for name in ("sharpness", "colour_drift", "motion"):
        assert summary.curves[name] == summary.curves[f"true_{name}"]
    for name in ("freeze_rate", "vanished", "ghost_motion"):
        found = summary.metrics[name]
        assert found.low == 0 < found.high < 1, name
    assert summary.checks["broken"].low == 0 < summary.checks["broken"].high < 1


@pytest.mark.parametrize(("after", "seconds"), [(20, 2.0), (60, 6.0)])
def test_a_freeze_is_found_where_it_is(
    tmp_path: Path, toy_suite: Any, after: int, seconds: float
) -> None:
    summary = run(tmp_path, toy_suite(), Freeze(after))
    # Motion is smoothed over a second, so a freeze shows up to half a second late.
    assert summary.metrics["stable_horizon"].mean == pytest.approx(seconds, abs=0.6)
    assert summary.metrics["freeze_rate"].mean == pytest.approx(1 - after / 120, abs=0.06)
    survival = summary.curves["survival"]
    assert survival.mean[after - 10] == 1
    assert survival.mean[-1] == 0


def test_planted_faults_show_in_their_own_metric(tmp_path: Path, toy_suite: Any) -> None:
    suite = toy_suite()
    drift = run(tmp_path / "a", suite, ColourDrift(0.5))
    drifting, curves = drift.metrics, drift.curves
    assert curves["colour_drift"].mean[-1] > 2 * curves["true_colour_drift"].mean[-1]
    # Red rises and blue falls by half a level a frame: 54 levels on average over the last fifth.
    expected = 0.5 * np.arange(97, 121).mean() / 255 * 2 / 3
    assert drifting["colour_drift"].mean == pytest.approx(expected, rel=0.15)
    seams = run(tmp_path / "b", suite, Seam(12, 2)).metrics
    assert seams["seam_ratio"].mean > 3
    assert seams["colour_drift"].mean < 0.01
    gone = run(tmp_path / "c", suite, Vanish(60)).metrics
    # One of three objects, for half of the time.
    assert gone["vanished"].mean == pytest.approx(1 / 6, abs=0.05)
    assert gone["freeze_rate"].mean == 0
    checks = load_run(tmp_path / "c").records[0].checks
    assert [v for name, v in checks.items() if name.endswith("_gone_at")] == [60.0]


def test_rollouts_of_unequal_length_are_censored_not_averaged(
    tmp_path: Path, toy_suite: Any
) -> None:
    suite = toy_suite(long=2)
    short = toy_suite(long=1, long_frames=62)
    clip = next(c for c in short.clips if c.split == "long")
    renamed = type(clip)(
        **{k: getattr(clip, k) for k in clip.__slots__} | {"id": "long-9", "episode": "9"}
    )
    suite._made["long-9"] = short._made[clip.id]
    suite.clips = (*suite.clips, renamed)
    run(tmp_path, suite, make_baseline("oracle"))
    records = load_run(tmp_path).records
    assert sorted(record.values["stable_horizon"] for record in records) == [6, 12, 12]
    # The plain mean would be 10; nothing broke, so the expected time is the length watched.
    assert load_summary(tmp_path).metrics["stable_horizon"].mean == 12
    assert survival_curve(records, 10.0).n[0] == 3
    assert survival_curve(records, 10.0).n[-1] == 2


def test_ordinary_clips_serve_where_they_are_long_enough(toy_suite: Any) -> None:
    suite = toy_suite(long=0, frames=62)
    clips = [clip for clip in suite.clips if clip.split == "val"]
    assert Stability().units(suite, clips) == ()
    assert len(Stability(least_seconds=6).units(suite, clips)) == 2
    assert "at least 20 s long" in Stability().unsupported(suite)


def test_memory_does_not_grow_with_frames(tmp_path: Path, toy_suite: Any, toy_model: Any) -> None:
    """A rollout is asked for step by step, and no step's frames are kept."""
    import gc
    import weakref

    model, alive = toy_model(), []
    inner = model.start

    def start(*args: Any, **rest: Any) -> Any:
        session = inner(*args, **rest)
        step = session.step

        def watched(actions: torch.Tensor) -> torch.Tensor:
            frames = step(actions)
            alive.append(weakref.ref(frames))
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 3
            return frames

        session.step = watched
        return session

    model.start = start
    run(tmp_path, toy_suite(long=1, replays=False), model, limit=1)
    assert len(alive) >= 15


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("relative", (), (True,) * 3),
        ("velocity", ("a", "b", "c"), (True,) * 3),
        ("absolute", ("dx", "dy", "dz"), (False,) * 3),
        ("mixed", ("dx", "dyaw", "grip"), (True, True, False)),
        ("mixed", ("delta_x", "x_delta", "drawer"), (True, True, False)),
        ("mixed", ("a", "b", "c"), None),
        ("none", (), None),
    ],
)
def test_what_undoes_an_action(kind: Any, names: Any, expected: Any) -> None:
    space = ActionSpace(dim=3, embodiment="arm", kind=kind, names=names)
    assert relative_dimensions(space) == expected


def test_actions_are_undone_in_reverse() -> None:
    actions = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    path = there_and_back(actions, torch.tensor([9.0, 5.0]), (True, False))
    assert path[:, 0].tolist() == [1, 2, 3, -3, -2, -1]
    assert path[:, 1].tolist() == [10, 20, 30, 20, 10, 5]
    assert path[:, 0].sum() == 0
