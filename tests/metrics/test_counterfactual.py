"""Branch metrics against closed form, plain sums, and models that are wrong in a known way."""

import math

import numpy as np
import pytest
import torch

from dojobench.metrics.counterfactual import (
    CounterfactualScorer,
    action_sensitivity,
    score_branches,
    shuffle_drop,
)
from dojobench.metrics.psnr import psnr
from dojobench.metrics.skill import skill


def _random(branches=4, frames=5, seed=0, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(0, 256, (2, branches, frames, 3, 9, 8), generator=generator)
    if dtype == torch.uint8:
        return (*made.to(torch.uint8), torch.full((3, 9, 8), 90, dtype=torch.uint8))
    return (*(made / 255).to(dtype), torch.full((3, 9, 8), 0.35, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_agrees_with_plain_sums(dtype):
    p, x, context = _random(dtype=dtype)
    scores = score_branches(p, x, context)
    fp, fx = ((f.double() / (255 if dtype == torch.uint8 else 1)).flatten(1) for f in (p, x))
    products, moved, norms = 0.0, 0.0, 0.0
    for a in range(4):
        for b in range(4):
            dp, dx = fp[a] - fp[b], fx[a] - fx[b]
            error = (fp[a] - fx[b]).square().mean()
            assert scores.distance[a, b] == pytest.approx(float(error), rel=1e-5)
            products, moved, norms = products + dp @ dx, moved + dx @ dx, norms + dp @ dp
            if a != b:
                cosine = float(dp @ dx / dp.norm() / dx.norm())
                assert scores.cosine[a, b] == pytest.approx(cosine, rel=1e-4)
                gain = float(dp @ dx / (dx @ dx))
                assert scores.gain[a, b] == pytest.approx(gain, rel=1e-4)
    assert scores.values["effect_gain"] == pytest.approx(float(products / moved), rel=1e-4)
    pooled = float(products / math.sqrt(moved * norms))
    assert scores.values["effect_cosine"] == pytest.approx(pooled, rel=1e-4)


def test_fidelity_is_that_of_the_image_metrics():
    p, x, context = _random()
    scores = score_branches(p, x, context, factual=1)
    others = [0, 2, 3]
    assert scores.values["factual_psnr"] == pytest.approx(float(psnr(p[1], x[1])))
    cf = np.mean([float(psnr(p[b], x[b])) for b in others])
    assert scores.values["cf_psnr"] == pytest.approx(cf)
    cf_skill = np.mean([skill(p[b], x[b], context) for b in others])
    assert scores.values["cf_skill"] == pytest.approx(cf_skill)
    factual = skill(p[1], x[1], context)
    assert scores.values["cf_gap"] == pytest.approx(factual - cf_skill)
    assert np.mean(scores.curves["cf_psnr"]) == pytest.approx(scores.values["cf_psnr"])
    wrong = np.mean([float(psnr(p[a], x[b])) for b in range(4) for a in range(4) if a != b])
    right = np.mean([float(psnr(p[b], x[b])) for b in range(4)])
    assert scores.values["branch_drop"] == pytest.approx(right - wrong)


def test_streaming_is_the_same():
    p, x, context = _random(frames=7)
    scorer = CounterfactualScorer(context)
    for start in range(0, 7, 3):
        scorer.update(p[:, start : start + 3], x[:, start : start + 3])
    streamed, whole = scorer.finish(), score_branches(p, x, context)
    assert streamed.values == whole.values
    assert streamed.curves == whole.curves
    assert np.array_equal(streamed.distance, whole.distance)


def test_half_the_effect_is_a_gain_of_one_half():
    _, x, context = _random(dtype=torch.float32)
    mean = x.mean(dim=0, keepdim=True)
    scores = score_branches((mean + x) / 2, x, context)
    assert scores.values["effect_gain"] == pytest.approx(0.5, abs=1e-6)
    assert scores.values["effect_cosine"] == pytest.approx(1, abs=1e-6)
    assert scores.values["retrieval"] == 1


def test_retrieval_and_ranks_by_hand():
    # Truths are frames of one level; distances are differences of levels.
    x = torch.tensor([0, 100, 200], dtype=torch.uint8).view(3, 1, 1, 1, 1).expand(3, 1, 3, 4, 4)
    p = torch.tensor([120, 110, 190], dtype=torch.uint8).view(3, 1, 1, 1, 1).expand_as(x)
    scores = score_branches(p, x, torch.full((3, 4, 4), 50, dtype=torch.uint8), factual=None)
    # Branch 0 is nearest to 1 (20), then 2 (80), then 0 (120): rank 3. Others are right.
    assert scores.values["retrieval"] == pytest.approx(2 / 3)
    assert scores.values["mrr"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert scores.values["choice_2afc"] == pytest.approx(4 / 6)
    assert scores.values["retrieval_chance"] == pytest.approx(1 / 3)


def test_ties_count_as_fractions():
    x = torch.tensor([0, 200], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 1, 3, 4, 4)
    middle = torch.full_like(x, 100)
    scores = score_branches(middle, x, torch.full((3, 4, 4), 50, dtype=torch.uint8))
    assert scores.values["retrieval"] == 0.5
    assert scores.values["choice_2afc"] == 0.5
    assert scores.values["mrr"] == 0.75


# Degenerate cases, by name.


def test_branches_with_identical_truths_are_left_out_and_counted():
    p, x, context = _random()
    x = x.clone()
    x[3] = x[2]
    scores = score_branches(x, x, context)
    assert scores.counts["pairs"] == 6
    assert scores.counts["pairs_alike"] == 1
    assert scores.counts["branches_alike"] == 2
    assert math.isnan(scores.cosine[2, 3])
    assert math.isnan(scores.gain[2, 3])
    # Branches 0 and 1 are asked for, among three different futures.
    assert scores.values["retrieval"] == 1
    assert scores.values["retrieval_chance"] == pytest.approx(1 / 3)
    assert scores.values["choice_2afc"] == 1
    assert scores.values["effect_gain"] == 1
    blind = score_branches(p[:1].expand_as(p), x, context)
    assert blind.values["retrieval"] in (0, 0.5)
    assert blind.values["choice_2afc"] == 0.5


def test_no_future_differs():
    p, x, context = _random()
    scores = score_branches(p, x[:1].expand_as(x), context)
    for name in ("effect_cosine", "effect_gain", "choice_2afc", "branch_drop"):
        assert name not in scores.values
        assert scores.not_computed[name].endswith("of all branches are identical")
    for name in ("retrieval", "mrr", "retrieval_chance"):
        assert scores.not_computed[name].endswith("has an identical twin")
    assert scores.counts["pairs_alike"] == scores.counts["pairs"]
    assert "cf_psnr" in scores.values


def test_futures_that_never_move_have_no_skill():
    p, x, context = _random()
    x = x.clone()
    x[1:] = context
    scores = score_branches(p, x, context)
    assert "factual_skill" in scores.values
    assert scores.not_computed["cf_skill"].endswith("never leave the context frame")
    assert "cf_gap" in scores.not_computed
    assert scores.counts["branches_still"] == 3


def test_no_branch_is_factual():
    p, x, context = _random()
    scores = score_branches(p, x, context, factual=None)
    assert "cf_gap" not in scores.values
    assert scores.not_computed["cf_gap"] == "not computed: no branch is named as the factual one"
    assert len(scores.values) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"branches": 1}, "there are 1 branches"),
        ({"factual": 4}, "the factual branch is 4"),
        ({"context": torch.zeros(3, 5, 5, dtype=torch.uint8)}, "the context frame"),
        ({"context": torch.zeros(1, 3, 9, 8, dtype=torch.uint8)}, "give one frame"),
        ({"truth": torch.zeros(4, 5, 3, 9, 7, dtype=torch.uint8)}, "equal shape"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    p, x, context = _random(branches=arguments.get("branches", 4))
    with pytest.raises(ValueError, match=message):
        score_branches(
            p, arguments.get("truth", x), arguments.get("context", context),
            factual=arguments.get("factual", 0),
        )  # fmt: skip


def test_finishing_without_frames_is_refused():
    with pytest.raises(ValueError, match="no frame was scored"):
        CounterfactualScorer(torch.zeros(3, 4, 4, dtype=torch.uint8)).finish()


def test_number_of_branches_may_not_change():
    p, x, context = _random()
    scorer = CounterfactualScorer(context)
    scorer.update(p, x)
    with pytest.raises(ValueError, match="always as many"):
        scorer.update(p[:3], x[:3])


def test_shuffle_drop_and_sensitivity():
    p, x, _ = _random()
    assert shuffle_drop(x, p, x) == pytest.approx(80 - float(psnr(p, x)))
    assert shuffle_drop(p, p, x) == 0
    assert shuffle_drop(p, x, x) < 0
    assert action_sensitivity(p, p) == 0
    levels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert action_sensitivity(levels, levels + 51) == pytest.approx(0.2)


# Models that are wrong in a known way.


@pytest.fixture(scope="module")
def table(shapes):
    """Mean over three worlds of each model's scores."""
    found = {}
    for name in shapes[0].models:
        scores = [score_branches(s.models[name], s.truth, s.context[-1]).values for s in shapes]
        found[name] = {metric: np.mean([s[metric] for s in scores]) for metric in scores[0]}
    return found


BLIND = ("mean-future", "hold")


def test_psnr_alone_is_fooled(table):
    # The fault that the other metrics are for: a blind model beats one that follows actions.
    assert table["mean-future"]["cf_psnr"] > table["lag-8"]["cf_psnr"]
    assert table["mean-future"]["cf_skill"] > table["lag-8"]["cf_skill"]


def test_perfect_is_perfect(table):
    perfect = table["perfect"]
    assert perfect["cf_psnr"] == perfect["factual_psnr"] == 80
    for metric in ("effect_cosine", "effect_gain", "retrieval", "choice_2afc", "mrr", "cf_skill"):
        assert perfect[metric] == 1
    assert perfect["cf_gap"] == 0


def test_models_that_ignore_actions_are_at_chance(table):
    for name in BLIND:
        scores = table[name]
        assert scores["effect_cosine"] == scores["effect_gain"] == 0
        assert scores["retrieval"] == 0.25
        assert scores["choice_2afc"] == 0.5
        assert scores["branch_drop"] == pytest.approx(0, abs=1e-9)
        assert scores["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_effects_rank_right(table):
    cosine = {name: scores["effect_cosine"] for name, scores in table.items()}
    gain = {name: scores["effect_gain"] for name, scores in table.items()}
    for right in ("perfect", "noise", "blurred", "half"):
        assert cosine[right] > cosine["lag-2"] > cosine["lag-8"] > 0.05
    for wrong in (*BLIND, "swap", "garbage"):
        assert cosine["lag-8"] > cosine[wrong]
    assert cosine["swap"] < -0.1
    assert abs(cosine["garbage"]) < 0.15
    assert gain["perfect"] == 1
    assert gain["noise"] == pytest.approx(1, abs=0.03)
    assert gain["half"] == pytest.approx(0.5, abs=0.02)
    assert gain["under-react"] < 0.6
    assert gain["perfect"] > gain["lag-2"] > gain["mean-future"] == 0 > gain["swap"]


def test_choices_rank_right(table):
    for metric, chance in (("retrieval", 0.25), ("choice_2afc", 0.5)):
        for right in ("perfect", "noise", "blurred", "lag-2", "half"):
            assert table[right][metric] == 1
        assert table["swap"][metric] < chance
        assert abs(table["garbage"][metric] - chance) < 0.3
        assert table["under-react"][metric] > chance


def test_wrong_actions_cost_whoever_uses_them(table):
    drop = {name: scores["branch_drop"] for name, scores in table.items()}
    assert drop["perfect"] > drop["noise"] > drop["lag-2"] > 0
    assert drop["swap"] < -1
    assert abs(drop["garbage"]) < 1


def test_show_the_table(table):
    """Prints the rows that ``docs/measurements.md`` keeps; run with ``-s``."""
    order = ("cf_psnr", "cf_skill", "effect_cosine", "effect_gain", "retrieval", "choice_2afc",
             "mrr", "branch_drop")  # fmt: skip
    for name, scores in table.items():
        print(f"| {name} | " + " | ".join(f"{scores[m]:.2f}" for m in order) + " |")  # noqa: T201
    assert {len(scores) for scores in table.values()} == {12}
