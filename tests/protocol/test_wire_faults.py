"""Servers that misbehave: each fault is one sentence that names the address, and none hangs."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from websockets.sync.server import ServerConnection, serve

from dojobench.protocol import BadInputError
from dojobench.protocol.client import connect
from dojobench.protocol.codec import pack, unpack

PATIENCE = 600
"""Seconds after which a hang is one, however slow the machine."""

HELLO: dict[str, Any] = {
    "type": "hello",
    "protocol": 1,
    "server": "other",
    "spec": {"name": "far"},
    "limits": {},
}
CONTEXT = torch.zeros(2, 1, 3, 8, 8, dtype=torch.uint8)
ACTIONS = torch.zeros(2, 3, 4)
GOOD = np.zeros((2, 3, 3, 8, 8), dtype=np.uint8)


@contextmanager
def running(handler: Callable[[ServerConnection], None]) -> Iterator[str]:
    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.socket.getsockname()[1]
        try:
            yield f"ws://127.0.0.1:{port}"
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def answering(reply: Callable[[dict[str, Any]], Any]) -> Callable[[ServerConnection], None]:
    """A server that starts sessions as it should and answers steps as ``reply`` says."""

    def handler(connection: ServerConnection) -> None:
        connection.send(pack(HELLO))
        connection.recv()
        for data in connection:
            assert isinstance(data, bytes)
            request = unpack(data)
            if request["type"] == "start":
                connection.send(pack({"type": "started", "id": request["id"], "session": "1"}))
            elif request["type"] == "close":
                connection.send(pack({"type": "closed", "id": request["id"]}))
            else:
                answer = reply(request)
                if answer is None:
                    connection.close(1011, "worn out")
                else:
                    connection.send(answer if isinstance(answer, str | bytes) else pack(answer))

    return handler


def frames(array: np.ndarray) -> Callable[[dict[str, Any]], Any]:
    return lambda request: {"type": "frames", "id": request["id"], "frames": array}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (frames(GOOD[:, :2]), "answered with 2 frames to 3 actions"),
        (frames(GOOD.astype(np.float32)), "answered with dtype float32 instead of uint8"),
        (frames(GOOD[..., :4]), r"shape \(2, 3, 3, 8, 4\) instead of \(2, 3, 3, 8, 8\)"),
        (frames(GOOD[:1]), r"shape \(1, 3, 3, 8, 8\) instead of"),
        (lambda r: None, r"closed the connection \(worn out\)"),
        (lambda r: "text", "sent what is no answer: messages are binary"),
        (lambda r: b"\xc1", "sent what is no answer"),
        (lambda r: {"type": "frames", "id": r["id"]}, "no answer: the field frames.frames"),
        (lambda r: {"type": "closed", "id": r["id"]}, "answered step with 'closed'"),
        (
            lambda r: {"type": "error", "id": r["id"], "code": "internal", "message": "ouch"},
            "failed: ouch",
        ),
        (
            lambda r: {"type": "error", "id": None, "code": "bad_request", "message": "what"},
            "refused the request: what",
        ),
        (
            lambda r: {"type": "error", "id": r["id"], "code": "mood", "message": "no"},
            "no answer: the field error.code",
        ),
    ],
    ids=[
        "count", "dtype", "size", "batch", "closed", "text", "bytes", "no frames", "other",
        "error", "error without id", "unknown error",
    ],
)  # fmt: skip
def test_bad_answers(reply: Callable[[dict[str, Any]], Any], said: str) -> None:
    with running(answering(reply)) as address, connect(address) as remote:
        session = remote.start(CONTEXT, seed=0)
        with pytest.raises(
            BadInputError, match=f"^the server at {address} {'.*' + said}"
        ) as caught:
            session.step(ACTIONS)
        assert "\n" not in str(caught.value)


def test_a_good_answer_passes() -> None:
    with running(answering(frames(GOOD))) as address, connect(address) as remote:
        assert remote.start(CONTEXT, seed=0).step(ACTIONS).sum() == 0


def test_answers_to_what_was_not_asked_are_passed_over() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.send(pack(HELLO))
        connection.recv()
        request = unpack(connection.recv())  # type: ignore[arg-type]
        connection.send(pack({"type": "closed", "id": 12345}))
        connection.send(pack({"type": "started", "id": request["id"], "session": "9"}))

    with running(handler) as address, connect(address) as remote:
        remote.start(CONTEXT, seed=0)


def test_a_hang_is_timed_out() -> None:
    stuck = threading.Event()
    with running(answering(lambda r: stuck.wait(PATIENCE))) as address:
        remote = connect(address)
        session = remote.start(CONTEXT, seed=0)
        remote.timeout = 0.5
        with pytest.raises(BadInputError, match=r"did not answer within 0\.5 s; is it stuck"):
            session.step(ACTIONS)
        with pytest.raises(BadInputError, match="no longer connected"):
            session.step(ACTIONS)
        stuck.set()


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        (pack({"policy": "pi0"}), "sent no dojobench hello; is it another service"),
        ("text", "sent no dojobench hello"),
        (pack({**HELLO, "protocol": 7}), "speaks protocol 7 and this client 1"),
        (pack({**HELLO, "spec": {"version": "1"}}), "bad hello: the field spec.name"),
        (pack({**HELLO, "spec": {"name": "x", "context_frames": 0}}), "context_frames = 0"),
        (
            pack({**HELLO, "spec": {"name": "x", "resolution": [1]}}),
            "bad hello: the field spec.res",
        ),
    ],
    ids=["policy", "text", "version", "no name", "no context", "resolution"],
)
def test_hellos_of_others(hello: str | bytes, said: str) -> None:
    def handler(connection: ServerConnection) -> None:
        connection.send(hello)
        connection.recv(timeout=PATIENCE)

    with running(handler) as address, pytest.raises(BadInputError, match=said) as caught:
        connect(address)
    assert address in str(caught.value)


def test_a_later_hello_may_say_more() -> None:
    def handler(connection: ServerConnection) -> None:
        spec = {"name": "x", "resolution": [4, 6], "new": 1}
        connection.send(pack({**HELLO, "spec": spec, "more": [1]}))
        connection.recv(timeout=PATIENCE)

    with running(handler) as address, connect(address) as remote:
        assert remote.spec.resolution == (4, 6)


def test_servers_that_say_nothing() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"ws://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(BadInputError, match=f"{address} did not answer within 0.3 s"):
            connect(address, connect_timeout=0.3)


def test_servers_that_shake_hands_and_say_nothing() -> None:
    asked = threading.Event()
    with running(lambda connection: asked.wait(PATIENCE)) as address:
        # A busy machine may not even open the connection within the shortest time.
        for seconds in (0.3, 3, 30, 300):
            with pytest.raises(BadInputError) as caught:
                connect(address, connect_timeout=seconds)
            if f"sent no hello within {seconds:g} s; is it a doj" in str(caught.value):
                break
        else:
            pytest.fail(str(caught.value))
        asked.set()


def test_servers_that_speak_something_else() -> None:
    def talk() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(1000)
            peer.sendall(b"220 smtp ready\r\n")

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=talk)
        thread.start()
        address = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BadInputError, match=address) as caught:
            connect(address, connect_timeout=PATIENCE)
        thread.join()
    assert "\n" not in str(caught.value)


def test_redirects_are_not_followed() -> None:
    def talk() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(1000)
            answer = "HTTP/1.1 307 Temporary Redirect\r\nLocation: ws://127.0.0.1:9\r\n\r\n"
            peer.sendall(answer.encode())

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=talk)
        thread.start()
        address = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BadInputError, match=f"{address} .*(307|redirect)"):
            connect(address, connect_timeout=PATIENCE)
        thread.join()


def test_nobody_there() -> None:
    with socket.socket() as deaf:  # holds the port, so that nobody else answers on it
        deaf.bind(("127.0.0.1", 0))
        address = f"ws://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(BadInputError, match=f"the server at {address} cannot be reached"):
            connect(address)
    with pytest.raises(BadInputError, match="cannot be reached"):
        connect("ws://no-such-host.invalid:80")
