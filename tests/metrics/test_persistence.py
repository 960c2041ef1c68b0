"""Objects that vanish, appear, swell, merge and move by themselves: by hand and from pixels."""

import numpy as np
import pytest
import torch

from dojobench.metrics.persistence import (
    PersistenceConfig,
    persistence_scores,
    segment_by_colour,
)

FRAMES, SIDE = 20, 24


def _square(x, y, size=5):
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y : y + size, x : x + size] = True
    return mask


def _still():
    """Two squares that stand still, ``[T, 2, H, W]``."""
    return np.repeat(np.stack([_square(2, 2), _square(12, 12)])[None], FRAMES, axis=0)


def _free():
    return np.zeros((FRAMES, 2), dtype=bool)


def test_the_truth_is_perfect():
    found = persistence_scores(_still(), _still(), contact=_free())
    assert found.values == {
        "vanished": 0, "area_error": 0, "penetration": 0, "ghost_motion": 0,
    }  # fmt: skip
    assert found.not_computed == {
        "appeared": "not computed: every object is always visible in the truth"
    }
    assert found.vanished_at == [-1, -1]
    assert found.counts["visible"] == 2 * FRAMES


def test_object_that_vanishes():
    predicted = _still()
    predicted[15:, 1] = False
    found = persistence_scores(predicted, _still())
    assert found.values["vanished"] == pytest.approx(5 / 40)
    assert found.vanished_at == [-1, 15]
    assert found.values["area_error"] == 0  # of those that are there


def test_object_that_flickers_is_not_gone_for_good():
    predicted = _still()
    predicted[3:6, 0] = False
    found = persistence_scores(predicted, _still())
    assert found.values["vanished"] == pytest.approx(3 / 40)
    assert found.vanished_at == [-1, -1]


def test_object_that_shrinks_away_is_gone():
    predicted = _still()
    predicted[10:, 0] = _square(2, 2, size=2)  # 4 of 25 pixels
    found = persistence_scores(predicted, _still())
    assert found.values["vanished"] == pytest.approx(10 / 40)


def test_object_that_is_hidden_in_the_truth_is_not_asked_for():
    true, predicted = _still(), _still()
    true[5:, 0] = False
    found = persistence_scores(predicted, true)
    assert found.values["vanished"] == 0
    assert found.values["appeared"] == 1  # it is still there when it should be out of sight
    assert found.counts["hidden"] == FRAMES - 5
    predicted[5:, 0] = False
    assert persistence_scores(predicted, true).values["appeared"] == 0


def test_object_that_swells():
    predicted = _still()
    predicted[:, 0] = _square(2, 2, size=10)
    found = persistence_scores(predicted, _still())
    assert found.values["area_error"] == pytest.approx(np.log(4) / 2)


def test_objects_that_merge():
    predicted = _still()
    predicted[:, 1] = _square(4, 2)  # 3 of 5 columns lie in the other
    found = persistence_scores(predicted, _still())
    assert found.values["penetration"] == pytest.approx(15 / 25)
    # Overlap that the truth has too, such as one behind the other, is none.
    assert persistence_scores(predicted, predicted).values["penetration"] == 0


def test_object_that_moves_by_itself():
    predicted = _still()
    for t in range(10, FRAMES):
        predicted[t, 0] = _square(2 + (t - 9), 2)
    found = persistence_scores(predicted, _still(), contact=_free())
    # Over 5 frames it moves more than 1.5 pixels from frame 11 on.
    assert found.values["ghost_motion"] == pytest.approx(9 / (2 * 15))
    touched = _free()
    touched[8:, 0] = True
    assert persistence_scores(predicted, _still(), contact=touched).values["ghost_motion"] == 0


def test_object_that_rolls_on_as_it_does_in_truth_is_no_ghost():
    rolling = _still()
    for t in range(FRAMES):
        rolling[t, 0] = _square(min(2 + t, 18), 2)
    found = persistence_scores(rolling, rolling, contact=_free())
    assert found.values["ghost_motion"] == 0
    stuck = persistence_scores(_still(), rolling, contact=_free())
    assert stuck.values["ghost_motion"] > 0.3


def test_without_contacts_nothing_is_said_about_motion():
    found = persistence_scores(_still(), _still())
    assert found.not_computed["ghost_motion"] == "not computed: no contacts were given"


def test_no_objects_at_all():
    nothing = np.zeros((FRAMES, 2, SIDE, SIDE), dtype=bool)
    found = persistence_scores(nothing, nothing, contact=_free())
    assert found.values == {"appeared": 0}
    assert set(found.not_computed) == {"vanished", "area_error", "penetration", "ghost_motion"}
    assert found.vanished_at == [-1, -1]


def test_one_object_has_nothing_to_penetrate():
    found = persistence_scores(_still()[:, :1], _still()[:, :1])
    assert "penetration" in found.not_computed


def test_rollout_shorter_than_the_span():
    short = _still()[:3]
    found = persistence_scores(short, short, contact=_free()[:3])
    assert "ghost_motion" in found.not_computed


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="the masks have shapes"):
        persistence_scores(_still()[0], _still()[0])
    with pytest.raises(ValueError, match="contact has shape"):
        persistence_scores(_still(), _still(), contact=_free()[:3])


def test_segments_by_colour(shapes):
    world = shapes[0]
    masks = segment_by_colour(world.truth[0], world.colours)
    both = (masks & world.masks[0]).sum(axis=(2, 3))
    either = (masks | world.masks[0]).sum(axis=(2, 3))
    assert (both / either).mean() > 0.8  # soft edges are theirs or the background's
    assert not (masks[:, 0] & masks[:, 1]).any()


@pytest.mark.parametrize("colours", [[(0.0, 0.0, 0.0)], [(1.0, 0.0)]])
def test_colours_that_are_none_are_refused(colours):
    with pytest.raises(ValueError, match="list of colours"):
        segment_by_colour(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), colours)


# Models that are wrong in a known way.


@pytest.fixture(scope="module")
def table(shapes):
    config, found = PersistenceConfig(), {}
    for name in shapes[0].models:
        rows = []
        for world in shapes:
            true = segment_by_colour(world.truth[0], world.colours)
            seen = segment_by_colour(world.models[name][0], world.colours)
            scores = persistence_scores(seen, true, contact=world.contact[0], config=config)
            rows.append(scores.values)
        names = ("vanished", "area_error", "ghost_motion")
        found[name] = {m: float(np.mean([row[m] for row in rows])) for m in names}
    return found


def test_known_bad_models_rank_right(table):
    vanished = {name: row["vanished"] for name, row in table.items()}
    # One of two objects is gone for two thirds of the time.
    assert vanished["vanish"] == pytest.approx(1 / 3, abs=0.04)
    for kept in ("perfect", "noise", "lag-2", "freeze", "hold", "seams", "under-react"):
        assert vanished[kept] < 0.05
        assert vanished[kept] < vanished["vanish"]
    area = {name: row["area_error"] for name, row in table.items()}
    assert area["perfect"] == 0
    assert area["blurred"] > area["perfect"]
    ghost = {name: row["ghost_motion"] for name, row in table.items()}
    assert ghost["perfect"] == ghost["noise"] == 0
    assert ghost["seams"] > 0.1


def test_show_the_table(table):
    """Prints the rows that ``docs/measurements.md`` keeps; run with ``-s``."""
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{v:.2f}" for v in row.values()) + " |")  # noqa: T201
    assert len(table) == 15
