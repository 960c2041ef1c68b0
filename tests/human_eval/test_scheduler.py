"""The scheduler: connected first, balanced, telling, repeatable."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from dojobench.human_eval.counts import Counts
from dojobench.human_eval.scheduler import (
    DUPLICATE_GAP,
    GoldPair,
    Plan,
    Shown,
    State,
    choose,
    gain,
    trials_of,
)
from dojobench.human_eval.trial_order import planned_kinds

AXES = ("physics", "action")


def plan(models: int = 4, clips: int = 10, **more: object) -> Plan:
    names = tuple("ABCDEFGH"[:models])
    pairs = [(i, j) for i in range(models) for j in range(i + 1, models)]
    found = Plan(
        models=names,
        axes=AXES,
        clips={pair: tuple(f"clip-{k}" for k in range(clips)) for pair in pairs},
        gold=tuple(
            GoldPair(clip=f"clip-{k}", kind="frame-shuffled", axis=axis)
            for k in range(clips)
            for axis in AXES
        ),
        per_rater=20,
    )
    return dataclasses.replace(found, **more)


Answer = Callable[[Shown, str], str]


def always_tie(shown: Shown, axis: str) -> str:
    return "tie"


def first_letter_wins(shown: Shown, axis: str) -> str:
    return "left" if shown.left < shown.right else "right"


def simulate(study: Plan, raters: int, answer: Answer = always_tie) -> dict[str, list[Shown]]:
    """Raters take turns; each one's trial counts before the next asks."""
    counts = Counts(study.models, study.axes)
    past: dict[str, list[Shown]] = {f"r{k}": [] for k in range(raters)}
    working = True
    while working:
        working = False
        for rater, seen in past.items():
            shown = choose(study, State(rater=rater, past=tuple(seen), counts=counts))
            if shown is None:
                continue
            working = True
            seen.append(shown)
            for axis in study.axes:
                counts.add(
                    {**dataclasses.asdict(shown), "axis": axis, "answer": answer(shown, axis)}
                )
    return past


def ordinary(past: dict[str, list[Shown]]) -> list[Shown]:
    return [shown for seen in past.values() for shown in seen if shown.kind == "ordinary"]


def test_the_first_trials_connect_all_models() -> None:
    study = plan(models=8)
    shown = simulate(study, raters=7, answer=first_letter_wins)
    joined = {frozenset((seen[0].left, seen[0].right)) for seen in shown.values()}
    reached = {"A"}
    for _ in range(8):
        reached |= {name for pair in joined if pair & reached for name in pair}
    assert reached == set(study.models)
    assert len(joined) == 7  # a tree: no pair is spent on what is connected already


def test_answers_of_cannot_tell_connect_nothing() -> None:
    study = plan(models=2, clips=3, gold_share=0.0)
    counts = Counts(study.models, study.axes)
    shown = choose(study, State(rater="r", past=(), counts=counts))
    assert shown is not None
    body = {**dataclasses.asdict(shown), "axis": "physics", "answer": "unsure"}
    counts.add(body)
    assert counts.answered.sum() == 1
    assert counts.tally.sum() == 0


def test_no_rater_sees_a_pair_on_a_clip_twice_but_in_duplicates() -> None:
    past = simulate(plan(duplicate_share=0.2, gold_share=0.1), raters=5)
    for seen in past.values():
        first = [(s.pair, s.clip) for s in seen if s.kind == "ordinary"]
        assert len(set(first)) == len(first)
        assert len({(s.pair, s.clip, s.repeat) for s in seen}) == len(seen) == 20


def test_duplicates_swap_sides_and_keep_their_distance() -> None:
    past = simulate(plan(duplicate_share=0.25), raters=6)
    found = 0
    for seen in past.values():
        for place, shown in enumerate(seen):
            if shown.kind != "duplicate":
                continue
            found += 1
            before = next(
                k for k, s in enumerate(seen) if (s.pair, s.clip) == (shown.pair, shown.clip)
            )
            assert place - before > DUPLICATE_GAP
            assert (shown.left, shown.right) == (seen[before].right, seen[before].left)
            assert shown.arm == seen[before].arm
    assert found == 6 * 5


def test_gold_comes_in_its_share_with_both_questions_and_both_sides() -> None:
    past = simulate(plan(gold_share=0.2), raters=6)
    for seen in past.values():
        gold = [shown for shown in seen if shown.kind == "gold"]
        assert len(gold) == 4
        assert Counter(shown.gold_axis for shown in gold) == {"physics": 2, "action": 2}
        assert {shown.gold_answer for shown in gold} == {"left", "right"}
        assert all((s.left if s.gold_answer == "left" else s.right) == "gold:real" for s in gold)


def test_sides_are_balanced_for_each_pair() -> None:
    shown = ordinary(simulate(plan(models=3), raters=8))
    sides = Counter((s.pair, s.left) for s in shown)
    for pair in {s.pair for s in shown}:
        first, second = (sides[pair, name] for name in pair.split(" | "))
        assert abs(first - second) <= 2


def test_clips_are_balanced_within_a_pair_of_the_adaptive_arm() -> None:
    shown = ordinary(simulate(plan(models=2, clips=12, random_share=0.0), raters=9))
    counts = Counter(s.clip for s in shown)
    assert len(counts) == 12
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_random_arm_has_its_share_and_does_not_look_at_votes() -> None:
    study = plan(models=4, clips=40, random_share=0.3, per_rater=40)
    shown = ordinary(simulate(study, raters=14, answer=first_letter_wins))
    at_random = [s for s in shown if s.arm == "random"]
    assert binomtest(len(at_random), len(shown), 0.3).pvalue > 1e-3
    pairs = Counter(s.pair for s in at_random)
    assert len(pairs) == 6
    expected = len(at_random) / 6
    assert sum((n - expected) ** 2 / expected for n in pairs.values()) < 20.5  # chi2(5), 0.1 %


