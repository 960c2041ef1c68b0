"""Clips of the simulated world as benchmarks take them: frames, actions and the truth behind."""

import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dojobench.datasets.suite import ClipRecord, Marker
from dojobench.simulator.clips import (
    ClipPlan,
    RenderedClip,
    render_clip,
    replay_clip,
    scene_of,
)

EFFECTOR = "effector"


@dataclass(frozen=True, kw_only=True, slots=True)
class DojoClipData:
    """Everything that is kept of a rendered clip; ``n`` frames, ``m`` markers.

    Attributes:
        frames: uint8 RGB ``[n, 3, height, width]``.
        actions: float32 ``[n - 1, dim]``.
        segmentation: uint8 ``[n, height, width]``, as ``GroundTruth.segmentation``.
        positions: float32 ``[n, m, 3]``, as ``GroundTruth.positions``.
        touched: bool ``[n, m]``, as ``GroundTruth.touched``.
        markers: The effector, then the objects.
        instruction: The task in words, where there is one.
        success: Whether the first task was done by the end, where there is one.
    """

    frames: npt.NDArray[np.uint8]
    actions: npt.NDArray[np.float32]
    segmentation: npt.NDArray[np.uint8]
    positions: npt.NDArray[np.float32]
    touched: npt.NDArray[np.bool_]
    markers: tuple[Marker, ...]
    instruction: str | None
    success: bool | None

    @property
    def size_bytes(self) -> int:
        """Memory that its pictures take."""
        return self.frames.nbytes + self.segmentation.nbytes

    def content_hash(self) -> str:
        """Hashes frames and actions: what every score is computed from.

        Returns:
            ``sha256:`` and 64 hexadecimal digits.
        """
        digest = hashlib.sha256(b"dojobench dojo clip 1\n")
        digest.update(f"frames {' '.join(map(str, self.frames.shape))}\n".encode())
        digest.update(np.ascontiguousarray(self.frames).data)
        digest.update(f"actions {' '.join(map(str, self.actions.shape))}\n".encode())
        digest.update(np.ascontiguousarray(self.actions, dtype="<f4").tobytes())
        return f"sha256:{digest.hexdigest()}"


def render_data(plan: ClipPlan, size: tuple[int, int]) -> DojoClipData:
    """Carries a plan out.

    Args:
        plan: What to make.
        size: Height and width.

    Raises:
        BadInputError: If the scene cannot be built or the resolution is out of range.
    """
    clip = render_clip(plan, size=size, segmentation=True)
    if clip.frames is None or clip.segmentation is None:
        raise ValueError("a rendered clip has frames and a segmentation")
    positions = np.concatenate([clip.tip[:, None], clip.object_states[:, :, :3]], axis=1)
    none = np.zeros((len(clip.touched), 1), np.bool_)
    return DojoClipData(
        frames=np.ascontiguousarray(clip.frames.transpose(0, 3, 1, 2)),
        actions=clip.actions,
        segmentation=_markers_only(clip.frames, clip.segmentation, clip.marker_rgb),
        positions=positions.astype(np.float32),
        touched=np.concatenate([none, clip.touched], axis=1),
        markers=_markers(clip),
        instruction=clip.instruction,
        success=None if clip.success is None else bool(clip.success),
    )


def _markers(clip: RenderedClip) -> tuple[Marker, ...]:
    kinds = [item.kind for item in scene_of(clip.plan).objects]
    found = [Marker(name=EFFECTOR, colour=_colour(clip.marker_rgb), kind=EFFECTOR)]
    for label, rgb, kind in zip(clip.labels, clip.object_rgb, kinds, strict=True):
        found.append(Marker(name=label, colour=_colour(rgb), kind=kind))
    return tuple(found)


def _colour(rgb: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rgb)
    return red, green, blue


