"""What a training's result depends on, as flat plain values that can be kept and compared."""

import dataclasses
from collections.abc import Mapping

_FREE = frozenset(
    {
        "log_every",
        "validate_every",
        "sample_every",
        "checkpoint_every",
        "checkpoint_minutes",
        "device",
        "compile",
        "threads",
        "prefetch",
        "tensorboard",
    }
)
"""Of the loop: what says when something is written and how fast it goes, not what is learnt."""


def flat_settings(values: object, name: str = "") -> dict[str, object]:
    """Flattens nested dataclasses, mappings and lists of these.

    Args:
        values: Dataclasses, mappings, sequences and plain values.
        name: Dotted name of the whole.

    Returns:
        Plain values by dotted name, without those that may change between two attempts.
    """
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        values = {one.name: getattr(values, one.name) for one in dataclasses.fields(values)}
    if isinstance(values, tuple | list):
        if all(_plain(one) for one in values):
            return {name: list(values)}
        values = dict(enumerate(values))
    if not isinstance(values, Mapping):
        return {name: values if _plain(values) else str(values)}
    loop = name.rpartition(".")[2] == "loop"
    flat: dict[str, object] = {}
    for key, value in values.items():
        if not (loop and key in _FREE):
            flat |= flat_settings(value, f"{name}.{key}" if name else str(key))
    return flat


def _plain(value: object) -> bool:
    return value is None or isinstance(value, int | float | str)