def test_votes_go_where_they_tell_most() -> None:
    tally = np.zeros((1, 3, 3, 3))
    tally[0, 0, 1] = tally[0, 1, 0] = [20, 20, 0]
    told = gain(tally, np.zeros((3, 3)))
    assert told[0, 2] > 3 * told[0, 1]
    np.testing.assert_allclose(told, told.T)
    # Trials that others work on count as if they were answered.
    working = np.zeros((3, 3))
    working[0, 2] = 200
    assert gain(tally, working)[0, 2] < told[0, 2] / 5


def test_the_gain_without_votes_is_that_of_the_prior() -> None:
    # A vote's variance is 1/4 in x = +-1/2, a difference of two strengths has 2 * 2**2.
    told = gain(np.zeros((1, 2, 2, 3)), np.zeros((2, 2)))
    assert told[0, 1] == pytest.approx(np.log1p(0.25 * 8.0), rel=1e-6)


def test_a_decided_pair_tells_less_than_a_close_one() -> None:
    tally = np.zeros((1, 4, 4, 3))
    tally[0, 0, 1] = [60, 0, 0]
    tally[0, 2, 3] = [30, 30, 0]
    tally[0, 1, 2] = [5, 5, 0]
    told = gain(tally, np.zeros((4, 4)))
    assert told[0, 2] > told[2, 3]


def test_equal_input_gives_equal_choices_and_another_seed_others() -> None:
    study = plan(gold_share=0.1, duplicate_share=0.1)
    assert simulate(study, raters=3) == simulate(study, raters=3)
    assert simulate(study, raters=3) != simulate(dataclasses.replace(study, seed=1), raters=3)


def test_a_rater_gets_as_many_trials_as_there_are() -> None:
    study = plan(models=2, clips=6, gold_share=0.1, duplicate_share=0.1)
    assert trials_of(study) == 7
    seen = simulate(study, raters=1)["r0"]
    assert len(seen) == 7
    assert Counter(s.kind for s in seen) == {"ordinary": 5, "gold": 1, "duplicate": 1}


def test_a_pair_with_the_planned_votes_is_done() -> None:
    study = plan(models=3, clips=30, votes_per_pair=10, per_rater=30)
    shown = ordinary(simulate(study, raters=5))
    assert Counter(s.pair for s in shown) == {"A | B": 10, "A | C": 10, "B | C": 10}


def test_no_more_trials_than_the_planned_votes() -> None:
    study = plan(models=3, clips=30, max_votes=40)
    assert len(ordinary(simulate(study, raters=5))) == 20


def test_open_trials_count_towards_the_planned_votes() -> None:
    study = plan(models=2, clips=30, votes_per_pair=2, gold_share=0.0)
    counts = Counts(study.models, study.axes)
    one = choose(study, State(rater="a", past=(), counts=counts))
    assert one is not None
    two = choose(study, State(rater="b", past=(), counts=counts, open=(one,)))
    assert two is not None
    assert choose(study, State(rater="c", past=(), counts=counts, open=(one, two))) is None


def test_raters_who_come_at_once_are_spread_over_pairs() -> None:
    study = plan(models=4, clips=20, random_share=0.0)
    counts = Counts(study.models, study.axes)
    handed: list[Shown] = []
    for k in range(60):
        shown = choose(study, State(rater=f"r{k}", past=(), counts=counts, open=tuple(handed)))
        assert shown is not None
        handed.append(shown)
    pairs = Counter(s.pair for s in handed)
    assert max(pairs.values()) - min(pairs.values()) <= 3


def test_models_without_a_common_clip_are_no_pair() -> None:
    study = dataclasses.replace(plan(models=3), clips={(0, 1): ("x", "y")})
    shown = ordinary(simulate(study, raters=2))
    assert {s.pair for s in shown} == {"A | B"}


def test_every_repetition_has_something_to_repeat() -> None:
    """Of 12 trials with two of each kind, known answers on the places 1 and 2 and repetitions on
    5 and 6 would leave the second repetition only what the first has repeated."""
    for rater in range(3000):
        order = random.Random(rater).sample(range(12), 12)
        kinds = planned_kinds(12, gold=2, duplicates=2, gap=3, key=order.__getitem__)
        assert (kinds.count("gold"), kinds.count("duplicate")) == (2, 2)
        first, second = (place for place, kind in enumerate(kinds) if kind == "duplicate")
        assert kinds[: first - 3].count("ordinary") >= 1
        assert kinds[: second - 3].count("ordinary") >= 2
    kinds = planned_kinds(
        12, gold=2, duplicates=2, gap=3, key=[9, 0, 1, 9, 9, 0, 1, 9, 9, 9, 9, 9].__getitem__
    )
    assert kinds[:7] == (
        "ordinary",
        "gold",
        "ordinary",
        "gold",
        "ordinary",
        "duplicate",
        "duplicate",
    )


@pytest.mark.parametrize("total", [1, 2, 5, 12, 50])
def test_the_order_of_kinds_has_room_for_what_it_promises(total: int) -> None:
    kinds = planned_kinds(
        total, gold=total // 6, duplicates=total // 6, gap=3, key=lambda place: (7 * place) % 11
    )
    assert len(kinds) == total
    assert kinds[0] == "ordinary"
    assert "duplicate" not in kinds[:4]
