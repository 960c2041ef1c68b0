"""Numbers of one part of a record, and how parts are put together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of a benchmark found out.

    Attributes:
        values: Numbers by metric.
        not_computed: For metrics without a number, the reason.
        checks: What is said beside the scores.
        curves: Several numbers each, such as one a frame.
    """

    values: dict[str, float] = field(default_factory=dict)
    not_computed: dict[str, str] = field(default_factory=dict)
    checks: dict[str, bool | float | str] = field(default_factory=dict)
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)


def mean_of(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Averages each number over the dictionaries that have it."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: float(np.mean([p[name] for p in parts if name in p])) for name in names}


def first_of(parts: Sequence[dict[str, str]]) -> dict[str, str]:
    """Keeps the first reason given for each name."""
    return {name: why for part in reversed(parts) for name, why in part.items()}
