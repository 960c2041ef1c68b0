"""Manifests: a suite frozen as JSON Lines, one header and then one clip a line.

The hash of the file's bytes is the suite's version, so two results are comparable exactly if
their manifests are the same file. ``docs/file-formats.md`` describes every field.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dojobench.datasets.files import write_atomically
from dojobench.datasets.suite import ClipRecord, SuiteSpec
from dojobench.protocol import ActionSpace
from dojobench.protocol.errors import BadInputError

_MAX_BYTES = 256 * 1024 * 1024
_MAX_LINE = 64 * 1024
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)

_Fields = TypeVar("_Fields", bound=BaseModel)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
Text = Annotated[str, Field(max_length=10_000)]
Short = Annotated[str, Field(min_length=1, max_length=1000)]
Pixels = Annotated[int, Field(ge=1, le=16_384)]


class ActionSpaceFields(BaseModel):
    """``ActionSpace`` as it stands in a header."""

    model_config = _STRICT

    dim: Annotated[int, Field(ge=0, le=100_000)]
    embodiment: Name
    kind: Literal["absolute", "relative", "velocity", "mixed", "none"]
    names: list[Short] = []
    units: Text = ""

    @model_validator(mode="after")
    def _as_many_names_as_dims(self) -> "ActionSpaceFields":
        if self.names and len(self.names) != self.dim:
            raise ValueError(f"there are {len(self.names)} names for {self.dim} dimensions")
        return self


class SourceFields(BaseModel):
    """Where a dataset comes from and how it is read.

    Attributes:
        format: As ``EpisodeSource.format``.
        revision: Such as ``owner/name@commit``.
        obtain: In words, where to get it.
        root: Folder below the one that the user names; relative, without ``..``.
        action_key: Which of the dataset's several actions; its default where ``None``.
    """

    model_config = _STRICT

    format: Short
    revision: Short
    obtain: Text = ""
    root: Short
    action_key: Short | None = None

    @field_validator("root")
    @classmethod
    def _stays_inside(cls, root: str) -> str:
        path = PurePosixPath(root)
        if path.is_absolute() or ".." in path.parts or "\\" in root:
            raise ValueError("must be a relative path without '..'")
        return root


class DojoFields(BaseModel):
    """How the clips of a simulated suite are made; see ``docs/file-formats.md``.

    Attributes:
        suite: The recipe, such as ``dojo-v1``.
        generator: Version of everything that decides the clips.
        seed: The seed, where it is public.
        commitment: Hash of the seed, where its owner keeps it.
        plans: Hash of all plans, which tells another seed or recipe before anything is rendered.
    """

    model_config = _STRICT

    suite: Name
    generator: Name
    seed: Short | None = None
    commitment: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    plans: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _public_or_secret(self) -> "DojoFields":
        if (self.seed is None) == (self.commitment is None):
            raise ValueError("either the seed or its commitment must stand there, not both")
        return self


class Header(BaseModel):
    """The first line; see ``docs/file-formats.md``."""

    model_config = _STRICT

    dojobench_manifest: Literal[1]
    name: Name
    description: Text = ""
    resolution: tuple[Pixels, Pixels]
    fit: Literal["exact", "crop-resize"] = "exact"
    frame_rate: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
    context_frames: Annotated[int, Field(ge=1, le=100_000)]
    action_space: ActionSpaceFields
    actions: Literal["first", "last", "concat"] = "first"
    views: list[Short] = []
    sources: Annotated[dict[Name, SourceFields], Field(min_length=1)]
    dojo: DojoFields | None = None

    @field_validator("resolution", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class ClipFields(BaseModel):
    """``ClipRecord`` as it stands in a line."""

    model_config = _STRICT

    id: Name
    source: Name
    revision: Short
    episode: Short
    start: Annotated[int, Field(ge=0, lt=2**40)]
    stride: Annotated[int, Field(ge=1, le=10_000)]
    frames: Annotated[int, Field(ge=2, le=1_000_000)]
    split: Name
    embodiment: Name
    camera: Short
    instruction: Text | None = None
    branch_group: Name | None = None
    sha256: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    fingerprint: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{1,2000}={0,2}$")] | None = None


class Manifest(BaseModel):
    """A whole manifest.

    Attributes:
        header: The first line.
        clips: The further lines, in order.
        version: ``sha256:`` and the hash of the bytes.
        fingerprints: Of clips that are rendered, by id: what they must look like.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    header: Header
    clips: tuple[ClipRecord, ...]
    version: str
    fingerprints: dict[str, str] = {}

    @property
    def spec(self) -> SuiteSpec:
        """What all clips have in common."""
        space = self.header.action_space
        return SuiteSpec(
            name=self.header.name,
            version=self.version,
            resolution=self.header.resolution,
            frame_rate=self.header.frame_rate,
            context_frames=self.header.context_frames,
            action_space=ActionSpace(
                dim=space.dim,
                embodiment=space.embodiment,
                kind=space.kind,
                names=tuple(space.names),
                units=space.units,
            ),
            views=tuple(self.header.views),
        )


