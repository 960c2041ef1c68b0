"""The report's sections on branches, stability, speed and probes, from real runs of a toy world."""

import base64
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dojobench.benchmarks import report_branch_videos, report_stability
from dojobench.benchmarks.benchmark_runs import run_benchmarks
from dojobench.benchmarks.records import MetricSummary, load_run, load_summary
from dojobench.benchmarks.report import SECTIONS, write_report
from dojobench.benchmarks.report_claims import branch_verdict, claims, speed_claim
from dojobench.benchmarks.report_gather import gather
from dojobench.benchmarks.runner import RunConfig
from dojobench.benchmarks.speed import SpeedConfig, measure_speed
from dojobench.metrics.lag import LagConfig, LagEstimator
from dojobench.metrics.survival import kaplan_meier, stable_horizon
from dojobench.protocol import BadInputError

VOID = {"meta", "input", "br", "hr", "img", "link", "source"}
BENCHMARKS = ("counterfactual", "stability", "probes")
LAG = 3


class Page(HTMLParser):
    """A page taken apart, whose elements must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.html = html
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "path": [*self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "attrs": dict(attrs), "text": "", "path": [*self.open]})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def find(self, tag: str, inside: dict[str, Any] | None = None, **attrs: str) -> list[Any]:
        wanted = {k.rstrip("_").replace("_", "-"): v for k, v in attrs.items()}
        return [
            e
            for e in self.elements
            if e["tag"] == tag
            and wanted.items() <= e["attrs"].items()
            and (inside is None or inside in e["path"])
        ]

    def section(self, name: str) -> dict[str, Any]:
        (found,) = self.find("section", id=name)
        return found

    def text(self, name: str) -> str:
        return re.sub(r"\s+", " ", self.section(name)["text"])

    def rows(self, table: dict[str, Any]) -> list[list[str]]:
        return [
            [re.sub(r"\s+", " ", c["text"]).strip() for c in self.elements
             if c["tag"] in ("td", "th") and row in c["path"]]
            for row in self.find("tr", table)
        ]  # fmt: skip

    def plain(self, section: str, head: str) -> list[list[str]]:
        """The rows of the table under a chart, found by the head of its first column."""
        tables = self.find("table", self.section(section), class_="plain")
        return next(rows for t in tables if (rows := self.rows(t))[0][0].startswith(head))


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, toy_suite: Any, toy_model: Any) -> Make:
    suite = toy_suite(val=1, groups=3, long=4, long_frames=62)

    def made(lag: int) -> Path:
        out = tmp_path_factory.mktemp("toy") / f"late-by-{lag}"
        config = RunConfig(
            model=f"my_lab.toy:late_{lag}", suite="toy", out=out, metrics=("psnr",), checks=0
        )
        run_benchmarks(config, suite=suite, model=toy_model(lag))
        return out

    return made


@pytest.fixture(scope="module")
def run(make: Make, toy_model: Any) -> Path:
    folder = make(0)
    conditions = {"resolution": (64, 64), "chunk": 4, "sessions": 2, "steps": 10}
    config = SpeedConfig(model="my_lab.toy:late_0", out=folder / "speed", **conditions)
    # Steps of 1 to 5 ms on a clock of their own: no busy machine makes the toy model late.
    readings = itertools.accumulate(itertools.cycle(0.001 * k for k in (1, 2, 3, 4, 5)))
    measure_speed(config, model=toy_model(0), clock=lambda: next(readings))
    return folder


@pytest.fixture(scope="module")
def late(make: Make) -> Path:
    return make(LAG)


@pytest.fixture(scope="module")
def file(run: Path, late: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([run, late], tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def page(file: Path) -> Page:
    return Page(file.read_text())


def copy(folder: Path, out: Path, *parts: str) -> Path:
    """Copies some benchmarks of a run; ``""`` is the fidelity run itself."""
    for part in parts:
        skip = ("baselines", "videos", *BENCHMARKS, "speed") if not part else ("videos",)
        shutil.copytree(
            folder / part, out / part, ignore=shutil.ignore_patterns(*skip), dirs_exist_ok=True
        )
    return out


def edit(file: Path, change: Callable[[Any], None]) -> None:
    """Changes a JSON file, or every line of one."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    values = [json.loads(line) for line in lines]
    for value in values:
        change(value)
    file.write_text("".join(json.dumps(value) + "\n" for value in values))


