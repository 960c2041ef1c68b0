import numpy as np
import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.policies import Performer, Policy
from dojobench.simulator.seeding import stream
from dojobench.simulator.tasks import SKILLS, Monitor, propose
from dojobench.simulator.world import Dojo


def attempts(embodiment: str, verb: str, wanted: int) -> list[bool]:
    """Tries a task in the first scenes where it fits."""
    results: list[bool] = []
    for seed in range(1, 40):
        if len(results) == wanted:
            break
        dojo, rng = Dojo(embodiment).reset(seed), stream(seed, "task", verb)
        task = propose(dojo, verb, rng)
        if task is None:
            continue
        monitor, policy = Monitor.of(dojo, task), Policy(dojo, rng)
        assert not monitor.success(dojo), f"{verb} counts as done before it began"
        policy.begin(task.behave(dojo, rng, policy.style))
        while not policy.idle and dojo.steps < 150:
            dojo.step(policy.act())
            monitor.update(dojo)
        assert dojo.clipped == 0
        results.append(monitor.success(dojo))
    return results


@pytest.mark.parametrize("verb", list(SKILLS))
@pytest.mark.parametrize("embodiment", ["arm", "arm2", "hand"])
def test_scripted_tasks_mostly_succeed(embodiment: str, verb: str) -> None:
    results = attempts(embodiment, verb, 5)
    assert len(results) == 5
    assert sum(results) >= (3 if embodiment == "hand" else 4)


@pytest.mark.parametrize("verb", [verb for verb in SKILLS if verb not in ("miss", "wave")])
def test_doing_nothing_is_no_success(verb: str) -> None:
    for seed in range(1, 30):
        dojo = Dojo("arm").reset(seed)
        task = propose(dojo, verb, stream(seed))
        if task is None:
            continue
        monitor = Monitor.of(dojo, task)
        for _ in range(10):
            held = dojo.embodiment.held(dojo.control)
            dojo.step(dojo.embodiment.encode(dojo.control, held))
            monitor.update(dojo)
        assert not monitor.success(dojo)
        return
    pytest.fail(f"no scene has anything to {verb}")


def test_instructions_name_the_object_and_the_action() -> None:
    dojo = Dojo("arm").reset(9, {"object.kind": "ball"})
    for verb in ("pick", "push", "pat", "slap"):
        task = propose(dojo, verb, stream(1))
        assert task is not None
        assert task.item.label in task.instruction
        assert task.item.factors.colour in task.item.label
        assert verb in task.instruction


def test_what_does_not_fit_is_not_proposed() -> None:
    dojo = Dojo("arm").reset(9, {"object.kind": "ball"})
    assert propose(dojo, "open", stream(1)) is None
    assert propose(dojo, "topple", stream(1)) is None
    with pytest.raises(BadInputError, match="did you mean 'push'"):
        propose(dojo, "pusch", stream(1))


def test_behaviour_moves_objects_on_many_steps() -> None:
    moving = []
    for seed in range(6):
        dojo = Dojo("arm").reset(seed)
        performer = Performer(dojo, stream(seed, "p"), ("explore", "pick", "place", "push"))
        before = np.array([state.position for state in dojo.states()])
        for _ in range(60):
            dojo.step(performer.act())
            after = np.array([state.position for state in dojo.states()])
            moving.append(np.abs(after - before).max() > 0.001)
            before = after
    assert np.mean(moving) > 0.25
