"""The image metrics as torchmetrics classes, for training loops and many processes.

Every state is a sum, so reducing over processes is adding. Sums are kept for each frame of the
horizon as well, so that a curve over time survives the reduction; the horizon is fixed at the
start because states of all processes need one shape. The scalar is the mean over clips of each
clip's own mean, as in ``dojobench.metrics.clip_scorer``, whatever the clips' lengths.
"""

from typing import Any

import torch
from torchmetrics import Metric

from dojobench.metrics.frames import check_pair
from dojobench.metrics.lpips_net import LpipsNet
from dojobench.metrics.psnr import Floor, decibels, mean_squared_error
from dojobench.metrics.skill import MOTION_THRESHOLD, motion_psnr
from dojobench.metrics.ssim import SsimSettings, ssim


class _ClipMean(Metric):
    """Mean over clips of a number that may be undefined for some."""

    is_differentiable = False
    full_state_update = False
    clip_sum: torch.Tensor
    clips: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("clip_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def _add_clips(self, values: torch.Tensor) -> None:
        """Adds one value a clip; NaN stands for undefined and is left out."""
        defined = ~values.isnan()
        self.clip_sum += torch.where(defined, values, 0).sum()
        self.clips += defined.sum()

    def compute(self) -> torch.Tensor:
        """Gives the mean over clips, a float64 scalar; NaN before any clip."""
        return self.clip_sum / self.clips


class _FrameMean(_ClipMean):
    """Mean over frames, then clips, with the mean over clips at each time kept too."""

    frame_sums: torch.Tensor
    frame_counts: torch.Tensor

    def __init__(self, *, horizon: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if horizon < 1:
            raise ValueError(f"a horizon has at least one frame, not {horizon}.")
        self.horizon = horizon
        sums = torch.zeros(horizon, dtype=torch.float64)
        counts = torch.zeros(horizon, dtype=torch.int64)
        self.add_state("frame_sums", sums, dist_reduce_fx="sum")
        self.add_state("frame_counts", counts, dist_reduce_fx="sum")

    def _add_frames(self, values: torch.Tensor) -> None:
        time = values.shape[1]
        self.frame_sums[:time] += values.sum(dim=0)
        self.frame_counts[:time] += values.shape[0]

    def curve(self) -> torch.Tensor:
        """Gives the mean over clips at each time, over all processes.

        Returns:
            float64 ``[horizon]``; NaN at times that no clip reached.
        """
        with self.sync_context():
            return self.frame_sums / self.frame_counts


def _check_clips(prediction: torch.Tensor, truth: torch.Tensor, horizon: int | None) -> None:
    check_pair(prediction, truth)
    if prediction.ndim != 5:
        raise ValueError(
            f"clips have the axes [batch, time, channels, height, width], and these are "
            f"{list(prediction.shape)}."
        )
    if horizon is not None and prediction.shape[1] > horizon:
        raise ValueError(
            f"the clips have {prediction.shape[1]} frames and the metric's horizon is {horizon}."
        )


class VideoPsnr(_FrameMean):
    """Peak signal-to-noise ratio, dB; higher is better, at most 80.

    ``update`` takes prediction and truth, ``[batch, time, channels, height, width]``, uint8 or
    floating point in 0 to 1. ``compute`` gives a float64 scalar and ``curve`` one value a time.

    Example:
        >>> metric = VideoPsnr(horizon=2)
        >>> truth = torch.full((1, 2, 3, 16, 16), 100, dtype=torch.uint8)
        >>> metric.update(truth + 5, truth)
        >>> round(float(metric.compute()), 3)
        34.151
    """

    higher_is_better = True

    def __init__(
        self, *, horizon: int, pooled: bool = False, floor: Floor = "max", **kwargs: Any
    ) -> None:
        """Chooses the mean.

        Args:
            horizon: Greatest number of frames in a clip.
            pooled: Whether a clip's value is taken of its mean error instead of frame by frame.
            floor: See ``dojobench.metrics.psnr.decibels``.
            **kwargs: Passed to ``torchmetrics.Metric``.
        """
        super().__init__(horizon=horizon, **kwargs)
        self.pooled = pooled
        self.floor: Floor = floor

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """Adds clips.

        Raises:
            ValueError: If the clips cannot be compared or are longer than the horizon.
        """
        _check_clips(prediction, truth, self.horizon)
        mse = mean_squared_error(prediction, truth)
        values = decibels(mse, floor=self.floor)
        self._add_frames(values)
        pooled = decibels(mse.mean(dim=1), floor=self.floor)
        self._add_clips(pooled if self.pooled else values.mean(dim=1))


class VideoSsim(_FrameMean):
    """Structural similarity, -1 to 1; higher is better.

    Takes and gives what ``VideoPsnr`` does.
    """

    higher_is_better = True

    def __init__(
        self, *, horizon: int, settings: SsimSettings | None = None, **kwargs: Any
    ) -> None:
        """Chooses the SSIM.

        Args:
            horizon: Greatest number of frames in a clip.
            settings: See ``dojobench.metrics.ssim.SsimSettings``.
            **kwargs: Passed to ``torchmetrics.Metric``.
        """
        super().__init__(horizon=horizon, **kwargs)
        self.settings = settings

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """Adds clips.

        Raises:
            ValueError: If the clips cannot be compared or are longer than the horizon.
        """
        _check_clips(prediction, truth, self.horizon)
        values = ssim(prediction, truth, settings=self.settings)
        self._add_frames(values)
        self._add_clips(values.mean(dim=1))


class VideoLpips(_FrameMean):
    """LPIPS with the net it is given; lower is better, 0 for equal frames.

    Takes and gives what ``VideoPsnr`` does.
    """

    higher_is_better = False

    def __init__(self, net: LpipsNet, *, horizon: int, **kwargs: Any) -> None:
        """Takes a net whose weights are there.

        Args:
            net: The distance.
            horizon: Greatest number of frames in a clip.
            **kwargs: Passed to ``torchmetrics.Metric``.

        Raises:
            ValueError: If the net has no weights.
        """
        super().__init__(horizon=horizon, **kwargs)
        if not net.available:
            raise ValueError(f"{net.name} is {net.status}.")
        self.net = net

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None:
        """Adds clips.

        Raises:
            ValueError: If the clips cannot be compared or are longer than the horizon.
        """
        _check_clips(prediction, truth, self.horizon)
        values = self.net(prediction, truth).to(self.frame_sums.device)
        self._add_frames(values)
        self._add_clips(values.mean(dim=1))


class StaticSkill(_FrameMean):
    """Share of the static frame's squared error that is avoided; higher is better, at most 1.

    ``update`` takes also the last context frame, ``[batch, channels, height, width]``. Clips
    whose truth never moves have no skill and are left out of the mean. ``curve`` is the skill
    of all clips' summed errors at each time.
    """

    higher_is_better = True
    static_sums: torch.Tensor

    def __init__(self, *, horizon: int, **kwargs: Any) -> None:
        """Fixes the horizon.

        Args:
            horizon: Greatest number of frames in a clip.
            **kwargs: Passed to ``torchmetrics.Metric``.
        """
        super().__init__(horizon=horizon, **kwargs)
        sums = torch.zeros(horizon, dtype=torch.float64)
        self.add_state("static_sums", sums, dist_reduce_fx="sum")

    def update(
        self, prediction: torch.Tensor, truth: torch.Tensor, last_context: torch.Tensor
    ) -> None:
        """Adds clips.

        Raises:
            ValueError: If the clips cannot be compared or are longer than the horizon.
        """
        _check_clips(prediction, truth, self.horizon)
        check_pair(truth[:, 0], last_context)
        model = mean_squared_error(prediction, truth)
        static = mean_squared_error(last_context[:, None].expand_as(truth), truth)
        self._add_frames(model)
        self.static_sums[: static.shape[1]] += static.sum(dim=0)
        still = static.sum(dim=1)
        self._add_clips(torch.where(still > 0, 1 - model.sum(dim=1) / still, torch.nan))

    def curve(self) -> torch.Tensor:
        """Gives the skill at each time, over all clips and processes.

        Returns:
            float64 ``[horizon]``; NaN at times where no clip has moved.
        """
        with self.sync_context():
            moved = self.static_sums > 0
            return torch.where(moved, 1 - self.frame_sums / self.static_sums, torch.nan)


class MotionPsnr(_ClipMean):
    """PSNR over the pixels that move in the truth, pooled over a clip; higher is better.

    ``update`` takes what that of ``StaticSkill`` does. Clips in which nothing moves are left
    out of the mean.
    """

    higher_is_better = True

    def __init__(self, *, threshold: float = MOTION_THRESHOLD, **kwargs: Any) -> None:
        """Chooses what counts as motion.

        Args:
            threshold: See ``dojobench.metrics.skill.motion_mask``.
            **kwargs: Passed to ``torchmetrics.Metric``.
        """
        super().__init__(**kwargs)
        self.threshold = threshold

    def update(
        self, prediction: torch.Tensor, truth: torch.Tensor, last_context: torch.Tensor
    ) -> None:
        """Adds clips.

        Raises:
            ValueError: If the clips cannot be compared.
        """
        _check_clips(prediction, truth, None)
        values = [
            motion_psnr(p, t, still, threshold=self.threshold)
            for p, t, still in zip(prediction, truth, last_context, strict=True)
        ]
        self._add_clips(torch.tensor(values, dtype=torch.float64, device=self.clip_sum.device))
