"""Derives ``summary.json`` from all records of a run.

The unit is the clip: a clip's seeds are averaged first, then the mean is taken over clips and
its interval comes from resampling episodes, because clips of one episode are no independent
draws. What seeds do to the mean stands beside the interval and is not part of it. Shares have an
interval of their own: that of a mean has no width where all clips agree, and may leave 0 to 1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dojobench.benchmarks.records import (
    ClipValues,
    CurveSummary,
    MetricSummary,
    Record,
    Run,
    Summary,
)
from dojobench.metrics.intervals import Interval, cluster_bootstrap, clustered_share, curve_band

LEVEL = 0.95
Array = npt.NDArray[np.float64]


def summarise(run: Run) -> Summary:
    """Aggregates a finished run.

    Raises:
        BadInputError: If records are missing; the first of them are named.
    """
    run.require_complete()
    meta, records = run.meta, run.records
    names = _in_order(name for record in records for name in record.values)
    curves = _in_order(name for record in records for name in record.curves)
    return Summary(
        benchmark=meta.benchmark,
        model=meta.model.name,
        model_version=meta.model.version,
        weights=meta.model.weights,
        privileged=meta.model.privileged,
        suite=meta.suite.name,
        suite_version=meta.suite.version,
        convention=meta.convention,
        metric_version=meta.metric_version,
        clips=len(meta.clip_ids),
        episodes=len({record.cluster for record in records}),
        seeds=meta.seeds,
        metrics={name: metric_summary(records, name) for name in names},
        curves={name: curve_summary(records, name) for name in curves},
        not_computed=_not_computed(records, len(run.plan())),
        checks=_checks(records),
        clip_values=tuple(_clip_values(run)),
        timings=_timings(records),
    )


def metric_summary(records: Sequence[Record], metric: str, *, share: bool = False) -> MetricSummary:
    """Mean, interval and seed spread of one metric, overall and by split.

    Records without the metric are left out; ``n`` says how many clips remain.

    Args:
        records: Records of a run.
        metric: Name among their values.
        share: Whether its values are shares, from 0 to 1, and get the interval of one.

    Raises:
        ValueError: If a share is none.
    """
    chosen = [record for record in records if metric in record.values]

    def value(record: Record) -> float:
        return record.values[metric]

    splits = _in_order(record.split for record in chosen)
    by_split = {
        split: _summarise([r for r in chosen if r.split == split], value, share=share)
        for split in splits
    }
    return _summarise(chosen, value, share=share).model_copy(update={"by_split": by_split})


def check_summary(records: Sequence[Record], check: str, *, share: bool = False) -> MetricSummary:
    """The same of a check, overall; yes counts as 1 and no as 0."""
    chosen = [record for record in records if check in record.checks]
    return _summarise(chosen, lambda record: float(record.checks[check]), share=share)


def _summarise(
    records: Sequence[Record], value: Callable[[Record], float], *, share: bool = False
) -> MetricSummary:
    by_clip: dict[str, list[float]] = {}
    by_seed: dict[int, list[float]] = {}
    clusters: dict[str, str] = {}
    for record in records:
        by_clip.setdefault(record.clip, []).append(value(record))
        by_seed.setdefault(record.seed, []).append(value(record))
        clusters[record.clip] = record.cluster
    found = _interval(by_clip, [clusters[clip] for clip in by_clip], share=share)
    return MetricSummary(
        mean=found.mean,
        low=_finite(found.low),
        high=_finite(found.high),
        n=found.n,
        clusters=found.clusters,
        method=found.method,
        level=found.level,
        seed_sd=float(np.std([np.mean(v) for v in by_seed.values()], ddof=1))
        if len(by_seed) > 1
        else None,
    )


def _interval(
    by_clip: Mapping[str, Sequence[float]], clusters: Sequence[str], *, share: bool
) -> Interval:
    """The mean over clips of their seeds' means, with the interval that suits it."""
    means = np.array([np.mean(values) for values in by_clip.values()])
    if share and len(set(clusters)) > 1:
        return clustered_share(means, clusters, level=LEVEL)
    # One episode gives no interval, neither to a mean nor to a share.
    return cluster_bootstrap(means, clusters, level=LEVEL, seed=0)


def curve_summary(records: Sequence[Record], metric: str) -> CurveSummary:
    """Mean per frame over clips (seeds averaged first), with a pointwise band."""
    chosen = [record for record in records if metric in record.curves]
    length = max(len(record.curves[metric]) for record in chosen)
    stacks: dict[str, list[Array]] = {}
    clusters: dict[str, str] = {}
    for record in chosen:
        curve = np.full(length, np.nan)
        curve[: len(record.curves[metric])] = record.curves[metric]
        stacks.setdefault(record.clip, []).append(curve)
        clusters[record.clip] = record.cluster
    table = np.stack([np.mean(curves, axis=0) for curves in stacks.values()])
    band = curve_band(table, [clusters[clip] for clip in stacks], level=LEVEL)
    return CurveSummary(
        mean=tuple(float(v) for v in band.mean),
        low=tuple(_finite(v) for v in band.low),
        high=tuple(_finite(v) for v in band.high),
        n=tuple(int(v) for v in band.n),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _not_computed(records: Sequence[Record], total: int) -> dict[str, str]:
    reasons: dict[str, list[str]] = {}
    for record in records:
        for name, reason in record.not_computed.items():
            reasons.setdefault(name, []).append(reason)
    return {
        name: found[0] if len(found) == total else f"{len(found)} of {total} clips: {found[0]}"
        for name, found in reasons.items()
    }


def _checks(records: Sequence[Record]) -> dict[str, MetricSummary]:
    """Averages the numbers among the checks; yes and no become shares."""
    names = _in_order(
        name
        for record in records
        for name, value in record.checks.items()
        if not isinstance(value, str)
    )
    return {name: check_summary(records, name) for name in names}


def _clip_values(run: Run) -> list[ClipValues]:
    by_clip: dict[str, list[Record]] = {}
    for record in run.records:
        by_clip.setdefault(record.clip, []).append(record)
    rows = []
    for clip in run.meta.clip_ids:
        found = by_clip[clip]
        names = _in_order(name for record in found for name in record.values)
        rows.append(
            ClipValues(
                clip=clip,
                source=found[0].source,
                episode=found[0].episode,
                split=found[0].split,
                values={
                    name: float(np.mean([r.values[name] for r in found if name in r.values]))
                    for name in names
                },
            )
        )
    return rows


def _timings(records: Sequence[Record]) -> dict[str, float]:
    """Seconds and rates over the run; a batch's time is shared out over its clips."""
    start = sum(r.timings.start_s / r.timings.batch for r in records)
    steps = sum(sum(r.timings.steps_s) / r.timings.batch for r in records)
    frames = sum(sum(r.timings.step_frames) for r in records)
    found = {
        "frames": float(frames),
        "start_s": start,
        "steps_s": steps,
        "read_s": sum(r.timings.read_s / r.timings.batch for r in records),
        "score_s": sum(r.timings.score_s / r.timings.batch for r in records),
    }
    every = [step for record in records for step in record.timings.steps_s]
    if every and steps > 0:
        found["frames_per_second"] = frames / (start + steps)
        found["step_s_p50"] = float(np.quantile(every, 0.5))
        found["step_s_p95"] = float(np.quantile(every, 0.95))
    return found
