"""The conditions of each run: everything that somebody needs to make the numbers again."""

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dojobench.benchmarks.metric_names import FIDELITY
from dojobench.benchmarks.records import ActionEntry, Record
from dojobench.benchmarks.report_data import Comparison, Entry
from dojobench.benchmarks.report_gather import Evidence

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What holds for one run alone: groups of facts and the command to repeat it."""

    label: str
    style: int
    groups: tuple[tuple[str, Facts], ...]
    command: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What all runs of a benchmark share, then run by run."""

    benchmark: str
    shared: Facts
    runs: tuple[Conditions, ...]


def conditions(evidence: Evidence) -> tuple[Group, ...] | None:
    """Gathers the conditions from ``run.json`` and the timings from the records.

    Returns:
        A group a benchmark; ``None`` where there is none, such as for speed alone, whose section
        has its own conditions.
    """
    groups = [_group(name, comparison) for name, comparison in evidence.comparisons.items()]
    return tuple(groups) or None


def _group(benchmark: str, comparison: Comparison) -> Group:
    meta = comparison.meta
    suite = meta.suite
    shared = (
        ("Benchmark", benchmark),
        ("Suite", suite.name),
        ("Suite version", suite.version),
        ("Clips in the suite", f"{suite.clips:,}"),
        ("Clips scored" if benchmark == FIDELITY else "Units scored", f"{len(meta.clip_ids):,}"),
        ("Splits", ", ".join(comparison.splits)),
        ("Frames", f"{_size(suite.resolution)} at {suite.frame_rate:g} Hz"),
        ("Context frames", str(suite.context_frames)),
        ("Actions", _actions(suite.action_space)),
        ("Further views", ", ".join(suite.views) or "none"),
        ("Metric convention", meta.convention),
        ("Metric version", meta.metric_version),
    )
    return Group(
        benchmark=benchmark, shared=shared, runs=tuple(_run(e) for e in comparison.entries)
    )


def _run(entry: Entry) -> Conditions:
    return Conditions(
        label=entry.label,
        style=entry.style,
        groups=(
            ("Model", _model(entry)),
            ("Run", _execution(entry)),
            ("Time", _timings(entry.run.records)),
            ("Code and packages", _code(entry)),
            ("Hardware", flat(entry.meta.hardware)),
        ),
        command=entry.meta.command or command(entry),
    )


def _size(resolution: tuple[int, int] | None) -> str:
    return f"{resolution[1]}×{resolution[0]}" if resolution else "any"


def _actions(space: ActionEntry | None) -> str:
    if space is None:
        return "any"
    parts = [f"{space.dim} wide", space.embodiment, space.kind, space.units]
    return ", ".join(part for part in parts if part)


def _model(entry: Entry) -> Facts:
    model = entry.meta.model
    options = ", ".join(f"{k}={v}" for k, v in model.options.items())
    chunk = "no preference" if model.native_chunk is None else str(model.native_chunk)
    return (
        ("Name and version", f"{model.name}, {model.version}"),
        ("Named as", model.reference),
        ("Options", options or "none"),
        ("Weights", model.weights),
        ("Frames it takes", _size(model.resolution)),
        ("Frame rate", "any" if model.frame_rate is None else f"{model.frame_rate:g} Hz"),
        ("Context frames", str(model.context_frames)),
        ("Frames at once", chunk + ("" if model.any_chunk else ", no other number")),
        ("Actions it takes", _actions(model.action_space)),
        ("Views it needs", ", ".join(model.views) or "the main one"),
        ("Deterministic", "yes" if model.deterministic else "no"),
        ("Saw the truth", "yes" if model.privileged else "no"),
    )


def _execution(entry: Entry) -> Facts:
    meta = entry.meta
    facts = [
        ("Started", meta.started),
        ("Ended", meta.ended or "not stamped"),
        ("Seeds", ", ".join(map(str, meta.seeds))),
        ("Limit", "none" if meta.limit is None else f"first {meta.limit:,} clips"),
        ("Adapted", meta.adapt or "no"),
        ("Metrics asked for", ", ".join(meta.metrics)),
        ("Device", meta.execution.device),
        ("Batch", str(meta.execution.batch)),
        ("Frames a step", meta.execution.steps_at_once),
        ("Clips checked for action use", str(meta.execution.checks)),
    ]
    if meta.lpips is not None:
        facts.append((f"LPIPS ({meta.lpips.net})", meta.lpips.status))
        facts += [
            (f"LPIPS weights {name}", digest)
            for name, digest in sorted((meta.lpips.weights_sha256 or {}).items())
        ]
    return tuple(facts)


def _code(entry: Entry) -> Facts:
    code = entry.meta.code
    state = {True: ", with uncommitted changes", False: ", clean", None: ""}[code.dirty]
    facts = [("dojobench", code.version), ("Commit", (code.commit or "not known") + state)]
    facts += [(f"Project {k}", str(v)) for k, v in (code.project or {}).items() if v is not None]
    return (*facts, *sorted(entry.meta.packages.items()))


def flat(values: Mapping[str, Any], prefix: str = "") -> Facts:
    """Lays nested facts out as one list of names and texts."""
    facts: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            facts += flat(value, f"{prefix}{name} ")
        elif isinstance(value, list):
            facts.append((f"{prefix}{name}", ", ".join(map(str, value)) or "none"))
        else:
            facts.append((f"{prefix}{name}", "not known" if value is None else str(value)))
    return tuple(facts)


def _timings(records: Sequence[Record]) -> Facts:
    """Sums the records' seconds; a batch is counted once a clip, as each waited for it."""
    frames = sum(r.frames for r in records)
    model = sum((r.timings.start_s + sum(r.timings.steps_s)) / r.timings.batch for r in records)
    steps = [step for r in records for step in r.timings.steps_s]
    read = sum(r.timings.read_s / r.timings.batch for r in records)
    score = sum(r.timings.score_s / r.timings.batch for r in records)
    facts = [("Frames scored", f"{frames:,}"), ("Model", f"{model:.2f} s")]
    if model > 0 and frames:
        facts.append(("Model's rate", f"{frames / model:,.1f} frames a second"))
    if steps:
        middle = 1000 * statistics.median(steps)
        facts.append(
            ("Model, one step", f"median {middle:.2f} ms, longest {1000 * max(steps):.2f} ms")
        )
    facts += [("Reading the truth", f"{read:.2f} s"), ("Scoring", f"{score:.2f} s")]
    return tuple(facts)


def command(entry: Entry) -> str:
    """Puts together a command line for a run that Python code started."""
    meta = entry.meta
    words = ["dojobench", "run", meta.model.reference]
    words += [f"{k}={v}" for k, v in meta.model.options.items()]
    words += ["--suite", meta.suite.name, "--convention", meta.convention]
    words += ["--metrics", *meta.metrics, "--seeds", *map(str, meta.seeds)]
    words += ["--splits", *meta.splits] if meta.splits else []
    words += ["--limit", str(meta.limit)] if meta.limit is not None else []
    words += ["--adapt", meta.adapt] if meta.adapt else []
    words += ["--device", meta.execution.device, "--batch", str(meta.execution.batch)]
    words += ["--steps-at-once", meta.execution.steps_at_once]
    return shlex.join([*words, "--out", "runs/again"])
