"""What a benchmark reads: a frozen list of clips, each with context, actions and truth.

A suite may lie on disk as a manifest over downloaded data, or be made in memory by the
simulator; whoever scores a model sees only this. Torch stands in the annotations alone, so that
processes that only render clips do without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dojobench.protocol import ActionSpace

if TYPE_CHECKING:
    import torch

    from dojobench.protocol import Frames


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteSpec:
    """What all clips of a suite have in common.

    Attributes:
        name: Name that stands in tables.
        version: ``sha256:`` and the hash of the manifest.
        resolution: ``(height, width)`` of the frames offered.
        frame_rate: Frames per second after the stride.
        context_frames: Leading frames of every clip that a model may see and that are never
            scored in the ``aligned`` convention; a model may use fewer (the last ones).
        action_space: The actions offered.
        views: Further cameras offered.
    """

    name: str
    version: str
    resolution: tuple[int, int]
    frame_rate: float
    context_frames: int
    action_space: ActionSpace
    views: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRecord:
    """One line of a manifest.

    Attributes:
        id: Unique within the suite; also a file name stem (``[A-Za-z0-9._-]+``).
        source: Dataset name.
        revision: Dataset revision, such as ``owner/name@commit``.
        episode: Episode id within the dataset.
        start: First frame, in the dataset's own frame numbers.
        stride: Dataset frames per clip frame, at least 1.
        frames: Number of clip frames, context included.
        split: Such as ``train``, ``val``, ``counterfactual``.
        embodiment: Stated by name.
        camera: Main camera.
        instruction: What the robot was told, where known.
        branch_group: Clips that share their context and differ in their actions share this id.
        sha256: Hash of what the clip is made of.
    """

    id: str
    source: str
    revision: str
    episode: str
    start: int
    stride: int
    frames: int
    split: str
    embodiment: str
    camera: str
    instruction: str | None = None
    branch_group: str | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """Something in a simulated clip whose true place is known.

    Attributes:
        name: Unique within the clip: ``effector``, or what an instruction calls the object, such
            as ``red ball``.
        colour: Its main colour, RGB, 0 to 255: that of the effector's band, which shines and
            looks the same in any light, or that of the object's surface under white light.
        kind: ``effector``, or the kind of object, such as ``ball`` or ``drawer``.
    """

    name: str
    colour: tuple[int, int, int]
    kind: str


class GroundTruth(Protocol):
    """What only a simulator knows of a clip; frame numbers are those of ``Clip.read``.

    A clip that has it carries it as the attribute ``truth``, so that users ask for it with
    ``getattr(clip, "truth", None)``; clips of recorded data have no such attribute. Where the
    simulator can be rewound it also has ``replay(actions)``: float32 ``[n, action_dim]`` from the
    last context frame on, answered with the true frames that follow, uint8
    ``[n, 3, height, width]``. A clip that is a branch may have ``factual``: whether training
    data has behaviour of its kind.

    Attributes:
        markers: The effector first, then the objects.
    """

    markers: tuple[Marker, ...]

    def segmentation(self, start: int, stop: int) -> torch.Tensor:
        """Says which marker every pixel of the main camera shows.

        Of the effector these are the pixels of its coloured band, not of the whole robot.

        Returns:
            uint8 ``[stop - start, height, width]``: 0 for none, ``i + 1`` for ``markers[i]``.
        """
        ...

    def positions(self, start: int, stop: int) -> torch.Tensor:
        """Says where every marker is: the point between the fingertips, the objects' middles.

        Returns:
            float32 ``[stop - start, markers, 3]``: metres in the world frame.
        """
        ...

    def touched(self, start: int, stop: int) -> torch.Tensor:
        """Says what the embodiment touches.

        Returns:
            bool ``[stop - start, markers]``; the effector's own column is false throughout.
        """
        ...


class Clip(Protocol):
    """One clip, opened: small things are at hand, frames are decoded when asked for.

    Attributes:
        record: Its line in the manifest.
        actions: ``[record.frames - 1, action_dim]`` float32; row ``k`` leads from frame ``k``
            to frame ``k + 1``.
    """

    record: ClipRecord
    actions: torch.Tensor

    def read(self, start: int, stop: int, *, view: str | None = None) -> torch.Tensor:
        """Reads clip frames ``start..stop-1``.

        Args:
            start: First clip frame, 0 being the first context frame.
            stop: One past the last, at most ``record.frames``.
            view: A further camera; the main one where ``None``.

        Returns:
            uint8 RGB, ``[stop - start, 3, height, width]``.
        """
        ...

    def close(self) -> None:
        """Frees decoders; a closed clip is not read again."""
        ...


class Suite(Protocol):
    """A frozen set of clips.

    Attributes:
        spec: What the clips have in common.
        clips: All clips in manifest order.
    """

    spec: SuiteSpec
    clips: tuple[ClipRecord, ...]

    def open(self, clip: ClipRecord) -> Clip:
        """Opens a clip.

        Raises:
            BadInputError: If it cannot be read or its hash differs; the clip is named.
        """
        ...


def context_batch(clips: list[Clip], frames: int, context: int) -> Frames:
    """Stacks the last ``frames`` of the ``context`` leading frames of several clips.

    Returns:
        ``[len(clips), frames, 3, height, width]``, uint8.
    """
    import torch

    return torch.stack([clip.read(context - frames, context) for clip in clips])