def encode_manifest(
    header: Header, clips: Iterable[ClipRecord], fingerprints: Mapping[str, str] | None = None
) -> bytes:
    """Gives a manifest's canonical bytes: fields in fixed order, no spaces, UTF-8, line feeds.

    What only simulated suites have is left out of the others.
    """
    names = [name for name in ClipFields.model_fields if name != "fingerprint"]
    lines = [header.model_dump(mode="json", exclude=None if header.dojo else {"dojo"})]
    for clip in clips:
        line = {name: getattr(clip, name) for name in names}
        if fingerprints and clip.id in fingerprints:
            line["fingerprint"] = fingerprints[clip.id]
        lines.append(line)
    text = "".join(
        json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines
    )
    return text.encode("utf-8")


def write_manifest(
    path: Path,
    header: Header,
    clips: Iterable[ClipRecord],
    fingerprints: Mapping[str, str] | None = None,
) -> Manifest:
    """Writes a manifest, whole or not at all, and gives it back as read.

    Args:
        path: The file.
        header: The first line.
        clips: The further lines.
        fingerprints: Of clips that are rendered, by id.

    Raises:
        BadInputError: If a field is not valid or the file cannot be written.
    """
    content = encode_manifest(header, clips, fingerprints)
    manifest = parse_manifest(content, str(path))
    write_atomically(path, content)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest.

    Raises:
        BadInputError: If it is missing, too large or not valid; file, line and field are named.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadInputError(f"The manifest {path} is larger than 256 MiB; split it up.")
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"The manifest {path} cannot be read ({(error.strerror or 'error').lower()}); name an "
            "existing .jsonl file or a suite that `dojobench data list` shows."
        ) from error
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Reads a manifest from its bytes.

    Args:
        content: The file's bytes.
        where: What to call it in messages.

    Returns:
        The manifest.

    Raises:
        BadInputError: If it is not valid; line and field are named.
    """
    lines = content.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise BadInputError(f"The manifest {where} is empty; freeze the suite again.")
    first = _object(lines[0], f"{where}:1")
    if not isinstance(first, dict) or "dojobench_manifest" not in first:
        raise BadInputError(
            f"{where}:1 has no field 'dojobench_manifest', so the file is no manifest; make one "
            "with `dojobench data freeze`."
        )
    header = _validate(Header, first, f"{where}:1")
    clips: list[ClipRecord] = []
    seen: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = _validate(ClipFields, _object(line, f"{where}:{number}"), f"{where}:{number}")
        clip = ClipRecord(**fields.model_dump(exclude={"fingerprint"}))
        _check_clip(clip, header, f"{where}:{number}")
        if clip.id in seen:
            raise BadInputError(
                f"{where}:{number}:id repeats '{clip.id}' of line {seen[clip.id]}; ids must differ."
            )
        seen[clip.id] = number
        clips.append(clip)
        if fields.fingerprint is not None:
            fingerprints[clip.id] = fields.fingerprint
    if not clips:
        raise BadInputError(f"The manifest {where} lists no clips; freeze the suite again.")
    version = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Manifest(header=header, clips=tuple(clips), version=version, fingerprints=fingerprints)


def _check_clip(clip: ClipRecord, header: Header, where: str) -> None:
    if clip.source not in header.sources:
        raise BadInputError(
            f"{where}:source is '{clip.source}', which the first line does not describe; it "
            f"describes: {', '.join(header.sources)}."
        )
    if clip.embodiment != header.action_space.embodiment:
        raise BadInputError(
            f"{where}:embodiment is '{clip.embodiment}', but the first line states "
            f"'{header.action_space.embodiment}'; keep each embodiment in a suite of its own."
        )
    if clip.frames <= header.context_frames:
        raise BadInputError(
            f"{where}:frames is {clip.frames}, which leaves nothing to predict after "
            f"{header.context_frames} context frames; take longer clips."
        )
    if clip.revision != header.sources[clip.source].revision:
        raise BadInputError(
            f"{where}:revision is '{clip.revision}', but the first line states "
            f"'{header.sources[clip.source].revision}' for '{clip.source}'; freeze it again."
        )


def _object(line: bytes, where: str) -> Any:
    if len(line) > _MAX_LINE and not where.endswith(":1"):
        raise BadInputError(f"{where} is longer than 64 KiB; freeze the suite again.")
    try:
        return json.loads(line, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = error.msg.lower() if isinstance(error, json.JSONDecodeError) else "not readable"
        raise BadInputError(f"{where} is not valid JSON ({reason}); freeze it again.") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _validate(kind: type[_Fields], value: Any, where: str) -> _Fields:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "line"
        message = re.sub(r"^Value error, ", "", first["msg"])
        raise BadInputError(
            f"{where}:{path} is not valid ({message[:1].lower() + message[1:]}); correct it or "
            "freeze the suite again."
        ) from error
