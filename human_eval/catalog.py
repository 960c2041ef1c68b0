"""``catalog.json``: which media file shows what; known to the server and never served.

Raters see media under names made anew for each trial. Only this file ties a model to its videos.
"""

import json
import os
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dojobench.human_eval.study_file import Axis, Study, read_study
from dojobench.protocol.errors import BadInputError

CATALOG_FILE = "catalog.json"
"""Name of the file in a study's folder."""

MEDIA_FOLDER = "media"
"""Name of the folder of media files in a study's folder."""

MAX_BYTES = 64 << 20
"""A larger file is no catalogue."""

MediaId = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
"""Random hexadecimal name of a media file, its ending left out."""

Name = Annotated[str, Field(min_length=1, max_length=300)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Gold(_Part):
    """A pair with a known answer: the true video against a spoilt one."""

    kind: Name = Field(description="how the fake was made, for example frame-shuffled")
    real: MediaId
    fake: MediaId
    axis: Axis = Field(description="the question that the real one wins")


class CatalogClip(_Part):
    """One clip and all that can be shown of it."""

    clip: Name
    frames: int = Field(ge=1)
    rate: float = Field(gt=0, le=240, description="frames a second")
    truth: MediaId | None
    first_frame: MediaId
    actions: MediaId
    outputs: dict[Name, MediaId] = Field(description="media by model")
    gold: Annotated[tuple[Gold, ...], Field(strict=False)] = ()


_CLIPS = TypeAdapter(Annotated[tuple[CatalogClip, ...], Field(strict=False, min_length=1)])


class OpenStudy(NamedTuple):
    """A study's folder, read and checked."""

    folder: Path
    study: Study
    hash: str
    """``sha256:…`` of ``study.toml``."""
    clips: dict[str, CatalogClip]
    """Clips by id, in the catalogue's order."""


def read_catalog(path: Path) -> tuple[CatalogClip, ...]:
    """Reads a catalogue, or the one in a study's folder.

    Raises:
        BadInputError: If it is not there, too large or not as it should be.
    """
    path = path / CATALOG_FILE if path.is_dir() else path
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInputError(f"{path} is too large to be a study's catalogue")
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"there is no catalogue {path} ({error.strerror}); 'dojobench study create' writes one"
        ) from error
    try:
        clips = _CLIPS.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInputError(
            f"{path}: {place or 'the file'}: {first['msg']}; make the study anew with "
            "'dojobench study create'"
        ) from error
    names = [clip.clip for clip in clips]
    if len(set(names)) < len(names):
        raise BadInputError(f"{path} lists a clip twice; make the study anew")
    return clips


def write_catalog(clips: tuple[CatalogClip, ...], path: Path) -> None:
    """Writes a catalogue whole or not at all, readable by its owner only.

    Args:
        clips: The clips.
        path: The file, or an existing folder to put ``catalog.json`` into.
    """
    path = path / CATALOG_FILE if path.is_dir() else path
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    content = json.dumps([clip.model_dump(mode="json") for clip in clips], indent=1) + "\n"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_study(folder: Path) -> OpenStudy:
    """Reads a study's plan and catalogue and checks that all media are there.

    Raises:
        BadInputError: If a file is missing or wrong, a model of the plan has no output anywhere,
            or the catalogue names a model that the plan does not have.
    """
    if not folder.is_dir():
        raise BadInputError(
            f"there is no study folder {folder}; 'dojobench study create' makes one"
        )
    study, found_hash = read_study(folder)
    clips = read_catalog(folder)
    known = set(study.model_names)
    shown: set[str] = set()
    for clip in clips:
        if unknown := sorted(set(clip.outputs) - known):
            raise BadInputError(
                f"{folder / CATALOG_FILE}: clip '{clip.clip}' has an output of '{unknown[0]}', "
                "which is no model of study.toml"
            )
        shown |= set(clip.outputs)
        for path in _media(folder, clip):
            if not path.is_file():
                raise BadInputError(
                    f"{path} is missing, which clip '{clip.clip}' needs; copy the whole folder"
                )
    if missing := sorted(known - shown):
        raise BadInputError(f"{folder / CATALOG_FILE} has no output of the model '{missing[0]}'")
    return OpenStudy(folder, study, found_hash, {clip.clip: clip for clip in clips})


def media_path(folder: Path, media: str, ending: str) -> Path:
    """Gives the file of a media id; ``ending`` is ``mp4``, ``png`` or ``json``."""
    return folder / MEDIA_FOLDER / f"{media}.{ending}"


def _media(folder: Path, clip: CatalogClip) -> list[Path]:
    videos = [*clip.outputs.values(), *(each for g in clip.gold for each in (g.real, g.fake))]
    if clip.truth is not None:
        videos.append(clip.truth)
    return [
        *(media_path(folder, each, "mp4") for each in videos),
        media_path(folder, clip.first_frame, "png"),
        media_path(folder, clip.actions, "json"),
    ]
