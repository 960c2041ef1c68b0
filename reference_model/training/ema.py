"""The running average of the weights, which is what a stage validates and exports."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dojobench.protocol.errors import BadInputError


class AveragedWeights:
    """Averages the trained weights of a module; frozen ones and buffers stay the module's own.

    The decay grows from 1/10 as ``(1 + n) / (10 + n)`` after ``n`` updates until it reaches its
    value, so that a short training is not an average of its own first weights (the rule of
    TensorFlow's ``ExponentialMovingAverage``).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Starts at the module's present weights.

        Args:
            module: Its parameters with ``requires_grad`` are averaged, in float32.
            decay: 0 to 1; 0 keeps no average and gives the module as it is.
        """
        self.module, self.decay, self.updates = module, decay, 0
        self._names = [name for name, one in module.named_parameters() if one.requires_grad]
        own = dict(module.named_parameters())
        self._live = [own[name] for name in self._names]
        kept = self._live if decay > 0 else []
        self._average = [one.detach().float().clone() for one in kept]

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the present weights."""
        self.updates += 1
        if self._average:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            live = [one.float() for one in self._live]
            torch._foreach_lerp_(self._average, live, 1 - decay)

    @contextmanager
    def swapped_in(self) -> Iterator[nn.Module]:
        """Gives the module with the average in place, in evaluation mode and without gradients.

        The weights and the modes of all its parts are back afterwards, bit by bit, whatever
        happens. Weights are copied, not exchanged, so that a compiled module stays valid.
        """
        modes = [(part, part.training) for part in self.module.modules()]
        kept = [one.detach().clone() for one in self._live] if self._average else []
        try:
            self._copy(self._average)
            self.module.eval()
            with torch.no_grad():
                yield self.module
        finally:
            self._copy(kept)
            for part, training in modes:
                part.training = training

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for live, value in zip(self._live, values, strict=False):
            live.copy_(value)

    def state(self) -> dict[str, object]:
        """Gives what a checkpoint holds."""
        names = self._names if self._average else []
        return {"updates": self.updates, "average": dict(zip(names, self._average, strict=True))}

    def load(self, state: dict[str, object]) -> None:
        """Takes back what ``state`` gave.

        Raises:
            BadInputError: If it is the average of other weights.
        """
        average, updates = state["average"], state["updates"]
        wanted = self._names if self._average else []
        if (
            not isinstance(average, dict)
            or not isinstance(updates, int)
            or set(average) != set(wanted)
        ):
            raise BadInputError(
                "The checkpoint averages other weights than this training; give another folder."
            )
        self.updates = updates
        for name, mine in zip(wanted, self._average, strict=True):
            mine.copy_(average[name])
