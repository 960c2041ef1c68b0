"""The optimiser of a player: AdamW, with Muon for a transformer's matrices where asked for."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch.nn import Parameter

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.stage import OptimizerConfig

SCALE = "scale"
"""Key of a parameter group: its learning rate over that of the player."""


def make_optimizer(module: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Makes the optimiser for the parameters of a module that have ``requires_grad``.

    Weight decay is for matrices and kernels; vectors, such as biases and gains, have none. With
    ``config.muon`` the matrices of the module's ``blocks`` are updated by Muon, and all else by
    AdamW.

    Raises:
        BadInputError: If there is nothing to train, or Muon is asked for and there are no blocks.
    """
    trained = {name: one for name, one in module.named_parameters() if one.requires_grad}
    if not trained:
        raise BadInputError(
            f"No weight of the {type(module).__name__} is to be trained; unfreeze some."
        )
    if not config.muon:
        return _adamw(trained.values(), config)
    matrices = {
        name: one for name, one in trained.items() if name.startswith("blocks.") and one.ndim == 2
    }
    if not matrices:
        raise BadInputError(
            f"The {type(module).__name__} has no blocks with matrices for Muon; leave 'muon' at 0."
        )
    rest = [one for name, one in trained.items() if name not in matrices]
    muon = torch.optim.Muon(
        [{"params": list(matrices.values()), SCALE: config.muon / config.lr}],
        lr=config.muon,
        weight_decay=config.weight_decay,
        # Updates as large as AdamW's, so that rates are comparable and hold for every shape.
        adjust_lr_fn="match_rms_adamw",
    )
    return Joined(muon, _adamw(rest, config))


def _adamw(trained: Iterable[Parameter], config: OptimizerConfig) -> torch.optim.AdamW:
    weights = list(trained)
    groups = [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )


class Joined(torch.optim.Optimizer):
    """Several optimisers of different parameters, as one.

    Args:
        *parts: The optimisers.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self._parts = parts
        groups = list(chain.from_iterable(part.param_groups for part in parts))
        super().__init__([{"params": group["params"]} for group in groups], {})
        # The parts' own groups, so that a rate that is set here is the part's.
        self.param_groups = groups

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Steps them all."""
        del closure
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Gives their states by number."""
        return {str(number): part.state_dict() for number, part in enumerate(self._parts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what ``state_dict`` gave.

        Raises:
            ValueError: If it is the state of another number of optimisers, or of other weights.
        """
        if state_dict.keys() != {str(number) for number in range(len(self._parts))}:
            raise ValueError("the state is that of other optimisers")
        for number, part in enumerate(self._parts):
            part.load_state_dict(state_dict[str(number)])
        self.param_groups = list(chain.from_iterable(part.param_groups for part in self._parts))
