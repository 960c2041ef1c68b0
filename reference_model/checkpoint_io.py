"""World models in weights files: safetensors with the configuration inside."""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from dojobench.reference_model.attention import BackendChoice
from dojobench.reference_model.dit import WorldModelNet
from dojobench.reference_model.model_file import config_from, read_model, read_note
from dojobench.reference_model.net_config import config_from_dict
from dojobench.reference_model.published import WORLD_MODEL_KIND
from dojobench.reference_model.streaming import StreamConfig
from dojobench.reference_model.tensor_file import Planned, write_tensors


def save_world_model(
    path: Path, net: WorldModelNet, *, dtype: torch.dtype | None = None, **notes: str
) -> None:
    """Writes a network's weights and configuration; the file appears whole.

    Args:
        path: Safetensors file.
        net: The network.
        dtype: Number format to write; the network's own where ``None``.
        **notes: Texts for the file's header, such as ``trained_by``.

    Raises:
        BadInputError: If it cannot be written.
    """
    weights = net.state_dict()
    planned = {
        name: Planned(dtype=dtype or each.dtype, shape=tuple(each.shape))
        for name, each in weights.items()
    }
    config = json.dumps(asdict(net.config), sort_keys=True)
    metadata = {**notes, "dojobench": WORLD_MODEL_KIND, "config": config}
    write_tensors(path, planned, weights.__getitem__, metadata=metadata)


def load_world_model(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    backend: BackendChoice = "auto",
) -> WorldModelNet:
    """Reads a network that ``save_world_model`` or ``convert`` wrote, ready to infer.

    Args:
        path: Safetensors file.
        device: Where to put it.
        dtype: Number format to run in; the file's own where ``None``.
        backend: Attention backend.

    Raises:
        BadInputError: If the file is missing, cut short, another kind of model, or its weights
            are not those of its configuration.
    """
    values, tensors = read_model(path, kind=WORLD_MODEL_KIND)
    config = config_from_dict(values, str(path))
    with torch.device("meta"):
        net = WorldModelNet(config, backend=backend)
    net.load_state_dict(tensors.checked(net), assign=True)
    return net.to(device=device, dtype=dtype).eval()


def save_student(path: Path, net: WorldModelNet, stream: StreamConfig) -> None:
    """Writes a student with a note in the header of how it was trained to stream."""
    save_world_model(path, net, stream=json.dumps(asdict(stream), sort_keys=True))


def stored_stream(path: Path) -> StreamConfig | None:
    """Reads how a student is to stream; ``None`` where the file is no student's.

    Raises:
        BadInputError: If the file is missing or cut short, or says so unreadably.
    """
    values = read_note(path, "stream", kind=WORLD_MODEL_KIND)
    return None if values is None else config_from(StreamConfig, values, f"{path}: stream")
