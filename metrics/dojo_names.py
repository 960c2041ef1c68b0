"""The dojo's metrics by name: what a table calls them, their unit, and which way is better.

``cap`` is what a perfect prediction scores. Three metrics are best there and not beyond it:
``effect_gain`` (above 1 over-reacts), ``cf_gap`` (below 0 means better on counterfactual
branches) and ``seam_ratio`` (below 1 moves least at borders); their direction is the usual one.

Nothing here imports torch.
"""

from dojobench.metrics.names import MetricInfo

_ROWS = (
    ("cf_psnr", "CF-PSNR", "dB", True, 80.0, "PSNR on the counterfactual branches."),
    ("factual_psnr", "Factual PSNR", "dB", True, 80.0, "PSNR on the branch like training data."),
    ("cf_skill", "CF skill", "", True, 1.0, "Skill on the counterfactual branches."),
    ("factual_skill", "Factual skill", "", True, 1.0, "Skill on the branch like training data."),
    ("cf_gap", "CF gap", "", False, 0.0, "Factual minus counterfactual skill."),
    (
        "effect_cosine",
        "Effect cosine",
        "",
        True,
        1.0,
        "Agreement of predicted and true differences between branches; 0 ignores actions.",
    ),
    (
        "effect_gain",
        "Effect gain",
        "",
        True,
        1.0,
        "Size of the predicted difference along the true one; 1 is right, 0 ignores actions.",
    ),
    (
        "choice_2afc",
        "Two-way choice",
        "",
        True,
        1.0,
        "Share of pairs in which the prediction is nearer its own future; chance 0.5.",
    ),
    (
        "retrieval",
        "Retrieval",
        "",
        True,
        1.0,
        "Share of branches nearest their own true future; chance is one in the futures.",
    ),
    ("mrr", "MRR", "", True, 1.0, "Mean reciprocal rank of the own true future."),
    ("branch_drop", "Branch drop", "dB", True, 80.0, "PSNR lost with another branch's actions."),
    ("shuffle_drop", "Shuffle drop", "dB", True, 80.0, "PSNR lost when actions are shuffled."),
    ("ade", "ADE", "frame heights", False, 0.0, "Mean distance of the hand from its true path."),
    ("fde", "FDE", "frame heights", False, 0.0, "Distance of the hand at the last frame."),
    ("ndtw", "nDTW", "frame heights", False, 0.0, "Distance of the paths, delay forgiven."),
    (
        "detection_rate",
        "Detection rate",
        "",
        True,
        1.0,
        "Share of frames in which the predicted hand is found.",
    ),
    ("error_growth", "Error growth", "1/s", False, 0.0, "Slope of the logarithm of the error."),
    (
        "excess_drift",
        "Excess drift",
        "",
        False,
        0.0,
        "Error at the end as a multiple of the still frame's.",
    ),
    (
        "stable_horizon",
        "Stable horizon",
        "s",
        True,
        float("inf"),
        "Expected time without a break within the rollout; its length is the most.",
    ),
    ("freeze_rate", "Freeze rate", "", False, 0.0, "Share of true motion that finds it frozen."),
    ("seam_ratio", "Seam ratio", "", False, 1.0, "Change between chunks over change inside."),
    ("palindrome", "Palindrome", "", False, 0.0, "Distance from the start after undoing actions."),
    ("vanished", "Vanished", "", False, 0.0, "Share of visible objects' frames without them."),
    ("appeared", "Appeared", "", False, 0.0, "Share of hidden objects' frames with them."),
    ("area_error", "Area error", "", False, 0.0, "Mean absolute log ratio of object areas."),
    ("penetration", "Penetration", "", False, 0.0, "Overlap of objects beyond the truth's."),
    ("ghost_motion", "Ghost motion", "", False, 0.0, "Share of untouched objects that move."),
)

DOJO_METRICS: dict[str, MetricInfo] = {
    name: MetricInfo(
        name=name,
        label=label,
        unit=unit,
        higher_is_better=higher,
        cap=cap,
        description=description,
    )
    for name, label, unit, higher, cap, description in _ROWS
}
"""Every name that the dojo's benchmarks report, in the order of tables."""
