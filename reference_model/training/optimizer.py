"""The optimiser of a player."""

import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.stage import OptimizerConfig


def make_optimizer(module: torch.nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Makes AdamW for the parameters of a module that have ``requires_grad``.

    Weight decay is for matrices and kernels; vectors, such as biases and gains, have none.

    Raises:
        BadInputError: If there is nothing to train.
    """
    trained = [one for one in module.parameters() if one.requires_grad]
    if not trained:
        raise BadInputError(
            f"No weight of the {type(module).__name__} is to be trained; unfreeze some."
        )
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )
