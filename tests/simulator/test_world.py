import numpy as np
import pytest

from dojobench.protocol.errors import BadInputError
from dojobench.simulator.policies import Performer
from dojobench.simulator.seeding import stream
from dojobench.simulator.world import EMBODIMENTS, Dojo


def near_contact(embodiment: str, seed: int, steps: int = 12) -> Dojo:
    dojo = Dojo(embodiment).reset(seed, {"objects.number": 3})
    performer = Performer(dojo, stream(seed, "test"), ("push", "pick"))
    for _ in range(steps):
        dojo.step(performer.act())
    return dojo


def random_actions(dojo: Dojo, rng: np.random.Generator, steps: int) -> np.ndarray:
    low, high = np.array(dojo.embodiment.spec.low), np.array(dojo.embodiment.spec.high)
    if dojo.embodiment.name == "arm2":
        return np.clip(dojo.control + rng.normal(0, 0.03, (steps, len(low))), low, high)
    return rng.uniform(low, high, (steps, len(low)))


def test_a_thousand_branches_return_bit_for_bit() -> None:
    """1000 branches of 40 states: played twice, each pair ends in the same bits."""
    rng = np.random.default_rng(0)
    played = 0
    for index in range(40):
        dojo = near_contact(list(EMBODIMENTS)[index % 3], index, 4 + index % 15)
        state = dojo.save()
        plans = [random_actions(dojo, rng, 2) for _ in range(25)]
        first = dojo.branches(state, plans, size=None)
        again = dojo.branches(state, plans[::-1], size=None)[::-1]
        for one, two in zip(first, again, strict=True):
            assert one.end == two.end
            assert one.states == two.states
            played += 1
        dojo.restore(state)
        assert dojo.save() == state
    assert played == 1000


@pytest.mark.parametrize("embodiment", list(EMBODIMENTS))
def test_branches_return_pixel_for_pixel_in_another_order_and_dojo(embodiment: str) -> None:
    rng = np.random.default_rng(1)
    dojo = near_contact(embodiment, 5)
    state, plans = dojo.save(), [random_actions(dojo, rng, 4) for _ in range(4)]
    forward = dojo.branches(state, plans, segmentation=True)
    other = near_contact(embodiment, 5)
    assert other.save() == state
    backward = other.branches(state, plans[::-1], segmentation=True)[::-1]
    for one, two in zip(forward, backward, strict=True):
        assert one.frames.tobytes() == two.frames.tobytes()
        assert one.segmentation.tobytes() == two.segmentation.tobytes()
    assert len({branch.frames.tobytes() for branch in forward}) == 4


def test_going_on_equals_restoring_and_going_on() -> None:
    """A restore must leave nothing behind that an undisturbed run would not have."""
    rng = np.random.default_rng(2)
    dojo = near_contact("arm", 8)
    actions = random_actions(dojo, rng, 12)
    for action in actions[:6]:
        dojo.step(action)
    middle = dojo.save()
    for action in actions[6:]:
        dojo.step(action)
    straight = dojo.save()
    dojo.restore(middle)
    for action in actions[6:]:
        dojo.step(action)
    assert dojo.save() == straight


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, two = near_contact("arm", 3), near_contact("arm", 3)
    assert one.save() == two.save()
    assert one.observe().rgb.tobytes() == two.observe().rgb.tobytes()
    assert near_contact("arm", 4).observe().rgb.tobytes() != one.observe().rgb.tobytes()


@pytest.mark.parametrize("embodiment", list(EMBODIMENTS))
def test_the_end_effector_goes_where_it_is_sent(embodiment: str) -> None:
    from dojobench.simulator.motions import Style, travel

    dojo = Dojo(embodiment).reset(2)
    for goal in ([0.15, -0.1, 0.15], [-0.15, 0.1, 0.12], [0.0, -0.15, 0.2]):
        for intent in travel(dojo, np.array(goal), style=Style(), yaw=0.3):
            dojo.step(dojo.embodiment.encode(dojo.control, intent))
        for _ in range(4):
            held = dojo.embodiment.held(dojo.control)
            dojo.step(dojo.embodiment.encode(dojo.control, held))
        assert np.linalg.norm(dojo.tip - goal) < 0.006
    assert dojo.clipped == 0


@pytest.mark.parametrize("embodiment", list(EMBODIMENTS))
def test_nothing_moves_when_nobody_acts(embodiment: str) -> None:
    for seed in range(5):
        dojo = Dojo(embodiment).reset(seed)
        before = np.array([state.position for state in dojo.states()])
        for _ in range(10):
            held = dojo.embodiment.held(dojo.control)
            dojo.step(dojo.embodiment.encode(dojo.control, held))
        after = np.array([state.position for state in dojo.states()])
        assert np.abs(after - before).max() < 0.002


def test_out_of_bounds_is_clipped_with_a_count_or_refused() -> None:
    dojo = Dojo("arm").reset(1)
    dojo.step([1.0, 0, 0, 0, 2.0])
    dojo.step([0, 0, 0, 0, 1.0])
    assert dojo.clipped == 1
    strict = Dojo("arm", out_of_bounds="refuse").reset(1)
    with pytest.raises(BadInputError, match="dx = 1"):
        strict.step([1.0, 0, 0, 0, 1.0])
    same = Dojo("arm").reset(1)
    same.step([0.06, 0, 0, 0, 1.0])
    same.step([0, 0, 0, 0, 1.0])
    assert same.save().physics.tobytes() == dojo.save().physics.tobytes()


def test_bad_input_gets_one_sentence() -> None:
    with pytest.raises(BadInputError, match="did you mean 'hand'"):
        Dojo("hnd")
    dojo = Dojo("arm").reset(1)
    with pytest.raises(BadInputError, match="5 numbers"):
        dojo.step([0.0, 0.0])
    with pytest.raises(BadInputError, match="not finite"):
        dojo.step([float("nan"), 0, 0, 0, 0])
    with pytest.raises(BadInputError, match="no head camera"):
        dojo.observe("head")
    with pytest.raises(BadInputError, match="no camera"):
        dojo.observe("back")
    with pytest.raises(BadInputError, match="another scene"):
        dojo.restore(Dojo("hand").reset(1).save())
    crowd = {"objects.number": 5, "object.kind": ["box"], "object.size": 0.04}
    for seed in range(10):
        Dojo("arm").reset(seed, crowd)


def test_contacts_name_who_touches_whom() -> None:
    dojo = Dojo("arm").reset(6, {"object.kind": "box"})
    resting = {frozenset((c.first, c.second)) for c in dojo.contacts()}
    assert {frozenset(("background", item.name)) for item in dojo.objects} <= resting
    assert not any("robot" in pair for pair in resting)
    assert all(contact.force > 0 for contact in dojo.contacts())
