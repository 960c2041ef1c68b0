"""The section on probes: does a model use its actions, when does it, and what else moves it?"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dojobench.benchmarks import plot_bars, plot_rows, plots
from dojobench.benchmarks.metric_names import BENCHMARK_METRICS
from dojobench.benchmarks.records import Record
from dojobench.benchmarks.report_charts import NARROW, WIDE, Chart
from dojobench.benchmarks.report_claims import Sentence, action_claim, lag_claim, side_claims
from dojobench.benchmarks.report_data import Comparison, Entry, figure
from dojobench.benchmarks.report_tables import Table, csv_address, runs_table

LAG_CURVE, FIRST_SHIFT = "lag_curve", "lag_first"
LAG = "action_lag"
JOINT = "joint_"
_TRUE, _COSINE = "joint_true_", "joint_cosine_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What the probes say of one run, in sentences."""

    label: str
    style: int
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbesData:
    """Data of the section."""

    summary: str
    said: tuple[Said, ...]
    main: Table
    more: Table | None
    charts: tuple[Chart, ...]
    csv: str


def probes(comparison: Comparison) -> ProbesData:
    """Lays out the probes: sentences, tables, the delay and the response joint by joint."""
    metrics = [m for m in comparison.metrics if m in BENCHMARK_METRICS]
    headline = [m for m in metrics if BENCHMARK_METRICS[m].headline]
    rest = [m for m in metrics if m not in headline]
    entries = comparison.models or comparison.entries
    return ProbesData(
        summary=(
            f"{comparison.entries[0].summary.clips:,} clips, each rolled out again and again with "
            "one thing changed."
        ),
        said=tuple(
            Said(label=e.label, style=e.style, sentences=tuple(_sentences(comparison, e)))
            for e in entries
        ),
        main=runs_table(comparison, headline, caption="Mean over clips, with its 95 % interval"),
        more=runs_table(comparison, rest, caption="The other numbers") if rest else None,
        charts=tuple(c for c in (_lags(comparison), _joints(comparison)) if c is not None),
        csv=csv_address(comparison),
    )


def _sentences(comparison: Comparison, entry: Entry) -> Iterator[Sentence]:
    for claim in (action_claim(entry), lag_claim(comparison, entry)):
        if claim is not None:
            yield claim
    yield from side_claims(entry)


def _lags(comparison: Comparison) -> Chart | None:
    """Draws how well each delay explains the response; where no curve was kept, the delays."""
    found = [(e, curve) for e in comparison.entries if (curve := lag_curve(e))]
    if not found:
        return _found_lags(comparison)
    first = min(start for _, (start, _) in found)
    series = [
        plots.Series(
            label=e.label,
            style=e.style,
            mean=(float("nan"),) * (start - first) + tuple(values),
            mark=start - first + max(range(len(values)), key=lambda k: values[k]),
        )
        for e, (start, values) in found
    ]
    pace = 1 / comparison.meta.suite.frame_rate
    wide, narrow = (
        plots.curves(
            series,
            label="How well each delay explains the response; the table below has the numbers",
            y_label="correlation of the response with the true one",
            x_label=f"delay in steps of {1000 * pace:g} ms",
            first=first,
            step=1.0,
            width=width,
            height=height,
        )
        for width, height in ((WIDE, 300), (NARROW, 260))
    )
    length = max(len(s.mean) for s in series)
    return Chart(
        title="How late the answer comes",
        wide=wide,
        narrow=narrow,
        head=("Delay, steps", *(e.label for e, _ in found)),
        rows=tuple(
            (str(first + k).replace("-", "−"),
             *(f"{s.mean[k]:.3f}" if k < len(s.mean) and s.mean[k] == s.mean[k] else "–"
               for s in series))
            for k in range(length)
        ),
        note=(
            "Mean over clips; the dot marks the delay that explains the response best. A model "
            "that reacts on time has it at 0, before 0 it would know its actions too early."
        ),
    )  # fmt: skip


def lag_curve(entry: Entry) -> tuple[int, tuple[float, ...]] | None:
    """Averages the records' correlation at each delay.

    Returns:
        The first delay and one number a delay from there, or ``None`` where none was kept.
    """
    curves: dict[int, list[Sequence[float]]] = {}
    for r in entry.run.records:
        first = r.checks.get(FIRST_SHIFT)
        if r.curves.get(LAG_CURVE) and isinstance(first, float | int):
            curves.setdefault(round(first), []).append(r.curves[LAG_CURVE])
    if not curves:
        return None
    # Records of clips too short for the usual range of delays are left out.
    first = max(curves, key=lambda k: len(curves[k]))
    length = statistics.mode(len(c) for c in curves[first])
    kept = [c for c in curves[first] if len(c) == length]
    return first, tuple(statistics.fmean(column) for column in zip(*kept, strict=True))


