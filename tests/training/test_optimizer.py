"""Muon for the blocks' matrices, AdamW for the rest: as the two by themselves, and resumable."""

import copy

import pytest
import torch
from torch import nn

from dojobench.protocol import BadInputError
from dojobench.reference_model.training.optimizer import SCALE, make_optimizer
from dojobench.reference_model.training.stage import OptimizerConfig

CONFIG = OptimizerConfig(lr=1e-3, muon=4e-3, weight_decay=0.1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed = nn.Linear(6, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.head = nn.Linear(8, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.head(x)


def advance(net: nn.Module, optimizers: list[torch.optim.Optimizer], steps: range) -> None:
    for step in steps:
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
        net(x).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def weights(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def test_blocks_matrices_take_muon_s_step_and_all_else_adamw_s() -> None:
    joined, apart = Net(), Net()
    matrices = [block.weight for block in apart.blocks]
    rest = [p for p in apart.parameters() if all(p is not m for m in matrices)]
    muon = torch.optim.Muon(matrices, lr=4e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim == 2], "weight_decay": 0.1},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=1e-3,
        betas=CONFIG.betas,
    )
    advance(joined, [make_optimizer(joined, CONFIG)], range(4))
    advance(apart, [muon, adamw], range(4))
    torch.testing.assert_close(weights(joined), weights(apart))
    assert not torch.equal(weights(joined), weights(Net()))


def test_a_rate_that_is_set_reaches_every_part() -> None:
    net = Net()
    before, optimizer = weights(net), make_optimizer(net, CONFIG)
    assert [group.get(SCALE, 1.0) for group in optimizer.param_groups] == [4.0, 1.0, 1.0]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    advance(net, [optimizer], range(2))
    assert torch.equal(weights(net), before)


def test_a_state_goes_on_where_it_was() -> None:
    whole = Net()
    advance(whole, [make_optimizer(whole, CONFIG)], range(6))
    begun = Net()
    optimizer = make_optimizer(begun, CONFIG)
    advance(begun, [optimizer], range(3))
    state = copy.deepcopy(optimizer.state_dict())
    resumed = Net()
    resumed.load_state_dict(begun.state_dict())
    again = make_optimizer(resumed, CONFIG)
    again.load_state_dict(state)
    for group in again.param_groups:
        group["lr"] = 1e-3 * group.get(SCALE, 1.0)
    advance(resumed, [again], range(3, 6))
    assert torch.equal(weights(resumed), weights(whole))


def test_a_state_of_another_optimizer_is_refused() -> None:
    net = Net()
    plain = make_optimizer(net, OptimizerConfig())
    with pytest.raises(ValueError, match="other optimisers"):
        make_optimizer(net, CONFIG).load_state_dict(plain.state_dict())


def test_what_has_no_blocks_or_nothing_to_train_is_refused() -> None:
    with pytest.raises(BadInputError, match="no blocks with matrices"):
        make_optimizer(nn.Linear(2, 2), CONFIG)
    with pytest.raises(BadInputError, match="unfreeze some"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), CONFIG)
    with pytest.raises(BadInputError, match="muon is 0 or above"):
        OptimizerConfig(muon=-1.0)
