"""What the harness adds to a model that takes 100 ms a step: decoding, comparing, recording."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dojobench.benchmarks.runner import RunConfig, run_benchmark
from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.datasets.formats import open_source
from dojobench.datasets.freeze import FreezePlan, freeze
from dojobench.datasets.manifest import write_manifest
from dojobench.datasets.suites import open_suite
from dojobench.protocol import Actions, Frames, ModelSpec

STEP_SECONDS = 0.1
CLIPS, FRAMES, SIZE = 3, 49, (256, 256)


class Sleeper:
    """Answers one frame a step after a tenth of a second, the harness's hardest case."""

    spec = ModelSpec(name="sleeper", native_chunk=1)

    def start(self, context: Frames, *, seed: int, instruction: str | None = None) -> "Sleeper":
        """Keeps the context."""
        self._last = context[:, -1:]
        return self

    def step(self, actions: Actions) -> Frames:
        """Sleeps and repeats the last context frame."""
        time.sleep(STEP_SECONDS)
        return self._last.expand(-1, actions.shape[1], -1, -1, -1)

    def close(self) -> None:
        """Holds nothing."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three clips of 49 frames, 256x256, compressed as real ones are."""
    folder = tmp_path_factory.mktemp("overhead") / "clips"
    for number in range(CLIPS):
        generator = torch.Generator().manual_seed(number)
        picture = torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8)
        large = picture.repeat_interleave(8, 1).repeat_interleave(8, 2)
        with VideoWriter(folder / f"{number}.mp4", rate=10, resolution=SIZE) as writer:
            writer.write(torch.stack([large.roll(frame, 2) for frame in range(FRAMES)]))
    plan = FreezePlan(name="overhead", embodiment="none", frames=FRAMES)
    frozen = freeze(open_source(folder), plan)
    write_manifest(folder.parent / "overhead.jsonl", frozen.header, frozen.clips)
    return open_suite(str(folder.parent / "overhead.jsonl"), data=folder.parent)


def test_overhead(benchmark: Any, suite: Any, tmp_path: Path) -> None:
    """Required: a run takes under 5 % longer than the model alone, everything included."""
    alone = time.perf_counter()
    for record in suite.clips:
        session = Sleeper().start(torch.zeros(1, 1, 3, *SIZE, dtype=torch.uint8), seed=0)
        for _ in range(record.frames - 1):
            session.step(torch.zeros(1, 1, 0))
    alone = time.perf_counter() - alone

    def run() -> None:
        config = RunConfig(
            model="sleeper",
            suite="overhead",
            out=tmp_path / str(time.monotonic_ns()),
            metrics=("psnr", "ssim"),
            baselines=(),
            videos="none",
        )
        run_benchmark(config, suite=suite, model=Sleeper())

    benchmark.pedantic(run, rounds=2)
    added = benchmark.stats.stats.min / alone - 1
    benchmark.extra_info["added_share"] = added
    assert added < 0.05
