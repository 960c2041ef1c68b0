"""Rankings: the five studies that cannot be ranked as they are, and what holds for all others."""

import math

import numpy as np
import pytest

from dojobench.metrics.groups import indistinguishable_groups
from dojobench.metrics.ranking import RankingConfig, pair_rate, pair_rates, rank, rates_against
from dojobench.metrics.votes import read_votes

QUICK = RankingConfig(resamples=200)


def _study(strengths, raters=8, clips=20, seed=0, tie=-1.0, side=0.0):
    """Votes of every rater on every pair and clip, models A, B, C …"""
    rng = np.random.default_rng(seed)
    rows = []
    for rater in range(raters):
        for clip in range(clips):
            for i in range(len(strengths)):
                for j in range(i):
                    a, b = (i, j) if rng.random() < 0.5 else (j, i)
                    lean = strengths[a] - strengths[b] + side
                    odds = np.exp([lean / 2, -lean / 2, tie])
                    said = ("left", "right", "tie")[rng.choice(3, p=odds / odds.sum())]
                    rows.append(("ABCDEFGH"[a], "ABCDEFGH"[b], said, f"r{rater}", f"c{clip}"))
    return read_votes(*zip(*rows, strict=True))


def _votes(*rows):
    return read_votes(*zip(*rows, strict=True))


def _grid(first, second, say, raters=5, clips=8):
    """Votes of all raters on all clips, sides swapped on every second one."""
    answers = {"left": "right", "right": "left", "tie": "tie"}
    for rater in range(raters):
        for clip in range(clips):
            said = say(rater, clip)
            if (rater + clip) % 2:
                yield second, first, answers[said], f"r{rater}", f"c{clip}"
            else:
                yield first, second, said, f"r{rater}", f"c{clip}"


def _mixed(rater, clip):
    return ("left", "right", "tie")[(rater * 3 + clip * clip) % 3]


# The five degenerate studies, by name.


def test_a_model_that_never_loses():
    rows = [*_grid("A", "B", lambda *_: "left"), *_grid("B", "C", _mixed)]
    found = rank(_votes(*rows), QUICK)
    assert found.statements[0] == (
        "A never lost or tied a vote against the others (40 votes); only the lower end of such a "
        "strength is known, the estimate itself comes from the prior."
    )
    assert len(found.statements) == 1
    first = found.strengths[0]
    assert first.model == "A"
    known = first.strength.clustered
    assert math.isfinite(known.mean)
    assert math.isnan(known.high)
    assert -1 < known.low < known.mean
    assert "lower end only" in known.method
    # Better than B, whom it met; C is known by way of B alone, with few raters.
    assert (first.rank_low, first.rank_high) == (1, 2)
    against_b = next(d for d in found.differences if {d.first, d.second} == {"A", "B"})
    # Five raters all of one mind show far less than forty independent votes would.
    assert 0 < against_b.difference.clustered.low < 2
    rate = pair_rate(_votes(*rows), 0, 1).rate
    assert rate.high == 1.0
    assert 0.5 < rate.low < 0.6
    assert rate.method == "wilson on 5 units: all 40 votes are equal"


def test_a_model_that_never_wins():
    rows = [*_grid("A", "B", lambda *_: "right"), *_grid("B", "C", _mixed)]
    found = rank(_votes(*rows), QUICK)
    last = found.strengths[-1]
    assert last.model == "A"
    assert math.isnan(last.strength.clustered.low)
    assert last.strength.clustered.mean < last.strength.clustered.high < 1
    assert last.rank_low >= 2


def test_disconnected():
    votes = _votes(*_grid("A", "B", _mixed), *_grid("C", "D", _mixed))
    found = rank(votes, QUICK)
    assert not found.graph.is_connected
    assert found.statements == (
        "The models fall into 2 groups that were never compared, not even by way of others: "
        "A, B | C, D; strengths and ranks hold within a group only.",
    )
    across = next(d for d in found.differences if {d.first, d.second} == {"A", "C"})
    assert math.isnan(across.difference.clustered.mean)
    assert across.difference.clustered.method == "none: the votes do not compare these models"
    assert not across.distinguishable
    assert all(each.rank_high <= 2 for each in found.strengths)
    assert all(len({name in "AB" for name in group}) == 1 for group in found.groups)


def test_all_ties():
    votes = _votes(*_grid("A", "B", lambda *_: "tie"))
    found = rank(votes, QUICK)
    assert found.statements == ("All 40 votes are ties, so no model is told from any other.",)
    known = found.differences[0].difference.clustered
    assert known.mean == pytest.approx(0, abs=1e-9)
    assert known.low < -2 < 2 < known.high
    assert found.groups == (("A", "B"),)
    rate = pair_rate(votes, 0, 1).rate
    assert (rate.mean, rate.low + rate.high) == (0.5, pytest.approx(1.0))
    assert rate.low < 0.35
    assert math.isnan(pair_rate(votes, 0, 1, ties="drop").rate.mean)
    assert pair_rate(votes, 0, 1, ties="own").rate.mean == 0.0


