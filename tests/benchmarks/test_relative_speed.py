"""Speed relative to a reference workload: a real slowdown is seen, a slower machine is not."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dojobench.benchmarks.relative_speed import (
    SpeedSample,
    read_speed,
    reference_workload,
    slowdown,
    time_once,
    write_speed,
)
from dojobench.protocol import BadInputError


def sample(step: float, machine: float = 1.0, seed: int = 0, version: str = "1") -> SpeedSample:
    """Twenty rounds on a machine ``machine`` times as slow, whose speed drifts by a fifth."""
    generator = np.random.default_rng(seed)
    drift = machine * (1 + 0.2 * generator.random(20))
    noise = 1 + 0.02 * generator.standard_normal((2, 20))
    return SpeedSample(
        model="m",
        step_seconds=tuple(step * drift * noise[0]),
        reference_seconds=tuple(0.01 * drift * noise[1]),
        frames_per_step=4,
        reference_version=version,
    )


def test_a_slower_machine_is_no_slowdown() -> None:
    change = slowdown(sample(0.1, machine=3.0, seed=1), sample(0.1, seed=2))
    assert change.low < 1 < change.high
    assert change.ratio == pytest.approx(1, abs=0.05)


def test_a_slower_model_is_a_slowdown() -> None:
    change = slowdown(sample(0.15, machine=0.5, seed=1), sample(0.1, seed=2))
    assert change.low > 1.4
    assert "1.5" in change.sentence() or "1.4" in change.sentence()


def test_frames_per_second_is_of_the_median_step() -> None:
    steady = SpeedSample(
        model="m", step_seconds=(0.1, 0.2, 0.3), reference_seconds=(1, 1, 1), frames_per_step=4
    )
    assert steady.frames_per_second == pytest.approx(20)
    assert list(steady.ratios) == pytest.approx([0.025, 0.05, 0.075])


def test_written_and_read_again(tmp_path: Path) -> None:
    write_speed(tmp_path / "speed.json", sample(0.1))
    assert read_speed(tmp_path / "speed.json") == sample(0.1)
    assert [p.name for p in tmp_path.iterdir()] == ["speed.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model": "m", "step_seconds": [], "reference_seconds": []}']
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "speed.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"speed\.json cannot be read"):
        read_speed(path)


def test_other_reference_workloads_do_not_compare() -> None:
    with pytest.raises(BadInputError, match="reference workloads 2 and 1"):
        slowdown(sample(0.1, version="2"), sample(0.1))


def test_the_workload_is_timed() -> None:
    assert time_once(reference_workload(torch.device("cpu"))) > 0
    assert time_once(lambda: time.sleep(0.01)) >= 0.0099
