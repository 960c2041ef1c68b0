"""Scores one clip as its frames come, holding only what the convention needs.

A long rollout is never in memory: kept are one number a frame and metric, three planes of the
frame's size (each pixel's summed error, its least and its greatest true value, from which the
moving pixels follow exactly), the last context frame, and in ``dreamdojo`` the last prediction.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from dojobench.metrics.conventions import (
    DREAMDOJO_CHUNK,
    Convention,
    convention_named,
    predicted_index,
)
from dojobench.metrics.frames import LEVELS, to_levels, to_luma
from dojobench.metrics.lpips_net import LpipsNet
from dojobench.metrics.psnr import decibels
from dojobench.metrics.side_by_side import side_by_side
from dojobench.metrics.skill import (
    MOTION_THRESHOLD,
    mask_from_range,
    masked_decibels,
    static_skill,
)
from dojobench.metrics.ssim import SsimFilter, SsimSettings

_VALUES_AT_ONCE = 1 << 23
_ALWAYS = ("skill", "motion_psnr", "mse")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipScores:
    """What a clip scored.

    Attributes:
        values: One number a metric, keyed by names of ``dojobench.metrics.names.METRICS``.
        curves: One number a scored frame: the metrics asked for, ``mse`` and ``mse_static``
            (the error of the last context frame, held still). The first entry is the first
            predicted frame, or the conditioning frame where the convention scores it.
        not_computed: For each metric without a number, the sentence that stands in its place.
    """

    values: dict[str, float]
    curves: dict[str, list[float]]
    not_computed: dict[str, str]


class ClipScorer:
    """Scores one clip after the other: ``start``, ``update`` as often as needed, ``finish``.

    Example:
        >>> scorer = ClipScorer(metrics=("psnr",))
        >>> truth = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
        >>> scorer.start(truth[:1])
        >>> scorer.update(truth[1:3], truth[1:3])
        >>> scorer.update(truth[3:], truth[3:])
        >>> scorer.finish().values["psnr"]
        80.0
    """

    def __init__(
        self,
        convention: str = "aligned",
        *,
        metrics: Sequence[str] = ("psnr", "ssim"),
        lpips: LpipsNet | None = None,
        chunk: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Chooses what is measured.

        Args:
            convention: One of ``dojobench.metrics.conventions.CONVENTIONS``.
            metrics: ``psnr`` and ``ssim``, or one of them. ``skill``, ``motion_psnr`` and
                ``mse`` fall out of the same sums and are always given.
            lpips: The net to measure LPIPS with; none where ``None``. One without weights is
                named in ``not_computed``.
            chunk: Frames that the model predicts at a time, for the lag of ``dreamdojo``; 12
                where ``None``.
            device: Where to compute; frames are moved there.

        Raises:
            ValueError: If a convention or metric is unknown; one sentence.
        """
        self._convention = convention_named(convention)
        names = {"psnr", "ssim", *_ALWAYS} | ({lpips.name} if lpips else set())
        if unknown := [name for name in metrics if name not in names]:
            raise ValueError(
                f"metric '{unknown[0]}' cannot be computed here; choose among "
                f"{', '.join(sorted(names))}, and give an LpipsNet for LPIPS."
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"a chunk has at least one frame, not {chunk}.")
        self._metrics = tuple(metrics)
        self._lpips = lpips
        self._chunk = DREAMDOJO_CHUNK if chunk is None else chunk
        self._device = torch.device(device)
        self._filters: dict[torch.Size, SsimFilter | str] = {}
        self._clip: _Clip | None = None

    def start(
        self, context_truth: torch.Tensor, *, context_prediction: torch.Tensor | None = None
    ) -> None:
        """Begins a clip and forgets the one before.

        Args:
            context_truth: uint8 ``[c, 3, height, width]``; only the last frame is used, as the
                static prediction and, in conventions that score it, as frame 0.
            context_prediction: The model's own rendering of that last frame, uint8
                ``[3, height, width]``. The published DreamDojo evaluator scores the conditioning
                frame after a round trip through the tokenizer; models that return no context
                frames have none, and frame 0 is then exact (80 dB).

        Raises:
            ValueError: If the context is empty or not uint8 RGB; one sentence.
        """
        _check(context_truth, "the context")
        last = context_truth[-1]
        shown = last if context_prediction is None else context_prediction
        if shown.shape != last.shape or shown.dtype != torch.uint8:
            raise ValueError(
                f"the predicted context frame is {shown.dtype} {list(shown.shape)}, and the true "
                f"one is {last.dtype} {list(last.shape)}."
            )
        # Copies, because a view would keep the caller's whole clip in memory.
        last, shown = last.to(self._device, copy=True), shown.to(self._device, copy=True)
        self._clip = _Clip(last=last, previous=shown, still=self._seen_as(last))
        if self._convention.first_frame:
            self._score(self._clip, shown[None], last[None])

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """Scores the next frames.

        Args:
            prediction: uint8 ``[n, 3, height, width]``, the frames that follow those so far.
            truth: The true frames of the same times.

        Raises:
            ValueError: If no clip was started, nothing is given, or shape or dtype do not fit;
                one sentence. The clip is then as it was before the call.
        """
        clip = self._running()
        _check(prediction, "the prediction")
        _check(truth, "the truth")
        if prediction.shape != truth.shape:
            raise ValueError(
                f"the prediction has shape {list(prediction.shape)} and the truth has "
                f"{list(truth.shape)}; give as many frames of the same size."
            )
        if truth.shape[1:] != clip.last.shape:
            raise ValueError(
                f"the frames are {list(truth.shape[1:])} and the context was "
                f"{list(clip.last.shape)}; a clip keeps one size."
            )
        prediction, truth = prediction.to(self._device), truth.to(self._device)
        paired = self._paired(clip, prediction)
        at_once = max(1, _VALUES_AT_ONCE // truth[0].numel())
        for a, b in zip(torch.split(paired, at_once), torch.split(truth, at_once), strict=True):
            # Decoders give rows of RGB pixels; sums over such a view are ten times as slow.
            self._score(clip, a.contiguous(), b.contiguous())
        clip.previous = prediction[-1].clone()
        clip.frames += len(truth)

    def finish(self) -> ClipScores:
        """Ends the clip.

        Returns:
            Its scores.

        Raises:
            ValueError: If no frame was scored since ``start``; one sentence.
        """
        clip = self._running()
        if clip.frames == 0:
            raise ValueError("no frame was scored; give update at least one predicted frame.")
        self._clip = None
        values: dict[str, float] = {}
        curves = {name: list(curve) for name, curve in clip.curves.items()}
        missing = dict(clip.missing)
        if "psnr" in self._metrics:
            mse = torch.tensor(curves["mse"], dtype=torch.float64)
            by_frame = decibels(mse, floor=self._convention.floor)
            pooled = decibels(mse.mean(), floor=self._convention.floor)
            curves["psnr"] = by_frame.tolist()
            values["psnr"] = float(pooled if self._convention.pooled else by_frame.mean())
        for name in ("ssim", self._lpips.name if self._lpips else ""):
            if name in curves:
                values[name] = _mean(curves[name])
        values["mse"] = _mean(curves["mse"])
        skill = static_skill(sum(curves["mse"]), sum(curves["mse_static"]))
        _put(values, missing, "skill", skill, "the truth never leaves the last context frame")
        percent = round(100 * MOTION_THRESHOLD)
        motion = clip.motion_psnr()
        _put(values, missing, "motion_psnr", motion, f"no pixel changes by more than {percent} %")
        order = ["psnr", "ssim", "mse", "mse_static"]
        curves = {name: curves[name] for name in [*order, *sorted(curves)] if name in curves}
        return ClipScores(values=values, curves=curves, not_computed=missing)

    def _running(self) -> "_Clip":
        if self._clip is None:
            raise ValueError("no clip is under way; call start with its context frames first.")
        return self._clip

    def _paired(self, clip: "_Clip", prediction: torch.Tensor) -> torch.Tensor:
        """Picks for each true frame of this update the prediction it is compared with."""
        if not self._convention.lagged:
            return prediction
        first = clip.frames + 1
        wanted = [
            predicted_index(time, self._convention, self._chunk) - clip.frames
            for time in range(first, first + len(prediction))
        ]
        return torch.cat([clip.previous[None], prediction])[wanted]

    def _seen_as(self, frames: torch.Tensor) -> torch.Tensor:
        return to_luma(frames) if self._convention.grey else frames

    def _score(self, clip: "_Clip", prediction: torch.Tensor, truth: torch.Tensor) -> None:
        left, right = self._seen_as(prediction), self._seen_as(truth)
        pieces: list[Callable[[], torch.Tensor]] = [partial(clip.measure_errors, left, right)]
        compare: SsimFilter | str = ""
        if "ssim" in self._metrics:
            compare = self._filter(left.shape[1:])
            if isinstance(compare, SsimFilter):
                pieces += compare.pieces(left, right)
        errors, *sums = side_by_side(pieces)
        clip.extend("mse", errors[0])
        clip.extend("mse_static", errors[1])
        if isinstance(compare, SsimFilter):
            clip.extend("ssim", compare.gather(sums, len(left)))
        elif compare:
            clip.missing["ssim"] = compare
        if self._lpips is not None:
            reason = _why_not(self._lpips, prediction.shape[1:])
            clip.extend(self._lpips.name, reason or self._lpips(prediction, truth))

    def _filter(self, shape: torch.Size) -> SsimFilter | str:
        if shape not in self._filters:
            try:
                self._filters[shape] = SsimFilter(
                    channels=shape[0],
                    height=shape[1],
                    width=shape[2],
                    settings=ssim_settings(self._convention),
                    device=self._device,
                )
            except ValueError as error:
                self._filters[shape] = f"not computed: {error}"
        return self._filters[shape]


def ssim_settings(convention: Convention) -> SsimSettings:
    """Gives the SSIM that a convention means."""
    return SsimSettings(
        window=convention.ssim_window,
        downsample=convention.ssim_downsample,
        padding=convention.ssim_padding,
    )


@dataclass(slots=True)
class _Clip:
    """Sums of the clip under way; ``still`` and the planes are in the convention's colours."""

    last: torch.Tensor
    previous: torch.Tensor
    still: torch.Tensor
    frames: int = 0
    scored: int = 0
    errors: torch.Tensor = field(init=False)
    low: torch.Tensor = field(init=False)
    high: torch.Tensor = field(init=False)
    curves: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.errors = torch.zeros(
            self.still.shape[1:], dtype=torch.float64, device=self.still.device
        )
        self.low, self.high = self.still.clone(), self.still.clone()

    def measure_errors(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Sums the squared errors of a few frames, exactly: integers below 2**53 in float64.

        Returns:
            float64 ``[2, frames]``: mean squared errors of the prediction and the static frame.
        """
        sums = []
        still = to_levels(self.still)
        for shown, true in zip(prediction, truth, strict=True):  # one at a time, in the cache
            levels = to_levels(true)
            squares = to_levels(shown).sub_(levels).square_()
            static = levels.sub_(still).square_()
            self.errors += squares.sum(dim=0, dtype=torch.float64)
            sums.append(torch.stack([e.sum(dtype=torch.float64) for e in (squares, static)]))
            torch.minimum(self.low, true, out=self.low)
            torch.maximum(self.high, true, out=self.high)
        self.scored += len(truth)
        return torch.stack(sums, dim=1) / (self.still.numel() * LEVELS**2)

    def extend(self, name: str, values: torch.Tensor | str) -> None:
        """Adds a metric's values for a few frames, or the reason why there are none."""
        if isinstance(values, str):
            self.missing[name] = values
        else:
            self.curves.setdefault(name, []).extend(values.tolist())

    def motion_psnr(self) -> float:
        mask = mask_from_range(self.low, self.high, self.still, threshold=MOTION_THRESHOLD)
        return masked_decibels(
            self.errors, mask, values_per_pixel=self.scored * self.still.shape[0]
        )


def _check(frames: torch.Tensor, what: str) -> None:
    if frames.dtype != torch.uint8:
        if frames.is_floating_point() and not bool(torch.isfinite(frames).all()):
            raise ValueError(f"{what} holds NaN or infinity; frames are uint8, 0 to 255.")
        kind = str(frames.dtype).removeprefix("torch.")
        raise ValueError(f"{what} is {kind}; frames are uint8, 0 to 255.")
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.numel() == 0:
        raise ValueError(
            f"{what} has shape {list(frames.shape)}; give at least one frame as "
            "[frames, 3, height, width]."
        )


def _why_not(net: LpipsNet, shape: torch.Size) -> str:
    """Says why a net cannot measure frames of this shape; empty where it can."""
    if not net.available:
        return net.status
    least = net.least_side()
    if min(shape[1:]) < least:
        return f"not computed: {net.name} needs frames of at least {least}x{least} pixels."
    return ""


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _put(
    values: dict[str, float], missing: dict[str, str], name: str, value: float, reason: str
) -> None:
    if math.isnan(value):
        missing[name] = f"not computed: {reason}"
    else:
        values[name] = value
