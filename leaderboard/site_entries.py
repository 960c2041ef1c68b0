"""Reads the submissions that the site shows: what its tables need of each, and no more.

Everything in them is data from strangers: sizes are bounded, hashes must be those that
``submission.json`` lists, and a submission that cannot be read is left out with a sentence.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dojobench.leaderboard.attestation import Attestation
from dojobench.leaderboard.card import Card, field_error
from dojobench.leaderboard.dates import parse_date
from dojobench.leaderboard.runs import run_file
from dojobench.leaderboard.submission import (
    LIMITS,
    PREFERENCES_FILE,
    SPEED_FILE,
    Reported,
    RunEntry,
    Status,
    Submission,
    Tier,
    list_submissions,
    read_submission,
)
from dojobench.leaderboard.verdict import Refused

Finite = Annotated[float, Field(allow_inf_nan=False)]
_View = TypeVar("_View", bound=BaseModel)


class _Lean(BaseModel):
    """A view of a file: what the site shows; the rest was checked when it came in."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Number(_Lean):
    """A mean with its interval, as in ``summary.json``."""

    mean: Finite
    low: Finite | None = None
    high: Finite | None = None
    n: int
    clusters: int
    level: Finite = 0.95
    seed_sd: Finite | None = None
    by_split: dict[str, "Number"] = {}


class Curve(_Lean):
    """A mean per frame with its band."""

    mean: tuple[Finite, ...]
    low: tuple[Finite | None, ...]
    high: tuple[Finite | None, ...]


class Clip(_Lean):
    """One clip's numbers, averaged over seeds."""

    clip: str
    source: str
    episode: str
    split: str
    values: dict[str, Finite]


class SummaryView(_Lean):
    """``summary.json``."""

    privileged: bool
    clips: int
    episodes: int
    metrics: dict[str, Number]
    curves: dict[str, Curve] = {}
    not_computed: dict[str, str] = {}
    clip_values: tuple[Clip, ...] = ()


class _Suite(_Lean):
    resolution: tuple[int, int]
    frame_rate: Finite
    context_frames: int


class _Model(_Lean):
    reference: str
    options: dict[str, str] = {}


class MetaView(_Lean):
    """``run.json``."""

    model: _Model
    suite: _Suite
    limit: int | None = None
    adapt: str | None = None
    code: dict[str, Any] = {}
    packages: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class SpeedView(_Lean):
    """``speed.json``."""

    model: dict[str, Any]
    conditions: dict[str, Any]
    stats: dict[str, Finite | None]
    steps_s: tuple[Finite, ...] = ()
    packages: dict[str, str] = {}
    measured: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of a submission, as tables show it."""

    run: RunEntry
    meta: MetaView
    summary: SummaryView


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One measurement of speed."""

    run: RunEntry
    view: SpeedView


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One submission, as the site shows it.

    Attributes:
        created: ISO 8601.
        preferences: Bytes of ``preferences.json``, where a study came along.
        videos: Names of the videos that lie in the folder, below ``videos/``.
    """

    id: str
    folder: Path
    sha256: str
    card: Card
    tier: Tier
    created: str
    status: Status | None
    attestation: Attestation | None
    results: tuple[Result, ...]
    speeds: tuple[Speed, ...]
    reported: Reported | None
    preferences: bytes | None
    videos_at: str | None
    videos: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name, with the version where it says something."""
        return (
            self.card.name if self.card.version == "1" else f"{self.card.name} {self.card.version}"
        )

    @property
    def baseline(self) -> bool:
        """Whether it is one of the things that every model has to beat."""
        return self.card.kind != "world-model"

    @property
    def withdrawn(self) -> bool:
        """Whether its last word is a withdrawal."""
        return self.status is not None and self.status.withdrawn

    @property
    def date(self) -> str:
        """Day of packing."""
        return self.created[:10]

    @property
    def updated(self) -> str:
        """The last time that anything was said about it."""
        moments = [self.created]
        moments += [each.date for each in self.status.events] if self.status else []
        moments += [self.attestation.audited] if self.attestation else []
        return max(moments, key=parse_date)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A submission that could not be read."""

    name: str
    sentence: str


def read_entries(folder: Path) -> tuple[list[Entry], list[LeftOut]]:
    """Reads every submission below a folder.

    Returns:
        The entries, newest first and then by id, and what was left out.
    """
    return gather(read_entry(path) for path in list_submissions(folder))


def gather(read: Iterable[Entry | LeftOut]) -> tuple[list[Entry], list[LeftOut]]:
    """Sorts what was read; of two with one id the second is left out."""
    entries: dict[str, Entry] = {}
    left_out: list[LeftOut] = []
    for each in read:
        if isinstance(each, LeftOut):
            left_out.append(each)
        elif each.id in entries:
            left_out.append(
                LeftOut(name=each.folder.name, sentence=f"The id {each.id} is taken already.")
            )
        else:
            entries[each.id] = each
    ordered = sorted(entries.values(), key=lambda e: e.id)
    return sorted(ordered, key=lambda e: parse_date(e.created), reverse=True), left_out


def read_entry(path: Path) -> Entry | LeftOut:
    """Reads one submission; one that cannot be read becomes a sentence."""
    try:
        return _entry(read_submission(path))
    except Refused as error:
        return LeftOut(name=path.name, sentence=str(error))


def _entry(submission: Submission) -> Entry:
    if submission.folder.root.name != submission.id:
        raise Refused("DB-S013", f"the folder is not called '{submission.id}', which is its id")
    runs = [each for each in submission.file.runs if each.benchmark != "speed"]
    speeds = [each for each in submission.file.runs if each.benchmark == "speed"]
    listed = submission.file.videos
    return Entry(
        id=submission.id,
        folder=submission.folder.root,
        sha256=submission.sha256,
        card=submission.card,
        tier=submission.tier,
        created=submission.file.created,
        status=submission.status,
        attestation=submission.attestation,
        results=tuple(_result(submission, each) for each in runs),
        speeds=tuple(
            Speed(run=each, view=_view(submission, run_file(each, SPEED_FILE), SpeedView))
            for each in speeds
        ),
        reported=submission.file.reported,
        preferences=_preferences(submission),
        videos_at=listed.where if listed and listed.where != "videos" else None,
        videos=tuple(listed.files) if listed and listed.where == "videos" else (),
    )


def _result(submission: Submission, run: RunEntry) -> Result:
    return Result(
        run=run,
        meta=_view(submission, run_file(run, "run.json"), MetaView),
        summary=_view(submission, run_file(run, "summary.json"), SummaryView),
    )


def _preferences(submission: Submission) -> bytes | None:
    if PREFERENCES_FILE not in submission.file.files:
        return None
    return _listed(submission, PREFERENCES_FILE)


def _listed(submission: Submission, path: str) -> bytes:
    """Reads a file and compares it with its hash."""
    content = submission.folder.read(path, LIMITS[path.rsplit("/", 1)[-1]])
    listed = submission.file.files.get(path)
    if listed is None or hashlib.sha256(content).hexdigest() != listed.sha256:
        raise Refused("DB-S010", f"{path} is not the file that was packed", path)
    return content


def _view(submission: Submission, path: str, view: type[_View]) -> _View:
    try:
        return view.model_validate_json(_listed(submission, path))
    except ValidationError as error:
        raise field_error(error, path) from error
