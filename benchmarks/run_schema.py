"""What stands in the files of a run folder, format 1: every field, typed and checked.

``docs/file-formats.md`` says the same in tables.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
"""A number that JSON can hold: neither infinite nor NaN."""


class _Entry(BaseModel):
    """Base of all parts of a run folder: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ActionEntry(_Entry):
    """An action space as it stands in ``run.json``; fields as in ``protocol.ActionSpace``."""

    dim: int = Field(ge=0)
    embodiment: str
    kind: str = "absolute"
    names: tuple[str, ...] = ()
    units: str = ""


class ModelEntry(_Entry):
    """The model that was run: its spec, and how it was named.

    Attributes:
        reference: What stood on the command line.
        options: Its ``key=value`` options.
        privileged: Whether it saw the truth: such a model checks metrics and is no contestant.
    """

    name: str
    version: str = "0"
    weights: str = "none"
    resolution: tuple[int, int] | None = None
    frame_rate: Finite | None = None
    context_frames: int = 1
    native_chunk: int | None = None
    any_chunk: bool = True
    action_space: ActionEntry | None = None
    views: tuple[str, ...] = ()
    deterministic: bool = True
    reference: str
    options: dict[str, str] = {}
    privileged: bool = False


class SuiteEntry(_Entry):
    """The suite that was run; ``clips`` counts all its clips, scored or not."""

    name: str
    version: str
    resolution: tuple[int, int]
    frame_rate: Finite
    context_frames: int
    action_space: ActionEntry
    views: tuple[str, ...] = ()
    clips: int = Field(ge=0)


class LpipsEntry(_Entry):
    """Which LPIPS was asked for, what came of it, and the hashes of its weights."""

    net: str
    status: str
    weights_sha256: dict[str, str] | None = None


class CodeEntry(_Entry):
    """Which code ran: package version, commit and whether the tree had changes.

    ``project`` describes the current directory's repository, where the user's model lives.
    """

    version: str
    commit: str | None = None
    dirty: bool | None = None
    project: dict[str, str | bool | None] | None = None


class ExecutionEntry(_Entry):
    """How the run was carried out; ``batch`` may change when a run is resumed."""

    device: str = "cpu"
    batch: int = 1
    steps_at_once: str = "chunk"
    checks: int = 0
    train_split: str = "train"


class RunMeta(_Entry):
    """``run.json``: everything that a result depends on.

    Attributes:
        benchmark: Which benchmark made the records; ``fidelity`` is the per-frame comparison.
        clip_ids: The clips of this run in the suite's order; with ``seeds`` they say which
            records have to be there.
        notes: Sentences a reader of the numbers has to know.
        command: The command line as it was typed, where there was one.
    """

    format: Literal[1] = 1
    benchmark: str = "fidelity"
    model: ModelEntry
    suite: SuiteEntry
    convention: str
    metric_version: str
    metrics: tuple[str, ...]
    seeds: tuple[int, ...] = Field(min_length=1)
    splits: tuple[str, ...]
    limit: int | None = None
    adapt: str | None = None
    lpips: LpipsEntry | None = None
    clip_ids: tuple[str, ...]
    execution: ExecutionEntry = ExecutionEntry()
    notes: tuple[str, ...] = ()
    command: str | None = None
    code: CodeEntry
    packages: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    started: str
    ended: str | None = None


class Timings(_Entry):
    """Seconds, with the device synchronised; of the whole batch that the clip was part of.

    Attributes:
        start_s: Opening the session.
        steps_s: Each step.
        step_frames: Frames that each step answered, per clip.
        read_s: Decoding the truth (beside the model, in a thread).
        score_s: Comparing (beside the model, in a thread).
        batch: Clips in the batch.
    """

    start_s: Finite = 0.0
    steps_s: tuple[Finite, ...] = ()
    step_frames: tuple[int, ...] = ()
    read_s: Finite = 0.0
    score_s: Finite = 0.0
    batch: int = 1


class Record(_Entry):
    """One line of ``records.jsonl``: one clip with one seed.

    Attributes:
        frames: Number of scored frames.
        values: Metric name to the clip's number.
        curves: Metric name to its number per scored frame.
        not_computed: Metric name to the reason why no number stands there.
        checks: What was found out beside the score, such as the effect of shuffled actions.
    """

    clip: str
    seed: int
    split: str
    episode: str
    source: str
    embodiment: str
    frames: int = Field(ge=0)
    values: dict[str, Finite]
    curves: dict[str, tuple[Finite, ...]] = {}
    not_computed: dict[str, str] = {}
    checks: dict[str, bool | Finite | str] = {}
    timings: Timings = Timings()

    @property
    def key(self) -> tuple[str, int]:
        """Clip and seed: the unit of work."""
        return self.clip, self.seed

    @property
    def cluster(self) -> str:
        """What counts as one independent draw: the episode within its dataset."""
        return f"{self.source}/{self.episode}"


class MetricSummary(_Entry):
    """A mean over clips (each clip's seeds averaged first) and its interval.

    Attributes:
        n: Clips. ``clusters``: episodes, the unit that is resampled.
        seed_sd: Standard deviation of the overall mean between seeds, beside the interval and
            not inside it; ``None`` with one seed.
        by_split: The same for each split.
    """

    mean: Finite
    low: Finite | None
    high: Finite | None
    n: int
    clusters: int
    method: str
    level: Finite
    seed_sd: Finite | None = None
    by_split: dict[str, "MetricSummary"] = {}


class CurveSummary(_Entry):
    """Mean per scored frame with a band; ``n`` counts the clips that reach that frame."""

    mean: tuple[Finite, ...]
    low: tuple[Finite | None, ...]
    high: tuple[Finite | None, ...]
    n: tuple[int, ...]


class ClipValues(_Entry):
    """One clip's numbers, averaged over seeds."""

    clip: str
    source: str
    episode: str
    split: str
    values: dict[str, Finite]


class Summary(_Entry):
    """``summary.json``; all but ``timings`` is equal between two runs of the same thing."""

    format: Literal[1] = 1
    benchmark: str = "fidelity"
    model: str
    model_version: str
    weights: str
    privileged: bool
    suite: str
    suite_version: str
    convention: str
    metric_version: str
    clips: int
    episodes: int
    seeds: tuple[int, ...]
    metrics: dict[str, MetricSummary]
    curves: dict[str, CurveSummary]
    not_computed: dict[str, str]
    checks: dict[str, MetricSummary] = {}
    clip_values: tuple[ClipValues, ...]
    timings: dict[str, Finite] = {}
