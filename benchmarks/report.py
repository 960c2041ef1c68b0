"""One self-contained HTML file that shows runs to people: it opens from disk and asks no network.

The page is made of sections. A section is a function from the comparison to plain data and
a template block of the same name in ``templates/report.html.j2``; a new benchmark adds one of
each. Names come from whoever ran the model, so everything is escaped, and the page's own
policy lets nothing run but its own script, named by hash.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from dojobench import __version__
from dojobench.benchmarks.report_charts import curves, distribution
from dojobench.benchmarks.report_conditions import conditions
from dojobench.benchmarks.report_data import Comparison, compare
from dojobench.benchmarks.report_players import clips
from dojobench.benchmarks.report_tables import scores
from dojobench.benchmarks.report_verdict import verdict
from dojobench.benchmarks.run_writer import write_atomically
from dojobench.protocol import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page.

    Attributes:
        id: Address within the page, and the name of the template ``report_<id>.html.j2``.
        title: Heading and navigation.
        data: Makes what the template lays out.
    """

    id: str
    title: str
    data: Callable[[Comparison], Any]


SECTIONS: tuple[Section, ...] = (
    Section(id="verdict", title="Verdict", data=verdict),
    Section(id="scores", title="Scores", data=scores),
    Section(id="curves", title="Over the rollout", data=curves),
    Section(id="distribution", title="Over the clips", data=distribution),
    Section(id="clips", title="Clips to look at", data=clips),
    Section(id="conditions", title="Conditions", data=conditions),
)


def write_report(run_dirs: Sequence[Path], out: Path, *, title: str | None = None) -> Path:
    """Writes the report of one or more runs of the same clips.

    Args:
        run_dirs: Run folders; the baselines beside them are taken along.
        out: The HTML file, or a folder to write ``report.html`` into.
        title: Heading of the page; the model's and the suite's names where ``None``.

    Returns:
        The file written. Equal runs give equal bytes.

    Raises:
        BadInputError: If a run is incomplete or damaged, two runs cannot be compared, or
            ``out`` cannot be written.
    """
    page = render(compare(run_dirs), title=title)
    file = out if out.suffix.lower() in (".html", ".htm") else out / "report.html"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, page.encode())
    except OSError as error:
        raise BadInputError(
            f"the report cannot be written to {file} ({error.strerror}); give another --out"
        ) from error
    return file


def render(comparison: Comparison, *, title: str | None = None) -> str:
    """Renders the page.

    Returns:
        HTML text, with styles, script, charts and videos inside.
    """
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _asset("report.css"), _asset("report.js")
    parts = [(section, section.data(comparison)) for section in SECTIONS]
    return environment.get_template("report.html.j2").render(
        title=title or _title(comparison),
        sections=parts,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=_policy(style, script),
        version=__version__,
    )


def _title(comparison: Comparison) -> str:
    models = [e.label for e in comparison.entries if e.role == "model"]
    suite = comparison.meta.suite.name
    return f"{models[0]} on {suite}" if len(models) == 1 else suite


def _asset(name: str) -> str:
    return files("dojobench.benchmarks").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Allows the page's own style and script by hash, pictures and videos inside it, no more."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

    return (
        f"default-src 'none'; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; img-src data:; media-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