def test_one_rater():
    votes = _votes(*((a, b, said, "only", clip) for a, b, said, _, clip in _grid("A", "B", _mixed)))
    found = rank(votes, QUICK)
    assert found.statements == (
        "All 40 votes come from one rater, so nothing can be said about other raters: there are no "
        "clustered intervals and nobody is told apart.",
    )
    known = found.strengths[0].strength
    assert math.isnan(known.clustered.low)
    assert known.clustered.method == "none: all votes come from one rater"
    assert math.isfinite(known.naive.low)
    assert not found.differences[0].distinguishable
    assert found.groups == (("A", "B"),) or found.groups == (("B", "A"),)
    assert pair_rate(votes, 0, 1).rate.method == "none: all 40 votes come from one rater"


def test_misspelt_outcome():
    with pytest.raises(ValueError, match=r"vote 2 has the outcome 'lefft'.*did you mean 'left'"):
        read_votes(["A", "A"], ["B", "B"], ["tie", "lefft"], ["r", "s"], ["c", "c"])


# Other studies that need a sentence.


def test_one_clip():
    votes = _votes(*((a, b, s, r, "only") for a, b, s, r, _ in _grid("A", "B", _mixed)))
    assert "All 40 votes are on one clip" in rank(votes, QUICK).statements[0]


def test_a_model_without_votes_is_named():
    rows = list(zip(*_grid("A", "B", _mixed), strict=True))
    found = rank(read_votes(*rows, models=("A", "B", "Z")), QUICK)
    assert found.statements == ("Z is in no vote, so nothing is known of it.",)
    assert [each.model for each in found.strengths][-1] == "Z"


def test_three_tiers_are_all_named():
    rows = [*_grid("A", "B", lambda *_: "left"), *_grid("B", "C", lambda *_: "left")]
    found = rank(_votes(*rows), QUICK)
    assert [each.model for each in found.strengths] == ["A", "B", "C"]
    assert [said.split(" never ")[0] for said in found.statements] == ["C", "A"] or [
        said.split(" never ")[0] for said in found.statements
    ] == ["A", "C"]
    middle = found.strengths[1].strength.clustered
    assert math.isnan(middle.low)
    assert math.isnan(middle.high)


def test_no_votes_and_strange_names_are_refused():
    with pytest.raises(ValueError, match="no votes"):
        rank(read_votes([], [], [], [], [], models=("A", "B")))
    with pytest.raises(ValueError, match="compares A with itself"):
        read_votes(["A"], ["A"], ["tie"], ["r"], ["c"])
    with pytest.raises(ValueError, match=r"the model 'AA'.*did you mean 'A'"):
        read_votes(["AA"], ["B"], ["tie"], ["r"], ["c"], models=("A", "B"))
    with pytest.raises(ValueError, match="anchor 'X'"):
        rank(_study([0, 1], 3, 4), RankingConfig(anchor="X", resamples=10))


# What holds for all studies.


def test_ranking_finds_the_order_and_its_certainty():
    found = rank(_study([0.0, 0.1, 2.0], raters=10, clips=40), QUICK)
    assert found.strengths[0].model == "C"
    assert (found.strengths[0].rank_low, found.strengths[0].rank_high) == (1, 1)
    assert {(each.rank_low, each.rank_high) for each in found.strengths[1:]} == {(2, 3)}
    assert {frozenset(group) for group in found.groups} == {frozenset("C"), frozenset("AB")}
    assert found.statements == ()
    for each in found.strengths:
        known, (low, high) = each.strength.clustered, each.strength.bootstrap
        assert known.low < known.mean < known.high
        assert low < known.mean < high
        assert high - low == pytest.approx(known.high - known.low, rel=0.25)


def test_strengths_are_about_their_mean_or_an_anchor():
    votes = _study([0.0, 0.5, 1.0])
    about_mean, anchored = rank(votes, QUICK), rank(votes, RankingConfig(resamples=200, anchor="A"))
    assert sum(each.strength.clustered.mean for each in about_mean.strengths) == pytest.approx(0)
    anchor = next(each for each in anchored.strengths if each.model == "A")
    assert anchor.strength.clustered.mean == 0
    assert anchor.strength.clustered.method == "none: the model is its own reference"
    best = next(each for each in anchored.strengths if each.model == "C")
    between = next(d for d in anchored.differences if {d.first, d.second} == {"C", "A"})
    assert best.strength.clustered == between.difference.clustered


