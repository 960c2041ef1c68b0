"""The average of the weights, against torch's own and against closed form."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.ema import AveragedWeights


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))


def wander(module: nn.Module) -> None:
    with torch.no_grad():
        for one in module.parameters():
            one.add_(torch.randn(one.shape))


def test_once_warm_it_is_torchs_average() -> None:
    module = net()
    mine = AveragedWeights(module, 0.9)
    mine.updates = 10**6
    theirs = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(module)
    for _ in range(20):
        wander(module)
        mine.update()
        theirs.update_parameters(module)
    with mine.swapped_in() as averaged:
        for a, b in zip(averaged.parameters(), theirs.module.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_at_first_it_follows_quickly() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = AveragedWeights(module, 0.999)
    nn.init.ones_(module.weight)
    left = 1.0
    for n in range(1, 31):
        average.update()
        left *= (1 + n) / (10 + n)
        with average.swapped_in() as averaged:
            assert float(averaged.weight) == pytest.approx(1 - left, abs=1e-6)
    assert left < 1e-6 + 0.01


def test_weights_and_modes_come_back_bit_by_bit_even_after_an_error() -> None:
    module = net()
    module[2].eval()
    average = AveragedWeights(module, 0.5)
    wander(module)
    average.update()
    wander(module)
    before = {name: one.clone() for name, one in module.state_dict().items()}

    def fail() -> None:
        with average.swapped_in() as averaged:
            assert not any(part.training for part in averaged.modules())
            assert not torch.equal(averaged[0].weight, before["0.weight"])
            assert not averaged(torch.zeros(1, 3)).requires_grad
            raise RuntimeError("amid")

    with pytest.raises(RuntimeError, match="amid"):
        fail()
    after = module.state_dict()
    assert all(torch.equal(after[name], one) for name, one in before.items())
    assert [part.training for part in module] == [True, True, False, True]
    assert module[0].weight.requires_grad


def test_frozen_weights_and_buffers_are_the_modules_own() -> None:
    module = net()
    module[0].requires_grad_(False)
    average = AveragedWeights(module, 0.5)
    wander(module)
    module[1].running_mean.fill_(7)
    with average.swapped_in() as averaged:
        assert float(averaged[1].running_mean[0]) == 7
        frozen = averaged[0].weight.clone()
    assert torch.equal(frozen, module[0].weight)


def test_without_decay_the_module_is_given_as_it_is() -> None:
    module = net()
    average = AveragedWeights(module, 0.0)
    wander(module)
    average.update()
    weight = module[0].weight.clone()
    with average.swapped_in() as averaged:
        assert torch.equal(averaged[0].weight, weight)


def test_bfloat16_weights_are_averaged_in_float32() -> None:
    module = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(module.weight)
    average = AveragedWeights(module, 0.999)
    average.updates = 10**6
    nn.init.zeros_(module.weight)
    for _ in range(1000):
        average.update()
    with average.swapped_in() as averaged:
        assert float(averaged.weight) == pytest.approx(0.999**1000, rel=1e-2)


def test_its_state_comes_back_and_that_of_another_is_refused() -> None:
    module = net()
    average = AveragedWeights(module, 0.9)
    wander(module)
    average.update()
    state: dict[str, Any] = average.state()
    other = AveragedWeights(net(), 0.9)
    other.load(state)
    assert other.updates == 1
    with average.swapped_in() as a, other.swapped_in() as b:
        assert torch.equal(a[0].weight, b[0].weight)
    with pytest.raises(BadInputError, match="averages other weights"):
        AveragedWeights(nn.Linear(1, 1), 0.9).load(state)
    with pytest.raises(BadInputError, match="averages other weights"):
        AveragedWeights(net(), 0.0).load(state)
