"""What a rater may send as a vote: checked, bounded, and brought to one form."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dojobench.human_eval.study_file import Axis

Answer = Literal["left", "right", "tie", "unsure"]

MAX_DRIFT: Final = 1.0
"""Frames of drift above which a vote is flagged where the plan excludes none for it."""


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


Seconds = Annotated[float, Field(ge=0, le=86_400), BeforeValidator(_empty_is_none)]
MaybeSeconds = Annotated[
    Annotated[float, Field(ge=0, le=86_400)] | None, BeforeValidator(_empty_is_none)
]
MaybeFrames = Annotated[
    Annotated[float, Field(ge=0, le=1_000_000)] | None, BeforeValidator(_empty_is_none)
]
MaybeCount = Annotated[
    Annotated[int, Field(ge=0, le=1_000_000)] | None, BeforeValidator(_empty_is_none)
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class BreakAt(_Part):
    """Where each video breaks, in seconds from its start; ``None``: not marked."""

    left: MaybeSeconds = None
    right: MaybeSeconds = None


class VoteForm(_Part):
    """A vote as sent."""

    token: Annotated[str, Field(min_length=1, max_length=1000)]
    answers: dict[Axis, Answer]
    break_at: BreakAt = BreakAt()
    drift_frames: MaybeFrames = None
    seconds: MaybeSeconds = None
    plays: MaybeCount = None
    dropped_frames: MaybeCount = None

    def measured(self, elapsed: float, max_drift: float | None) -> dict[str, Any]:
        """Gives what the log keeps of how the vote came about, with flags.

        Args:
            elapsed: Seconds since the trial was handed out, by the server's clock.
            max_drift: Most frames that the plan lets videos drift apart, if it says.
        """
        flags: list[str] = []
        seconds = elapsed if self.seconds is None else self.seconds
        if seconds > elapsed + 1:
            flags.append("clock")
            seconds = elapsed
        if self.drift_frames is None or self.plays is None:
            flags.append("unmeasured")
        limit = MAX_DRIFT if max_drift is None else max_drift
        if self.drift_frames is not None and self.drift_frames > limit:
            flags.append("drift")
        if self.plays == 0:
            flags.append("unplayed")
        if self.dropped_frames:
            flags.append("dropped")
        return {
            "break_at": {
                "left": _rounded(self.break_at.left), "right": _rounded(self.break_at.right)
            },
            "drift_frames": _rounded(self.drift_frames),
            "seconds": _rounded(seconds),
            "plays": self.plays,
            "dropped_frames": self.dropped_frames,
            "flags": flags,
        }  # fmt: skip


def read_vote(sent: Mapping[str, Any], axes: tuple[str, ...]) -> VoteForm:
    """Reads a vote from JSON, or from the flat fields of a form without JavaScript.

    Args:
        sent: The decoded body.
        axes: The questions that must be answered, and no other.

    Raises:
        ValueError: If it is no vote; the message names the first field that is wrong.
    """
    fields = dict(sent)
    if "answers" not in fields:
        fields["answers"] = {axis: fields[axis] for axis in axes if fields.get(axis)}
        fields.setdefault(
            "break_at", {"left": fields.get("break_left"), "right": fields.get("break_right")}
        )
    try:
        form = VoteForm.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}") from error
    if set(form.answers) != set(axes):
        raise ValueError(f"answers: needed for {', '.join(axes)}")
    return form


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    return round(value, 3) if math.isfinite(value) else None
