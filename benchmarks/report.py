"""One self-contained HTML file that shows runs to people: it opens from disk and asks no network.

The page is made of sections. A section is a function from the evidence to plain data and
a template of the same name, ``templates/report_<id>.html.j2``; a new benchmark adds one of
each, and is shown where a run folder has it. Names come from whoever ran the model, so
everything is escaped, and the page's own policy lets nothing run but its own script, named by
hash.
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
from dojobench.benchmarks.metric_names import COUNTERFACTUAL, FIDELITY, PROBES, STABILITY
from dojobench.benchmarks.report_branches import branches
from dojobench.benchmarks.report_charts import curves, distribution
from dojobench.benchmarks.report_conditions import conditions
from dojobench.benchmarks.report_data import Comparison
from dojobench.benchmarks.report_gather import Evidence, gather
from dojobench.benchmarks.report_players import BRANCH_BYTES, LONG_BYTES, clips
from dojobench.benchmarks.report_probes import probes
from dojobench.benchmarks.report_speed import speed
from dojobench.benchmarks.report_stability import stability
from dojobench.benchmarks.report_tables import scores
from dojobench.benchmarks.report_verdict import verdict
from dojobench.datasets.files import write_atomically
from dojobench.protocol import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page.

    Attributes:
        id: Address within the page, and the name of the template ``report_<id>.html.j2``.
        title: Heading and navigation.
        data: Makes what the template lays out; ``None`` where the runs have nothing of it.
    """

    id: str
    title: str
    data: Callable[[Evidence], Any]


def _of(benchmark: str, data: Callable[[Comparison], Any]) -> Callable[[Evidence], Any]:
    """Makes a section of one benchmark's runs, left out where there are none."""

    def made(evidence: Evidence) -> Any:
        comparison = evidence.comparisons.get(benchmark)
        return data(comparison) if comparison is not None else None

    return made


def _clips(evidence: Evidence) -> Any:
    """Leaves room in the page for the videos of the other benchmarks."""
    if (comparison := evidence.comparisons.get(FIDELITY)) is None:
        return None
    kept = {COUNTERFACTUAL: BRANCH_BYTES, STABILITY: LONG_BYTES}
    reserved = sum(size for name, size in kept.items() if name in evidence.comparisons)
    return clips(comparison, reserved=reserved)


def _branches(evidence: Evidence) -> Any:
    if (comparison := evidence.comparisons.get(COUNTERFACTUAL)) is None:
        return None
    fidelity = evidence.comparisons.get(FIDELITY)
    return branches(comparison, fidelity.meta.clip_ids if fidelity else ())


def _speed(evidence: Evidence) -> Any:
    return speed(evidence.speeds) if evidence.speeds else None


SECTIONS: tuple[Section, ...] = (
    Section(id="verdict", title="Verdict", data=verdict),
    Section(id="scores", title="Scores", data=_of(FIDELITY, scores)),
    Section(id="curves", title="Over the rollout", data=_of(FIDELITY, curves)),
    Section(id="distribution", title="Over the clips", data=_of(FIDELITY, distribution)),
    Section(id="clips", title="Clips to look at", data=_clips),
    Section(id="counterfactual", title="What the actions do", data=_branches),
    Section(id="stability", title="How long it lasts", data=_of(STABILITY, stability)),
    Section(id="speed", title="Speed", data=_speed),
    Section(id="probes", title="Probes", data=_of(PROBES, probes)),
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
        BadInputError: If a run is incomplete or damaged, two runs of a benchmark cannot be
            compared, or ``out`` cannot be written.
    """
    page = render(gather(run_dirs), title=title)
    file = out if out.suffix.lower() in (".html", ".htm") else out / "report.html"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"the report cannot be written to {file} ({error.strerror}); give another --out"
        ) from error
    write_atomically(file, page.encode())
    return file


def render(evidence: Evidence, *, title: str | None = None) -> str:
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
    style = "".join(_asset(sheet) for sheet in ("page.css", "charts.css", "report.css"))
    script = _asset("report.js")
    made = [(section, section.data(evidence)) for section in SECTIONS]
    parts = [(section, data) for section, data in made if data is not None]
    return environment.get_template("report.html.j2").render(
        title=title or _title(evidence),
        sections=parts,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=_policy(style, script),
        version=__version__,
    )


def _title(evidence: Evidence) -> str:
    first = evidence.first
    if first is None:
        return f"Speed of {', '.join(s.label for s in evidence.speeds)}"
    models = [e.label for e in first.entries if e.role == "model"]
    suite = first.meta.suite.name
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
