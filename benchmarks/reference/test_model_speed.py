"""Student beside teacher, and what each saving of theirs is worth: ratios within one run.

All at nano's size with random weights, since speed does not depend on them, batch 1, on at most
two threads; rollouts include decoding. What is compared takes turns, round by round. Streaming
decode beside decoding the window again is in ``benchmarks/harness/test_tokenizer_speed.py``.

    DOJOBENCH_REFERENCE=1 python -m pytest -p no:xdist -o addopts="--import-mode=importlib -ra" \
        --benchmark-only benchmarks/reference
"""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from dojobench.datasets.statistics import ActionStatistics
from dojobench.protocol import ActionSpace, ModelSpec
from dojobench.reference_model.action_conditioning import action_encoder
from dojobench.reference_model.dit import WorldModelNet, build_world_model
from dojobench.reference_model.fast_net import FastNet
from dojobench.reference_model.fast_sampling import FastStream
from dojobench.reference_model.generation import SamplerConfig
from dojobench.reference_model.net_config import PRESETS
from dojobench.reference_model.session import LatentSession, Parts
from dojobench.reference_model.streaming import LatentStream, StreamConfig
from dojobench.reference_model.student_model import StudentModel
from dojobench.reference_model.teacher_model import TeacherModel
from dojobench.reference_model.tokenizer import CausalTokenizer
from dojobench.reference_model.tokenizer_config import TOKENIZERS

ROUNDS, CHUNK = 9, 12
SHIFT = PRESETS["nano"].shift
STREAM = StreamConfig.with_steps(4, SHIFT)
SPEC = ModelSpec(
    name="nano",
    resolution=(64, 64),
    action_space=ActionSpace(dim=5, embodiment="arm", kind="mixed"),
)

Work = Callable[[], object]


