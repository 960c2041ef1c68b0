"""The stored embedding of a text, which the published sizes attend to.

DreamDojo is told nothing but the empty prompt, so nobody needs the language model that embeds it:
its one output is a file (``cr1_empty_string_text_embeddings.pt`` beside the base model's weights).
"""

from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.net_config import WorldModelConfig
from dojobench.reference_model.tensor_file import Planned, write_tensors


def text_for(config: WorldModelConfig, file: Path | None) -> torch.Tensor | None:
    """Reads the text that a network attends to.

    Args:
        config: The network.
        file: As for ``load_text``; may be ``None`` where the network attends to no text.

    Returns:
        ``[1, L, features]``, or ``None`` for a network without.

    Raises:
        BadInputError: If it is needed and not given, not readable or of another width.
    """
    if config.text is None:
        return None
    if file is None:
        raise BadInputError(
            f"The size '{config.name}' attends to a stored text; set 'text' to the file with the "
            "embedding of the empty prompt."
        )
    text = load_text(file)
    if text.shape[-1] != config.text.features:
        raise BadInputError(
            f"{file} is {text.shape[-1]} wide, and the text of the size '{config.name}' is "
            f"{config.text.features}; give the embedding that was made for it."
        )
    return text


def save_text(path: Path, text: torch.Tensor) -> None:
    """Writes an embedding ``[1, L, features]`` for ``load_text``; the file appears whole.

    Raises:
        BadInputError: If it cannot be written.
    """
    planned = {"text": Planned(dtype=text.dtype, shape=tuple(text.shape))}
    write_tensors(path, planned, {"text": text}.__getitem__, metadata={"dojobench": "text"})


def load_text(path: Path) -> torch.Tensor:
    """Reads a stored text embedding; nothing in the file is run.

    Args:
        path: ``.safetensors`` or ``.pt`` with one tensor, ``[L, features]`` or with a 1 before.

    Returns:
        ``[1, L, features]``.

    Raises:
        BadInputError: If the file is not readable or holds no such tensor.
    """
    try:
        if path.suffix == ".safetensors":
            found: object = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise BadInputError(
            f"{path} cannot be read as a text embedding ({reason}); fetch it again."
        ) from error
    while isinstance(found, dict | list | tuple) and len(found) == 1:
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    if isinstance(found, torch.Tensor) and found.is_floating_point():
        if found.dim() == 2:
            found = found.unsqueeze(0)
        if found.dim() == 3 and found.shape[0] == 1:
            return found
    raise BadInputError(
        f"{path} holds no single tensor [1, tokens, features] of a text; give the embedding of "
        "the empty prompt."
    )
