"""``dojobench serve --http``: a world model behind WorldArena 2.0 Track 2's HTTP interface v1.0.

Format: ``assets/track2_world_model_service_api_en.md`` in WorldArena2/WorldArena-2.0. Nothing of
a request is logged. TLS is the business of a proxy in front.
"""

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from pydantic import BaseModel, ValidationError

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.http_predict import (
    Job,
    Refusal,
    ServiceProfile,
    declare,
    predict,
    read_jobs,
)
from dojobench.protocol.messages import describe
from dojobench.protocol.model import WorldModel
from dojobench.protocol.server import SHUTDOWN_SECONDS, token_matches
from dojobench.protocol.track2_schema import (
    Fault,
    FaultDocument,
    Health,
    PredictRequest,
)
from dojobench.protocol.worker import ModelThread

_log = logging.getLogger(__name__)

KEPT_ANSWERS = 32
"""Answers kept for retries of the same request."""

KEPT_REQUESTS = 10_000
"""Requests remembered so that an id used for two of them is noticed."""

SOCKET_SECONDS = 60.0
"""How long a client may be silent in the middle of a request."""


@dataclass(frozen=True, kw_only=True)
class HttpConfig:
    """Where and how to serve.

    Attributes:
        host: Interface to listen on.
        port: TCP port; 0 lets the system choose.
        token: Bearer token for everything but health; ``None``: none is asked for.
        device: Where context and actions are put before the model sees them.
        service: What the capability manifest says.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    device: str = "cpu"
    service: ServiceProfile = field(default_factory=ServiceProfile)


class Answers:
    """Answers by request id, so that a retry costs nothing and a reused id is noticed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: OrderedDict[str, bytes] = OrderedDict()
        self._futures: OrderedDict[str, Future[bytes]] = OrderedDict()

    def known(self, request_id: str, digest: bytes) -> "Future[bytes] | None":
        """Gives the answer that is there or under way, if it is worth having.

        Raises:
            Refusal: If the id belongs to another request.
        """
        with self._lock:
            if self._digests.setdefault(request_id, digest) != digest:
                raise Refusal(409, "REQUEST_ID_CONFLICT", "request_id was used for another request")
            _trim(self._digests, KEPT_REQUESTS)
            return self._usable(request_id)

    def add(self, request_id: str, begin: "Callable[[], Future[bytes]]") -> "Future[bytes]":
        """Begins an answer, unless a retry of the request has begun it meanwhile."""
        with self._lock:
            future = self._usable(request_id)
            if future is None:
                future = self._futures[request_id] = begin()
                _trim(self._futures, KEPT_ANSWERS)
            return future

    def _usable(self, request_id: str) -> "Future[bytes] | None":
        future = self._futures.get(request_id)
        failed = future is not None and future.done() and future.exception() is not None
        return None if failed else future


def _trim(table: "OrderedDict[str, bytes] | OrderedDict[str, Future[bytes]]", most: int) -> None:
    while len(table) > most:
        table.popitem(last=False)


