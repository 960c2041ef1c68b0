"""The section on stability: how long rollouts stay sane, and what becomes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from dojobench.benchmarks import plot_survival, plots
from dojobench.benchmarks.metric_names import BENCHMARK_METRICS
from dojobench.benchmarks.progress import Meter
from dojobench.benchmarks.records import VIDEOS_FOLDER, CurveSummary, Record
from dojobench.benchmarks.report_charts import NARROW, WIDE, Chart, nan
from dojobench.benchmarks.report_clips import compose
from dojobench.benchmarks.report_data import Comparison, Entry, count, figure, percent, span
from dojobench.benchmarks.report_players import (
    LONG_BYTES,
    Player,
    Reel,
    filmed,
    left_out,
    make_player,
    three_panes,
    video_files,
)
from dojobench.benchmarks.report_tables import Table, csv_address, runs_table
from dojobench.benchmarks.report_together import together
from dojobench.metrics.survival import SurvivalCurve, kaplan_meier

MOST_POINTS = 150
"""Frames of a long curve that are drawn; the rest lie between them."""
MOST_ROWS = 24
"""Rows of the table under a chart."""
LEAST_EPISODES = 4
"""Episodes from which a band is drawn; of fewer it would cover the chart and say nothing."""
HORIZON = "stable_horizon"


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """The stable horizon of one run."""

    label: str
    role: str
    style: int
    seconds: str
    interval: str
    told: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StabilityData:
    """Data of the section."""

    summary: str
    headlines: tuple[Headline, ...]
    survival: Chart
    curves: tuple[Chart, ...]
    main: Table
    more: Table | None
    together: Reel | None
    reels: tuple[Reel, ...]
    csv: str


def stability(comparison: Comparison) -> StabilityData:
    """Lays out the stability benchmark: headline, survival, curves, tables and long videos."""
    metrics = [m for m in comparison.metrics if m in BENCHMARK_METRICS]
    headline = [m for m in metrics if BENCHMARK_METRICS[m].headline]
    rest = [m for m in metrics if m not in headline]
    first = comparison.entries[0]
    beside, spent = together(comparison, [record.clip for record in rolled(first)])
    return StabilityData(
        summary=(
            f"{count(len(rolled(first)), 'rollout')} of {watched(comparison):g} seconds each. A "
            "rollout breaks when for one second it is no better than a frame that is held still, "
            "or stands still while the world moves."
        ),
        headlines=tuple(_headline(comparison, e) for e in comparison.entries),
        survival=_survival(comparison),
        curves=tuple(c for c in map_curves(comparison) if c is not None),
        main=runs_table(
            comparison, headline, caption="Mean over rollouts, with its 95 % interval",
            unit="Clips",
        ),
        more=runs_table(comparison, rest, caption="The other numbers", unit="Clips")
        if rest
        else None,
        together=beside,
        reels=long_videos(comparison, spent),
        csv=csv_address(comparison),
    )  # fmt: skip


def rolled(entry: Entry) -> list[Record]:
    """Gives the records of long rollouts; those of the way there and back are none."""
    return [r for r in entry.run.records if HORIZON in r.values]


def watched(comparison: Comparison) -> float:
    """Gives how many seconds the longest rollout was predicted and watched."""
    frames = max((r.frames for r in rolled(comparison.entries[0])), default=0)
    return round(frames / comparison.meta.suite.frame_rate, 1)


def enough(entry: Entry) -> bool:
    """Whether a run has rollouts of enough episodes for a band."""
    return len({r.cluster for r in rolled(entry)}) >= LEAST_EPISODES


def broken(record: Record) -> bool:
    """Whether a rollout was seen to break."""
    return bool(record.checks.get("broken", False))


def _headline(comparison: Comparison, entry: Entry) -> Headline:
    found = entry.summary.metrics.get(HORIZON)
    seen, total = sum(map(broken, rolled(entry))), len(rolled(entry))
    told = f"{seen} of {total} broke" if seen else f"none of {total} broke"
    seconds, interval = "–", ""
    if found is not None:
        seconds = figure(HORIZON, found.mean)
        interval = span(HORIZON, found.low, found.high)
    return Headline(
        label=entry.label,
        role=entry.role,
        style=entry.style,
        seconds=seconds,
        interval=interval,
        told=told,
    )


def _survival(comparison: Comparison) -> Chart:
    end = watched(comparison)
    banded = [e for e in (*comparison.models, comparison.hold) if e and enough(e)]
    steps, curves = [], []
    for e in comparison.entries:
        records = rolled(e)
        times = [r.values[HORIZON] for r in records]
        curve = kaplan_meier(times, [broken(r) for r in records])
        curves.append((e, curve))
        shown = e in banded
        steps.append(
            plot_survival.Steps(
                label=e.label,
                style=e.style,
                times=tuple(map(float, curve.times)),
                share=tuple(map(float, curve.survival)),
                low=tuple(map(float, curve.low)) if shown else (),
                high=tuple(map(float, curve.high)) if shown else (),
                cut=tuple(sorted(r.values[HORIZON] for r in records if not broken(r))),
                end=end,
            )
        )
    wide, narrow = (
        plot_survival.survival(
            steps,
            label="Share of rollouts that last, by time; the table below has the numbers",
            x_label="seconds into the rollout",
            y_label="rollouts that are still sane, %",
            width=width,
            height=height,
        )
        for width, height in ((WIDE, 340), (NARROW, 290))
    )
    return Chart(
        title="How many rollouts last",
        wide=wide,
        narrow=narrow,
        head=("Run", "Broke at", "Sane beyond it", "95 % interval", "Watched before it"),
        rows=tuple(row for e, curve in curves for row in _survival_rows(e, curve)),
        note=(
            "Kaplan and Meier's curve. A tick marks rollouts that were never seen to break. "
            + (
                "The bands, of the models and of hold, are pointwise and take rollouts for "
                "independent."
                if banded
                else f"Fewer than {LEAST_EPISODES} episodes: no bands are drawn."
            )
        ),
    )


def _survival_rows(entry: Entry, curve: SurvivalCurve) -> list[tuple[str, ...]]:
    if not len(curve.times):
        return [(entry.label, "never", percent(1.0), "none", str(len(rolled(entry))))]
    return [
        (
            entry.label,
            f"{time:.1f} s",
            percent(share),
            "none" if low != low else f"[{100 * low:.0f}, {100 * high:.0f}]",
            str(risk),
        )
        for time, share, low, high, risk in zip(
            curve.times.tolist(), curve.survival.tolist(), curve.low.tolist(),
            curve.high.tolist(), curve.at_risk.tolist(), strict=True,
        )
    ]  # fmt: skip


def map_curves(comparison: Comparison) -> list[Chart | None]:
    """Draws error and look against the horizon, with what the truth does where it is known."""
    return [
        _curve(comparison, "psnr", "Error over the rollout", "PSNR, dB · higher is better",
               "psnr", still="static_psnr"),
        _curve(comparison, "sharpness", "Sharpness",
               "log of the sharpness over the context's", "sharpness_drift",
               truth="true_sharpness"),
        _curve(comparison, "colour_drift", "Colour", "distance from the context's colours",
               "colour_drift", truth="true_colour_drift"),
    ]  # fmt: skip


def _curve(
    comparison: Comparison,
    name: str,
    title: str,
    y_label: str,
    metric: str,
    *,
    still: str = "",
    truth: str = "",
) -> Chart | None:
    drawn = [
        (e.label, e.style, e.summary.curves[name], e in comparison.models and enough(e))
        for e in comparison.entries
        if name in e.summary.curves
    ]
    if not drawn:
        return None
    first = comparison.entries[0].summary.curves
    if still in first and comparison.hold is None:
        drawn.append(("frame held still", 7, first[still], False))
    if truth in first:
        drawn.append(("truth", 7, first[truth], False))
    rate = comparison.meta.suite.frame_rate
    pace = max(1, -(-max(len(c.mean) for _, _, c, _ in drawn) // MOST_POINTS))
    series = [
        plots.Series(
            label=label,
            style=style,
            mean=c.mean[::pace],
            low=nan(c.low[::pace]) if band else (),
            high=nan(c.high[::pace]) if band else (),
        )
        for label, style, c, band in drawn
    ]
    domain = comparison.scale(
        {label: c.mean for label, _, c, _ in drawn},
        always=first[truth].mean if truth in first else (),
    )
    kept = [s for s in series if not _outside(s.mean, domain)]
    wide, narrow = (
        plots.curves(
            kept,
            label=f"{title} against the horizon; the table below has the numbers",
            y_label=y_label,
            x_label="seconds into the rollout",
            first=1 / rate,
            step=pace / rate,
            width=width,
            height=height,
            domain=domain,
        )
        for width, height in ((WIDE, 300), (NARROW, 260))
    )
    gone = [s.label for s in series if s not in kept]
    return Chart(
        title=title,
        wide=wide,
        narrow=narrow,
        head=("Second", *(label for label, _, _, _ in drawn)),
        rows=_curve_rows([(c, band) for _, _, c, band in drawn], metric, rate),
        note=f"Off the scale and not drawn, but in the table: {', '.join(gone)}." if gone else "",
    )


def _outside(values: Sequence[float], domain: tuple[float, float] | None) -> bool:
    return domain is not None and (max(values) < domain[0] or min(values) > domain[1])


def _curve_rows(
    curves: Sequence[tuple[CurveSummary, bool]], metric: str, rate: float
) -> tuple[tuple[str, ...], ...]:
    length = max(len(c.mean) for c, _ in curves)
    pace = max(1, -(-length // MOST_ROWS))
    rows = []
    for k in sorted({*range(0, length, pace), length - 1}):
        rows.append((f"{(k + 1) / rate:.1f}", *(_at(metric, c, k, band) for c, band in curves)))
    return tuple(rows)


def _at(metric: str, curve: CurveSummary, k: int, band: bool) -> str:
    if k >= len(curve.mean):
        return "–"
    interval = span(metric, curve.low[k], curve.high[k]) if band else ""
    return f"{figure(metric, curve.mean[k])} {interval}".rstrip()


def long_videos(comparison: Comparison, spent: int = 0) -> tuple[Reel, ...]:
    """Composes one whole rollout of every run that kept it, the same clip for each.

    Args:
        comparison: The runs.
        spent: Bytes that other long videos take up.
    """
    kept = [(e, filmed(e)) for e in comparison.entries if (e.run.path / VIDEOS_FOLDER).is_dir()]
    kept = [(e, there) for e, there in kept if any(r.clip in there for r in rolled(e))]
    reels = []
    with Meter("encoding long rollouts", len(kept)) as meter:
        for entry, there in kept:
            record = next(r for r in rolled(entry) if r.clip in there)
            truth, prediction = video_files(entry.run.path / VIDEOS_FOLDER, record)
            context = comparison.meta.suite.context_frames
            composite = compose(truth, prediction, context=context)
            meter.advance(composite.frames)
            players: tuple[Player, ...] = ()
            if fits := spent + composite.embedded_bytes <= LONG_BYTES:
                spent += composite.embedded_bytes
                seconds = figure(HORIZON, record.values.get(HORIZON, float("nan")))
                state = f"breaks at {seconds} s" if broken(record) else f"sane for all {seconds} s"
                players = (
                    make_player(
                        composite,
                        title="A whole rollout",
                        clip=record.clip,
                        facts=f"{composite.frames / composite.rate:.0f} s",
                        about=f"Truth, prediction and difference of {record.clip} by {entry.label}",
                        score=state,
                        context=context,
                        figures=three_panes(composite),
                        layout="three",
                        metric="psnr",
                        values=record.curves.get("psnr", ()),
                    ),
                )
            reels.append(
                Reel(
                    label=entry.label,
                    style=entry.style,
                    players=players,
                    missing="" if fits else left_out(),
                )
            )
    return tuple(reels)
