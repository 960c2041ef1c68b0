"""A world model at a ``ws://`` or ``wss://`` address, used as if it were here.

One connection carries all sessions. Nothing is reconnected in silence: a session lost with its
connection is an error, since its state is gone.
"""

import itertools
import os
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    PayloadTooBig,
    WebSocketException,
)
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from dojobench.protocol.codec import CodecError, as_array, as_tensor, pack, unpack
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.messages import (
    PROTOCOL,
    ClientHello,
    ClosedReply,
    CloseRequest,
    ErrorReply,
    FramesReply,
    Reply,
    Request,
    ServerHello,
    StartedReply,
    StartRequest,
    StepRequest,
    describe,
    parse_reply,
)
from dojobench.protocol.spec import Actions, Frames, Views
from dojobench.protocol.validate import (
    check_actions,
    check_answer,
    check_context,
    check_seed,
    check_spec,
)

TOKEN_VARIABLE = "DOJOBENCH_TOKEN"  # noqa: S105 - the variable's name, not a token
"""Environment variable with the bearer token, for servers and clients."""

MAX_MESSAGE_BYTES = 2**30
"""Largest message that a client takes, whatever a server claims."""

ReplyT = TypeVar("ReplyT", bound=Reply)


def connect(
    address: str,
    *,
    timeout: float = 300.0,
    connect_timeout: float = 30.0,
    token_file: Path | None = None,
) -> "RemoteModel":
    """Connects to a served world model.

    Args:
        address: ``ws://host:port`` or ``wss://host:port``.
        timeout: Seconds that one request may take.
        connect_timeout: Seconds for connection and handshake.
        token_file: File with the bearer token; otherwise ``DOJOBENCH_TOKEN`` is used if set.

    Raises:
        BadInputError: If there is no such server, it refuses, or it is none of ours.
    """
    if timeout <= 0 or connect_timeout <= 0:
        raise BadInputError(f"the time-outs for {address} must be above 0 seconds")
    token = read_token(token_file)
    return RemoteModel(address, timeout=timeout, connect_timeout=connect_timeout, token=token)


def read_token(path: Path | None) -> str | None:
    """Gives the bearer token from a file, or else from the environment.

    Raises:
        BadInputError: If the file cannot be read or is empty.
    """
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"the token file {path} cannot be read: {error}") from error
    if not token:
        raise BadInputError(f"the token file {path} is empty")
    return token


def check_address(address: str) -> None:
    """Refuses an address without a host, or with a password that would end up in records.

    Raises:
        BadInputError: Saying what an address looks like.
    """
    try:
        parts = urlsplit(address)
        host, named = parts.hostname, parts.username or parts.password
        _ = parts.port
    except ValueError as error:
        raise BadInputError(f"{address} is no address: {error}") from error
    if named:
        raise BadInputError(
            f"the address of {host} holds a user name or password, which would be recorded; put "
            f"the token into the variable {TOKEN_VARIABLE}"
        )
    if not host:
        raise BadInputError(f"{address} names no host; write {parts.scheme}://host:port")


