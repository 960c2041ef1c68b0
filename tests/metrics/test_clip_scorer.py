"""The streaming scorer against the plain functions on the whole clip."""

import math

import numpy as np
import piq
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dojobench.metrics.clip_scorer import ClipScorer, ClipScores
from dojobench.metrics.conventions import CONVENTIONS, scored_pairs
from dojobench.metrics.frames import to_luma
from dojobench.metrics.psnr import psnr
from dojobench.metrics.skill import motion_psnr, skill
from dojobench.metrics.ssim import SsimSettings, ssim

Clip = tuple[torch.Tensor, torch.Tensor]


def _moving_clip(frames: int = 49, height: int = 48, width: int = 64, seed: int = 0) -> Clip:
    """A blob that crosses a textured scene, and a noisy prediction of it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    scene = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0] * 150
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    blobs = [
        100 * torch.exp(-((x - 4 - width * t / frames) ** 2 + (y - height / 2) ** 2) / 40)
        for t in range(frames)
    ]
    truth = torch.stack([scene + blob for blob in blobs]).clamp(0, 255)
    noise = torch.randn(truth.shape, generator=generator) * 8
    return (truth + noise).clamp(0, 255).to(torch.uint8), truth.to(torch.uint8)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return _moving_clip()


def _score(
    clip: Clip, convention: str = "aligned", *, steps: tuple[int, ...] = (48,), chunk: int = 12
) -> ClipScores:
    prediction, truth = clip
    scorer = ClipScorer(convention, chunk=chunk)
    scorer.start(truth[:1])
    at = 1
    for step in steps:
        scorer.update(prediction[at : at + step], truth[at : at + step])
        at += step
    return scorer.finish()


def test_aligned_is_the_plain_functions(clip: Clip) -> None:
    prediction, truth = (frames[1:] for frames in clip)
    scores = _score(clip)
    still = clip[1][0]
    assert scores.values["psnr"] == pytest.approx(float(psnr(prediction, truth)), abs=1e-9)
    assert scores.values["ssim"] == pytest.approx(float(ssim(prediction, truth).mean()), abs=1e-9)
    assert scores.values["skill"] == pytest.approx(skill(prediction, truth, still), abs=1e-12)
    expected = motion_psnr(prediction, truth, still)
    assert scores.values["motion_psnr"] == pytest.approx(expected, abs=1e-9)
    assert scores.values["mse"] == pytest.approx(float(np.mean(scores.curves["mse"])))
    assert scores.not_computed == {}
    assert {len(curve) for curve in scores.curves.values()} == {48}
    held = psnr(still.expand_as(truth), truth, reduction="none")
    assert (-10 * np.log10(scores.curves["mse_static"])).tolist() == pytest.approx(held.tolist())


@pytest.mark.parametrize("convention", list(CONVENTIONS))
@pytest.mark.parametrize("steps", [(12, 12, 12, 12), (1,) * 48, (5, 20, 23)])
def test_how_frames_come_changes_nothing(
    clip: Clip, convention: str, steps: tuple[int, ...]
) -> None:
    assert _score(clip, convention, steps=steps) == _score(clip, convention)


@pytest.mark.parametrize("chunk", [4, 12, 100])
def test_dreamdojo_is_piq_on_the_published_pairs(chunk: int) -> None:
    prediction, truth = _moving_clip(25, 384, 400)
    pairs = scored_pairs(24, CONVENTIONS["dreamdojo"], chunk=chunk)
    with_frame_0 = torch.cat([truth[:1], prediction[1:]])
    x = with_frame_0[[pair.prediction for pair in pairs]] / 255
    y = truth[[pair.truth for pair in pairs]] / 255
    scores = _score((prediction, truth), "dreamdojo", steps=(24,), chunk=chunk)
    theirs = piq.psnr(x, y, reduction="none")
    assert scores.curves["psnr"] == pytest.approx(theirs.tolist(), abs=1e-4)
    assert scores.values["psnr"] == pytest.approx(float(theirs.mean()), abs=1e-4)
    theirs = piq.ssim(x, y, reduction="none")
    assert scores.curves["ssim"] == pytest.approx(theirs.tolist(), abs=1e-4)
    assert scores.curves["psnr"][0] == pytest.approx(80, abs=1e-9)


def test_dreamdojo_takes_the_models_own_first_frame(clip: Clip) -> None:
    prediction, truth = clip
    scorer = ClipScorer("dreamdojo")
    scorer.start(truth[:1], context_prediction=prediction[0])
    scorer.update(prediction[1:], truth[1:])
    shown = scorer.finish().curves["psnr"]
    expected = psnr(prediction[:1], truth[:1], floor="add")
    assert shown[0] == pytest.approx(float(expected), abs=1e-9)
    assert shown[1:] == _score(clip, "dreamdojo").curves["psnr"][1:]


def test_pooled_is_the_decibels_of_the_mean_error(clip: Clip) -> None:
    expected = float(psnr(clip[0][1:], clip[1][1:], reduction="pooled"))
    pooled, aligned = _score(clip, "pooled"), _score(clip)
    assert pooled.values["psnr"] == pytest.approx(expected, abs=1e-9)
    assert pooled.curves == aligned.curves
    assert pooled.values["ssim"] == aligned.values["ssim"]


def test_irasim_gray_is_scikit_image_on_grey_frames(clip: Clip) -> None:
    grey = [to_luma(frames[1:])[:, 0].numpy() for frames in clip]
    scores = _score(clip, "irasim_gray")
    expected = [peak_signal_noise_ratio(t, p, data_range=255) for p, t in zip(*grey, strict=True)]
    assert scores.curves["psnr"] == pytest.approx(expected, abs=1e-6)
    expected = [structural_similarity(t, p) for p, t in zip(*grey, strict=True)]
    assert scores.curves["ssim"] == pytest.approx(expected, abs=1e-5)


def test_grey_is_within_half_a_level_of_the_exact_luma() -> None:
    frames = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).reshape(3, 1, 1)
    exact = (frames * weights).sum(dim=1, keepdim=True)
    assert float((to_luma(frames) - exact).abs().max()) < 0.51
    assert to_luma(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)).unique().tolist() == [255]


def test_dino_wm_pads_with_black(clip: Clip) -> None:
    prediction, truth = (frames[1:] for frames in clip)
    expected = ssim(prediction, truth, settings=SsimSettings(padding="zero")).mean()
    assert _score(clip, "dino_wm").values["ssim"] == pytest.approx(float(expected), abs=1e-9)
    assert _score(clip, "dino_wm").values["psnr"] == _score(clip, "pooled").values["psnr"]


@pytest.mark.parametrize("convention", ["aligned", "pooled", "irasim_gray", "dino_wm"])
def test_the_oracle_scores_the_cap_on_every_metric(clip: Clip, convention: str) -> None:
    _, truth = clip
    values = _score((truth, truth), convention).values
    assert values["psnr"] == pytest.approx(80.0, abs=1e-9)
    assert values["motion_psnr"] == pytest.approx(80.0, abs=1e-9)
    assert (values["ssim"], values["skill"], values["mse"]) == (1.0, 1.0, 0.0)


def test_the_static_frame_has_no_skill(clip: Clip) -> None:
    _, truth = clip
    assert _score((truth[:1].expand_as(truth), truth)).values["skill"] == 0.0


def test_a_truth_that_never_moves_has_neither_skill_nor_motion(clip: Clip) -> None:
    prediction, truth = clip
    scores = _score((prediction, truth[:1].expand_as(truth)))
    assert scores.not_computed == {
        "skill": "not computed: the truth never leaves the last context frame",
        "motion_psnr": "not computed: no pixel changes by more than 5 %",
    }
    assert set(scores.values) == {"psnr", "ssim", "mse"}
    assert all(math.isfinite(value) for value in scores.values.values())


def test_frames_smaller_than_the_window_still_have_a_psnr() -> None:
    clip = _moving_clip(5, 8, 8)
    scores = _score(clip, steps=(4,))
    assert "ssim" not in scores.values
    assert scores.not_computed["ssim"].startswith("not computed: SSIM needs frames of at least 11")
    assert scores.values["psnr"] == pytest.approx(float(psnr(clip[0][1:], clip[1][1:])))


def test_only_the_last_context_frame_counts(clip: Clip) -> None:
    prediction, truth = clip
    scorer = ClipScorer()
    scorer.start(torch.cat([255 - truth[:3], truth[:1]]))
    scorer.update(prediction[1:], truth[1:])
    assert scorer.finish() == _score(clip)


def test_a_scorer_is_used_again_without_a_trace(clip: Clip) -> None:
    prediction, truth = clip
    other = _moving_clip(9, 32, 40, seed=5)
    scorer = ClipScorer("dreamdojo", chunk=12)
    scorer.start(other[1][:1])
    scorer.update(other[0][1:], other[1][1:])
    scorer.start(truth[:1])
    scorer.update(prediction[1:], truth[1:])
    assert scorer.finish() == _score(clip, "dreamdojo")


def test_frames_given_are_not_changed(clip: Clip) -> None:
    before = [frames.clone() for frames in clip]
    _score(clip, "dreamdojo")
    assert all(torch.equal(a, b) for a, b in zip(before, clip, strict=True))


def test_only_the_metrics_asked_for(clip: Clip) -> None:
    prediction, truth = clip
    scorer = ClipScorer(metrics=("ssim",))
    scorer.start(truth[:1])
    scorer.update(prediction[1:], truth[1:])
    scores = scorer.finish()
    assert set(scores.values) == {"ssim", "skill", "motion_psnr", "mse"}
    assert set(scores.curves) == {"ssim", "mse", "mse_static"}


def test_a_long_rollout_keeps_a_few_planes_only() -> None:
    prediction, truth = _moving_clip(13, 96, 128)
    scorer = ClipScorer("dreamdojo", metrics=("psnr",))
    scorer.start(truth[:1])
    for _ in range(50):
        scorer.update(prediction[1:], truth[1:])
    clip = scorer._clip
    assert clip is not None
    planes = (clip.last, clip.previous, clip.still, clip.errors, clip.low, clip.high)
    held = sum(p.untyped_storage().nbytes() for p in planes)
    assert held <= 96 * 128 * (5 * 3 + 8)
    assert len(scorer.finish().curves["psnr"]) == 601


FRAMES = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("prediction", "truth", "words"),
    [
        (FRAMES[:0], FRAMES[:0], r"\[0, 3, 16, 16\]; give at least one frame"),
        (FRAMES[:1], FRAMES, "as many frames"),
        (FRAMES[:, :, :8], FRAMES[:, :, :8], "keeps one size"),
        (FRAMES.float(), FRAMES, "the prediction is float32; frames are uint8"),
        (FRAMES.float() * torch.nan, FRAMES, "the prediction holds NaN"),
        (FRAMES, FRAMES.int(), "the truth is int32"),
        (FRAMES[:, :1], FRAMES[:, :1], r"\[frames, 3, height, width\]"),
        (FRAMES[0], FRAMES[0], r"\[frames, 3, height, width\]"),
    ],
)
def test_bad_frames_are_refused_and_the_clip_goes_on(
    prediction: torch.Tensor, truth: torch.Tensor, words: str
) -> None:
    scorer = ClipScorer()
    scorer.start(FRAMES)
    with pytest.raises(ValueError, match=words):
        scorer.update(prediction, truth)
    scorer.update(FRAMES, FRAMES)
    assert scorer.finish().values["psnr"] == 80.0


def test_the_order_of_calls_is_checked() -> None:
    scorer = ClipScorer()
    with pytest.raises(ValueError, match="call start"):
        scorer.update(FRAMES, FRAMES)
    with pytest.raises(ValueError, match="the context has shape"):
        scorer.start(FRAMES[:0])
    with pytest.raises(ValueError, match="predicted context frame"):
        scorer.start(FRAMES, context_prediction=FRAMES[0, :, :8])
    scorer.start(FRAMES)
    with pytest.raises(ValueError, match="no frame was scored"):
        scorer.finish()


def test_unknown_choices_are_named() -> None:
    with pytest.raises(ValueError, match="no metric convention 'x'"):
        ClipScorer("x")
    with pytest.raises(ValueError, match="metric 'fvd' cannot be computed here"):
        ClipScorer(metrics=("psnr", "fvd"))
    with pytest.raises(ValueError, match="LpipsNet"):
        ClipScorer(metrics=("lpips_vgg",))
    with pytest.raises(ValueError, match="at least one frame, not 0"):
        ClipScorer(chunk=0)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(clip: Clip) -> None:
    scorer = ClipScorer("dreamdojo", device="cuda")
    prediction, truth = clip
    scorer.start(truth[:1])
    scorer.update(prediction[1:], truth[1:])
    assert scorer.finish().values == pytest.approx(_score(clip, "dreamdojo").values, abs=1e-5)
