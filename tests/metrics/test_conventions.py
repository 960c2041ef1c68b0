"""Which frame is compared with which, and that numbers change only with their version."""

import pytest
import torch

from dojobench.metrics.clip_scorer import ClipScorer
from dojobench.metrics.conventions import CONVENTIONS, metric_version, scored_pairs
from dojobench.metrics.names import METRICS


def _published_video(frames: int, chunk: int) -> list[int]:
    """The published evaluator's concatenation, played through with frame numbers for frames."""
    video: list[int] = []
    conditioning = 0
    while conditioning < frames:
        made = list(range(conditioning, conditioning + chunk + 1))  # conditioning frame first
        video += made if not video else made[:chunk]
        conditioning = made[-1]
    return video


@pytest.mark.parametrize(("frames", "chunk"), [(48, 12), (36, 12), (12, 12), (8, 4), (600, 12)])
def test_the_lag_is_that_of_the_published_evaluator(frames: int, chunk: int) -> None:
    pairs = scored_pairs(frames, CONVENTIONS["dreamdojo"], chunk=chunk)
    assert [pair.truth for pair in pairs] == list(range(frames + 1))
    assert [pair.prediction for pair in pairs] == _published_video(frames, chunk)


def test_36_of_49_frames_are_late() -> None:
    pairs = scored_pairs(48, CONVENTIONS["dreamdojo"])
    late = [pair.truth for pair in pairs if pair.prediction == pair.truth - 1]
    assert late == list(range(13, 49))
    assert all(pair.prediction == pair.truth for pair in pairs[:13])


@pytest.mark.parametrize("name", ["aligned", "pooled", "irasim_gray", "dino_wm"])
def test_other_conventions_score_predicted_frames_in_place(name: str) -> None:
    assert scored_pairs(30, CONVENTIONS[name]) == [(t, t) for t in range(1, 31)]


def test_impossible_pairings_are_refused() -> None:
    with pytest.raises(ValueError, match="must be > 0"):
        scored_pairs(0, CONVENTIONS["aligned"])
    with pytest.raises(ValueError, match="must be > 0"):
        scored_pairs(4, CONVENTIONS["dreamdojo"], chunk=0)


# Scores of the clip below. Whoever changes a number here changes the convention's version, or
# that of the metric, in metrics/conventions.py: old results are then greyed, not compared.
GOLDEN = {
    "aligned-1(psnr-1,ssim-1,lpips-1,skill-1)": {
        "psnr": 32.6219293,
        "ssim": 0.9722985,
        "mse": 0.000826,
        "skill": 0.7996915,
        "motion_psnr": 30.8413634,
    },
    "dreamdojo-1(psnr-1,ssim-1,lpips-1,skill-1)": {
        "psnr": 34.3761663,
        "ssim": 0.967006,
        "mse": 0.0011275,
        "skill": 0.7113925,
        "motion_psnr": 29.1177173,
    },
    "pooled-1(psnr-1,ssim-1,lpips-1,skill-1)": {
        "psnr": 30.8300225,
        "ssim": 0.9722985,
        "mse": 0.000826,
        "skill": 0.7996915,
        "motion_psnr": 30.8413634,
    },
    "irasim_gray-1(psnr-1,ssim-1,lpips-1,skill-1)": {
        "psnr": 32.6320063,
        "ssim": 0.9499351,
        "mse": 0.0008226,
        "skill": 0.6986345,
        "motion_psnr": 30.855512,
    },
    "dino_wm-1(psnr-1,ssim-1,lpips-1,skill-1)": {
        "psnr": 30.8300225,
        "ssim": 0.9732964,
        "mse": 0.000826,
        "skill": 0.7996915,
        "motion_psnr": 30.8413634,
    },
}


def _golden_clip() -> tuple[torch.Tensor, torch.Tensor]:
    """Made with integers alone, so that no random generator has to stay the same."""
    t, c, y, x = (
        torch.arange(n).reshape([-1 if i == axis else 1 for i in range(4)])
        for axis, n in enumerate((19, 3, 384, 400))
    )
    truth = (128 + (37 * x + 91 * y * (c + 1) + 13 * x * y) % 53 + 9 * ((x + 5 * t) // 50)) % 256
    prediction = (truth + (17 * x + 29 * y + 7 * t * (x > 60)) % (3 + t)).clamp(0, 255)
    return prediction.to(torch.uint8), truth.to(torch.uint8)


def _golden_scores(name: str) -> dict[str, float]:
    prediction, truth = _golden_clip()
    scorer = ClipScorer(name)
    scorer.start(truth[:1])
    scorer.update(prediction[1:], truth[1:])
    return scorer.finish().values


@pytest.mark.parametrize("name", list(CONVENTIONS))
def test_values_change_only_with_the_version(name: str) -> None:
    assert _golden_scores(name) == pytest.approx(GOLDEN[metric_version(name)], abs=2e-6)


def test_versions_are_distinct_and_an_unknown_convention_is_named() -> None:
    assert len({metric_version(name) for name in CONVENTIONS}) == len(CONVENTIONS)
    with pytest.raises(ValueError, match=r"no metric convention 'algned'; choose one of aligned"):
        metric_version("algned")


def test_every_metric_says_what_it_is() -> None:
    assert set(_golden_scores("aligned")) <= set(METRICS)
    for name, info in METRICS.items():
        assert info.name == name
        assert info.label
        assert info.description.endswith(".")
    assert METRICS["psnr"].cap == METRICS["motion_psnr"].cap == 80.0
    assert not METRICS["lpips_vgg"].higher_is_better