def shown(page: Page) -> list[str]:
    return [e["attrs"]["id"] for e in page.find("section")]


def test_every_section_is_there_in_order_and_well_made(page: Page) -> None:
    assert shown(page) == [s.id for s in SECTIONS]
    targets = {e["attrs"]["href"] for e in page.find("a") if e["attrs"]["href"][0] == "#"}
    assert targets == {"#main", *(f"#{s.id}" for s in SECTIONS)}
    ids = [e["attrs"]["id"] for e in page.elements if "id" in e["attrs"]]
    assert len(ids) == len(set(ids))
    levels = [int(e["tag"][1]) for e in page.elements if re.fullmatch(r"h[1-6]", e["tag"])]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for svg in page.find("svg"):
        assert svg["attrs"].get("aria-label") or svg["attrs"].get("aria-hidden") == "true"
    for region in page.find("div", role="region"):
        assert region["attrs"]["tabindex"] == "0"
        assert region["attrs"]["aria-label"]
    for table in page.find("table", class_="scores"):
        assert page.find("caption", table)
    assert all(e["attrs"].get("scope") in ("col", "row") for e in page.find("th"))
    assert not [e for e in page.elements if "style" in e["attrs"]]
    assert "nan" not in page.find("main")[0]["text"].lower().split()


def test_nothing_is_asked_of_the_network(page: Page) -> None:
    for element in page.elements:
        for name in ("src", "href", "poster", "data", "action", "srcset"):
            address = element["attrs"].get(name)
            assert address is None or address.startswith(("#", "data:"))


@pytest.mark.parametrize("name", ["counterfactual", "stability", "speed", "probes"])
def test_every_chart_has_a_table_that_says_the_same(page: Page, name: str) -> None:
    charts = page.find("figure", page.section(name), class_="chart")
    assert charts
    for chart in charts:
        (table,) = page.find("table", chart)
        rows = page.rows(table)
        assert len(rows) > 1
        assert {len(r) for r in rows} == {len(rows[0])}
        assert {"wide", "narrow"} <= {e["attrs"].get("class") for e in page.find("div", chart)}


