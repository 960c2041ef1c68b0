"""Sequences that are known to be bad: no metric may rank one above a good model.

The good model is the truth after compression: a little soft, and right everywhere. Where PSNR is
famously blind, the last test says so with numbers.
"""

from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch

from dojobench.metrics.clip_scorer import ClipScorer
from dojobench.metrics.codec_floor import decode_video, encode_h264
from dojobench.metrics.names import METRICS

FRAMES = 25


def _noise(clip: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clip.shape, generator=generator) * strength
    return (clip + noise).clamp(0, 255).to(torch.uint8)


def _good(clips: torch.Tensor, index: int) -> torch.Tensor:
    height, width = clips.shape[-2:]
    encoded = encode_h264(clips[index], 10, crf=20, pixel_format="yuv444p")
    return decode_video(encoded, height=height, width=width)


def _garbage(clips: torch.Tensor, index: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(index)
    return torch.randint(0, 256, clips[index].shape, dtype=torch.uint8, generator=generator)


KNOWN_BAD: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "static": lambda clips, i: clips[i, :1].expand_as(clips[i]),
    "lagged": lambda clips, i: torch.cat([clips[i, :1].expand_as(clips[i, :3]), clips[i, :-3]]),
    "swapped": lambda clips, i: clips[(i + 1) % len(clips)],
    "mean": lambda clips, i: (
        clips[[j for j in range(len(clips)) if j != i]].float().mean(dim=0).to(torch.uint8)
    ),
    "noisy": lambda clips, i: _noise(clips[i], 60),
    "garbage": _garbage,
}


def _mean_scores(
    clips: torch.Tensor, predict: Callable[[torch.Tensor, int], torch.Tensor], convention: str
) -> dict[str, float]:
    scorer = ClipScorer(convention)
    rows = []
    for index, truth in enumerate(clips):
        scorer.start(truth[:1])
        scorer.update(predict(clips, index)[1:], truth[1:])
        rows.append(scorer.finish().values)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _assert_good_wins(clips: torch.Tensor, bad: str, convention: str) -> None:
    good = _mean_scores(clips, _good, convention)
    worse = _mean_scores(clips, KNOWN_BAD[bad], convention)
    for name, value in good.items():
        sign = 1 if METRICS[name].higher_is_better else -1
        assert sign * value > sign * worse[name], name


def _draw(path: torch.Tensor, size: float, colour: int, scene: torch.Tensor) -> torch.Tensor:
    """A soft disc on a scene, its centre at ``path[t]``; uint8 ``[t, 3, 64, 64]``."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    frames = []
    for cx, cy in path.tolist():
        distance = ((x - cx) ** 2 + (y - cy) ** 2).sqrt()
        disc = torch.sigmoid((size - distance) * 1.5)
        frames.append(scene * (1 - disc) + colour * disc)
    return torch.stack(frames).clamp(0, 255).to(torch.uint8)


def _scene(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=generator) * 120 + 60
    return torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic")[0]


@pytest.fixture(scope="module")
def moving_clips() -> torch.Tensor:
    """Five scenes, each with a disc on a path of its own."""
    clips = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(100 + seed)
        ends = torch.rand(2, 2, generator=generator) * 48 + 8
        way = torch.linspace(0, 1, FRAMES).reshape(-1, 1)
        clips.append(_draw(ends[0] + way * (ends[1] - ends[0]), 9, 250, _scene(seed)))
    return torch.stack(clips)


@pytest.fixture(scope="module")
def real_clips(data_dir: Path) -> torch.Tensor:
    """The start of each GR-1 episode at 10 Hz, half size."""
    clips = []
    for path in sorted(data_dir.glob("gr1_sim/videos/**/*.mp4")):
        with av.open(str(path)) as container:
            frames = [
                torch.from_numpy(frame.to_ndarray(format="rgb24"))
                for _, frame in zip(range(2 * FRAMES), container.decode(video=0), strict=False)
            ]
        clips.append(torch.stack(frames[::2]).permute(0, 3, 1, 2)[..., ::2, ::2])
    return torch.stack(clips)


@pytest.mark.parametrize("convention", ["aligned", "pooled", "irasim_gray", "dino_wm"])
@pytest.mark.parametrize("bad", list(KNOWN_BAD))
def test_a_good_model_wins(moving_clips: torch.Tensor, bad: str, convention: str) -> None:
    _assert_good_wins(moving_clips, bad, convention)


@pytest.mark.data
@pytest.mark.parametrize("bad", list(KNOWN_BAD))
def test_a_good_model_wins_on_real_video(real_clips: torch.Tensor, bad: str) -> None:
    _assert_good_wins(real_clips, bad, "aligned")


def test_the_lag_of_dreamdojo_rewards_a_model_that_is_late(moving_clips: torch.Tensor) -> None:
    # The published pairing compares frame t with the prediction of t - 1, so a model that runs
    # one frame ahead of the robot beats the oracle: the convention reproduces, it does not judge.
    def ahead(clips: torch.Tensor, index: int) -> torch.Tensor:
        return torch.cat([clips[index, :13], clips[index, 14:], clips[index, -1:]])

    def oracle(clips: torch.Tensor, index: int) -> torch.Tensor:
        return clips[index]

    late = [_mean_scores(moving_clips, model, "dreamdojo") for model in (ahead, oracle)]
    assert late[0]["psnr"] > late[1]["psnr"] + 5
    right = [_mean_scores(moving_clips, model, "aligned") for model in (ahead, oracle)]
    assert right[0]["psnr"] < right[1]["psnr"] - 5


def test_psnr_cannot_tell_an_action_blind_model_from_a_noisy_one() -> None:
    # Two futures of one state: the disc goes left or right. The mean future ignores the action
    # and shows both discs at half strength; the noisy model is right and grainy.
    scene = _scene(7)
    start = torch.tensor([32.0, 32.0])
    way = torch.linspace(0, 20, FRAMES).reshape(-1, 1)
    futures = torch.stack(
        [_draw(start + way * torch.tensor([side, 0.0]), 6, 250, scene) for side in (-1.0, 1.0)]
    )
    blind = _mean_scores(futures, lambda c, _: c.float().mean(dim=0).to(torch.uint8), "pooled")
    strength = 255 * blind["mse"] ** 0.5  # the grain that makes the errors equal
    noisy = _mean_scores(futures, lambda c, i: _noise(c[i], strength, seed=i), "pooled")
    assert noisy["psnr"] == pytest.approx(blind["psnr"], abs=0.5)
    assert noisy["skill"] == pytest.approx(blind["skill"], abs=0.06)
    assert noisy["ssim"] < blind["ssim"]  # SSIM even prefers the model that ignores actions
    assert noisy["motion_psnr"] > blind["motion_psnr"] + 6
