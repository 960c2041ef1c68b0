"""Trajectories on disk.

A folder holds ``trajectories.json`` and shards ``trajectories-00000.safetensors``, each written
whole or not at all; what is missing can be made later.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open

from dojobench.datasets.files import write_atomically
from dojobench.datasets.json_files import read_model
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.tensor_file import Planned, write_tensors
from dojobench.reference_model.training.stage import Batch

INDEX = "trajectories.json"


class TrajectoryIndex(BaseModel):
    """What ``trajectories.json`` says.

    Attributes:
        format: Version of the files.
        settings: The config they were made with.
        origin: What they were made from, such as the teacher's hash.
        times: Times that are kept, from noise towards clean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    settings: dict[str, Any]
    origin: dict[str, str]
    times: tuple[float, ...]

    def shards(self) -> list[range]:
        """Gives the windows of each shard."""
        windows, batch, batches = (
            int(self.settings[key]) for key in ("windows", "batch", "shard_batches")
        )
        size = batch * batches
        return [range(start, min(windows, start + size)) for start in range(0, windows, size)]


def shard_path(folder: Path, number: int) -> Path:
    """Gives the file of a shard."""
    return folder / f"trajectories-{number:05d}.safetensors"


def claim(folder: Path, index: TrajectoryIndex) -> None:
    """Writes what the trajectories are to be, or sees that they are what stands there.

    Raises:
        BadInputError: If others stand there, or it cannot be written.
    """
    path = folder / INDEX
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInputError(
                f"The folder {folder} cannot be made ({(error.strerror or 'error').lower()}); "
                "choose another place."
            ) from error
        text = json.dumps(index.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
        write_atomically(path, text.encode())
        return
    there, wanted = read_model(path, TrajectoryIndex), index
    before, now = ({**one.settings, **one.origin} for one in (there, wanted))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise BadInputError(
                f"The trajectories in {folder} were made with {name} = {before.get(name)}, and "
                f"now it is {now.get(name)}; set it back, or delete the folder."
            )


def write_shard(path: Path, parts: Sequence[Batch], dtype: str) -> None:
    """Writes a shard; of the actions only the columns that are not zero throughout.

    Args:
        path: Of the shard.
        parts: Batches of ``clean``, ``states`` and ``actions``.
        dtype: Number format of the latents; actions keep theirs.

    Raises:
        BadInputError: If it cannot be written.
    """
    tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    actions = tensors.pop("actions")
    columns = actions.flatten(0, 1).abs().amax(dim=0).nonzero().flatten()
    tensors |= {"actions": actions[..., columns], "columns": columns}
    stored = getattr(torch, dtype)
    planned = {
        name: Planned(
            dtype=stored if name in ("clean", "states") else one.dtype, shape=tuple(one.shape)
        )
        for name, one in tensors.items()
    }
    notes = {"dojobench": "trajectories", "width": str(actions.shape[-1])}
    write_tensors(path, planned, tensors.__getitem__, metadata=notes)


class TrajectorySource:
    """Trajectories, drawn at random; see ``Source``.

    Args:
        folder: What ``make_trajectories`` filled.
        first: First window to be drawn.
        stop: One past the last; all where ``None``. The rest can be held out.
        seed: Of all chance.

    Attributes:
        index: What they are.
        windows: Which are drawn from.

    Raises:
        BadInputError: If the folder is not whole.
    """

    def __init__(
        self, folder: Path, *, first: int = 0, stop: int | None = None, seed: int = 0
    ) -> None:
        self.index = read_model(folder / INDEX, TrajectoryIndex)
        shards = self.index.shards()
        total = shards[-1].stop
        self.windows = range(first, total if stop is None else min(total, stop))
        if not self.windows:
            raise BadInputError(
                f"There are {total} trajectories in {folder}, none of them from {first} "
                f"to before {stop}; make more or hold out fewer."
            )
        self._size, self._seed = len(shards[0]), seed
        self._paths = [shard_path(folder, number) for number in range(len(shards))]
        for path in self._paths:
            if not path.is_file():
                raise BadInputError(
                    f"The trajectories in {folder} are not whole: {path.name} is missing; run the "
                    "stage 'trajectories' again, which makes what is missing."
                )

    def batch(self, step: int, size: int) -> Batch:
        """Gives the batch of a step; see ``Source.batch``.

        Returns:
            ``clean [size, C, T, Y, X]``, the context first, then where the flow ends; ``states
            [size, n, C, T - 1, Y, X]`` on the way; ``times [size, n]`` of these; ``actions [size,
            4 (T - 1), width]``. All float32.
        """
        rng = np.random.default_rng((0x70B1, self._seed, step))
        return self.take(self.windows[int(n)] for n in rng.integers(len(self.windows), size=size))

    def take(self, numbers: Iterable[int]) -> Batch:
        """Gives windows by number, as ``batch`` does."""
        samples = [self._window(number) for number in numbers]
        batch = {name: torch.stack([one[name] for one in samples]) for name in samples[0]}
        times = torch.tensor(self.index.times, dtype=torch.float32)
        return {**batch, "times": times.expand(len(samples), -1).contiguous()}

    def _window(self, number: int) -> Batch:
        path, row = self._paths[number // self._size], number % self._size
        try:
            # Opened anew: the file is mapped, and a thread's handle is no other's.
            with safe_open(path, framework="pt") as file:
                width = int((file.metadata() or {})["width"])
                found = {
                    name: file.get_slice(name)[row].float()
                    for name in ("clean", "states", "actions")
                }
                columns = file.get_tensor("columns")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise BadInputError(
                f"{path} is no whole file of trajectories; delete it and run the stage "
                "'trajectories' again."
            ) from error
        actions = torch.zeros(len(found["actions"]), width)
        actions[:, columns] = found["actions"]
        return {**found, "actions": actions}
