"""Learning rate and chance of a step, against closed form."""

import pytest
import torch

from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.schedule import learning_rate, step_generator, step_seed
from dojobench.reference_model.training.stage import OptimizerConfig


def rates(steps: int, **changed: float) -> list[float]:
    config = OptimizerConfig(**({"lr": 2.0, "warmup": 4, "decay": 0.5} | changed))  # type: ignore[arg-type]
    return [learning_rate(step, steps, config) for step in range(steps)]


def test_it_rises_stays_and_falls() -> None:
    expected = [0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 2, 2, 1.8, 1.6, 1.4, 1.2, 1, 0.8, 0.6, 0.4, 0.2]
    assert rates(20) == pytest.approx(expected)


def test_it_matches_torchs_own_schedule() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=2.0)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 10, 1.0, total_iters=9)
    fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=30)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [70])
    theirs = []
    for _ in range(100):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        both.step()
    assert rates(100, warmup=10, decay=0.3) == pytest.approx(theirs)


@pytest.mark.parametrize(("warmup", "decay"), [(0, 0.0), (1, 0.0)])
def test_without_rise_and_fall_it_is_constant(warmup: int, decay: float) -> None:
    assert rates(5, warmup=warmup, decay=decay) == [2.0] * 5


def test_a_rise_longer_than_the_training_never_exceeds_the_plateau() -> None:
    assert max(rates(5, warmup=100, decay=1.0)) < 2.0
    assert min(rates(5, warmup=100, decay=1.0)) > 0
    assert len(rates(1)) == 1


def test_every_step_and_every_seed_has_a_chance_of_its_own() -> None:
    seeds = {step_seed(seed, step) for seed in range(30) for step in range(300)}
    assert len(seeds) == 9000
    assert all(0 <= one < 2**63 for one in seeds)


def test_the_global_generator_is_set_with_the_steps_own() -> None:
    cpu = torch.device("cpu")
    first = (torch.randn(3, generator=step_generator(1, 5, cpu)), torch.randn(3))
    torch.randn(100)
    again = (torch.randn(3, generator=step_generator(1, 5, cpu)), torch.randn(3))
    other = torch.randn(3, generator=step_generator(1, 6, cpu))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other)


@pytest.mark.parametrize("changed", [{"lr": 0.0}, {"clip": 0.0}, {"decay": 1.5}, {"ema": 1.0}])
def test_an_impossible_optimiser_is_refused(changed: dict[str, float]) -> None:
    with pytest.raises(BadInputError, match="impossible"):
        OptimizerConfig(**changed)  # type: ignore[arg-type]
