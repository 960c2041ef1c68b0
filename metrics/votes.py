"""Pairwise votes as numbers: who saw which two models on what, and what they answered.

Labels are turned into codes here, once, and a word that is no answer is refused here: read as a
tie, as ranking libraries do, it would quietly pull two models together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt

from dojobench.metrics.estimate import Array, Codes, Labels, cluster_codes

OUTCOMES = ("left", "right", "tie")
"""What a vote can say; its code is its place here."""

LEFT, RIGHT, TIE = range(3)

Mask = npt.NDArray[np.bool_]
"""One truth value per vote."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Votes:
    """Votes on pairs of models.

    Attributes:
        models: Names of the models; all codes below point into it.
        left: Model on the left, ``[n]``.
        right: Model on the right, ``[n]``.
        outcome: ``LEFT``, ``RIGHT`` or ``TIE``, ``[n]``.
        raters: Code of the rater, ``0..rater_count-1``, ``[n]``.
        clips: Code of the clip, ``[n]``.
        rater_count: How many raters voted.
        clip_count: How many clips were voted on.
    """

    models: tuple[str, ...]
    left: Codes
    right: Codes
    outcome: Codes
    raters: Codes
    clips: Codes
    rater_count: int
    clip_count: int

    def __len__(self) -> int:
        """How many votes there are."""
        return len(self.outcome)

    @property
    def cells(self) -> Codes:
        """Which combination of rater and clip each vote belongs to, ``[n]``."""
        return self.raters * max(self.clip_count, 1) + self.clips

    def where(self, keep: Mask) -> "Votes":
        """Gives some of the votes; raters and clips without a vote left are forgotten."""
        raters, rater_count = cluster_codes(self.raters[keep], int(keep.sum()))
        clips, clip_count = cluster_codes(self.clips[keep], int(keep.sum()))
        return Votes(
            models=self.models, left=self.left[keep], right=self.right[keep],
            outcome=self.outcome[keep], raters=raters, clips=clips,
            rater_count=rater_count, clip_count=clip_count,
        )  # fmt: skip

    def between(self, first: int, second: int) -> Mask:
        """Says which votes compare these two models, in either order."""
        there = (self.left == first) & (self.right == second)
        back = (self.left == second) & (self.right == first)
        found: Mask = there | back
        return found

    def scores(self, model: int) -> Array:
        """Gives what each vote is worth to a model: 1, 1/2 or 0; NaN where it was not shown."""
        for_left = np.choose(self.outcome, [1.0, 0.0, 0.5])
        worth = np.where(self.left == model, for_left, 1.0 - for_left)
        return np.where((self.left == model) | (self.right == model), worth, np.nan)

    def tally(self) -> Array:
        """Counts votes by left model, right model and outcome, ``[M, M, 3]``."""
        count = len(self.models)
        place = (self.left * count + self.right) * 3 + self.outcome
        found = np.bincount(place, minlength=count * count * 3).astype(np.float64)
        return found.reshape(count, count, 3)


def read_votes(
    left: Sequence[str],
    right: Sequence[str],
    outcome: Sequence[str],
    raters: Labels,
    clips: Labels,
    *,
    models: Sequence[str] | None = None,
) -> Votes:
    """Turns labels into votes.

    Args:
        left: Name of the model on the left, one per vote.
        right: Name of the model on the right.
        outcome: ``left``, ``right`` or ``tie``.
        raters: Who voted.
        clips: On what.
        models: All models, in the order results shall have; those voted on, sorted, if left out.

    Returns:
        The votes.

    Raises:
        ValueError: If lists differ in length, an outcome or a model is unknown, or a model is
            compared with itself. The message names the vote, counted from 1.
    """
    count = len(outcome)
    for name, labels in (("left", left), ("right", right)):
        if len(labels) != count:
            raise ValueError(f"{name} has {len(labels)} names for {count} votes")
    known = tuple(models) if models is not None else tuple(sorted({*left, *right}))
    rater_codes, rater_count = cluster_codes(raters, count, "raters")
    clip_codes, clip_count = cluster_codes(clips, count, "clips")
    left_codes, right_codes = (_codes(labels, known, "model") for labels in (left, right))
    same = np.flatnonzero(left_codes == right_codes)
    if len(same):
        raise ValueError(f"vote {same[0] + 1} compares {known[left_codes[same[0]]]} with itself")
    return Votes(
        models=known, left=left_codes, right=right_codes,
        outcome=_codes(outcome, OUTCOMES, "outcome"), raters=rater_codes, clips=clip_codes,
        rater_count=rater_count, clip_count=clip_count,
    )  # fmt: skip


def _codes(labels: Sequence[str], known: Sequence[str], what: str) -> Codes:
    place = {name: k for k, name in enumerate(known)}
    codes = np.array([place.get(label, -1) for label in labels], dtype=np.intp)
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        word = str(labels[int(unknown[0])])
        near = get_close_matches(word, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(
            f"vote {unknown[0] + 1} has the {what} '{word}', which is none of "
            f"{', '.join(known)}{hint}"
        )
    return codes
