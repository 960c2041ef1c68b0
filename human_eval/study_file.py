"""``study.toml``: all that a study decides before its first vote, and the hash that fixes it.

The file is the pre-registration: which models, which questions, how ties count, who is excluded,
when it stops and how it is analysed. Its SHA-256 stands in the header of the vote log, so an
analysis with a plan that was changed afterwards is seen for what it is.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from dojobench.human_eval.toml_writer import to_toml
from dojobench.human_eval.whole_file import write_whole
from dojobench.protocol.errors import BadInputError

FORMAT: Literal[1] = 1
"""Version of the file's format."""

STUDY_FILE = "study.toml"
"""Name of the file in a study's folder."""

MAX_BYTES = 1 << 20
"""A larger file is no study file."""

Axis = Literal["physics", "action"]
"""What is voted on: does it obey physics, does it follow the commanded action."""

TieRule = Literal["half", "drop", "own"]
"""How a tie enters a win rate: as half a win, not at all, or as an outcome of its own."""

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=120)]


class _Part(BaseModel):
    """Base of all parts: immutable, no unknown key, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StudyPart(_Part):
    """What the study is."""

    format: Literal[1] = Field(default=FORMAT, description="version of this file's format")
    title: Name = Field(description="shown to raters and above the report")
    suite: Name = Field(description="the suite that the clips come from")
    languages: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] = Field(
        default=("en",), description="languages that raters may choose; the first is the default"
    )
    consent_version: Name = Field(
        default="1", description="version of the consent text raters agree to"
    )
    seed: int = Field(default=0, ge=0, description="decides sides, order and the random arm")


class ModelPart(_Part):
    """One model of the study."""

    name: Name = Field(description="name in results; raters never see it")
    source: Name = Field(description="run folder or folder of videos")


class AxisPart(_Part):
    """One question."""

    question: Name = Field(description="key of the question's text in the language files")


class AxesPart(_Part):
    """The questions, one vote each; at least one."""

    physics: AxisPart | None = Field(default=None, description="which one obeys physics")
    action: AxisPart | None = Field(
        default=None, description="which one follows the commanded action"
    )

    @model_validator(mode="after")
    def _some(self) -> "AxesPart":
        if not self.names:
            raise ValueError("must ask about physics, action or both")
        return self

    @property
    def questions(self) -> dict[Axis, str]:
        """Key of the question's text by axis, physics first."""
        parts = ((axis, getattr(self, axis)) for axis in self.names)
        return {axis: part.question for axis, part in parts}

    @property
    def names(self) -> tuple[Axis, ...]:
        """The axes that are asked, physics first."""
        asked: list[Axis] = []
        if self.physics is not None:
            asked.append("physics")
        if self.action is not None:
            asked.append("action")
        return tuple(asked)


class TiesPart(_Part):
    """What a tie counts."""

    rule: TieRule = Field(default="half", description="half | drop | own")


class TrialsPart(_Part):
    """What a rater is given."""

    pairs: int = Field(ge=1, description="clips that each pair of models is compared on")
    gold_share: Share = Field(default=0.1, description="share of trials with a known answer")
    duplicate_share: Share = Field(default=0.1, description="share shown again with sides swapped")
    random_share: Share = Field(default=0.25, description="share drawn at random, for audit")
    per_rater: int = Field(default=50, ge=1, description="trials of one rater")


class StoppingPart(_Part):
    """When the study ends: whatever comes first. An unset rule is no rule."""

    votes_per_pair: int | None = Field(
        default=None, ge=1, description="ordinary votes per axis and pair"
    )
    half_width: float | None = Field(
        default=None, gt=0, lt=0.5, description="half width of every win rate's interval"
    )
    max_votes: int | None = Field(default=None, ge=1, description="votes in all")


class ExclusionsPart(_Part):
    """Which raters and votes do not count. An unset rule excludes nobody."""

    min_gold: float | None = Field(
        default=None, ge=0, le=1, description="least share of gold trials answered rightly"
    )
    min_seconds: float | None = Field(default=None, ge=0, description="least seconds for a vote")
    max_drift_frames: float | None = Field(
        default=1.0, ge=0, description="most frames between two videos' pictures at one moment"
    )
    max_same_side: float | None = Field(
        default=None,
        gt=0.5,
        le=1,
        description="most of a rater's decided votes on one side, as a share",
    )


class AnalysisPart(_Part):
    """How it is analysed; planned before the first vote."""

    preset: Literal["clustered", "dreamdojo"] = Field(
        default="clustered", description="clustered | dreamdojo (adds that paper's own win rates)"
    )
    anchor: str | None = Field(default=None, description="model with strength zero and rate 50 %")
    level: float = Field(
        default=0.95, gt=0.5, lt=1, description="nominal coverage of all intervals"
    )
    bootstrap: int = Field(default=1000, ge=100, le=100_000, description="resamples")
    seed: int = Field(default=0, ge=0, description="seed of the resamples")


