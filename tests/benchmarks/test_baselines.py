"""Baselines do what their names say, on clips whose answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.benchmarks.baselines import BASELINES, make_baseline
from dojobench.benchmarks.known_bad import add_noise
from dojobench.benchmarks.rollout import is_privileged
from dojobench.protocol import BadInputError, WorldModel


def predict(name_or_model: Any, suite: Any, clip: Any, steps: tuple[int, ...] = (7,)) -> Any:
    model = make_baseline(name_or_model) if isinstance(name_or_model, str) else name_or_model
    opened, context = suite.open(clip), suite.spec.context_frames
    scored = [c for c in suite.clips if c.split == "val"]
    if hasattr(model, "prepare"):
        model.prepare(suite, scored)
    if hasattr(model, "fit"):
        model.fit(suite, "train")
    shown = opened.read(0, context)[None]
    if is_privileged(model):
        session = model.start_privileged(shown, seed=0, clips=[opened])
    else:
        session = model.start(shown, seed=0)
    answers, position = [], context - 1
    for count in steps:
        answers.append(session.step(opened.actions[None, position : position + count]))
        position += count
    session.close()
    return torch.cat(answers, dim=1)[0]


@pytest.mark.parametrize("name", list(BASELINES))
def test_keeps_the_contract_whatever_the_steps(memory_suite: Any, name: str) -> None:
    suite = memory_suite()
    assert isinstance(make_baseline(name), WorldModel)
    whole = predict(name, suite, suite.clips[4])
    assert whole.shape == (7, 3, 32, 40)
    assert whole.dtype == torch.uint8
    assert torch.equal(whole, predict(name, suite, suite.clips[4], (1, 4, 2)))


def test_truth_and_its_spoilt_forms(memory_suite: Any) -> None:
    suite = memory_suite()
    clip = suite.clips[4]
    video = suite.open(clip).read(0, 9)
    truth, last = video[2:], video[1]
    assert torch.equal(predict("oracle", suite, clip), truth)
    assert torch.equal(predict("hold", suite, clip), last.expand(7, -1, -1, -1))
    assert torch.equal(predict("lag-1", suite, clip), video[1:8])
    late = torch.cat([video[:1], video[0:7]])[1:]
    assert torch.equal(predict("lag-2", suite, clip), late)
    half = predict("under-react", suite, clip).float()
    assert (half - (truth.float() + last.float()) / 2).abs().max() <= 0.5
    drift = predict("colour-drift", suite, clip).float() - truth.float()
    assert drift[-1, 0].mean() > drift[0, 0].mean() >= 0 >= drift[0, 2].mean() > drift[-1, 2].mean()
    seam = predict("seam", suite, clip)
    assert torch.equal(seam[0], truth[0].roll(-2, dims=-1))


def test_options_of_the_spoilt_ones(memory_suite: Any) -> None:
    from dojobench.benchmarks import known_bad as bad

    suite = memory_suite()
    clip = suite.clips[4]
    truth = suite.open(clip).read(2, 9)
    assert torch.equal(predict(bad.lag(0), suite, clip), truth)
    frozen = predict(bad.freeze(3), suite, clip)
    assert torch.equal(frozen[:3], truth[:3])
    assert torch.equal(frozen[3:], truth[2:3].expand(4, -1, -1, -1))
    assert torch.equal(predict(bad.under_react(1.0), suite, clip), truth)
    assert torch.equal(predict(bad.blurred_oracle(1), suite, clip), truth)
    assert torch.equal(predict(bad.noisy_oracle(0.0), suite, clip), truth)
    for make in (lambda: bad.lag(-1), lambda: bad.freeze(0), lambda: bad.seam(0)):
        with pytest.raises(BadInputError):
            make()


def test_swap_prefers_a_branch_of_the_same_state(memory_suite: Any) -> None:
    from dataclasses import replace

    suite = memory_suite()
    grouped = {"clip-03": "g", "clip-06": "g"}
    suite.with_clips(lambda c: replace(c, branch_group=grouped.get(c.id)))
    by_id = {clip.id: clip for clip in suite.clips}
    other = suite.open(by_id["clip-06"]).read(2, 9)
    assert torch.equal(predict("swap", suite, by_id["clip-03"]), other)
    # Without a branch: the next clip of another episode (03 is episode 1; 04 and 05 are 2).
    assert torch.equal(
        predict("swap", suite, by_id["clip-04"]), suite.open(by_id["clip-06"]).read(2, 9)
    )


def test_mean_future_is_the_mean_change_of_the_training_clips(memory_suite: Any) -> None:
    suite = memory_suite(train=3)
    clip = suite.clips[4]
    changes = []
    for other in suite.clips[:3]:
        video = suite.open(other).read(0, 9).numpy().astype(float)
        changes.append(video[2:] - video[1])
    last = suite.open(clip).read(1, 2).numpy().astype(float)
    expected = np.clip(np.round(last + np.mean(changes, axis=0)), 0, 255)
    found = predict("mean-future", suite, clip).numpy()
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 1e-3


def test_mean_future_is_best_among_constant_changes(memory_suite: Any) -> None:
    """On the training clips themselves no constant change has a smaller squared error."""
    suite = memory_suite(train=4)

    def error(name: str) -> float:
        return float(
            np.mean(
                [
                    (predict(name, suite, c).float() - suite.open(c).read(2, 9).float())
                    .square()
                    .mean()
                    for c in suite.clips[:4]
                ]
            )
        )

    assert error("mean-future") < error("hold")


def test_nearest_neighbour_replays_what_it_has_seen(memory_suite: Any) -> None:
    suite = memory_suite()
    seen = suite.clips[1]
    assert torch.equal(predict("nearest-neighbour", suite, seen), suite.open(seen).read(2, 9))


def test_learners_need_their_split(memory_suite: Any) -> None:
    suite = memory_suite(train=0)
    for name in ("mean-future", "nearest-neighbour"):
        with pytest.raises(BadInputError, match=f"{name} learns from the split train"):
            predict(name, suite, suite.clips[0])
        with pytest.raises(BadInputError, match="dojobench run"):
            make_baseline(name).start(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8), seed=0)


def test_privileged_models_do_not_start_without_the_truth() -> None:
    with pytest.raises(BadInputError, match="needs the truth"):
        make_baseline("oracle").start(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8), seed=0)


def test_unknown_baseline(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holt"):
        make_baseline("holt")


def test_noise_has_the_strength_asked_for() -> None:
    grey = torch.full((1, 3, 200, 200), 128, dtype=torch.uint8)
    noisy = add_noise(grey, 10.0, seed=1).float() - 128
    assert noisy.std().item() == pytest.approx(10, rel=0.02)
    assert abs(noisy.mean().item()) < 0.1
    assert torch.equal(add_noise(grey, 10.0, seed=1), add_noise(grey, 10.0, seed=1))
