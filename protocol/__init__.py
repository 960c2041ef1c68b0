"""What a world model is: frames, actions, spec, session, the wire and the conformance kit."""

from typing import TYPE_CHECKING

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.model import Session, WorldModel
from dojobench.protocol.spec import ActionKind, ActionSpace, ModelSpec

if TYPE_CHECKING:
    from dojobench.protocol.spec import Actions, Frames, Views
else:

    def __getattr__(name: str) -> object:
        # These three are kinds of tensor, and importing them imports torch.
        if name not in ("Actions", "Frames", "Views"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from dojobench.protocol import spec

        return getattr(spec, name)


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
