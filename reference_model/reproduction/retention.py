"""What pretraining knew of human video, and what of it post-training on a robot forgot.

The pretrained network and the post-trained one predict the same human episodes from the same
latent actions. Post-training draws the first layer of the action embedders afresh, so what latent
actions mean is gone with it; whether the pictures are known still is asked with that layer put
back as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dojobench.datasets.progress import track
from dojobench.metrics.intervals import Interval, cluster_bootstrap, paired_difference
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.action_conditioning import place_latent_actions
from dojobench.reference_model.checkpoint_io import load_world_model
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.generation import SamplerConfig, sample
from dojobench.reference_model.reproduction.documents import plain_interval, write_results
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_training import psnr
from dojobench.reference_model.training.loop import training_device
from dojobench.reference_model.training.products import product
from dojobench.reference_model.training.stages import open_latents
from dojobench.reference_model.video_tokenizer import to_unit

_LATENT_FRAMES = 4
_FIRST_LAYERS = tuple(f"action_embedder_B_{kind}.fc1.{part}" for kind in ("D", "3D")
                      for part in ("weight", "bias"))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Retention:
    """PSNR over the first frame repeated, in dB, one window of each episode.

    Attributes:
        group: Episodes that were asked about.
        scores: By network: ``pretrained``, ``post-trained``, and ``post-trained, action layer put
            back``.
        forgotten: Score of the pretrained network minus that of the others.
    """

    group: str
    scores: Mapping[str, Interval]
    forgotten: Mapping[str, Interval]


def measure_retention(run: Path, *, group: str = "hand-val", steps: int = 4) -> Retention:
    """Measures what post-training forgot.

    Args:
        run: A run whose pretraining was conditioned on latent actions, and post-trained.
        group: Episodes to ask about, with latent actions read.
        steps: Euler steps of a sample.

    Raises:
        BadInputError: If something is missing, or the two networks are of different shapes.
    """
    device = training_device("auto")
    tokenizer = CausalTokenizer.load(product(run, "tokenizer")).eval().to(device)
    before = load_world_model(product(run, "pretrain"), dtype=torch.float32).to(device)
    after = load_world_model(product(run, "posttrain"), dtype=torch.float32).to(device)
    if before.config != after.config:
        raise BadInputError(
            f"In {run} the pretrained and the post-trained network are of different shapes, and "
            "what one forgot of the other cannot be asked."
        )
    frames, latents, actions = _windows(run, group)
    names = ("pretrained", "post-trained", "post-trained, action layer put back")
    mended = load_world_model(product(run, "posttrain"), dtype=torch.float32).to(device)
    own, former = mended.state_dict(), before.state_dict()
    mended.load_state_dict(own | {name: former[name] for name in _FIRST_LAYERS})
    values = {}
    for name, net in zip(names, (before, after, mended), strict=True):
        sampler = SamplerConfig(solver="euler", steps=steps, shift=net.config.shift)
        values[name] = np.array(
            [
                _gain(net, tokenizer, sampler, *window)
                for window in track(
                    zip(frames, latents, actions, strict=True), f"asking {name}", len(frames)
                )
            ]
        )
    episodes = np.arange(len(frames))
    return Retention(
        group=group,
        scores={name: cluster_bootstrap(each, episodes) for name, each in values.items()},
        forgotten={
            name: paired_difference(values[names[0]], values[name], episodes) for name in names[1:]
        },
    )


def _windows(run: Path, name: str) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Takes the middle window of each episode: frames, latents and latent actions in place."""
    store = open_latents(run)
    group, rows = store.group(name), 4 * (_LATENT_FRAMES - 1)
    frames, latents, actions = [], [], []
    for episode, count in enumerate(group.windows(_LATENT_FRAMES)):
        if not count:
            continue
        index = count // 2
        start = group.start(index)
        clip = group.group.frames(episode, start, start + 1 + rows)
        window = group.window(episode, index, _LATENT_FRAMES).astype(np.float32)
        means = group.actions(episode, start, start + rows)
        frames.append(torch.from_numpy(clip.copy()))
        latents.append(torch.from_numpy(window).transpose(0, 1).unsqueeze(0))
        actions.append(place_latent_actions(torch.from_numpy(means.copy()).unsqueeze(0)))
    if not frames:
        raise BadInputError(
            f"No episode of '{name}' in {run} is {1 + rows} frames long; name another group."
        )
    return frames, latents, actions


@torch.no_grad()
def _gain(
    net: WorldModelNet,
    tokenizer: CausalTokenizer,
    sampler: SamplerConfig,
    frames: Tensor,
    latents: Tensor,
    actions: Tensor,
) -> float:
    """Gives the PSNR of a predicted window over that of its first frame repeated."""
    made = sample(
        net,
        latents[:, :, :1].to(net.device),
        actions.to(net.device),
        config=sampler,
        frames=latents.shape[2],
        generator=torch.Generator(net.device).manual_seed(0),
    )
    predicted = tokenizer.decode(made.transpose(1, 2))[0, 1:].float().cpu()
    truth = to_unit(frames)
    return psnr(predicted, truth[1:]) - psnr(truth[:1].expand_as(truth[1:]), truth[1:])


def write_retention(found: Retention, out: Path) -> str:
    """Writes ``retention.json`` and ``retention.md``; returns the latter's text."""
    lines = [
        f"| network, on `{found.group}` | PSNR over the first frame repeated, dB | forgotten, dB |",
        "| --- | --- | --- |",
    ]
    for name, score in found.scores.items():
        lost = found.forgotten.get(name)
        lines.append(f"| {name} | {_shown(score)} | {'–' if lost is None else _shown(lost)} |")
    text = "\n".join(lines).replace("-0.00", "0.00") + "\n"
    document = {
        "format": 1,
        "group": found.group,
        "scores": {name: plain_interval(one) for name, one in found.scores.items()},
        "forgotten": {name: plain_interval(one) for name, one in found.forgotten.items()},
    }
    write_results(out, "retention", document, text)
    return text


def _shown(one: Interval) -> str:
    return f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]"
