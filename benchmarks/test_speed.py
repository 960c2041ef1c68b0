"""Ready benchmark of speed: one step, timed beside a reference workload.

Run with ``pytest --pyargs dojobench.benchmarks --world-model … --suite …``; needs
pytest-benchmark, which ``pip install "dojobench[ci]"`` brings.
"""

import statistics
from pathlib import Path
from typing import Any

import pytest

from dojobench.benchmarks.pytest_plugin import plainly

pytest.importorskip("pytest_benchmark")

_ROUNDS, _WARMUP = 12, 2


def test_step(benchmark: Any, pytestconfig: pytest.Config, world_model: Any, suite: Any) -> None:
    """A step of the model's native chunk, batch 1; gated by ``--gate-speed-against``."""
    import torch

    from dojobench.benchmarks import relative_speed as speed
    from dojobench.benchmarks.compatibility import require_fit

    with plainly():
        require_fit(world_model.spec, suite.spec)
    device = torch.device(pytestconfig.getoption("--model-device"))
    reference, frames, step = speed.reference_workload(device), *_step(world_model, suite, device)
    references, steps = [], []

    def beside() -> None:
        references.append(speed.time_once(reference))

    def timed() -> None:
        steps.append(speed.time_once(step))

    benchmark.pedantic(timed, setup=beside, rounds=_ROUNDS + _WARMUP)
    if len(steps) <= _WARMUP:
        pytest.skip(
            "pytest-benchmark is disabled (as it is under pytest-xdist): speed needs rounds"
        )
    sample = speed.SpeedSample(
        model=world_model.spec.name,
        step_seconds=tuple(steps[_WARMUP:]),
        reference_seconds=tuple(references[_WARMUP:]),
        frames_per_step=frames,
    )
    benchmark.extra_info["frames_per_second"] = sample.frames_per_second
    benchmark.extra_info["frame_cost_in_reference_workloads"] = statistics.median(sample.ratios)
    _judge(pytestconfig, sample)


def _step(model: Any, suite: Any, device: Any) -> tuple[int, Any]:
    from dojobench.benchmarks.relative_speed import synchronize

    record = suite.clips[0]
    clip, context = suite.open(record), suite.spec.context_frames
    wanted = model.spec.context_frames
    frames = min(model.spec.native_chunk or record.frames - context, record.frames - context)
    shown = clip.read(context - wanted, context)[None].to(device)
    views = {
        view: clip.read(context - wanted, context, view=view)[None].to(device)
        for view in model.spec.views
    }
    more = {"views": views} if views else {}
    actions = clip.actions[None, context - 1 : context - 1 + frames].to(device)

    def step() -> None:
        session = model.start(shown, seed=0, instruction=record.instruction, **more)
        session.step(actions)
        session.close()
        synchronize(device)

    return frames, step


def _judge(config: pytest.Config, sample: Any) -> None:
    from dojobench.benchmarks import relative_speed as speed

    if out := config.getoption("--run-out"):
        Path(out).mkdir(parents=True, exist_ok=True)
        speed.write_speed(Path(out) / "speed.json", sample)
    previous = config.getoption("--gate-speed-against")
    if previous:
        with plainly():
            change = speed.slowdown(sample, speed.read_speed(Path(previous)))
        if change.low > 1 + config.getoption("--gate-speed-tolerance"):
            pytest.fail(change.sentence(), pytrace=False)
