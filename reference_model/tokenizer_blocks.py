"""Layers of our own video tokenizer: 2D convolutions over groups of four frames.

Time is folded into channels: the four frames of a group enter as 12 channels, and everything
after is two-dimensional. At 64x64 that is several times faster on a CPU than 3D convolutions,
and the state of a stream is one latent frame.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dojobench.reference_model.tokenizer_config import TokenizerConfig
from dojobench.reference_model.video_tokenizer import GROUP

FOLDED = 3 * GROUP
"""Channels of a group of frames."""


class ChannelRmsNorm(nn.Module):
    """Divides every pixel's channels by their root mean square, with a learned gain.

    Unlike GroupNorm it looks at one pixel alone, so a pixel's latent does not depend on the rest
    of the picture, and a crop is encoded like the whole.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises ``[n, channels, h, w]``."""
        mean_square = x.square().mean(dim=1, keepdim=True)
        return x * torch.rsqrt(mean_square + 1e-6) * self.gain


class ResidualBlock(nn.Module):
    """Norm, SiLU and a 3x3 convolution, twice, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelRmsNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = ChannelRmsNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # A block starts as the identity, which keeps deep stacks trainable without warm-up.
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[n, channels, h, w]`` to the same shape."""
        hidden: Tensor = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return x + hidden


def _down(channels: int, out: int) -> nn.Sequential:
    """Halves the resolution; starts by averaging groups of values, as WAN 2.2's shortcut does.

    Starting there instead of at random is worth 0.7 to 0.9 dB after 150 steps
    (`docs/measurements.md`).
    """
    mix = nn.Conv2d(4 * channels, out, 1)
    source = torch.arange(4 * channels) * out // (4 * channels)
    _start_from(mix, F.one_hot(source, out).T * (out / (4 * channels)) ** 0.5)
    return nn.Sequential(nn.PixelUnshuffle(2), mix)


def _up(channels: int, out: int) -> nn.Sequential:
    """Doubles the resolution; starts by repeating values."""
    mix = nn.Conv2d(channels, 4 * out, 1)
    source = torch.arange(4 * out) * channels // (4 * out)
    _start_from(mix, F.one_hot(source, channels))
    return nn.Sequential(mix, nn.PixelShuffle(2))


@torch.no_grad()
def _start_from(mix: nn.Conv2d, weight: Tensor) -> None:
    """Sets a 1x1 convolution to a fixed map, and a little noise to tell channels apart."""
    mix.weight.normal_(std=0.02).add_(weight[:, :, None, None].to(mix.weight))
    if mix.bias is not None:
        mix.bias.zero_()


class GroupEncoder(nn.Module):
    """Encodes groups of four frames, each by itself."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * FOLDED, config.widths[0], 3, padding=1),
        ]
        for level, width in enumerate(config.widths):
            if level > 0:
                layers.append(_down(config.widths[level - 1], width))
            layers += [ResidualBlock(width) for _ in range(config.blocks)]
        last = config.widths[-1]
        layers += [
            ChannelRmsNorm(last),
            nn.SiLU(),
            nn.Conv2d(last, 2 * config.latent_channels, 3, padding=1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the posterior of each group.

        Args:
            groups: ``[n, 12, height, width]`` in -1 to 1.

        Returns:
            Mean and log variance, ``[n, channels, h, w]`` each.
        """
        mean, log_variance = self.layers(groups).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)


class GroupDecoder(nn.Module):
    """Decodes groups of four frames from the present latent frame and those just before."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        layers: list[nn.Module] = [
            nn.Conv2d((1 + config.past) * config.latent_channels, widths[0], 3, padding=1)
        ]
        for level, width in enumerate(widths):
            if level > 0:
                layers.append(_up(widths[level - 1], width))
            layers += [ResidualBlock(width) for _ in range(config.blocks)]
        layers += [
            ChannelRmsNorm(widths[-1]),
            nn.SiLU(),
            nn.Conv2d(widths[-1], 4 * FOLDED, 3, padding=1),
            nn.PixelShuffle(2),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, windows: Tensor) -> Tensor:
        """Decodes each window.

        Args:
            windows: ``[n, (past + 1) * channels, h, w]``, the oldest latent first.

        Returns:
            ``[n, 12, height, width]``, about -1 to 1.
        """
        groups: Tensor = self.layers(windows)
        return groups