def _found_lags(comparison: Comparison) -> Chart | None:
    rows, table = [], []
    for e in comparison.entries:
        lags = tuple(sorted(e.values(LAG).values()))
        if not lags:
            continue
        middle = statistics.median(lags)
        rows.append(
            plot_rows.Row(
                label=e.label, style=e.style, value=middle, low=lags[0], high=lags[-1],
                points=lags, text=f"median {figure(LAG, middle)}",
            )
        )  # fmt: skip
        numbers = (lags[0], middle, lags[-1])
        table.append((e.label, *(figure(LAG, v) for v in numbers), str(len(lags))))
    if not rows:
        return None
    ends = [v for r in rows for v in r.points]
    wide, narrow = (
        plot_rows.strip(
            rows,
            label="Delay found in each clip; the table below has the numbers",
            x_label="delay that explains the response best, in steps",
            width=width,
            domain=(min(-1.0, *ends), max(4.0, *ends)),
        )
        for width in (WIDE, NARROW)
    )
    return Chart(
        title="How late the answer comes",
        wide=wide,
        narrow=narrow,
        head=("Run", "Earliest", "Median", "Latest", "Clips with a delay"),
        rows=tuple(table),
        note="One dot a clip. Clips in which no delay stands out are left out; 0 is on time.",
    )


def joints(entry: Entry, prefix: str = JOINT) -> dict[str, float]:
    """Averages what the records hold of each action dimension.

    Args:
        entry: The run.
        prefix: ``joint_`` for the model's response, ``joint_true_`` for the true one, both in
            grey levels.

    Returns:
        Name of the dimension to its number, in the records' order.
    """
    sums: dict[str, list[float]] = {}
    for record in entry.run.records:
        for name, value in _numbers(record, prefix):
            sums.setdefault(name, []).append(value)
    return {name: statistics.fmean(values) for name, values in sums.items()}


def _numbers(record: Record, prefix: str) -> Iterator[tuple[str, float]]:
    longer = [p for p in (_TRUE, _COSINE) if p != prefix and p.startswith(prefix)]
    for key, value in record.checks.items():
        if not key.startswith(prefix) or any(key.startswith(p) for p in longer):
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key.removeprefix(prefix), float(value)


def _joints(comparison: Comparison) -> Chart | None:
    asked = [(e, values) for e in comparison.entries if (values := joints(e))]
    if not asked:
        return None
    found = [(e, values) for e, values in asked if max(values.values()) > 0] or asked[:1]
    silent = [e.label for e, _ in asked if e not in [kept for kept, _ in found]]
    true = next((t for e, _ in found if (t := joints(e, _TRUE))), {})
    cosine = {e.label: joints(e, _COSINE) for e, _ in found}
    names = list(dict.fromkeys(name for _, values in found for name in values))
    groups = [
        plot_bars.Group(
            label=name,
            bars=tuple(
                (e.style, values[name], "" if place else e.label)
                for e, values in found
                if name in values
            ),
            mark=true.get(name),
        )
        for place, name in enumerate(names)
    ]
    wide, narrow = (
        plot_bars.bars(
            groups,
            label="Response to each action dimension alone; the table below has the numbers",
            x_label="mean change of the frames, grey levels",
            width=width,
        )
        for width in (WIDE, NARROW)
    )
    head = ["Dimension", *(e.label for e, _ in found)]
    head += ["True response"] if true else []
    head += [f"Cosine of {e.label}" for e, _ in found if cosine[e.label]]
    rows = []
    for name in names:
        row = [name, *(_grey(values.get(name)) for _, values in found)]
        row += [_grey(true.get(name))] if true else []
        row += [_grey(cosine[e.label].get(name)) for e, _ in found if cosine[e.label]]
        rows.append(tuple(row))
    note = "Each bar is the answer when this one dimension is moved by its own spread."
    if true:
        note += " The upright line is how much the truth changes."
    return Chart(
        title="Response to one dimension at a time",
        wide=wide,
        narrow=narrow,
        head=tuple(head),
        rows=tuple(rows),
        note=f"{note} Not drawn, because they answer nothing: {', '.join(silent)}."
        if silent
        else note,
    )


def _grey(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
