"""Quality gates: conditions that a run must meet, judged on the records' own clips.

A gate is text, so that it fits a command line or a workflow file::

    psnr>=hold+1.0      mean at least one decibel above the baseline, paired by clip
    lpips_vgg<=0.20     mean at most 0.20
    skill>0             better than a static frame
    branch_retrieval>=0.9   a number of another benchmark, which is run for it

A gate against an earlier run fails only when the whole interval of the paired difference
lies on the worse side: noise between two equal models does not break a build.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dojobench.benchmarks.metric_names import badness, benchmark_of, metric_info
from dojobench.metrics.intervals import Interval, paired_difference
from dojobench.protocol import BadInputError

Summary: TypeAlias = Mapping[str, Any]
"""The parsed ``summary.json`` of a run."""

_GATE = re.compile(
    r"^\s*(?P<metric>[a-z][a-z0-9_]*)\s*(?P<op>>=|<=|>|<)\s*"
    r"(?:(?P<baseline>[a-z][a-z0-9-]*?)\s*(?:(?P<sign>[+-])\s*(?P<offset>\d+(?:\.\d+)?))?"
    r"|(?P<value>[+-]?\d+(?:\.\d+)?))\s*$"
)


class Verdict(NamedTuple):
    """What came of a gate: whether it passed, and one sentence with the numbers."""

    passed: bool
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A condition on one metric.

    Attributes:
        text: As it was written.
        metric: Metric name, such as ``psnr``.
        op: ``>=``, ``<=``, ``>`` or ``<``.
        baseline: Name of the baseline compared with, or ``None`` for a plain number.
        value: The number, or what is added to the baseline's mean.
    """

    text: str
    metric: str
    op: str
    baseline: str | None
    value: float


def parse_gate(text: str) -> Gate:
    """Reads a gate such as ``psnr>=hold+1.0``.

    Raises:
        BadInputError: If the text is no gate.
    """
    match = _GATE.match(text)
    if match is None:
        raise BadInputError(
            f"the gate '{text}' cannot be read, write METRIC>=NUMBER or METRIC>=BASELINE+NUMBER, "
            "for example 'psnr>=hold+1.0'"
        )
    baseline = match["baseline"]
    if baseline is None:
        value = float(match["value"])
    else:
        value = float((match["sign"] or "+") + (match["offset"] or "0"))
    return Gate(text=text, metric=match["metric"], op=match["op"], baseline=baseline, value=value)


def judge(gate: Gate, summary: Summary, baselines: Mapping[str, Summary]) -> Verdict:
    """Judges a gate by the mean over clips; against a baseline, by the paired mean difference.

    Args:
        gate: The condition.
        summary: The run's summary.
        baselines: Summaries of the baselines run on the same clips, by name.

    Returns:
        The verdict; its sentence carries the interval.

    Raises:
        BadInputError: If the run has no such metric or baseline.
    """
    if gate.baseline is None:
        stated = _metric(summary, gate.metric)
        passed = _holds(stated["mean"], gate.op, gate.value)
        return Verdict(passed, f"{gate.text}: {gate.metric} is {_text(stated)}")
    if gate.baseline not in baselines:
        known = ", ".join(sorted(baselines)) or "none"
        raise BadInputError(
            f"the gate '{gate.text}' names the baseline '{gate.baseline}', but this run has "
            f"{known}; add --baselines {gate.baseline}"
        )
    difference = compare(summary, baselines[gate.baseline], gate.metric)
    passed = _holds(difference.mean, gate.op, gate.value)
    return Verdict(
        passed, f"{gate.text}: {gate.metric} minus {gate.baseline} is {_interval(difference)}"
    )


def judge_in(
    gate: Gate,
    summaries: Mapping[str, Summary],
    baselines: Mapping[str, Mapping[str, Summary]],
) -> Verdict:
    """Judges a gate on the benchmark that holds its metric.

    Args:
        gate: The condition.
        summaries: Summary of each benchmark that was run, by name.
        baselines: Of each of them, the summaries of its baselines by name.

    Returns:
        The verdict.

    Raises:
        BadInputError: If that benchmark was not run, or has no such metric or baseline.
    """
    name = benchmark_of(gate.metric)
    if name not in summaries:
        raise BadInputError(
            f"the gate '{gate.text}' needs the benchmark {name}, and this run has "
            f"{', '.join(summaries) or 'none'}; give a suite that supports it"
        )
    return judge(gate, summaries[name], baselines.get(name, {}))


