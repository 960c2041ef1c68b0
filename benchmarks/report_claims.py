"""Plain sentences about one run: what each benchmark shows, and how sure it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dojobench.benchmarks.metric_names import COUNTERFACTUAL, PROBES, STABILITY
from dojobench.benchmarks.records import MetricSummary
from dojobench.benchmarks.report_data import (
    Comparison,
    Entry,
    count,
    excludes_zero,
    figure,
    info,
    measured,
    percent,
    percents,
)
from dojobench.benchmarks.report_gather import Evidence, Speed

Kind = Literal["good", "bad", "open", "info"]

SURE_CHOICE = 0.75
"""Share of right futures from which a model is said to do what its actions say."""
UNDER, OVER = 0.8, 1.25
"""Effect gains below and above, with the whole interval, are called too weak and too strong."""
WHOLE = 0.9
"""Share of the time watched from which a model is said to last."""
FEW_LATE = 0.01
"""Share of missed deadlines up to which a model keeps up."""
ROUNDING = 0.01
"""Mean change in grey levels below which a batch changes the answer by rounding alone."""
_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """One judgement.

    Attributes:
        kind: ``good``, ``bad``, ``open`` or ``info``, which also shows as a sign.
        label: The model.
        claim: What follows the name in one clause.
        evidence: The numbers behind it.
    """

    kind: Kind
    label: str
    claim: str
    evidence: str = ""


def claims(evidence: Evidence, label: str) -> Iterator[Sentence]:
    """Says what the benchmarks beside the fidelity run show of one model.

    Args:
        evidence: All runs.
        label: The model.

    Yields:
        At most one sentence for each of branches, stability, speed, and two for the probes.
    """
    for name, judge in (
        (COUNTERFACTUAL, _branch_claim),
        (STABILITY, _stability_claim),
    ):
        found = _entry(evidence, name, label)
        if found and (sentence := judge(*found)):
            yield sentence
    for speed in evidence.speeds:
        if speed.label == label:
            yield speed_claim(speed)
    if found := _entry(evidence, PROBES, label):
        comparison, entry = found
        for sentence in (lag_claim(comparison, entry), action_claim(entry)):
            # Where branches were asked, they say more about actions than the probes do.
            if sentence and not (
                COUNTERFACTUAL in evidence.comparisons and sentence.claim.startswith("uses")
            ):
                yield sentence


def _entry(evidence: Evidence, benchmark: str, label: str) -> tuple[Comparison, Entry] | None:
    comparison = evidence.comparisons.get(benchmark)
    if comparison is None:
        return None
    entry = next((e for e in comparison.entries if e.label == label), None)
    return (comparison, entry) if entry else None


def _branch_claim(comparison: Comparison, entry: Entry) -> Sentence | None:
    metrics, checks = entry.summary.metrics, entry.summary.checks
    found, guess = metrics.get("branch_retrieval"), checks.get("retrieval_chance")
    if found is None or guess is None:
        return None
    many = round(checks["branches"].mean) if "branches" in checks else 0
    among = f"of {_WORDS.get(many, str(many))} futures" if many else "future"
    picked = (
        f"it picks the right one {among} in {_share(found)} of cases (chance {percent(guess.mean)})"
    )
    evidence = [
        f"{info(m).label.lower()} {measured(m, metrics[m])}"
        for m in ("effect_gain", "effect_cosine")
        if m in metrics
    ]
    evidence.append(f"over {count(entry.summary.clips, 'group')} of branches")
    kind, claim = branch_verdict(found, guess.mean, metrics.get("effect_gain"))
    return Sentence(
        kind=kind, label=entry.label, claim=f"{claim}: {picked}", evidence=", ".join(evidence)
    )


def branch_verdict(
    found: MetricSummary, guess: float, gain: MetricSummary | None
) -> tuple[Kind, str]:
    """Judges how well a model's futures follow their actions.

    Args:
        found: Share of branches whose own true future is the nearest.
        guess: The same of a guess.
        gain: How large the effects of the actions are, of the true ones.

    Returns:
        The kind of the sentence, and its first clause.
    """
    if found.low is None or found.low <= guess:
        sure = found.low is not None and found.high is not None
        if sure and found.mean <= guess + 1e-9:
            return "bad", "does not do what its actions say"
        return "open", "has not shown that it does what its actions say"
    if found.mean < SURE_CHOICE:
        return "open", "does in part what its actions say"
    if gain is not None and gain.high is not None and gain.high < UNDER:
        return "open", f"does what its actions say, but only {percent(gain.mean)} as strongly"
    if gain is not None and gain.low is not None and gain.low > OVER:
        return "open", f"does what its actions say, but {gain.mean:.1f} times as strongly"
    return "good", "does what its actions say"


def _stability_claim(comparison: Comparison, entry: Entry) -> Sentence | None:
    metric = "stable_horizon"
    found = entry.summary.metrics.get(metric)
    if found is None:
        return None
    records = [r for r in entry.run.records if metric in r.values]
    seconds = max(r.frames for r in records) / comparison.meta.suite.frame_rate
    told = f"stays sane for {measured(metric, found)} of the {seconds:.3g} s watched"
    broke = sum(bool(r.checks.get("broken")) for r in records)
    evidence = [f"{broke} of {count(len(records), 'rollout')} broke"]
    kind: Kind = "good" if found.mean >= WHOLE * seconds else "open"
    hold = comparison.hold
    apart = comparison.difference(entry, hold, metric) if hold and hold is not entry else None
    if hold and apart is not None:
        theirs = hold.summary.metrics.get(metric)
        if theirs is not None:
            evidence.append(f"a frame held still lasts {figure(metric, theirs.mean)} s")
        if kind != "good" and not (excludes_zero(apart) and apart.mean > 0):
            kind = "bad"
            told += ", not shown to be longer than a frame that is held still"
    return Sentence(kind=kind, label=entry.label, claim=told, evidence=", ".join(evidence))


def speed_claim(speed: Speed) -> Sentence:
    """Says whether a model keeps up with the robot."""
    stats = {k: float(v) for k, v in speed.report.stats.items() if v is not None}
    hertz = float(speed.report.conditions["frame_rate"])
    factor, missed = stats["real_time_factor"], stats["missed_deadlines"]
    kind: Kind = "bad"
    claim = "does not keep up with the robot"
    if factor >= 1:
        kind, claim = "good", "keeps up with the robot"
        if missed > FEW_LATE:
            kind, claim = "open", "keeps up with the robot on average, but not step by step"
    rate = stats["frames_per_second"]
    return Sentence(
        kind=kind,
        label=speed.label,
        claim=f"{claim}: {rate:,.{0 if rate >= 100 else 1}f} frames a second, {factor:,.2f} times "
        f"real time at {hertz:g} Hz",
        evidence=(
            f"{percent(missed)} {percents(stats['missed_low'], stats['missed_high'])} of "
            f"{stats['steps']:,.0f} steps late, p99 {1e3 * stats['p99']:,.1f} ms of "
            f"{1e3 * stats['budget']:,.0f} ms"
        ),
    )


def lag_claim(comparison: Comparison, entry: Entry) -> Sentence | None:
    """Says how late a model reacts; ``None`` where it was not asked."""
    metric = "action_lag"
    found, reason = entry.summary.metrics.get(metric), entry.summary.not_computed.get(metric, "")
    if found is None:
        if not reason:
            return None
        why = reason.partition("not computed: ")[2] or reason
        return Sentence(
            kind="open", label=entry.label, claim="cannot be said to react on time or late",
            evidence=why,
        )  # fmt: skip
    steps = round(found.mean)
    seconds = abs(found.mean) / comparison.meta.suite.frame_rate
    total = entry.summary.clips
    clips = count(found.n, "clip") if found.n == total else f"{found.n} of {count(total, 'clip')}"
    evidence = f"delay {measured(metric, found)}, told in {clips}"
    if steps == 0 and abs(found.mean) < 0.5:
        return Sentence(
            kind="good", label=entry.label, claim="reacts on time", evidence=evidence
        )  # fmt: skip
    late = "late" if steps > 0 else "early, as if it knew its actions before they came"
    claim = f"reacts {count(abs(steps), 'step')} {late}"
    if steps > 0:
        claim += f" ({seconds:.1f} s)"
    return Sentence(kind="bad", label=entry.label, claim=claim, evidence=evidence)


def action_claim(entry: Entry) -> Sentence | None:
    """Says whether other actions change and worsen the answer."""
    metrics = entry.summary.metrics
    change = metrics.get("action_change")
    drops = [
        (n, metrics[n]) for n in ("foreign_drop", "zero_drop", "shuffled_drop") if n in metrics
    ]
    if not drops:
        return None
    names = {
        "foreign_drop": "with other actions",
        "zero_drop": "with none",
        "shuffled_drop": "with its own shuffled",
    }
    evidence = ", ".join(f"{measured(n, d, signed=True)} {names[n]}" for n, d in drops)
    evidence = f"PSNR lost: {evidence}"
    if change is not None and change.mean == 0:
        return Sentence(
            kind="bad", label=entry.label, evidence=evidence,
            claim="ignores its actions: with other ones it answers exactly the same frames",
        )  # fmt: skip
    costly = sum(d.low is not None and d.low > 0 for _, d in drops)
    if costly == len(drops):
        return Sentence(
            kind="good", label=entry.label, evidence=evidence,
            claim="uses its actions: every kind of wrong ones makes it worse",
        )  # fmt: skip
    claim = "has not shown that it needs the right actions"
    if costly:
        claim = "needs the right actions, but does not lose with every kind of wrong ones"
    return Sentence(kind="open", label=entry.label, evidence=evidence, claim=claim)


def side_claims(entry: Entry) -> Iterator[Sentence]:
    """Says what else changes an answer: the batch, a second run, the seed, and which joints."""
    metrics = entry.summary.metrics
    batch, again, seed = (metrics.get(f"{n}_change") for n in ("batch", "repeat", "seed"))
    if batch is not None:
        kind, claim = _batch_verdict(batch)
        yield Sentence(kind=kind, label=entry.label, claim=claim, evidence=_levels(batch))
    if again is not None and again.mean:
        yield Sentence(
            kind="bad", label=entry.label,
            claim="answers differently when the same seed is run again",
            evidence=_levels(again),
        )  # fmt: skip
    if seed is not None:
        draws = "draws anew with every seed" if seed.mean else "answers the same with every seed"
        yield Sentence(
            kind="info", label=entry.label, claim=draws,
            evidence=_levels(seed),
        )  # fmt: skip
    yield from _joint_claims(entry)


def _batch_verdict(found: MetricSummary) -> tuple[Kind, str]:
    if not found.mean:
        return "good", "answers the same whatever else is in the batch"
    if found.mean < ROUNDING:
        return "info", "answers the same beside another rollout in the batch, but for rounding"
    return "bad", "answers differently beside another rollout in the batch"


def _joint_claims(entry: Entry) -> Iterator[Sentence]:
    metrics = entry.summary.metrics
    answered, right = metrics.get("joints_answered"), metrics.get("joint_retrieval")
    if answered is None:
        return
    share = " ".join(
        x for x in (percent(answered.mean), percents(answered.low, answered.high)) if x
    )
    evidence = ""
    if right is not None:
        evidence = f"the response is the right dimension's own in {_share(right)}"
    yield Sentence(
        kind="good" if answered.mean > 0.99 else "bad" if answered.mean == 0 else "open",
        label=entry.label,
        claim=f"answers to {share} of its action dimensions when each is moved alone",
        evidence=evidence,
    )


def _share(found: MetricSummary) -> str:
    """Writes a share with its interval, ``93 % [88, 97]``, or that there is nothing to vary."""
    if found.method.startswith("no spread"):
        return f"{percent(found.mean)} (alike in all {found.n})"
    return f"{percent(found.mean)} {percents(found.low, found.high)}".rstrip()


def _levels(found: MetricSummary) -> str:
    """Writes a change of frames so that the smallest is not taken for none."""
    return f"mean change {found.mean:.2g} grey levels" if found.mean else "not one pixel changes"
