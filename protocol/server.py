"""``dojobench serve``: a world model behind a WebSocket, as ``wire.md`` says.

The event loop only moves bytes; the model runs in a thread of its own, so that pings, health
checks, cancels and other clients are answered while it thinks.
"""

import asyncio
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import torch
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from dojobench.protocol.connection import Connection
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.messages import PROTOCOL, Limits
from dojobench.protocol.model import WorldModel
from dojobench.protocol.sessions import SessionTable
from dojobench.protocol.worker import ModelThread

_log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 3.0
"""How long a server that was told to stop waits for the step that is running."""

PING_SECONDS = 20.0
PONG_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where and how to serve.

    Attributes:
        host: Interface to listen on; the default is reached from this machine alone.
        port: TCP port; 0 lets the system choose.
        token: Bearer token that clients must send; ``None``: none is asked for.
        device: Where context and actions are put before the model sees them.
        max_connections: Connections at once; more are refused with HTTP 503.
        limits: What clients are told and held to.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    device: str = "cpu"
    max_connections: int = 64
    limits: Limits = field(default_factory=Limits)


class WireServer:
    """Serves one model until it is told to stop."""

    def __init__(
        self,
        model: WorldModel,
        config: ServerConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares the server; ``run`` opens the port, and ``clock`` tells who is idle."""
        self._model = model
        self._clock = clock
        self._config = config
        self._worker = ModelThread()
        self._table = SessionTable(
            model,
            max_sessions=config.limits.max_sessions,
            idle_seconds=config.limits.idle_seconds,
            device=torch.device(config.device),
            clock=clock,
        )
        self._connections = 0

    async def run(self, *, ready: Callable[[str], None], stop: asyncio.Event) -> None:
        """Serves until ``stop`` is set, then closes connections and lets a running step end.

        Args:
            ready: Called once with the address, when clients can connect.
            stop: Set it from the event loop's thread.

        Raises:
            BadInputError: If the port cannot be opened.
        """
        config = self._config
        server = serve(
            self._handle,
            config.host,
            config.port,
            process_request=self._before_upgrade,
            # A page in somebody's browser must not reach a model on that person's machine.
            origins=[None],
            compression=None,
            max_size=config.limits.max_message_bytes,
            max_queue=4,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            server_header=None,
        )
        try:
            listening = await server
        except OSError as error:
            raise BadInputError(
                f"cannot listen on {config.host}:{config.port} ({error.strerror or error}); "
                "choose another --port or --host"
            ) from error
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            ready(f"ws://{_in_url(config.host)}:{port}")
            await stop.wait()
        ended = await asyncio.to_thread(self._worker.stop, SHUTDOWN_SECONDS)
        if not ended:
            _log.warning("the model was still busy after %g s and is left", SHUTDOWN_SECONDS)

    async def _before_upgrade(
        self, connection: ServerConnection, request: HttpRequest
    ) -> Response | None:
        """Answers health checks over plain HTTP and turns strangers away."""
        if request.path == "/healthz":
            body = {"status": "ready", "protocol": PROTOCOL, "sessions": len(self._table)}
            response = connection.respond(HTTPStatus.OK, json.dumps(body) + "\n")
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        if not token_matches(self._config.token, request.headers.get("Authorization")):
            response = connection.respond(
                HTTPStatus.UNAUTHORIZED, "this server wants Authorization: Bearer TOKEN\n"
            )
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if self._connections >= self._config.max_connections:
            return connection.respond(
                HTTPStatus.SERVICE_UNAVAILABLE, "all connections are in use; try again later\n"
            )
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        self._connections += 1
        try:
            await Connection(
                socket,
                spec=self._model.spec,
                table=self._table,
                worker=self._worker,
                limits=self._config.limits,
                clock=self._clock,
            ).run()
        finally:
            self._connections -= 1


def token_matches(token: str | None, header: str | None) -> bool:
    """Compares a bearer token in constant time.

    Args:
        token: What is asked for; ``None`` lets everybody in.
        header: Value of ``Authorization``, if there is one.
    """
    if token is None:
        return True
    scheme, _, given = (header or "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return same and scheme.lower() == "bearer"


@contextmanager
def serving(
    model: WorldModel,
    config: ServerConfig | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """Serves a model from a thread of this process.

    Args:
        model: The model.
        config: How; a free port of this machine where ``None``.
        clock: Monotonic seconds, by which sessions and connections are idle.

    Yields:
        The server's address.

    Raises:
        BadInputError: If the port cannot be opened.
    """
    server = WireServer(model, config or ServerConfig(port=0), clock=clock)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    started = threading.Event()
    addresses: list[str] = []
    faults: list[BaseException] = []

    def ready(address: str) -> None:
        addresses.append(address)
        started.set()

    def run() -> None:
        try:
            loop.run_until_complete(server.run(ready=ready, stop=stop))
        except BaseException as error:
            faults.append(error)
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    started.wait()
    if faults:
        raise faults[0]
    try:
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
