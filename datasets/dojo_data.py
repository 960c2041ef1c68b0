"""Renders clips of the simulated world into what is kept of them, and packs it into bytes.

Rendering processes import this and no torch, which would cost each of them its start and memory.
"""

import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dojobench.datasets.suite import Marker
from dojobench.simulator.clips import ClipPlan, RenderedClip, render_clip, scene_of

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
