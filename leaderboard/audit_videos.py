"""Recomputes scores from predicted videos, and looks at what only frames can show."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dojobench.benchmarks.frame_files import open_frames
from dojobench.datasets.near_duplicates import Prints, find_matches, join_prints, take_prints
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.leaderboard.attestation import Comparison, Floor, mean_comparison
from dojobench.leaderboard.known_suites import TRAIN_SPLIT
from dojobench.leaderboard.runs import SubmittedRun
from dojobench.leaderboard.submission import FileEntry
from dojobench.metrics.clip_scorer import ClipScorer
from dojobench.metrics.codec_floor import codec_floor
from dojobench.metrics.psnr import mean_squared_error
from dojobench.protocol.errors import BadInputError

CRF = 12
"""Of the videos that a run keeps."""
CORRELATION = 0.5
"""Most that what a codec takes away may correlate with what is wrong with the prediction."""
LEAST = {"psnr": 0.05, "ssim": 0.01}
SSIM_TIMES = 1.5
MEAN_SHARE = {"psnr": 1 / 3, "ssim": 1 / 2}
"""Of the tolerance of one clip, what the mean over all drawn clips may differ by: a codec's
effect has either sign, and what was added to every score has one."""
BACKWARDS = 3.0
"""A video that scores more than the records say may do so by so many tolerances: compression
takes noise away, and nobody gains by saying less."""
STILL = 0.5
"""Grey levels; below it two videos are the same."""
MOVES = 1.0
FROZEN_SHARE = 0.1
"""Of the truth's motion; a video that moves less than that stands still."""
EXACT_PSNR = 45.0
RETRIEVED_SHARE = 0.5

METRICS = ("psnr", "ssim")


@dataclass(frozen=True, kw_only=True)
class AuditedClip:
    """One clip and seed whose video was compared.

    Attributes:
        record: The clip.
        seed: The seed.
        prediction: uint8 ``[n, 3, height, width]``, without context.
        truth: The same of the truth.
        context: Last context frame, uint8 ``[3, height, width]``.
    """

    record: ClipRecord
    seed: int
    prediction: torch.Tensor
    truth: torch.Tensor
    context: torch.Tensor


def video_name(run: str, clip: str, seed: int) -> str:
    """Gives a predicted video's name in ``Videos.files``."""
    return f"{run}/{clip}.s{seed}.pred.mp4"


def load(
    suite: Suite, clip: ClipRecord, seed: int, file: Path, entry: FileEntry | None
) -> AuditedClip:
    """Reads a predicted video beside its truth.

    Raises:
        BadInputError: If it is missing, is not the one that was listed, or has another shape.
    """
    if not file.is_file() or file.is_symlink():
        raise BadInputError(f"{file} is missing; fetch all videos that the submission lists")
    if entry is not None:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != entry.sha256:
            raise BadInputError(
                f"{file} is not the video that the submission lists: its hash differs"
            )
    opened = suite.open(clip)
    frames = open_frames(file)
    try:
        context = suite.spec.context_frames
        if frames.count not in (clip.frames, clip.frames - context):
            raise BadInputError(
                f"{file} has {frames.count} frames, and clip {clip.id} has {clip.frames}"
            )
        skip = frames.count - (clip.frames - context)
        truth = opened.read(context - 1, clip.frames)
        height, width = truth.shape[-2:]
        # A video with an odd side has one row or column more.
        prediction = frames.read(skip, frames.count)[..., :height, :width]
    finally:
        frames.close()
        opened.close()
    if prediction.shape[-2:] != truth.shape[-2:]:
        raise BadInputError(f"{file} has other frames than clip {clip.id}")
    return AuditedClip(
        record=clip, seed=seed, prediction=prediction, truth=truth[1:], context=truth[0]
    )


def score(clip: AuditedClip, prediction: torch.Tensor, convention: str) -> dict[str, float]:
    """Scores frames as a run does, LPIPS apart."""
    scorer = ClipScorer(convention, metrics=METRICS)
    scorer.start(clip.context[None])
    scorer.update(prediction, clip.truth)
    return dict(scorer.finish().values)


def compare(run: SubmittedRun, clip: AuditedClip, floor: Floor) -> Iterator[Comparison]:
    """Compares what the records say with what a video gives.

    The tolerance follows from the codec floor: if compression adds the mean squared error ``f``
    to a prediction with the error ``m``, the video scores ``m + f + 2 c sqrt(f m)``, where ``c``
    is how much what compression took away correlates with what was wrong.

    Args:
        run: The run.
        clip: The clip, with the decoded video.
        floor: What compression costs this clip.

    Yields:
        PSNR and SSIM, and the static frame's error, which depends on the truth alone.
    """
    said = next(r for r in run.records if r.key == (clip.record.id, clip.seed))
    found = score(clip, clip.prediction, run.meta.convention)
    error, lost = 10 ** (-said.values.get("psnr", 0) / 10), 10 ** (-floor.psnr / 10)
    most = error + lost + 2 * CORRELATION * math.sqrt(error * lost)
    tolerances = {
        "psnr": LEAST["psnr"] + 10 * math.log10(most / error),
        "ssim": LEAST["ssim"] + SSIM_TIMES * (1 - floor.ssim),
    }
    for name in METRICS:
        if name in said.values and name in found:
            tolerance = tolerances[name]
            yield Comparison(
                run=run.entry.name,
                clip=clip.record.id,
                seed=clip.seed,
                metric=name,
                submitted=said.values[name],
                recomputed=found[name],
                tolerance=tolerance,
                within=_agree(said.values[name], found[name], tolerance),
            )
    mean = float(np.mean(said.curves.get("mse_static", (-1.0,))))
    still = clip.context.expand_as(clip.truth)
    true = float(mean_squared_error(still, clip.truth).mean())
    yield Comparison(
        run=run.entry.name,
        clip=clip.record.id,
        seed=clip.seed,
        metric="mse_static",
        submitted=mean,
        recomputed=true,
        tolerance=0.02 * true + 1e-6,
        within=abs(mean - true) <= 0.02 * true + 1e-6,
    )


