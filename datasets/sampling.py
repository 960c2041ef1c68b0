"""Which stretches of which episodes become clips, and to which split they belong.

Everything here is a rule without chance: the same dataset gives the same clips.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from dojobench.protocol.errors import BadInputError

ActionRule: TypeAlias = Literal["first", "last", "concat"]
"""Which recorded actions become the one that leads from a clip frame to the next.

With stride ``s``, clip frame ``k`` is recorded frame ``f = start + k s``, and the recorded actions
``f`` to ``f + s - 1`` lead from it to clip frame ``k + 1``.

- ``first`` (default): action ``f``, the one applied at the clip frame itself, as the released
  DreamDojo loader takes it. For absolute targets it is the target at that frame.
- ``last``: action ``f + s - 1``, the last one commanded before clip frame ``k + 1``.
- ``concat``: all of them side by side, ``s`` times as wide; nothing is left out, which velocities
  and relative actions need.
"""


class Window(NamedTuple):
    """Where a clip's first frame lies."""

    episode: str
    start: int


def stride_for(dataset_rate: float, rate: float) -> int:
    """Gives the stride that turns a dataset's frame rate into a model's.

    Args:
        dataset_rate: Frames per second of the dataset.
        rate: Frames per second wanted.

    Returns:
        Recorded frames per clip frame, at least 1: 2 for 20 to 10 Hz.

    Raises:
        BadInputError: If no whole number does.
    """
    if not rate > 0:
        raise BadInputError(f"A frame rate of {rate:g} Hz is impossible; state one above 0.")
    ratio = dataset_rate / rate
    stride = round(ratio)
    if stride < 1 or abs(ratio - stride) > 2e-3 * ratio:
        whole = ", ".join(f"{dataset_rate / each:g}" for each in range(1, 7))
        raise BadInputError(
            f"No whole stride turns the dataset's {dataset_rate:g} Hz into {rate:g} Hz; choose "
            f"one of {whole} Hz."
        )
    return stride


def clip_actions(
    actions: npt.NDArray[np.float32],
    start: int,
    stride: int,
    frames: int,
    rule: ActionRule = "first",
) -> npt.NDArray[np.float32]:
    """Picks a clip's actions out of an episode's.

    Args:
        actions: The episode's, ``[length, dim]``; row ``k`` is applied at recorded frame ``k``.
        start: The clip's first recorded frame.
        stride: Recorded frames per clip frame.
        frames: Clip frames.
        rule: See ``ActionRule``.

    Returns:
        ``[frames - 1, dim]``, or ``[frames - 1, stride * dim]`` for ``concat``; row ``k`` leads
        from clip frame ``k`` to ``k + 1``.
    """
    steps = start + stride * np.arange(frames - 1)
    if rule == "concat":
        every = steps[:, None] + np.arange(stride)
        return np.ascontiguousarray(actions[every].reshape(frames - 1, stride * actions.shape[1]))
    return np.ascontiguousarray(actions[steps if rule == "first" else steps + stride - 1])


def previous_action(
    actions: npt.NDArray[np.float32], start: int, stride: int, rule: ActionRule = "first"
) -> npt.NDArray[np.float32] | None:
    """Picks the action one clip step before the clip: the baseline of relative actions.

    Returns:
        ``[dim]`` (``[stride * dim]`` for ``concat``), or ``None`` where the episode has no such
        step.
    """
    if start < stride:
        return None
    before: npt.NDArray[np.float32] = clip_actions(actions, start - stride, stride, 2, rule)[0]
    return before


def even_starts(first: int, last: int, *, count: int | None, spacing: int) -> tuple[int, ...]:
    """Spreads starts evenly over a range.

    Args:
        first: Earliest start that is allowed.
        last: Latest start that is allowed; below ``first`` where none is.
        count: At most so many; as many as fit where ``None``.
        spacing: Least distance between two starts, at least 1.

    Returns:
        The starts, ascending; a single one lies in the middle.
    """
    if last < first or count == 0:
        return ()
    fitting = (last - first) // spacing + 1
    number = fitting if count is None else min(count, fitting)
    if number == 1:
        return (first + (last - first) // 2,)
    return tuple(first + (last - first) * i // (number - 1) for i in range(number))


def assign_split(
    dataset: str, episode: str, fractions: Mapping[str, float], *, seed: int = 0
) -> str:
    """Assigns an episode to a split by a hash of its name.

    An episode keeps its split when others are added or removed; the fractions hold on average.

    Args:
        dataset: Name of the dataset.
        episode: Id of the episode.
        fractions: Share of each split, in order; they sum to 1.
        seed: Gives other assignments.

    Returns:
        A key of ``fractions``.
    """
    digest = hashlib.sha256(f"{seed}\n{dataset}\n{episode}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    edge = 0.0
    for split, share in fractions.items():
        edge += share
        if place < edge:
            return split
    return list(fractions)[-1]


def all_windows(
    lengths: Mapping[str, int], *, steps: int, stride: int, lead: int = 0
) -> list[Window]:
    """Lists every window of a dataset, one per recorded frame at which it can begin.

    Args:
        lengths: Number of frames of each episode, in the dataset's order.
        steps: Frames that a window needs, strided, those of ``lead`` included.
        stride: Recorded frames per step.
        lead: Steps at the window's beginning that come before the clip.

    Returns:
        Windows whose last needed frame lies inside the episode, by the clip's first frame.
    """
    span = (steps - 1) * stride
    return [
        Window(episode, base + lead * stride)
        for episode, length in lengths.items()
        for base in range(max(0, length - span))
    ]


def split_window95(windows: Sequence[Window]) -> dict[str, list[Window]]:
    """Splits as the released DreamDojo loader does: the last 5 % of the windows are the test.

    It leaks: windows beside the border share an episode and most of their frames. It is here to
    compare with published numbers, not to be chosen.

    Returns:
        ``train`` and ``test``; the test part is rounded up, as published.
    """
    cut = len(windows) - -(-len(windows) // 20)
    return {"train": list(windows[:cut]), "test": list(windows[cut:])}


def spread(windows: Sequence[Window], count: int) -> list[Window]:
    """Takes ``count`` windows evenly, as the released loader does: index ``i / count * n``.

    Where there are no more than that, all of them are taken, each once.
    """
    total = len(windows)
    if total <= count:
        return list(windows)
    return [windows[int(i / count * total)] for i in range(count)]


def uniform_over_datasets(sizes: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Draws windows as the released loader does with ``--deterministic-uniform-sampling``.

    Each dataset gives ``count / len(sizes)`` windows at even distances (NVIDIA/DreamDojo
    ``groot_dreams/dataloader.py``, ``MultiVideoActionDataset.__getitem__``). The arithmetic is
    done in floating point as there, since it decides which windows are meant.

    Args:
        sizes: Number of windows of each dataset.
        count: Windows to draw.

    Returns:
        For each draw the dataset's position and the window's position within it.

    Raises:
        BadInputError: If a dataset has fewer windows than its share.
    """
    share = count / len(sizes)
    if min(sizes) < share:
        raise BadInputError(
            f"Each dataset must offer {share:g} windows, but the smallest has {min(sizes)}; "
            "download the whole set or ask for fewer clips."
        )
    drawn = []
    for number in range(count):
        dataset = int(number / share)
        drawn.append((dataset, int((number % share) / share * sizes[dataset])))
    return drawn
