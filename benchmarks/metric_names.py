"""The numbers of the dojo's benchmarks by name: label, unit, direction, cap, description.

Those of the fidelity run are in `dojobench.metrics.names`; ``metric_info`` looks in both. Nothing
here imports torch.
"""

from dataclasses import dataclass

from dojobench.metrics.names import METRICS, MetricInfo

COUNTERFACTUAL, STABILITY, PROBES, FIDELITY = "counterfactual", "stability", "probes", "fidelity"


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkMetric(MetricInfo):
    """What a reader has to know about a number of one of the dojo's benchmarks.

    Attributes:
        benchmark: Which benchmark makes it.
        target: The right value where it is no end of the scale, such as a gain of 1; values on
            either side are worse. ``None`` where ``higher_is_better`` says all.
        ranks: Whether models may be ranked by it. A diagnosis, such as the response to the
            seed, has no better or worse.
        headline: Whether it stands in the terminal's table.
        share: Whether it is a share of trials (branches, pairs, frames, dimensions), 0 to 1, and
            gets the interval of one.
    """

    benchmark: str
    target: float | None = None
    ranks: bool = True
    headline: bool = False
    share: bool = False


def _up(
    name: str, label: str, text: str, *, of: str, cap: float = 1.0, **more: object
) -> BenchmarkMetric:
    return _make(name, label, text, of, True, cap, more)


def _down(
    name: str, label: str, text: str, *, of: str, cap: float = 0.0, **more: object
) -> BenchmarkMetric:
    return _make(name, label, text, of, False, cap, more)


