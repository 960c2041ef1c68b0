"""Tables published elsewhere, as ``leaderboard/published/*.toml``: reported, never ranked.

They keep their own clips and their own convention, and never stand in a column with numbers that
were measured here.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from dojobench.leaderboard.card import Address, Line, Paragraphs, Part
from dojobench.protocol.errors import BadInputError

PUBLISHED = Path(__file__).parent / "published"
_ID = r"^[a-z0-9][a-z0-9-]{1,63}$"


class PublishedRow(Part):
    """One row: for each suite, a value of each metric."""

    name: Line
    values: tuple[tuple[float, ...], ...]


class PublishedTable(Part):
    """One table.

    Attributes:
        id: Anchor on the page.
        place: Where it stands in the source.
        kind: Which table of the site it is like.
        title: What it is about.
        note: What a reader has to know.
        convention: How the numbers were computed.
        row_head: What a row is.
        suites: Sets of clips, as the source names them; a group of columns each.
        metrics: ``label [unit] up`` or ``… down``, the same for each suite.
        rows: The rows, in the source's order.
    """

    id: Annotated[str, Field(pattern=_ID)]
    place: Line
    kind: Literal[
        "fidelity", "ablation", "preference", "speed", "stability", "policy", "counterfactual"
    ]
    title: Line
    note: Paragraphs = ""
    convention: Line
    row_head: Line = "Model"
    suites: tuple[Line, ...] = Field(min_length=1)
    metrics: tuple[Annotated[str, Field(pattern=r"^\S.* (up|down)$")], ...] = Field(min_length=1)
    rows: tuple[PublishedRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _shape(self) -> "PublishedTable":
        wanted = (len(self.suites), len(self.metrics))
        for row in self.rows:
            if any((len(row.values), len(values)) != wanted for values in row.values):
                raise ValueError(
                    f"the row '{row.name}' needs {wanted[0]} lists of {wanted[1]} numbers"
                )
        return self

    @property
    def columns(self) -> tuple[tuple[str, str, bool], ...]:
        """Label, unit and whether more is better, of each metric."""
        return tuple(_column(each) for each in self.metrics)


class Published(Part):
    """One source.

    Attributes:
        id: Name of its page.
        title: Its title.
        authors: Names; ``others`` stands for the rest.
        url: Where it can be read.
        date: When it was published.
        note: What holds for all its tables.
        tables: Its tables.
    """

    format: Literal[1]
    id: Annotated[str, Field(pattern=_ID)]
    title: Line
    authors: tuple[Line, ...] = Field(min_length=1)
    url: Address
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    note: Paragraphs = ""
    tables: tuple[PublishedTable, ...] = Field(min_length=1)


def read_published(folder: Path = PUBLISHED) -> tuple[Published, ...]:
    """Reads every source in a folder, in the order of their names.

    Raises:
        BadInputError: Naming the file and the field that is wrong.
    """
    return tuple(_read(path) for path in sorted(folder.glob("*.toml")))


def _read(path: Path) -> Published:
    try:
        return Published.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            reason = str(error)
        raise BadInputError(
            f"{path} is no file of published tables ({reason}); compare it with dreamdojo.toml"
        ) from error


def _column(text: str) -> tuple[str, str, bool]:
    label, direction = text.rsplit(" ", 1)
    unit = ""
    for known in ("dB", "FPS", "%"):
        if label.endswith(f" {known}"):
            label, unit = label.removesuffix(f" {known}"), known
    return label, unit, direction == "up"
