"""Writes down what a run is before it begins: the contents of ``run.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from dojobench.benchmarks.provenance import code_entry, command_line, hardware, package_versions
from dojobench.benchmarks.records import (
    ActionEntry,
    ExecutionEntry,
    ModelEntry,
    RunMeta,
    SuiteEntry,
)
from dojobench.benchmarks.rollout import is_privileged
from dojobench.benchmarks.scoring import Scorers
from dojobench.datasets.suite import ClipRecord, Suite
from dojobench.protocol import ActionSpace, WorldModel


def describe_run(
    *,
    suite: Suite,
    model: WorldModel,
    clips: Sequence[ClipRecord],
    scorers: Scorers,
    reference: str,
    options: Mapping[str, str],
    seeds: tuple[int, ...],
    splits: tuple[str, ...],
    limit: int | None,
    adapt: str | None,
    execution: ExecutionEntry,
    started: str,
) -> RunMeta:
    """Puts together everything that a result depends on.

    Args:
        suite: The suite.
        model: The model, before it is adapted.
        clips: The clips that will be scored.
        scorers: The metrics.
        reference: How the model was named.
        options: The model's options.
        seeds: The seeds.
        splits: The splits scored.
        limit: At most so many clips.
        adapt: ``resize`` where resolutions may differ.
        execution: How the run is carried out.
        started: When.
    """
    privileged = is_privileged(model) and not getattr(model, "from_files", False)
    return RunMeta(
        model=model_entry(model, reference=reference, options=options, privileged=privileged),
        suite=_suite_entry(suite),
        convention=scorers.convention,
        metric_version=scorers.version,
        metrics=scorers.metrics,
        seeds=seeds,
        splits=splits,
        limit=limit,
        adapt=adapt,
        lpips=scorers.lpips_entry,
        clip_ids=tuple(clip.id for clip in clips),
        execution=execution,
        notes=_notes(suite, model, clips, privileged=privileged, adapt=adapt),
        command=command_line(),
        code=code_entry(),
        packages=package_versions(),
        hardware=hardware(execution.device),
        started=started,
    )


def model_entry(
    model: WorldModel, *, reference: str, options: Mapping[str, str], privileged: bool
) -> ModelEntry:
    """Turns a spec into its entry."""
    fields = asdict(model.spec) | {"action_space": None}
    if model.spec.action_space is not None:
        fields["action_space"] = _action_entry(model.spec.action_space)
    return ModelEntry(**fields, reference=reference, options=dict(options), privileged=privileged)


def _suite_entry(suite: Suite) -> SuiteEntry:
    spec = suite.spec
    return SuiteEntry(
        name=spec.name,
        version=spec.version,
        resolution=spec.resolution,
        frame_rate=spec.frame_rate,
        context_frames=spec.context_frames,
        action_space=_action_entry(spec.action_space),
        views=tuple(spec.views),
        clips=len(suite.clips),
    )


def _action_entry(space: ActionSpace) -> ActionEntry:
    return ActionEntry(**asdict(space))


def _notes(
    suite: Suite,
    model: WorldModel,
    clips: Sequence[ClipRecord],
    *,
    privileged: bool,
    adapt: str | None,
) -> tuple[str, ...]:
    """Says in sentences what a reader of the numbers has to know."""
    spec, notes = model.spec, []
    if privileged:
        notes.append(f"{spec.name} sees the truth: it tests the metrics and is no contestant.")
    if adapt and spec.resolution not in (None, suite.spec.resolution) and spec.resolution:
        height, width = spec.resolution
        notes.append(f"Frames were resized to {height}x{width} for the model and back.")
    context = suite.spec.context_frames
    chunk = spec.native_chunk
    if not spec.any_chunk and chunk and any((c.frames - context) % chunk for c in clips):
        notes.append(
            f"The model makes {chunk} frames at once: last chunks were filled up with the last "
            "action, and frames beyond the clip were dropped."
        )
    notes.extend(getattr(model, "notes", ()))
    return tuple(notes)
