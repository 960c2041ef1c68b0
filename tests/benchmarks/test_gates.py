"""Gates: what they read, what they judge, and that noise does not fail a build."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojobench.benchmarks.gates import judge, judge_against, parse_gate, read_summary
from dojobench.protocol import BadInputError


def summary(
    values: np.ndarray, *, metric: str = "psnr", per_episode: int = 4, **fields: Any
) -> dict[str, Any]:
    """A summary of clips that come ``per_episode`` to an episode."""
    rows = [
        {
            "clip": f"c{k}",
            "source": "s",
            "episode": str(k // per_episode),
            "split": "val",
            "values": {metric: float(value)},
        }
        for k, value in enumerate(values)
    ]
    mean = float(np.mean(values))
    stated = {"mean": mean, "low": mean - 1, "high": mean + 1, "n": len(values)}
    return {
        "model": "m",
        "suite": "s",
        "suite_version": "sha256:1",
        "convention": "aligned",
        "metric_version": "1",
        "metrics": {metric: stated},
        "not_computed": {"lpips_vgg": "not computed: no weights for vgg at here"},
        "clip_values": rows,
    } | fields


def clips(seed: int, shift: float = 0.0, n: int = 80) -> np.ndarray:
    return 22 + shift + np.random.default_rng(seed).normal(0, 2, n)


@pytest.mark.parametrize(
    ("text", "metric", "op", "baseline", "value"),
    [
        ("psnr>=hold+1.0", "psnr", ">=", "hold", 1.0),
        ("psnr >= hold - 0.5", "psnr", ">=", "hold", -0.5),
        ("ssim>hold", "ssim", ">", "hold", 0.0),
        ("lpips_vgg<=0.2", "lpips_vgg", "<=", None, 0.2),
        ("skill>-1", "skill", ">", None, -1.0),
        ("psnr>=mean-future+0.1", "psnr", ">=", "mean-future", 0.1),
        ("psnr>=lag-2+0.1", "psnr", ">=", "lag-2", 0.1),
    ],
)
def test_gates_are_read(
    text: str, metric: str, op: str, baseline: str | None, value: float
) -> None:
    gate = parse_gate(text)
    assert (gate.metric, gate.op, gate.baseline, gate.value) == (metric, op, baseline, value)


@pytest.mark.parametrize("text", ["", "psnr", "psnr=22", "psnr>=", ">=1", "psnr>=hold*2", "a b>1"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        parse_gate(text)


def test_a_plain_number() -> None:
    mine = summary(np.full(8, 23.0))
    assert judge(parse_gate("psnr>=23"), mine, {}).passed
    assert not judge(parse_gate("psnr>23"), mine, {}).passed
    assert "n = 8" in judge(parse_gate("psnr>=24"), mine, {}).sentence


def test_a_baseline_is_compared_clip_by_clip() -> None:
    values = clips(0)
    mine, hold = summary(values + 1.5), summary(values, model="hold")
    verdict = judge(parse_gate("psnr>=hold+1.0"), mine, {"hold": hold})
    assert verdict.passed
    assert "+1.5" in verdict.sentence
    assert not judge(parse_gate("psnr>=hold+2"), mine, {"hold": hold}).passed


def test_lower_is_better_works_the_other_way() -> None:
    values = np.abs(clips(0)) / 100
    before = summary(values, metric="lpips_vgg")
    assert not judge_against(summary(values + 0.05, metric="lpips_vgg"), before)[0].passed
    assert judge_against(summary(values - 0.05, metric="lpips_vgg"), before)[0].passed


def test_a_real_loss_fails() -> None:
    verdict = judge_against(summary(clips(0) - 0.5), summary(clips(0)))[0]
    assert not verdict.passed
    assert "got worse" in verdict.sentence


def test_equal_models_pass_about_as_often_as_promised() -> None:
    """Two equal noisy models: a fall beyond chance is claimed in about 2.5 % of comparisons."""
    failed = 0
    for trial in range(200):
        truth = clips(trial, n=40)
        noise = np.random.default_rng(10_000 + trial).normal(0, 1, (2, 40))
        verdict = judge_against(summary(truth + noise[0]), summary(truth + noise[1]))[0]
        failed += not verdict.passed
    assert failed <= 16


def test_one_episode_cannot_be_judged() -> None:
    one = summary(clips(0, n=4) - 1)
    verdict = judge_against(one, summary(clips(1, n=4)))[0]
    assert verdict.passed
    assert "cannot be judged" in verdict.sentence


@pytest.mark.parametrize("field", ["suite_version", "convention", "metric_version"])
def test_other_suites_and_conventions_are_not_compared(field: str) -> None:
    with pytest.raises(BadInputError, match="cannot be compared"):
        judge_against(summary(clips(0)), summary(clips(0), **{field: "other"}))


def test_runs_on_other_clips_cannot_be_paired() -> None:
    with pytest.raises(BadInputError, match="in one of them only"):
        judge_against(summary(clips(0)), summary(clips(0, n=40)))


def test_missing_baselines_and_metrics_are_named() -> None:
    with pytest.raises(BadInputError, match="add --baselines hold"):
        judge(parse_gate("psnr>=hold"), summary(clips(0)), {})
    with pytest.raises(BadInputError, match="no weights for vgg"):
        judge(parse_gate("lpips_vgg<=0.1"), summary(clips(0)), {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metrics": {}}', "\x00"])
def test_a_damaged_summary_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(BadInputError, match=r"summary\.json"):
        read_summary(tmp_path)


def test_a_summary_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary(clips(0))))
    assert read_summary(tmp_path) == read_summary(tmp_path / "summary.json")