def test_a_benchmark_that_was_not_run_has_no_section(run: Path, tmp_path: Path) -> None:
    usual = ["verdict", "scores", "curves", "distribution", "clips"]
    for parts in (("",), ("", "probes"), ("", "stability", "counterfactual")):
        folder = copy(run, tmp_path / "-".join(("x", *parts)), *parts)
        found = shown(Page(write_report([folder], tmp_path / "r.html").read_text()))
        extra = [s.id for s in SECTIONS if s.id in parts]
        assert found == [*usual, *extra, "conditions"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_one_benchmark_alone_makes_a_report(run: Path, tmp_path: Path, name: str) -> None:
    around = copy(run, tmp_path / "run", name)
    for folder in (around, around / name):
        found = Page(write_report([folder], tmp_path / "r.html").read_text())
        assert shown(found) == ["verdict", name, "conditions"]
        assert "toy-lag-0" in found.text("verdict")
        assert name in found.text("conditions")


def test_speed_alone_makes_a_report(run: Path, tmp_path: Path) -> None:
    found = Page(write_report([run / "speed"], tmp_path / "r.html").read_text())
    assert shown(found) == ["verdict", "speed"]
    assert "The speed of 1 model." in found.find("header")[0]["text"]


def test_equal_runs_give_equal_bytes(file: Path, run: Path, late: Path, tmp_path: Path) -> None:
    again = write_report([run, late], tmp_path / "again.html")
    assert again.read_bytes() == file.read_bytes()


def test_a_model_has_one_name_and_colour_everywhere(run: Path, late: Path) -> None:
    evidence = gather([run, late])
    assert tuple(evidence.comparisons) == ("fidelity", *BENCHMARKS)
    styles: dict[str, set[int]] = {}
    for comparison in evidence.comparisons.values():
        assert [e.label for e in comparison.entries] == ["toy-lag-0", "toy-lag-3", "hold"]
        for entry in comparison.entries:
            styles.setdefault(entry.label, set()).add(entry.style)
    for speed in evidence.speeds:
        styles.setdefault(speed.label, set()).add(speed.style)
    assert styles == {"toy-lag-0": {0}, "toy-lag-3": {1}, "hold": {7}}
    assert evidence.judged == ("toy-lag-0", "toy-lag-3")


def test_a_baseline_that_was_run_for_itself_is_the_one_beside_another(
    run: Path, tmp_path: Path
) -> None:
    folder = copy(run, tmp_path / "mine", "counterfactual")
    alone = tmp_path / "alone"
    shutil.copytree(run / "baselines" / "hold", alone)
    evidence = gather([copy(run, folder, ""), alone])
    labels = [[e.label for e in c.entries] for c in evidence.comparisons.values()]
    assert labels == [["toy-lag-0", "hold"], ["toy-lag-0", "hold"]]


def test_baselines_of_the_folder_around_are_found(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    ignore = shutil.ignore_patterns("baselines", "videos")
    shutil.copytree(run / "probes", folder / "probes", ignore=ignore)
    hold = run / "probes" / "baselines" / "hold"
    shutil.copytree(hold, folder / "baselines" / "hold" / "probes")
    comparison = gather([folder]).comparisons["probes"]
    assert [e.label for e in comparison.entries] == ["toy-lag-0", "hold"]


def test_the_verdict_says_whether_actions_are_followed(page: Page, run: Path) -> None:
    summary = load_summary(run / "counterfactual")
    share = summary.metrics["branch_retrieval"].mean
    text = page.text("verdict")
    assert f"picks the right one of four futures in {100 * share:.0f} %" in text
    assert "of cases (chance 25 %)" in text
    gain = summary.metrics["effect_gain"]
    assert f"effect gain {gain.mean:.3f} [{gain.low:.3f}, {gain.high:.3f}]" in text


def test_the_verdict_says_how_late_a_model_reacts(page: Page) -> None:
    text = page.text("verdict")
    assert "reacts 3 steps late (0.3 s)." in text
    assert text.count("reacts on time.") == 1
    assert text.index("reacts on time.") < text.index("reacts 3 steps late")


def test_the_verdict_says_how_long_a_model_lasts(page: Page, run: Path) -> None:
    records = load_run(run / "stability").records
    times = [r.values["stable_horizon"] for r in records]
    broken = [bool(r.checks["broken"]) for r in records]
    found = stable_horizon(times, broken, [r.cluster for r in records], horizon=6.0)
    said = f"stays sane for {found.mean:.1f} s [{found.low:.1f}, {found.high:.1f}] of the 6 s"
    assert said in page.text("verdict")
    assert f"{found.mean:.1f} s" in page.text("stability")


def test_the_verdict_says_whether_a_model_keeps_up(run: Path, page: Page) -> None:
    (speed,) = gather([run]).speeds
    rate = speed.report.stats["frames_per_second"]
    assert rate == pytest.approx(4 / 0.003, rel=0.1)
    assert f"keeps up with the robot: {rate:,.0f} frames a second" in page.text("verdict")

    def slowed(factor: float, missed: float) -> Any:
        stats = dict(speed.report.stats) | {"real_time_factor": factor, "missed_deadlines": missed}
        report = speed.report.model_copy(update={"stats": stats})
        return type(speed)(label="m", role="model", style=0, report=report)

    assert speed_claim(slowed(0.5, 1.0)).claim.startswith("does not keep up with the robot")
    assert speed_claim(slowed(0.5, 1.0)).kind == "bad"
    assert speed_claim(slowed(1.4, 0.2)).kind == "open"
    assert speed_claim(slowed(1.4, 0.0)).kind == "good"


def share(mean: float, low: float | None, high: float | None) -> MetricSummary:
    return MetricSummary(
        mean=mean, low=low, high=high, n=20, clusters=20, method="studentized", level=0.95
    )


@pytest.mark.parametrize(
    ("found", "gain", "kind", "claim"),
    [
        (share(0.93, 0.88, 0.97), share(1.0, 0.9, 1.1), "good", "does what its actions say"),
        (share(0.93, 0.88, 0.97), share(0.5, 0.4, 0.6), "open", "but only 50 % as strongly"),
        (share(0.93, 0.88, 0.97), share(1.6, 1.4, 1.8), "open", "but 1.6 times as strongly"),
        (share(0.93, 0.88, 0.97), share(0.7, 0.4, 1.0), "good", "does what its actions say"),
        (share(0.5, 0.4, 0.6), None, "open", "does in part what its actions say"),
        (share(0.4, 0.2, 0.6), None, "open", "has not shown that it does"),
        (share(0.25, 0.25, 0.25), None, "bad", "does not do what its actions say"),
        (share(0.2, 0.1, 0.3), None, "bad", "does not do what its actions say"),
        (share(1.0, None, None), None, "open", "has not shown that it does"),
    ],
)
def test_judgements_of_branches(
    found: MetricSummary, gain: MetricSummary | None, kind: str, claim: str
) -> None:
    said = branch_verdict(found, 0.25, gain)
    assert said[0] == kind
    assert claim in said[1]


def test_hold_is_found_out_by_every_benchmark(run: Path) -> None:
    said = {s.claim.partition(":")[0]: s.kind for s in claims(gather([run]), "hold")}
    assert said["does not do what its actions say"] == "bad"
    assert said["ignores its actions"] == "bad"
    assert said["cannot be said to react on time or late"] == "open"


def test_tables_hold_the_summaries_numbers(run: Path, late: Path, page: Page) -> None:
    for name in BENCHMARKS:
        tables = page.find("table", page.section(name), class_="scores")
        orders = {
            float(c["attrs"]["data-order"])
            for table in tables
            for c in page.find("td", table)
            if re.fullmatch(r"-?[\d.e+-]+", c["attrs"].get("data-order", ""))
        }
        for folder in (run, late, run / name / "baselines" / "hold"):
            summary = load_summary(folder if folder.parent.name == "baselines" else folder / name)
            missing = {m for m, s in summary.metrics.items() if s.mean not in orders}
            assert missing == set(), (name, folder)


def test_the_survival_table_is_kaplan_and_meier_s(late: Path, page: Page) -> None:
    records = load_run(late / "stability").records
    times = [r.values["stable_horizon"] for r in records]
    curve = kaplan_meier(times, [bool(r.checks["broken"]) for r in records])
    rows = [r[1:] for r in page.plain("stability", "Run") if r[0] == "toy-lag-3"]
    expected = [
        [f"{t:.1f} s", f"{100 * s:.0f} %", str(n)]
        for t, s, n in zip(curve.times, curve.survival, curve.at_risk, strict=True)
    ] or [["never", "100 %", "4"]]
    assert [[r[0], r[1], r[3]] for r in rows] == expected


def test_the_latency_table_counts_every_step_once(run: Path, page: Page) -> None:
    report = json.loads((run / "speed" / "speed.json").read_text())
    rows = page.plain("speed", "Milliseconds")[1:]
    assert sum(int(r[1]) for r in rows) == len(report["steps_s"]) == 20
    text = page.text("speed")
    assert "deadline 400 ms" in text
    assert f"{1e3 * report['null']['p50']:.2f} ms" in text
    assert "no network seen" in text
    for name, value in report["hardware"].items():
        if isinstance(value, str):
            assert name in text
            assert value in text


def test_usual_and_unusual_actions_stand_side_by_side(run: Path, page: Page) -> None:
    records = load_run(run / "counterfactual").records
    usual = np.mean([r.values["cf_skill"] + r.values["cf_gap"] for r in records])
    summary = load_summary(run / "counterfactual")
    tables = page.find("table", page.section("counterfactual"), class_="plain")
    rows = next(r for t in tables if "Gap" in (r := page.rows(t))[0])
    row = next(r for r in rows if r[0] == "toy-lag-0")
    assert row[1] == f"{usual:.3f}"
    assert row[2].startswith(f"{summary.metrics['cf_skill'].mean:.3f} [")
    assert row[3].startswith(f"{summary.metrics['cf_gap'].mean:.3f}".replace("-", "−"))


def test_the_truth_s_own_look_is_drawn_and_fits(run: Path, page: Page) -> None:
    """The chart of hold alone, a level line, would cut the truth off."""
    tables = page.find("table", page.section("stability"), class_="plain")
    heads = [rows[0] for t in tables if (rows := page.rows(t))[0][0] == "Second"]
    assert [head[-1] == "truth" for head in heads] == [False, True, True]
    comparison = gather([run]).comparisons["stability"]
    truth = comparison.entries[0].summary.curves["true_sharpness"].mean
    low, high = comparison.scale({"hold": (0.0, 0.0)}, always=truth)
    assert low == min(0.0, *truth) < max(0.0, *truth) == high


def test_every_joint_has_its_bar(run: Path, page: Page) -> None:
    rows = page.plain("probes", "Dimension")
    assert [r[0] for r in rows[1:]] == ["dx", "dy", "dsize"]
    checks = load_summary(run / "probes").checks
    assert [r[1] for r in rows[1:]] == [
        f"{checks[f'joint_{r[0]}'].mean:.3f}" for r in rows[1:]
    ]  # fmt: skip
    places = rows[0].index("True response"), rows[0].index(f"Cosine of {rows[0][1]}")
    for row in rows[1:]:
        for place, what in zip(places, ("true", "cosine"), strict=True):
            mean = checks[f"joint_{what}_{row[0]}"].mean
            assert row[place] == f"{mean:.3f}".replace("-", "−")
    assert "they answer nothing: hold" in page.text("probes")


def test_the_delay_is_drawn_from_its_curve_where_the_records_have_one(
    late: Path, tmp_path: Path
) -> None:
    motion = np.abs(np.random.default_rng(0).normal(size=80)).cumsum() % 3
    estimator = LagEstimator(LagConfig(max_lag=8))
    estimator.add_motion(np.roll(motion, 5), motion)
    found = estimator.estimate()
    assert found.lag == 5
    folder = copy(late, tmp_path / "late", "probes")

    def keep(record: dict[str, Any]) -> None:
        record["curves"]["lag_curve"] = found.curve
        record["checks"]["lag_first"] = float(found.lags[0])

    edit(folder / "probes" / "records.jsonl", keep)
    rows = Page(write_report([folder], tmp_path / "r.html").read_text()).plain("probes", "Delay")
    assert [r[0].replace("−", "-") for r in rows[1:]] == [str(lag) for lag in found.lags]
    values = [float(r[1].replace("−", "-")) for r in rows[1:]]
    assert values == pytest.approx(found.curve, abs=6e-4)
    assert found.lags[int(np.argmax(values))] == 5


def decode(address: str) -> np.ndarray:
    content = base64.b64decode(address.partition(",")[2])
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is read whole
    with av.open(io.BytesIO(content)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def frames_of(file: Path) -> np.ndarray:
    with av.open(str(file)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_all_branches_are_one_video_truth_above_prediction(run: Path, page: Page) -> None:
    players = page.find("article", page.section("counterfactual"), class_="player branches")
    assert len(players) == 2 * 3
    (video,) = page.find("video", players[0])
    shape = int(video["attrs"]["height"]), int(video["attrs"]["width"])
    frames = decode(video["attrs"]["src"])
    assert frames.shape == (34, *shape, 3)
    # The panes on the page tile the whole picture, each once.
    tiles = page.find("canvas", players[0])
    width, height = int(tiles[0]["attrs"]["width"]), int(tiles[0]["attrs"]["height"])
    places = {(int(t["attrs"]["data-x"]), int(t["attrs"]["data-y"])) for t in tiles}
    assert places == {(k * width, r * height) for k in range(4) for r in range(2)}
    assert (4 * width, 2 * height) == shape[::-1]
    folder = run / "counterfactual" / "videos"
    for part, name in ((slice(0, height), "cf-0.truth"), (slice(height, None), "cf-0.s0.pred")):
        kept = frames_of(folder / f"{name}.mp4")[2:]
        shrunk = frames[2:, part][:, ::2, ::2]
        assert kept.shape == shrunk.shape
        assert np.abs(kept.astype(int) - shrunk).mean() < 6
    titles = [e["text"] for e in page.find("figcaption", players[0])]
    assert [t.split()[0] for t in titles] == ["0", "1", "2", "3"]  # of the clips cf-0-0 to cf-0-3


def test_branches_are_named_and_marked_by_the_record(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run / "counterfactual", folder / "counterfactual")
    told = {"branch_names": "pat|slap|pick|miss", "factual_branch": 2.0, "nearest": "0|0|2|3"}
    edit(folder / "counterfactual" / "records.jsonl", lambda r: r["checks"].update(told))
    found = Page(write_report([folder], tmp_path / "r.html").read_text())
    player = found.find("article", class_="player branches")[0]
    titles = [re.sub(r"\s+", " ", e["text"]).strip() for e in found.find("figcaption", player)]
    assert titles == [
        "pat ✓ nearest to its own",
        "slap ✕ nearest to pat",
        "pick (usual) ✓ nearest to its own",
        "miss ✓ nearest to its own",
    ]


def test_a_whole_rollout_is_shown_of_every_run_that_kept_one(page: Page) -> None:
    players = page.find("article", page.section("stability"), class_="player three")
    assert len(players) == 3
    for player in players:
        (video,) = page.find("video", player)
        assert len(decode(video["attrs"]["src"])) == 62
        assert "long-0" in player["text"]


def test_truth_and_models_are_shown_side_by_side_in_step(page: Page) -> None:
    beside, *alone = page.find("article", page.section("stability"), class_="player three")
    heads = [e["text"] for e in page.find("span", page.find("div", beside, class_="heads n3")[0])]
    assert heads[0] == "Truth"
    assert len(set(heads)) == 3
    (video,) = page.find("video", beside)
    whole = decode(video["attrs"]["src"]).astype(int)
    width = whole.shape[2] // 3
    assert str(3 * width) == video["attrs"]["width"]
    for column, player in enumerate(alone, start=1):
        own = decode(page.find("video", player)[0]["attrs"]["src"]).astype(int)
        for pane, other in ((0, 0), (column, 1)):
            shown = whole[:, :, pane * width : (pane + 1) * width]
            apart = np.abs(shown - own[:, :, other * width : (other + 1) * width]).mean()
            assert apart < 3


def test_one_model_alone_has_nothing_beside_it(run: Path, tmp_path: Path) -> None:
    found = Page(write_report([run], tmp_path / "r.html").read_text())
    assert len(found.find("article", found.section("stability"), class_="player three")) == 1
    assert "side by side" not in found.text("stability")


def test_video_beyond_the_budget_is_left_out_and_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_branch_videos, "BRANCH_BYTES", 100)
    monkeypatch.setattr(report_stability, "LONG_BYTES", 100)
    found = Page(write_report([run], tmp_path / "r.html").read_text())
    for name in ("counterfactual", "stability"):
        assert not found.find("video", found.section(name))
        assert "Left out to keep the page within" in found.text(name)
    assert found.find("video", found.section("clips"))


def test_without_videos_it_says_how_to_get_them(run: Path, tmp_path: Path) -> None:
    folder = copy(run, tmp_path / "run", "counterfactual", "stability")
    found = Page(write_report([folder], tmp_path / "r.html").read_text())
    assert "run them again with --videos selected" in found.text("counterfactual")
    assert "A minute of it" not in found.text("stability")


def test_names_from_strangers_are_text(run: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    folder = tmp_path / "evil"
    shutil.copytree(run, folder)

    def spoil_run(meta: dict[str, Any]) -> None:
        meta["model"]["name"] = evil
        meta["suite"]["name"] = evil
        meta["hardware"] = {evil: evil}

    def spoil_record(record: dict[str, Any]) -> None:
        told = {"branch_names": evil, "nearest": evil, "joint_" + evil: 1.0}
        record["checks"].update(told)
        record["not_computed"] = dict.fromkeys(record["not_computed"], evil) | {evil: evil}

    def spoil_speed(report: dict[str, Any]) -> None:
        report["model"]["name"] = evil
        report["hardware"] = {evil: evil}
        report["packages"] = {"torch": evil}
        report["cost"] = {"parameters": 1, "flops_per_frame": 1, "passes_per_step": {evil: 1}}

    for name in ("", *BENCHMARKS):
        for found in (folder / name).rglob("run.json"):
            edit(found, spoil_run)
    for name in BENCHMARKS:
        edit(folder / name / "records.jsonl", spoil_record)
    edit(folder / "speed" / "speed.json", spoil_speed)
    html = write_report([folder], tmp_path / "r.html").read_text()
    assert "<script>alert" not in html
    assert "<img" not in html
    spoiled = Page(html)
    assert len(spoiled.find("script")) == 1
    assert evil in spoiled.find("h1")[0]["text"]
    assert shown(spoiled) == [s.id for s in SECTIONS]


def test_an_unfinished_benchmark_is_refused(run: Path, tmp_path: Path) -> None:
    folder = copy(run, tmp_path / "torn", "", "stability")
    records = folder / "stability" / "records.jsonl"
    records.write_text("".join(records.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(BadInputError, match="1 of 4 records are missing") as caught:
        write_report([folder], tmp_path / "r.html")
    assert str(folder / "stability") in str(caught.value)
    assert not (tmp_path / "r.html").exists()


def test_benchmarks_of_different_suites_are_refused(run: Path, late: Path, tmp_path: Path) -> None:
    folder = copy(late, tmp_path / "late", "counterfactual")
    edit(folder / "counterfactual" / "run.json", lambda m: m["suite"].update(version="sha256:0"))
    with pytest.raises(BadInputError, match="differ in version of the suite") as caught:
        write_report([run, folder], tmp_path / "r.html")
    assert str(folder / "counterfactual") in str(caught.value)


def test_a_damaged_measurement_of_speed_is_refused(run: Path, tmp_path: Path) -> None:
    folder = copy(run, tmp_path / "run", "speed")
    (folder / "speed" / "speed.json").write_text("{}")
    with pytest.raises(BadInputError, match="cannot be read as a speed measurement"):
        write_report([folder], tmp_path / "r.html")


def test_measurements_under_different_conditions_are_called_out(
    run: Path, late: Path, tmp_path: Path
) -> None:
    other = copy(late, tmp_path / "late", "")
    shutil.copytree(run / "speed", other / "speed")

    def change(report: dict[str, Any]) -> None:
        report["model"].update(name="toy-lag-3", reference="my_lab.toy:late_3")
        report["conditions"]["batch"] = 4

    edit(other / "speed" / "speed.json", change)
    found = Page(write_report([run, other], tmp_path / "r.html").read_text())
    assert "do not compare them with each other" in found.text("speed")
    assert [s.label for s in gather([run, other]).speeds] == ["toy-lag-0", "toy-lag-3"]


# --- in a browser -------------------------------------------------------------------------

PATIENCE = 600_000
"""Milliseconds after which a hang is one, however slow the machine."""


@pytest.fixture(scope="module")
def visit(chromium: str, file: Path) -> Iterator[Callable[..., Any]]:
    api = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    faults, requests = [], []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=arguments, timeout=PATIENCE
        )

        def visited(**options: Any) -> Any:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
            context.set_default_timeout(PATIENCE)
            opened = context.new_page()
            opened.on("pageerror", lambda error: faults.append(str(error)))
            opened.on("console", lambda line: faults.append(line.text))
            opened.on("request", lambda request: requests.append(request.url))
            opened.goto(file.as_uri())
            return opened

        yield visited
        browser.close()
    assert faults == []
    assert [u for u in requests if not u.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.browser
@pytest.mark.parametrize(
    "options",
    [{"color_scheme": "light"}, {"color_scheme": "dark"},
     {"viewport": {"width": 390, "height": 844}, "has_touch": True}],
    ids=["light", "dark", "phone"],
)  # fmt: skip
def test_it_fits_the_window(visit: Callable[..., Any], options: dict[str, Any]) -> None:
    page = visit(**options)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("counterfactual", "stability", "speed", "probes"):
        assert page.locator(f"#{name} figure.chart svg[role]:visible").count() >= 1
        beyond = page.locator(f"#{name} figure.chart svg[role]:visible").evaluate_all(
            """all => all.flatMap(svg => {
              const box = svg.getBoundingClientRect();
              return [...svg.querySelectorAll('text')].filter(t => {
                const r = t.getBoundingClientRect();
                return r.right > Math.max(box.right, 0) + 2 || r.left < box.left - 2;
              }).map(t => t.textContent);
            })"""
        )
        assert beyond == []


@pytest.mark.browser
def test_every_branch_moves_by_one_frame(visit: Callable[..., Any], page: Page) -> None:
    video = page.find("video", page.find("article", class_="player branches")[0])[0]
    decoded = decode(video["attrs"]["src"]).astype(int)
    opened = visit()
    player = opened.locator(".player.branches").first
    player.focus()
    for key, frame in (("Home", 0), (".", 1), ("ArrowRight", 2), ("End", 33), (",", 32)):
        opened.keyboard.press(key)
        opened.wait_for_function(
            "([a, k]) => a.dataset.drawn === k && a.dataset.frame === k",
            arg=[player.element_handle(), str(frame)],
        )
        canvases = player.locator("canvas")
        assert canvases.count() == 8
        for k in range(8):
            told = canvases.nth(k).evaluate(
                "c => [c.dataset.x, c.dataset.y, c.width, c.height, c.toDataURL('image/png')]"
            )
            x, y, width, height = (int(v) for v in told[:4])
            content = io.BytesIO(base64.b64decode(told[4].partition(",")[2]))
            with av.open(content) as container:
                pane = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
            own = decoded[:, y : y + height, x : x + width]
            distance = np.abs(own - pane).mean(axis=(1, 2, 3))
            assert distance[frame] <= distance.min() + 0.3
    assert opened.locator(".player.branches").first.locator(".badge").count() == 0


@pytest.mark.browser
def test_it_is_whole_without_script_and_on_paper(visit: Callable[..., Any]) -> None:
    bare = visit(java_script_enabled=False)
    for name in ("counterfactual", "stability", "speed", "probes"):
        assert bare.locator(f"#{name} table.scores").first.is_visible()
        summary = bare.locator(f"#{name} figure.chart details.numbers summary").first
        summary.click()
        assert bare.locator(f"#{name} figure.chart table.plain").first.is_visible()
    assert bare.locator("#counterfactual video[controls]").first.is_visible()
    printed = visit(color_scheme="dark")
    printed.emulate_media(media="print")
    assert printed.locator("#speed table.scores").first.is_visible()
    assert not printed.locator(".transport").first.is_visible()
    printed.set_viewport_size({"width": 690, "height": 1000})  # A4 between its margins
    wide = printed.locator("table.scores:visible").evaluate_all(
        "all => all.filter(t => t.offsetWidth > innerWidth).map(t => t.caption.textContent)"
    )
    assert wide == []
    assert len(printed.pdf(format="A4")) > 10_000
