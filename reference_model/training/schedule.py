"""The learning rate of a step and the chance of a step, both functions of the step alone.

What depends on nothing but the step needs no place in a checkpoint, and a training that resumes
cannot get it wrong.
"""

import numpy as np
import torch

from dojobench.reference_model.training.stage import OptimizerConfig


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Gives the rate of a step: a linear rise, a plateau, a linear fall to zero.

    The step is the loop's. Where several modules take turns, the rates of all rise and fall
    together, however often each has had its turn.

    Args:
        step: From 0 to ``steps - 1``.
        steps: Of the whole training.
        config: Plateau, rise and fall.

    Returns:
        Above 0 on every step, and zero just after the last one.
    """
    rise = (step + 1) / max(1, config.warmup)
    fall = (steps - step) / max(1.0, config.decay * steps)
    return config.lr * min(1.0, rise, fall)


def step_seed(seed: int, step: int) -> int:
    """Mixes a seed and a step, so that neighbouring steps have nothing in common.

    Returns:
        A number of 63 bits.
    """
    mixed = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    return int(mixed) >> 1


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Makes the generator of a step, and sets torch's global ones to the same state.

    The global ones are for layers that know no other, such as dropout.
    """
    mixed = step_seed(seed, step)
    torch.manual_seed(mixed)
    return torch.Generator(device).manual_seed(mixed)
