"""The torchmetrics classes against the functions, alone and over two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchmetrics import Metric

from dojobench.metrics.clip_scorer import ClipScorer
from dojobench.metrics.image_metrics import (
    MotionPsnr,
    StaticSkill,
    VideoLpips,
    VideoPsnr,
    VideoSsim,
)
from dojobench.metrics.lpips_net import LpipsNet
from dojobench.metrics.psnr import psnr
from dojobench.metrics.skill import motion_psnr, skill
from dojobench.metrics.ssim import SsimSettings, ssim

Clips = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Five clips of four frames: prediction, truth, last context; the fifth never moves."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 256, (5, 4, 3, 24, 32), dtype=torch.uint8, generator=generator)
    context = torch.randint(0, 256, (5, 3, 24, 32), dtype=torch.uint8, generator=generator)
    truth[4] = context[4]
    noise = torch.randn(truth.shape, generator=generator) * 20
    return (truth + noise).clamp(0, 255).to(torch.uint8), truth, context


def _cases(clips: Clips) -> list[tuple[Metric, torch.Tensor, bool]]:
    """Each metric, its values of the five clips, and whether it takes the context."""
    prediction, truth, context = clips
    triples = list(zip(prediction, truth, context, strict=True))
    settings = SsimSettings(window="uniform")
    frames = psnr(prediction, truth, reduction="none")
    pooled = torch.stack([psnr(p, t, reduction="pooled") for p, t, _ in triples])
    return [
        (VideoPsnr(horizon=6), frames.mean(1), False),
        (VideoPsnr(horizon=4, pooled=True), pooled, False),
        (VideoSsim(horizon=6), ssim(prediction, truth).mean(1), False),
        (
            VideoSsim(horizon=4, settings=settings),
            ssim(*clips[:2], settings=settings).mean(1),
            False,
        ),
        (StaticSkill(horizon=6), torch.tensor([skill(*t) for t in triples]), True),
        (MotionPsnr(), torch.tensor([motion_psnr(*t) for t in triples]), True),
    ]


@pytest.mark.parametrize("index", range(6))
def test_class_is_the_mean_of_the_function(clips: Clips, index: int) -> None:
    metric, values, with_context = _cases(clips)[index]
    given = clips if with_context else clips[:2]
    for part in (slice(0, 2), slice(2, 3), slice(3, 5)):
        metric.update(*(tensor[part] for tensor in given))
    assert float(metric.compute()) == pytest.approx(float(values.double().nanmean()), abs=1e-6)
    metric.reset()
    metric.update(*(tensor[:1] for tensor in given))
    assert float(metric.compute()) == pytest.approx(float(values[0]), abs=1e-6)


@pytest.mark.parametrize("index", range(6))
def test_merged_states_are_those_of_one_process(clips: Clips, index: int) -> None:
    whole, _, with_context = _cases(clips)[index]
    given = clips if with_context else clips[:2]
    halves = [_cases(clips)[index][0] for _ in range(2)]
    whole.update(*given)
    for metric, part in zip(halves, (slice(0, 3), slice(3, 5)), strict=True):
        metric.update(*(tensor[part] for tensor in given))
    halves[0].merge_state(halves[1])
    assert float(halves[0].compute()) == pytest.approx(float(whole.compute()), abs=1e-9)
    if isinstance(whole, MotionPsnr):
        return
    torch.testing.assert_close(halves[0].curve(), whole.curve(), equal_nan=True)


WORKER = """
import json, sys, torch
import torch.distributed as dist
from dojobench.metrics.image_metrics import MotionPsnr, StaticSkill, VideoPsnr, VideoSsim
rank, rendezvous, data = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
prediction, truth, context = (t[:3] if rank == 0 else t[3:] for t in torch.load(data))
out = {}
for metric in (VideoPsnr(horizon=4), VideoSsim(horizon=4)):
    metric.update(prediction, truth)
    out[type(metric).__name__] = [float(metric.compute()), metric.curve().tolist()]
for metric in (StaticSkill(horizon=4), MotionPsnr()):
    metric.update(prediction, truth, context)
    out[type(metric).__name__] = [float(metric.compute())]
