"""A self-contained page of sentences and tables, in the style of the report, for people."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dojobench import __version__

_SIGNS = {"good": "✓", "bad": "✗", "": "?"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PageClaim:
    """A sentence with a sign.

    Attributes:
        text: The sentence.
        tone: ``good``, ``bad`` or empty.
    """

    text: str
    tone: str = ""

    @property
    def sign(self) -> str:
        """What stands before it."""
        return _SIGNS[self.tone]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageCell:
    """A number with what belongs to it.

    Attributes:
        value: The number.
        lines: Smaller lines below, such as its interval.
        mark: A word on it.
        tone: ``better``, ``worse``, ``same`` or empty: the colour of the mark.
    """

    value: str
    lines: tuple[str, ...] = ()
    mark: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRow:
    """A row of a table."""

    label: str
    cells: tuple[PageCell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageTable:
    """A table.

    Attributes:
        caption: What it shows.
        corner: Heading of the rows' names.
        columns: Headings.
        rows: As many cells in each as there are columns.
    """

    caption: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[PageRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSection:
    """A part of the page: claims, then tables, then notes."""

    title: str
    claims: tuple[PageClaim, ...] = ()
    tables: tuple[PageTable, ...] = ()
    notes: tuple[str, ...] = ()


def tables_page(*, eyebrow: str, title: str, lede: str, sections: Sequence[PageSection]) -> str:
    """Renders the page; everything is escaped, and it may load nothing.

    Returns:
        HTML text. Equal contents give equal text.
    """
    folder = files("dojobench.benchmarks").joinpath("templates")
    sheets = ("page.css", "report.css")
    style = "".join(folder.joinpath(sheet).read_text(encoding="utf-8") for sheet in sheets)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = folder.joinpath("tables_page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        eyebrow=eyebrow,
        title=title,
        lede=lede,
        sections=sections,
        style=Markup(style),  # noqa: S704 - our own file
        policy=(
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
        version=__version__,
    )