class Track2Service:
    """The three endpoints, without HTTP."""

    def __init__(self, model: WorldModel, config: HttpConfig) -> None:
        """Declares the model's capabilities.

        Raises:
            BadInputError: If the interface cannot carry the model.
        """
        self.declared = declare(model.spec, config.service)
        self._model = model
        self._device = torch.device(config.device)
        self._timeout = config.service.timeout_s
        self._slots = threading.BoundedSemaphore(config.service.max_concurrency)
        self._worker = ModelThread()
        self._answers = Answers()

    def health(self) -> Health:
        """Answers ``GET /v1/health``; a service that listens has its model loaded."""
        return Health(status="ready", model_version=self.declared.model_version)

    def predict(self, body: bytes) -> bytes:
        """Answers ``POST /v1/predict``.

        Args:
            body: The request document.

        Returns:
            The response document.

        Raises:
            Refusal: Whatever keeps it from being answered, with ``request_id`` where known.
        """
        try:
            request = PredictRequest.model_validate_json(body, strict=True)
        except ValidationError as error:
            raise Refusal(400, "INVALID_ARGUMENT", describe(error)) from None
        try:
            return self._answer(request, hashlib.sha256(body).digest())
        except Refusal as refusal:
            refusal.add_note(request.request_id)
            raise

    def _answer(self, request: PredictRequest, digest: bytes) -> bytes:
        future = self._answers.known(request.request_id, digest)
        if future is None:
            jobs = read_jobs(request, self.declared, self._model.spec)
            future = self._answers.add(request.request_id, lambda: self._queue(request, jobs))
        try:
            return future.result(self._timeout)
        except FutureTimeout:
            raise Refusal(
                504,
                "DEADLINE_EXCEEDED",
                f"the prediction took longer than {self._timeout:g} s",
                retryable=True,
            ) from None
        except Exception as error:
            _log.error("a prediction failed", exc_info=error)
            kind = type(error).__name__
            raise Refusal(
                500, "INTERNAL", f"the model failed with {kind}", retryable=True
            ) from error

    def _queue(self, request: PredictRequest, jobs: list[Job]) -> "Future[bytes]":
        if not self._slots.acquire(blocking=False):
            raise Refusal(
                429, "OVERLOADED", "all slots are in use; try again later", retryable=True
            )
        future = self._worker.submit(
            lambda: predict(self._model, jobs, request, device=self._device)
        )
        future.add_done_callback(lambda _: self._slots.release())
        return future

    def stop(self) -> None:
        """Lets what runs finish, for a while."""
        self._worker.stop(SHUTDOWN_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    """HTTP around the service; one thread a connection."""

    protocol_version = "HTTP/1.1"
    server_version = "dojobench"
    sys_version = ""
    timeout = SOCKET_SECONDS
    service: Track2Service
    token: str | None

    def do_GET(self) -> None:
        """Answers health and capabilities."""
        if self.path == "/v1/health":
            self._send(200, self.service.health())
        elif self.path != "/v1/capabilities":
            self._refuse(Refusal(404, "NOT_FOUND", "there is no such path"))
        elif self._admitted():
            self._send(200, self.service.declared)

    def do_POST(self) -> None:
        """Answers predict."""
        try:
            if self.path != "/v1/predict":
                raise Refusal(404, "NOT_FOUND", "there is no such path")
            if self._admitted():
                self._send_bytes(200, self.service.predict(self._body()))
        except Refusal as refusal:
            # Where the body was not read, the next request could not be told from it.
            self.close_connection = True
            self._refuse(refusal)

    def _admitted(self) -> bool:
        if token_matches(self.token, self.headers.get("Authorization")):
            return True
        self.close_connection = True
        self._refuse(Refusal(401, "UNAUTHENTICATED", "send Authorization: Bearer TOKEN"))
        return False

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 18:
            raise Refusal(400, "INVALID_ARGUMENT", "the request has no Content-Length")
        most = self.service.declared.limits.max_request_bytes
        if int(length) > most:
            raise Refusal(413, "PAYLOAD_TOO_LARGE", f"the request has more than {most} bytes")
        kind = self.headers.get_content_type()
        if kind != "application/json":
            raise Refusal(400, "INVALID_ARGUMENT", "Content-Type must be application/json")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise Refusal(400, "INVALID_ARGUMENT", "the request is shorter than its length")
        return body

    def _refuse(self, refusal: Refusal) -> None:
        notes = getattr(refusal, "__notes__", [])
        fault = Fault(
            code=refusal.code,
            message=refusal.sentence,
            request_id=notes[0] if notes else None,
            retryable=refusal.retryable,
        )
        self._send(refusal.status, FaultDocument(error=fault))

    def _send(self, status: int, document: BaseModel) -> None:
        self._send_bytes(status, document.model_dump_json().encode())

    def _send_bytes(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if status == 429:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps requests out of the log, as the interface asks."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("a connection broke", exc_info=True)


def make_server(model: WorldModel, config: HttpConfig) -> tuple[_Server, Track2Service]:
    """Opens the port; call ``serve_forever`` on the server.

    Raises:
        BadInputError: If the port cannot be opened or the interface cannot carry the model.
    """
    service = Track2Service(model, config)
    handler = type("Handler", (_Handler,), {"service": service, "token": config.token})
    try:
        return _Server((config.host, config.port), handler), service
    except OSError as error:
        raise BadInputError(
            f"cannot listen on {config.host}:{config.port} ({error.strerror or error}); choose "
            "another --port or --host"
        ) from error


@contextmanager
def serving_http(model: WorldModel, config: HttpConfig) -> Iterator[str]:
    """Serves a model from a thread of this process.

    Yields:
        The server's address.

    Raises:
        BadInputError: As ``make_server``.
    """
    server, service = make_server(model, config)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="http", daemon=True
    )
    thread.start()
    try:
        yield f"http://{config.host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        service.stop()
