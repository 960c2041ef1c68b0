"""All passes of a latent frame as one CUDA graph, so that a GPU never waits for Python.

Once the ring of keys and values is full, every frame runs the same kernels on the same
addresses; what differs, its plan and its noise, is copied to where the graph reads it. The slots
of the ring are written in place by ``KVCache.commit``, outside the graph.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from dojobench.reference_model.pass_plan import Plan

Frame = Callable[[Plan, Sequence[Tensor]], Tensor]
_WARM_UP = 3


class FrameGraph:
    """Captures a function of a plan and noise, and replays it.

    Args:
        frame: The function; it may be run several times for one frame.
        plan: Of a first frame.
        draws: Its noise.
    """

    def __init__(self, frame: Frame, plan: Plan, draws: Sequence[Tensor]) -> None:
        self._plan = Plan(**{each.name: getattr(plan, each.name).clone() for each in fields(plan)})
        self._draws = [each.clone() for each in draws]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._draws[0].device):
            here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UP):
                    frame(self._plan, self._draws)
            here.wait_stream(aside)
            # The stream of the warm-up: what libraries keep for a stream is there by now.
            with torch.cuda.graph(self._graph, stream=aside):
                self._made = frame(self._plan, self._draws)

    def replay(self, plan: Plan, draws: Sequence[Tensor]) -> Tensor:
        """Runs the graph on another frame's plan and noise, of the same shapes.

        Returns:
            What the function returns, as a copy.
        """
        for each in fields(plan):
            getattr(self._plan, each.name).copy_(getattr(plan, each.name))
        for mine, given in zip(self._draws, draws, strict=True):
            mine.copy_(given)
        self._graph.replay()
        return self._made.clone()
