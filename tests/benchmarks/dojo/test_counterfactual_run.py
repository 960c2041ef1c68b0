"""The counterfactual benchmark on a world whose futures are known to the pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.benchmarks.baselines import make_baseline
from dojobench.benchmarks.counterfactual import Counterfactual, nearest_truths
from dojobench.benchmarks.records import load_run, load_summary
from dojobench.benchmarks.runner import RunConfig
from dojobench.benchmarks.unit_run import run_units
from dojobench.metrics.intervals import clustered_share
from dojobench.protocol import BadInputError


def run(out: Path, suite: Any, model: Any, **changes: Any) -> Any:
    fields = {"model": model.spec.name, "suite": "toy", "out": out, "videos": "none"}
    run_units(RunConfig(**fields | changes), suite, model, Counterfactual())
    return load_summary(out)


def test_the_truth_scores_the_cap_and_a_group_is_a_record(tmp_path: Path, toy_suite: Any) -> None:
    summary = run(tmp_path, toy_suite(), make_baseline("oracle"))
    assert summary.benchmark == "counterfactual"
    assert summary.clips == summary.episodes == 3
    best = {
        "cf_psnr": 80, "cf_skill": 1, "effect_cosine": 1, "effect_gain": 1, "branch_retrieval": 1,
        "two_way_choice": 1, "mrr": 1, "object_retrieval": 1, "cf_gap": 0,
        "effector_ade": 0, "effector_fde": 0, "effector_ndtw": 0, "effector_detection": 1,
        "object_ade": 0, "object_fde": 0, "object_ndtw": 0, "object_detection": 1,
    }  # fmt: skip
    for name, value in best.items():
        assert summary.metrics[name].mean == pytest.approx(value, abs=1e-9), name
    (first, *_) = load_run(tmp_path).records
    assert first.clip == "cf-0"
    assert first.checks["branches"] == 4
    assert first.frames == 4 * 32
    assert len(first.curves["cf_psnr"]) == 32


def test_numbers_are_those_of_a_plain_loop(tmp_path: Path, toy_suite: Any, toy_model: Any) -> None:
    suite, model = toy_suite(groups=1), toy_model()
    run(tmp_path, suite, model)
    values = load_run(tmp_path).records[0].values
    clips = [suite.open(clip) for clip in suite.clips if clip.branch_group]
    truth = np.stack([clip.read(2, 34).numpy() for clip in clips]).astype(float) / 255
    context = torch.stack([clip.read(1, 2) for clip in clips])
    actions = torch.stack([clip.actions[1:] for clip in clips])
    answer = model.start(context, seed=0).step(actions).numpy().astype(float) / 255
    own = ((answer - truth) ** 2).mean(axis=(2, 3, 4))
    still = ((context.numpy() / 255 - truth) ** 2).mean(axis=(2, 3, 4))
    away = [1, 2, 3]  # branch 0 is the factual one
    assert values["cf_psnr"] == pytest.approx((-10 * np.log10(own[away])).mean(), abs=1e-4)
    skill = 1 - own.sum(axis=1) / still.sum(axis=1)
    assert values["cf_skill"] == pytest.approx(skill[away].mean(), abs=1e-5)
    assert values["cf_gap"] == pytest.approx(skill[0] - skill[away].mean(), abs=1e-5)
    errors = np.array([[((a - t) ** 2).sum() for t in truth] for a in answer])
    nearest = errors.argmin(axis=1) == np.arange(4)
    assert values["branch_retrieval"] == pytest.approx(nearest.mean())
    checks = load_run(tmp_path).records[0].checks
    assert checks["nearest"] == "|".join(map(str, errors.argmin(axis=1)))
    assert checks["branch_names"] == "0|1|2|3"  # of the clips cf-0-0 to cf-0-3
    product = sum(
        ((answer[a] - answer[b]) * (truth[a] - truth[b])).sum()
        for a in range(4) for b in range(a)
    )  # fmt: skip
    size = sum(((truth[a] - truth[b]) ** 2).sum() for a in range(4) for b in range(a))
    assert values["effect_gain"] == pytest.approx(product / size, rel=1e-5)


def test_branches_are_one_batch_from_one_context_and_are_told_nothing_different(
    tmp_path: Path, toy_suite: Any, toy_model: Any
) -> None:
    seen: list[tuple[int, str | None]] = []
    model = toy_model()
    inner = model.start

    def start(context: torch.Tensor, *, seed: int, instruction: str | None = None) -> Any:
        assert torch.equal(context, context[:1].expand_as(context))
        seen.append((len(context), instruction))
        return inner(context, seed=seed)

    model.start = start
    suite = toy_suite(groups=2)
    suite.clips = tuple(
        type(clip)(**{k: getattr(clip, k) for k in clip.__slots__}
                   | {"instruction": f"do {clip.id}"})
        for clip in suite.clips
    )  # fmt: skip
    run(tmp_path, suite, model)
    assert seen == [(4, None), (4, None)]


def test_without_ground_truth_the_paths_are_left_out_with_a_reason(
    tmp_path: Path, toy_suite: Any, toy_model: Any
) -> None:
    summary = run(tmp_path, toy_suite(truth=False), toy_model())
    assert "effector_ade" not in summary.metrics
    assert "no ground truth" in summary.not_computed["effector_ade"]
    assert "no ground truth" in summary.not_computed["object_retrieval"]
    assert summary.metrics["effect_cosine"].mean > 0.3


def test_a_lost_hand_does_not_improve_its_path(tmp_path: Path, toy_suite: Any) -> None:
    """Half a hand is found in a few easy frames only: nobody can say where it went."""
    summary = run(tmp_path, toy_suite(), make_baseline("under-react"))
    assert summary.metrics["effector_detection"].mean < 0.5
    assert "effector_ade" not in summary.metrics
    assert "of the frames only" in summary.not_computed["effector_ade"]


def test_a_group_without_a_shared_context_is_refused(tmp_path: Path, toy_suite: Any) -> None:
    suite = toy_suite(groups=1)
    _, actions = suite._made["cf-0-1"]
    actions[0] = [3, 3, 0]
    with pytest.raises(BadInputError, match=r"cf-0 does not share its context.*cf-0-1"):
        run(tmp_path, suite, make_baseline("hold"))


def test_a_suite_without_groups_is_refused(tmp_path: Path, toy_suite: Any) -> None:
    with pytest.raises(BadInputError, match="no counterfactual clips"):
        run(tmp_path, toy_suite(groups=0), make_baseline("hold"))
    assert not list(tmp_path.iterdir())


def test_what_is_nearest_to_several_futures_is_nearest_to_none() -> None:
    distance = np.array([[0.2, 0.1, 0.3], [0.5, 0.5, 0.9], [0.4, 0.4, 0.4]])
    assert nearest_truths(distance) == ["1", "", ""]


def test_all_groups_right_is_no_certainty(tmp_path: Path, toy_suite: Any) -> None:
    """The general interval would be [1, 1]; of three groups it could be luck."""
    found = run(tmp_path, toy_suite(), make_baseline("oracle")).metrics["branch_retrieval"]
    expected = clustered_share([1, 1, 1], ["a", "b", "c"])
    assert found.mean == found.high == 1
    assert found.low == found.by_split["counterfactual"].low == expected.low < 0.5
    assert found.method == expected.method
