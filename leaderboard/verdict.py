"""What a check found: findings with stable codes, and the verdict that follows from them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from dojobench.leaderboard.codes import CODES, LEVELS
from dojobench.protocol.errors import BadInputError


class Refused(BadInputError):
    """A finding that ends what was being done.

    Attributes:
        code: Key of ``CODES``.
        where: File, and field or line, within the submission.
    """

    def __init__(self, code: str, sentence: str, where: str = "") -> None:
        super().__init__(sentence)
        self.code, self.where = code, where


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        code: Key of ``CODES``; it stays the same between versions.
        sentence: What is wrong, where, and what to do, for a reader who knows no code.
        where: File, and field or line, within the submission; empty for the whole.
    """

    code: str
    sentence: str
    where: str = ""

    @property
    def level(self) -> str:
        """``error``, ``warning`` or ``note``."""
        return CODES[self.code].level


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All findings, errors first; refused where there is an error.

    Attributes:
        id: The submission's id; empty where it could not be read.
        submission_sha256: Hash of ``submission.json``; empty where it could not be read.
        findings: What was found.
    """

    id: str
    submission_sha256: str
    findings: tuple[Finding, ...]

    @property
    def accepted(self) -> bool:
        """Whether there is no error."""
        return not any(each.level == "error" for each in self.findings)

    @property
    def outcome(self) -> str:
        """``refused``, ``look`` (a person should look at it) or ``accepted``."""
        levels = {each.level for each in self.findings}
        if "error" in levels:
            return "refused"
        return "look" if "warning" in levels else "accepted"

    def to_json(self) -> dict[str, Any]:
        """Gives the verdict as it is printed by ``--json``."""
        return {
            "format": 1,
            "id": self.id,
            "submission_sha256": self.submission_sha256,
            "outcome": self.outcome,
            "findings": [
                {
                    "code": each.code,
                    "level": each.level,
                    "title": CODES[each.code].title,
                    "where": each.where,
                    "sentence": each.sentence,
                }
                for each in self.findings
            ],
        }


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorts findings: errors first, then by code; each once."""
    once = dict.fromkeys(map(_tidy, findings))
    return tuple(sorted(once, key=lambda f: (LEVELS.index(f.level), f.code)))


def _tidy(finding: Finding) -> Finding:
    """Makes one line of a sentence, whatever a stranger's file put into it."""
    sentence = _line(finding.sentence, 590)
    whole = sentence if sentence.endswith(".") else f"{sentence}."
    return replace(finding, sentence=whole, where=_line(finding.where, 200))


def _line(text: str, most: int) -> str:
    cleaned = "".join(c if c.isprintable() else " " for c in text)
    return cleaned if len(cleaned) <= most else f"{cleaned[:most]}…"
