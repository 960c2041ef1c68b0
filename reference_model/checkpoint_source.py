"""Checkpoints of any form as one thing: tensors that can be listed, and read one by one."""

from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.distributed_checkpoint import DistributedCheckpoint
from dojobench.reference_model.tensor_file import DTYPES, Planned
from dojobench.reference_model.torch_archive import FileBytes, TorchArchive, named_tensors


class Source(Protocol):
    """A checkpoint whose tensors can be listed, and read one by one."""

    def planned(self) -> dict[str, Planned]:
        """Gives number formats and shapes by name."""
        ...

    def read(self, name: str) -> torch.Tensor:
        """Reads a tensor."""
        ...


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._checkpoint = DistributedCheckpoint(folder)

    def planned(self) -> dict[str, Planned]:
        entries = self._checkpoint.entries.items()
        return {name: Planned(dtype=each.dtype, shape=each.shape) for name, each in entries}

    def read(self, name: str) -> torch.Tensor:
        return self._checkpoint.read(name)


class _TorchFile:
    def __init__(self, path: Path) -> None:
        self._archive = TorchArchive(FileBytes(path), str(path))
        root = self._archive.root
        if isinstance(root, dict) and isinstance(root.get("state_dict"), dict):
            root = root["state_dict"]
        self._tensors = dict(named_tensors(root))

    def planned(self) -> dict[str, Planned]:
        tensors = self._tensors.items()
        return {name: Planned(dtype=each.dtype, shape=each.shape) for name, each in tensors}

    def read(self, name: str) -> torch.Tensor:
        return self._archive.read(self._tensors[name])


class _Safetensors:
    def __init__(self, path: Path) -> None:
        try:
            self._file: Any = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise BadInputError(
                f"{path} is no whole safetensors file ({error}); fetch it again."
            ) from error

    def planned(self) -> dict[str, Planned]:
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}
        return {
            name: Planned(dtype=DTYPES[each.get_dtype()], shape=tuple(each.get_shape()))
            for name, each in slices.items()
        }

    def read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor


def open_source(path: Path) -> Source:
    """Opens a checkpoint, whichever form it has.

    Raises:
        BadInputError: If there is none, or it is damaged.
    """
    if path.is_dir():
        for folder in (path, path / "model"):
            if (folder / ".metadata").is_file():
                return _Folder(folder)
        raise BadInputError(
            f"The folder {path} holds no distributed checkpoint (no .metadata); give the folder "
            "iter_… or its 'model'."
        )
    if not path.is_file():
        raise BadInputError(f"There is no checkpoint {path}; give a folder or a file.")
    return _Safetensors(path) if path.suffix == ".safetensors" else _TorchFile(path)
