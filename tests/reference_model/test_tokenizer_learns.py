"""The nano tokenizer on frames of the dojo: a short training that proves that it learns.

Slow: two minutes of one core. Run with ``-m slow --log-cli-level=INFO`` to see the figures of
``docs/measurements.md``.
"""

import logging
import time

import pytest
import torch
from torch.nn import functional as F

from dojobench.datasets.dojo_plans import MakeConfig, make_plans
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TOKENIZERS
from dojobench.reference_model.tokenizer_training import (
    fit_latent_statistics,
    foreground_crops,
    motion_energy,
    psnr,
    tokenizer_loss,
)
from dojobench.simulator.generation import generate

LOG = logging.getLogger(__name__)
STEPS, WARM_UP, RATE, BATCH, TIME = 500, 20, 4e-3, 16, 5


def _clips(episodes: int, seed: str) -> torch.Tensor:
    config = MakeConfig(embodiment="arm", episodes=episodes, frames=20, seed=seed)
    clips = [
        torch.from_numpy(clip.frames[: 1 + 4 * 4])
        for clip in generate(make_plans(config), workers=1)
        if clip.frames is not None
    ]
    return torch.stack(clips).permute(0, 1, 4, 2, 3).contiguous()


def _train(tokenizer: CausalTokenizer, clips: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=RATE, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        share = min(1, (step + 1) / WARM_UP, (STEPS - step) / (0.4 * STEPS))
        for group in optimizer.param_groups:
            group["lr"] = RATE * share
        which = torch.randint(0, len(clips), (BATCH,), generator=generator)
        start = int(torch.randint(0, clips.shape[1] - TIME + 1, (1,), generator=generator))
        crops = foreground_crops(clips[which, start : start + TIME], 32, generator=generator)
        optimizer.zero_grad()
        loss = tokenizer_loss(tokenizer, crops, generator=generator)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            LOG.info("step %d: mse %.5f, kl %.3f", step + 1, loss.mse.item(), loss.kl.item())


def _scores(shown: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """PSNR of all pixels, and of those that move."""
    moving = (motion_energy(truth) > 0.03)[:, None, None].expand_as(truth)
    return psnr(shown, truth), psnr(shown[moving], truth[moving])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nano_beats_a_thumbnail_of_as_many_numbers():
    """A latent is 256 numbers a frame; a thumbnail of 10x10 is 300 and costs no training."""
    torch.manual_seed(0)
    train, held_out = _clips(120, "tokenizer trial"), _clips(16, "tokenizer trial, held out")
    tokenizer = CausalTokenizer(TOKENIZERS["nano"])
    before = time.process_time()
    _train(tokenizer, train)
    taken = time.process_time() - before
    fit_latent_statistics(tokenizer, train.split(16))
    with torch.no_grad():
        latents = tokenizer.encode(held_out)
        shown = tokenizer.decode(latents)
    truth = held_out / 255
    small = F.interpolate(truth.flatten(0, 1), (10, 10), mode="bilinear", antialias=True)
    thumbnail = F.interpolate(small, (64, 64), mode="bicubic").clamp(0, 1).reshape(truth.shape)
    mean = train.double().mean(dim=(0, 1)) / 255
    rows = {
        "nano": _scores(shown, truth),
        "thumbnail": _scores(thumbnail, truth),
        "mean picture": _scores(mean.float().expand_as(truth), truth),
    }
    LOG.info("%d steps in %.0f s of one core", STEPS, taken)
    LOG.info("deviation of held-out latents %.2f", latents.std().item())
    for name, (everywhere, moving) in rows.items():
        LOG.info("%s: %.2f dB, %.2f dB where something moves", name, everywhere, moving)
    assert rows["nano"][0] > rows["thumbnail"][0] + 1
    assert rows["nano"][1] > rows["thumbnail"][1] + 1
