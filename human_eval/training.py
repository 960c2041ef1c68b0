"""The comprehension questions of the training: what is right, and how often one may try.

Panels such as Prolific allow two tries, and only questions on the instructions just given.
"""

from collections.abc import Mapping
from typing import Final

TRIES: Final = 2
"""How often a rater may answer."""

ANSWERS: Final[Mapping[str, str]] = {"vanish": "right", "command": "left", "same": "tie"}
"""Question to right option; both are keys below ``training.questions`` of the texts."""

OPTIONS: Final = ("left", "right", "tie")
"""Options of every question, in the order shown."""


def wrong_answers(answers: Mapping[str, str]) -> tuple[str, ...]:
    """Gives the questions that were not answered rightly, in the order shown.

    Args:
        answers: Question to option; missing ones count as wrong.
    """
    return tuple(name for name, right in ANSWERS.items() if answers.get(name) != right)
