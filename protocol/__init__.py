"""What a world model is: frames, actions, spec, session, the wire and the conformance kit.

The names are looked up when they are asked for, since most of them need torch, and a command's
``--help`` or a plain sentence about bad input must not wait for that.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dojobench.protocol.errors import BadInputError

if TYPE_CHECKING:
    from dojobench.protocol.model import Session, WorldModel
    from dojobench.protocol.spec import ActionKind, Actions, ActionSpace, Frames, ModelSpec, Views

__all__ = [
    "ActionKind",
    "ActionSpace",
    "Actions",
    "BadInputError",
    "Frames",
    "ModelSpec",
    "Session",
    "Views",
    "WorldModel",
]

_IN_MODEL = ("Session", "WorldModel")


def __getattr__(name: str) -> Any:
    """Imports what is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "model" if name in _IN_MODEL else "spec"
    value = getattr(import_module(f"dojobench.protocol.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the names, imported or not."""
    return sorted({*globals(), *__all__})
