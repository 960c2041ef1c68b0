"""What the wire adds to a step: the same model in this process, over the wire and over HTTP.

The model answers at once with frames that it holds, so what is timed is transport alone.
"""

from typing import Any

import pytest
import torch

from dojobench.protocol import ActionSpace, ModelSpec
from dojobench.protocol.client import connect
from dojobench.protocol.http_client import connect as connect_http
from dojobench.protocol.http_predict import ServiceProfile
from dojobench.protocol.http_track2 import HttpConfig, serving_http
from dojobench.protocol.server import serving

SIZES = {"64x64x12": (64, 64), "480x640x12": (480, 640)}
STEP = 12


class _Instant:
    """Answers with frames made beforehand: noise over soft colours, as a camera's are."""

    def __init__(self, resolution: tuple[int, int]) -> None:
        self.spec = ModelSpec(
            name="instant",
            resolution=resolution,
            action_space=ActionSpace(dim=7, embodiment="arm"),
        )
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(STEP, 3, 8, 8, generator=generator) * 200
        smooth = torch.nn.functional.interpolate(coarse, size=resolution, mode="bilinear")
        noise = torch.rand(smooth.shape, generator=generator) * 8
        self.frames = (smooth + noise).to(torch.uint8)[None]

    def start(
        self, context: torch.Tensor, *, seed: int, instruction: str | None = None
    ) -> "_Instant":
        return self

    def step(self, actions: torch.Tensor) -> torch.Tensor:
        return self.frames

    def close(self) -> None:
        return None


def _steps(benchmark: Any, session: Any, expected: torch.Tensor, rounds: int) -> None:
    actions = torch.zeros(1, STEP, 7)
    frames = benchmark.pedantic(session.step, args=(actions,), rounds=rounds, warmup_rounds=2)
    assert torch.equal(frames, expected)


@pytest.mark.parametrize("size", SIZES)
def test_in_process(benchmark: Any, size: str) -> None:
    """The floor: a call."""
    model = _Instant(SIZES[size])
    _steps(benchmark, model, model.frames, 50)


@pytest.mark.parametrize("size", SIZES)
def test_wire(benchmark: Any, size: str) -> None:
    """Required: under 5 ms at 64x64 and under 100 ms at 480x640, on a busy machine too."""
    model = _Instant(SIZES[size])
    context = model.frames[:, :1]
    with serving(model) as address, connect(address) as remote:
        _steps(benchmark, remote.start(context, seed=0), model.frames, 50)
    assert benchmark.stats.stats.median < (0.005 if size == "64x64x12" else 0.1)


@pytest.mark.parametrize("size", SIZES)
def test_track2(benchmark: Any, size: str) -> None:
    """For comparison: JSON and PNG, which a Track 2 service must speak."""
    model = _Instant(SIZES[size])
    config = HttpConfig(port=0, service=ServiceProfile(max_context=1))
    with serving_http(model, config) as address:
        session = connect_http(address).start(model.frames[:, :1], seed=0)
        _steps(benchmark, session, model.frames, 5)
