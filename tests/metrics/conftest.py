"""A small world of moving shapes with branches, and models that are wrong in one known way.

A magenta hand starts in the middle and goes another way in each of four branches; it pushes a
green disc where it meets it, and a blue disc lies out of reach. Ten frames a second.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch.nn import functional

SIDE, BRANCHES, FRAMES, CHUNK, RATE = 48, 4, 120, 10, 10
MAGENTA, GREEN, BLUE = (1.0, 0.0, 1.0), (0.15, 0.70, 0.20), (0.15, 0.30, 0.90)
HAND_RADIUS, DISC_RADIUS = 3.5, 4.5


@dataclass
class Shapes:
    """Frames ``[branches, time, 3, height, width]`` uint8, and what is known about the truth."""

    context: torch.Tensor  # [2, 3, height, width]; nothing moves yet
    truth: torch.Tensor
    hand: np.ndarray  # [branches, time, 2], x and y
    masks: np.ndarray  # [branches, time, 2, height, width], green and blue
    contact: np.ndarray  # [branches, time, 2]
    models: dict[str, torch.Tensor] = field(default_factory=dict)
    chunk: int = CHUNK
    rate: int = RATE
    colours: tuple = (GREEN, BLUE)


def _coverage(centre, radius):
    """Share of each pixel that a disc covers, with soft edges, ``[height, width]``."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.clip(radius + 0.5 - np.hypot(x - centre[0], y - centre[1]), 0, 1)


def _background(rng):
    coarse = torch.from_numpy(rng.random((1, 1, 12, 12)))
    grey = functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")[0, 0].numpy()
    tint = np.array([1.0, 0.94, 0.86])
    return (0.35 + 0.3 * grey)[..., None] * tint


def _hand_path(rng, reach=1.0):
    """Wandering paths that start together and take another direction in each branch."""
    t = np.arange(FRAMES + 1)
    paths = []
    for branch in range(BRANCHES):
        angle = np.pi / 2 * branch + rng.uniform(-0.3, 0.3)
        out = 13 * np.sin(2 * np.pi * t / rng.uniform(55, 95))
        across = 6 * np.sin(2 * np.pi * t / rng.uniform(25, 40))
        steps = np.stack(
            [np.cos(angle) * out - np.sin(angle) * across,
             np.sin(angle) * out + np.cos(angle) * across], 1,
        )  # fmt: skip
        paths.append(SIDE / 2 + reach * steps)
    return np.stack(paths)


def _discs(hand, rng):
    """Positions of the discs while the hand pushes the green one, and when it touches it."""
    start = np.array([SIDE / 2 + rng.uniform(7.5, 8.5), SIDE / 2 + rng.uniform(-1, 1)])
    blue = np.array([6.0, 6.0])
    centres, contact = np.empty((len(hand), 2, 2)), np.zeros((len(hand), 2), dtype=bool)
    green, room = start, HAND_RADIUS + DISC_RADIUS - 1
    for t, at in enumerate(hand):
        gap = green - at
        distance = np.hypot(*gap)
        if distance < room:
            green = np.clip(at + gap / max(distance, 1e-6) * room, 5, SIDE - 6)
            contact[t, 0] = True
        centres[t] = green, blue
    return centres, contact


def _render(background, hand, centres, visible=(True, True)):
    image = background.copy()
    for centre, colour, seen in zip(centres, (GREEN, BLUE), visible, strict=True):
        if seen:
            cover = _coverage(centre, DISC_RADIUS)[..., None]
            image = image * (1 - cover) + np.array(colour) * cover
    cover = _coverage(hand, HAND_RADIUS)[..., None]
    image = image * (1 - cover) + np.array(MAGENTA) * cover
    return np.rint(255 * image.transpose(2, 0, 1)).astype(np.uint8)


def _film(background, hand, centres, vanish_after=None):
    frames = [
        _render(background, at, discs, (vanish_after is None or t <= vanish_after, True))
        for t, (at, discs) in enumerate(zip(hand, centres, strict=True))
    ]
    return torch.from_numpy(np.stack(frames))


def _whole(frames):
    return frames.round().clamp(0, 255).to(torch.uint8)


def _world(seed, reach=1.0, vanish_after=None):
    """Films of all branches with their first, shared frame, and the state behind them."""
    background = _background(np.random.default_rng([seed, 1]))
    hands = _hand_path(np.random.default_rng([seed, 2]), reach)
    films, discs, contacts = [], [], []
    for hand in hands:
        centres, contact = _discs(hand, np.random.default_rng([seed, 3]))
        films.append(_film(background, hand, centres, vanish_after))
        discs.append(centres)
        contacts.append(contact)
    return torch.stack(films), hands, np.stack(discs), np.stack(contacts)


def _delayed(film, lag):
    """What a model shows that acts ``lag`` frames late."""
    later = [film[:, max(0, t - lag)] for t in range(1, FRAMES + 1)]
    return torch.stack(later, dim=1)


def _models(film, seed):
    """Predictions of every known-bad model, ``[branches, time, 3, height, width]``."""
    truth = film[:, 1:]
    smooth = truth.float()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(truth.shape, generator=generator)
    blurred = functional.avg_pool2d(
        functional.pad(smooth.flatten(0, 1), (2, 2, 2, 2), mode="replicate"), 5, stride=1
    ).reshape(smooth.shape)
    t = torch.arange(FRAMES)
    drift = torch.stack([0.5 * t, 0.0 * t, -0.5 * t], 1)[None, :, :, None, None]
    seams = truth.clone()
    for start in range(0, FRAMES, 2 * CHUNK):
        seams[:, start : start + CHUNK] = seams[:, start : start + CHUNK].roll(2, dims=-1)
    frozen = truth.clone()
    frozen[:, 3 * RATE :] = truth[:, 3 * RATE - 1 : 3 * RATE]
    return {
        "perfect": truth,
        "noise": _whole(smooth + 0.03 * 255 * noise),
        "blurred": _whole(blurred),
        "lag-2": _delayed(film, 2),
        "lag-8": _delayed(film, 8),
        "mean-future": _whole(smooth.mean(0, keepdim=True)).expand_as(truth),
        "hold": film[:, :1].expand_as(truth),
        "swap": truth[[1, 0, 3, 2]],
        "half": _whole(smooth.mean(0, keepdim=True) / 2 + smooth / 2),
        "under-react": _world(seed, reach=0.5)[0][:, 1:],
        "garbage": _world(seed + 1000)[0][[2, 0, 3, 1], 1:],
        "freeze": frozen,
        "colour-drift": _whole(smooth + drift),
        "seams": seams,
        "vanish": _world(seed, vanish_after=4 * RATE)[0][:, 1:],
    }


def _make(seed):
    film, hands, discs, contact = _world(seed)
    masks = np.array(
        [[[_coverage(c, DISC_RADIUS) >= 0.5 for c in two] for two in branch] for branch in discs]
    )
    # What the hand hides is hidden in the true masks as well.
    hidden = np.array([[_coverage(h, HAND_RADIUS) >= 0.5 for h in hand] for hand in hands])
    masks &= ~hidden[:, :, None]
    context = film[0, :1].expand(2, -1, -1, -1)
    return Shapes(
        context=context, truth=film[:, 1:], hand=hands[:, 1:], masks=masks[:, 1:],
        contact=contact[:, 1:], models=_models(film, seed),
    )  # fmt: skip


@pytest.fixture(scope="session")
def shapes():
    """Three worlds."""
    return [_make(seed) for seed in range(3)]
