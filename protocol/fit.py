"""Whether a model fits what is offered to it, asked before the first frame is made.

Plain values stand for the suite, so that whoever offers clips, from disk, from the simulator
or over the wire, can ask the same question and gets the same sentence.
"""

from collections.abc import Sequence

from dojobench.protocol.errors import BadInputError
from dojobench.protocol.spec import ActionSpace, ModelSpec

RATE_TOLERANCE = 1e-3
"""Relative difference up to which two frame rates are the same (29.97 and 30000 / 1001)."""


def check_fits(
    spec: ModelSpec,
    *,
    offered_by: str,
    resolution: tuple[int, int],
    frame_rate: float,
    context_frames: int,
    action_space: ActionSpace,
    views: Sequence[str] = (),
    resizing: bool = False,
) -> None:
    """Refuses a model whose spec does not fit what is offered.

    Args:
        spec: What the model declares; ``None`` in a field means any.
        offered_by: In words, such as ``suite gr1-sim``; subject of the message.
        resolution: ``(height, width)`` of the frames offered.
        frame_rate: Frames per second offered.
        context_frames: Context frames offered; a model may use fewer.
        action_space: Actions offered.
        views: Further cameras offered.
        resizing: Whether frames are resized both ways, so that resolutions may differ.

    Raises:
        BadInputError: One sentence that names both values and what to do.
    """
    who = f"model {spec.name}"
    if spec.resolution is not None and spec.resolution != resolution and not resizing:
        raise BadInputError(
            f"{who} works at {_size(spec.resolution)} and {offered_by} has {_size(resolution)}; "
            "add --adapt resize to have frames resized both ways"
        )
    rate = spec.frame_rate
    if rate is not None and abs(rate - frame_rate) > RATE_TOLERANCE * frame_rate:
        raise BadInputError(
            f"{who} works at {rate:g} Hz and {offered_by} has {frame_rate:g} Hz; freeze a suite "
            "with a stride that gives the model's rate"
        )
    if spec.context_frames > context_frames:
        raise BadInputError(
            f"{who} wants {spec.context_frames} context frames and {offered_by} has "
            f"{context_frames}; freeze a suite with a longer context"
        )
    if missing := [view for view in spec.views if view not in views]:
        raise BadInputError(
            f"{who} needs the camera view {missing[0]} and {offered_by} has "
            f"{', '.join(views) or 'none'}"
        )
    if spec.action_space is not None:
        _check_actions(who, spec.action_space, offered_by, action_space)


def _check_actions(who: str, wanted: ActionSpace, offered_by: str, offered: ActionSpace) -> None:
    for what, mine, theirs in (
        ("actions of width", wanted.dim, offered.dim),
        ("the embodiment", wanted.embodiment, offered.embodiment),
        ("actions of the kind", wanted.kind, offered.kind),
    ):
        if mine != theirs:
            raise BadInputError(
                f"{who} takes {what} {mine} and {offered_by} has {theirs}; choose the suite or "
                "the model's option that fits"
            )


def _size(resolution: tuple[int, int]) -> str:
    return f"{resolution[0]}x{resolution[1]} (height x width)"
