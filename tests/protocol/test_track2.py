"""WorldArena 2.0 Track 2 both ways: our model behind it, and it behind our model's face."""

import base64
import contextlib
import io
import json
import struct
import threading
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch
from PIL import Image as Pillow

from dojobench.protocol import ActionSpace, BadInputError, ModelSpec
from dojobench.protocol.http_client import connect
from dojobench.protocol.http_predict import ServiceProfile, fold_seed
from dojobench.protocol.http_track2 import HttpConfig, serving_http
from dojobench.protocol.lookup import load_model
from dojobench.protocol.track2_schema import Image, decode_image, encode_image

Clip = tuple[torch.Tensor, torch.Tensor]

PATIENCE = 600
"""Seconds after which a hang is one, however slow the machine."""

SERVICE = ServiceProfile(resolution=(24, 32), timeout_s=PATIENCE)


def config(**service: Any) -> HttpConfig:
    return HttpConfig(port=0, service=ServiceProfile(**{**SERVICE_FIELDS, **service}))


SERVICE_FIELDS: dict[str, Any] = {"resolution": (24, 32), "timeout_s": float(PATIENCE)}


def call(
    address: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Asks over the network, with urllib, as somebody else's evaluator would."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), dict(error.headers)


def png(frame: torch.Tensor) -> dict[str, Any]:
    """A frame as another program writes it: Pillow's PNG."""
    buffer = io.BytesIO()
    Pillow.fromarray(frame.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return {
        "encoding": "png_base64", "color_space": "RGB", "channels": 3,
        "height": frame.shape[1], "width": frame.shape[2],
        "data": base64.b64encode(buffer.getvalue()).decode(),
    }  # fmt: skip


def unpng(image: dict[str, Any]) -> torch.Tensor:
    with Pillow.open(io.BytesIO(base64.b64decode(image["data"]))) as picture:
        assert picture.mode == "RGB"
        assert not picture.info
        data = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        return data.reshape(picture.height, picture.width, 3).permute(2, 0, 1)


def request(clip: Clip, count: int = 3, **change: Any) -> dict[str, Any]:
    context, actions = clip
    samples = [
        {
            "sample_id": f"s{k}",
            "seed": 10 + k,
            "context": {"frames": [png(context[k, 0])], "actions": [], "instruction": "pick"},
            "actions": actions[k, :count].tolist(),
        }
        for k in range(len(context))
    ]
    return {
        "api_version": "1.0", "request_id": str(uuid.uuid4()), "model_version": "glide-2",
        "profile_id": "dojobench", "samples": samples, **change,
    }  # fmt: skip


@pytest.fixture
def address(glide: Any) -> Iterator[str]:
    with serving_http(glide(), config()) as found:
        yield found


def test_images_are_exact() -> None:
    frame = torch.randint(0, 256, (3, 17, 23), dtype=torch.uint8)
    image = encode_image(frame)
    assert torch.equal(unpng(image.model_dump()), frame)
    assert torch.equal(decode_image(image, height=17, width=23), frame)
    assert torch.equal(decode_image(Image(**png(frame)), height=17, width=23), frame)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def written(mode: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.new(mode, (8, 6)).save(buffer, "PNG", **options)
    return buffer.getvalue()


RED = Pillow.new("RGB", (8, 6), "red")
BAD = "INVALID_ARGUMENT"
BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (written("RGBA"), "colour type 6"),
        (written("L"), "colour type 0"),
        (written("P"), "colour type 3"),
        (written("RGB", transparency=(0, 0, 0)), "transparency"),
        (written("RGB", save_all=True, append_images=[RED]), "animated"),
        (written("RGB")[:-30], "damaged"),
        (written("RGB")[:20], "no PNG"),
        (BOMB, "60000x60000"),
        (b"GIF89a" + b"\0" * 50, "no PNG"),
        (b"", "no PNG"),
    ],
    ids=["rgba", "grey", "palette", "trns", "apng", "cut", "short", "bomb", "gif", "empty"],
)  # fmt: skip
def test_images_that_are_refused(data: bytes, said: str) -> None:
    image = Image(height=6, width=8, data=base64.b64encode(data).decode())
    with pytest.raises(ValueError, match=said):
        decode_image(image, height=6, width=8)


def test_base64_that_is_none() -> None:
    for text in ("data:image/png;base64,AAAA", "AA\nAA", "ä"):
        with pytest.raises(ValueError, match="no base64"):
            decode_image(Image(height=6, width=8, data=text), height=6, width=8)


def test_health_and_capabilities(address: str) -> None:
    assert call(address, "/v1/health")[:2] == (
        200, {"status": "ready", "api_version": "1.0", "model_version": "glide-2"},
    )  # fmt: skip
    status, declared, _ = call(address, "/v1/capabilities")
    assert status == 200
    profile = declared["profiles"][0]
    assert (profile["image"]["height"], profile["image"]["width"]) == (24, 32)
    assert profile["action"] == {
        "dtype": "float32", "dimension": 7, "representation": "profile_canonical",
    }  # fmt: skip
    assert profile["context_frames"]["min"] == 1
    assert declared["determinism"] == {"seed_supported": True, "same_seed_same_pixels": True}
    assert set(declared["limits"]) == {
        "max_batch_size", "max_request_bytes", "max_concurrency", "recommended_timeout_ms",
    }  # fmt: skip


def test_predictions_are_the_models(address: str, glide: Any, clip: Clip) -> None:
    context, actions = clip
    asked = request(clip)
    status, answer, _ = call(address, "/v1/predict", asked)
    assert status == 200
    assert answer["request_id"] == asked["request_id"]
    assert [p["sample_id"] for p in answer["predictions"]] == ["s0", "s1"]
    for k, prediction in enumerate(answer["predictions"]):
        session = glide().start(context[k : k + 1], seed=10 + k, instruction="pick")
        expected = session.step(actions[k : k + 1, :3])[0]
        got = torch.stack([unpng(image) for image in prediction["frames"]])
        assert torch.equal(got, expected)


def test_only_the_last_context_frames_count(glide: Any, clip: Clip) -> None:
    context, _ = clip
    with serving_http(glide(), config()) as address:
        short, long = request(clip), request(clip)
        for sample in long["samples"]:
            sample["context"]["frames"] = [png(255 - context[0, 0]), *sample["context"]["frames"]]
            sample["context"]["actions"] = [[0.0] * 7]
        first, second = (call(address, "/v1/predict", r)[1]["predictions"] for r in (short, long))
    assert first == second


def test_retries_are_answered_alike_and_conflicts_are_refused(address: str, clip: Clip) -> None:
    asked = request(clip)
    first, again = (call(address, "/v1/predict", asked) for _ in range(2))
    assert first[:2] == again[:2]
    other = request(clip, count=2, request_id=asked["request_id"])
    status, answer, _ = call(address, "/v1/predict", other)
    assert (status, answer["error"]["code"]) == (409, "REQUEST_ID_CONFLICT")
    assert answer["error"]["request_id"] == asked["request_id"]


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(asked: dict[str, Any]) -> dict[str, Any]:
        change(asked)
        return asked

    return changed


def context_of(asked: dict[str, Any]) -> Any:
    return asked["samples"][1]["context"]


@pytest.mark.parametrize(
    ("change", "status", "code", "said"),
    [
        (lambda r: r.update(api_version="2.0"), 422, "UNSUPPORTED_VERSION", "api_version"),
        (lambda r: r.update(model_version="x"), 422, "UNSUPPORTED_VERSION", "model_version"),
        (lambda r: r.update(profile_id="x"), 422, "UNSUPPORTED_VERSION", "profile_id"),
        (lambda r: r.update(request_id="7"), 400, BAD, "request_id"),
        (lambda r: r.update(samples=[]), 400, BAD, "samples"),
        (lambda r: r.update(samples=r["samples"] * 9), 400, BAD, "at most 8"),
        (lambda r: r.update(samples=r["samples"] * 2), 400, BAD, "sample_id twice"),
        (lambda r: r["samples"][1].update(seed=-1), 400, BAD, "samples.1.seed"),
        (lambda r: r["samples"][1].update(seed="1"), 400, BAD, "samples.1.seed"),
        (lambda r: r["samples"][1].update(actions=[]), 400, BAD, "1 to 64"),
        (lambda r: r["samples"][1].update(actions=[[0.0] * 6]), 400, BAD,
         "samples[1].actions has dimension 6; expected 7"),
        (lambda r: r["samples"][1].update(actions=[[1e39] * 7]), 400, BAD, "float32"),
        (lambda r: r["samples"][1].update(actions=[[float("nan")] * 7]), 400, BAD,
         "finite"),
        (lambda r: context_of(r).update(actions=[[0.0] * 7]), 400, BAD, "expected 0"),
        (lambda r: context_of(r).update(frames=[]), 400, BAD, "frames"),
        (lambda r: context_of(r).update(states=[[0.0]]), 400, BAD, "states"),
        (lambda r: context_of(r)["frames"][0].update(height=9), 400, BAD, "says 9x32"),
        (lambda r: context_of(r)["frames"][0].update(data="AAAA"), 400, BAD, "no PNG"),
        (lambda r: context_of(r)["frames"][0].update(encoding="jpeg"), 400, BAD,
         "encoding"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(
    address: str, clip: Clip, change: Any, status: int, code: str, said: str
) -> None:
    got, answer, _ = call(address, "/v1/predict", edit(change)(request(clip)))
    assert (got, answer["error"]["code"]) == (status, code)
    assert said in answer["error"]["message"]
    assert answer["error"]["retryable"] is False


@pytest.mark.parametrize("body", [b"{", b"", b"[" * 100_000, b"\xff", b"[]", b"null"])
def test_bodies_that_are_no_request(address: str, body: bytes) -> None:
    status, answer, _ = call(address, "/v1/predict", body)
    assert (status, answer["error"]["code"]) == (400, BAD)
    assert answer["error"]["request_id"] is None


def test_fields_that_are_not_known_are_ignored(address: str, clip: Clip) -> None:
    assert call(address, "/v1/predict", request(clip, later={"a": 1}))[0] == 200


def test_paths_types_and_sizes(glide: Any, clip: Clip) -> None:
    with serving_http(glide(), config(max_request_bytes=2000)) as address:
        assert call(address, "/v2/health")[0] == 404
        assert call(address, "/v1/nothing", {})[0] == 404
        assert call(address, "/v1/predict", {}, **{"Content-Type": "text/plain"})[0] == 400
        status, answer, _ = call(address, "/v1/predict", request(clip))
        assert (status, answer["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_tokens(glide: Any, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    served = HttpConfig(port=0, token="s3cret", service=SERVICE)  # noqa: S106
    with serving_http(glide(), served) as address:
        assert call(address, "/v1/health")[0] == 200
        for path, body in (("/v1/capabilities", None), ("/v1/predict", request(clip))):
            status, answer, headers = call(address, path, body, Authorization="Bearer x")
            assert (status, answer["error"]["code"]) == (401, "UNAUTHENTICATED")
            assert headers["WWW-Authenticate"] == "Bearer"
            assert call(address, path, body, Authorization="Bearer s3cret")[0] == 200
        with pytest.raises(BadInputError, match="wants a bearer token"):
            connect(address)
        monkeypatch.setenv("DOJOBENCH_TOKEN", "s3cret")
        assert connect(address).start(clip[0], seed=1).step(clip[1]).shape[1] == 12


def gated(glide: Any) -> tuple[Any, threading.Event, threading.Event]:
    entered, release = threading.Event(), threading.Event()

    class Gated(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            entered.set()
            assert release.wait(PATIENCE)
            return super().start(context, **rest)

    return Gated(), entered, release


def test_overload_is_said_and_health_answers(glide: Any, clip: Clip) -> None:
    model, entered, release = gated(glide)
    answers: list[Any] = []
    with serving_http(model, config(max_concurrency=1)) as address:
        asked = request(clip)
        threads = [
            threading.Thread(target=lambda: answers.append(call(address, "/v1/predict", asked)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        assert entered.wait(PATIENCE)
        assert call(address, "/v1/health")[0] == 200
        status, answer, headers = call(address, "/v1/predict", request(clip))
        assert (status, answer["error"]["code"]) == (429, "OVERLOADED")
        assert answer["error"]["retryable"] is True
        assert headers["Retry-After"] == "1"
        release.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert [answer[0] for answer in answers] == [200, 200]
    assert answers[0][1] == answers[1][1]


def test_a_deadline_is_kept_and_the_retry_gets_the_answer(glide: Any, clip: Clip) -> None:
    model, _, release = gated(glide)
    with serving_http(model, config(timeout_s=0.2)) as address:
        asked = request(clip)
        status, answer, _ = call(address, "/v1/predict", asked)
        assert (status, answer["error"]["code"]) == (504, "DEADLINE_EXCEEDED")
        release.set()
        end = time.monotonic() + PATIENCE
        while (status := call(address, "/v1/predict", asked)[0]) == 504:
            assert time.monotonic() < end
        assert status == 200


def test_a_model_that_fails_leaks_nothing(glide: Any, clip: Clip) -> None:
    class Fails(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            raise RuntimeError("/home/secret/weights.pt")

    with serving_http(Fails(), config()) as address:
        status, answer, headers = call(address, "/v1/predict", request(clip))
        assert (status, answer["error"]["code"]) == (500, "INTERNAL")
        assert "secret" not in json.dumps(answer)
        assert "Python" not in headers["Server"]
        remote = connect(address)
        with pytest.raises(BadInputError, match=f"{address} refused .* 500 INTERNAL"):
            remote.start(clip[0], seed=1).step(clip[1])


@pytest.mark.parametrize(
    ("spec", "service", "said"),
    [
        ({}, {"resolution": None}, "add --resolution"),
        ({"action_space": None}, {}, "add --action-dim"),
        ({"views": ("wrist",)}, {}, "no place for"),
        ({"resolution": (8, 8)}, {}, r"resolution \(8, 8\) and \(24, 32\) is asked for"),
        ({}, {"action_dim": 3}, "action width 7 and 3 is asked for"),
    ],
)
def test_models_that_the_interface_cannot_carry(
    glide: Any, spec: dict[str, Any], service: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInputError, match=said), serving_http(glide(**spec), config(**service)):
        pass


def test_whole_chunks_only(glide: Any, clip: Clip) -> None:
    class Chunks(glide):  # type: ignore[misc]
        def start(self, context: torch.Tensor, **rest: Any) -> Any:
            session = super().start(context, **rest)
            step = session.step

            def strict(actions: torch.Tensor) -> torch.Tensor:
                assert actions.shape[1] % 4 == 0
                frames: torch.Tensor = step(actions)
                return frames

            session.step = strict
            return session

    model = Chunks(native_chunk=4, any_chunk=False)
    with serving_http(model, config()) as address:
        status, answer, _ = call(address, "/v1/predict", request(clip, count=3))
    assert status == 200
    assert len(answer["predictions"][0]["frames"]) == 3


def test_seeds_are_folded() -> None:
    assert [fold_seed(seed) for seed in (0, 7, 2**31 - 1)] == [0, 7, 2**31 - 1]
    folded = {fold_seed(seed) for seed in range(2**31, 2**31 + 1000)}
    assert len(folded) > 990
    assert all(0 <= seed < 2**31 for seed in folded)


class Last:
    """Needs nothing but the last frame: the same stepped with or without a memory."""

    spec = ModelSpec(
        name="last", resolution=(24, 32), action_space=ActionSpace(dim=7, embodiment="a")
    )

    def start(self, context: torch.Tensor, *, seed: int, instruction: str | None = None) -> Any:
        class Session:
            frame = context[:, -1].float()

            def step(self, actions: torch.Tensor) -> torch.Tensor:
                frames = []
                for k in range(actions.shape[1]):
                    shift = torch.tanh(actions[:, k].sum(1))[:, None, None, None] * 30
                    self.frame = ((self.frame + shift) % 256).floor()
                    frames.append(self.frame.to(torch.uint8))
                return torch.stack(frames, dim=1)

            def close(self) -> None: ...

        return Session()


def test_our_client_and_our_server_give_the_models_frames(clip: Clip) -> None:
    context, actions = clip
    with serving_http(Last(), config(max_batch=1, max_prediction=4)) as address:
        remote = load_model(address, {"embodiment": "a", "frame_rate": "10"})
        assert remote.spec.resolution == (24, 32)
        assert (remote.spec.native_chunk, remote.spec.any_chunk) == (4, True)
        assert remote.spec.action_space == Last.spec.action_space
        assert remote.spec.frame_rate == 10
        here, there = Last().start(context, seed=1), remote.start(context, seed=1)
        for part in actions.split([1, 9, 2], dim=1):
            assert torch.equal(here.step(part), there.step(part))
        there.close()
        with pytest.raises(BadInputError, match="closed session"):
            there.step(actions)


def test_the_first_step_is_the_models_own_seed_and_later_ones_differ(
    glide: Any, clip: Clip
) -> None:
    context, actions = clip
    with serving_http(glide(), config()) as address:
        remote = connect(address)
        session = remote.start(context, seed=3, instruction="pick")
        expected = glide().start(context, seed=3, instruction="pick").step(actions)
        first = session.step(actions)
        assert torch.equal(first, expected)
        later = glide().start(first[:, -1:], seed=3, instruction="pick").step(actions)
        assert not torch.equal(session.step(actions), later)


class Recorded:
    """A service of somebody else: it answers as told, and keeps what it was asked."""

    def __init__(self, **profile: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.profile = {
            "profile_id": "p", "image": png(torch.zeros(3, 24, 32, dtype=torch.uint8)),
            "context_frames": {"min": 1, "max": 3}, "prediction_frames": {"min": 1, "max": 2},
            "action": {"dtype": "float32", "dimension": 7, "representation": "abs7"}, **profile,
        }  # fmt: skip
        self.status: Any = "ready"
        self.faults: list[tuple[int, dict[str, str]]] = []
        self.change: Callable[[dict[str, Any]], object] = lambda answer: None

    def get(self, path: str) -> dict[str, Any]:
        version = {"api_version": "1.0", "model_version": "wm"}
        if path == "/v1/health":
            return {"status": self.status, **version}
        return {
            **version, "profiles": [self.profile],
            "limits": {"max_batch_size": 8, "max_request_bytes": 10**7, "max_concurrency": 1,
                       "recommended_timeout_ms": 1000},
            "determinism": {"seed_supported": True, "same_seed_same_pixels": True},
        }  # fmt: skip

    def post(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(asked)
        predictions = []
        for sample in asked["samples"]:
            last = unpng(sample["context"]["frames"][-1]).int()
            frames = [
                png(((last + k + 1) % 256).to(torch.uint8)) for k in range(len(sample["actions"]))
            ]
            predictions.append({"sample_id": sample["sample_id"], "frames": frames})
        answer = {
            "api_version": "1.0", "request_id": asked["request_id"], "model_version": "wm",
            "predictions": predictions, "diagnostics": {"ignored": True},
        }  # fmt: skip
        self.change(answer)
        return answer


@contextlib.contextmanager
def running(service: Recorded) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, service.get(self.path), {})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if service.faults:
                status, headers = service.faults.pop(0)
                service.asked.append(asked)
                self.reply(status, {"unlike": "the format"}, headers)
            else:
                self.reply(200, service.post(asked), {})

        def reply(self, status: int, content: Any, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_the_client_keeps_the_history(clip: Clip) -> None:
    context, actions = clip
    service = Recorded(instruction={"supported": True})
    with running(service) as address:
        session = connect(address).start(context, seed=5, instruction="pick")
        frames = torch.cat([session.step(part) for part in actions[:, :5].split([1, 4], 1)], dim=1)
    assert frames.shape == (2, 5, 3, 24, 32)
    assert len(service.asked) == 3
    whole = torch.cat([context, frames], dim=1)
    rows = actions.tolist()
    for asked, first, count in zip(service.asked, (0, 1, 3), (1, 2, 2), strict=True):
        for k, sample in enumerate(asked["samples"]):
            told = torch.stack([unpng(image) for image in sample["context"]["frames"]])
            oldest = max(0, first - 2)
            assert torch.equal(told, whole[k, oldest : first + 1])
            assert sample["context"]["actions"] == rows[k][oldest:first]
            assert sample["actions"] == rows[k][first : first + count]
            assert sample["context"]["instruction"] == "pick"
            assert sample["seed"] == 5 + first * 2**31
    assert len({asked["request_id"] for asked in service.asked}) == 3


def test_actions_that_nobody_knows_are_not_made_up_in_silence(clip: Clip) -> None:
    service = Recorded(context_frames={"min": 3, "max": 3}, prediction_frames={"min": 2, "max": 2})
    with running(service) as address:
        with pytest.raises(BadInputError, match="add history_actions=zeros"):
            connect(address)
        remote = connect(address, history_actions="zeros")
        assert (remote.spec.context_frames, remote.spec.any_chunk) == (3, False)
        session = remote.start(clip[0].expand(-1, 3, -1, -1, -1), seed=0)
        with pytest.raises(BadInputError, match="multiples of 2 only"):
            session.step(clip[1][:, :1])
        session.step(clip[1][:, :4])
    first, second = (asked["samples"][0] for asked in service.asked)
    assert first["context"]["actions"] == [[0.0] * 7] * 2
    assert second["context"]["actions"] == clip[1][0, :2].tolist()
    assert first["context"]["instruction"] is None


def test_lost_requests_are_repeated_under_their_id(clip: Clip) -> None:
    service = Recorded()
    service.faults = [(503, {}), (429, {"Retry-After": "0"})]
    with running(service) as address:
        connect(address).start(clip[0], seed=0).step(clip[1][:, :1])
        assert len({asked["request_id"] for asked in service.asked}) == 1
        assert len(service.asked) == 3
        service.faults = [(503, {"Retry-After": "0"})] * 9
        with pytest.raises(BadInputError, match="with HTTP 503; is it a Track 2 service"):
            connect(address).start(clip[0], seed=0).step(clip[1][:, :1])
        assert len(service.faults) == 5
        service.faults = [(400, {})]
        with pytest.raises(BadInputError, match="with HTTP 400"):
            connect(address).start(clip[0], seed=0).step(clip[1][:, :1])
        service.faults = [(307, {"Location": "http://127.0.0.1:1/"})]
        with pytest.raises(BadInputError, match="with HTTP 307"):
            connect(address).start(clip[0], seed=0).step(clip[1][:, :1])


def first_frames(answer: dict[str, Any]) -> Any:
    return answer["predictions"][0]["frames"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: first_frames(a).pop(), "0 frames to 1 actions"),
        (lambda a: a["predictions"].pop(), "answered samples"),
        (lambda a: a["predictions"].reverse(), "answered samples"),
        (lambda a: a.update(request_id=str(uuid.uuid4())), "another request_id"),
        (lambda a: a.update(model_version="other"), "another model_version"),
        (lambda a: first_frames(a)[0].update(data="AAAA"), "bad image: the data is no PNG"),
        (lambda a: first_frames(a)[0].update(height=25), "bad image: the image says 25x32"),
        (lambda a: a.pop("predictions"), "no PredictResponse: the field predictions"),
    ],
    ids=["count", "sample", "order", "request", "model", "png", "size", "field"],
)
def test_services_that_misbehave(clip: Clip, change: Any, said: str) -> None:
    service = Recorded()
    with running(service) as address:
        service.change = change
        with pytest.raises(BadInputError, match=f"the service at {address} .*{said}"):
            connect(address).start(clip[0], seed=0).step(clip[1][:, :1])


def test_a_hang_is_timed_out(clip: Clip) -> None:
    service = Recorded()
    stuck = threading.Event()
    with running(service) as address:
        remote = connect(address)
        remote.wire = replace(remote.wire, timeout=0.4)
        service.change = lambda answer: stuck.wait(PATIENCE)
        with pytest.raises(BadInputError, match=r"did not answer /v1/predict within 0\.4 s"):
            remote.start(clip[0], seed=0).step(clip[1][:, :1])
        stuck.set()


def test_services_that_do_not_fit() -> None:
    service = Recorded()
    with running(service) as address:
        with pytest.raises(BadInputError, match="has no profile q; it has p"):
            connect(address, profile="q")
        service.status = "starting"
        with pytest.raises(BadInputError, match="is starting; try again"):
            connect(address)
        service.status = "asleep"
        with pytest.raises(BadInputError, match="no Health: the field status"):
            connect(address)
