"""What a loop and an optimiser may be asked for."""

import pytest
from torch import nn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.loop import LoopConfig, training_device
from dojobench.reference_model.training.optimizer import make_optimizer
from dojobench.reference_model.training.stage import OptimizerConfig


def test_weight_decay_is_for_matrices_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Linear(4, 4))
    net[2].weight.requires_grad_(False)
    groups = make_optimizer(net, OptimizerConfig(weight_decay=0.1)).param_groups
    assert [(one["weight_decay"], len(one["params"])) for one in groups] == [(0.1, 1), (0.0, 4)]
    assert groups[0]["params"][0] is net[0].weight
    with pytest.raises(BadInputError, match="No weight of the Linear"):
        make_optimizer(nn.Linear(1, 1).requires_grad_(False), OptimizerConfig())


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"accumulate": 0}])
def test_an_impossible_loop_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInputError, match="must be at least 1"):
        LoopConfig(**wrong)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_named() -> None:
    assert training_device("auto").type in ("cpu", "cuda")
    for name in ("cuda:99", "abacus"):
        with pytest.raises(BadInputError, match=f"'{name}' is not available"):
            training_device(name)