def test_names_and_order_of_votes_do_not_matter():
    votes = _study([0.0, 0.4, 1.0], seed=4)
    again = votes.where(np.ones(len(votes), dtype=bool))
    turned = np.random.default_rng(0).permutation(len(votes))
    shuffled = type(votes)(
        models=votes.models, left=votes.left[turned], right=votes.right[turned],
        outcome=votes.outcome[turned], raters=votes.raters[turned], clips=votes.clips[turned],
        rater_count=votes.rater_count, clip_count=votes.clip_count,
    )  # fmt: skip
    one, two, three = (rank(v, QUICK) for v in (votes, again, shuffled))
    assert one.strengths == two.strengths
    for a, b in zip(one.strengths, three.strengths, strict=True):
        assert a.strength.clustered.low == pytest.approx(b.strength.clustered.low)
        assert a.strength.bootstrap == pytest.approx(b.strength.bootstrap)


def test_swapping_sides_turns_the_pull_and_nothing_else():
    votes = _study([0.0, 0.4, 1.0], side=0.5)
    flipped = type(votes)(
        models=votes.models, left=votes.right, right=votes.left,
        outcome=np.array([1, 0, 2])[votes.outcome], raters=votes.raters, clips=votes.clips,
        rater_count=votes.rater_count, clip_count=votes.clip_count,
    )  # fmt: skip
    one, two = rank(votes, QUICK), rank(flipped, QUICK)
    assert one.side.clustered.mean == pytest.approx(-two.side.clustered.mean)
    assert one.side.clustered.mean == pytest.approx(0.5, abs=0.2)
    for a, b in zip(one.strengths, two.strengths, strict=True):
        assert a.strength.clustered.mean == pytest.approx(b.strength.clustered.mean)
        assert a.strength.clustered.low == pytest.approx(b.strength.clustered.low)


def test_a_rater_who_votes_twice_as_the_others_widens_the_clustered_interval_alone():
    """Copying every vote of a study doubles n, and tells nothing new."""
    rows = list(_grid("A", "B", _mixed, raters=6, clips=10))
    once, twice = (rank(_votes(*rows * k), QUICK).differences[0].difference for k in (1, 2))
    width = {
        name: [getattr(d, name).high - getattr(d, name).low for d in (once, twice)]
        for name in ("naive", "clustered")
    }
    assert width["naive"][1] == pytest.approx(width["naive"][0] / math.sqrt(2), rel=0.05)
    assert width["clustered"][1] > 0.9 * width["clustered"][0]


def test_equal_seeds_give_equal_bootstraps():
    votes = _study([0.0, 1.0])
    one, two, other = (rank(votes, RankingConfig(resamples=100, seed=s)) for s in (1, 1, 2))
    assert one.strengths == two.strengths
    assert one.strengths != other.strengths


# Win rates.


def test_tie_rules_by_hand():
    rows = [("A", "B", "left", r, c) for r in range(3) for c in range(2)]
    rows += [("B", "A", "left", r, c) for r in range(3) for c in range(2, 3)]
    rows += [("A", "B", "tie", r, c) for r in range(3) for c in range(3, 4)]
    votes = _votes(*rows)
    means = {rule: pair_rate(votes, 0, 1, ties=rule).rate.mean for rule in ("half", "drop", "own")}
    assert means == pytest.approx({"half": 7.5 / 12, "drop": 6 / 9, "own": 6 / 12})
    found = pair_rate(votes, 0, 1)
    assert (found.votes, found.wins, found.ties, found.losses) == (12, 6, 3, 3)
    turned = pair_rate(votes, 1, 0)
    assert turned.rate.mean == pytest.approx(1 - found.rate.mean)
    assert turned.rate.low == pytest.approx(1 - found.rate.high)


def test_pairs_without_votes_are_left_out():
    votes = _votes(*_grid("A", "B", _mixed), *_grid("B", "C", _mixed))
    assert [(r.first, r.second) for r in pair_rates(votes)] == [("A", "B"), ("B", "C")]
    assert [(r.first, r.second) for r in rates_against(votes, 1)] == [("A", "B"), ("C", "B")]


def test_groups_overlap_where_likeness_is_not_passed_on():
    better = np.zeros((3, 3), dtype=bool)
    better[0, 2] = True
    islands = np.zeros(3, dtype=np.intp)
    assert indistinguishable_groups("ABC", [0, 1, 2], better, islands) == (("A", "B"), ("B", "C"))


def test_groups_against_all_subsets():
    rng = np.random.default_rng(0)
    for _ in range(20):
        upper = np.triu(rng.random((7, 7)) < 0.4, 1)
        found = indistinguishable_groups("ABCDEFG", range(7), upper, np.zeros(7, dtype=np.intp))
        alike = ~(upper | upper.T)
        subsets = [[k for k in range(7) if mask >> k & 1] for mask in range(1, 128)]
        cliques = [set(each) for each in subsets if alike[np.ix_(each, each)].all()]
        largest = {frozenset(c) for c in cliques if not any(c < other for other in cliques)}
        assert {frozenset("ABCDEFG".index(m) for m in group) for group in found} == largest