def _markers_only(
    frames: npt.NDArray[np.uint8],
    owners: npt.NDArray[np.uint8],
    marker_rgb: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    """Keeps, of the robot's pixels, those that the shining band covers by half or more.

    The band has one colour in any light and nothing else of a robot is like it: its green lies
    far below its red and blue, so half of that difference means half of the pixel.
    """
    found = np.where(owners >= 2, owners, 0).astype(np.uint8)
    red, green, blue = (frames[..., channel].astype(np.int16) for channel in range(3))
    excess = int(min(marker_rgb[0], marker_rgb[2])) - int(marker_rgb[1])
    band = np.minimum(red, blue) - green >= excess / 2
    found[(owners == 1) & band] = 1
    return found


class DojoTruth:
    """The truth behind one clip; keeps the ``GroundTruth`` contract."""

    def __init__(self, data: DojoClipData, plan: ClipPlan) -> None:
        self.markers = data.markers
        self._data, self._plan = data, plan

    def replay(self, actions: torch.Tensor) -> torch.Tensor:
        """Plays other actions from the last context frame on.

        Args:
            actions: float32 ``[n, action_dim]``; row 0 leads to the first frame after the
                context. What is out of bounds is clipped, as when clips are made.

        Returns:
            The ``n`` frames that follow, uint8 ``[n, 3, height, width]``.

        Raises:
            BadInputError: If the actions cannot be played.
        """
        height, width = self._data.frames.shape[-2:]
        wanted = actions.detach().cpu().numpy().astype(np.float32)
        frames = replay_clip(self._plan, wanted, size=(height, width))
        return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))

    def segmentation(self, start: int, stop: int) -> torch.Tensor:
        """See ``GroundTruth.segmentation``."""
        return torch.from_numpy(_cut(self._data.segmentation, start, stop))

    def positions(self, start: int, stop: int) -> torch.Tensor:
        """See ``GroundTruth.positions``."""
        return torch.from_numpy(_cut(self._data.positions, start, stop))

    def touched(self, start: int, stop: int) -> torch.Tensor:
        """See ``GroundTruth.touched``."""
        return torch.from_numpy(_cut(self._data.touched, start, stop))


class DojoClip:
    """A clip of the dojo; keeps the ``Clip`` contract.

    Attributes:
        record: Its line in the manifest.
        actions: ``[frames - 1, dim]`` float32.
        previous_action: ``None``: nothing is known of the time before a clip.
        truth: What only the simulator knows.
        success: Whether the first task was done by the end, where there is one.
        factual: Of a branch, whether the training data has behaviour of its kind; else ``None``.
    """

    def __init__(self, record: ClipRecord, data: DojoClipData, plan: ClipPlan) -> None:
        self.record = record
        self.factual = plan.factual if plan.branch is not None else None
        self.actions = torch.from_numpy(data.actions.copy())
        self.previous_action: torch.Tensor | None = None
        self.truth = DojoTruth(data, plan)
        self.success = data.success
        self._data = data

    def read(self, start: int, stop: int, *, view: str | None = None) -> torch.Tensor:
        """Gives clip frames ``start..stop-1``; see ``Clip.read``.

        Raises:
            ValueError: If the range or the view is not one of the clip's.
        """
        if view is not None:
            raise ValueError(f"view {view!r} of a clip without further views")
        return torch.from_numpy(_cut(self._data.frames, start, stop))

    def close(self) -> None:
        """Does nothing: the suite decides how long a clip is kept."""


def _cut(array: npt.NDArray[np.generic], start: int, stop: int) -> npt.NDArray[np.generic]:
    """Copies a range of frames, so that nobody can write into what the suite keeps."""
    if not 0 <= start <= stop <= len(array):
        raise ValueError(f"frames {start} to {stop} of a clip of {len(array)}")
    return array[start:stop].copy()


def pack(data: DojoClipData) -> bytes:
    """Packs a clip into the bytes of a compressed ``.npz`` file."""
    described = {
        "markers": [[each.name, list(each.colour), each.kind] for each in data.markers],
        "instruction": data.instruction,
        "success": data.success,
    }
    about = np.frombuffer(json.dumps(described).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        frames=data.frames,
        actions=data.actions,
        segmentation=data.segmentation,
        positions=data.positions,
        touched=data.touched,
        about=about,
    )
    return buffer.getvalue()


def unpack(content: bytes) -> DojoClipData:
    """Undoes ``pack``; nothing is ever unpickled.

    Raises:
        ValueError: If the bytes are not those of a packed clip.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            return DojoClipData(
                frames=arrays["frames"],
                actions=arrays["actions"],
                segmentation=arrays["segmentation"],
                positions=arrays["positions"],
                touched=arrays["touched"],
                markers=tuple(
                    Marker(name=name, colour=(rgb[0], rgb[1], rgb[2]), kind=kind)
                    for name, rgb, kind in about["markers"]
                ),
                instruction=about["instruction"],
                success=about["success"],
            )
    except Exception as error:
        raise ValueError(f"no packed clip: {error}") from error