def compare_means(found: Sequence[Comparison]) -> Iterator[Comparison]:
    """Compares the mean over the drawn clips, which is known better than any one of them."""
    for name in METRICS:
        chosen = [each for each in found if each.metric == name]
        if len(chosen) < 4:
            continue
        tolerance = MEAN_SHARE[name] * float(np.mean([each.tolerance for each in chosen]))
        yield mean_comparison(chosen, tolerance, backwards=BACKWARDS)


def _agree(said: float, found: float, tolerance: float) -> bool:
    return -BACKWARDS * tolerance <= said - found <= tolerance


def floor_of(clip: AuditedClip, rate: float) -> Floor:
    """Measures what the truth of a clip scores against its own copy in the videos' codec."""
    found = codec_floor(clip.truth, rate, crf=CRF)
    return Floor(clip=clip.record.id, psnr=found.psnr, ssim=found.ssim)


def look_for_copies(clips: Sequence[AuditedClip]) -> Iterator[str]:
    """Says which moving clips are the truth itself."""
    exact = []
    for clip in clips:
        if float(mean_squared_error(clip.context.expand_as(clip.truth), clip.truth).mean()) < 1e-4:
            continue
        if float(mean_squared_error(clip.prediction, clip.truth).mean()) < 10 ** (-EXACT_PSNR / 10):
            exact.append(clip.record.id)
    if exact:
        yield f"The videos of {len(exact)} clips, such as {exact[0]}, are the truth itself."


def look_for_frozen(clips: Sequence[AuditedClip]) -> Iterator[str]:
    """Says whether videos stand still while the truth moves."""
    moving = [clip for clip in clips if _motion(clip.truth) > MOVES]
    # Against its own first frame, because compression keeps every video away from the context.
    frozen = [
        clip for clip in moving if _motion(clip.prediction) < FROZEN_SHARE * _motion(clip.truth)
    ]
    if len(frozen) > len(moving) / 2:
        yield (
            f"The videos of {len(frozen)} of {len(moving)} clips, such as {frozen[0].record.id}, "
            "stand still while the truth moves."
        )


def look_for_ignored_actions(clips: Sequence[AuditedClip]) -> Iterator[str]:
    """Says whether branches with different actions were answered with the same frames."""
    groups: dict[tuple[str, int], list[AuditedClip]] = {}
    for clip in clips:
        if clip.record.branch_group:
            groups.setdefault((clip.record.branch_group, clip.seed), []).append(clip)
    same = different = 0
    example = ""
    for (name, _), group in groups.items():
        for other in group[1:]:
            if _distance(group[0].truth, other.truth) > STILL:
                different += 1
                if _distance(group[0].prediction, other.prediction) < STILL:
                    same, example = same + 1, name
    if same and same > different / 2:
        yield (
            f"In {same} of {different} pairs of branches, such as those of {example}, the frames "
            "are the same though the actions differ: the model ignores its actions."
        )


def look_for_retrieval(clips: Sequence[AuditedClip], suite: Suite) -> Iterator[str]:
    """Says whether predicted frames are frames of the training split."""
    train = [clip for clip in suite.clips if clip.split == TRAIN_SPLIT]
    if not train or not clips:
        return
    searched: Prints = join_prints(_prints_of(suite, clip) for clip in train)
    found = []
    for clip in clips:
        # The first frames still look like the context, which is not the training data.
        prints = take_prints(clip.prediction[len(clip.prediction) // 3 :: 4])
        usable = int(prints.usable.sum())
        if usable and len(find_matches(prints, searched)) > RETRIEVED_SHARE * usable:
            found.append(clip.record.id)
    if len(found) > 0.2 * len(clips):
        yield (
            f"The videos of {len(found)} of {len(clips)} clips, such as {found[0]}, show frames of "
            "the training split: the model looks clips up."
        )


def _prints_of(suite: Suite, clip: ClipRecord) -> Prints:
    opened = suite.open(clip)
    try:
        return take_prints(opened.read(0, clip.frames))
    finally:
        opened.close()


def _motion(frames: torch.Tensor) -> float:
    return _distance(frames[1:], frames[:1].expand_as(frames[1:])) if len(frames) > 1 else 0.0


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    length = min(len(a), len(b))
    return float((a[:length].float() - b[:length].float()).abs().mean())
