"""Suites small enough to be made in memory, with clips whose motion and actions are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dojobench.datasets.suite import ClipRecord, SuiteSpec
from dojobench.protocol import ActionSpace, ModelSpec


class MemoryClip:
    def __init__(self, record: ClipRecord, frames: torch.Tensor, actions: torch.Tensor) -> None:
        self.record, self.frames, self.actions = record, frames, actions

    def read(self, start: int, stop: int, *, view: str | None = None) -> torch.Tensor:
        assert 0 <= start < stop <= self.record.frames
        frames = self.frames[start:stop]
        return frames if view is None else frames.flip(-1)

    def close(self) -> None:
        pass


class MemorySuite:
    """Clips of a bright square on a textured ground; actions are its moves in pixels."""

    def __init__(
        self,
        *,
        clips: int = 4,
        train: int = 3,
        frames: int = 9,
        context: int = 2,
        size: tuple[int, int] = (32, 40),
        views: tuple[str, ...] = (),
    ) -> None:
        self.spec = SuiteSpec(
            name="memory",
            version=f"sha256:memory-{clips}-{frames}",
            resolution=size,
            frame_rate=10.0,
            context_frames=context,
            action_space=ActionSpace(dim=2, embodiment="arm", kind="velocity"),
            views=views,
        )
        self._made: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        records = []
        for number in range(clips + train):
            split = "train" if number < train else "val"
            record = ClipRecord(
                id=f"clip-{number:02d}",
                source="memory",
                revision="0",
                # Two clips an episode, so that resampling episodes is not resampling clips.
                episode=str(number // 2 if split == "val" else 100 + number),
                start=0,
                stride=1,
                frames=frames,
                split=split,
                embodiment="arm",
                camera="main",
                instruction="move the square",
            )
            records.append(record)
            self._made[record.id] = self._make(number, frames, size)
        self.clips = tuple(records)

    @staticmethod
    def _make(number: int, frames: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(number)
        ground = torch.randint(40, 120, (3, *size), generator=generator, dtype=torch.uint8)
        actions = torch.randint(-2, 3, (frames - 1, 2), generator=generator).float()
        places = torch.cat([torch.tensor([[8.0, 8.0]]), 8 + actions.cumsum(0)]).long() % 24
        video = ground.repeat(frames, 1, 1, 1)
        for frame, (row, column) in zip(video, places.tolist(), strict=True):
            frame[:, row : row + 6, column : column + 6] = 230
        return video, actions

    def open(self, clip: ClipRecord) -> MemoryClip:
        return MemoryClip(clip, *self._made[clip.id])

    def with_clips(self, change: Callable[[ClipRecord], ClipRecord | None]) -> "MemorySuite":
        self.clips = tuple(c for c in map(change, self.clips) if c is not None)
        return self

    def spoil_actions(self, clip: str, row: int, column: int, value: float) -> None:
        self._made[clip][1][row, column] = value

    def with_spec(self, **changes: object) -> "MemorySuite":
        self.spec = replace(self.spec, **changes)
        return self


@pytest.fixture(scope="session")
def memory_suite() -> Callable[..., MemorySuite]:
    """Makes suites in memory."""
    return MemorySuite


class SquareMover:
    """Moves the bright square as the actions say and fills in grey where it was."""

    def __init__(self, name: str, *, follows: bool = True) -> None:
        self.spec = ModelSpec(name=name, version="1")
        self.follows = follows

    def start(self, context: torch.Tensor, *, seed: int, instruction: str | None = None) -> Any:
        return _SquareSession(context[:, -1], seed if self.follows else None)


class _SquareSession:
    def __init__(self, frame: torch.Tensor, seed: int | None) -> None:
        self.square = (frame == 230).all(dim=1, keepdim=True)
        self.ground = torch.where(self.square, torch.full_like(frame, 80), frame)
        self.seed = seed

    def step(self, actions: torch.Tensor) -> torch.Tensor:
        frames = []
        for k in range(actions.shape[1]):
            if self.seed is not None:
                moves = [(int(a[0]), int(a[1])) for a in actions[:, k]]
                pairs = zip(self.square, moves, strict=True)
                self.square = torch.stack([s.roll(m, dims=(-2, -1)) for s, m in pairs])
            bright = torch.full_like(self.ground, 225 - (self.seed or 0))
            frames.append(torch.where(self.square, bright, self.ground))
        return torch.stack(frames, dim=1)

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def report_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs a model on clips made in memory and gives its run folder."""
    from dojobench.benchmarks.baselines import make_baseline
    from dojobench.benchmarks.runner import RunConfig, run_benchmark

    def make(
        name: str = "mover", *, follows: bool = True, suite: Any = None, **changes: Any
    ) -> Path:
        known = name in ("hold", "oracle", "garbage", "lag-2")
        model = make_baseline(name) if known else SquareMover(name, follows=follows)
        folder = tmp_path_factory.mktemp("run")
        fields: dict[str, Any] = {
            "model": name if known else "my_lab.models:make",
            "suite": "memory",
            "out": folder / "run",
            "metrics": ("psnr", "ssim", "lpips_vgg"),
            "weights": folder,  # empty, so that LPIPS has to say why there is no number
            "baselines": ("hold",),
            "checks": 2,
            "videos": "all",
        }
        suite = suite or MemorySuite(clips=8)
        return run_benchmark(RunConfig(**fields | changes), suite=suite, model=model)

    return make
