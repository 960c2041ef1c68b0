"""What is known of a network's passes before their noise is.

Shapes: P passes, B batch, T latent frames, N tokens of a frame, D width, M modulated layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything about some passes over the same frames that does not depend on their noise.

    Attributes:
        modulations: ``[P, 3 M, B, T, 1, D]``: shift, 1 + scale and gate of each layer.
        final: ``[P, 2, B, T, 1, D]``: shift and 1 + scale of the last layer.
        base: ``[B, T, N, D]``, what masks and context add to the tokens.
        cosine: ``[T N, 1, 1, K]`` of the positions, float32.
        sine: The same, negated in the first half.
    """

    modulations: Tensor
    final: Tensor
    base: Tensor
    cosine: Tensor
    sine: Tensor

    def following(self, before: "Plan") -> "Plan":
        """Plans a single pass over two frames: the last pass of one, the first of the next.

        Args:
            before: Of the frame before; ``self`` is that of the frame after it.
        """
        return Plan(
            modulations=torch.cat([before.modulations[-1:], self.modulations[:1]], dim=3),
            final=torch.cat([before.final[-1:], self.final[:1]], dim=3),
            base=torch.cat([before.base, self.base], dim=1),
            cosine=torch.cat([before.cosine, self.cosine]),
            sine=torch.cat([before.sine, self.sine]),
        )
