"""Fixtures that encode videos whose every frame says its number."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

BITS = 10
BLOCK = 16


def _coded_frame(number: int, height: int) -> np.ndarray:
    """A moving grey texture under one row of blocks: black or white, the bits of the number."""
    x = np.arange(BITS * BLOCK)[None, :] + 3 * number
    y = np.arange(height)[:, None] - 2 * number
    grey = (128 + 60 * np.sin(x / 7.0) * np.cos(y / 5.0)).astype(np.uint8)
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    for bit in range(BITS):
        value = 255 if number >> bit & 1 else 0
        picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = value
    return picture


@pytest.fixture(scope="session")
def read_codes() -> Callable[[torch.Tensor], list[int]]:
    """Reads the number that each frame ``[n, 3, height, width]`` shows."""

    def read(frames: torch.Tensor) -> list[int]:
        blocks = frames[:, :, 4 : BLOCK - 4].float().mean(dim=(1, 2))
        blocks = blocks.reshape(len(frames), BITS, BLOCK)[:, :, 4:-4].mean(dim=2)
        assert ((blocks < 60) | (blocks > 195)).all(), "a frame's code is not legible"
        return [sum(1 << bit for bit in range(BITS) if row[bit] > 127) for row in blocks.tolist()]

    return read


@pytest.fixture(scope="session")
def encode_video() -> Callable[..., Path]:
    """Encodes frames that show their numbers.

    Arguments: path, numbers (a count or the numbers themselves), and optionally codec, rate,
    options, pts (in units of ``1 / rate / 10``), key_every, height, pix_fmt, container options.
    """

    def encode(
        path: Path,
        numbers: int | Sequence[int],
        *,
        codec: str = "libx264",
        rate: int = 20,
        options: dict[str, str] | None = None,
        pts: Sequence[int] | None = None,
        keys: Sequence[int] = (),
        height: int = 32,
        pix_fmt: str = "yuv420p",
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        sequence = range(numbers) if isinstance(numbers, int) else numbers
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=rate, options=options or {})
            stream.width, stream.height, stream.pix_fmt = BITS * BLOCK, height, pix_fmt
            if pts is not None:
                stream.codec_context.time_base = Fraction(1, rate * 10)
            for place, number in enumerate(sequence):
                frame = av.VideoFrame.from_ndarray(_coded_frame(number, height), format="rgb24")
                if pts is not None:
                    frame.time_base = Fraction(1, rate * 10)
                    frame.pts = pts[place]
                else:
                    frame.pts = place
                if place in keys:
                    frame.pict_type = av.video.frame.PictureType.I
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return encode


@pytest.fixture
def lerobot_v3(tmp_path: Path, encode_video: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a LeRobot v3.0 folder, several episodes in one table and one video file.

    Frame ``k`` of the dataset shows the number ``k`` in the first camera and ``k + 100`` in the
    second; its action is ``[k, episode, -k]``.
    """

    def write(
        lengths: Sequence[int] = (7, 12, 9),
        *,
        rate: int = 20,
        cameras: Sequence[str] = ("observation.images.top", "observation.images.wrist"),
        files: Sequence[int] | None = None,
        name: str = "dataset",
        **changes: Any,
    ) -> Path:
        root = tmp_path / name
        places = list(files or [0] * len(lengths))
        rows, episodes = _rows(lengths, places, rate, cameras)
        for number in sorted(set(places)):
            table = rows[np.asarray(places)[rows["episode_index"]] == number]
            _write_table(root / f"data/chunk-000/file-{number:03d}.parquet", table)
            for rank, camera in enumerate(cameras):
                codes = [int(k) + 100 * rank for k in table["index"]]
                video = root / f"videos/{camera}/chunk-000/file-{number:03d}.mp4"
                encode_video(video, codes, rate=rate, options={"bf": "2", "g": "8"})
        meta = root / "meta"
        (meta / "episodes/chunk-000").mkdir(parents=True)
        episode_file = meta / "episodes/chunk-000/file-000.parquet"
        pq.write_table(pa.Table.from_pylist(episodes), episode_file)
        import pandas as pd

        tasks = pd.DataFrame({"task_index": [0, 1]}, index=["stack the cups", "open the drawer"])
        tasks.to_parquet(meta / "tasks.parquet")
        (meta / "stats.json").write_text("{}")
        info = _info(lengths, rate, cameras) | changes
        (meta / "info.json").write_text(json.dumps(info))
        return root

    return write


