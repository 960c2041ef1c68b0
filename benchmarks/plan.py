"""Which clips a run consists of, and in which batches they are stepped.

Both follow from the suite and the settings alone, never from what is done already, so a
resumed run writes the same records in the same order as one that was never stopped.
"""

from collections.abc import Collection, Sequence

from dojobench.benchmarks.prefetch import Batch
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.protocol import BadInputError
from dojobench.protocol.validate import check_seed


def choose_clips(
    suite: Suite, *, splits: Sequence[str] | None, limit: int | None, train_split: str = "train"
) -> tuple[ClipRecord, ...]:
    """Chooses the clips to score.

    Args:
        suite: The suite.
        splits: Splits to score; ``None``: all but ``train_split``.
        limit: At most so many clips, in the suite's order.
        train_split: What baselines may learn from, and what is never scored unasked.

    Returns:
        The clips in the suite's order.

    Raises:
        BadInputError: If a split does not exist, nothing is left, or a clip is too short.
    """
    there = sorted({clip.split for clip in suite.clips})
    if splits is not None:
        for split in splits:
            if split not in there:
                raise BadInputError(
                    f"suite {suite.spec.name} has no split {split}; it has {', '.join(there)}"
                )
    if limit is not None and limit < 1:
        raise BadInputError(f"--limit is at least 1, not {limit}")
    wanted = set(splits) if splits is not None else set(there) - {train_split}
    chosen = tuple(clip for clip in suite.clips if clip.split in wanted)[:limit]
    if not chosen:
        raise BadInputError(
            f"suite {suite.spec.name} has no clips to score: its splits are "
            f"{', '.join(there) or 'none'}; name one with --splits"
        )
    for clip in chosen:
        if clip.frames <= suite.spec.context_frames:
            raise BadInputError(
                f"clip {clip.id} has {clip.frames} frames, of which {suite.spec.context_frames} "
                "are context: nothing is left to score; freeze the suite with longer clips"
            )
    return chosen


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Refuses seeds that are missing, repeated or out of range.

    Raises:
        BadInputError: Saying which.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise BadInputError("--seeds needs one or more different numbers, such as --seeds 0 1 2")
    for seed in seeds:
        check_seed(seed)
    return tuple(seeds)


def make_batches(clips: Sequence[ClipRecord], seeds: Sequence[int], size: int) -> list[Batch]:
    """Puts clips of the same length, instruction and camera together, at most ``size`` a batch.

    Raises:
        BadInputError: If ``size`` is below 1.
    """
    if size < 1:
        raise BadInputError(f"--batch is at least 1, not {size}")
    groups: dict[tuple[object, ...], list[ClipRecord]] = {}
    for clip in clips:
        key = (clip.frames, clip.instruction, clip.source, clip.camera)
        groups.setdefault(key, []).append(clip)
    return [
        Batch(clips=tuple(group[start : start + size]), seed=seed)
        for seed in seeds
        for group in groups.values()
        for start in range(0, len(group), size)
    ]


def pending(batches: Sequence[Batch], done: Collection[tuple[str, int]]) -> list[Batch]:
    """Leaves out what has a record already."""
    left = []
    for batch in batches:
        clips = tuple(clip for clip in batch.clips if (clip.id, batch.seed) not in done)
        if clips:
            left.append(batch if clips == batch.clips else Batch(clips=clips, seed=batch.seed))
    return left