print(json.dumps(out))
dist.destroy_process_group()
"""


def test_two_processes_agree_with_one(clips: Clips, tmp_path: Path) -> None:
    torch.save(list(clips), tmp_path / "clips.pt")
    arguments = [str(tmp_path / "rendezvous"), str(tmp_path / "clips.pt")]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), *arguments], stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    answers = [json.loads(worker.communicate(timeout=600)[0]) for worker in workers]
    assert answers[0] == answers[1]
    prediction, truth, context = clips
    for metric in (VideoPsnr(horizon=4), VideoSsim(horizon=4)):
        metric.update(prediction, truth)
        value, curve = answers[0][type(metric).__name__]
        assert value == pytest.approx(float(metric.compute()), abs=1e-9)
        assert curve == pytest.approx(metric.curve().tolist(), abs=1e-9)
    for metric in (StaticSkill(horizon=4), MotionPsnr()):
        metric.update(prediction, truth, context)
        (value,) = answers[0][type(metric).__name__]
        assert value == pytest.approx(float(metric.compute()), abs=1e-9)


def test_clips_of_different_length_count_alike(clips: Clips) -> None:
    prediction, truth, _ = clips
    metric = VideoPsnr(horizon=4)
    metric.update(prediction[:1], truth[:1])
    metric.update(prediction[1:2, :2], truth[1:2, :2])
    values = [float(psnr(prediction[0], truth[0])), float(psnr(prediction[1, :2], truth[1, :2]))]
    assert float(metric.compute()) == pytest.approx(sum(values) / 2)
    later = psnr(prediction[0, 2:], truth[0, 2:], reduction="none")
    torch.testing.assert_close(metric.curve()[2:], later)


def test_it_agrees_with_the_scorer(clips: Clips) -> None:
    prediction, truth, context = clips
    metric, skills = VideoPsnr(horizon=4), StaticSkill(horizon=4)
    metric.update(prediction[:1], truth[:1])
    skills.update(prediction[:1], truth[:1], context[:1])
    scorer = ClipScorer()
    scorer.start(context[:1])
    scorer.update(prediction[0], truth[0])
    scores = scorer.finish()
    assert float(metric.compute()) == pytest.approx(scores.values["psnr"])
    assert float(skills.compute()) == pytest.approx(scores.values["skill"])
    assert metric.curve().tolist() == pytest.approx(scores.curves["psnr"])


def test_skill_is_undefined_where_nothing_moves(clips: Clips) -> None:
    metric = StaticSkill(horizon=4)
    metric.update(*(tensor[4:] for tensor in clips))
    assert metric.compute().isnan()
    assert metric.curve().isnan().all()


def test_lpips_class_is_the_net(tmp_path: Path, clips: Clips) -> None:
    missing = LpipsNet("alex", weights=tmp_path)
    with pytest.raises(ValueError, match="lpips_alex is not computed: no weights for alex"):
        VideoLpips(missing, horizon=4)

    from torchvision.models import AlexNet

    torch.manual_seed(0)
    torch.save(AlexNet(num_classes=2).state_dict(), tmp_path / "alexnet-owt-7be5be79.pth")
    net = LpipsNet("alex", weights=tmp_path)
    big = [
        torch.nn.functional.interpolate(t[0].float(), 40).to(torch.uint8)[None] for t in clips[:2]
    ]
    metric = VideoLpips(net, horizon=4)
    metric.update(*big)
    torch.testing.assert_close(metric.compute(), net(*big).mean())
    torch.testing.assert_close(metric.curve(), net(*big)[0])
    assert VideoLpips.higher_is_better is False


def test_bad_clips_are_refused(clips: Clips) -> None:
    prediction, truth, _ = clips
    with pytest.raises(ValueError, match="the clips have 4 frames and the metric's horizon is 3"):
        VideoPsnr(horizon=3).update(prediction, truth)
    with pytest.raises(ValueError, match=r"\[batch, time, channels, height, width\]"):
        VideoSsim(horizon=4).update(prediction[0], truth[0])
    with pytest.raises(ValueError, match="at least one frame, not 0"):
        VideoPsnr(horizon=0)
