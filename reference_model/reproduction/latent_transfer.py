"""Do latent actions mean the same for the hand and for the arm, and how much of motion is in them?

Pretraining on people helps a robot only if a latent action says what moves and not who. Two
questions, both about moves of 0.4 s (the four actions of a latent frame), whose true size the
simulator knows for either body:

- *Retrieval*: a move of one body is the query; among eight moves of the other, one of which is
  the same motion and seven are others, is the same one nearest by the cosine of the latents?
- *Probe*: how much of the motion does a linear map read off the latents, within a body and
  from one body to the other?
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dojobench.datasets.progress import track
from dojobench.metrics.intervals import Interval, bootstrap_clusters, cluster_bootstrap
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel, fit_frames
from dojobench.reference_model.reproduction.documents import plain_interval, write_results
from dojobench.reference_model.training.episodes import EpisodeGroup, EpisodeStore
from dojobench.reference_model.training.loop import training_device
from dojobench.reference_model.training.products import product

Floats = npt.NDArray[np.float64]

MOTION = ("dx", "dy", "dz", "dyaw")
"""The actions that the hand and the arm share, metres and radians in one world."""
STEPS = 4
"""Actions of a move; a latent frame has as many."""
CHOICES = 8
"""Moves to choose from; by chance one in eight is right."""
_NEAR = 0.5
_PENALTIES = np.logspace(-4, 2, 13)
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """What is compared.

    Attributes:
        hand: Groups of the hand: to fit on, and to ask about.
        arm: The same of the arm.
        episodes: At most so many of each group.
        seed: Of the moves to choose from.
    """

    hand: tuple[str, str] = ("dojo-hv", "hand-val")
    arm: tuple[str, str] = ("arm-train", "arm-val")
    episodes: int = 48
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Moves of one body.

    Attributes:
        latents: Mean latent action of each, ``[n, dim]``.
        motion: What was done, ``[n, 4]``: metres and radians over 0.4 s.
        episodes: Where each is from, ``[n]``.
    """

    latents: Floats
    motion: Floats
    episodes: npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What was found.

    Attributes:
        retrieval: Share of right choices, by direction such as ``hand → arm``.
        probe: Share of the variance of motion that is read off, pooled over its four parts,
            each in units of its own deviation, by direction.
        parts: The same for each part of the motion, without interval.
        moves: How many moves were asked about, by body.
    """

    retrieval: Mapping[str, Interval]
    probe: Mapping[str, Interval]
    parts: Mapping[str, Mapping[str, float]]
    moves: Mapping[str, int]


def measure_transfer(run: Path, config: TransferConfig | None = None) -> Transfer:
    """Compares the latent actions of a run between its two bodies.

    Args:
        run: A run that has data and a latent action model; nothing else is needed.
        config: What is compared.

    Raises:
        BadInputError: If something is missing, or the moves are too few.
    """
    config = config or TransferConfig()
    store = EpisodeStore(product(run, "data"))
    model = LatentActionModel.load(product(run, "latent_actions")).eval()
    model = model.to(training_device("auto"))
    bodies = {
        name: tuple(read_moves(store.group(group), model, config.episodes) for group in groups)
        for name, groups in (("hand", config.hand), ("arm", config.arm))
    }
    return compare_moves(
        {name: (fit, ask) for name, (fit, ask) in bodies.items()}, seed=config.seed
    )


@torch.inference_mode()
def read_moves(group: EpisodeGroup, model: LatentActionModel, episodes: int) -> Moves:
    """Reads the moves of a group's first episodes, without overlap.

    Raises:
        BadInputError: If the group has no actions to compare with.
    """
    if group.info.action_dim < len(MOTION):
        raise BadInputError(
            f"The group '{group.info.name}' has no true motion; make the data with 'keep_withheld'."
        )
    device = next(model.parameters()).device
    size = (model.config.height, model.config.width)
    latents, motion, places = [], [], []
    chosen = range(min(episodes, len(group)))
    for number in track(chosen, f"reading moves of {group.info.name}", len(chosen)):
        frames = torch.from_numpy(group.frames(number).copy()).unsqueeze(0).to(device)
        means = model.latent_actions(fit_frames(frames, *size), pairs_at_once=32)[0]
        count = len(means) // STEPS
        moves = means[: count * STEPS].float().cpu().numpy().reshape(count, STEPS, -1)
        actions = group.actions(number, 0, count * STEPS, withheld=True)[:, : len(MOTION)]
        latents.append(moves.mean(axis=1))
        motion.append(actions.reshape(count, STEPS, -1).sum(axis=1))
        places += [number] * count
    return Moves(
        latents=np.concatenate(latents).astype(np.float64),
        motion=np.concatenate(motion).astype(np.float64),
        episodes=np.array(places, dtype=np.intp),
    )


def compare_moves(bodies: Mapping[str, tuple[Moves, Moves]], *, seed: int = 0) -> Transfer:
    """Compares moves of two bodies.

    Args:
        bodies: By name, moves to fit on and moves to ask about; the means of the former are taken
            off, so that a constant difference between bodies (their looks) does not count.
        seed: Of the moves to choose from.

    Raises:
        BadInputError: If the moves are too few.
    """
    scale = np.concatenate([fit.motion for fit, _ in bodies.values()]).std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    ready = {
        name: tuple(
            Moves(
                latents=part.latents - fit.latents.mean(axis=0),
                motion=(part.motion - fit.motion.mean(axis=0)) / scale,
                episodes=part.episodes,
            )
            for part in (fit, ask)
        )
        for name, (fit, ask) in bodies.items()
    }
    # The motion itself is compared as it is, not less its mean: the same motion is the same.
    raw = {name: (ask.motion / scale) for name, (_, ask) in bodies.items()}
    retrieval, probe, parts = {}, {}, {}
    for name in ready:
        for other in ready:
            way = f"{name} → {other}"
            right, clusters = _retrieve(
                ready[name][1], raw[name], ready[other][1], raw[other], seed, same=name == other
            )
            retrieval[way] = cluster_bootstrap(right, clusters)
            probe[way], parts[way] = _probe(ready[name][0], ready[other][1])
    moves = {name: len(ask.latents) for name, (_, ask) in bodies.items()}
    return Transfer(retrieval=retrieval, probe=probe, parts=parts, moves=moves)


def _retrieve(
    queries: Moves, wanted: Floats, gallery: Moves, there: Floats, seed: int, *, same: bool
) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Asks for the same motion; gives 1 or 0 for each query that has one, and its episode."""
    random = np.random.default_rng(seed)
    moving = np.linalg.norm(wanted, axis=1) > 1
    right, clusters = [], []
    for number in np.flatnonzero(moving):
        distance = np.linalg.norm(there - wanted[number], axis=1)
        if same:  # not from its own episode, whose scene would give it away
            distance[gallery.episodes == queries.episodes[number]] = np.inf
        nearest = int(distance.argmin())
        finite = np.isfinite(distance)
        others = np.flatnonzero(finite & (distance > np.median(distance[finite])))
        if distance[nearest] > _NEAR * np.linalg.norm(wanted[number]) or len(others) < CHOICES:
            continue
        drawn = random.choice(others, CHOICES - 1, replace=False)
        choices = gallery.latents[np.concatenate([[nearest], drawn])]
        query = queries.latents[number]
        cosine = choices @ query / (np.linalg.norm(choices, axis=1) * np.linalg.norm(query))
        right.append(float(cosine.argmax() == 0))
        clusters.append(queries.episodes[number])
    if not right:
        raise BadInputError(
            "No move of one body has its like among those of the other; compare more episodes."
        )
    return np.array(right), np.array(clusters, dtype=np.intp)


