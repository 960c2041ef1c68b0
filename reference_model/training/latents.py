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
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_model
from dojobench.datasets.progress import track
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.lam import LatentActionModel, fit_frames
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.training.arrays import map_array, save_array
from dojobench.reference_model.training.episodes import EpisodeGroup, EpisodeStore
from dojobench.reference_model.video_tokenizer import GROUP, VideoTokenizer

Halves = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]

_LATENTS = "latents"
_LATENT_ACTIONS = "latent_actions"


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """How episodes are encoded.

    Attributes:
        every: Windows start at every so many frames, 1, 2 or 4; 1 costs twice as much as 2.
        latent_frames: Longest window to be drawn, in latent frames; a tokenizer that does not
            look back gives windows of any length, whatever stands here.
        precision: ``bfloat16`` encodes two and a half times as fast on a CPU; latents then differ
            by less than the tokenizer errs by (`docs/measurements.md`).
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


class LatentInfo(BaseModel):
    """What a group's latents are.

    Attributes:
        format: Version of the files.
        episodes: Digest of the episodes that were encoded.
        tokenizer: Digest of the tokenizer's weights.
        every: See ``LatentConfig``.
        stored: Latent frames of a stored window.
        joins: Whether longer windows are put together from these.
        precision: See ``LatentConfig``.
        shape: Channels, height and width of a latent frame.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    episodes: str
    tokenizer: str
    every: int
    stored: int
    joins: bool
    precision: str
    shape: tuple[int, int, int]

    def windows(self, length: int, latent_frames: int) -> int:
        """Counts the windows of an episode of ``length`` frames."""
        room = length - 1 - GROUP * (latent_frames - 1)
        return max(0, room // self.every + 1)


class LatentActionInfo(BaseModel):
    """What a group's latent actions are.

    Attributes:
        format: Version of the files.
        episodes: Digest of the episodes that were read.
        model: Digest of the latent action model's weights.
        dim: Width of a latent action.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    episodes: str
    model: str
    dim: int


_Info = TypeVar("_Info", LatentInfo, LatentActionInfo)


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
        _claim(Path(root) / name, _LATENTS, info)

        def one(episode: int, group: EpisodeGroup = group, info: LatentInfo = info) -> Halves:
            return _encode_episode(tokenizer, group.frames(episode), info, config.batch)

        _fill(group, Path(root) / name, _LATENTS, one)
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
        _claim(Path(root) / name, _LATENT_ACTIONS, info)
        _fill(
            group,
            Path(root) / name,
            _LATENT_ACTIONS,
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
    what = f"encoding {group.info.name}" if stem == _LATENTS else f"reading {group.info.name}"
    rows = (one(number) for number in track(numbers, what, total))
    for shard in shards:
        made = [next(rows) for _ in group.info.members(shard)]
        save_array(folder / f"{stem}-{shard:05d}.npy", np.concatenate(made))
    # Lets the progress come to its end.
    next(rows, None)


class LatentGroup:
    """Latents of a group, for reading.

    Attributes:
        group: Its episodes.
        info: What its latents are; ``None`` where only latent actions were read.
        action_info: What its latent actions are; ``None`` where there are none.
    """

    def __init__(self, folder: Path, group: EpisodeGroup) -> None:
        self.folder, self.group = Path(folder), group
        self.info = self._read_info(_LATENTS, LatentInfo)
        self.action_info = self._read_info(_LATENT_ACTIONS, LatentActionInfo)
        self._latents: list[Halves] = []
        self._actions: list[Floats] = []
        if self.info is not None:
            info = self.info
            counts = [info.windows(length, info.stored) for length in group.lengths]
            self._latents = self._map(_LATENTS, counts, (info.stored, *info.shape), "float16")
            self._first = self._offsets(counts)
        if self.action_info is not None:
            counts = [length - 1 for length in group.lengths]
            shape = (self.action_info.dim,)
            self._actions = self._map(_LATENT_ACTIONS, counts, shape, "float32")
            self._first_action = self._offsets(counts)

    def _read_info(self, stem: str, kind: type[_Info]) -> _Info | None:
        path = self.folder / f"{stem}.json"
        if not path.is_file():
            return None
        info = read_model(path, kind)
        if info.episodes != self.group.digest:
            raise BadInputError(
                f"The {stem.replace('_', ' ')} in {self.folder} were made from other episodes than "
                f"those in {self.group.folder}; delete them and run the stage 'latents' again."
            )
        return info

    def _map(
        self, stem: str, counts: Sequence[int], shape: tuple[int, ...], dtype: str
    ) -> list[npt.NDArray[Any]]:
        mapped = []
        for shard in range(self.group.info.shards):
            total = sum(counts[each] for each in self.group.info.members(shard))
            path = self.folder / f"{stem}-{shard:05d}.npy"
            if not path.is_file():
                raise BadInputError(
                    f"The {stem.replace('_', ' ')} in {self.folder} are not whole; run the stage "
                    "'latents' again, which makes what is missing."
                )
            mapped.append(map_array(path, (total, *shape), dtype))
        return mapped

    def _offsets(self, counts: Sequence[int]) -> list[int]:
        """Gives for every episode the number of its first row within its shard."""
        offsets: list[int] = []
        for shard in range(self.group.info.shards):
            own = [counts[each] for each in self.group.info.members(shard)]
            offsets.extend((0, *accumulate(own))[:-1])
        return offsets

    def windows(self, latent_frames: int) -> list[int]:
        """Counts each episode's windows of a length.

        Raises:
            BadInputError: If there are no latents, or windows are not stored that long.
        """
        info = self._known()
        if latent_frames < 1 or (latent_frames > info.stored and not info.joins):
            raise BadInputError(
                f"The latents in {self.folder} have windows of up to {info.stored} latent frames, "
                f"not {latent_frames}; encode them again with longer windows."
            )
        # A window of one latent frame needs a stored one all the same.
        least = max(latent_frames, info.stored)
        return [info.windows(length, least) for length in self.group.lengths]

    def start(self, index: int) -> int:
        """Gives the number of the frame with which a window begins."""
        return index * self._known().every

    def window(self, episode: int, index: int, latent_frames: int) -> Halves:
        """Gives a window's latents, float16 ``[latent_frames, channels, h, w]``, normalised."""
        info = self._known()
        shard = self._latents[episode // self.group.info.shard]
        row = self._first[episode] + index
        if not info.joins:
            return shard[row, :latent_frames]
        step = GROUP // info.every
        later = shard[row : row + (latent_frames - 1) * step : step, 1]
        return np.concatenate([shard[row, :1], later])

    def actions(self, episode: int, start: int, stop: int) -> Floats:
        """Gives latent actions ``start..stop-1`` of an episode, float32 ``[n, dim]``.

        Raises:
            BadInputError: If they were not read.
        """
        if self.action_info is None:
            raise BadInputError(
                f"There are no latent actions in {self.folder}; train the latent action model and "
                "run the stage 'latents' again."
            )
        first = self._first_action[episode]
        return self._actions[episode // self.group.info.shard][first + start : first + stop]

    def _known(self) -> LatentInfo:
        if self.info is None:
            raise BadInputError(
                f"There are no latents in {self.folder}; train the tokenizer and run the stage "
                "'latents'."
            )
        return self.info


class LatentStore:
    """A folder of groups of latents, with the episodes that they were made from.

    Attributes:
        episodes: The episodes.
        root: The folder.
    """

    def __init__(self, episodes: EpisodeStore, root: Path) -> None:
        self.episodes, self.root = episodes, Path(root)
        self._groups: dict[str, LatentGroup] = {}

    def group(self, name: str) -> LatentGroup:
        """Opens a group.

        Raises:
            BadInputError: If there are no such episodes, or their latents are not whole.
        """
        if name not in self._groups:
            self._groups[name] = LatentGroup(self.root / name, self.episodes.group(name))
        return self._groups[name]
