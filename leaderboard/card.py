"""The card: what the people who send a model say about it, as ``card.toml``.

Every text is bounded and is data: it is shown escaped and never interpreted.
"""

import tomllib
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dojobench.leaderboard.safe_files import shown
from dojobench.leaderboard.verdict import Refused

MAX_CARD_BYTES = 64 * 1024

Kind = Literal["world-model", "static", "noise", "mean", "retrieval", "unconditioned"]
"""What it is; all but ``world-model`` are baselines that say what they do.

``static`` repeats a frame it was given, ``noise`` answers noise, with or without such a frame
under it, ``mean`` answers the mean future, ``retrieval`` replays training clips, and
``unconditioned`` predicts without looking at the actions.
"""


def _one_line(text: str) -> str:
    if any(not c.isprintable() for c in text):
        raise ValueError("has characters that cannot be printed; write one line of plain text")
    return text


def _printable(text: str) -> str:
    if any(not c.isprintable() and c != "\n" for c in text):
        raise ValueError("has characters that cannot be printed; write plain text")
    return text


def _https(text: str) -> str:
    if any(c in text for c in " <>\"'`\\\n\t\r") or not text.isascii():
        raise ValueError("has characters that an address does not have")
    return text


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Paragraphs = Annotated[str, Field(max_length=4000), AfterValidator(_printable)]
Address = Annotated[
    str,
    Field(max_length=400, pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?(/.*)?$"),
    AfterValidator(_https),
]
"""An ``https://`` address; nothing else is linked to."""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Part(BaseModel):
    """Base of all parts of a submission: immutable, unknown fields refused, numbers finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class Author(Part):
    """One author; ``affiliation`` may be left out."""

    name: Line
    affiliation: Line | None = None


class Links(Part):
    """Where to read on; ``https`` only."""

    paper: Address | None = None
    code: Address | None = None
    weights: Address | None = None
    page: Address | None = None


class TrainingData(Part):
    """One data set that the model was trained on, in any phase.

    Attributes:
        name: Its name, such as ``droid``; of a suite's own data, the name that the suite's
            manifest gives its source (``dojo`` for the simulated world).
        source: Where it is: ``owner/name@revision``, an address, or in words.
        splits: Which splits of it were seen; needed where the suite tests other splits of it.
        hours: How much video.
        searched: Whether it was searched for copies of the suite's clips, with
            ``dojobench dojo contamination``, and none were found.
    """

    name: Line
    source: Line
    splits: tuple[Line, ...] = Field(default=(), max_length=64)
    hours: float | None = Field(default=None, ge=0, le=1e8)
    searched: bool = False


class Conditions(Part):
    """How the model was run, as far as the harness cannot see it.

    Attributes:
        precision: Of the weights while running, such as ``bfloat16``.
        steps: Sampling steps per chunk, 1 for a model that samples nothing.
        guidance: Strength of classifier-free guidance; 1 is none.
        flops_per_frame: Floating-point operations a frame.
        peak_memory_gib: Most memory that was in use.
        notes: Anything else that a reader has to know.
    """

    precision: Literal["float32", "tfloat32", "bfloat16", "float16", "float8", "int8", "float4"]
    steps: int = Field(default=1, ge=1, le=10_000)
    guidance: float = Field(default=1.0, ge=0, le=1000)
    flops_per_frame: float | None = Field(default=None, ge=0, le=1e20)
    peak_memory_gib: float | None = Field(default=None, ge=0, le=1e6)
    notes: Paragraphs = ""


class Card(Part):
    """``card.toml``.

    Attributes:
        format: 1.
        name: The model's name in tables.
        version: The model's version.
        kind: ``world-model``, or the kind of baseline.
        description: What it is, in a few sentences.
        licence: Of the weights, as an SPDX identifier or in a few words.
        parameters: All parameters that take part in making a frame; 0 for a rule.
        active_parameters: Those that one pass uses, where they are fewer.
        supersedes: Id of the submission that this one takes the place of.
    """

    format: Literal[1] = 1
    name: Line
    version: Line = "1"
    kind: Kind
    description: Paragraphs
    authors: tuple[Author, ...] = Field(min_length=1, max_length=200)
    contact: Line
    licence: Line
    parameters: int = Field(ge=0, le=10**14)
    active_parameters: int | None = Field(default=None, ge=1, le=10**14)
    supersedes: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]{2,63}$")
    conditions: Conditions
    training: tuple[TrainingData, ...] = Field(default=(), max_length=200)
    links: Links = Links()


def parse_card(content: bytes, where: str = "card.toml") -> Card:
    """Reads a card.

    Raises:
        Refused: If it is no TOML, or a field is wrong; the field is named.
    """
    if len(content) > MAX_CARD_BYTES:
        raise Refused("DB-S005", f"{where} is larger than 64 KiB; shorten its texts.", where)
    try:
        value = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(
            "DB-S007",
            f"{where} is not valid TOML ({shown(error, 120)}); compare it with the one that "
            "`dojobench submit card` prints.",
            where,
        ) from error
    try:
        return Card.model_validate(value)
    except ValidationError as error:
        raise field_error(error, where) from error


def field_error(error: ValidationError, where: str) -> Refused:
    """Turns pydantic's findings into one sentence about the first."""
    first = error.errors(include_url=False)[0]
    field = ".".join(shown(part, 40) for part in first["loc"]) or "the whole"
    message = first["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    also = f" (and {more} more)" if more else ""
    told = {
        "missing": f"{where} lacks the field '{field}'{also}; add it.",
        "extra_forbidden": f"{where} has a field '{field}' that nobody knows{also}; remove it or "
        "correct its name.",
    }.get(
        first["type"],
        f"{where}: the field '{field}' is wrong: {message[:1].lower()}{message[1:]}{also}; "
        "correct it.",
    )
    code = "DB-S009" if field == "format" and first["type"] == "literal_error" else "DB-S008"
    if code == "DB-S009":
        told = f"{where} has a format that this version of dojobench does not read; it reads 1."
    return Refused(code, shown(told, 600), f"{where}: {field}")


CARD_TEMPLATE = """\
format = 1
name = "my-model"
version = "1"
# world-model, or a baseline: static, noise, mean, retrieval, unconditioned
kind = "world-model"
description = "What it is, in one or two sentences."
contact = "you@example.org"
licence = "Apache-2.0"
parameters = 2_000_000_000

[[authors]]
name = "Your Name"
affiliation = "Your Lab"

[conditions]
precision = "bfloat16"
# sampling steps per chunk; 1 for a model that samples nothing
steps = 4

# One for each data set, in any phase of training. Data of the suite itself needs its splits.
[[training]]
name = "my-data"
source = "owner/name@revision"
hours = 100.0

[links]
code = "https://example.org/code"
"""
"""A card to begin with; ``dojobench submit card`` prints it."""
