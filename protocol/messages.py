"""The messages of the wire, version 1; ``wire.md`` beside this file is their text.

Requests go from client to server and carry an ``id``; every request gets exactly one answer
with the same ``id``. Fields that a reader does not know are ignored, so that later versions may
add some; fields that it knows are checked.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dojobench.protocol.spec import ModelSpec
from dojobench.protocol.validate import MAX_SEED

PROTOCOL = 1
"""Version of the wire that this code speaks."""

ErrorCode: TypeAlias = Literal["bad_request", "unsupported", "overloaded", "internal"]

RequestId: TypeAlias = Annotated[int, Field(ge=0, lt=2**53)]
SessionId: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]


class WireError(Exception):
    """A fault that travels to the other side.

    Attributes:
        code: What kind of fault it is.
        sentence: What is wrong, without paths, host names or a traceback.
    """

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code: ErrorCode = code
        self.sentence = sentence


class _Message(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore", frozen=True)


class Limits(_Message):
    """What a server allows; a client that keeps to it is not refused for it.

    Attributes:
        max_message_bytes: Size of one message, either way.
        max_sessions: Sessions open at once, of all clients together.
        max_waiting: Requests of one connection that may wait for their answer.
        idle_seconds: After so long without a request, sessions and connections are closed.
    """

    max_message_bytes: int = Field(default=256 * 2**20, ge=1024)
    max_sessions: int = Field(default=16, ge=1)
    max_waiting: int = Field(default=16, ge=1)
    idle_seconds: float = Field(default=900.0, gt=0)


class ServerHello(_Message):
    """First message of the server: the version it speaks, the model's spec, its limits."""

    type: Literal["hello"] = "hello"
    protocol: int
    server: str
    spec: ModelSpec
    limits: Limits


class ClientHello(_Message):
    """First message of the client: the version it speaks; nothing answers it if it is known."""

    type: Literal["hello"] = "hello"
    protocol: int
    client: str = Field(default="", max_length=200)


class StartRequest(_Message):
    """Opens a session; ``context`` and ``views`` are uint8 ``[batch, time, 3, height, width]``."""

    type: Literal["start"] = "start"
    id: RequestId
    context: np.ndarray
    seed: int = Field(ge=0, le=MAX_SEED)
    instruction: str | None = Field(default=None, max_length=10_000)
    views: dict[str, np.ndarray] = Field(default_factory=dict, max_length=64)


class StepRequest(_Message):
    """Applies actions, float32 ``[batch, n, action_dim]``."""

    type: Literal["step"] = "step"
    id: RequestId
    session: SessionId
    actions: np.ndarray


class CloseRequest(_Message):
    """Closes a session."""

    type: Literal["close"] = "close"
    id: RequestId
    session: SessionId


class CancelRequest(_Message):
    """Asks that another request of the same connection be given up."""

    type: Literal["cancel"] = "cancel"
    id: RequestId
    target: RequestId


class StartedReply(_Message):
    """Answers ``start``."""

    type: Literal["started"] = "started"
    id: RequestId
    session: SessionId


class FramesReply(_Message):
    """Answers ``step``: uint8 ``[batch, n, 3, height, width]`` and the model's own seconds."""

    type: Literal["frames"] = "frames"
    id: RequestId
    frames: np.ndarray
    seconds: float = Field(default=0.0, ge=0)


class ClosedReply(_Message):
    """Answers ``close``."""

    type: Literal["closed"] = "closed"
    id: RequestId


class CancelReply(_Message):
    """Answers ``cancel``: the target never ran, its answer was thrown away, or is not known."""

    type: Literal["cancel"] = "cancel"
    id: RequestId
    outcome: Literal["not_run", "discarded", "unknown"]


class CancelledReply(_Message):
    """Answers a request that was cancelled, instead of its own answer."""

    type: Literal["cancelled"] = "cancelled"
    id: RequestId


class ErrorReply(_Message):
    """Answers a request that failed; without ``id`` where the fault concerns none of them."""

    type: Literal["error"] = "error"
    id: RequestId | None = None
    code: ErrorCode
    message: str = Field(max_length=10_000)


Request: TypeAlias = StartRequest | StepRequest | CloseRequest | CancelRequest
Reply: TypeAlias = (
    StartedReply | FramesReply | ClosedReply | CancelReply | CancelledReply | ErrorReply
)

_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])
_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])


def parse_request(content: Mapping[Any, Any]) -> Request:
    """Reads a client's request.

    Raises:
        WireError: ``unsupported`` for a type that this version does not know, else
            ``bad_request`` with the field.
    """
    kind = content.get("type")
    if kind not in ("start", "step", "close", "cancel"):
        raise WireError("unsupported", f"protocol {PROTOCOL} has no request of type {kind!r}")
    try:
        return _REQUEST.validate_python(content)
    except ValidationError as error:
        raise WireError("bad_request", describe(error)) from None


def parse_reply(content: Mapping[Any, Any]) -> Reply:
    """Reads a server's answer.

    Raises:
        ValueError: If it is none; the message says which field is wrong.
    """
    try:
        return _REPLY.validate_python(content)
    except ValidationError as error:
        raise ValueError(describe(error)) from None


def describe(error: ValidationError) -> str:
    """Says the first fault of a validation in words, without the input itself."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    text = first["msg"][:1].lower() + first["msg"][1:]
    return f"the field {field}: {text}" if field else text
