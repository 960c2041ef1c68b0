"""No metric ranks a known-bad model above one that is better in the respect that it measures."""

from pathlib import Path
from typing import Any

import pytest

from dojobench.benchmarks.known_bad_table import (
    MODELS,
    ORDER,
    main,
    misranked,
    score_known_bad,
    table,
)
from dojobench.benchmarks.metric_names import BENCHMARK_METRICS, metric_info
from dojobench.metrics.names import METRICS


def test_every_metric_is_known_and_every_model_too() -> None:
    for metric, tiers in ORDER.items():
        assert metric_info(metric) is not None, metric
        assert {name for tier in tiers for name in tier} <= set(MODELS)


def test_a_wrong_rank_is_found() -> None:
    scores = {"oracle": {"psnr": 80.0}, "noisy-oracle": {"psnr": 30.0}, "garbage": {"psnr": 31.0}}
    (found,) = misranked(scores)
    assert str(found) == "psnr ranks garbage (31) above noisy-oracle (30)"
    assert misranked(scores | {"garbage": {"psnr": 8.0}}) == []
    # A gain above 1 is no better than one below.
    assert misranked({"oracle": {"effect_gain": 1.0}, "noisy-oracle": {"effect_gain": 1.4}}) == []
    over = {"oracle": {"effect_gain": 1.0}, "hold": {"effect_gain": 0.0}}
    assert [str(e) for e in misranked({**over, "oracle": {"effect_gain": 2.5}})] != []
    # A tie with the truth is no rank that anybody could use.
    assert misranked({"oracle": {"seam_ratio": 1.0}, "seam": {"seam_ratio": 1.0}}) != []


def test_known_bad_models_on_the_toy_world(toy_suite: Any, tmp_path: Path) -> None:
    suite = toy_suite(val=1, groups=2, long=2, long_frames=102)
    scores = score_known_bad(suite, tmp_path, limit=2)
    assert [str(each) for each in misranked(scores, tolerance=0.02)] == []
    assert set(scores) == set(MODELS)
    computed = {name for values in scores.values() for name in values}
    # Nothing is ever hidden in the toy world, all else has a number.
    assert set(BENCHMARK_METRICS) - computed == {"appeared"}
    assert {"psnr", "ssim", "skill"} <= computed & set(METRICS)
    assert scores["lag-2"]["action_lag"] == 2
    assert "| vanish |" in table(scores)


@pytest.mark.slow
def test_known_bad_models_on_the_dojo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "table.md")]) == 0, capsys.readouterr().err
    text = (tmp_path / "table.md").read_text()
    assert all(f"| {name} |" in text for name in MODELS)
