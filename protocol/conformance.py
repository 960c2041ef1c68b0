"""The conformance kit: does a world model keep the contract? Findings in plain sentences.

What the contract demands fails; what it leaves to the model but its user should know is a
note. Equality is only asked of models that say they are deterministic.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dojobench.protocol.conformance_checks import CHECKS
from dojobench.protocol.conformance_probe import (
    Broken,
    ConformanceSettings,
    Finding,
    Probe,
    fail,
    skip,
)
from dojobench.protocol.errors import BadInputError
from dojobench.protocol.lookup import require_world_model
from dojobench.protocol.model import WorldModel

__all__ = ["ConformanceSettings", "Finding", "Report", "check_model", "write_report"]

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that was found out about a model.

    Attributes:
        reference: The model as its user named it.
        options: Its options.
        spec: What it declares.
        findings: In the order of the checks.
    """

    reference: str
    options: dict[str, str]
    spec: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.failed for finding in self.findings)


def check_model(
    model: WorldModel,
    settings: ConformanceSettings | None = None,
    *,
    on_check: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Checks a model.

    Args:
        model: The model.
        settings: Sizes to use where the spec leaves them open.
        on_check: Called with each check's name before it begins.

    Returns:
        The findings, at least one a check; none of them raises.
    """
    try:
        require_world_model(model, who="the model")
    except BadInputError as error:
        return [fail("spec", f"{error}.")]
    probe = Probe(model, settings or ConformanceSettings())
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        if on_check is not None:
            on_check(name)
        found = list(_run(name, check, probe))
        findings += found
        # What does not answer with frames cannot be asked anything else.
        if name == "answers" and any(finding.failed for finding in found):
            findings += [
                skip(rest, "Not checked, since the model does not answer with frames.")
                for rest in CHECKS
                if rest not in ("spec", "answers")
            ]
            break
    return findings


def _run(name: str, check: Callable[[Probe], Iterator[Finding]], probe: Probe) -> Iterator[Finding]:
    try:
        yield from check(probe)
    except Broken as error:
        yield fail(name, f"{error}.")


def count_checks() -> int:
    """How many checks there are, for a progress bar."""
    return len(CHECKS)


def write_report(path: Path, report: Report) -> None:
    """Writes a report as JSON, whole or not at all.

    Raises:
        BadInputError: If the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "reference": report.reference,
        "options": report.options,
        "model": report.spec,
        "passed": report.passed,
        "findings": [asdict(finding) for finding in report.findings],
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInputError(f"{path} cannot be written: {error.strerror}") from error


def verdict(findings: Sequence[Finding]) -> str:
    """Sums findings up in one sentence."""
    failed = sum(finding.failed for finding in findings)
    passed = sum(finding.status == "pass" for finding in findings)
    notes = sum(finding.status == "note" for finding in findings)
    counts = f"{passed} passed, {failed} failed, {notes} to note"
    if failed:
        return f"The model breaks the contract: {counts}."
    return f"The model keeps the contract: {counts}."
