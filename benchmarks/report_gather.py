"""Reads the folders that a report is about and lays out every benchmark's runs.

A folder holds a run of its own, runs of further benchmarks in ``counterfactual/``,
``stability/`` and ``probes/``, a measurement in ``speed/``, and baselines beside any of them.
Runs that cannot be compared are refused with one sentence, never mixed. A model has one name and
one colour in the whole report, whichever benchmarks it ran.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dojobench.benchmarks.baselines import BASELINES
from dojobench.benchmarks.metric_names import (
    BENCHMARK_METRICS,
    COUNTERFACTUAL,
    FIDELITY,
    PROBES,
    STABILITY,
)
from dojobench.benchmarks.records import (
    BASELINES_FOLDER,
    BENCHMARK_FOLDERS,
    RUN_FILE,
    Run,
    load_run,
)
from dojobench.benchmarks.report_data import LEFT_OUT, Comparison, Entry, is_baseline
from dojobench.benchmarks.report_refine import refined
from dojobench.benchmarks.speed import SPEED_FILE, SpeedReport, read_speed_report
from dojobench.metrics.names import METRICS
from dojobench.protocol import BadInputError

SPEED = "speed"
BENCHMARKS = (FIDELITY, COUNTERFACTUAL, STABILITY, PROBES)
Role = Literal["model", "baseline", "control"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """One measurement of speed, named and coloured as its model is elsewhere."""

    label: str
    role: Role
    style: int
    report: SpeedReport


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a report is made of.

    Attributes:
        comparisons: Benchmark to its runs, in the order of ``BENCHMARKS``.
        speeds: Measurements of speed.
    """

    comparisons: Mapping[str, Comparison]
    speeds: tuple[Speed, ...] = ()

    @property
    def first(self) -> Comparison | None:
        """The benchmark that the page is about first; ``None`` for speed alone."""
        return next(iter(self.comparisons.values()), None)

    @property
    def judged(self) -> tuple[str, ...]:
        """Labels of what the verdict is about: models, else baselines other than ``hold``."""
        roles: dict[str, Role] = {}
        holds = set()
        for comparison in self.comparisons.values():
            roles |= {e.label: e.role for e in comparison.entries}
            holds |= {e.label for e in comparison.entries if e.is_hold}
        roles |= {s.label: s.role for s in self.speeds if s.label not in roles}
        models = tuple(label for label, role in roles.items() if role == "model")
        return models or tuple(
            label for label, role in roles.items() if role == "baseline" and label not in holds
        )


@dataclass(kw_only=True)
class _Subject:
    """A model as the report names it; several runs may be of the same one."""

    name: str
    options: Mapping[str, str]
    folder: str
    role: Role
    hold: bool
    label: str = ""
    style: int = 0

    @property
    def rank(self) -> int:
        return 1 if self.hold else {"model": 0, "baseline": 2, "control": 3}[self.role]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Given:
    """A run or a measurement of speed, where it was found and whether it was asked for."""

    home: Path
    beside: bool
    run: Run | None = None
    speed: SpeedReport | None = None

    @property
    def identity(self) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
        """Name, version, reference and options: what makes it the same model elsewhere."""
        if self.run is not None:
            model = self.run.meta.model
            return model.name, model.version, model.reference, _sorted(model.options)
        told = self.speed.model if self.speed is not None else {}
        options = told.get("options")
        return (
            str(told.get("name")), str(told.get("version")), str(told.get("reference")),
            _sorted(options if isinstance(options, dict) else {}),
        )  # fmt: skip


@dataclass(kw_only=True)
class _Pile:
    """What was found, in order, without the baselines that are there twice."""

    runs: dict[str, list[_Given]] = field(default_factory=dict)
    speeds: list[_Given] = field(default_factory=list)

    def add(self, given: _Given) -> None:
        if given.run is None:
            self.speeds.append(given)
            return
        there = self.runs.setdefault(given.run.meta.benchmark, [])
        if not (given.beside and any(_same(given.run, g.run) for g in there)):
            there.append(given)


