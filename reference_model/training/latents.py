"""Latents of stored episodes, encoded once, and the latent actions between their frames.

Training the world model draws windows at random. Encoding them each time would cost more than
training, so every window that may be drawn is encoded beforehand. A window begins with a latent of
one frame by itself, and goes on with latents of four frames each. Our own tokenizer encodes these
without looking at any other frame, so it suffices to keep, for every ``every``-th frame, the
latent of that frame and of the four after it: longer windows are put together from them. A
tokenizer that looks back, such as WAN's, encodes every window as a whole.

Files of a group, beside which the pixels may lie or not: ``latents.json``, and a shard's windows of
all its episodes in ``latents-00000.npy``, float16; ``latent_actions.json`` and
``latent_actions-00000.npy``, float32. A shard that has its file is whole.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_model
from dojobench.datasets.progress import track
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel, fit_frames
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.training.arrays import save_array
from dojobench.reference_model.training.episodes import EpisodeGroup, EpisodeStore
from dojobench.reference_model.training.latent_store import (
    LATENT_ACTIONS,
    LATENTS,
    Floats,
    Halves,
    LatentActionInfo,
    LatentInfo,
    LatentStore,
)
from dojobench.reference_model.video_tokenizer import GROUP, VideoTokenizer

__all__ = [
    "LatentConfig",
    "LatentStore",
    "encode_episodes",
    "read_latent_actions",
    "weights_digest",
]


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """How episodes are encoded.

    Attributes:
        every: Windows start at every so many frames, 1, 2 or 4; 1 costs twice as much as 2.
        latent_frames: Longest window to be drawn, in latent frames; a tokenizer that does not
            look back gives windows of any length, whatever stands here.
        precision: ``bfloat16`` encodes faster, on a CPU too; latents then differ by 0.4 % of their
            deviation, which changes no decoded PSNR (`docs/measurements.md`).
        batch: Frames that are encoded together, about.
    """

    every: int = 2
    latent_frames: int = 4
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    batch: int = 256

    def __post_init__(self) -> None:
        if self.every not in (1, 2, 4) or self.latent_frames < 2 or self.batch < 1:
            raise BadInputError(
                f"Windows of {self.latent_frames} latent frames at every {self.every} frames in "
                f"batches of {self.batch} cannot be encoded; 'every' is 1, 2 or 4, "
                "'latent_frames' at least 2 and 'batch' at least 1."
            )


def weights_digest(module: nn.Module) -> str:
    """Hashes a module's weights and buffers by name: ``sha256:…``."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def encode_episodes(
    store: EpisodeStore,
    tokenizer: VideoTokenizer,
    root: Path,
    config: LatentConfig | None = None,
    *,
    groups: Sequence[str] | None = None,
) -> "LatentStore":
    """Encodes groups of episodes, or what is missing of them.

    Args:
        store: The episodes.
        tokenizer: On the device where it is to run.
        root: Folder of the latents; it is made where it does not exist.
        config: How.
        groups: Which; all where ``None``.

    Returns:
        The latents.

    Raises:
        BadInputError: If latents of other episodes, weights or settings lie there already, the
            frames do not fit the tokenizer, or the disk is full.
    """
    config = config or LatentConfig()
    joins = isinstance(tokenizer, CausalTokenizer)
    stored = 2 if joins else config.latent_frames
    weights = weights_digest(tokenizer)
    for name in store.names if groups is None else groups:
        group = store.group(name)
        factor = tokenizer.spatial_factor
        info = LatentInfo(
            episodes=group.digest,
            tokenizer=weights,
            every=config.every,
            stored=stored,
            joins=joins,
            precision=config.precision,
            shape=(
                tokenizer.latent_channels,
                group.info.height // factor,
                group.info.width // factor,
            ),
        )
        _claim(Path(root) / name, LATENTS, info)

        def one(episode: int, group: EpisodeGroup = group, info: LatentInfo = info) -> Halves:
            return _encode_episode(tokenizer, group.frames(episode), info, config.batch)

        _fill(group, Path(root) / name, LATENTS, one)
    return LatentStore(store, root)


