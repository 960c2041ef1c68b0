"""One client's connection to the server: handshake, requests, cancels, idle time."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from pydantic import ValidationError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from dojobench.protocol.codec import CodecError, pack, unpack
from dojobench.protocol.messages import (
    PROTOCOL,
    CancelledReply,
    CancelReply,
    CancelRequest,
    ClientHello,
    CloseRequest,
    ErrorReply,
    FramesReply,
    Limits,
    Reply,
    Request,
    ServerHello,
    StartedReply,
    StartRequest,
    StepRequest,
    WireError,
    describe,
    parse_request,
)
from dojobench.protocol.sessions import SessionTable
from dojobench.protocol.spec import ModelSpec
from dojobench.protocol.worker import ModelThread

_log = logging.getLogger(__name__)

HELLO_SECONDS = 60.0
"""How long a client may take for its hello."""

_LARGE = 2**20
"""From this size on, bytes are decoded off the event loop."""

SERVER_NAME = "dojobench"


class Connection:
    """Serves one WebSocket until it closes; its sessions end with it."""

    def __init__(
        self,
        socket: ServerConnection,
        *,
        spec: ModelSpec,
        table: SessionTable,
        worker: ModelThread,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes over an accepted socket; ``table`` is only touched in ``worker``."""
        self._socket = socket
        self._spec = spec
        self._table = table
        self._worker = worker
        self._limits = limits
        self._clock = clock
        self._waiting: dict[int, Future[tuple[Reply, bytes]]] = {}
        self._requests: dict[int, Request] = {}
        self._discarded: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answers requests until the client leaves, idles too long or breaks the protocol."""
        try:
            if await self._shake_hands():
                await self._read()
        except ConnectionClosed:
            pass
        finally:
            for future in self._waiting.values():
                future.cancel()
            for task in self._tasks:
                task.cancel()
            self._worker.submit(lambda: self._table.drop_owner(self))

    async def _shake_hands(self) -> bool:
        hello = ServerHello(
            protocol=PROTOCOL, server=SERVER_NAME, spec=self._spec, limits=self._limits
        )
        await self._socket.send(pack(hello.model_dump()))
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                data = await self._socket.recv()
            theirs = ClientHello.model_validate(unpack(_binary(data)))
        except TimeoutError:
            return await self._refuse("bad_request", f"no hello came within {HELLO_SECONDS:g} s")
        except (CodecError, WireError) as error:
            return await self._refuse("bad_request", str(error))
        except ValidationError as error:
            return await self._refuse("bad_request", f"the hello: {describe(error)}")
        if theirs.protocol != PROTOCOL:
            return await self._refuse(
                "unsupported",
                f"the client speaks protocol {theirs.protocol} and this server {PROTOCOL}; use "
                "the same version on both sides",
            )
        return True

    async def _refuse(self, code: str, sentence: str) -> bool:
        await self._send(ErrorReply.model_validate({"code": code, "message": sentence}))
        await self._socket.close(1002, sentence[:100])
        return False

    async def _read(self) -> None:
        poll = min(self._limits.idle_seconds / 4, 30.0)
        last = self._clock()
        while True:
            try:
                async with asyncio.timeout(poll):
                    data = await self._socket.recv()
            except TimeoutError:
                self._worker.submit(self._table.close_idle)
                if self._waiting:
                    last = self._clock()
                elif self._clock() - last > self._limits.idle_seconds:
                    await self._socket.close(1001, "idle for too long")
                    return
                continue
            last = self._clock()
            await self._take(data)

    async def _take(self, data: str | bytes) -> None:
        """Reads one request and queues it; a bad one is answered and the connection goes on."""
        number: int | None = None
        try:
            raw = _binary(data)
            content = unpack(raw) if len(raw) < _LARGE else await asyncio.to_thread(unpack, raw)
            given = content.get("id")
            number = given if isinstance(given, int) and 0 <= given < 2**53 else None
            request = parse_request(content)
            if isinstance(request, CancelRequest):
                await self._send(self._cancel(request))
            else:
                self._queue(request)
        except CodecError as error:
            await self._send(ErrorReply(code="bad_request", message=str(error)))
        except WireError as error:
            await self._send(ErrorReply(id=number, code=error.code, message=error.sentence))

    def _queue(self, request: StartRequest | StepRequest | CloseRequest) -> None:
        if request.id in self._waiting:
            raise WireError("bad_request", f"request id {request.id} is still being answered")
        if len(self._waiting) >= self._limits.max_waiting:
            raise WireError(
                "overloaded", f"{len(self._waiting)} requests of this connection wait already"
            )
        future = self._worker.submit(self._call(request))
        self._waiting[request.id] = future
        self._requests[request.id] = request
        task = asyncio.create_task(self._answer(request.id, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _call(
        self, request: StartRequest | StepRequest | CloseRequest
    ) -> Callable[[], tuple[Reply, bytes]]:
        """Gives what the model's thread does for a request, packing included."""

        def call() -> tuple[Reply, bytes]:
            reply: Reply
            try:
                if isinstance(request, StartRequest):
                    reply = self._table.start(self, request)
                elif isinstance(request, StepRequest):
                    reply = self._table.step(self, request)
                    if request.id in self._discarded:
                        self._table.drop(self, request.session)
                else:
                    reply = self._table.close(self, request)
                data = self._fitting(reply)
            except WireError as error:
                reply = ErrorReply(id=request.id, code=error.code, message=error.sentence)
                data = pack(reply.model_dump())
            return reply, data

        return call

    def _fitting(self, reply: Reply) -> bytes:
        limit = self._limits.max_message_bytes
        if isinstance(reply, FramesReply) and reply.frames.nbytes + 4096 > limit:
            raise WireError(
                "bad_request",
                f"the answer has {reply.frames.nbytes} bytes and a message at most {limit}; "
                "send fewer actions at once",
            )
        return pack(reply.model_dump())

    async def _answer(self, number: int, future: Future[tuple[Reply, bytes]]) -> None:
        try:
            reply, data = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancelled():
                raise
            self._forget(number)
            await self._send(CancelledReply(id=number))
            return
        except Exception:
            _log.exception("answering failed")
            reply = ErrorReply(id=number, code="internal", message="the server failed")
            data = pack(reply.model_dump())
        request = self._forget(number)
        if number in self._discarded:
            self._discarded.discard(number)
            self._drop_session(request, reply)
            data = pack(CancelledReply(id=number).model_dump())
        await self._send_bytes(data)

    def _forget(self, number: int) -> Request | None:
        self._waiting.pop(number, None)
        return self._requests.pop(number, None)

    def _drop_session(self, request: Request | None, reply: Reply) -> None:
        """Closes the session of a cancelled request: its client does not know its state."""
        if isinstance(request, StepRequest):
            name = request.session
        elif isinstance(reply, StartedReply):
            name = reply.session
        else:
            return
        self._worker.submit(lambda: self._table.drop(self, name))

    def _cancel(self, request: CancelRequest) -> CancelReply:
        future = self._waiting.get(request.target)
        if future is None:
            return CancelReply(id=request.id, outcome="unknown")
        if future.cancel():
            return CancelReply(id=request.id, outcome="not_run")
        self._discarded.add(request.target)
        return CancelReply(id=request.id, outcome="discarded")

    async def _send(self, reply: Reply) -> None:
        await self._send_bytes(pack(reply.model_dump()))

    async def _send_bytes(self, data: bytes) -> None:
        try:
            await self._socket.send(data)
        except ConnectionClosed:
            _log.debug("the client left before its answer")


def _binary(data: str | bytes) -> bytes:
    if isinstance(data, str):
        raise WireError("bad_request", "messages are binary msgpack, and text came")
    return data