def gather(run_dirs: Sequence[Path]) -> Evidence:
    """Reads run folders, the benchmarks inside them and the baselines beside them.

    Args:
        run_dirs: Run folders, or folders of one benchmark; the same baseline beside several of
            them is taken once.

    Returns:
        What the sections of a report are made of.

    Raises:
        BadInputError: If there is no folder, a folder holds no complete run, or two runs of a
            benchmark differ in suite, convention, metric version or clips.
    """
    if not run_dirs:
        raise BadInputError("no run folder was given; name at least one that `dojobench run` wrote")
    given = [g for path in dict.fromkeys(Path(p) for p in run_dirs) for g in _found(path)]
    pile = _Pile()
    for one in [*given, *(b for g in given for b in _beside(g))]:
        pile.add(one)
    for name, group in pile.runs.items():
        _require_known(name, group[0])
        for other in group[1:]:
            _require_alike(group[0].run, other.run)
    everything = [g for name in BENCHMARKS for g in pile.runs.get(name, ())] + pile.speeds
    subjects = _subjects(everything)
    return Evidence(
        comparisons={
            name: _comparison([(subjects[_key(g, subjects)], g.run) for g in pile.runs[name]])
            for name in BENCHMARKS
            if name in pile.runs
        },
        speeds=tuple(
            Speed(label=s.label, role=s.role, style=s.style, report=g.speed)
            for s, g in sorted(
                ((subjects[_key(g, subjects)], g) for g in pile.speeds), key=lambda p: p[0].rank
            )
            if g.speed is not None
        ),
    )


def compare(run_dirs: Sequence[Path]) -> Comparison:
    """Gathers and gives the first benchmark's runs, which there must be."""
    first = gather(run_dirs).first
    if first is None:
        raise BadInputError(f"{run_dirs[0]} holds no run; give a folder that `dojobench run` wrote")
    return first


def _found(path: Path) -> Iterator[_Given]:
    """Yields what lies in a folder that was asked for: its own run, then the benchmarks."""
    inside = [name for name in BENCHMARK_FOLDERS if _there(path / name, name)]
    if not inside and (path / SPEED_FILE).is_file():
        yield _Given(home=_home(path, SPEED), beside=False, speed=read_speed_report(path))
        return
    if not inside or (path / RUN_FILE).is_file():
        run = load_run(path)
        run.require_complete()
        yield _Given(home=_home(path, run.meta.benchmark), beside=False, run=run)
    for name in inside:
        if name == SPEED:
            yield _Given(home=path, beside=False, speed=read_speed_report(path / name))
            continue
        run = load_run(path / name)
        run.require_complete()
        yield _Given(home=path, beside=False, run=run)


def _beside(given: _Given) -> Iterator[_Given]:
    """Yields the baselines of a run: in its own folder, and those of the folder around it."""
    if given.run is None:
        return
    own = given.run.baselines()
    for name, run in own.items():
        yield _Given(home=given.home / BASELINES_FOLDER / name, beside=True, run=run)
    for folder in sorted((given.home / BASELINES_FOLDER).glob("*")):
        name = given.run.meta.benchmark
        if name != FIDELITY and folder.name not in own and _there(folder / name, name):
            run = load_run(folder / name)
            if not run.missing():
                yield _Given(home=folder, beside=True, run=run)


def _there(folder: Path, name: str) -> bool:
    return (folder / (SPEED_FILE if name == SPEED else RUN_FILE)).is_file()


def _home(path: Path, benchmark: str) -> Path:
    """The folder that a model's benchmarks share: the one around a benchmark's own."""
    inside = benchmark != FIDELITY and path.resolve().name == benchmark
    return path.resolve().parent if inside else path


def _sorted(options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(k), str(v)) for k, v in options.items()))


def _same(a: Run, b: Run | None) -> bool:
    if b is None:
        return False
    x, y = a.meta, b.meta
    return (x.model, x.suite, x.clip_ids, x.seeds) == (y.model, y.suite, y.clip_ids, y.seeds)


def _require_known(benchmark: str, given: _Given) -> None:
    if benchmark not in BENCHMARKS and given.run is not None:
        raise BadInputError(
            f"{given.run.path} holds the benchmark '{benchmark}', which this report cannot show; "
            f"give runs of {', '.join(BENCHMARKS)}"
        )