@torch.inference_mode()
def _encode_episode(
    tokenizer: VideoTokenizer, frames: npt.NDArray[np.uint8], info: LatentInfo, batch: int
) -> Halves:
    """Gives the windows of an episode, float16 ``[windows, stored, channels, h, w]``."""
    device = next(tokenizer.parameters()).device
    span = 1 + GROUP * (info.stored - 1)
    starts = range(0, len(frames) - span + 1, info.every)
    video = torch.from_numpy(frames.copy()).to(device)
    at_once = max(1, batch // span)
    encoded = [torch.zeros(0, info.stored, *info.shape, device=device)]
    for first in range(0, len(starts), at_once):
        windows = torch.stack([video[s : s + span] for s in starts[first : first + at_once]])
        with torch.autocast(device.type, torch.bfloat16, enabled=info.precision == "bfloat16"):
            encoded.append(tokenizer.encode(windows).float())
    latents: Halves = torch.cat(encoded).to(torch.float16).cpu().numpy()
    return latents


def read_latent_actions(
    store: EpisodeStore,
    model: LatentActionModel,
    root: Path,
    *,
    groups: Sequence[str] | None = None,
    batch: int = 32,
) -> "LatentStore":
    """Reads the latent actions between the frames of groups, or what is missing of them.

    Args:
        store: The episodes.
        model: On the device where it is to run; frames are fitted to its size.
        root: Folder of the latents; it is made where it does not exist.
        groups: Which; all where ``None``.
        batch: Pairs of frames that are read together.

    Returns:
        The latents.

    Raises:
        BadInputError: If latent actions of other episodes or weights lie there already, or the
            disk is full.
    """
    weights, size = weights_digest(model), (model.config.height, model.config.width)
    device = next(model.parameters()).device

    @torch.inference_mode()
    def one(group: EpisodeGroup, episode: int) -> Floats:
        video = torch.from_numpy(group.frames(episode).copy()).unsqueeze(0).to(device)
        if len(group.frames(episode)) < 2:
            return np.zeros((0, model.config.latent_dim), np.float32)
        fitted = fit_frames(video, *size)
        means = model.latent_actions(fitted, pairs_at_once=batch)[0]
        actions: Floats = means.float().cpu().numpy()
        return actions

    for name in store.names if groups is None else groups:
        group = store.group(name)
        info = LatentActionInfo(episodes=group.digest, model=weights, dim=model.config.latent_dim)
        _claim(Path(root) / name, LATENT_ACTIONS, info)
        _fill(
            group,
            Path(root) / name,
            LATENT_ACTIONS,
            lambda episode, group=group: one(group, episode),  # type: ignore[misc]
        )
    return LatentStore(store, root)


def _claim(folder: Path, stem: str, info: LatentInfo | LatentActionInfo) -> None:
    """Writes what the arrays are to be, or sees that it is what stands there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"The folder {folder} cannot be made ({(error.strerror or 'error').lower()}); choose "
            "another place for the latents."
        ) from error
    path = folder / f"{stem}.json"
    if not path.is_file():
        write_atomically(path, (info.model_dump_json(indent=1) + "\n").encode())
        return
    there, wanted = read_model(path, type(info)).model_dump(), info.model_dump()
    differing = [field for field in wanted if there[field] != wanted[field]]
    if differing:
        raise BadInputError(
            f"The {stem.replace('_', ' ')} in {folder} were made with other '{differing[0]}' "
            f"({there[differing[0]]} instead of {wanted[differing[0]]}); delete the folder or name "
            "another."
        )


def _fill(
    group: EpisodeGroup, folder: Path, stem: str, one: Callable[[int], npt.NDArray[Any]]
) -> None:
    """Makes the arrays of the shards that have none."""
    shards = [n for n in range(group.info.shards) if not (folder / f"{stem}-{n:05d}.npy").is_file()]
    total = sum(len(group.info.members(shard)) for shard in shards)
    if not total:
        return
    numbers = (each for shard in shards for each in group.info.members(shard))
    what = f"encoding {group.info.name}" if stem == LATENTS else f"reading {group.info.name}"
    rows = (one(number) for number in track(numbers, what, total))
    for shard in shards:
        made = [next(rows) for _ in group.info.members(shard)]
        save_array(folder / f"{stem}-{shard:05d}.npy", np.concatenate(made))
    # Lets the progress come to its end.
    next(rows, None)
