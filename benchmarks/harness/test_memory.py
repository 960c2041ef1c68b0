"""How much memory a 600-frame rollout at 480x640 takes, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LIMIT_GIB = 1.5

PROGRAM = """
import json, resource, sys
from pathlib import Path

import torch

from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.datasets.formats import open_source
from dojobench.datasets.freeze import FreezePlan, freeze
from dojobench.datasets.manifest import write_manifest

root, frames, size = Path(sys.argv[1]), 600, (480, 640)
picture = torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8)
picture = picture.repeat_interleave(8, 1).repeat_interleave(8, 2)
with VideoWriter(root / "clips" / "long.mp4", rate=10, resolution=size) as writer:
    for frame in range(frames):
        writer.write(picture.roll(frame, 2)[None])
frozen = freeze(
    open_source(root / "clips"),
    FreezePlan(name="long", embodiment="none", frames=frames),
)
write_manifest(root / "long.jsonl", frozen.header, frozen.clips)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run_benchmark(
    RunConfig(
        model="hold",
        suite=str(root / "long.jsonl"),
        data=root,
        out=root / "run",
        metrics=("psnr", "ssim"),
        baselines=(),
        videos="selected",
    )
)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"before": before / 2**20, "peak": after / 2**20}))
"""


def test_long_rollout(benchmark: Any, tmp_path: Path) -> None:
    """Required: the whole process stays within 1.5 GiB, imports and video writing included."""
    peaks: list[dict[str, float]] = []

    def run() -> None:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(json.loads(done.stdout.splitlines()[-1]))

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["peak_gib"] = peaks[0]["peak"]
    assert peaks[0]["peak"] < LIMIT_GIB
