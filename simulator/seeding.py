"""Random streams named by what they decide, so that fixing one choice moves no other.

Every stream is seeded by the hash of its path (``"train", 7, "object.colour", 2``). A seed may
be a number or any text, which is how a secret suite is made; its commitment can be published
before the suite is used and checked after the seed is revealed.
"""

import hashlib
from typing import TypeAlias

import numpy as np

Seed: TypeAlias = int | str


def derive(*path: Seed) -> int:
    """Hashes a path of names and numbers to a number in ``[0, 2**63)``.

    Args:
        path: Texts and numbers; the number 1 and the text ``"1"`` lead to the same hash.
    """
    text = "\x1f".join(str(part) for part in path)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(*path: Seed) -> np.random.Generator:
    """Gives the random stream of a path; the same path always gives the same numbers."""
    return np.random.Generator(np.random.PCG64(derive(*path)))


def commitment(seed: Seed, *, suite: str) -> str:
    """Commits to a secret seed without showing it.

    A seed to be kept should be long and random: a short one can be found by trying.

    Args:
        seed: The seed that only its owner knows.
        suite: Name of the suite that will be made from it.

    Returns:
        ``sha256:`` and 64 hexadecimal digits.
    """
    text = f"dojobench suite commitment\x1f{suite}\x1f{seed}"
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