def _rows(
    lengths: Sequence[int], places: Sequence[int], rate: int, cameras: Sequence[str]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    kind = [("index", "i8"), ("episode_index", "i8"), ("frame_index", "i8"), ("task_index", "i8")]
    rows = np.zeros(sum(lengths), dtype=kind)
    rows["index"] = np.arange(len(rows))
    rows["episode_index"] = np.repeat(np.arange(len(lengths)), lengths)
    rows["frame_index"] = np.concatenate([np.arange(length) for length in lengths])
    rows["task_index"] = rows["episode_index"] % 2
    episodes: list[dict[str, Any]] = []
    elapsed: dict[int, int] = {}
    first = 0
    for number, (length, place) in enumerate(zip(lengths, places, strict=True)):
        start = elapsed.get(place, 0)
        episode: dict[str, Any] = {
            "episode_index": number,
            "length": length,
            "tasks": [["stack the cups", "open the drawer"][number % 2]],
            "data/chunk_index": 0,
            "data/file_index": place,
            "dataset_from_index": first,
            "dataset_to_index": first + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for camera in cameras:
            episode[f"videos/{camera}/chunk_index"] = 0
            episode[f"videos/{camera}/file_index"] = place
            episode[f"videos/{camera}/from_timestamp"] = start / rate
            episode[f"videos/{camera}/to_timestamp"] = (start + length) / rate
        episodes.append(episode)
        elapsed[place] = start + length
        first += length
    return rows, episodes


def _write_table(path: Path, rows: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    actions = np.stack([rows["index"], rows["episode_index"], -rows["index"]], axis=1)
    columns = {name: rows[name] for name in rows.dtype.names}
    columns["timestamp"] = (rows["frame_index"] / 20).astype(np.float32)
    table = pa.table({"action": actions.astype(np.float32).tolist(), **columns})
    pq.write_table(table, path)


def _info(lengths: Sequence[int], rate: int, cameras: Sequence[str]) -> dict[str, Any]:
    features: dict[str, Any] = {
        "action": {"dtype": "float32", "shape": [3], "names": {"motors": ["a", "b", "c"]}},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }
    for camera in cameras:
        names = ["height", "width", "channel"]
        features[camera] = {"dtype": "video", "shape": [32, BITS * BLOCK, 3], "names": names}
    return {
        "codebase_version": "v3.0",
        "robot_type": "test",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 2,
        "chunks_size": 1000,
        "fps": rate,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }


@pytest.fixture(scope="module")
def tiny_dojo(tmp_path_factory) -> Iterator[Path]:
    """Makes ``dojo-mini`` a suite of seven short clips for a module; gives the cache's folder."""
    from dojobench.simulator.splits import SUITES

    counts = {"train": 1, "human": 1, "val": 2, "counterfactual": 1}
    tiny = replace(SUITES["dojo-mini"], counts=counts, frames=8, context=3, lead=(0, 2))
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "dojo-mini", tiny)
        patch.setenv("DOJOBENCH_CACHE", str(cache))
        patch.setenv("DOJOBENCH_WORKERS", "0")
        patch.delenv("DOJOBENCH_SECRET_SEED", raising=False)
        yield cache


@pytest.fixture(scope="module")
def tiny_manifest(tiny_dojo, tmp_path_factory) -> Path:
    """A frozen manifest of that suite."""
    from dojobench.datasets.dojo_freeze import FreezeDojo, freeze_dojo
    from dojobench.datasets.manifest import write_manifest

    path = tmp_path_factory.mktemp("tiny") / "tiny.jsonl"
    write_manifest(path, *freeze_dojo(FreezeDojo(suite="dojo-mini", name="tiny", workers=0)))
    return path
