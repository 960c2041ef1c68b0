"""The speed benchmark, on models whose speed is known."""

import time
from collections.abc import Callable

import pytest
import torch

from dojobench.benchmarks.latency import LatencyConfig, NullModel, SessionTimes, time_sessions
from dojobench.benchmarks.latency_stats import latency_stats
from dojobench.benchmarks.network_cost import network_cost
from dojobench.protocol import BadInputError, ModelSpec

CONFIG = LatencyConfig(
    resolution=(32, 32),
    context_frames=1,
    chunk=4,
    action_dim=2,
    frame_rate=100.0,
    sessions=2,
    steps=10,
)


class Clock:
    """Time that passes only when somebody sleeps, so that no machine is too busy for a test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Sleeper(NullModel):
    """Sleeps before each answer: ``naps`` in turn, ``first`` before the first step."""

    def __init__(
        self,
        naps: tuple[float, ...],
        sleep: Callable[[float], None],
        *,
        opening: float = 0.0,
        first: float = 0.0,
    ) -> None:
        self.spec = ModelSpec(name="sleeper")
        self.naps, self.sleep, self.opening, self.first = naps, sleep, opening, first

    def start(self, context, *, seed, instruction=None):
        model, inner = self, super().start(context, seed=seed)
        model.sleep(model.opening)

        class Session:
            count = 0

            def step(self, actions: torch.Tensor) -> torch.Tensor:
                nap = model.naps[self.count % len(model.naps)]
                model.sleep(model.first if model.first and not self.count else nap)
                self.count += 1
                return inner.step(actions)

            def close(self) -> None:
                pass

        return Session()


def stats(model: NullModel, clock: Callable[[], float] = time.perf_counter):
    return latency_stats(list(time_sessions(model, CONFIG, clock=clock)), CONFIG)


def test_a_model_that_sleeps_50_ms_takes_50_ms() -> None:
    clock = Clock()
    found = stats(Sleeper((0.05,), clock.sleep), clock)
    for quantile in (found.p50, found.p95, found.p99, found.maximum):
        assert quantile == pytest.approx(0.05)
    assert found.frames_per_second == pytest.approx(4 / 0.05)
    assert found.real_time_factor == pytest.approx(0.8)
    assert found.jitter == pytest.approx(0.0, abs=1e-12)
    assert found.steps == 20


def test_the_clock_on_the_wall_is_the_default() -> None:
    # A busy machine wakes a sleeper late, never early.
    assert stats(Sleeper((0.01,), time.sleep)).p50 >= 0.0099


def test_missed_deadlines_are_counted() -> None:
    # 4 frames at 100 Hz last 40 ms: of five naps two are too long.
    clock = Clock()
    found = stats(Sleeper((0.001, 0.08, 0.001, 0.08, 0.001), clock.sleep), clock)
    assert found.budget == pytest.approx(0.04)
    assert found.missed_deadlines == pytest.approx(0.4)
    assert found.missed_low < 0.4 < found.missed_high


def test_the_first_step_is_kept_apart() -> None:
    clock = Clock()
    found = stats(Sleeper((0.002,), clock.sleep, opening=0.3, first=0.1), clock)
    assert found.time_to_first_frame == pytest.approx(0.4)
    assert found.maximum == pytest.approx(0.002)


def test_warm_up_is_not_timed() -> None:
    clock = Clock()

    class Warming(Sleeper):
        """Opens slowly the first time."""

        def start(self, context, *, seed, instruction=None):
            self.opening = 9.0 if clock.now == 0 else 0.25
            return super().start(context, seed=seed)

    found = list(time_sessions(Warming((0.001,), clock.sleep), CONFIG, clock=clock))
    assert [times.start_s for times in found] == [pytest.approx(0.25)] * CONFIG.sessions


def test_closed_form() -> None:
    sessions = [SessionTimes(start_s=0.5, steps_s=[1.0, 0.1, 0.2, 0.1, 0.4])]
    found = latency_stats(sessions, CONFIG)
    assert found.time_to_first_frame == pytest.approx(1.5)
    assert found.frames_per_second == pytest.approx(4 * 4 / 0.8)
    assert found.p50 == pytest.approx(0.15)
    assert found.jitter == pytest.approx((0.1 + 0.1 + 0.3) / 3)
    assert found.missed_deadlines == 1.0
    assert found.real_time_factor == pytest.approx(20 / 100)
    assert found.transport is None


def test_transport_is_what_the_server_did_not_use() -> None:
    sessions = [SessionTimes(steps_s=[1.0, 0.3, 0.5], model_s=[0.9, 0.1, 0.3])]
    assert latency_stats(sessions, CONFIG).transport == pytest.approx(0.2)


@pytest.mark.parametrize("steps", [[], [0.1]])
def test_too_few_steps_are_refused(steps: list[float]) -> None:
    with pytest.raises(ValueError, match="two steps"):
        latency_stats([SessionTimes(steps_s=steps)], CONFIG)


def test_nothing_but_the_step_is_under_the_clock() -> None:
    readings = iter(range(10_000))
    found = list(time_sessions(NullModel(), CONFIG, clock=lambda: float(next(readings))))
    assert all(times.start_s == 1 for times in found)
    assert all(times.steps_s == [1] * (CONFIG.steps + 1) for times in found)
    once = 2 * (1 + CONFIG.steps + 1)
    assert next(readings) == once * (CONFIG.warmup + CONFIG.sessions)


def test_a_model_that_owes_frames_is_refused() -> None:
    class Short(NullModel):
        def start(self, context, *, seed, instruction=None):
            inner = super().start(context, seed=seed)
            inner.step = lambda actions: torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8)
            return inner

    with pytest.raises(BadInputError, match="4 actions with 1 frames"):
        stats(Short())


class Guided(torch.nn.Module):
    """Two passes of a linear layer per solver step, as classifier-free guidance makes them."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(10, 20, bias=False)
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class GuidedModel(NullModel):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.network = Guided(steps)

    def start(self, context, *, seed, instruction=None):
        inner, network = super().start(context, seed=seed), self.network

        class Session:
            def step(self, actions: torch.Tensor) -> torch.Tensor:
                for _ in range(2 * network.steps):
                    network(torch.zeros(3, 10))
                return inner.step(actions)

            def close(self) -> None:
                pass

        return Session()


def test_guidance_passes_parameters_and_flops_are_counted() -> None:
    context = torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8)
    cost = network_cost(GuidedModel(steps=5), context, torch.zeros(1, 8, 2))
    assert cost is not None
    assert cost.passes_per_step == {"network": 10}
    assert cost.parameters == 200
    assert cost.flops_per_frame == pytest.approx(10 * 2 * 3 * 10 * 20 / 4)


def test_a_network_that_is_never_called_counts_no_passes() -> None:
    class Idle(NullModel):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.nn.Linear(10, 20, bias=False)

    context = torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8)
    cost = network_cost(Idle(), context, torch.zeros(1, 8, 2))
    assert cost is not None
    assert cost.passes_per_step == {}
    assert cost.parameters == 200


def test_a_model_without_networks_has_no_cost() -> None:
    context = torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8)
    assert network_cost(NullModel(), context, torch.zeros(1, 8, 2)) is None
