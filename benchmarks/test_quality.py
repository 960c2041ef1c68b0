"""Ready benchmarks of quality: the contract, the gates and regressions.

Run in any repository with
``pytest --pyargs dojobench.benchmarks --world-model my.module:factory --suite SUITE``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dojobench.benchmarks.pytest_plugin import plainly


def test_contract(world_model: Any) -> None:
    """The model keeps the contract; each fault is a sentence."""
    from dojobench.protocol.conformance import check_model

    faults = [finding.sentence for finding in check_model(world_model) if finding.failed]
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_gate(
    gate: str | None,
    benchmark_summaries: Mapping[str, Mapping[str, Any]],
    benchmark_baselines: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> None:
    """A ``--gate`` holds, in whichever benchmark its metric is."""
    from dojobench.benchmarks.gates import judge_in, parse_gate

    if gate is None:
        pytest.skip("needs --gate")
    with plainly():
        verdict = judge_in(parse_gate(gate), benchmark_summaries, benchmark_baselines)
    if not verdict.passed:
        pytest.fail(verdict.sentence, pytrace=False)


def test_not_worse(
    pytestconfig: pytest.Config, benchmark_summaries: Mapping[str, Mapping[str, Any]]
) -> None:
    """No metric got worse than in the run named by ``--gate-against``, beyond chance."""
    from dojobench.benchmarks.benchmark_runs import benchmark_folder
    from dojobench.benchmarks.gates import judge_against, read_summary

    previous = pytestconfig.getoption("--gate-against")
    if not previous:
        pytest.skip("needs --gate-against")
    given = Path(previous)
    home = given if given.is_dir() else given.parent
    worse = []
    for name, summary in benchmark_summaries.items():
        earlier = given if name == "fidelity" else benchmark_folder(home, name)
        if name == "fidelity" or (earlier / "summary.json").exists():
            with plainly():
                verdicts = judge_against(summary, read_summary(earlier))
            worse += [verdict.sentence for verdict in verdicts if not verdict.passed]
    if worse:
        pytest.fail("\n".join(worse), pytrace=False)


def test_uses_actions(world_model: Any, run_folder: Path) -> None:
    """A model that states an action space answers otherwise to other actions."""
    from dojobench.benchmarks.records import load_run

    if world_model.spec.action_space is None:
        pytest.skip("the model's spec states no action space, so it may ignore its actions")
    found = [record.checks for record in load_run(run_folder).records]
    checks = [check["answers_differ"] for check in found if "answers_differ" in check]
    if not checks:
        pytest.skip("the clips carry no actions to shuffle")
    if not any(checks):
        pytest.fail(
            "the answers are the same when the actions are shuffled: the model ignores its actions",
            pytrace=False,
        )
