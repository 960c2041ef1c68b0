"""The names of the dojo's metrics are those that the metrics give."""

import numpy as np

from dojobench.metrics.counterfactual import score_branches
from dojobench.metrics.dojo_names import DOJO_METRICS
from dojobench.metrics.names import METRICS
from dojobench.metrics.persistence import persistence_scores
from dojobench.metrics.trajectory import MAGENTA, detect_markers, trajectory_scores


def test_names_do_not_clash_with_the_image_metrics():
    assert not set(DOJO_METRICS) & set(METRICS)
    assert all(name == info.name for name, info in DOJO_METRICS.items())


def test_perfect_predictions_score_the_cap(shapes):
    world = shapes[0]
    scores = score_branches(world.truth, world.truth, world.context[-1]).values
    (track,) = detect_markers(world.truth[0], [MAGENTA])
    scores |= trajectory_scores(track, track).values
    masks = world.masks[0]
    scores |= persistence_scores(masks, masks, contact=world.contact[0]).values
    scores.pop("retrieval_chance")
    for name, value in scores.items():
        if name != "branch_drop":  # depends on how different the futures are
            assert np.isclose(value, DOJO_METRICS[name].cap), name
