"""Where the end effector and the objects of a branch group went, read from the pixels.

Truth and prediction are looked at by the same detector, so that what it cannot see counts
against nobody. How often it finds something in a prediction stands beside how far off that is:
a model must not improve its paths by losing the hand.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from dojobench.benchmarks.object_finder import (
    Masks,
    effector_marker,
    make_finder,
    readable,
    tracks,
)
from dojobench.benchmarks.parts import Part, first_of, mean_of
from dojobench.benchmarks.rollouts import OpenClip
from dojobench.metrics.counterfactual import CounterfactualScorer
from dojobench.metrics.trajectory import Track, detect_markers, trajectory_scores
from dojobench.protocol import Frames

Flags = npt.NDArray[np.bool_]

DISPLACED = 0.02
"""Metres by which an object has to move for its path to be asked for."""
_FOUND_SHARE = 0.25
"""Share of the area found in the truth from which an object counts as found in a prediction."""
LEAST_FOUND = 0.5
"""Share of the frames in which something has to be found for its path to be judged: of a hand
that is seen in a few easy frames only, nobody can say where it went."""
_NO_TRUTH = "not computed: the clips have no ground truth with markers"
_PATHS = ("ade", "fde", "ndtw", "detection")


class EffectorTracks:
    """Follows the end effector's marker in the branches of a group."""

    def __init__(self, opened: Sequence[OpenClip]) -> None:
        """Starts without frames."""
        self._marker = effector_marker(opened[0])
        self._unit = int(opened[0].context.shape[-2]) / 100
        self._seen: list[list[Track]] = []

    def update(self, answer: Frames, truth: Frames) -> None:
        """Adds the next frames, uint8 ``[branches, n, 3, height, width]`` each."""
        if self._marker is not None:
            self._seen.append(
                [detect_markers(video, [self._marker])[0] for video in (*answer, *truth)]
            )

    def finish(self) -> Part:
        """Gives ``effector_ade`` and the like, means over branches."""
        names = [f"effector_{name}" for name in _PATHS]
        if self._marker is None:
            return Part(not_computed=dict.fromkeys(names, _NO_TRUTH))
        whole = [_joined(parts) for parts in zip(*self._seen, strict=True)]
        branches = len(whole) // 2
        pairs = zip(whole[:branches], whole[branches:], strict=True)
        return _path_scores("effector", pairs, self._unit)


