"""A model on a suite, ready to roll out: decoding before it, comparing behind it, all at once."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch

from dojobench.benchmarks.background import Background
from dojobench.benchmarks.prefetch import Batch, LoadedBatch, Prefetcher
from dojobench.benchmarks.rollout import StepTimes, Task, is_privileged, roll_out
from dojobench.datasets.suite import Suite
from dojobench.protocol import Frames, WorldModel

SLICE_FRAMES = 32
"""Frames that are compared at once; bounds memory where a model answers a long clip whole."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where rollouts happen.

    Attributes:
        suite: Where clips come from.
        model: What is rolled out, at the suite's resolution.
        device: Where context and actions are put.
        mode: How many actions a step gets; see ``rollout.step_lengths``.
    """

    suite: Suite
    model: WorldModel
    device: torch.device
    mode: str = "chunk"

    def load(self, batches: Sequence[Batch]) -> Prefetcher:
        """Starts decoding batches ahead."""
        return Prefetcher(self.suite, batches, self.model.spec.views)

    def roll_out(
        self,
        loaded: LoadedBatch,
        background: Background,
        compare: Callable[[Frames, Frames], None],
    ) -> StepTimes:
        """Rolls the model out on one batch.

        Args:
            loaded: The batch; all its truth is taken.
            background: Runs ``compare``; wait for it before the comparison is used.
            compare: Gets answer and truth, each ``[batch, n, 3, height, width]``, in order.

        Returns:
            What the model took.
        """
        batch, times = loaded.batch, StepTimes()
        with ExitStack() as stack:
            opened = []
            if is_privileged(self.model):
                for record in batch.clips:
                    clip = self.suite.open(record)
                    stack.callback(clip.close)
                    opened.append(clip)
            task = Task(
                names=batch.names,
                context=loaded.context,
                views=loaded.views,
                actions=loaded.actions,
                seed=batch.seed,
                instruction=batch.clips[0].instruction,
                clips=tuple(opened),
            )
            answers = roll_out(self.model, task, device=self.device, mode=self.mode, times=times)
            stack.callback(answers.close)
            for frames in answers:
                for start in range(0, frames.shape[1], SLICE_FRAMES):
                    # A copy, because a model may use its buffer again in the next step.
                    part = frames[:, start : start + SLICE_FRAMES].clone()
                    background.submit(partial(compare, part, loaded.take(part.shape[1])))
        return times
