"""The site: equal bytes, whole without a script, nothing of a stranger's text interpreted."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.parsers.expat import ParserCreate as XMLParser

import html5lib
import numpy as np
import pytest
from scipy.stats import ttest_1samp

from dojobench.benchmarks.benchmark_runs import UNIT_BENCHMARKS
from dojobench.leaderboard import site_pages as pages
from dojobench.leaderboard.site_boards import UNIT_VERSIONS
from dojobench.leaderboard.site_build import POLICY, BuildConfig, Built, build, fingerprint
from dojobench.leaderboard.site_cli import main
from dojobench.leaderboard.site_published import read_published
from dojobench.leaderboard.site_ranks import Comparison, groups_of
from dojobench.leaderboard.site_speed import quantile_interval
from dojobench.protocol.errors import BadInputError

HOSTILE = "<script>alert(1)</script>\\\" onload=x ${7*7} {{7*7}} &amp; '"
STATUS = {
    "format": 1,
    "events": [
        {"what": "withdrawn", "reason": "The <b>weights</b> were trained on the test split.",
         "date": "2026-11-10T00:00:00+00:00", "by": "the maintainers", "replaced_by": None}
    ],
}  # fmt: skip


def make(submissions: Path, out: Path) -> Built:
    return build(BuildConfig(submissions=submissions, out=out, workers=1))


KEPT: list[Path] = []


@pytest.fixture
def board(
    fake_run: Callable, submit: Callable, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> Callable[[], Path]:
    """Submissions of every kind: models, a baseline, withdrawn, hostile, old, with speed."""

    def card(name: str, kind: str = "world-model") -> str:
        from dojobench.leaderboard.card import CARD_TEMPLATE

        text = CARD_TEMPLATE.replace('name = "my-model"', f"name = {json.dumps(name)}")
        return text.replace('kind = "world-model"', f'kind = "{kind}"')

    def fill() -> Path:
        for k, (name, quality) in enumerate([("alpha", 0.6), ("beta", 0.59), ("gamma", 0.2)]):
            submit(fake_run(name=name, quality=quality, seed=k), card=card(name), name=f"{name}-1")
        submit(fake_run(quality=0.0, seed=9), card=card("still", "static"), name="still-1")
        submit(fake_run(quality=0.3, seed=5), card=card(HOSTILE), name="hostile-1")
        old = fake_run(name="old", seed=6)
        old.meta_changes = {"metric_version": "aligned-0(psnr-0)"}
        submit(old, card=card("old"), name="old-1")
        gone = submit(fake_run(quality=0.9, seed=7), card=card("gone"), name="gone-1")
        (gone / "status.json").write_text(json.dumps(STATUS))
        for junk in (tmp_path / "in").glob("*-run"):
            shutil.rmtree(junk)
        return shutil.move(tmp_path / "in", tmp_path_factory.mktemp("board") / "in")

    def once() -> Path:
        if not KEPT:
            KEPT.append(fill())
        return KEPT[0]

    return once


def test_the_same_submissions_make_the_same_bytes(board: Callable, tmp_path: Path) -> None:
    submissions = board()
    first = make(submissions, tmp_path / "one")
    make(submissions, tmp_path / "two")
    many = BuildConfig(submissions=submissions, out=tmp_path / "three", workers=2)
    build(many)
    marks = {fingerprint(tmp_path / name) for name in ("one", "two", "three")}
    assert first.entries == 7
    assert first.left_out == ()
    assert len(marks) == 1
    make(submissions, tmp_path / "one")
    assert fingerprint(tmp_path / "one") in marks


def test_pages_are_valid_html_with_the_policy_and_no_other_server(
    board: Callable, tmp_path: Path
) -> None:
    make(board(), tmp_path / "site")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 12
    for page in pages:
        text = page.read_text(encoding="utf-8")
        tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
        for figure in tree.iter("figure"):
            captions = [k for k, each in enumerate(figure) if each.tag == "figcaption"]
            assert set(captions) <= {0, len(figure) - 1}, page
        assert f'<meta http-equiv="Content-Security-Policy" content="{policy_text()}">' in text
        assert not re.search(
            r'<(?:script|link|img|video|iframe)[^>]+(?:src|href)="(?:https?:)?//', text
        )
        assert " style=" not in text
        assert not re.search(r"<script(?![^>]+src=)", text)
        assert len(re.findall(r"<h1\b", text)) == 1
        ids = re.findall(r'\sid="([^"]+)"', text)
        assert len(ids) == len(set(ids)), page


def policy_text() -> str:
    return POLICY.replace("'", "&#39;")


def test_local_links_lead_somewhere(board: Callable, tmp_path: Path) -> None:
    site = tmp_path / "site"
    make(board(), site)
    for page in site.rglob("*.html"):
        for address in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            if address.startswith(("http", "data:")):
                continue
            file, _, anchor = address.replace("&amp;", "&").partition("#")
            target = (page.parent / file.partition("?")[0]).resolve() if file else page.resolve()
            assert target.is_file(), (page.name, address)
            if anchor:
                assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), (page.name, address)


def test_hostile_names_stay_text(board: Callable, tmp_path: Path) -> None:
    site = tmp_path / "site"
    make(board(), site)
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "49" not in re.findall(r"onload=x \$?\{?(\d+)", text)
    page = (site / "models/hostile-1.html").read_text(encoding="utf-8")
    parsed = html5lib.parse(page, namespaceHTMLElements=False)
    assert "".join(parsed.find(".//h1").itertext()).strip().startswith(HOSTILE)
    assert "The &lt;b&gt;weights" in (site / "models/gone-1.html").read_text(encoding="utf-8")
    XMLParser().Parse((site / "feed.xml").read_bytes(), True)
    assert r"\$\{7*7\}" in (site / "references.bib").read_text(encoding="utf-8")


def test_a_suite_page_is_whole_without_a_script(board: Callable, tmp_path: Path) -> None:
    make(board(), tmp_path / "site")
    page = (tmp_path / "site/suites/dojo-mini.html").read_text(encoding="utf-8")
    tree = html5lib.parse(page, namespaceHTMLElements=False)
    table = tree.find(".//table[@id='dojo-mini-fidelity-table']")
    rows = {row.get("data-id"): row for row in table.findall(".//tbody/tr")}
    order = list(rows)
    assert set(order[:2]) == {"alpha-1", "beta-1"}
    assert order[-1] == "old-1"
    assert "old" in rows["old-1"].get("class")
    assert "aside withdrawn" in rows["gone-1"].get("class")
    assert "baseline" in rows["still-1"].get("class")
    for name in order:
        text = "".join(rows[name].itertext())
        assert re.search(r"\d+\.\d\d\d? to \d+\.\d\d", text), name
    ranks = {name: rows[name].find("td[@class='rank']").get("data-order") for name in order}
    assert ranks["gone-1"] is None
    assert ranks["old-1"] is None
    assert float(ranks["still-1"]) >= 4.0


def test_csv_and_json_say_the_same(board: Callable, tmp_path: Path) -> None:
    make(board(), tmp_path / "site")
    data = tmp_path / "site/data"
    rows = list(csv.DictReader(io.StringIO((data / "dojo-mini.fidelity.csv").read_text())))
    found = {r["id"]: r for r in json.loads((data / "dojo-mini.fidelity.json").read_text())["rows"]}
    assert {row["id"] for row in rows} == set(found)
    for row in rows:
        same = found[row["id"]]
        assert float(row["psnr"]) == same["values"]["psnr"]["mean"]
        assert row["state"] == same["state"]
    states = {row["id"]: row["state"] for row in rows}
    assert states["gone-1"] == "aside"
    assert states["old-1"] == "old"


def test_the_feed_is_atom(board: Callable, tmp_path: Path) -> None:
    make(board(), tmp_path / "site")
    feed = html5lib.parse((tmp_path / "site/feed.xml").read_text(), namespaceHTMLElements=False)
    entries = feed.findall(".//entry")
    assert len(entries) == 7
    assert len({e.findtext("id") for e in entries}) == 7
    assert entries[0].findtext("title") == "gone: withdrawn"
    assert all(e.findtext("updated") and e.find("link").get("href") for e in entries)


def test_a_submission_that_cannot_be_read_is_left_out_and_named(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(honest, tmp_path / "in/my-model-1")
    shutil.copytree(honest, tmp_path / "in/spoiled-1")
    summary = tmp_path / "in/my-model-1/runs/dojo-mini.fidelity/summary.json"
    shutil.copytree(honest, tmp_path / "in/changed-1")
    summary.write_text(summary.read_text().replace("0", "1", 1))
    out = tmp_path / "site"
    assert main(["build", "--submissions", str(tmp_path / "in"), "--out", str(out)]) == 1
    told = capsys.readouterr().err
    assert "my-model-1: runs/dojo-mini.fidelity/summary.json is not the file" in told
    assert "spoiled-1" in told
    assert (out / "index.html").is_file()


def test_the_boards_own_rows_are_whole_present_and_audited(tmp_path: Path) -> None:
    built = make(Path(pages.__file__).parent / "submissions", tmp_path / "site")
    assert built.left_out == ()
    entries = json.loads((tmp_path / "site/data/entries.json").read_text())["entries"]
    baselines = {each["id"] for each in entries if each["kind"] != "world-model"}
    assert {"hold-1", "mean-future-1", "nearest-neighbour-1"} <= baselines
    assert {each["tier"] for each in entries if each["id"] in baselines} == {"audited"}
    for key in ("dojo-mini.fidelity", "dojo-v1.fidelity", "dojo-v1.counterfactual"):
        rows = json.loads((tmp_path / f"site/data/{key}.json").read_text())["rows"]
        assert {row["id"] for row in rows if row["state"] == "ranked"} >= baselines


def test_no_submissions_make_a_site_with_what_was_published(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert make(tmp_path / "in", tmp_path / "site").entries == 0
    page = (tmp_path / "site/published/dreamdojo.html").read_text(encoding="utf-8")
    assert "21.413" in page
    assert "10.81" in page


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    with pytest.raises(BadInputError, match="something else"):
        make(tmp_path / "in", tmp_path / "mine")
    assert (tmp_path / "mine/thesis.tex").read_text() == "years of work"
    with pytest.raises(BadInputError, match="no folder"):
        make(tmp_path / "not there", tmp_path / "site")


def test_published_tables_have_a_source_and_a_convention() -> None:
    sources = read_published()
    places = [t.place for s in sources for t in s.tables]
    assert {"Table 2", "Table 3", "Table 4", "Table 5", "Table 6", "Table 7"} <= set(places)
    for source in sources:
        assert source.url.startswith("https://")
        assert all(t.convention for t in source.tables)


def test_a_published_file_with_a_missing_number_is_refused(tmp_path: Path) -> None:
    whole = (
        Path(read_published.__code__.co_filename).parent / "published/dreamdojo.toml"
    ).read_text()
    (tmp_path / "bad.toml").write_text(whole.replace("[20.576, 0.774, 0.222], ", "", 1))
    with pytest.raises(BadInputError, match=r"bad\.toml.*needs 2 lists of 3 numbers"):
        read_published(tmp_path)


def test_versions_of_unit_benchmarks_are_those_of_the_code() -> None:
    assert {name: each.version for name, each in UNIT_BENCHMARKS.items()} == UNIT_VERSIONS


def test_the_paired_difference_is_students_where_every_clip_is_an_episode() -> None:
    values = np.random.default_rng(0).normal(size=(2, 12))
    found = Comparison(values, np.arange(12)).difference(0, 1)
    low, high = ttest_1samp(values[0] - values[1], 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))


def test_rank_ranges_hold_the_true_rank() -> None:
    generator = np.random.default_rng(1)
    true = np.array([0.0, 0.0, 0.3, 0.6, 1.5])
    held = 0
    for _ in range(200):
        episodes = generator.normal(size=(5, 20))
        values = (
            true[:, None]
            + np.repeat(episodes, 2, axis=1) * 0.5
            + generator.normal(size=(5, 40)) * 0.1
        )
        standings = Comparison(values, np.repeat(np.arange(20), 2)).standings(np.array(1.0), None)
        better = [int((true > t).sum()) for t in true]
        worse = [int((true < t).sum()) for t in true]
        held += sum(
            s.low <= 1 + b and s.high >= 5 - w
            for s, b, w in zip(standings, better, worse, strict=True)
        )
    assert held / 1000 >= 0.94


def test_ranks_of_degenerate_tables() -> None:
    alone = Comparison(np.array([[1.0, 2.0]]), np.array([0, 1])).standings(np.array(1.0), None)
    assert (alone[0].low, alone[0].high, alone[0].groups) == (1, 1, (1,))
    one_episode = Comparison(np.array([[1.0, 1.0], [9.0, 9.0]]), np.array([0, 0]))
    assert [s.text for s in one_episode.standings(np.array(1.0), None)] == ["1–2", "1–2"]
    assert one_episode.difference(0, 1).high == float("inf")
    equal = Comparison(np.ones((3, 4)), np.arange(4)).standings(np.array(1.0), None)
    assert {s.text for s in equal} == {"1–3"}
    gain = Comparison(np.array([[0.5] * 4, [1.1] * 4, [1.5] * 4]), np.arange(4))
    assert [s.text for s in gain.standings(np.array(1.0), 1.0)] == ["2–3", "1", "2–3"]


def test_groups_are_runs_in_which_no_two_can_be_told_apart() -> None:
    better = np.zeros((4, 4), dtype=bool)
    better[0, 2] = better[0, 3] = better[1, 3] = True
    assert groups_of(better, np.arange(4)) == [(1,), (1, 2), (2, 3), (3,)]


def test_the_interval_of_a_median_lies_between_order_statistics() -> None:
    assert quantile_interval([float(k) for k in range(1, 101)], 0.5) == (40.0, 61.0)
    assert all(np.isnan(quantile_interval([1.0, 2.0], 0.95)))
