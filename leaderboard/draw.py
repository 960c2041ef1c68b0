"""Draws what an audit looks at, so that nobody can know it when sending a submission in.

The draw follows from the hash of the submission and from the round's seed, which is published
later; anybody can repeat it.
"""

import hashlib
from collections.abc import Iterable
from typing import TypeVar

_Item = TypeVar("_Item")


def draw_hash(submission_sha256: str, round_seed: str) -> str:
    """Gives the hash that a draw follows from, in hexadecimal."""
    text = f"dojobench audit 1\n{submission_sha256}\n{round_seed}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def draw(items: Iterable[_Item], seed: str, count: int) -> list[_Item]:
    """Draws ``count`` items, each subset being equally likely.

    Args:
        items: Different items; their ``str`` names them.
        seed: Result of ``draw_hash``.
        count: How many; all where there are fewer.
    """

    def lot(item: _Item) -> str:
        return hashlib.sha256(f"{seed}\n{item}".encode()).hexdigest()

    return sorted(items, key=lot)[:count]