class BranchObjects:
    """Follows the displaced objects of a group, and retrieves branches by their pixels."""

    def __init__(self, opened: Sequence[OpenClip]) -> None:
        """Learns the objects' colours and which of them are displaced in which branch."""
        self._opened = opened
        self._unit = int(opened[0].context.shape[-2]) / 100
        self._finder = make_finder(opened[0])
        self._found: list[list[Masks]] = [[] for _ in opened]
        self._true_found: list[list[Masks]] = [[] for _ in opened]
        self._readable: list[list[Flags]] = [[] for _ in opened]
        self._moved = np.zeros((len(opened), 0), dtype=bool)
        self._retrieval = CounterfactualScorer(
            torch.zeros_like(opened[0].context[-1]), factual=None
        )
        if self._finder is None:
            return
        self._moved = np.stack([displaced(each, self._finder.labels) for each in opened])
        self._start = self._any_object(opened[0].start - 1, opened[0].start, opened[:1])

    def update(self, answer: Frames, truth: Frames, position: int) -> None:
        """Adds the next frames, from ``position`` of the prediction on."""
        if self._finder is None or not self._moved.any():
            return
        stop = position + answer.shape[1]
        offset = self._opened[0].start
        where = self._start | self._any_object(offset + position, offset + stop, self._opened)
        shown = where[None, :, None].to(answer.dtype)
        self._retrieval.update(answer * shown, truth * shown)
        for k, each in enumerate(self._opened):
            if self._moved[k].any():
                found_true = self._finder.find(truth[k])
                true = self._finder.true_masks(each, position, stop)
                self._found[k].append(self._finder.find(answer[k]))
                self._true_found[k].append(found_true)
                self._readable[k].append(readable(found_true, true))

    def finish(self) -> Part:
        """Gives ``object_ade`` and the like and ``object_retrieval``."""
        names = [f"object_{name}" for name in (*_PATHS, "retrieval")]
        if self._finder is None:
            return Part(not_computed=dict.fromkeys(names, _NO_TRUTH))
        if not self._moved.any():
            reason = f"not computed: no object is displaced by {100 * DISPLACED:.0f} cm"
            return Part(not_computed=dict.fromkeys(names, reason))
        pairs = []
        for k in range(len(self._opened)):
            if self._moved[k].any():
                pairs += self._pairs(k, self._finder.shrink)
        paths = _path_scores("object", pairs, self._unit)
        scores = self._retrieval.finish()
        values, missing = dict(paths.values), dict(paths.not_computed)
        if "retrieval" in scores.values:
            values["object_retrieval"] = scores.values["retrieval"]
        else:
            missing["object_retrieval"] = scores.not_computed["retrieval"]
        return Part(values=values, not_computed=missing)

    def _pairs(self, branch: int, shrink: int) -> list[tuple[Track, Track]]:
        """Tracks of the displaced objects of a branch, predicted and true."""
        found, true = (np.concatenate(m[branch]) for m in (self._found, self._true_found))
        legible = np.concatenate(self._readable[branch])
        share = found.sum(axis=(2, 3)) >= _FOUND_SHARE * true.sum(axis=(2, 3))
        # Asked is where the truth can be read, or an exact path would differ from the true one.
        mine, its = tracks(found, share & legible, shrink), tracks(true, legible, shrink)
        wanted = np.flatnonzero(self._moved[branch])
        return [(mine[o], its[o]) for o in wanted if its[o].found.any()]

    def _any_object(self, start: int, stop: int, opened: Sequence[OpenClip]) -> torch.Tensor:
        """Marks where an object that is displaced in any branch lies in any of the truths."""
        if self._finder is None:
            raise ValueError("without ground truth there are no objects")
        moved = np.flatnonzero(self._moved.any(axis=0)).tolist()
        labels = torch.tensor([self._finder.labels[k] for k in moved], dtype=torch.uint8)
        drawn = [e.truth.segmentation(start, stop).cpu() for e in opened if e.truth is not None]
        return torch.stack([torch.isin(d, labels) for d in drawn]).any(dim=0)


def displaced(opened: OpenClip, labels: Sequence[int]) -> Flags:
    """Says which objects move from where they were at the end of the context.

    Args:
        opened: A clip with ground truth.
        labels: Numbers of the objects in the segmentation.

    Returns:
        bool ``[objects]``: moved by more than ``DISPLACED`` metres at any time.
    """
    if opened.truth is None:
        return np.zeros(len(labels), dtype=bool)
    places = opened.truth.positions(opened.start - 1, opened.record.frames).numpy()
    way = np.linalg.norm(places - places[:1], axis=2).max(axis=0)
    return np.asarray(way[[label - 1 for label in labels]] > DISPLACED)


def _path_scores(what: str, pairs: Iterable[tuple[Track, Track]], unit: float) -> Part:
    """Scores pairs of predicted and true tracks; means over them."""
    found = [trajectory_scores(mine, its, unit=unit) for mine, its in pairs]
    names = {name: f"{what}_{name}" for name in _PATHS} | {"detection_rate": f"{what}_detection"}
    if not found:
        reason = "not computed: the detector reads none of the displaced objects in the truth"
        return Part(not_computed={names[name]: reason for name in _PATHS})
    values = mean_of([scores.values for scores in found])
    missing = first_of([scores.not_computed for scores in found])
    rate = values.get("detection_rate", 0.0)
    if rate < LEAST_FOUND:
        reason = f"not computed: found in {rate:.0%} of the frames only"
        missing |= dict.fromkeys(_PATHS[:-1], reason)
        values = {name: value for name, value in values.items() if name not in _PATHS}
    return Part(
        values={names[name]: value for name, value in values.items()},
        not_computed={names[name]: why for name, why in missing.items() if name not in values},
    )


def _joined(parts: Sequence[Track]) -> Track:
    return Track(
        positions=np.concatenate([part.positions for part in parts]),
        found=np.concatenate([part.found for part in parts]),
        area=np.concatenate([part.area for part in parts]),
    )
