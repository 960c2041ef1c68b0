"""Ready benchmarks of quality: the contract, the gates and regressions.

Run in any repository with
``pytest --pyargs dojobench.benchmarks --world-model my.module:factory --suite SUITE``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


def test_contract(world_model: Any) -> None:
    """The model keeps the contract; each fault is a sentence."""
    from dojobench.protocol.conformance import check_model

    faults = [finding.sentence for finding in check_model(world_model) if finding.failed]
    assert not faults, "\n".join(faults)


def test_gate(
    gate: str | None,
    run_summary: Mapping[str, Any],
    baseline_summaries: Mapping[str, Mapping[str, Any]],
) -> None:
    """A ``--gate`` holds."""
    from dojobench.benchmarks.gates import judge, parse_gate

    if gate is None:
        pytest.skip("needs --gate")
    verdict = judge(parse_gate(gate), run_summary, baseline_summaries)
    assert verdict.passed, verdict.sentence


def test_not_worse(pytestconfig: pytest.Config, run_summary: Mapping[str, Any]) -> None:
    """No metric got worse than in the run named by ``--gate-against``, beyond chance."""
    from dojobench.benchmarks.gates import judge_against, read_summary

    previous = pytestconfig.getoption("--gate-against")
    if not previous:
        pytest.skip("needs --gate-against")
    verdicts = judge_against(run_summary, read_summary(Path(previous)))
    worse = [verdict.sentence for verdict in verdicts if not verdict.passed]
    assert not worse, "\n".join(worse)


def test_uses_actions(world_model: Any, run_folder: Path) -> None:
    """A model that states an action space answers otherwise to other actions."""
    from dojobench.benchmarks.records import load_run

    if world_model.spec.action_space is None:
        pytest.skip("the model's spec states no action space, so it may ignore its actions")
    found = [record.checks for record in load_run(run_folder).records]
    checks = [check["answers_differ"] for check in found if "answers_differ" in check]
    if not checks:
        pytest.skip("the clips carry no actions to shuffle")
    assert any(checks), (
        "the answers are the same when the actions are shuffled: the model ignores its actions"
    )