@pytest.fixture(scope="module", autouse=True)
def two_threads() -> Iterator[None]:
    """The promise is for two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> WorldModelNet:
    """The nano network."""
    return build_world_model(PRESETS["nano"]).eval()


@pytest.fixture(scope="module")
def parts(net: WorldModelNet) -> Parts:
    """The nano network and tokenizer."""
    return _parts(net)


def _parts(net: WorldModelNet, *, compiled: bool = False) -> Parts:
    ends = np.ones(5)
    statistics = ActionStatistics(name="any", minimum=-ends, maximum=ends, mean=0 * ends, std=ends)
    with torch.random.fork_rng():
        tokenizer = CausalTokenizer(TOKENIZERS["nano"]).eval()
    tokenizer = tokenizer.to(memory_format=torch.channels_last)
    encoder = action_encoder(net.config.actions, "arm", statistics)
    return Parts(net=net, tokenizer=tokenizer, encoder=encoder, compiled=compiled)


def _context(frames: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, frames, 3, 64, 64), dtype=torch.uint8, generator=generator)


def _teacher(parts: Parts, steps: int) -> LatentSession:
    sampler = SamplerConfig(solver="euler", steps=steps, shift=SHIFT)
    return TeacherModel(SPEC, parts, sampler=sampler).start(_context(), seed=0)


def _student(parts: Parts, steps: int = 4) -> LatentSession:
    stream = StreamConfig.with_steps(steps, SHIFT)
    session = StudentModel(SPEC, parts, stream=stream).start(_context(), seed=0)
    for _ in range(STREAM.window + 1):
        session.step(torch.zeros(1, 4, 5))
    return session


def _chunk(session: LatentSession, cut: int) -> None:
    for _ in range(CHUNK // cut):
        session.step(torch.zeros(1, cut, 5))


def _seconds(work: Work) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def _rounds(*works: Work) -> list[list[float]]:
    """Seconds of each, taken in turns; the first round only warms up."""
    taken = [[_seconds(work) for work in works] for _ in range(ROUNDS + 1)][1:]
    return [list(each) for each in zip(*taken, strict=True)]


def _ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def test_student_against_teacher(benchmark: Any, parts: Parts) -> None:
    """Required: 10 frames a second; of its teacher's speed 2.5 times in four steps, 4 in one.

    Four times as fast in four steps is wanted and not reached (see *Nano* in the measurements):
    what is held here is that the 3.1 measured do not get lost. Shown: its rival of 4 steps.
    """
    teacher, rival = _teacher(parts, 35), _teacher(parts, 4)
    students = [_student(parts, steps) for steps in (4, 2, 1)]
    works: list[Work] = [partial(_chunk, each, CHUNK) for each in (teacher, rival)]
    works += [partial(_chunk, each, 4) for each in students]
    taken = _rounds(*works)
    rates = [CHUNK / statistics.median(each) for each in taken]
    four, two, one = (_ratio(taken[0], each) for each in taken[2:])
    benchmark.extra_info |= {
        "teacher_frames_per_second": rates[0],
        "teacher_4_steps_frames_per_second": rates[1],
        "student_frames_per_second": rates[2],
        "times_its_teacher": four,
        "times_the_4_step_teacher": _ratio(taken[1], taken[2]),
        "in_2_steps_times_its_teacher": two,
        "in_1_step_times_its_teacher": one,
        "in_1_step_times_the_4_step_teacher": _ratio(taken[1], taken[4]),
    }
    benchmark.pedantic(lambda: _chunk(students[0], 4), rounds=3)
    assert rates[2] >= 10
    assert four >= 2.5
    assert one >= 4


@torch.inference_mode()
def test_cached_against_uncached_attention(benchmark: Any, net: WorldModelNet) -> None:
    """Required: 1.3 times as fast as running the four frames of the window in every pass."""
    cache = net.new_cache(batch=1, height=8, width=8, window=3)
    latents = torch.randn(1, 16, 4, 8, 8)
    actions, half = torch.randn(1, 12, 384), torch.full((1,), 0.5)
    for frame in range(4):
        rows = actions[:, 4 * max(0, frame - 1) : 4 * frame]
        net(latents[:, :, frame : frame + 1], half, rows, first_frame=frame, cache=cache)
        if frame < 3:
            cache.commit()

    def cached() -> torch.Tensor:
        made: torch.Tensor = net(
            latents[:, :, 3:], half, actions[:, 8:], first_frame=3, cache=cache
        )
        return made

    def uncached() -> torch.Tensor:
        made: torch.Tensor = net(latents, half, actions, causal=True, window=3)
        return made

    slow, fast = _rounds(uncached, cached)
    ratio = _ratio(slow, fast)
    benchmark.extra_info["times_as_fast"] = ratio
    benchmark.pedantic(cached, rounds=5)
    assert ratio >= 1.3


@torch.inference_mode()
def test_planned_against_plain_passes(benchmark: Any, net: WorldModelNet) -> None:
    """Required: 1.5 times as fast as the network called for every pass, with the same frames."""
    context, actions = torch.randn(1, 16, 1, 8, 8), torch.randn(1, 4, 384)
    noise = torch.randn(1, 1, 16, 1, 8, 8)
    plain = LatentStream(net, context, config=STREAM)
    fast = FastStream(FastNet(net), context, config=STREAM)
    for _ in range(STREAM.window + 1):
        expected = plain.step(actions, noise=noise)
        torch.testing.assert_close(fast.step(actions, noise), expected, rtol=1e-3, atol=1e-3)
    slow, quick = _rounds(
        lambda: plain.step(actions, noise=noise), lambda: fast.step(actions, noise)
    )
    ratio = _ratio(slow, quick)
    benchmark.extra_info["times_as_fast"] = ratio
    benchmark.pedantic(lambda: fast.step(actions, noise), rounds=5)
    assert ratio >= 1.5


@torch.inference_mode()
def test_compiled_against_eager(benchmark: Any, net: WorldModelNet) -> None:
    """Shown, not required: compilers and machines differ; the frames must be the same."""
    sessions = [_student(_parts(net, compiled=compiled)) for compiled in (False, True)]
    actions = torch.randn(1, CHUNK, 5)
    apart = sessions[0].step(actions).int() - sessions[1].step(actions).int()
    assert int(apart.abs().max()) <= 1
    slow, fast = _rounds(*[partial(_chunk, each, 4) for each in sessions])
    benchmark.extra_info["times_as_fast"] = _ratio(slow, fast)
    benchmark.pedantic(lambda: _chunk(sessions[1], 4), rounds=3)
