"""The probes find what was planted: lags, blindness, leaks between rollouts, lame joints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.known_bad import Lag
from dojobench.benchmarks.probes import Probes, still_actions
from dojobench.benchmarks.records import load_run, load_summary
from dojobench.benchmarks.rollouts import Rollouts
from dojobench.benchmarks.runner import RunConfig
from dojobench.benchmarks.unit_run import run_units
from dojobench.protocol import ActionSpace


def run(out: Path, suite: Any, model: Any, **changes: Any) -> Any:
    fields = {"model": model.spec.name, "suite": "toy", "out": out, "videos": "none"}
    run_units(RunConfig(**fields | changes), suite, model, Probes())
    return load_summary(out)


@pytest.mark.parametrize("lag", [0, 2, 8])
def test_a_planted_lag_is_found(tmp_path: Path, toy_suite: Any, toy_model: Any, lag: int) -> None:
    """A model that takes its actions late, and one that sees the truth late."""
    own = run(tmp_path / "own", toy_suite(val=0, long=0), toy_model(lag))
    assert own.metrics["action_lag"].mean == lag
    assert own.metrics["action_lag"].low in (lag, None)
    true = run(tmp_path / "true", toy_suite(val=0, long=0), Lag(lag))
    assert true.metrics["action_lag"].mean == lag
    for record in load_run(tmp_path / "own").records:
        curve, first = record.curves["lag_curve"], record.checks["lag_first"]
        assert first == -2
        assert curve.index(max(curve)) + first == lag
        assert max(curve) == record.checks["lag_correlation"]


def test_a_right_model_passes(tmp_path: Path, toy_suite: Any, toy_model: Any) -> None:
    metrics = run(tmp_path, toy_suite(), toy_model()).metrics
    for name in ("zero_drop", "shuffled_drop", "foreign_drop"):
        assert metrics[name].mean > 1, name
    assert metrics["foreign_drop"].low is not None
    assert metrics["batch_change"].mean == metrics["repeat_change"].mean == 0
    assert metrics["seed_change"].mean == pytest.approx(1, abs=0.05)
    assert metrics["joints_answered"].mean == metrics["joint_retrieval"].mean == 1
    record = load_run(tmp_path).records[0]
    assert record.checks["batch_invariant"] is True
    assert record.checks["repeats"] is True
    assert record.checks["joint_dx"] > 0.1
    cosines = [v for name, v in record.checks.items() if name.startswith("joint_cosine_")]
    assert record.values["joint_cosine"] == pytest.approx(np.mean(cosines))
    low = metrics["joints_answered"].low
    assert 0 < low < 1  # three clips do not make it certain
    assert metrics["joints_answered"].by_split["val"].high == 1


def test_a_blind_model_is_found(tmp_path: Path, toy_suite: Any) -> None:
    summary = run(tmp_path, toy_suite(), make_baseline("hold"))
    for name in ("zero_drop", "shuffled_drop", "foreign_drop", "action_change"):
        assert summary.metrics[name].mean == 0, name
    assert summary.metrics["joints_answered"].mean == 0
    assert "does not respond" in summary.not_computed["action_lag"]
    assert "lag_curve" not in summary.curves
    assert 0 < summary.metrics["joints_answered"].high < 1


def test_a_leak_between_rollouts_and_a_model_that_does_not_repeat_are_found(
    tmp_path: Path, toy_suite: Any, toy_model: Any
) -> None:
    leaking = run(tmp_path / "a", toy_suite(), toy_model(batchy=True), limit=2).metrics
    assert leaking["batch_change"].mean == pytest.approx(1, abs=0.05)
    assert leaking["repeat_change"].mean == 0
    restless = run(tmp_path / "b", toy_suite(), toy_model(noisy=True), limit=2).metrics
    assert restless["repeat_change"].mean > 0.9


def test_a_lame_joint_is_found(tmp_path: Path, toy_suite: Any, toy_model: Any) -> None:
    model = toy_model()
    inner = model.start

    def start(*args: Any, **rest: Any) -> Any:
        session = inner(*args, **rest)
        step = session.step
        session.step = lambda actions: step(actions * torch.tensor([1.0, 0.0, 1.0]))
        return session

    model.start = start
    summary = run(tmp_path, toy_suite(), model, limit=3)
    assert summary.metrics["joints_answered"].mean == pytest.approx(2 / 3)
    assert summary.checks["joint_dy"].mean == summary.checks["joint_cosine_dy"].mean == 0
    assert summary.checks["joint_true_dy"].mean > 0
    assert summary.checks["joint_dx"].mean > 0


def test_without_replay_the_truth_cannot_be_asked(
    tmp_path: Path, toy_suite: Any, toy_model: Any
) -> None:
    suite = toy_suite(replays=False)
    oracle = run(tmp_path / "a", suite, make_baseline("oracle"))
    assert "sees the truth" in oracle.not_computed["zero_drop"]
    # A sibling branch's future is in the suite.
    assert oracle.metrics["foreign_drop"].n == 3
    model = run(tmp_path / "b", suite, toy_model())
    assert model.metrics["zero_drop"].mean > 1
    assert "no simulator" in model.not_computed["joint_retrieval"]
    assert "joint_dx" in model.checks
    assert not {"joint_true_dx", "joint_cosine_dx"} & model.checks.keys()


def test_the_true_response_of_a_joint_is_the_simulator_s(tmp_path: Path, toy_suite: Any) -> None:
    run(tmp_path, toy_suite(), make_baseline("oracle"))
    checks = load_run(tmp_path).records[0].checks
    for name in ("dx", "dy", "dsize"):
        assert checks[f"joint_{name}"] == checks[f"joint_true_{name}"] > 0
        assert checks[f"joint_cosine_{name}"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("velocity", (), [0, 0, 0]),
        ("absolute", (), [1, 2, 3]),
        ("mixed", ("dx", "dy", "grip"), [0, 0, 3]),
    ],
)
def test_standing_still(toy_suite: Any, kind: Any, names: Any, expected: Any) -> None:
    suite = toy_suite()
    _, actions = suite._made["val-0"]
    actions[0] = [1, 2, 3]
    from contextlib import ExitStack

    with ExitStack() as stack:
        rollouts = Rollouts(suite, make_baseline("hold"), device=torch.device("cpu"))
        record = next(clip for clip in suite.clips if clip.id == "val-0")
        opened = rollouts.open([record], stack)[0]
        space = ActionSpace(dim=3, embodiment="hand", kind=kind, names=names)
        still = still_actions(opened, space)
    assert still.shape == opened.actions.shape
    assert still[0].tolist() == still[-1].tolist() == expected
