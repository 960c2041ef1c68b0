"""From step times to the figures that people quote, each defined once.

Throughput is frames over the time of all steps but the first; latency is the distribution of
single steps. A step is late when it takes longer than its frames last at the model's rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dojobench.benchmarks.latency import LatencyConfig, SessionTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyStats:
    """Speed of one model under one set of conditions; all times in seconds.

    Attributes:
        frames_per_second: Frames of one rollout over the time of its steps, first step left
            out, times the batch; the pooled figure over rollouts.
        time_to_first_frame: Median of opening a session and its first step.
        p50: Median time of a step.
        p95: 95th percentile.
        p99: 99th percentile; needs 100 steps to be more than the maximum.
        maximum: The slowest step.
        jitter: Mean absolute difference of consecutive steps.
        budget: How long the frames of one step last at the frame rate.
        missed_deadlines: Share of steps that took longer than the budget.
        missed_low: Lower end of its 95 % Wilson interval.
        missed_high: Upper end.
        real_time_factor: ``frames_per_second`` over the frame rate; 1 just keeps up.
        transport: Median of a step's time outside the server, ``None`` for a local model.
        steps: Number of steps behind the figures.
        peak_bytes: Highest device memory, ``None`` on a CPU.
    """

    frames_per_second: float
    time_to_first_frame: float
    p50: float
    p95: float
    p99: float
    maximum: float
    jitter: float
    budget: float
    missed_deadlines: float
    missed_low: float
    missed_high: float
    real_time_factor: float
    transport: float | None
    steps: int
    peak_bytes: int | None


def latency_stats(sessions: Sequence[SessionTimes], config: LatencyConfig) -> LatencyStats:
    """Summarises timed rollouts.

    Args:
        sessions: At least one, each with at least two steps.
        config: The conditions they ran under.

    Returns:
        The figures.

    Raises:
        ValueError: If there is no step after a first one.
    """
    from dojobench.metrics.intervals import wilson

    later = [np.asarray(times.steps_s[1:]) for times in sessions]
    steps = np.concatenate(later) if later else np.empty(0)
    if steps.size == 0:
        raise ValueError("speed needs at least one rollout with two steps")
    budget = config.chunk / config.frame_rate
    late = int((steps > budget).sum())
    missed = wilson(late, int(steps.size))
    rate = config.batch * config.chunk * steps.size / float(steps.sum())
    differences = np.concatenate([np.abs(np.diff(s)) for s in later])
    return LatencyStats(
        frames_per_second=rate,
        time_to_first_frame=float(np.median([t.start_s + t.steps_s[0] for t in sessions])),
        p50=float(np.quantile(steps, 0.50)),
        p95=float(np.quantile(steps, 0.95)),
        p99=float(np.quantile(steps, 0.99)),
        maximum=float(steps.max()),
        jitter=float(differences.mean()) if differences.size else 0.0,
        budget=budget,
        missed_deadlines=late / steps.size,
        missed_low=missed.low,
        missed_high=missed.high,
        real_time_factor=rate / config.batch / config.frame_rate,
        transport=_transport(sessions),
        steps=int(steps.size),
        peak_bytes=max((t.peak_bytes for t in sessions if t.peak_bytes is not None), default=None),
    )


def _transport(sessions: Sequence[SessionTimes]) -> float | None:
    outside = [
        whole - inside
        for times in sessions
        if len(times.model_s) == len(times.steps_s)
        for whole, inside in zip(times.steps_s[1:], times.model_s[1:], strict=True)
    ]
    return float(np.median(outside)) if outside else None
