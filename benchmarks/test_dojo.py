"""Ready benchmarks on suites with branches, long clips and probes.

Run with ``pytest --pyargs dojobench.benchmarks --world-model … --suite dojo-mini
--world-model-benchmarks all``; each test skips where its benchmark was not run.
"""

from collections.abc import Mapping
from typing import Any

import pytest

Summaries = Mapping[str, Mapping[str, Any]]


def _metric(summaries: Summaries, benchmark: str, name: str) -> Mapping[str, Any]:
    if benchmark not in summaries:
        pytest.skip(f"needs --world-model-benchmarks {benchmark}")
    summary = summaries[benchmark]
    if name not in summary["metrics"]:
        pytest.skip(summary["not_computed"].get(name, f"the run has no {name}"))
    found: Mapping[str, Any] = summary["metrics"][name]
    return found


def test_follows_its_actions(benchmark_summaries: Summaries) -> None:
    """Branches of one state differ the way the true ones do, beyond chance."""
    cosine = _metric(benchmark_summaries, "counterfactual", "effect_cosine")
    assert cosine["mean"] > 0, "the branches do not differ as their actions say"
    assert cosine["low"] is None or cosine["low"] > 0, (
        f"an effect cosine of {cosine['mean']:.3f} from {cosine['low']:.3f} to "
        f"{cosine['high']:.3f} is not beyond chance"
    )


def test_outlasts_a_still_frame(
    benchmark_summaries: Summaries, benchmark_baselines: Mapping[str, Summaries]
) -> None:
    """A long rollout stays better than the last frame held still for longer than that does."""
    mine = _metric(benchmark_summaries, "stability", "stable_horizon")
    its = _metric({"stability": benchmark_baselines["stability"]["hold"]}, "stability",
                  "stable_horizon")  # fmt: skip
    assert mine["mean"] > its["mean"], (
        f"the rollouts break after {mine['mean']:.1f} s, and a still frame after "
        f"{its['mean']:.1f} s"
    )


def test_acts_in_time(benchmark_summaries: Summaries) -> None:
    """The response to an action comes with it, neither before nor after."""
    lag = _metric(benchmark_summaries, "probes", "action_lag")
    assert abs(lag["mean"]) < 0.5, f"the response trails its actions by {lag['mean']:.1f} steps"


def test_does_not_depend_on_the_batch(benchmark_summaries: Summaries) -> None:
    """A rollout is what it would be alone."""
    change = _metric(benchmark_summaries, "probes", "batch_change")
    # A grey level in a thousand is what another order of summing does to a few pixels.
    assert change["mean"] <= 0.05, (
        f"another rollout in the batch changes the frames by {change['mean']:.3f} grey levels"
    )


def test_repeats_itself(world_model: Any, benchmark_summaries: Summaries) -> None:
    """A model whose spec says that it is deterministic answers the same twice."""
    if not world_model.spec.deterministic:
        pytest.skip("the model's spec says that it is not deterministic")
    change = _metric(benchmark_summaries, "probes", "repeat_change")
    assert change["mean"] == 0, (
        f"the same seed gives other frames, by {change['mean']:.3f} grey levels"
    )
