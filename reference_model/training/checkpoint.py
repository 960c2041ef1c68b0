"""The state of a training in one file, written whole or not at all.

State is taken and given back in ``collect`` and ``restore`` alone: with FSDP2 these two gather
and scatter, and nothing else of the loop changes. They use ``state_dict`` rather than the helpers
of ``torch.distributed.checkpoint.state_dict``, because those take an optimiser step to fill an
empty state, and a player that has not had its turn would no longer resume exactly.
"""

import json
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.ema import AveragedWeights

FORMAT = 1
CHECKPOINT = "state.pt"
"""Name of the file in a stage's folder."""


@dataclass(kw_only=True)
class Progress:
    """How far a training is.

    Attributes:
        step: Steps done.
        skipped: Of them, those whose loss or gradient was no number.
        skipped_in_row: Of them, those at the end.
        seconds: Spent in training, over all attempts.
    """

    step: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    seconds: float = 0.0


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write into a sentence for the user.

    Raises:
        BadInputError: If the disk is full, for example.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error) or "error").lower()
        raise BadInputError(
            f"{path} cannot be written ({reason}); the last checkpoint is whole, so make room and "
            "start the same command again."
        ) from error


def collect(
    players: Mapping[str, tuple[nn.Module, torch.optim.Optimizer]], average: AveragedWeights
) -> dict[str, Any]:
    """Gathers weights, moments and average."""
    return {
        "players": {
            name: {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            for name, (module, optimizer) in players.items()
        },
        "average": average.state(),
    }


def restore(
    state: dict[str, Any],
    players: Mapping[str, tuple[nn.Module, torch.optim.Optimizer]],
    average: AveragedWeights,
) -> None:
    """Gives back what ``collect`` gathered.

    Raises:
        BadInputError: If it is the state of other modules.
    """
    found = state["players"]
    try:
        for name, (module, optimizer) in players.items():
            module.load_state_dict(found[name]["module"])
            optimizer.load_state_dict(found[name]["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise BadInputError(
            f"The checkpoint is that of other modules ({str(error).splitlines()[0]}); "
            "give another folder."
        ) from error
    average.load(state["average"])


def write_checkpoint(
    path: Path, state: dict[str, Any], progress: Progress, settings: Mapping[str, object]
) -> None:
    """Writes a checkpoint under another name, then renames it.

    Args:
        path: File to write or replace.
        state: From ``collect``.
        progress: How far the training is.
        settings: What the training was asked for, as plain values by dotted name.

    Raises:
        BadInputError: If it cannot be written; the former one is still there.
    """
    whole = {
        "format": FORMAT,
        "progress": dict(vars(progress)),
        "settings": json.dumps(dict(settings), sort_keys=True),
        **state,
    }
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with writing(path):
            _save(whole, temporary)
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _save(whole: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        try:
            torch.save(whole, file)
        except RuntimeError as error:
            # torch reports a write that failed as a fault of its zip writer.
            cause = error.__context__
            raise (cause if isinstance(cause, OSError) else OSError(str(error))) from error
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(
    path: Path, settings: Mapping[str, object]
) -> tuple[dict[str, Any], Progress] | None:
    """Reads a checkpoint, if there is one.

    Args:
        path: The file.
        settings: What this training is asked for; it must be what the checkpoint's was.

    Returns:
        The state for ``restore`` and how far it is; ``None`` if there is no file.

    Raises:
        BadInputError: If the file is cut short, or comes from a training that was asked for
            something else; the first setting that differs is named.
    """
    if not path.exists():
        return None
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
        if whole["format"] != FORMAT:
            raise BadInputError(
                f"{path} is a checkpoint of format {whole['format']}, and this version reads "
                f"{FORMAT}; start in another folder."
            )
        progress = Progress(**whole["progress"])
        former = json.loads(whole["settings"])
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, OSError) as error:
        raise BadInputError(
            f"{path} is no whole checkpoint; remove it to start this stage afresh."
        ) from error
    _check_settings(path, former, json.loads(json.dumps(dict(settings))))
    return whole, progress


def _check_settings(path: Path, former: dict[str, Any], now: dict[str, Any]) -> None:
    for name in sorted(former.keys() | now.keys()):
        if former.get(name) != now.get(name):
            raise BadInputError(
                f"{path} was trained with {name} = {former.get(name)}, and this run asks for "
                f"{now.get(name)}; set it back, or start in another folder."
            )
