"""What bad input gets on the command line: one sentence, exit code 2, nothing half-written."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from websockets.sync.server import ServerConnection, serve

from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.cli import main
from dojobench.protocol.codec import pack, unpack

MODELS = '''
from dataclasses import replace

import torch

from dojobench.protocol import ActionSpace, ModelSpec


class Still:
    """Repeats the last frame, and then does to it what a test wants."""

    def __init__(self, change=lambda frames: frames, **spec):
        self.spec = ModelSpec(name="still", **spec)
        self.change = change

    def start(self, context, *, seed, instruction=None, views=None):
        self.frame = context[:, -1:]
        return self

    def step(self, actions):
        return self.change(self.frame.repeat(1, actions.shape[1], 1, 1, 1))

    def close(self):
        pass


def out_of_memory(frames):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def fit():
    return Still()


def larger():
    return Still(resolution=(64, 64))


def slower():
    return Still(frame_rate=5.0)


def seven():
    return Still(action_space=ActionSpace(dim=7, embodiment="arm"))


def other_robot():
    return Still(action_space=ActionSpace(dim=2, embodiment="gr1"))


def more_context():
    return Still(context_frames=4)


def two_cameras():
    return Still(views=("wrist",))


def nan():
    return Still(lambda frames: frames.float() * float("nan"))


def floats():
    return Still(lambda frames: frames.float())


def short():
    return Still(lambda frames: frames[:, :-1])


def greedy():
    return Still(out_of_memory)
'''

Broken = Callable[[Path], None]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's folder: three clips, frozen, and models; it is the current one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(3):
        pictures = torch.from_numpy(rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))
        with VideoWriter(tmp_path / f"clips/{number}.mp4", rate=10, resolution=(32, 32)) as writer:
            writer.write(pictures)
        write_actions(tmp_path / f"clips/{number}.parquet", rng.normal(size=(8, 2)))
    Path("bad_models.py").write_text(MODELS)
    assert freeze() == 0
    return tmp_path


def write_actions(path: Path, rows: Any) -> None:
    pd.DataFrame({"action": list(np.asarray(rows, dtype=np.float32))}).to_parquet(path)


def freeze(*more: str, out: str = "clips.jsonl") -> int:
    return main(["data", "freeze", "clips", "--embodiment", "arm", "--frames", "8", "--lead", "0",
                 "--out", out, *more])  # fmt: skip


def run(model: str = "hold", *more: str, suite: str = "clips.jsonl") -> int:
    return main(["run", model, *more, "--suite", suite, "--out", "r", "--metrics", "psnr"])


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The one sentence that was said, once it is sure that nothing else was."""
    told = capsys.readouterr().err
    sentences = [line for line in told.splitlines() if line.startswith("dojobench: ")]
    assert code == 2, told
    assert len(sentences) == 1, told
    assert "Traceback" not in told
    assert not list(Path().rglob("*.tmp"))
    assert not list(Path().rglob("summary.json"))
    return sentences[0]


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("larger", ("64x64", "32x32", "--adapt resize")),
        ("slower", ("5 Hz", "10 Hz")),
        ("seven", ("7", "2")),
        ("other_robot", ("gr1", "arm")),
        ("more_context", ("4", "1")),
        ("two_cameras", ("wrist",)),
    ],
)
def test_a_spec_that_does_not_fit(
    lab: Path, capsys: pytest.CaptureFixture[str], model: str, values: tuple[str, ...]
) -> None:
    said = refused(capsys, run(f"bad_models:{model}"))
    assert all(value in said for value in values), said
    assert not Path("r").exists()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("nan", "NaN"),
        ("floats", "float32 instead of uint8"),
        ("short", "6 frames to 7 actions"),
    ],
)
def test_frames_that_are_none(
    lab: Path, capsys: pytest.CaptureFixture[str], model: str, expected: str
) -> None:
    said = refused(capsys, run(f"bad_models:{model}"))
    assert expected in said
    assert "still" in said
    assert Path("r/records.jsonl").read_bytes() == b""


