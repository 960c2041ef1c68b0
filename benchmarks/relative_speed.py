"""Speed that can be compared between machines: a step's time over a reference workload's.

CI runners differ by a factor of two and more, and drift while they run. A fixed workload timed
next to every step takes most of that out: what is compared is the ratio of the two.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dojobench.datasets.files import write_atomically
from dojobench.protocol import BadInputError

REFERENCE_VERSION = "1"
_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedSample:
    """Times of a model's steps, each with the reference workload's time beside it.

    Attributes:
        model: The model's name.
        step_seconds: One time a round, seconds.
        reference_seconds: The reference workload's time in the same round, seconds.
        frames_per_step: Frames that one step makes.
        reference_version: Version of the workload; samples of different versions do not compare.
    """

    model: str
    step_seconds: tuple[float, ...]
    reference_seconds: tuple[float, ...]
    frames_per_step: int
    reference_version: str = REFERENCE_VERSION

    @property
    def ratios(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Cost of one frame in units of the reference workload, one a round."""
        steps = np.asarray(self.step_seconds) / self.frames_per_step
        return np.asarray(steps / np.asarray(self.reference_seconds), dtype=np.float64)

    @property
    def frames_per_second(self) -> float:
        """Frames per second at the median step."""
        return float(self.frames_per_step / np.median(self.step_seconds))


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowdown:
    """How much dearer a frame became: the ratio of the medians and its 95 % interval."""

    ratio: float
    low: float
    high: float

    def sentence(self) -> str:
        """Says it in words."""
        return (
            f"a frame costs {self.ratio:.3f} times what it did [{self.low:.3f}, {self.high:.3f}], "
            "in units of the reference workload"
        )


def reference_workload(device: torch.device) -> Callable[[], None]:
    """Builds the workload: a convolution, a matrix product and a sort, about 10 ms on one core.

    Args:
        device: Where it runs.

    Returns:
        A function that runs it once and waits for the device.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 16, 96, 96), generator=generator).to(device)
    kernel = torch.rand((16, 16, 3, 3), generator=generator).to(device)
    matrix = torch.rand((384, 384), generator=generator).to(device)
    numbers = torch.rand((50_000,), generator=generator).to(device)

    def run() -> None:
        torch.nn.functional.conv2d(image, kernel)
        torch.linalg.multi_dot([matrix, matrix, matrix])
        torch.sort(numbers)
        synchronize(device)

    return run


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_once(function: Callable[[], object]) -> float:
    """Times one call, in seconds; the caller makes the function wait for its device."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def slowdown(now: SpeedSample, before: SpeedSample, *, seed: int = 0) -> Slowdown:
    """Compares two samples by the ratio of their median ratios, with a bootstrap interval.

    Args:
        now: The sample judged.
        before: The earlier one.
        seed: Seed of the bootstrap.

    Returns:
        Above 1 where a frame became dearer.

    Raises:
        BadInputError: If the samples were made with different reference workloads.
    """
    if now.reference_version != before.reference_version:
        raise BadInputError(
            f"the speeds were measured with reference workloads {now.reference_version} and "
            f"{before.reference_version}, which do not compare; measure the earlier model again"
        )
    generator = np.random.default_rng(seed)
    medians = [
        np.median(generator.choice(s.ratios, (_RESAMPLES, len(s.ratios))), axis=1)
        for s in (now, before)
    ]
    low, high = np.quantile(medians[0] / medians[1], (0.025, 0.975))
    ratio = float(np.median(now.ratios) / np.median(before.ratios))
    return Slowdown(ratio=ratio, low=float(low), high=float(high))


def write_speed(path: Path, sample: SpeedSample) -> None:
    """Writes a sample as ``speed.json``, whole or not at all."""
    write_atomically(path, json.dumps(asdict(sample), indent=1).encode() + b"\n")


def read_speed(path: Path) -> SpeedSample:
    """Reads a ``speed.json``.

    Raises:
        BadInputError: If it is missing or not one.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return _sample(fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path} cannot be read as a speed measurement ({error}); name the speed.json of an "
            "earlier run"
        ) from error


def _sample(fields: Mapping[str, object]) -> SpeedSample:
    steps, references = fields["step_seconds"], fields["reference_seconds"]
    if not isinstance(steps, list) or not isinstance(references, list) or not steps:
        raise ValueError("it has no times")
    if len(steps) != len(references) or min(*steps, *references) <= 0:
        raise ValueError("its times do not pair or are not positive")
    return SpeedSample(
        model=str(fields["model"]),
        step_seconds=tuple(float(s) for s in steps),
        reference_seconds=tuple(float(s) for s in references),
        frames_per_step=int(str(fields["frames_per_step"])),
        reference_version=str(fields["reference_version"]),
    )
