"""What a world model declares about itself before the first frame is made.

A field that is ``None`` means "any": a model that works at every resolution leaves
``resolution`` open. What is stated is binding, and a suite that does not fit it is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

    Frames: TypeAlias = torch.Tensor
    """``torch.uint8`` RGB, shape ``[batch, time, 3, height, width]``, on any device."""

    Actions: TypeAlias = torch.Tensor
    """``torch.float32``, shape ``[batch, time, action_dim]``, in the dataset's physical units."""

    Views: TypeAlias = Mapping[str, Frames]
    """Camera views beside the main one, by camera name, each of the main view's batch and time."""
else:

    def __getattr__(name: str) -> object:
        # Whoever only simulates or reads a specification does not wait for torch.
        if name not in ("Frames", "Actions", "Views"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import torch

        globals().update(
            Frames=torch.Tensor, Actions=torch.Tensor, Views=Mapping[str, torch.Tensor]
        )
        return globals()[name]


ActionKind: TypeAlias = Literal["absolute", "relative", "velocity", "mixed", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpace:
    """The actions that a model takes or a suite offers.

    Attributes:
        dim: Width of one action, at least 0 (0: the clips carry no actions).
        embodiment: The robot, stated by name (``gr1``, ``g1``, ``droid``, ``arm``), never guessed.
        kind: Whether the numbers are absolute targets, relative to a state, or velocities.
        names: One name per dimension, or empty where the source names none.
        units: Physical units in words, such as ``rad`` or ``m, rad, open fraction``.
    """

    dim: int
    embodiment: str
    kind: ActionKind = "absolute"
    names: tuple[str, ...] = ()
    units: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """What a world model is, as far as a harness needs to know it.

    Attributes:
        name: Name that stands in tables.
        version: The model's own version.
        weights: Fingerprint of the weights (``sha256:…``), or ``none`` for a model without any.
        resolution: ``(height, width)`` of the frames that it takes and makes; ``None``: any.
        frame_rate: Frames per second between two actions; ``None``: any.
        context_frames: How many last frames it wants to see, at least 1.
        native_chunk: How many frames it makes at once; a step of another length is allowed
            where ``any_chunk`` is true. ``None``: it has no preference.
        any_chunk: Whether a step may have a number of actions that is no multiple of
            ``native_chunk``.
        action_space: The actions that it understands; ``None``: any, because it ignores them
            or adapts to what the suite offers.
        views: Names of the further cameras that it needs.
        deterministic: Whether the same context, actions and seed give the same frames.
    """

    name: str
    version: str = "0"
    weights: str = "none"
    resolution: tuple[int, int] | None = None
    frame_rate: float | None = None
    context_frames: int = 1
    native_chunk: int | None = None
    any_chunk: bool = True
    action_space: ActionSpace | None = None
    views: tuple[str, ...] = ()
    deterministic: bool = True