class RemoteModel:
    """A served world model.

    Attributes:
        spec: What the server says of the model.
        address: Where it is.
        timeout: Seconds that one request may take; may be changed between requests.
    """

    def __init__(
        self, address: str, *, timeout: float, connect_timeout: float, token: str | None
    ) -> None:
        """Connects; see ``connect``."""
        check_address(address)
        self.address = address
        self._who = f"the server at {address}"
        self.timeout = timeout
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._fault: str | None = None
        self._exits = ExitStack()
        self._socket = self._open(connect_timeout, token)
        try:
            hello = self._shake_hands(connect_timeout)
        except BaseException:
            self._exits.close()
            raise
        self.spec, self._limits = hello.spec, hello.limits

    def start(
        self,
        context: Frames,
        *,
        seed: int,
        instruction: str | None = None,
        views: Views | None = None,
    ) -> "RemoteSession":
        """Opens a session; see ``WorldModel.start``.

        Args:
            context: uint8 ``[batch, spec.context_frames, 3, height, width]``.
            seed: 0 to 2**31 - 1.
            instruction: One for the batch.
            views: The further cameras that the spec names.

        Raises:
            BadInputError: If the server refuses, fails, hangs or is gone.
        """
        check_context(self.spec, context, views)
        check_seed(seed)
        request = StartRequest(
            id=next(self._ids),
            context=as_array(context),
            seed=seed,
            instruction=instruction,
            views={name: as_array(frames) for name, frames in (views or {}).items()},
        )
        return RemoteSession(self, self.ask(request, StartedReply).session, context)

    def close(self) -> None:
        """Closes the connection, and with it all sessions."""
        self._fault = self._fault or "this client closed the connection"
        self._exits.close()

    def __enter__(self) -> "RemoteModel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, request: Request, wanted: type[ReplyT]) -> ReplyT:
        """Sends a request and waits for its answer.

        Args:
            request: The request.
            wanted: Kind of answer.

        Raises:
            BadInputError: If the server answers with an error or with something else, or does
                not answer in time.
        """
        data = self._packed(request)
        with self._lock:
            if self._fault is not None:
                raise BadInputError(
                    f"{self._who} is no longer connected ({self._fault}); connect again"
                )
            try:
                self._socket.send(data)
                reply = self._receive(request)
            except ConnectionClosed as error:
                raise self._lost(f"closed the connection{_reason(error)}") from error
            except TimeoutError as error:
                raise self._lost(
                    f"did not answer within {self.timeout:g} s; is it stuck? otherwise give "
                    "timeout=SECONDS"
                ) from error
            except (OSError, WebSocketException) as error:
                raise self._lost(f"failed: {error}") from error
        if isinstance(reply, ErrorReply):
            raise BadInputError(_said(self._who, reply))
        if not isinstance(reply, wanted):
            raise self._lost(f"answered {request.type} with {reply.type!r}")
        return reply

    def _packed(self, request: Request) -> bytes:
        data = pack(request.model_dump())
        if len(data) > self._limits.max_message_bytes:
            raise BadInputError(
                f"{self._who} takes messages of at most {self._limits.max_message_bytes} bytes "
                f"and this {request.type} has {len(data)}; use a smaller batch"
            )
        return data

    def _receive(self, request: Request) -> Reply:
        deadline = time.monotonic() + self.timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            data = self._socket.recv(timeout=left)
            try:
                if isinstance(data, str):
                    raise CodecError("messages are binary msgpack, and text came")
                reply = parse_reply(unpack(data))
            except (CodecError, ValueError) as error:
                raise self._lost(f"sent what is no answer: {error}") from error
            # An error without an id is about the last message, since one is sent at a time.
            if reply.id == request.id or (isinstance(reply, ErrorReply) and reply.id is None):
                return reply

    def _lost(self, what: str) -> BadInputError:
        """Gives the connection up, since its state is unknown from here on."""
        self._fault = what
        threading.Thread(target=self._exits.close, daemon=True).start()
        return BadInputError(f"{self._who} {what}")

    def _open(self, timeout: float, token: str | None) -> ClientConnection:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        parts = urlsplit(self.address)
        port = parts.port or (443 if parts.scheme.lower() == "wss" else 80)
        try:
            # A socket of our own keeps a redirect from taking the token elsewhere.
            plain = socket.create_connection((parts.hostname or "", port), timeout)
            opening = open_socket(
                self.address,
                sock=plain,
                additional_headers=headers,
                open_timeout=timeout,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                # A server whose model holds the interpreter cannot answer pings; the request's
                # own time-out says when it counts as stuck.
                ping_timeout=None,
                close_timeout=2,
                proxy=None,
            )
            return self._exits.enter_context(opening)
        except InvalidStatus as error:
            raise BadInputError(_refusal(self._who, error.response.status_code)) from error
        except TimeoutError as error:
            raise BadInputError(
                f"{self._who} did not answer within {timeout:g} s; is it a dojobench server?"
            ) from error
        except (InvalidHandshake, InvalidURI, ValueError) as error:
            raise BadInputError(f"{self._who} does not speak WebSocket: {error}") from error
        except (OSError, WebSocketException, EOFError) as error:
            raise BadInputError(
                f"{self._who} cannot be reached: {error}; start it with dojobench serve"
            ) from error

    def _shake_hands(self, timeout: float) -> ServerHello:
        try:
            data = self._socket.recv(timeout=timeout)
            content = unpack(data if isinstance(data, bytes) else b"")
            protocol = content.get("protocol")
            if content.get("type") != "hello" or not isinstance(protocol, int):
                raise BadInputError(f"{self._who} sent no dojobench hello; is it another service?")
            if protocol != PROTOCOL:
                raise BadInputError(
                    f"{self._who} speaks protocol {protocol} and this client {PROTOCOL}; use the "
                    "same version on both sides"
                )
            hello = ServerHello.model_validate(content)
            check_spec(hello.spec, who=self._who)
            self._socket.send(pack(ClientHello(protocol=PROTOCOL, client="dojobench").model_dump()))
        except TimeoutError as error:
            raise BadInputError(
                f"{self._who} sent no hello within {timeout:g} s; is it a dojobench server?"
            ) from error
        except ValidationError as error:
            raise BadInputError(f"{self._who} sent a bad hello: {describe(error)}") from None
        except CodecError as error:
            raise BadInputError(f"{self._who} sent no dojobench hello: {error}") from error
        except ConnectionClosed as error:
            raise BadInputError(f"{self._who} closed the connection{_reason(error)}") from error
        return hello


