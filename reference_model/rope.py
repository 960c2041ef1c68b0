"""Rotary positions of a video's tokens in time, height and width.

A head's dimensions are split into a part for time, one for height and one for width: 44, 42 and
42 of 128, and in the same way for other sizes. Each part rotates by its own coordinate with base
10000, stretched where a model is used at sizes beyond those it was trained on (NTK: the base times
``ratio ** (d / (d - 2))``). Source: ``VideoRopePosition3DEmb`` in
``cosmos_predict2/_src/predict2/networks/minimal_v4_dit.py`` of NVIDIA/DreamDojo at 02f119b.

Time is absolute: a student that streams passes the index of its first latent frame, and one
second of a long rollout has the same positions whether it is computed at once or frame by frame.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

_TABLES_KEPT = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeConfig:
    """Rotary positions.

    Attributes:
        theta: Base of the frequencies.
        stretch: Extrapolation ratios of time, height and width; 1 for none.
    """

    theta: float = 10000.0
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Rotation(NamedTuple):
    """Cosines and sines, each ``[tokens, 1, head_dim]`` in float32."""

    cosine: torch.Tensor
    sine: torch.Tensor


def split_head(head_dim: int) -> tuple[int, int, int]:
    """Splits a head's dimensions into those for time, height and width.

    Raises:
        ValueError: If the head is too small or odd.
    """
    spatial = head_dim // 6 * 2
    temporal = head_dim - 2 * spatial
    if head_dim % 2 or spatial < 4:
        raise ValueError(f"A head needs an even number of dimensions, at least 12, not {head_dim}.")
    return temporal, spatial, spatial


def frequencies(dim: int, *, theta: float, stretch: float) -> torch.Tensor:
    """Gives the angles per step of one axis.

    Args:
        dim: Dimensions of the axis, even and above 2.
        theta: Base.
        stretch: Extrapolation ratio.

    Returns:
        ``[dim / 2]`` float32, descending from 1.
    """
    base = theta * stretch ** (dim / (dim - 2))
    exponents = torch.arange(0, dim, 2, dtype=torch.float32) / dim
    return torch.as_tensor(1.0 / base**exponents)


class Rope3D(nn.Module):
    """Makes rotations for grids of tokens and keeps those it made."""

    def __init__(self, head_dim: int, config: RopeConfig) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.config = config
        split_head(head_dim)
        self._tables: OrderedDict[tuple[object, ...], Rotation] = OrderedDict()

    def forward(
        self,
        frames: int,
        height: int,
        width: int,
        *,
        first_frame: int = 0,
        device: torch.device | str = "cpu",
    ) -> Rotation:
        """Gives the rotation of ``frames * height * width`` tokens.

        Args:
            frames: Latent frames.
            height: Rows of tokens.
            width: Columns of tokens.
            first_frame: Absolute index of the first latent frame.
            device: Where the tables shall be.

        Returns:
            Tables for tokens ordered by frame, row, column.
        """
        key = (frames, height, width, first_frame, str(device))
        if key not in self._tables:
            # A table made under inference mode could never serve a training step later.
            with torch.inference_mode(False), torch.no_grad():
                self._tables[key] = self.make(frames, height, width, first_frame, device)
            if len(self._tables) > _TABLES_KEPT:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return self._tables[key]

    def make(
        self, frames: int, height: int, width: int, first_frame: int, device: torch.device | str
    ) -> Rotation:
        """Makes a rotation afresh; arguments as for ``forward``."""
        starts = (first_frame, 0, 0)
        counts = (frames, height, width)
        angles = []
        for axis, dim in enumerate(split_head(self.head_dim)):
            steps = torch.arange(counts[axis], dtype=torch.float32, device=device) + starts[axis]
            rates = frequencies(dim, theta=self.config.theta, stretch=self.config.stretch[axis])
            rates = rates.to(device)
            shape = [1, 1, 1, dim // 2]
            shape[axis] = counts[axis]
            angles.append(torch.outer(steps, rates).view(shape).expand(*counts, dim // 2))
        half = torch.cat(angles, dim=-1).reshape(frames * height * width, 1, self.head_dim // 2)
        both = torch.cat([half, half], dim=-1)
        return Rotation(both.cos(), both.sin())


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Rotates queries or keys by their positions, in float32.

    The first half of a head's dimensions is paired with the second half.

    Args:
        x: ``[batch, tokens, heads, head_dim]``.
        rotation: For the same tokens.

    Returns:
        ``[batch, tokens, heads, head_dim]`` of the same dtype.
    """
    exact = x.float()
    first, second = exact.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (exact * rotation.cosine + turned * rotation.sine).to(x.dtype)