def test_an_out_of_memory_batch_says_which_size_to_try(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "try --batch 1" in refused(capsys, run("bad_models:greedy", "--batch", "3"))
    said = refused(capsys, run("bad_models:greedy", "--batch", "1"))
    assert "--batch 1; with one clip" in said


def missing(lab: Path) -> None:
    (lab / "clips/1.mp4").unlink()


def truncated(lab: Path) -> None:
    video = lab / "clips/1.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])


def emptied(lab: Path) -> None:
    (lab / "clips/1.mp4").write_bytes(b"")


def swapped(lab: Path) -> None:
    (lab / "clips/1.mp4").write_bytes((lab / "clips/2.mp4").read_bytes())


def no_actions(lab: Path) -> None:
    (lab / "clips/1.parquet").unlink()


def nan_actions(lab: Path) -> None:
    rows = np.ones((8, 2))
    rows[5, 1] = np.nan
    write_actions(lab / "clips/1.parquet", rows)


def wide_actions(lab: Path) -> None:
    write_actions(lab / "clips/1.parquet", np.ones((8, 3)))


def few_actions(lab: Path) -> None:
    write_actions(lab / "clips/1.parquet", np.ones((5, 2)))


@pytest.mark.parametrize(
    ("spoil", "freezing", "running"),
    [
        (missing, None, "1"),
        (truncated, "1.mp4", "1.mp4"),
        (emptied, "1.mp4", "1.mp4"),
        (swapped, None, "clips-1-0"),
        (no_actions, "1", "1"),
        (nan_actions, "NaN", "NaN"),
        (wide_actions, "3", "3"),
        (few_actions, "5", "5"),
    ],
)
def test_data_that_are_damaged(
    lab: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Broken,
    freezing: str | None,
    running: str,
) -> None:
    spoil(lab)
    capsys.readouterr()
    said = refused(capsys, run())
    assert running in said
    if freezing is not None:
        said = refused(capsys, freeze(out="again.jsonl"))
        assert freezing in said
        assert not Path("again.jsonl").exists()


def edit(change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the second clip of the manifest, as an editor would."""
    path = Path("clips.jsonl")
    lines = path.read_text().splitlines()
    clip = json.loads(lines[2])
    change(clip)
    lines[2] = json.dumps(clip)
    path.write_text("\n".join(lines) + "\n")


def test_a_manifest_that_was_edited(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = f"sha256:{sha256(Path('clips.jsonl').read_bytes()).hexdigest()}"
    edit(lambda clip: clip.update(frames=7))
    said = refused(capsys, run(suite=f"clips.jsonl@{version}"))
    assert version in said
    assert said.count("sha256:") == 2
    assert not Path("r").exists()
    said = refused(capsys, run())
    assert "clips-1-0" in said
    assert said.count("sha256:") == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("start", -1), ("frames", "many"), ("sha256", "none"), ("colour", "red"), ("id", "../x")],
)
def test_a_manifest_with_a_field_that_is_none(
    lab: Path, capsys: pytest.CaptureFixture[str], field: str, value: Any
) -> None:
    edit(lambda clip: clip.update({field: value}))
    said = refused(capsys, run())
    assert f"clips.jsonl:3:{field}" in said
    assert not Path("r").exists()


def test_a_run_folder_of_another_suite(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bad_models:fit") == 0
    before = {path: path.read_bytes() for path in Path("r").rglob("*") if path.is_file()}
    assert freeze("--limit", "2", out="other.jsonl") == 0
    capsys.readouterr()
    assert run("bad_models:fit", suite="other.jsonl") == 2
    said = capsys.readouterr().err
    assert "r holds another run (suite.name: clips, now other)" in said
    assert len(said.splitlines()) == 1
    assert {path: path.read_bytes() for path in Path("r").rglob("*") if path.is_file()} == before


def test_a_folder_of_something_else(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r").mkdir()
    Path("r/thesis.tex").write_text("years of work")
    assert "thesis.tex" in refused(capsys, run())
    assert [path.name for path in Path("r").iterdir()] == ["thesis.tex"]


@contextmanager
def serving(answer: Callable[[dict[str, Any]], Any]) -> Iterator[str]:
    """A server that greets and starts as it should, and answers steps as ``answer`` says."""

    def handler(connection: ServerConnection) -> None:
        hello = {"type": "hello", "protocol": 1, "server": "x", "spec": {"name": "far"}}
        connection.send(pack(hello | {"limits": {}}))
        connection.recv()
        for data in connection:
            assert isinstance(data, bytes)
            request = unpack(data)
            kind = {"start": "started", "close": "closed"}.get(request["type"])
            if kind is None:
                connection.send(pack({"type": "frames", "id": request["id"]} | answer(request)))
            else:
                connection.send(pack({"type": kind, "id": request["id"], "session": "1"}))

    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(5)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (np.zeros((1, 5, 3, 32, 32), dtype=np.uint8), "5 frames to 7 actions"),
        (np.zeros((1, 7, 3, 32, 32), dtype=np.float32), "float32 instead of uint8"),
        (np.full((1, 7, 3, 32, 32), np.nan, dtype=np.float32), "float32 instead of uint8"),
        (np.zeros((1, 7, 3, 16, 32), dtype=np.uint8), "(1, 7, 3, 16, 32)"),
    ],
)
def test_a_server_that_misbehaves(
    lab: Path, capsys: pytest.CaptureFixture[str], frames: Any, expected: str
) -> None:
    with serving(lambda request: {"frames": frames}) as address:
        said = refused(capsys, run(address))
    assert address in said
    assert expected in said


def test_a_server_that_hangs(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enough = threading.Event()

    def never(request: dict[str, Any]) -> dict[str, Any]:
        enough.wait(600)
        return {}

    with serving(never) as address:
        said = refused(capsys, run(address, "timeout=0.3"))
        enough.set()
    assert f"{address} did not answer within 0.3 s" in said


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_server_that_is_not_there(
    lab: Path, capsys: pytest.CaptureFixture[str], scheme: str
) -> None:
    said = refused(capsys, run(f"{scheme}://127.0.0.1:9"))
    assert f"{scheme}://127.0.0.1:9 cannot be reached" in said
    assert not Path("r").exists()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: (folder / "clips-1-0.npz").unlink(), "clips-1-0"),
        (lambda folder: (folder / "clips-1-0.npz").rename(folder / "one.npz"), "one.npz"),
        (lambda folder: (folder / "notes.npz").write_bytes(b"more"), "notes.npz"),
        (lambda folder: (folder / "clips-1-0.npz").write_bytes(b"PK"), "clips-1-0.npz"),
        (
            lambda folder: np.savez(
                folder / "clips-1-0.npz", frames=np.zeros((5, 32, 32, 3), "u1")
            ),
            "clips-1-0.npz has 5 frames",
        ),
        (
            lambda folder: np.savez(folder / "clips-1-0.npz", frames=np.zeros((7, 8, 8, 3), "u1")),
            "clips-1-0.npz is 8x8 and clip clips-1-0 is 32x32",
        ),
        (
            lambda folder: np.savez(folder / "clips-1-0.npz", frames=np.zeros((7, 32, 32, 3))),
            "float64",
        ),
    ],
    ids=["missing", "misnamed", "extra", "damaged", "short", "small", "floats"],
)
def test_predictions_that_do_not_fit(
    lab: Path, capsys: pytest.CaptureFixture[str], spoil: Broken, expected: str
) -> None:
    Path("made").mkdir()
    for number in range(3):
        np.savez(f"made/clips-{number}-0.npz", frames=np.zeros((7, 32, 32, 3), np.uint8))
    spoil(lab / "made")
    said = refused(capsys, main(["score", "made", "--suite", "clips.jsonl", "--out", "r"]))
    assert expected in said
    assert not Path("r").exists()