def _make(
    name: str, label: str, text: str, of: str, up: bool, cap: float, more: dict[str, object]
) -> BenchmarkMetric:
    fields: dict[str, object] = {"unit": ""} | more
    return BenchmarkMetric(
        name=name, label=label, description=text, benchmark=of, higher_is_better=up, cap=cap,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip


# fmt: off
_ALL = (
    _up("effect_cosine", "Effect cosine",
        "Whether differences between branches point the way the true ones do; 0 ignores "
        "actions.",
        of=COUNTERFACTUAL, headline=True),
    _up("effect_gain", "Effect gain",
        "How large the differences between branches are along the true ones; 1 is right, less "
        "under-reacts.",
        of=COUNTERFACTUAL, target=1.0, headline=True),
    _up("branch_retrieval", "Branch retrieval",
        "Share of branches whose own true future is the nearest of the group; chance is 1/K.",
        of=COUNTERFACTUAL, headline=True, share=True),
    _up("two_way_choice", "Two-way choice",
        "Share of pairs in which a branch is nearer to its own true future than to another; "
        "chance is 0.5.",
        of=COUNTERFACTUAL, headline=True, share=True),
    _up("object_retrieval", "Object retrieval",
        "Branch retrieval by the pixels of displaced objects alone.",
        of=COUNTERFACTUAL, headline=True, share=True),
    _up("mrr", "Mean reciprocal rank",
        "Mean of 1 over the rank of the own true future.",
        of=COUNTERFACTUAL),
    _up("cf_psnr", "CF-PSNR",
        "PSNR of the counterfactual branches.",
        of=COUNTERFACTUAL, unit="dB", cap=80.0, headline=True),
    _up("cf_skill", "CF skill",
        "Skill of the counterfactual branches against the frame held still.",
        of=COUNTERFACTUAL, headline=True),
    _down("cf_gap", "CF gap",
        "Skill of the factual branch minus that of the counterfactual ones.",
        of=COUNTERFACTUAL, target=0.0),
    _up("shuffle_drop", "Shuffle drop",
        "PSNR lost when a branch is given another branch's actions.",
        of=COUNTERFACTUAL, unit="dB", cap=80.0, headline=True),
    _down("effector_ade", "Effector ADE",
        "Mean distance of the end effector from its true place, by its marker.",
        of=COUNTERFACTUAL, unit="% of height", headline=True),
    _down("effector_fde", "Effector FDE",
        "The same in the last frame in which the truth shows it.",
        of=COUNTERFACTUAL, unit="% of height"),
    _down("effector_ndtw", "Effector nDTW",
        "Cost of the best alignment of the two paths in time, a true frame.",
        of=COUNTERFACTUAL, unit="% of height"),
    _up("effector_detection", "Effector found",
        "Share of the frames with a visible marker in which the prediction shows one.",
        of=COUNTERFACTUAL, share=True),
    _down("object_ade", "Object ADE",
        "Mean distance of displaced objects from their true places, by their colours.",
        of=COUNTERFACTUAL, unit="% of height", headline=True),
    _down("object_fde", "Object FDE",
        "The same in the last frame in which the truth shows the object.",
        of=COUNTERFACTUAL, unit="% of height"),
    _down("object_ndtw", "Object nDTW",
        "Cost of the best alignment of an object's two paths in time, a true frame.",
        of=COUNTERFACTUAL, unit="% of height"),
    _up("object_detection", "Objects found",
        "Share of the frames with a readable displaced object in which the prediction shows "
        "it.",
        of=COUNTERFACTUAL, share=True),
    _up("stable_horizon", "Stable horizon",
        "Expected time until a rollout breaks: has no skill, or stands still, for a second.",
        of=STABILITY, unit="s", cap=60.0, headline=True),
    _down("excess_drift", "Excess drift",
        "Error of the last fifth as a multiple of the frame's that is held still; 1 is no "
        "better.",
        of=STABILITY, headline=True),
    _down("error_growth", "Error growth",
        "Slope of the logarithm of the error; 0.69 doubles it every second.",
        of=STABILITY, unit="1/s", target=0.0),
    _up("late_psnr", "Late PSNR",
        "PSNR of the last fifth of the rollout.",
        of=STABILITY, unit="dB", cap=80.0, headline=True),
    _down("freeze_rate", "Freeze rate",
        "Share of the time in which the truth moves and the prediction does not.",
        of=STABILITY, headline=True, share=True),
    _down("seam_ratio", "Seam ratio",
        "Change at chunk borders over change inside chunks, over the truth's own ratio; 1 has "
        "no seams.",
        of=STABILITY, cap=1.0, target=1.0, headline=True),
    _down("sharpness_drift", "Sharpness drift",
        "Distance of log sharpness from the truth's in the last fifth.",
        of=STABILITY, headline=True),
    _down("colour_drift", "Colour drift",
        "Distance between the colours drifted to and the truth's, in the last fifth, of the "
        "range.",
        of=STABILITY, headline=True),
    _down("flicker", "Flicker",
        "Second difference of the frames in time beyond the truth's own.",
        of=STABILITY),
    _down("palindrome", "Palindrome",
        "Distance from the start after actions and their inverse, over the distance covered.",
        of=STABILITY, ranks=False),
    _down("palindrome_excess", "Palindrome excess",
        "Distance of that from the simulator's own, which contacts keep from 0.",
        of=STABILITY),
    _down("vanished", "Objects gone",
        "Share of the frames of visible objects in which the prediction lacks them.",
        of=STABILITY, headline=True, share=True),
    _down("appeared", "Objects from nowhere",
        "Share of the frames of hidden objects in which the prediction shows them.",
        of=STABILITY, share=True),
    _down("area_error", "Area error",
        "Mean distance of log area from the truth's, of the objects found.",
        of=STABILITY),
    _down("penetration", "Penetration",
        "Overlap of two objects beyond the truth's, as a share of the smaller.",
        of=STABILITY),
    _down("ghost_motion", "Ghost motion",
        "Share of the frames of untouched objects in which one moves by itself.",
        of=STABILITY, share=True),
    _up("zero_drop", "Zero-action drop",
        "PSNR lost when the actions are replaced by standing still.",
        of=PROBES, unit="dB", cap=80.0, headline=True),
    _up("shuffled_drop", "Shuffled drop",
        "PSNR lost when the actions are shuffled in time.",
        of=PROBES, unit="dB", cap=80.0, headline=True),
    _up("foreign_drop", "Foreign drop",
        "PSNR lost when the actions are another episode's.",
        of=PROBES, unit="dB", cap=80.0, headline=True),
    _up("action_change", "Answer to actions",
        "Mean change of the frames under another episode's actions; 0 ignores actions.",
        of=PROBES, unit="levels", cap=255.0, ranks=False),
    _down("action_lag", "Action lag",
        "Delay that best explains the response to actions.",
        of=PROBES, unit="steps", target=0.0, headline=True),
    _down("batch_change", "Batch change",
        "Mean change of the frames when another rollout is in the batch.",
        of=PROBES, unit="levels", headline=True),
    _down("repeat_change", "Repeat change",
        "Mean change of the frames when the same seed is run again.",
        of=PROBES, unit="levels", headline=True),
    _down("seed_change", "Seed change",
        "Mean change of the frames with another seed; a diagnosis, no merit.",
        of=PROBES, unit="levels", ranks=False, headline=True),
    _up("joints_answered", "Joints answered",
        "Share of the action dimensions that change the frames when they alone are changed.",
        of=PROBES, headline=True, share=True),
    _up("joint_retrieval", "Joint retrieval",
        "Share of the action dimensions whose own true response is the nearest; chance is "
        "1/D.",
        of=PROBES, headline=True, share=True),
    _up("joint_cosine", "Joint cosine",
        "Whether the response to one dimension points the way the true one does.",
        of=PROBES),
)
# fmt: on

BENCHMARK_METRICS: dict[str, BenchmarkMetric] = {info.name: info for info in _ALL}
"""Every number of the dojo's benchmarks that has a direction, in the order of tables."""


def metric_info(name: str) -> MetricInfo | None:
    """Looks a metric up, in whichever benchmark it is; ``None`` where it is unknown."""
    return METRICS.get(name) or BENCHMARK_METRICS.get(name)


def benchmark_of(name: str) -> str:
    """Names the benchmark that makes a metric; unknown ones are looked for in the fidelity run."""
    found = BENCHMARK_METRICS.get(name)
    return found.benchmark if found else FIDELITY


def badness(name: str, value: float) -> float:
    """Gives a number that is smaller the better a value is.

    Args:
        name: Metric.
        value: Its value.

    Returns:
        Distance to the target where there is one, else the value with the sign that makes
        smaller better.

    Raises:
        KeyError: If nothing is known of the metric.
    """
    info = metric_info(name)
    if info is None:
        raise KeyError(name)
    if isinstance(info, BenchmarkMetric) and info.target is not None:
        return abs(value - info.target)
    return -value if info.higher_is_better else value