class RemoteSession:
    """A session of a served model; its frames come back to the device of its context."""

    def __init__(self, model: RemoteModel, name: str, context: Frames) -> None:
        """Made by ``RemoteModel.start``."""
        self._model = model
        self._name = name
        self._batch = int(context.shape[0])
        self._size = (int(context.shape[-2]), int(context.shape[-1]))
        self._device = context.device
        self._closed = False
        self.model_seconds: list[float] = []
        """Seconds that the server's model took for each step, transport excluded."""

    def step(self, actions: Actions) -> Frames:
        """Applies the next actions; see ``Session.step``.

        Args:
            actions: float32 ``[batch, n, action_dim]``.

        Returns:
            uint8 ``[batch, n, 3, height, width]`` on the context's device.

        Raises:
            BadInputError: If the session is closed, or the server refuses, fails, hangs, is
                gone or answers with other frames than were asked for.
        """
        if self._closed:
            raise BadInputError(f"a closed session at {self._model.address} was stepped")
        check_actions(self._model.spec, actions, batch=self._batch)
        request = StepRequest(
            id=next(self._model._ids), session=self._name, actions=as_array(actions)
        )
        reply = self._model.ask(request, FramesReply)
        who = f"the server at {self._model.address}"
        count = int(actions.shape[1])
        if reply.frames.dtype.name != "uint8":
            raise BadInputError(f"{who} answered with dtype {reply.frames.dtype} instead of uint8")
        frames = as_tensor(reply.frames)
        check_answer(frames, (self._batch, count, 3, *self._size), who=who)
        self.model_seconds.append(reply.seconds)
        return frames.to(self._device)

    def close(self) -> None:
        """Closes the session at the server; what is gone already stays gone."""
        if self._closed:
            return
        self._closed = True
        if self._model._fault is None:
            request = CloseRequest(id=next(self._model._ids), session=self._name)
            self._model.ask(request, ClosedReply)


def _refusal(who: str, status: int) -> str:
    if status == 401:
        return f"{who} wants a bearer token; put it into the variable {TOKEN_VARIABLE}"
    if status == 503:
        return f"{who} has no connection free; try again later"
    return f"{who} answered HTTP {status} instead of a WebSocket; is it a dojobench server?"


def _said(who: str, reply: ErrorReply) -> str:
    verb = {
        "bad_request": "refused the request",
        "unsupported": "does not support the request",
        "overloaded": "is overloaded",
        "internal": "failed",
    }[reply.code]
    return f"{who} {verb}: {reply.message}"


def _reason(error: ConnectionClosed) -> str:
    if isinstance(error.__cause__, PayloadTooBig):
        return f" over an answer of more than {MAX_MESSAGE_BYTES} bytes"
    frame = error.rcvd
    return f" ({frame.reason})" if frame is not None and frame.reason else ""
