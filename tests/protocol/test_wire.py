"""A served model is the model: same frames, sessions apart, and a server that stays awake."""

import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from dojobench.protocol import BadInputError, ModelSpec
from dojobench.protocol.client import connect
from dojobench.protocol.codec import as_array, pack, unpack
from dojobench.protocol.messages import PROTOCOL, Limits
from dojobench.protocol.server import ServerConfig, serving, token_matches

Clip = tuple[torch.Tensor, torch.Tensor]

PATIENCE = 600
"""Seconds after which a hang is one, however slow the machine."""


class Slow:
    """Its steps last until they are let go; counts what happens to it."""

    spec = ModelSpec(name="slow")

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        self.steps, self.closed = 0, 0

    def start(self, context: torch.Tensor, *, seed: int, instruction: str | None = None) -> "Slow":
        self.batch, self.size = len(context), context.shape[-2:]
        return self

    def step(self, actions: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        self.entered.set()
        assert self.release.wait(PATIENCE)
        return torch.zeros(self.batch, actions.shape[1], 3, *self.size, dtype=torch.uint8)

    def close(self) -> None:
        self.closed += 1


class Raw:
    """A client by hand, to say what ours never says."""

    def __init__(self, address: str, protocol: int = PROTOCOL) -> None:
        opening = open_socket(address, compression=None, max_size=None)
        self.socket: ClientConnection = opening.__enter__()
        self.hello = unpack(self.binary())
        self.socket.send(pack({"type": "hello", "protocol": protocol}))

    def binary(self) -> bytes:
        data = self.socket.recv(timeout=PATIENCE)
        assert isinstance(data, bytes)
        return data

    def send(self, **message: Any) -> None:
        self.socket.send(pack(message))

    def ask(self, **message: Any) -> dict[str, Any]:
        self.send(**message)
        return unpack(self.binary())


def once_free(ask: Callable[[], Any]) -> Any:
    """Asks until the server no longer says that all of what it has is in use."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except BadInputError as error:
            busy = re.search("are in use|no connection free", str(error))
            if not busy or time.monotonic() > end:
                raise
        time.sleep(0.05)


@pytest.fixture
def slow() -> Iterator[tuple[Slow, Raw, str]]:
    """A slow model, a client with a session under way, and the address."""
    model = Slow()
    with serving(model) as address:
        raw = Raw(address)
        context = as_array(torch.zeros(1, 1, 3, 4, 4, dtype=torch.uint8))
        reply = raw.ask(type="start", id=1, context=context, seed=0)
        assert reply["type"] == "started"
        yield model, raw, str(reply["session"])
        model.release.set()
        raw.socket.close()


ONE = as_array(torch.zeros(1, 1, 2))


def test_frames_are_bit_identical(glide: Any, clip: Clip) -> None:
    context, actions = clip
    model = glide()
    with serving(model) as address, connect(address) as remote:
        assert remote.spec == model.spec
        here = model.start(context, seed=9, instruction="go")
        there = remote.start(context, seed=9, instruction="go")
        for part in actions.split([1, 4, 7], dim=1):
            assert torch.equal(here.step(part), there.step(part))
        assert len(there.model_seconds) == 3
        there.close()
        there.close()


def test_every_field_of_the_spec_travels(glide: Any) -> None:
    model = glide(
        weights="sha256:ab", resolution=(24, 32), frame_rate=29.97, context_frames=3,
        native_chunk=4, any_chunk=False, views=("wrist", "top"), deterministic=False,
    )  # fmt: skip
    with serving(model) as address, connect(address) as remote:
        assert remote.spec == model.spec


def test_views_seed_and_instruction_travel(glide: Any, clip: Clip) -> None:
    context, actions = clip
    model = glide(views=("wrist",))
    views = {"wrist": torch.full((2, 1, 3, 8, 8), 77, dtype=torch.uint8)}
    with serving(model) as address, connect(address) as remote:

        def both(**change: Any) -> torch.Tensor:
            arguments = {"seed": 3, "instruction": "pick", "views": views, **change}
            here = model.start(context, **arguments).step(actions)
            assert torch.equal(here, remote.start(context, **arguments).step(actions))
            return here

        usual = both()
        assert not torch.equal(usual, both(seed=4))
        assert not torch.equal(usual, both(instruction=None))
        assert not torch.equal(usual, both(views={"wrist": views["wrist"] + 9}))
        with pytest.raises(BadInputError, match="needs the camera view 'wrist'"):
            remote.start(context, seed=3)


def test_clients_at_once_do_not_see_each_other(glide: Any, clip: Clip) -> None:
    context, actions = clip
    model = glide()
    expected = {seed: model.start(context, seed=seed).step(actions) for seed in range(6)}
    got: dict[int, torch.Tensor] = {}

    def client(seed: int) -> None:
        with connect(address) as remote:
            session = remote.start(context, seed=seed)
            parts = [session.step(part) for part in actions.split(1, dim=1)]
            got[seed] = torch.cat(parts, dim=1)

    with serving(model) as address:
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert set(got) == set(expected)
    assert all(torch.equal(got[seed], expected[seed]) for seed in got)


def test_one_client_used_from_several_threads(glide: Any, clip: Clip) -> None:
    context, actions = clip
    with serving(glide()) as address, connect(address) as remote:
        sessions = [remote.start(context, seed=seed) for seed in range(4)]
        got: list[Any] = [None] * 4

        def run(k: int) -> None:
            got[k] = torch.cat([sessions[k].step(part) for part in actions.split(1, 1)], dim=1)

        threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        for seed in range(4):
            assert torch.equal(got[seed], glide().start(context, seed=seed).step(actions))


def test_sessions_of_others_cannot_be_used(glide: Any, clip: Clip) -> None:
    context = as_array(clip[0])
    with serving(glide()) as address:
        one, other = Raw(address), Raw(address)
        name = one.ask(type="start", id=1, context=context, seed=0)["session"]
        reply = other.ask(type="step", id=1, session=name, actions=as_array(clip[1]))
        assert (reply["type"], reply["code"]) == ("error", "bad_request")
        assert one.ask(type="step", id=2, session=name, actions=as_array(clip[1]))["id"] == 2
        one.socket.close()
        other.socket.close()


def test_health_and_pings_answer_while_a_model_thinks(slow: tuple[Slow, Raw, str]) -> None:
    model, raw, session = slow
    raw.send(type="step", id=2, session=session, actions=ONE)
    assert model.entered.wait(PATIENCE)
    assert raw.socket.ping().wait(PATIENCE)
    host, port = raw.socket.remote_address[:2]
    with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=PATIENCE) as answer:
        health = json.load(answer)
    assert health == {"status": "ready", "protocol": 1, "sessions": 1}
    assert not model.release.is_set()
    with connect(f"ws://{host}:{port}") as other:
        assert other.spec == model.spec


def test_what_waits_can_be_cancelled(slow: tuple[Slow, Raw, str]) -> None:
    model, raw, session = slow
    raw.send(type="step", id=2, session=session, actions=ONE)
    assert model.entered.wait(PATIENCE)
    raw.send(type="step", id=3, session=session, actions=ONE)
    raw.send(type="cancel", id=4, target=3)
    replies = [unpack(raw.binary()), unpack(raw.binary())]
    assert {"type": "cancel", "id": 4, "outcome": "not_run"} in replies
    assert {"type": "cancelled", "id": 3} in replies
    model.release.set()
    assert unpack(raw.binary())["type"] == "frames"
    assert model.steps == 1
    assert raw.ask(type="step", id=5, session=session, actions=ONE)["type"] == "frames"


def test_what_runs_is_discarded_and_its_session_closed(slow: tuple[Slow, Raw, str]) -> None:
    model, raw, session = slow
    raw.send(type="step", id=2, session=session, actions=ONE)
    assert model.entered.wait(PATIENCE)
    assert raw.ask(type="cancel", id=3, target=2)["outcome"] == "discarded"
    model.release.set()
    assert unpack(raw.binary()) == {"type": "cancelled", "id": 2}
    assert raw.ask(type="step", id=4, session=session, actions=ONE)["code"] == "bad_request"
    assert model.closed == 1
    assert raw.ask(type="cancel", id=5, target=2)["outcome"] == "unknown"


def test_a_request_id_in_use_is_refused(slow: tuple[Slow, Raw, str]) -> None:
    model, raw, session = slow
    raw.send(type="step", id=2, session=session, actions=ONE)
    assert model.entered.wait(PATIENCE)
    reply = raw.ask(type="step", id=2, session=session, actions=ONE)
    assert (reply["code"], reply["id"]) == ("bad_request", 2)


def test_too_many_waiting_requests_are_refused(glide: Any) -> None:
    model = Slow()
    config = ServerConfig(port=0, limits=Limits(max_waiting=2))
    with serving(model, config) as address:
        raw = Raw(address)
        context = as_array(torch.zeros(1, 1, 3, 4, 4, dtype=torch.uint8))
        session = raw.ask(type="start", id=1, context=context, seed=0)["session"]
        for number in (2, 3):
            raw.send(type="step", id=number, session=session, actions=ONE)
        reply = raw.ask(type="step", id=4, session=session, actions=ONE)
        assert (reply["code"], reply["id"]) == ("overloaded", 4)
        model.release.set()
        raw.socket.close()


def test_a_lost_client_leaves_no_session(glide: Any, clip: Clip) -> None:
    model = Slow()
    model.release.set()
    with serving(model, ServerConfig(port=0, limits=Limits(max_sessions=1))) as address:
        first = connect(address)
        first.start(clip[0], seed=0)
        with (
            connect(address) as second,
            pytest.raises(BadInputError, match="overloaded: all 1 sessions are in use"),
        ):
            second.start(clip[0], seed=0)
        first.close()
        with connect(address) as third:
            once_free(lambda: third.start(clip[0], seed=0)).close()
    assert model.closed == 2


def test_idle_sessions_and_connections_are_closed(clip: Clip) -> None:
    model = Slow()
    model.release.set()
    now = 0.0
    config = ServerConfig(port=0, max_connections=1, limits=Limits(idle_seconds=0.3))
    with serving(model, config, clock=lambda: now) as address:
        remote = connect(address)
        session = remote.start(clip[0], seed=0)
        now = 1.0
        with once_free(lambda: connect(address)) as other:
            other.start(clip[0], seed=0).close()
        assert model.closed == 2
        with pytest.raises(BadInputError, match=r"closed the connection \(idle for too long\)"):
            session.step(clip[1])
        with pytest.raises(BadInputError, match="no longer connected"):
            remote.start(clip[0], seed=0)
        session.close()
        remote.close()


def test_a_model_that_raises(glide: Any, clip: Clip) -> None:
    context, actions = clip

    class Raises(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            if rest["seed"] == 1:
                raise BadInputError("the seed 1 is not for me")
            session = super().start(context, **rest)
            if rest["seed"] == 2:
                session.step = lambda actions: 1 / 0
            if rest["seed"] == 3:
                session.step = lambda actions: torch.zeros(1)
            return session

    with serving(Raises()) as address, connect(address) as remote:
        with pytest.raises(BadInputError, match="refused the request: the seed 1 is not for me"):
            remote.start(context, seed=1)
        for seed, fault in ((2, "ZeroDivisionError"), (3, "dtype float32 instead of uint8")):
            session = remote.start(context, seed=seed)
            with pytest.raises(BadInputError, match=f"failed: .*{fault}"):
                session.step(actions)
            with pytest.raises(BadInputError, match="no open session"):
                session.step(actions)
        assert remote.start(context, seed=0).step(actions).shape[1] == 12


def test_bad_input_is_refused_here_and_there(glide: Any, clip: Clip) -> None:
    context, actions = clip
    with serving(glide()) as address, connect(address) as remote:
        session = remote.start(context, seed=0)
        bad = actions.clone()
        bad[1, 2, 3] = torch.nan
        for wrong, said in (
            (bad, "must be finite"), (actions[..., :3], "width 3"), (actions[:, :0], "0 actions"),
            (actions[:1], "must be [2, n, action_dim]"), (actions.double(), "float64"),
        ):  # fmt: skip
            with pytest.raises(BadInputError) as caught:
                session.step(wrong)
            assert said in str(caught.value)
        with pytest.raises(BadInputError, match="the seed is -1"):
            remote.start(context, seed=-1)
        raw = Raw(address)
        name = raw.ask(type="start", id=1, context=as_array(context), seed=0)["session"]
        for wrong in (bad, actions[..., :3], actions[:, :0], actions.double()):
            reply = raw.ask(type="step", id=2, session=name, actions=as_array(wrong))
            assert (reply["type"], reply["code"], reply["id"]) == ("error", "bad_request", 2)
        raw.socket.close()
        session.close()
        with pytest.raises(BadInputError, match="closed session"):
            session.step(actions)


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        ({"type": "dance", "id": 5}, "unsupported", "no request of type 'dance'"),
        ({"id": 5}, "unsupported", "no request of type None"),
        ({"type": "step", "id": 5, "session": "1"}, "bad_request", "actions"),
        ({"type": "start", "id": 5, "context": [1], "seed": 0}, "bad_request", "context"),
        ({"type": "start", "id": 5, "context": ONE, "seed": 2**31}, "bad_request", "seed"),
        ({"type": "start", "id": 5, "context": ONE, "seed": 0}, "bad_request", "must be uint8"),
        ({"type": "close", "id": 5, "session": "77"}, "bad_request", "no open session '77'"),
    ],
)
def test_requests_that_are_none(glide: Any, message: Any, code: str, said: str) -> None:
    with serving(glide()) as address:
        raw = Raw(address)
        reply = raw.ask(**message)
        assert (reply["type"], reply["code"], reply["id"]) == ("error", code, 5)
        assert said in reply["message"]
        raw.socket.close()


def test_bytes_that_are_no_message(glide: Any, clip: Clip) -> None:
    with serving(glide()) as address:
        raw = Raw(address)
        for data in (b"\xc1", b"", "text"):
            raw.socket.send(data)
            reply = unpack(raw.binary())
            assert (reply["type"], reply["code"], reply["id"]) == ("error", "bad_request", None)
        assert raw.ask(type="start", id=1, context=as_array(clip[0]), seed=0)["type"] == "started"
        raw.socket.close()


def test_other_versions_are_refused(glide: Any) -> None:
    with serving(glide()) as address:
        raw = Raw(address, protocol=2)
        reply = unpack(raw.binary())
        assert (reply["code"], reply["id"]) == ("unsupported", None)
        assert "the client speaks protocol 2 and this server 1" in reply["message"]
        with pytest.raises(ConnectionClosed):
            raw.socket.recv(timeout=PATIENCE)


def test_messages_that_are_too_large(glide: Any) -> None:
    limits = Limits(max_message_bytes=20_000)
    with serving(glide(), ServerConfig(port=0, limits=limits)) as address:
        with connect(address) as remote:
            large = torch.zeros(1, 1, 3, 100, 100, dtype=torch.uint8)
            with pytest.raises(BadInputError, match="messages of at most 20000 bytes and this"):
                remote.start(large, seed=0)
            session = remote.start(large[..., :30, :30].contiguous(), seed=0)
            with pytest.raises(BadInputError, match="send fewer actions at once"):
                session.step(torch.zeros(1, 30, 7))
            assert session.step(torch.zeros(1, 2, 7)).shape == (1, 2, 3, 30, 30)
        raw = Raw(address)
        raw.socket.send(b"\0" * 30_000)
        with pytest.raises(ConnectionClosed) as caught:
            raw.binary()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


def test_tokens(glide: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    config = ServerConfig(port=0, token="s3cret")  # noqa: S106
    with serving(glide(), config) as address:
        with pytest.raises(BadInputError, match="wants a bearer token"):
            connect(address)
        monkeypatch.setenv("DOJOBENCH_TOKEN", "wrong")
        with pytest.raises(BadInputError, match="wants a bearer token"):
            connect(address)
        (tmp_path / "token").write_text("s3cret\n")
        with connect(address, token_file=tmp_path / "token") as remote:
            assert remote.spec.name == "glide"
        monkeypatch.setenv("DOJOBENCH_TOKEN", "s3cret")
        connect(address).close()
        with urllib.request.urlopen(
            address.replace("ws", "http") + "/healthz", timeout=PATIENCE
        ) as answer:
            assert answer.status == 200


def test_token_comparison() -> None:
    assert token_matches(None, None)
    assert token_matches("a", "Bearer a")
    assert token_matches("a", "bearer a")
    for header in (None, "", "a", "Basic a", "Bearer", "Bearer b", "Bearer aa", "Bearer ä"):
        assert not token_matches("a", header)


def test_browsers_are_turned_away(glide: Any) -> None:
    with (
        serving(glide()) as address,
        pytest.raises(InvalidStatus) as caught,
        open_socket(address, origin="http://evil.example"),  # type: ignore[arg-type]
    ):
        pass
    assert caught.value.response.status_code == 403


def test_a_plain_request_gets_no_traceback(glide: Any) -> None:
    with serving(glide()) as address:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(address.replace("ws", "http"), timeout=PATIENCE)
        with caught.value as answer:
            assert answer.code == 426
            assert b"Traceback" not in answer.read()


def test_too_many_connections_are_refused(glide: Any) -> None:
    with serving(glide(), ServerConfig(port=0, max_connections=1)) as address:
        with connect(address), pytest.raises(BadInputError, match="no connection free"):
            connect(address)


def test_a_port_in_use_is_a_sentence(glide: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(BadInputError, match=f"cannot listen on 127.0.0.1:{port}"),
            serving(glide(), ServerConfig(port=port)),
        ):
            pass


def test_the_server_goes_away(glide: Any, clip: Clip) -> None:
    context, actions = clip
    with serving(glide()) as address:
        remote = connect(address)
        session = remote.start(context, seed=0)
    with pytest.raises(BadInputError, match=f"the server at {address} closed the connection"):
        session.step(actions)
    with pytest.raises(BadInputError, match="no longer connected"):
        remote.start(context, seed=0)
