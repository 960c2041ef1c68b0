"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, doi:10.1109/TIP.2003.819861).

Two identities make it cheap. With ``u = x + y`` and ``v = x - y``::

    2 mu_x mu_y       = (mu_u^2 - mu_v^2) / 2      2 cov_xy          = (var_u - var_v) / 2
    mu_x^2 + mu_y^2   = (mu_u^2 + mu_v^2) / 2      var_x + var_y     = (var_u + var_v) / 2

so four filtered planes do the work of five, and where ``v`` is zero numerator and denominator
are the same numbers: an exact frame scores exactly 1. ``u`` is centred on 0 before it is squared,
which keeps float32 from losing small variances beside large means.

The window is separable, and each pass adds shifted copies of the planes: on a CPU that stays in
the cache and beats a depthwise convolution by an order of magnitude, and on every device it is
plain float32, which no setting for reduced precision (TF32, bf16, autocast) reaches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from dojobench.metrics.frames import LEVELS, check_pair, to_levels
from dojobench.metrics.side_by_side import side_by_side

_K1, _K2 = 0.01, 0.03
_CPU_VALUES_AT_ONCE = 200_000  # twelve planes of this size stay in a desktop's cache
_GPU_VALUES_AT_ONCE = 16_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SsimSettings:
    """Which SSIM is meant; the published ones differ in the second decimal.

    Attributes:
        window: ``gaussian`` is 11x11 with sigma 1.5 (the paper's); ``uniform`` is 7x7, each
            pixel alike, with the unbiased covariance (scikit-image's default).
        downsample: Averages blocks of ``round(min(height, width) / 256)`` pixels first, as the
            authors' Matlab code and piq do; at 480x640 that is 2x2.
        padding: ``valid`` keeps the windows that lie inside the frame; ``zero`` surrounds the
            frame with black (dino_wm) and ``reflect`` with its mirror image (torchmetrics), and
            one window is kept for each pixel.
    """

    window: Literal["gaussian", "uniform"] = "gaussian"
    downsample: bool = False
    padding: Literal["valid", "zero", "reflect"] = "valid"

    @property
    def size(self) -> int:
        """Side of the window, pixels."""
        return 11 if self.window == "gaussian" else 7

    def taps(self) -> torch.Tensor:
        """Gives the window's one-dimensional factor, float64 ``[size]``, summing to 1."""
        if self.window == "uniform":
            return torch.full((self.size,), 1 / self.size, dtype=torch.float64)
        offsets = torch.arange(self.size, dtype=torch.float64) - self.size // 2
        weights = torch.exp(-offsets.square() / (2 * 1.5**2))
        return weights / weights.sum()

    def pooling(self, height: int, width: int) -> int:
        """Gives the side of the blocks that are averaged first, 1 for none."""
        return max(1, round(min(height, width) / 256)) if self.downsample else 1