class Study(_Part):
    """The whole of ``study.toml``."""

    study: StudyPart
    models: Annotated[tuple[ModelPart, ...], Field(strict=False, min_length=2)]
    axes: AxesPart
    ties: TiesPart = TiesPart()
    trials: TrialsPart
    stopping: StoppingPart = StoppingPart()
    exclusions: ExclusionsPart = ExclusionsPart()
    analysis: AnalysisPart = AnalysisPart()

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        names = self.model_names
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"has two models called '{name}'; names must differ")
        if self.analysis.anchor is not None and self.analysis.anchor not in names:
            near = _nearest(self.analysis.anchor, names)
            raise ValueError(f"has the anchor '{self.analysis.anchor}', which is no model{near}")
        if self.trials.gold_share + self.trials.duplicate_share >= 1:
            raise ValueError("leaves no ordinary trial: gold_share + duplicate_share must be < 1")
        return self

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models, in the file's order."""
        return tuple(model.name for model in self.models)


class ReadStudy(NamedTuple):
    """A study file that was read."""

    study: Study
    hash: str
    """``sha256:…`` of the file's bytes: the pre-registration."""


def study_hash(content: bytes) -> str:
    """Gives the hash that names a study file: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read_study(path: Path) -> ReadStudy:
    """Reads a study file, or the one in a study's folder.

    Args:
        path: The file, or a folder that holds ``study.toml``.

    Returns:
        The study and the hash of the bytes that were read.

    Raises:
        BadInputError: If it is not there, no TOML, or a value or key of it is wrong.
    """
    path = path / STUDY_FILE if path.is_dir() else path
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadInputError(f"{path} holds {size} bytes, which is no study file")
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"there is no study file {path} ({error.strerror}); 'dojobench study create' writes one"
        ) from error
    return ReadStudy(parse_study(content, str(path)), study_hash(content))


def parse_study(content: bytes, where: str = STUDY_FILE) -> Study:
    """Reads a study from the bytes of its file.

    Args:
        content: UTF-8 TOML.
        where: Name of the file, for messages.

    Raises:
        BadInputError: As for `read_study`.
    """
    try:
        found = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"{where} is no TOML file: {error}") from error
    try:
        return Study.model_validate(found)
    except ValidationError as error:
        raise BadInputError(f"{where}: {_describe(error.errors()[0])}") from error


def study_toml(study: Study) -> str:
    """Writes a study as TOML, each key with a comment that says what it means.

    Equal studies give equal texts, and `parse_study` gives the study back.
    """
    comments: dict[str, str] = {}
    _comments(Study, (), comments)
    # A question that is not asked is no key without a value but a table that is not there.
    asked = {"axes": study.axes.model_dump(exclude_none=True)}
    return to_toml({**study.model_dump(), **asked}, comments)


def write_study(study: Study, path: Path) -> str:
    """Writes a study file whole or not at all.

    Args:
        study: The study.
        path: The file, or an existing folder to put ``study.toml`` into.

    Returns:
        Its hash.

    Raises:
        BadInputError: If it cannot be written there.
    """
    path = path / STUDY_FILE if path.is_dir() else path
    content = study_toml(study).encode("utf-8")
    write_whole(path, content)
    return study_hash(content)


def _comments(model: type[BaseModel], path: tuple[str, ...], found: dict[str, str]) -> None:
    for name, field in model.model_fields.items():
        if field.description:
            found[".".join((*path, name))] = field.description
        for part in _parts(field.annotation):
            _comments(part, (*path, name), found)


def _parts(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = getattr(annotation, "__args__", ())
    return [part for each in inner for part in _parts(each)]


def _describe(error: ErrorDetails) -> str:
    """Says in one clause which key is wrong, and what to write."""
    place = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        known = _keys_at(place[:-1])
        return f"unknown key '{'.'.join(place)}'{_nearest(place[-1], known)}"
    if error["type"] == "missing":
        return f"'{'.'.join(place)}' is missing"
    message = error["msg"].removeprefix("Value error, ")
    if not place:
        return message
    given = error["input"]
    shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"'{'.'.join(place)}': {message}{shown}"


def _keys_at(place: list[str]) -> tuple[str, ...]:
    model: type[BaseModel] = Study
    for part in place:
        if part.isdecimal():
            continue
        parts = _parts(model.model_fields[part].annotation)
        if not parts:
            return ()
        model = parts[0]
    return tuple(model.model_fields)


def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(known)}"


def as_plain(study: Study) -> Mapping[str, Any]:
    """Gives the study as plain values, for JSON."""
    return study.model_dump(mode="json", exclude_none=True)
