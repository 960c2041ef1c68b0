"""Clips of the simulated world as benchmarks take them: frames, actions and the truth behind."""

import numpy as np
import numpy.typing as npt
import torch

from dojobench.datasets.dojo_data import DojoClipData
from dojobench.datasets.suite import ClipRecord
from dojobench.simulator.clips import ClipPlan, replay_clip


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
