"""What the scheduler knows of the votes so far, kept by adding one event after the other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dojobench.metrics.estimate import Array

OUTCOMES = ("left", "right", "tie", "unsure")
"""What a vote can say; its code is its place here. The first three count in `Counts.tally`."""


class Counts:
    """Counts of ordinary votes; a pure function of the events added, in any order."""

    def __init__(self, models: Sequence[str], axes: Sequence[str]) -> None:
        """Starts with no vote.

        Args:
            models: Names of the models.
            axes: Names of the questions.
        """
        self.models = tuple(models)
        self.axes = tuple(axes)
        self._place = {name: k for k, name in enumerate(self.models)}
        size = len(self.models)
        self.tally: Array = np.zeros((len(self.axes), size, size, 3))
        """Votes by axis, left model, right model and outcome, ``[A, M, M, 3]``."""
        self.answered: Array = np.zeros((len(self.axes), size, size))
        """Votes by axis, left and right model, "can't tell" included, ``[A, M, M]``."""
        self.clips: Counter[tuple[str, str]] = Counter()
        """Answered trials by pair and clip."""
        self.votes = 0
        """Votes of all kinds."""

    def add(self, body: Mapping[str, Any]) -> None:
        """Counts one vote, given as its body in the log."""
        self.votes += 1
        if body.get("kind") != "ordinary" or body.get("axis") not in self.axes:
            return
        axis = self.axes.index(str(body["axis"]))
        left, right = self._place.get(str(body["left"])), self._place.get(str(body["right"]))
        if left is None or right is None:
            return
        self.answered[axis, left, right] += 1
        outcome = OUTCOMES.index(str(body["answer"]))
        if outcome < self.tally.shape[-1]:
            self.tally[axis, left, right, outcome] += 1
        if axis == 0:
            self.clips[str(body["pair"]), str(body["clip"])] += 1
