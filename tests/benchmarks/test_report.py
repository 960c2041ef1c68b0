"""The report's page: what it says, that it says it safely, and what it refuses to mix."""

import base64
import csv
import hashlib
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojobench.benchmarks import report_players
from dojobench.benchmarks.records import load_summary
from dojobench.benchmarks.report import write_report
from dojobench.benchmarks.report_gather import compare
from dojobench.protocol import BadInputError

Run = Callable[..., Path]
VOID = {"meta", "input", "br", "hr", "img", "link", "source"}


class Page(HTMLParser):
    """A page taken apart: elements with their attributes, parents and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.html = html
        self.feed(html)
        assert not self.open, f"unclosed: {[e['tag'] for e in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "path": [*self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "path": [*self.open]}
        self.elements.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1]["tag"] == tag, f"</{tag}> closes <{self.open[-1]['tag']}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def find(self, tag: str, **attrs: str) -> list[dict[str, Any]]:
        wanted = {k.replace("_", "-").strip("-"): v for k, v in attrs.items()}
        return [
            e for e in self.elements if e["tag"] == tag and wanted.items() <= e["attrs"].items()
        ]

    def section(self, name: str) -> str:
        return re.sub(r"\s+", " ", self.find("section", id=name)[0]["text"])


def change(run: Path, out: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Copies a run and changes its run.json; baselines beside it are left out."""
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("baselines", "videos"))
    meta = json.loads((out / "run.json").read_text())
    edit(meta)
    (out / "run.json").write_text(json.dumps(meta))
    return out


@pytest.fixture(scope="module")
def run(report_run: Run) -> Path:
    return report_run()


@pytest.fixture(scope="module")
def html(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report([run], tmp_path_factory.mktemp("report") / "r.html").read_text()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_landmarks_headings_and_names(page: Page) -> None:
    assert page.find("html", lang="en")
    for tag in ("header", "nav", "main", "footer", "h1"):
        assert len(page.find(tag)) == 1, tag
    levels = [int(e["tag"][1]) for e in page.elements if re.fullmatch(r"h[1-6]", e["tag"])]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), levels
    ids = [e["attrs"]["id"] for e in page.elements if "id" in e["attrs"]]
    assert len(ids) == len(set(ids))
    targets = {e["attrs"]["href"][1:] for e in page.find("a") if e["attrs"]["href"][0] == "#"}
    shown = {"verdict", "scores", "curves", "distribution", "clips", "conditions"}
    assert targets == {"main", *shown}  # no section of a benchmark that was not run
    assert targets <= set(ids)
    for svg in page.find("svg"):
        named = svg["attrs"].get("role") == "img" and svg["attrs"].get("aria-label")
        assert named or svg["attrs"].get("aria-hidden") == "true"
    for table in page.find("table", data_sortable=None):
        inside = [e for e in page.elements if table in e["path"]]
        assert [e for e in inside if e["tag"] == "caption"]
        assert all(e["attrs"].get("scope") in ("col", "row") for e in inside if e["tag"] == "th")
    for region in page.find("div", role="region"):
        assert region["attrs"]["tabindex"] == "0"
        assert region["attrs"]["aria-label"]


def test_nothing_is_asked_of_the_network(page: Page) -> None:
    for element in page.elements:
        for name in ("src", "href", "poster", "data", "action", "srcset"):
            address = element["attrs"].get(name)
            if address is not None:
                assert address.startswith(("#", "data:")), (element["tag"], address[:80])
    assert "@import" not in page.html
    assert not re.search(r"url\(", page.html)


