"""A submission, format 1: one model's card, run folders and hashes, as a folder in git.

::

    <id>/
      submission.json           what is in it, with the hash of every file
      card.toml                 the card as it was given
      runs/<name>/run.json      what was run; <name> is <suite>.<benchmark>
      runs/<name>/records.jsonl one line a clip and seed; as records.jsonl.xz where it is long
      runs/<name>/summary.json  derived from the records
      runs/<name>/speed.json    instead of these three, in a speed measurement
      preferences.json          optional, of a human study
      videos/                   optional, never in git
      status.json               maintainers': withdrawn or corrected, with the reason
      attestation.json          maintainers': what an audit recomputed

A row that was published elsewhere has no runs but ``reported`` values, each with its source.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from dojobench.leaderboard.attestation import Attestation
from dojobench.leaderboard.card import Address, Card, Line, Paragraphs, Part, field_error
from dojobench.leaderboard.dates import parse_date
from dojobench.leaderboard.safe_files import SafeFolder, open_folder, parse_json

SUBMISSION_FILE = "submission.json"
CARD_FILE = "card.toml"
PREFERENCES_FILE = "preferences.json"
STATUS_FILE = "status.json"
ATTESTATION_FILE = "attestation.json"
RUNS_FOLDER = "runs"
VIDEOS_FOLDER = "videos"
RECORDS_FILE = "records.jsonl"
PACKED_RECORDS_FILE = "records.jsonl.xz"
RUN_FILES = ("run.json", RECORDS_FILE, "summary.json")
SPEED_FILE = "speed.json"
MAINTAINERS_FILES = (STATUS_FILE, ATTESTATION_FILE)

MIB = 2**20
LIMITS: dict[str, int] = {
    SUBMISSION_FILE: 8 * MIB,
    CARD_FILE: MIB // 16,
    PREFERENCES_FILE: 16 * MIB,
    STATUS_FILE: MIB // 16,
    ATTESTATION_FILE: 16 * MIB,
    "run.json": 8 * MIB,
    RECORDS_FILE: 64 * MIB,
    PACKED_RECORDS_FILE: 16 * MIB,
    "summary.json": 32 * MIB,
    SPEED_FILE: 8 * MIB,
}
"""Most bytes of each file, by its name."""
PACKED_ABOVE = 4 * MIB
"""Bytes of records above which `submit pack` compresses them: they go into git."""
MAX_TOTAL = 192 * MIB
"""Most bytes of all files but videos."""
MAX_VIDEO = 256 * MIB
MAX_VIDEOS_TOTAL = 16 * 1024 * MIB

ID_PATTERN = r"^[a-z0-9][a-z0-9.-]{2,63}$"
RUN_NAME = r"^[a-z0-9][a-z0-9._-]{0,99}$"

Tier = Literal["reported", "checked", "audited"]


def _date(text: str) -> str:
    parse_date(text)
    return text


Moment = Annotated[str, Field(max_length=40), AfterValidator(_date)]
"""ISO 8601 with a time zone."""
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileEntry(Part):
    """Size and SHA-256 of a file."""

    bytes: int = Field(ge=0, le=MAX_VIDEOS_TOTAL)
    sha256: Hex64


class RunEntry(Part):
    """What one run was; each field says what its ``run.json`` (or ``speed.json``) says.

    Attributes:
        name: Folder below ``runs/``: ``<suite>.<benchmark>``, such as ``dojo-mini.fidelity``.
        benchmark: ``fidelity``, ``counterfactual``, ``stability``, ``probes`` or ``speed``.
        suite: Its name; empty for ``speed``.
        suite_version: ``sha256:…``; empty for ``speed``.
        convention: Metric convention; empty for ``speed``.
        metric_version: Which code made the numbers; empty for ``speed``.
        seeds: Seeds; empty for ``speed``.
        splits: Splits; empty for ``speed``.
        records: Number of records.
        weights: Fingerprint of the weights.
        commit: Commit of dojobench that ran.
        dirty: Whether that code was changed.
        hardware: The machine in words.
    """

    name: str = Field(pattern=RUN_NAME)
    benchmark: Literal["fidelity", "counterfactual", "stability", "probes", "speed"]
    suite: str = Field(default="", max_length=200)
    suite_version: str = Field(default="", max_length=100)
    convention: str = Field(default="", max_length=40)
    metric_version: str = Field(default="", max_length=200)
    seeds: tuple[int, ...] = Field(default=(), max_length=100)
    splits: tuple[str, ...] = Field(default=(), max_length=100)
    records: int = Field(default=0, ge=0)
    weights: str = Field(default="none", max_length=200)
    commit: str | None = Field(default=None, max_length=80)
    dirty: bool | None = None
    hardware: str = Field(default="", max_length=400)


class Videos(Part):
    """Where the predicted videos are, and what they are.

    Attributes:
        where: ``videos`` for the folder within the submission, or an ``https://`` address.
        files: Each file, as ``<run name>/<clip>.s<seed>.pred.mp4``.
    """

    where: Literal["videos"] | Address
    files: dict[str, FileEntry] = Field(min_length=1, max_length=40_000)


class Source(Part):
    """Where a reported value stands.

    Attributes:
        title: Of the paper or page.
        url: Its address.
        place: Such as ``Table 2``.
        date: When it was published, as ``YYYY-MM-DD``.
    """

    title: Line
    url: Address
    place: Line
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")


class ReportedValue(Part):
    """One published number; it has no interval unless its source gives one.

    Attributes:
        table: Which table of the site it belongs to, such as ``fidelity``.
        suite: The clips it was measured on, named as published.
        metric: The metric, named as published or by a name of ours where it is the same.
        convention: How it was computed, where that is known; such as ``dreamdojo``.
        value: The number.
        low: Lower end of the published interval.
        high: Upper end.
        n: Clips or votes behind it.
        source: Place in ``Reported.sources``, from 0.
        note: What a reader has to know.
    """

    table: Literal[
        "fidelity", "ablation", "preference", "speed", "stability", "policy", "counterfactual"
    ]
    suite: Line
    metric: Line
    convention: Line = "unknown"
    value: float
    unit: str = Field(default="", max_length=20)
    higher_is_better: bool = True
    low: float | None = None
    high: float | None = None
    n: int | None = Field(default=None, ge=1)
    source: int = Field(ge=0)
    note: Paragraphs = ""


class Reported(Part):
    """Values that were published elsewhere."""

    sources: tuple[Source, ...] = Field(min_length=1, max_length=50)
    values: tuple[ReportedValue, ...] = Field(min_length=1, max_length=1000)


class SubmissionFile(Part):
    """``submission.json``.

    Attributes:
        format: 1.
        id: Name of the folder and of the model's page.
        created: When it was packed.
        packed_with: Version of dojobench that packed it.
        card: The card, as in ``card.toml``.
        runs: What was run; empty for a reported row.
        reported: Published values; for a reported row only.
        files: Every file but this one, the maintainers' and the videos, by path.
        videos: The predicted videos, where there are any.
    """

    format: Literal[1] = 1
    id: str = Field(pattern=ID_PATTERN)
    created: Moment
    packed_with: Line
    card: Card
    runs: tuple[RunEntry, ...] = Field(default=(), max_length=64)
    reported: Reported | None = None
    files: dict[str, FileEntry] = Field(max_length=400)
    videos: Videos | None = None


class StatusEvent(Part):
    """A withdrawal or correction; it stays visible with its reason.

    Attributes:
        what: ``withdrawn``, ``corrected`` or ``restored``.
        reason: Why, in sentences for the reader of the board.
        date: When.
        by: Who says so.
        replaced_by: Id of the submission that takes its place.
    """

    what: Literal["withdrawn", "corrected", "restored"]
    reason: Annotated[Paragraphs, Field(min_length=1)]
    date: Moment
    by: Line
    replaced_by: str | None = Field(default=None, pattern=ID_PATTERN)


class Status(Part):
    """``status.json``: what happened after publication, oldest first."""

    format: Literal[1] = 1
    events: tuple[StatusEvent, ...] = Field(min_length=1, max_length=100)

    @property
    def withdrawn(self) -> bool:
        """Whether the last word is a withdrawal."""
        decisive = [each.what for each in self.events if each.what != "corrected"]
        return bool(decisive) and decisive[-1] == "withdrawn"


_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Submission:
    """A submission, opened; its runs are read with ``leaderboard.runs``.

    Attributes:
        folder: Its files.
        content: The bytes of ``submission.json``.
        file: The same, parsed.
    """

    folder: SafeFolder
    content: bytes
    file: SubmissionFile

    @property
    def id(self) -> str:
        """Name of the folder and of the model's page."""
        return self.file.id

    @property
    def card(self) -> Card:
        """What the senders say."""
        return self.file.card

    @cached_property
    def sha256(self) -> str:
        """Hash of ``submission.json``, and through it of everything that it lists."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def status(self) -> Status | None:
        """What maintainers said after publication."""
        return self._optional(STATUS_FILE, Status)

    @cached_property
    def attestation(self) -> Attestation | None:
        """What an audit recomputed, whether it passed or not."""
        return self._optional(ATTESTATION_FILE, Attestation)

    @property
    def tier(self) -> Tier:
        """How far the numbers can be trusted, from what is there and never from a claim."""
        if not self.file.runs:
            return "reported"
        found = self.attestation
        if found and found.passed and found.submission_sha256 == self.sha256:
            return "audited"
        return "checked"

    def _optional(self, name: str, model: type[_Model]) -> _Model | None:
        if name not in self.folder.sizes:
            return None
        return read_part(self.folder, name, model)[1]


def read_submission(path: Path) -> Submission:
    """Reads a submission's folder: ``submission.json``, and the list of what lies there.

    Raises:
        Refused: If it is no folder, unsafe, or ``submission.json`` is not right.
    """
    folder = open_folder(path)
    content, file = read_part(folder, SUBMISSION_FILE, SubmissionFile)
    return Submission(folder=folder, content=content, file=file)


def list_submissions(folder: Path) -> list[Path]:
    """Lists the folders of submissions below one, sorted by name."""
    return sorted(each.parent for each in folder.glob(f"*/{SUBMISSION_FILE}"))


def read_part(folder: SafeFolder, name: str, model: type[_Model]) -> tuple[bytes, _Model]:
    """Reads and checks a JSON file.

    Returns:
        Its bytes, and what they say.

    Raises:
        Refused: If it is missing, too large, no JSON, or a field is wrong.
    """
    content = folder.read(name, LIMITS[name.rsplit("/", 1)[-1]])
    return content, parse_part(content, name, model)


def parse_part(content: bytes, name: str, model: type[_Model]) -> _Model:
    """Checks JSON against a model, strictly: a number in quotes is no number.

    Raises:
        Refused: If it is no JSON, or a field is wrong.
    """
    parse_json(content, name)
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise field_error(error, name) from error


def expected_files(file: SubmissionFile) -> Iterable[str]:
    """Names the files that ``submission.json`` has to list."""
    yield CARD_FILE
    for run in file.runs:
        folder = f"{RUNS_FOLDER}/{run.name}"
        if run.benchmark == "speed":
            yield f"{folder}/{SPEED_FILE}"
            continue
        for name in RUN_FILES:
            packed = name == RECORDS_FILE and f"{folder}/{PACKED_RECORDS_FILE}" in file.files
            yield f"{folder}/{PACKED_RECORDS_FILE if packed else name}"
    if PREFERENCES_FILE in file.files:
        yield PREFERENCES_FILE
