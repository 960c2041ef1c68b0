"""Finds a simulated clip's objects in predicted frames by the colours that they have in the truth.

The colours are learned from true frames and their segmentation, once a clip, and fixed: a
histogram of colours for each object and one for everything else. The same finder looks at truth
and prediction, and an object counts only where the finder sees it in the truth: what it cannot
read there it does not ask of a prediction.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from dojobench.benchmarks.rollouts import OpenClip
from dojobench.metrics.trajectory import Marker as ColourMarker
from dojobench.metrics.trajectory import Track
from dojobench.protocol import Frames

Masks = npt.NDArray[np.bool_]

MAX_ROWS = 128
"""Larger frames are shrunk by a whole factor to at most so many rows: objects are found as well."""
_BINS = 16
"""Bins of each channel."""
_SEEN = 0.3
"""Intersection over union with the true mask from which an object is readable in a true frame."""
_LEARNED_FROM = 6
"""True frames, evenly spaced, that the colours are learned from, besides the last context one."""
_DOUBT = 0.5
"""Pixels of anything else that every colour is taken to have had, so that new ones are nothing."""


@dataclass(frozen=True, kw_only=True)
class ObjectFinder:
    """Finds the objects of one clip.

    Attributes:
        names: The objects, in the order of the masks.
        labels: Their numbers in the segmentation.
        odds: Probability of nothing and of each object by colour, ``[bins, 1 + objects]``.
        shrink: Factor by which frames are shrunk first.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    odds: torch.Tensor
    shrink: int

    @torch.no_grad()
    def find(self, frames: Frames) -> Masks:
        """Marks the objects' pixels.

        Args:
            frames: uint8 ``[n, 3, height, width]``.

        Returns:
            ``[n, objects, height / shrink, width / shrink]``; masks do not overlap.
        """
        parts = []
        for block in torch.split(frames.cpu(), 32):
            odds = self.odds[_bins(_shrunk(block, self.shrink))].permute(0, 3, 1, 2)
            # The neighbours' votes outweigh single noisy pixels and mixed borders.
            voted = functional.avg_pool2d(odds, 3, stride=1, padding=1, count_include_pad=False)
            best = voted.argmax(dim=1)
            which = torch.arange(1, self.odds.shape[1])[None, :, None, None]
            parts.append((best[:, None] == which).numpy())
        return np.concatenate(parts)

    def true_masks(self, opened: OpenClip, start: int, stop: int) -> Masks:
        """Gives the simulator's own masks of predicted frames, at the finder's size."""
        if opened.truth is None:
            raise ValueError("the clip has no ground truth")
        drawn = opened.truth.segmentation(opened.start + start, opened.start + stop)
        small = _picked(drawn, self.shrink).numpy()
        return np.stack([small == label for label in self.labels], axis=1)


def make_finder(opened: OpenClip) -> ObjectFinder | None:
    """Learns a clip's colours.

    Args:
        opened: The clip.

    Returns:
        The finder; ``None`` where the clip has no ground truth or no objects.
    """
    truth = opened.truth
    if truth is None:
        return None
    objects = [k for k, marker in enumerate(truth.markers) if marker.kind != "effector"]
    if not objects:
        return None
    shrink = -(-int(opened.context.shape[-2]) // MAX_ROWS)
    last = opened.record.frames - 1
    places = np.unique(np.linspace(opened.start - 1, last, _LEARNED_FROM + 1).astype(int))
    counts = np.zeros((len(objects) + 1, _BINS**3))
    for place in places.tolist():
        bins = _bins(_shrunk(opened.clip.read(place, place + 1), shrink)).numpy()
        drawn = _picked(truth.segmentation(place, place + 1), shrink).numpy()
        for row, label in enumerate([None, *(k + 1 for k in objects)]):
            mine = drawn == label if label else ~np.isin(drawn, [k + 1 for k in objects])
            counts[row] += np.bincount(bins[mine], minlength=_BINS**3)
    cube = counts.reshape(-1, _BINS, _BINS, _BINS)
    smooth = np.stack([gaussian_filter(each, 0.7, mode="constant") for each in cube])
    smooth = smooth.reshape(len(counts), -1).T
    smooth[:, 0] += _DOUBT
    odds = smooth / smooth.sum(axis=1, keepdims=True)
    return ObjectFinder(
        names=tuple(truth.markers[k].name for k in objects),
        labels=tuple(k + 1 for k in objects),
        odds=torch.from_numpy(odds).float(),
        shrink=shrink,
    )


def readable(found: Masks, true: Masks, *, least_area: int = 4) -> npt.NDArray[np.bool_]:
    """Says where the finder sees an object in the truth.

    Args:
        found: What it found in true frames, ``[n, objects, height, width]``.
        true: The simulator's masks, the same shape.
        least_area: Fewest pixels of either.

    Returns:
        ``[n, objects]``.
    """
    both = (found & true).sum(axis=(2, 3))
    either = (found | true).sum(axis=(2, 3))
    large = (found.sum(axis=(2, 3)) >= least_area) & (true.sum(axis=(2, 3)) >= least_area)
    return np.asarray(large & (both >= _SEEN * np.maximum(either, 1)))


def tracks(masks: Masks, shown: npt.NDArray[np.bool_], shrink: int) -> list[Track]:
    """Follows the middle of each mask.

    Args:
        masks: ``[n, objects, height, width]``.
        shown: Where the object counts as found, ``[n, objects]``.
        shrink: Pixels of the frame a pixel of the masks.

    Returns:
        One track an object, in pixels of the frame.
    """
    area = masks.sum(axis=(2, 3))
    x = masks.sum(axis=2) @ np.arange(masks.shape[3], dtype=np.float64)
    y = masks.sum(axis=3) @ np.arange(masks.shape[2], dtype=np.float64)
    found = shown & (area > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = np.stack([x / area, y / area], axis=-1) * shrink
    middle[~found] = np.nan
    return [
        Track(positions=middle[:, k], found=found[:, k], area=area[:, k].astype(np.float64))
        for k in range(masks.shape[1])
    ]


def effector_marker(opened: OpenClip) -> ColourMarker | None:
    """Gives the colour by which the clip's end effector is found, where it has a marker."""
    if opened.truth is None:
        return None
    found = next((m for m in opened.truth.markers if m.kind == "effector"), None)
    if found is None:
        return None
    rows = int(opened.context.shape[-2])
    red, green, blue = (value / 255 for value in found.colour)
    return ColourMarker(colour=(red, green, blue), radius=max(3, rows // 16))


def _shrunk(frames: Frames, factor: int) -> Frames:
    if factor == 1:
        return frames
    return functional.avg_pool2d(frames.float(), factor).round().to(torch.uint8)


def _picked(drawn: torch.Tensor, factor: int) -> torch.Tensor:
    """Takes the middle pixel of each square; squares at the rim that are cut off are left out."""
    height, width = (int(size) // factor for size in drawn.shape[-2:])
    middle = factor // 2
    return drawn[:, middle::factor, middle::factor][:, :height, :width].cpu()


def _bins(frames: Frames) -> torch.Tensor:
    """Number of each pixel's colour, int64 ``[n, height, width]``."""
    parts = (frames.cpu().to(torch.int64) * _BINS) // 256
    return (parts[:, 0] * _BINS + parts[:, 1]) * _BINS + parts[:, 2]