def test_policy_names_the_page_s_own_style_and_script(page: Page) -> None:
    policy = page.find("meta", http_equiv="Content-Security-Policy")[0]["attrs"]["content"]
    for tag in ("style", "script"):
        (block,) = page.find(tag)
        digest = base64.b64encode(hashlib.sha256(block["text"].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not [e for e in page.elements if "style" in e["attrs"]]
    assert not [e for e in page.elements for name in e["attrs"] if name.startswith("on")]


def test_verdict_is_the_paired_difference_to_hold(run: Path, page: Page) -> None:
    model, hold = load_summary(run), load_summary(run / "baselines" / "hold")
    theirs = {c.clip: c.values["psnr"] for c in hold.clip_values}
    mean = np.mean([c.values["psnr"] - theirs[c.clip] for c in model.clip_values])
    assert mean > 1
    text = page.section("verdict")
    assert "mover is better than repeating the last frame." in text
    assert f"+{mean:.2f} dB [+" in text
    assert f"skill {model.metrics['skill'].mean:.3f} [" in text
    assert "over 8 clips from 5 episodes" in text


def test_table_holds_the_summary_s_numbers(run: Path, page: Page) -> None:
    table = page.find("table", **{"class": "scores"})[0]
    cells = [e for e in page.elements if e["tag"] == "td" and table in e["path"]]
    orders = [float(c["attrs"]["data-order"]) for c in cells if "data-order" in c["attrs"]
              and "(" not in c["attrs"]["data-order"]]  # fmt: skip
    for folder in (run, run / "baselines" / "hold"):
        for metric in ("psnr", "ssim", "skill", "motion_psnr"):
            found = load_summary(folder).metrics[metric]
            assert found.mean in orders
            assert f"[{found.low:.2f}, " in table["text"] or metric in ("ssim", "skill")
    assert "baseline" in table["text"]


def test_a_metric_that_was_not_computed_says_so_where_its_number_would_stand(page: Page) -> None:
    table = page.find("table", **{"class": "scores"})[0]
    missing = [
        e["text"]
        for e in page.elements
        if e["tag"] == "td" and table in e["path"] and "missing" in e["attrs"].get("class", "")
    ]
    assert len(missing) == 2
    assert all(text.startswith("not computed: no weights for vgg at") for text in missing)
    assert "LPIPS (VGG16) is missing for every run" in page.section("verdict")


def test_a_metric_that_no_run_has_gives_one_table_a_column_and_not_all(page: Page) -> None:
    overall, *others = page.find("table", **{"class": "scores"})
    assert others
    assert "LPIPS (VGG16)" in overall["text"]
    assert all("PSNR" in each["text"] and "LPIPS" not in each["text"] for each in others)


def test_charts_have_tables_that_say_the_same(run: Path, page: Page) -> None:
    curve = load_summary(run).curves["psnr"]
    tables = [e for e in page.find("table", **{"class": "plain"})]
    first = next(t for t in tables if "Frame" in t["text"])
    rows = [e for e in page.elements if e["tag"] == "tr" and first in e["path"]]
    assert len(rows) == 1 + len(curve.mean)
    assert f"{curve.mean[0]:.2f} [" in rows[1]["text"]
    assert f"{curve.mean[-1]:.2f} [" in rows[-1]["text"]


def test_conditions_tell_what_it_takes_to_run_again(page: Page, run: Path) -> None:
    meta = json.loads((run / "run.json").read_text())
    text = page.section("conditions")
    for fact in (
        meta["suite"]["version"],
        meta["metric_version"],
        "dojobench run my_lab.models:make --suite memory --convention aligned",
        meta["packages"]["torch"],
        "frames a second",
        "not computed: no weights for vgg",
    ):
        assert fact in text


def test_the_command_as_typed_goes_before_one_put_together(run: Path, tmp_path: Path) -> None:
    typed = "dojobench score preds --truth videos"
    folder = change(run, tmp_path / "typed", lambda meta: meta.update(command=typed))
    text = Page(write_report([folder], tmp_path / "r.html").read_text()).section("conditions")
    assert typed in text
    assert "dojobench run my_lab" not in text


def test_clips_are_in_the_page_as_video(page: Page) -> None:
    videos = page.find("video")
    assert len(videos) == 3
    for video in videos:
        assert video["attrs"]["src"].startswith("data:video/mp4;base64,")
        assert "controls" in video["attrs"]
        content = base64.b64decode(video["attrs"]["src"].partition(",")[2])
        assert content.index(b"moov") < content.index(b"mdat")  # plays before it is read whole
    text = page.section("clips")
    assert "amplified 4 times" in text
    roles = ["Best clip", "Median clip", "Worst clip"]
    assert [text.index(r) for r in roles] == sorted(text.index(r) for r in roles)


def test_equal_runs_give_equal_bytes(run: Path, tmp_path: Path, html: str) -> None:
    assert write_report([run], tmp_path / "again.html").read_text() == html
    assert [p.name for p in tmp_path.iterdir()] == ["again.html"]


def test_names_from_strangers_are_text(report_run: Run, run: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"

    def spoil(meta: dict[str, Any]) -> None:
        meta["model"]["name"] = evil
        meta["model"]["options"] = {evil: evil}
        meta["suite"]["name"] = evil
        meta["notes"] = [evil]
        meta["packages"] = {evil: evil}
        meta["hardware"] = {evil: {evil: [evil]}}

    spoiled = change(run, tmp_path / "evil", spoil)
    html = write_report([spoiled], tmp_path / "evil.html", title=evil).read_text()
    assert "<script>alert" not in html
    assert "<img" not in html
    found = Page(html)
    assert len(found.find("script")) == 1
    assert evil in found.find("h1")[0]["text"]


def test_a_run_without_videos_says_how_to_get_them(report_run: Run, tmp_path: Path) -> None:
    folder = report_run(videos="none")
    text = Page(write_report([folder], tmp_path / "r.html").read_text()).section("clips")
    assert "kept no videos" in text
    assert "--videos" in text


def test_video_beyond_the_budget_is_left_out_and_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_players, "BUDGET_BYTES", 100)
    found = Page(write_report([run], tmp_path / "r.html").read_text())
    assert not found.find("video")
    assert "Left out to keep the page within" in found.section("clips")


def test_one_clip_has_no_interval_and_says_why(report_run: Run, tmp_path: Path) -> None:
    folder = report_run(limit=1)
    found = Page(write_report([folder], tmp_path / "r.html").read_text())
    text = found.section("verdict")
    assert "Few data: 1 clip from 1 episode" in text
    assert "no telling how another would score" in text
    assert "cannot be told apart from repeating the last frame" in text
    assert "nan" not in found.find("main")[0]["text"].lower().replace("nanometre", "")
    assert "Only clip" in found.section("clips")
    assert "Part of the suite: 1 of 11 clips" in text


def test_several_runs_stand_side_by_side(report_run: Run, run: Path, tmp_path: Path) -> None:
    others = [
        report_run("hold", baselines=(), videos="none"),
        report_run("oracle", baselines=(), videos="none"),
        report_run("garbage", baselines=(), videos="none"),
        change(run, tmp_path / "twin", lambda meta: meta["model"].update(options={"k": "2"})),
    ]
    comparison = compare([run, *others])
    labels = [e.label for e in comparison.entries]
    # The hold beside the first run is the same hold as the one given: it stands once.
    assert labels == ["mover", "mover (k=2)", "hold", "garbage", "oracle"]
    assert [e.role for e in comparison.entries] == ["model"] * 2 + ["baseline"] * 2 + ["control"]
    # Twins cannot be told apart, so both lead; the oracle does not compete.
    assert set(comparison.leaders["psnr"]) == {"mover", "mover (k=2)"}
    found = Page(write_report([run, *others], tmp_path / "r.html").read_text())
    assert "oracle saw the truth" in found.section("verdict")
    marks = [e for e in found.find("span", **{"class": "mark"}) if e["text"] == "≈ best"]
    assert len(marks) >= 2
    assert "Off the scale and not drawn, but in the table: oracle" in found.section("curves")


def test_same_name_and_options_are_told_apart_by_folder(run: Path, tmp_path: Path) -> None:
    twin = change(run, tmp_path / "second", lambda meta: None)
    again = change(run, tmp_path / "third", lambda meta: meta["model"].update(version="2"))
    labels = [e.label for e in compare([twin, again]).entries]
    assert labels == ["mover (second)", "mover (third)"]


def test_a_model_that_ignores_its_actions_is_called_out(report_run: Run, tmp_path: Path) -> None:
    folder = report_run("still", follows=False)
    text = Page(write_report([folder], tmp_path / "r.html").read_text()).section("verdict")
    assert "still ignores its actions." in text
    assert "exactly the same frames" in text
    assert "still does not clearly beat a static frame." in text


def test_a_model_that_follows_its_actions_is_not(page: Page) -> None:
    assert "ignores its actions" not in page.section("verdict")


def test_hold_alone_is_the_score_to_beat(report_run: Run, tmp_path: Path) -> None:
    folder = report_run("hold", baselines=(), videos="none")
    text = Page(write_report([folder], tmp_path / "r.html").read_text()).section("verdict")
    assert "hold only repeats the last frame: it is the score that a model has to beat" in text


def test_without_hold_skill_decides_and_the_gap_is_said(report_run: Run, tmp_path: Path) -> None:
    folder = report_run(baselines=(), videos="none")
    text = Page(write_report([folder], tmp_path / "r.html").read_text()).section("verdict")
    assert "mover is better than repeating the last frame. skill" in text
    assert "No run of hold to compare with" in text


def test_changed_code_is_called_out(run: Path, tmp_path: Path) -> None:
    dirty = change(
        run, tmp_path / "dirty", lambda meta: meta["code"].update(commit="c0ffee" * 6, dirty=True)
    )
    text = Page(write_report([dirty], tmp_path / "r.html").read_text()).section("verdict")
    assert "mover ran on changed code." in text
    assert "c0ffeec0ffee" in text


def test_changed_code_of_the_model_s_own_project_is_called_out(run: Path, tmp_path: Path) -> None:
    def edit(meta: dict[str, Any]) -> None:
        meta["code"].update(dirty=False, project={"name": "lab", "commit": "1", "dirty": True})

    folder = change(run, tmp_path / "dirty", edit)
    text = Page(write_report([folder], tmp_path / "r.html").read_text()).section("verdict")
    assert "mover ran on changed code." in text


def test_seeds_stand_beside_the_interval(report_run: Run, tmp_path: Path) -> None:
    folder = report_run(seeds=(0, 5), videos="none")
    found = Page(write_report([folder], tmp_path / "r.html").read_text())
    spread = load_summary(folder).metrics["psnr"].seed_sd
    assert f"seed sd {spread:.2f}" in found.section("scores")
    assert "2 (0, 5)" in found.section("scores")


def test_csv_holds_every_number_and_no_formula(run: Path, tmp_path: Path) -> None:
    named = change(run, tmp_path / "f", lambda meta: meta["model"].update(name="=1+1"))
    found = Page(write_report([named], tmp_path / "r.html").read_text())
    (link,) = [e for e in found.find("a") if "download" in e["attrs"]]
    text = base64.b64decode(link["attrs"]["href"].partition(",")[2]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {r["run"] for r in rows} == {"'=1+1"}
    psnr = next(r for r in rows if r["metric"] == "psnr" and r["split"] == "all")
    assert float(psnr["mean"]) == load_summary(run).metrics["psnr"].mean


@pytest.mark.parametrize(
    ("what", "edit"),
    [
        ("suite", lambda m: m["suite"].update(name="other")),
        ("version of the suite", lambda m: m["suite"].update(version="sha256:0")),
        ("metric convention", lambda m: m.update(convention="dreamdojo")),
        ("metric version", lambda m: m.update(metric_version="old")),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    run: Path, tmp_path: Path, what: str, edit: Callable[[dict[str, Any]], None]
) -> None:
    other = change(run, tmp_path / "other", edit)
    with pytest.raises(BadInputError, match=f"differ in {what} ") as caught:
        write_report([run, other], tmp_path / "r.html")
    assert str(run) in str(caught.value)
    assert str(other) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r.html").exists()


def test_a_benchmark_that_the_report_does_not_know_is_refused(run: Path, tmp_path: Path) -> None:
    other = change(run, tmp_path / "other", lambda m: m.update(benchmark="tasting"))
    with pytest.raises(BadInputError, match="benchmark 'tasting', which this report cannot show"):
        write_report([other], tmp_path / "r.html")


def test_different_clips_are_refused(report_run: Run, run: Path, tmp_path: Path) -> None:
    fewer = report_run(limit=3, videos="none", baselines=())
    with pytest.raises(BadInputError, match="number of clips"):
        write_report([run, fewer], tmp_path / "r.html")


def test_an_unfinished_run_is_refused(run: Path, tmp_path: Path) -> None:
    torn = change(run, tmp_path / "torn", lambda meta: None)
    lines = (torn / "records.jsonl").read_text().splitlines(keepends=True)
    (torn / "records.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(BadInputError, match="1 of 8 records are missing"):
        write_report([torn], tmp_path / "r.html")


def test_no_folder_and_a_place_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no run folder was given"):
        write_report([], tmp_path / "r.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        write_report([run], tmp_path / "file" / "r.html")


def test_a_folder_as_out_gets_a_file(run: Path, tmp_path: Path) -> None:
    assert write_report([run], tmp_path / "site") == tmp_path / "site" / "report.html"
