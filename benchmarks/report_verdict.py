"""The head of a report: one sentence a model, and what a reader has to know before believing it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from dojobench.benchmarks import plot_rows
from dojobench.benchmarks.metric_names import FIDELITY
from dojobench.benchmarks.report_claims import Sentence, claims
from dojobench.benchmarks.report_data import (
    Comparison,
    Entry,
    count,
    excludes_zero,
    figure,
    info,
    span,
)
from dojobench.benchmarks.report_gather import Evidence
from dojobench.metrics.intervals import Interval

FEW_CLIPS = 20
FEW_EPISODES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something that limits what the numbers say; ``loud`` ones stand out."""

    loud: bool
    title: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """The verdict on one model: against the static frame first, then benchmark by benchmark."""

    main: Sentence
    more: tuple[Sentence, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Data of the first section."""

    summary: str
    cards: tuple[Card, ...]
    notes: tuple[Note, ...]
    wide: Markup
    narrow: Markup
    caption: str


def verdict(evidence: Evidence) -> Verdict:
    """Judges every model, against ``hold`` and by each benchmark, and gathers the notes."""
    comparison = evidence.comparisons.get(FIDELITY)
    wide, narrow = _forest(comparison) if comparison else (Markup(), Markup())
    return Verdict(
        summary=_summary(evidence),
        cards=tuple(_cards(evidence)),
        notes=tuple(_notes(comparison)) if comparison else tuple(_notes_of_others(evidence)),
        wide=wide,
        narrow=narrow,
        caption=(
            "Paired difference to hold on the same clips, with its 95 % interval; "
            "an interval that crosses the line at zero shows no difference."
        ),
    )


def _cards(evidence: Evidence) -> Iterator[Card]:
    comparison = evidence.comparisons.get(FIDELITY)
    judged = evidence.judged
    for label in judged:
        said = [
            _sentence(comparison, e)
            for e in (comparison.entries if comparison else ())
            if e.label == label and comparison
        ]
        said += claims(evidence, label)
        if said:
            yield Card(main=said[0], more=tuple(said[1:]))
    if not judged and comparison is not None:
        yield Card(main=_only_hold(comparison.entries[0], comparison.primary), more=())


def _notes_of_others(evidence: Evidence) -> Iterator[Note]:
    """Notes where there is no fidelity run: what the first benchmark's runs are."""
    if (first := evidence.first) is not None:
        for entry in first.entries:
            yield from _of_run(entry)
        yield from _of_several(first.entries)
        yield from _of_differences(first.entries)


def _summary(evidence: Evidence) -> str:
    comparison = evidence.first
    if comparison is None:
        return f"The speed of {count(len(evidence.speeds), 'model')}."
    meta, first = comparison.meta, comparison.entries[0].summary
    models = [e for e in comparison.entries if e.role == "model"]
    others = len(comparison.entries) - len(models)
    what = []
    if models:
        what.append(count(len(models), "model"))
    if others:
        what.append(count(others, "baseline"))
    height, width = meta.suite.resolution
    return (
        f"{' and '.join(what)} on {count(first.clips, 'clip')} from "
        f"{count(first.episodes, 'episode')} of {meta.suite.name} ({width}×{height}, "
        f"{meta.suite.frame_rate:g} frames per second), scored in the convention "
        f"“{meta.convention}”."
    )


def _over(entry: Entry) -> str:
    clips, episodes = entry.summary.clips, entry.summary.episodes
    return f"over {count(clips, 'clip')} from {count(episodes, 'episode')}"


def _measured(metric: str, value: float, interval: str, *, signed: bool = False) -> str:
    unit = f" {info(metric).unit}" if info(metric).unit else ""
    return " ".join(x for x in (f"{figure(metric, value, signed=signed)}{unit}", interval) if x)


def _skill(entry: Entry) -> str:
    found = entry.summary.metrics.get("skill")
    if found is None:
        return ""
    return f"skill {_measured('skill', found.mean, span('skill', found.low, found.high))}"


def _sentence(comparison: Comparison, entry: Entry) -> Sentence:
    metric, hold = comparison.primary, comparison.hold
    found = comparison.difference(entry, hold, metric) if hold and hold is not entry else None
    if found is None:
        return _alone(entry)
    interval = span(metric, found.low, found.high, signed=True)
    numbers = f"{_measured(metric, found.mean, interval, signed=True)} {info(metric).label}"
    evidence = ", ".join(x for x in (numbers, _skill(entry), _over(entry)) if x)
    kind = _kind(found, higher_is_better=info(metric).higher_is_better)
    claim = {
        "good": "is better than repeating the last frame",
        "bad": "is worse than repeating the last frame",
        "open": "cannot be told apart from repeating the last frame",
    }[kind]
    skill = entry.summary.metrics.get("skill")
    if kind == "good" and skill is not None and skill.low is not None and skill.low <= 0:
        # A mean of decibels forgives few large errors; skill sums squared errors.
        kind = "open"
        claim = f"beats repeating the last frame by {info(metric).label}, but not by skill"
    return Sentence(kind=kind, label=entry.label, claim=claim, evidence=evidence)


def _kind(found: Interval, *, higher_is_better: bool) -> Literal["good", "bad", "open"]:
    if not excludes_zero(found):
        return "open"
    return "good" if (found.mean > 0) == higher_is_better else "bad"


def _alone(entry: Entry) -> Sentence:
    """Judges by skill, which has the static frame built in, where no run of hold is at hand."""
    found = entry.summary.metrics.get("skill")
    if found is None or found.low is None or found.high is None:
        claim = "was scored without a baseline to compare it with"
        evidence = f"run hold on the same suite, {_over(entry)}"
        return Sentence(kind="open", label=entry.label, claim=claim, evidence=evidence)
    evidence = f"{_skill(entry)}, {_over(entry)}"
    if found.low > 0:
        claim = "is better than repeating the last frame"
        return Sentence(kind="good", label=entry.label, claim=claim, evidence=evidence)
    claim = "is worse than repeating the last frame"
    kind: Literal["bad", "open"] = "bad"
    if found.high >= 0:
        kind, claim = "open", "cannot be told apart from repeating the last frame"
    return Sentence(kind=kind, label=entry.label, claim=claim, evidence=evidence)


def _only_hold(entry: Entry, metric: str) -> Sentence:
    found = entry.summary.metrics.get(metric)
    numbers = ""
    if found is not None:
        interval = span(metric, found.low, found.high)
        numbers = f"{info(metric).label} {_measured(metric, found.mean, interval)}, "
    claim = (
        "only repeats the last frame: it is the score that a model has to beat here"
        if entry.is_hold
        else "saw the truth: it checks the metrics and is no contestant"
    )
    return Sentence(
        kind="info", label=entry.label, claim=claim, evidence=f"{numbers}{_over(entry)}"
    )


def _forest(comparison: Comparison) -> tuple[Markup, Markup]:
    metric, hold = comparison.primary, comparison.hold
    rows = []
    for entry in comparison.entries:
        if hold is None or entry is hold or entry.role == "control":
            continue
        found = comparison.difference(entry, hold, metric)
        if found is not None:
            interval = span(metric, found.low, found.high, signed=True)
            text = f"{figure(metric, found.mean, signed=True)} {interval}"
            rows.append(
                plot_rows.Row(
                    label=entry.label,
                    style=entry.style,
                    value=found.mean,
                    low=found.low,
                    high=found.high,
                    text=text,
                )
            )
    if not rows:
        return Markup(""), Markup("")
    domain = comparison.scale({r.label: (0.0, r.value, r.low, r.high) for r in rows})
    told = "; ".join(f"{row.label}: {row.text}" for row in rows)
    wide, narrow = (
        plot_rows.forest(
            rows,
            label=f"{info(metric).label} difference to hold. {told}",
            zero="hold",
            unit=f"difference in {info(metric).label} {info(metric).unit}".strip(),
            better="right" if info(metric).higher_is_better else "left",
            width=width,
            domain=domain,
        )
        for width in (820, 350)
    )
    return wide, narrow


def _notes(comparison: Comparison) -> Iterator[Note]:
    for entry in comparison.models:
        yield from _against_hold(comparison, entry)
    for entry in comparison.entries:
        yield from _of_run(entry)
    yield from _of_several(comparison.entries)
    yield from _not_computed(comparison)
    yield from _of_sample(comparison)
    yield from _of_differences(comparison.entries)


def _against_hold(comparison: Comparison, entry: Entry) -> Iterator[Note]:
    if entry.role != "model":
        return
    sentence = _sentence(comparison, entry)
    if sentence.kind != "good":
        yield Note(
            loud=True,
            title=f"{entry.label} does not clearly beat a static frame",
            text=(
                f"It {sentence.claim}. Whatever else the numbers say, it has "
                "not shown here that it predicts motion."
            ),
        )


def _of_run(entry: Entry) -> Iterator[Note]:
    yield from _of_actions(entry)
    meta = entry.meta
    if not meta.model.deterministic and len(meta.seeds) < 3:
        yield Note(
            loud=False,
            title=f"{entry.label} draws at random and has {count(len(meta.seeds), 'seed')}",
            text="How far it varies from seed to seed is not known; give it three or more.",
        )
    for text in meta.notes:
        if not meta.model.privileged:  # said once for all controls
            yield Note(loud=False, title=f"Note of the run of {entry.label}", text=text)


def _of_several(entries: Sequence[Entry]) -> Iterator[Note]:
    """Says once for all runs what holds for several of them."""
    changed = [e for e in entries if e.meta.code.dirty or (e.meta.code.project or {}).get("dirty")]
    if changed:
        commits = dict.fromkeys((e.meta.code.commit or "unknown")[:12] for e in changed)
        yield Note(
            loud=True,
            title=f"{_names(changed, entries)} ran on changed code",
            text=(
                "The tree of dojobench or of the model's own project had uncommitted changes "
                f"(dojobench is at commit {' and '.join(commits)}): nobody else can run this "
                "again. Commit and run once more."
            ),
        )
    controls = [e for e in entries if e.role == "control"]
    if controls:
        yield Note(
            loud=False,
            title=f"{_names(controls, entries)} saw the truth",
            text="Controls check the metrics; they do not compete for best.",
        )
    adapted = [e for e in entries if e.meta.adapt]
    if adapted:
        yield Note(
            loud=False,
            title=f"{_names(adapted, entries)} may have been resized",
            text=f"Run with --adapt {adapted[0].meta.adapt}; resizing is part of the score.",
        )


def _names(some: Sequence[Entry], every: Sequence[Entry]) -> str:
    if len(some) == len(every) > 1:
        return "Every run"
    return ", ".join(e.label for e in some)


def _of_actions(entry: Entry) -> Iterator[Note]:
    """Reads the check with another clip's actions, of models alone: baselines are as they are."""
    change, drop = (entry.summary.checks.get(name) for name in ("answer_change", "psnr_drop"))
    if entry.role != "model" or change is None:
        return
    if change.mean == 0:
        yield Note(
            loud=True,
            title=f"{entry.label} ignores its actions",
            text=(
                f"Given another clip's actions on {count(change.n, 'clip')}, it answered with "
                "exactly the same frames. It may predict motion, but it cannot be steered."
            ),
        )
    elif drop is not None and (drop.mean <= 0 or (drop.low is not None and drop.low <= 0)):
        interval = span("psnr", drop.low, drop.high, signed=True)
        yield Note(
            loud=drop.mean <= 0,
            title=f"{entry.label} has not shown that it follows its actions",
            text=(
                f"Another clip's actions cost it {_measured('psnr', drop.mean, interval)} over "
                f"{count(drop.n, 'clip')}: a model that follows its actions loses with wrong ones."
            ),
        )


def _not_computed(comparison: Comparison) -> Iterator[Note]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for entry in comparison.entries:
        for metric, reason in entry.summary.not_computed.items():
            reasons.setdefault((metric, reason), []).append(entry.label)
    for (metric, reason), labels in reasons.items():
        who = "every run" if len(labels) == len(comparison.entries) else ", ".join(labels)
        text = reason if reason.startswith("not computed") else f"not computed: {reason}"
        yield Note(loud=False, title=f"{info(metric).label} is missing for {who}", text=text)


def _of_sample(comparison: Comparison) -> Iterator[Note]:
    summary, meta = comparison.entries[0].summary, comparison.meta
    if summary.episodes < FEW_EPISODES or summary.clips < FEW_CLIPS:
        clips, episodes = count(summary.clips, "clip"), count(summary.episodes, "episode")
        yield Note(
            loud=summary.episodes < 3,
            title=f"Few data: {clips} from {episodes}",
            text=(
                f"Clips of one episode are alike, so every interval rests on {episodes}: take it "
                "as rough, and take no small difference from it."
                if summary.episodes > 1
                else "With one episode there is no telling how another would score."
            ),
        )
    if meta.limit is not None and summary.clips < meta.suite.clips:
        yield Note(
            loud=False,
            title=f"Part of the suite: {summary.clips} of {meta.suite.clips} clips",
            text="The run was limited; numbers of the whole suite may differ.",
        )
    if comparison.hold is None:
        yield Note(
            loud=True,
            title="No run of hold to compare with",
            text=f"Run `dojobench run hold --suite {meta.suite.name}` and name its folder too.",
        )


def _of_differences(entries: Sequence[Entry]) -> Iterator[Note]:
    fields: dict[str, set[str | None]] = {
        "the code's commit": {e.meta.code.commit for e in entries},
        "the device": {e.meta.execution.device for e in entries},
        "the torch version": {e.meta.packages.get("torch") for e in entries},
    }
    differing = [name for name, values in fields.items() if len(values) > 1]
    if differing:
        yield Note(
            loud=False,
            title="The runs differ in their conditions",
            text=f"Not all share {' and '.join(differing)}; see the conditions of each below.",
        )