class SsimFilter:
    """SSIM of many frames of one shape; its buffers are kept between calls."""

    def __init__(
        self,
        *,
        channels: int,
        height: int,
        width: int,
        settings: SsimSettings | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Prepares windows for frames of ``[channels, height, width]``.

        Raises:
            ValueError: If the frame is smaller than the window; one sentence.
        """
        self.settings = settings or SsimSettings()
        self.device = torch.device(device)
        self._pool = self.settings.pooling(height, width)
        size = self.settings.size
        self._pad = 0 if self.settings.padding == "valid" else size // 2
        self._height = height // self._pool + 2 * self._pad
        self._width = width // self._pool + 2 * self._pad
        least = size if self._pad == 0 else size // 2 + 1
        if min(height, width) // self._pool < least:
            raise ValueError(
                f"SSIM needs frames of at least {least}x{least} pixels, and these are "
                f"{height}x{width}."
            )
        self._taps: list[float] = self.settings.taps().tolist()
        values = _CPU_VALUES_AT_ONCE if self.device.type == "cpu" else _GPU_VALUES_AT_ONCE
        per_channel = self._height * self._width
        self._channels_at_once = channels if channels * per_channel <= values else 1
        self._frames_at_once = max(1, values // (self._channels_at_once * per_channel))
        self._channels = channels
        # Lists are popped and appended to in one step each, so pieces may share them.
        self._free: dict[tuple[int, int], list[_Buffers]] = {}

    def __call__(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Measures each frame.

        Args:
            prediction: ``[frames, channels, height, width]``, uint8 or floating point 0 to 1.
            truth: The same shape and dtype.

        Returns:
            float64 ``[frames]``, -1 to 1, the mean over channels and windows.
        """
        return self.gather(side_by_side(self.pieces(prediction, truth)), len(prediction))

    def pieces(
        self, prediction: torch.Tensor, truth: torch.Tensor
    ) -> list[Callable[[], torch.Tensor]]:
        """Cuts the work into pieces that may run side by side with others.

        Args:
            prediction: As for a call.
            truth: As for a call.

        Returns:
            Functions whose results, in order, ``gather`` takes.
        """
        frames, channels = prediction.shape[:2]
        parts = [
            (slice(first, first + self._frames_at_once), slice(c, c + self._channels_at_once))
            for first in range(0, frames, self._frames_at_once)
            for c in range(0, channels, self._channels_at_once)
        ]
        return [partial(self._sum_map, prediction[part], truth[part]) for part in parts]

    def gather(self, sums: Sequence[torch.Tensor], frames: int) -> torch.Tensor:
        """Puts the results of ``pieces`` together.

        Args:
            sums: What the pieces returned.
            frames: Number of frames that they came from.

        Returns:
            float64 ``[frames]``.
        """
        size = self.settings.size
        windows = (self._height - size + 1) * (self._width - size + 1)
        groups = -(-frames // self._frames_at_once)
        each = len(sums) // groups
        by_frame = [
            torch.stack(list(sums[g * each : (g + 1) * each])).sum(0) for g in range(groups)
        ]
        return torch.cat(by_frame) / (self._channels * windows)

    def _sum_map(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Sums the similarity map of a few frames, ``[frames]``, float64."""
        free = self._free.setdefault((x.shape[0], x.shape[1]), [])
        buffers = free.pop() if free else self._allocate(x.shape[0], x.shape[1])
        self._fill(buffers.planes, x, y)
        _shift_and_add(buffers.planes, buffers.between, self._taps, dim=0)
        _shift_and_add(buffers.between, buffers.filtered, self._taps, dim=-1)
        similarity = _similarity(buffers.filtered, self.settings)
        free.append(buffers)
        return similarity.sum(dim=(0, 2, 3), dtype=torch.float64)

    def _allocate(self, frames: int, channels: int) -> "_Buffers":
        lost = self.settings.size - 1
        shapes = [
            (height, 4, frames, channels, width)
            for height, width in (
                (self._height, self._width),
                (self._height - lost, self._width),
                (self._height - lost, self._width - lost),
            )
        ]
        return _Buffers(*(torch.empty(shape, device=self.device) for shape in shapes))

    def _fill(self, planes: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> None:
        """Writes ``u - 255``, ``v`` and their squares, rows first."""
        u, v, uu, vv = planes.unbind(1)
        if self._pool > 1:
            x = F.avg_pool2d(to_levels(x), self._pool).div_(LEVELS)
            y = F.avg_pool2d(to_levels(y), self._pool).div_(LEVELS)
        if self._pad:
            x, y = (self._surround(frames) for frames in (x, y))
        u.copy_(x.permute(2, 0, 1, 3))
        vv.copy_(y.permute(2, 0, 1, 3))
        if x.dtype != torch.uint8:
            u.mul_(LEVELS)
            vv.mul_(LEVELS)
        torch.sub(u, vv, out=v)
        u.add_(vv).sub_(LEVELS)
        torch.mul(u, u, out=uu)
        torch.mul(v, v, out=vv)

    def _surround(self, frames: torch.Tensor) -> torch.Tensor:
        if self.settings.padding == "zero":
            return F.pad(frames, (self._pad,) * 4)
        scaled = to_levels(frames).div_(LEVELS) if frames.dtype == torch.uint8 else frames
        return F.pad(scaled, (self._pad,) * 4, mode="reflect")


class _Buffers(NamedTuple):
    """Planes before, between and after the two passes; rows come first, then u, v, uu, vv."""

    planes: torch.Tensor
    between: torch.Tensor
    filtered: torch.Tensor


def _shift_and_add(
    source: torch.Tensor, target: torch.Tensor, taps: list[float], *, dim: int
) -> None:
    length = target.shape[dim]
    torch.mul(source.narrow(dim, 0, length), taps[0], out=target)
    for offset, tap in enumerate(taps[1:], start=1):
        target.add_(source.narrow(dim, offset, length), alpha=tap)


def _similarity(filtered: torch.Tensor, settings: SsimSettings) -> torch.Tensor:
    """Combines the filtered planes into the map; overwrites them.

    All four factors are doubled, which cancels. The unbiased covariance of the uniform window
    divides c2 instead of multiplying every variance.
    """
    u, v, s, d = filtered.unbind(1)
    c1, c2 = (_K1 * LEVELS) ** 2, (_K2 * LEVELS) ** 2
    if settings.window == "uniform":
        c2 *= (settings.size**2 - 1) / settings.size**2
    s.addcmul_(u, u, value=-1).add_(2 * c2)
    d.addcmul_(v, v, value=-1)
    numerator = torch.sub(s, d)
    s.add_(d)
    u.add_(LEVELS)
    u.mul_(u).add_(2 * c1)
    v.mul_(v)
    numerator.mul_(torch.sub(u, v))
    s.mul_(u.add_(v))
    return numerator.div_(s)


def ssim(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    *,
    settings: SsimSettings | None = None,
) -> torch.Tensor:
    """Measures structural similarity, one value a frame.

    Args:
        prediction: ``[..., channels, height, width]``, uint8 or floating point in 0 to 1.
        truth: The same shape and dtype.
        settings: Window, downsampling and padding; the paper's window on valid windows where
            ``None`` (scikit-image with ``gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False``).

    Returns:
        float64 ``[...]``, -1 to 1; higher is better, 1 for an exact frame.

    Raises:
        ValueError: If the frames cannot be compared or are smaller than the window.

    Example:
        >>> frame = torch.arange(768, dtype=torch.uint8).reshape(3, 16, 16)
        >>> float(ssim(frame, frame))
        1.0
    """
    check_pair(prediction, truth)
    channels, height, width = prediction.shape[-3:]
    compare = SsimFilter(
        channels=channels, height=height, width=width, settings=settings, device=prediction.device
    )
    shape = (-1, channels, height, width)
    return compare(prediction.reshape(shape), truth.reshape(shape)).reshape(prediction.shape[:-3])