def _probe(fit: Moves, ask: Moves) -> tuple[Interval, dict[str, float]]:
    """Fits a ridge regression on one set of moves and scores it on another."""
    scale = fit.latents.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x, y = fit.latents / scale, fit.motion
    weights = _ridge(x, y, _penalty(x, y, fit.episodes))
    error = np.square(ask.latents / scale @ weights - ask.motion)
    centre = ask.motion.mean(axis=0)
    whole = np.square(ask.motion - centre)
    found, codes = np.unique(ask.episodes, return_inverse=True)
    sums = np.zeros((len(found), 2))
    np.add.at(sums, codes, np.column_stack([error.sum(axis=1), whole.sum(axis=1)]))

    def explained(counts: Floats) -> Floats:
        left, total = (counts @ sums).T
        return np.asarray(1 - left / total)

    interval = bootstrap_clusters(explained, len(found), n=len(ask.latents))
    each = 1 - error.sum(axis=0) / whole.sum(axis=0)
    return interval, dict(zip(MOTION, map(float, each), strict=True))


def _ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    """Solves ``min |x w - y|^2 / n + penalty |w|^2``."""
    gram = x.T @ x / len(x) + penalty * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(gram, x.T @ y / len(x)))


def _penalty(x: Floats, y: Floats, episodes: npt.NDArray[np.intp]) -> float:
    """Chooses the penalty by what it predicts of episodes that were left out."""
    fold = np.unique(episodes, return_inverse=True)[1] % _FOLDS
    errors = np.zeros(len(_PENALTIES))
    for out in np.unique(fold):
        kept, left = fold != out, fold == out
        if not kept.any():
            return float(_PENALTIES[-1])
        for place, penalty in enumerate(_PENALTIES):
            weights = _ridge(x[kept], y[kept], float(penalty))
            errors[place] += np.square(x[left] @ weights - y[left]).sum()
    return float(_PENALTIES[errors.argmin()])


def write_transfer(found: Transfer, out: Path) -> str:
    """Writes ``latent_transfer.json`` and ``latent_transfer.md``; returns the latter's text."""
    document: dict[str, Any] = {
        "format": 1,
        "choices": CHOICES,
        "moves": dict(found.moves),
        "retrieval": {way: plain_interval(one) for way, one in found.retrieval.items()},
        "probe": {way: plain_interval(one) for way, one in found.probe.items()},
        "parts": {way: dict(each) for way, each in found.parts.items()},
    }
    lines = [
        f"| from → to | same motion retrieved, 1 of {CHOICES} (chance {1 / CHOICES:.3f}) | "
        "motion read off, R² | of it " + ", ".join(MOTION) + " |",
        "| --- | --- | --- | --- |",
    ]
    for way, share in found.retrieval.items():
        each = ", ".join(f"{value:.2f}" for value in found.parts[way].values())
        lines.append(f"| {way} | {_shown(share)} | {_shown(found.probe[way])} | {each} |")
    text = "\n".join(lines) + "\n"
    write_results(out, "latent_transfer", document, text)
    return text


def _shown(one: Interval) -> str:
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}] (n = {one.n})"