def judge_against(
    summary: Summary, previous: Summary, *, metrics: Sequence[str] | None = None
) -> list[Verdict]:
    """Compares a run with an earlier one, clip by clip.

    Args:
        summary: The run.
        previous: The earlier run on the same suite and convention.
        metrics: Metrics to compare; all that both have and whose direction is known if ``None``.

    Returns:
        A verdict a metric; one fails when the whole interval of the difference is on the worse
        side of zero. With a single episode there is no interval, and the sentence says so.

    Raises:
        BadInputError: If the two runs are not comparable.
    """
    _comparable(summary, previous)
    verdicts = []
    for name in metrics or _ranked(summary, previous):
        difference = compare(summary, previous, name)
        worse = _worsening(summary, previous, name).low > 0
        word = "got worse" if worse else "did not get worse"
        if math.isnan(difference.low):
            word = "cannot be judged"
        verdicts.append(Verdict(not worse, f"{name} {word}: difference {_interval(difference)}"))
    return verdicts


def compare(summary: Summary, other: Summary, metric: str) -> Interval:
    """Paired difference of two runs on one metric, resampled by episode.

    Raises:
        BadInputError: If the runs do not share their clips.
    """
    return _paired(summary, other, metric, lambda value: value)


def _worsening(summary: Summary, other: Summary, metric: str) -> Interval:
    """By how much a metric got worse; of one with a right value, how much farther from it."""
    return _paired(summary, other, metric, lambda value: badness(metric, value))


def _ranked(summary: Summary, previous: Summary) -> list[str]:
    """Metrics that both runs have and that have a better and a worse."""
    known = ((n, metric_info(n)) for n in summary["metrics"] if n in previous["metrics"])
    return [name for name, info in known if info is not None and getattr(info, "ranks", True)]


def _paired(
    summary: Summary, other: Summary, metric: str, change: Callable[[float], float]
) -> Interval:
    mine, theirs = _by_clip(summary, metric), _by_clip(other, metric)
    if mine.keys() != theirs.keys():
        missing = sorted(mine.keys() ^ theirs.keys())
        raise BadInputError(
            f"the two runs cannot be paired on {metric}: {len(missing)} clips such as "
            f"'{missing[0]}' are scored in one of them only; run both on the same clips"
        )
    clips = sorted(mine)
    episodes = {
        row["clip"]: f"{row.get('source', '')}/{row['episode']}" for row in summary["clip_values"]
    }
    return paired_difference(
        np.array([change(mine[clip]) for clip in clips]),
        np.array([change(theirs[clip]) for clip in clips]),
        [repr(episodes[clip]) for clip in clips],
    )


def read_summary(path: Path) -> Summary:
    """Reads a ``summary.json``, or the one in a run folder.

    Raises:
        BadInputError: If it is missing or no summary.
    """
    file = path / "summary.json" if path.is_dir() else path
    try:
        summary: Summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInputError(
            f"{file} cannot be read as a summary ({error}); name a finished run's summary.json"
        ) from error
    if not isinstance(summary, dict) or "clip_values" not in summary or "metrics" not in summary:
        raise BadInputError(f"{file} is no summary of a run; name a finished run's summary.json")
    return summary


def _comparable(summary: Summary, previous: Summary) -> None:
    for what, mine, theirs in (
        ("suite", summary["suite_version"], previous["suite_version"]),
        ("convention", summary["convention"], previous["convention"]),
        ("metric version", summary["metric_version"], previous["metric_version"]),
    ):
        if mine != theirs:
            raise BadInputError(
                f"the runs differ in {what} ({mine} and {theirs}), so their scores cannot be "
                "compared; run the earlier model again"
            )


def _by_clip(summary: Summary, metric: str) -> dict[str, float]:
    _metric(summary, metric)
    return {
        row["clip"]: float(row["values"][metric])
        for row in summary["clip_values"]
        if row["values"].get(metric) is not None
    }


def _metric(summary: Summary, metric: str) -> Mapping[str, Any]:
    metrics: Mapping[str, Mapping[str, Any]] = summary["metrics"]
    if metric not in metrics:
        reason = summary.get("not_computed", {}).get(metric)
        known = ", ".join(sorted(metrics))
        raise BadInputError(
            f"there is no {metric} in the run of {summary['model']}"
            + (f" ({reason})" if reason else f"; it has {known}")
        )
    return metrics[metric]


def _holds(left: float, op: str, right: float) -> bool:
    return {">=": left >= right, "<=": left <= right, ">": left > right, "<": left < right}[op]


def _text(stated: Mapping[str, Any]) -> str:
    low, high = stated["low"], stated["high"]
    ends = "no interval" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"
    return f"{stated['mean']:.4g} {ends}, n = {stated['n']}"


def _interval(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{interval.mean:+.4g} ({interval.method}), n = {interval.n}"
    return f"{interval.mean:+.4g} [{interval.low:+.4g}, {interval.high:+.4g}], n = {interval.n}"
