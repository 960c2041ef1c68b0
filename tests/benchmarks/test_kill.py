"""A run killed with SIGKILL at any moment resumes and ends with the same result."""

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.benchmarks import cli
from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.datasets.formats import open_source
from dojobench.datasets.freeze import FreezePlan, freeze
from dojobench.datasets.manifest import write_manifest

CLIPS, FRAMES, SIZE = 12, 10, (48, 64)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Command line of a run over a folder of small videos with actions, half of it training."""
    root = tmp_path_factory.mktemp("killed")
    folder = root / "squares"
    for number in range(CLIPS):
        rng = np.random.default_rng(number)
        ground = torch.from_numpy(rng.integers(60, 100, (3, *SIZE), dtype=np.uint8))
        actions = rng.integers(-2, 3, (FRAMES, 1)).astype(np.float32)
        with VideoWriter(folder / f"{number:02d}.mp4", rate=10, resolution=SIZE) as writer:
            for frame in range(FRAMES):
                picture = ground.clone()
                left = int(20 + actions[:frame].sum()) % 50
                picture[:, 10:20, left : left + 10] = 220
                writer.write(picture[None])
        np.save(folder / f"{number:02d}.npy", actions)
    plan = FreezePlan(
        name="squares", embodiment="arm", frames=FRAMES, lead=0, splits={"train": 0.5, "val": 0.5}
    )
    frozen = freeze(open_source(folder), plan)
    write_manifest(root / "squares.jsonl", frozen.header, frozen.clips)
    return [
        *("hold", "--suite", str(root / "squares.jsonl"), "--data", str(root)),
        *("--seeds", "0", "1", "--batch", "2", "--metrics", "psnr", "ssim", "--videos", "all"),
        *("--baselines", "mean-future"),
    ]


def result(folder: Path) -> dict[str, Any]:
    """Everything in a run folder and its baselines but times and the machine."""
    found: dict[str, Any] = {}
    for summary in sorted(folder.rglob("summary.json")):
        content = json.loads(summary.read_text())
        content.pop("timings")
        found[str(summary.relative_to(folder))] = content
    for log in sorted(folder.rglob("records.jsonl")):
        records = [json.loads(line) for line in log.read_text().splitlines()]
        for record in records:
            record.pop("timings")
        found[str(log.relative_to(folder))] = records
    for video in sorted(folder.rglob("*.mp4")):
        found[str(video.relative_to(folder))] = video.read_bytes()
    found["files"] = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return found


def kill_and_resume(arguments: list[str], root: Path, kills: int, seed: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dojobench.benchmarks.runner"])

    def start(out: Path) -> Any:
        process = context.Process(target=cli.run, args=([*arguments, "--out", str(out)],))
        process.start()
        return process

    # The server of forks imports torch once, so that later processes start at once.
    warm = context.Process(target=time.sleep, args=(0,))
    warm.start()
    warm.join(600)
    began = time.monotonic()
    whole = start(root / "whole")
    whole.join(600)
    assert whole.exitcode == 0
    expected = result(root / "whole")
    assert len(expected["records.jsonl"]) >= 10
    longest = time.monotonic() - began

    rng, killed, attempt, moments = random.Random(seed), 0, 0, set()
    while True:
        folder = root / f"killed-{attempt}"
        process = start(folder)
        if killed < kills:
            process.join(rng.uniform(0, 0.7 * longest))
            if process.is_alive():
                process.kill()
                killed += 1
        process.join(600)
        assert process.exitcode in (0, -9)
        log = folder / "records.jsonl"
        moments.add(log.read_bytes().count(b"\n") if log.exists() else -1)
        if process.exitcode == 0:
            assert result(folder) == expected
            if killed == kills:
                break
            attempt += 1
    assert killed == kills
    assert kills < 20 or len(moments) > 3, "the kills fell on the same moments"


def test_three_kills(arguments: list[str], tmp_path: Path) -> None:
    kill_and_resume(arguments, tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_twenty_kills(arguments: list[str], tmp_path: Path) -> None:
    kill_and_resume(arguments, tmp_path, kills=20, seed=1)