def _require_alike(first: Run | None, other: Run | None) -> None:
    if first is None or other is None:
        return
    a, b = first.meta, other.meta
    checks = (
        ("suite", a.suite.name, b.suite.name),
        ("version of the suite", a.suite.version, b.suite.version),
        ("metric convention", a.convention, b.convention),
        ("metric version", a.metric_version, b.metric_version),
        ("number of clips scored", len(a.clip_ids), len(b.clip_ids)),
    )
    for what, ours, theirs in checks:
        if ours != theirs:
            raise BadInputError(
                f"{first.path} and {other.path} cannot stand in one report because they differ in "
                f"{what} ('{ours}' and '{theirs}'); write a report for each"
            )
    if set(a.clip_ids) != set(b.clip_ids):
        raise BadInputError(
            f"{first.path} and {other.path} cannot stand in one report because they scored "
            "different clips; run both with the same --limit and --splits"
        )


_Key = tuple[str, ...]


def _key(given: _Given, subjects: Mapping[_Key, "_Subject"]) -> _Key:
    """Finds whose run it is: what was asked for has its folder, baselines go by what they are."""
    own: _Key = ("folder", str(given.home.resolve()), *map(str, given.identity))
    kind: _Key = ("kind", *map(str, given.identity))
    return own if own in subjects else kind


def _subjects(everything: Sequence[_Given]) -> dict[_Key, _Subject]:
    """Names and colours every model once; a baseline joins the run of the same that was given."""
    subjects: dict[_Key, _Subject] = {}
    kinds: dict[_Key, _Subject] = {}
    for given in sorted(everything, key=lambda g: g.beside):
        kind: _Key = ("kind", *map(str, given.identity))
        own: _Key = ("folder", str(given.home.resolve()), *map(str, given.identity))
        if given.beside:
            subjects[kind] = kinds.setdefault(kind, _subject(given))
        elif own not in subjects:
            subjects[own] = _subject(given)
            kinds.setdefault(kind, subjects[own])
    unique = list({id(s): s for s in subjects.values()}.values())
    _label(unique)
    free = iter(range(len(unique)))
    for subject in sorted(unique, key=lambda s: s.rank):
        # The last style is kept for hold, which is drawn the same in every report.
        subject.style = 7 if subject.hold else next(free) % 7
    return subjects


def _subject(given: _Given) -> _Subject:
    name, _, reference, options = given.identity
    role: Role = "model"
    hold = False
    if given.run is not None:
        role = "baseline" if is_baseline(given.run) else "model"
        role = "control" if given.run.meta.model.privileged else role
        hold = is_baseline(given.run, "hold")
    elif given.speed is not None:
        role, hold = ("baseline" if reference in BASELINES else "model"), reference == "hold"
    return _Subject(
        name=name, options=dict(options), folder=given.home.resolve().name, role=role, hold=hold
    )


def _label(subjects: Sequence[_Subject]) -> None:
    """Adds to equal names what tells them apart: options, then the folder, then a count."""
    for subject in subjects:
        subject.label = subject.name

    def options(subject: _Subject) -> str:
        return ", ".join(f"{k}={v}" for k, v in sorted(subject.options.items()))

    for suffix in (options, lambda s: s.folder):
        labels = [s.label for s in subjects]
        for s in subjects:
            if labels.count(s.label) > 1 and suffix(s):
                s.label = f"{s.label} ({suffix(s)})"
    seen: dict[str, int] = {}
    for s in subjects:
        seen[s.label] = seen.get(s.label, 0) + 1
        if seen[s.label] > 1:
            s.label = f"{s.label} #{seen[s.label]}"


def _comparison(pairs: Sequence[tuple[_Subject, Run | None]]) -> Comparison:
    """Lays one benchmark's runs out: models in the order given, ``hold``, baselines, controls."""
    entries = tuple(
        Entry(
            label=subject.label,
            role=subject.role,
            style=subject.style,
            run=run,
            summary=refined(run),
            clusters={r.clip: r.cluster for r in run.records},
        )
        for subject, run in sorted(pairs, key=lambda pair: pair[0].rank)
        if run is not None
    )
    metrics = _columns(entries)
    return Comparison(
        entries=entries, metrics=metrics, primary="psnr" if "psnr" in metrics else metrics[0]
    )


def _columns(entries: Sequence[Entry]) -> tuple[str, ...]:
    named = {m for e in entries for m in (*e.summary.metrics, *e.summary.not_computed)}
    if not named:
        raise BadInputError(
            f"{entries[0].run.path} holds no metric at all; run again with --metrics psnr,ssim"
        )
    order = (*METRICS, *BENCHMARK_METRICS)
    columns = (*(m for m in order if m in named), *sorted(named - set(order)))
    return tuple(m for m in columns if m not in LEFT_OUT) or columns
