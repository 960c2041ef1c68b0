"""What a world model is: frames, actions, spec, session, the wire and the conformance kit."""

from dojobench.protocol.errors import BadInputError
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
