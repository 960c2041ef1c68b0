"""The analysis: a pure function of log and plan, and what it says of studies gone wrong."""

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import html5lib
import numpy as np
import pytest

from dojobench.cli import main
from dojobench.human_eval.analysis import TABLE_4, analyze
from dojobench.human_eval.preferences import read_preferences, to_json
from dojobench.human_eval.study_file import Study, read_study, write_study
from dojobench.human_eval.study_report import render
from dojobench.human_eval.vote_chain import genesis, make_event, to_line
from dojobench.human_eval.vote_export import read_vote_log
from dojobench.protocol.errors import BadInputError

MODELS = ("cosmos", "dojo-2b", "dojo-14b")


class Writer:
    """Writes a study's plan and an exported log, event by event."""

    def __init__(self, folder, models=MODELS, **parts):
        plan = {
            "study": {"title": "Novel <scenes> & more", "suite": "dojo-v1"},
            "models": [{"name": name, "source": f"runs/{name}"} for name in models],
            "axes": {"physics": {"question": "p"}, "action": {"question": "a"}},
            "trials": {"pairs": 10},
            "analysis": {"bootstrap": 100, **parts.pop("analysis", {})},
            **parts,
        }
        self.folder = folder
        self.hash = write_study(Study.model_validate(plan), folder)
        self.prev, self.n = genesis(self.hash), 0
        header = {"format": 1, "kind": "dojobench-votes", "study": self.hash}
        self.lines = [json.dumps({**header, "consent_version": "1", "created": "x"})]

    def event(self, type_, body):
        self.n += 1
        time = datetime(2026, 1, 31, 12, tzinfo=UTC) + timedelta(seconds=20 * self.n)
        event = make_event(
            n=self.n, prev=self.prev, time=time.strftime("%Y-%m-%dT%H:%M:%SZ"), type=type_,
            salt=f"{self.n:032x}", body=body,
        )  # fmt: skip
        self.prev = event.hash
        self.lines.append(json.dumps(to_line(event)))

    def vote(self, rater, clip, left, right, answer, **more):
        self.event("vote", {
            "rater": rater, "trial": f"t{self.n}", "pair": "p0", "clip": clip, "left": left,
            "right": right, "kind": "ordinary", "gold_answer": None, "arm": "adaptive",
            "axis": "physics", "answer": answer, "break_at": {"left": 1.2, "right": None},
            "drift_frames": 0.1, "seconds": 9.0, "plays": 2, "flags": [], **more,
        })  # fmt: skip

    def save(self):
        path = self.folder / "votes.jsonl"
        path.write_text("\n".join(self.lines) + "\n")
        return path

    def analyze(self, **how):
        return analyze(read_study(self.folder), read_vote_log(self.save()), **how)


def _full(folder, raters=6, clips=10, seed=0, **parts):
    """A study with all kinds of votes, in which later models are better."""
    writer, rng = Writer(folder, **parts), np.random.default_rng(seed)
    for rater in range(raters):
        for clip in range(clips):
            for a in range(3):
                for b in range(a):
                    first, second = (a, b) if rng.random() < 0.5 else (b, a)
                    for axis in ("physics", "action"):
                        odds = np.exp([(first - second) / 2, (second - first) / 2, -1, -2.5])
                        said = rng.choice(["left", "right", "tie", "unsure"], p=odds / odds.sum())
                        place = (f"r_{rater}", f"c{clip}")
                        arm = "random" if rng.random() < 0.3 else "adaptive"
                        more = {"axis": axis, "trial": f"t{rater}-{clip}-{a}-{b}", "arm": arm}
                        shown = (MODELS[first], MODELS[second])
                        writer.vote(*place, *shown, str(said), **more)
                        if clip == 0:
                            again = {**more, "kind": "duplicate", "trial": more["trial"] + "d"}
                            writer.vote(*place, *shown[::-1], str(said), **again)
            gold = {"kind": "gold", "gold_answer": "left", "trial": f"g{rater}-{clip}"}
            writer.vote(f"r_{rater}", f"c{clip}", "truth", "shuffled", "left", **gold)
            writer.vote(
                f"r_{rater}", f"c{clip}", "truth", "shuffled", "right", axis="action",
                **{**gold, "gold_answer": None},
            )  # fmt: skip
    return writer


def test_a_whole_study(tmp_path):
    found = _full(tmp_path).analyze()
    assert found.study.registered
    assert found.log.whole
    assert found.counts["raters"] == 6
    assert found.counts["ordinary"] == 6 * 10 * 3 * 2
    assert found.exclusions == ()
    for axis in found.axes.values():
        assert axis.statements == ()
        assert axis.ranking is not None
        assert [each.model for each in axis.ranking.strengths] == list(reversed(MODELS))
        assert sum(pair.n for pair in axis.pairs) == axis.votes
        assert axis.votes + axis.unsure == 6 * 10 * 3
        assert 0 < sum(pair.n for pair in axis.random_pairs) < axis.votes
        best = next(p for p in axis.pairs if (p.first, p.second) == ("cosmos", "dojo-14b"))
        assert best.rate.high < 0.5
        assert best.wins + best.ties + best.losses == best.n
        # Repeats here name the same side again, and so the other model.
        assert axis.repeats.same_side > 0
    assert found.axes["physics"].gold.value == 1.0
    assert found.axes["action"].gold.n == 0
    assert sum(count for _, count in found.timeline) == found.log.votes


def test_command_is_a_pure_function(tmp_path, capsys):
    writer = _full(tmp_path)
    votes = writer.save()
    for out in ("one", "two"):
        where = ["--study", str(tmp_path), "--out", str(tmp_path / out)]
        assert main(["study", "analyze", str(votes), *where]) == 0
    for name in ("preferences.json", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert read_preferences(tmp_path / "one" / "preferences.json") == writer.analyze()
    assert str(tmp_path / "two" / "report.html") in capsys.readouterr().out


def test_preferences_of_another_format_are_refused(tmp_path):
    path = tmp_path / "preferences.json"
    path.write_text(to_json(_full(tmp_path).analyze()).replace('"format": 1', '"format": 2', 1))
    with pytest.raises(BadInputError, match="no preferences file in format 1"):
        read_preferences(path)


# The degenerate studies, by name, as a reader of the result meets them.


def _page(found):
    return " ".join(render(found).split())


def test_a_model_that_never_loses(tmp_path):
    writer = Writer(tmp_path)
    for rater in range(4):
        for clip in range(6):
            writer.vote(f"r{rater}", f"c{clip}", "dojo-14b", "cosmos", "left")
            said = ("left", "right", "tie")[(rater + clip) % 3]
            writer.vote(f"r{rater}", f"c{clip}", "cosmos", "dojo-2b", said)
    found = writer.analyze()
    axis = found.axes["physics"]
    assert "dojo-14b never lost or tied a vote" in axis.statements[0]
    assert axis.ranking.separated
    assert axis.ranking.strengths[0].strength.clustered.high is None
    assert "dojo-14b never lost" in _page(found)
    assert "at least" in _page(found)
    assert found.axes["action"].statements == ("No votes, so nothing can be said.",)


def test_disconnected(tmp_path):
    writer = Writer(tmp_path, models=("a", "b", "c", "d"))
    for rater in range(4):
        for clip in range(6):
            said = ("left", "right", "tie")[(rater + clip) % 3]
            writer.vote(f"r{rater}", f"c{clip}", "a", "b", said)
            writer.vote(f"r{rater}", f"c{clip}", "c", "d", said)
    found = writer.analyze()
    assert not found.axes["physics"].ranking.connected
    assert "2 groups that were never compared" in found.axes["physics"].statements[0]
    assert "the models cannot be ranked on one scale" in _page(found)
    pairs = found.axes["physics"].ranking.differences
    across = [d for d in pairs if d.first in "ab" and d.second in "cd"]
    assert len(across) == 4
    assert all(d.difference.clustered.value is None for d in across)


def test_all_ties(tmp_path):
    writer = Writer(tmp_path, models=("a", "b"))
    for rater in range(4):
        for clip in range(6):
            writer.vote(f"r{rater}", f"c{clip}", "a", "b", "tie")
    found = writer.analyze()
    assert found.axes["physics"].statements == (
        "All 24 votes are ties, so no model is told from any other.",
    )
    assert "these votes tell no model from any other" in _page(found)
    assert found.axes["physics"].agreement["nominal"].value is None


def test_one_rater(tmp_path):
    writer = Writer(tmp_path, models=("a", "b"))
    for clip in range(20):
        writer.vote("r0", f"c{clip}", "a", "b", "left" if clip % 3 else "right")
    found = writer.analyze()
    assert "All 20 votes come from one rater" in found.axes["physics"].statements[0]
    assert found.axes["physics"].pairs[0].rate.low is None
    assert found.axes["physics"].pairs[0].naive.low is not None
    assert "All 20 votes come from one rater" in _page(found)


def test_misspelt_outcome(tmp_path, capsys):
    writer = Writer(tmp_path, models=("a", "b"))
    writer.vote("r0", "c0", "a", "b", "left")
    writer.vote("r0", "c1", "a", "b", "lefft")
    path = writer.save()
    command = [
        "study",
        "analyze",
        str(path),
        "--study",
        str(tmp_path),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(command) == 2
    assert capsys.readouterr().err.strip() == (
        f"dojobench: {path}, line 3: the answer 'lefft' is none of left, right, tie, unsure, and "
        "is not taken for a tie; did you mean 'left'?"
    )
    assert not (tmp_path / "o").exists()


# Logs and plans that do not belong together, or were touched.


def test_another_plan_is_refused_or_stamped(tmp_path):
    writer = _full(tmp_path)
    votes = writer.save()
    with (tmp_path / "study.toml").open("a") as file:
        file.write("# changed after the first vote\n")
    with pytest.raises(BadInputError, match="names another study file"):
        writer.analyze()
    found = analyze(read_study(tmp_path), read_vote_log(votes), unplanned=True)
    assert not found.study.registered
    assert "Not the registered plan" in _page(found)


@pytest.mark.parametrize("how", ["edited", "dropped", "cut"])
def test_a_touched_log_is_refused(tmp_path, how):
    writer = _full(tmp_path, raters=3, clips=3)
    if how == "cut":
        end = {"end": {"n": writer.n, "hash": writer.prev}}
        writer.lines[0] = json.dumps({**json.loads(writer.lines[0]), **end})
        assert writer.analyze().log.whole
        del writer.lines[5:]
    elif how == "edited":
        writer.lines[5] = writer.lines[5].replace('"seconds": 9.0', '"seconds": 8.0')
    else:
        del writer.lines[5]
    with pytest.raises(BadInputError, match=r"event 5 was|events 5 to"):
        writer.analyze()
    found = writer.analyze(unplanned=True)
    assert not found.log.whole
    assert "The vote log is damaged" in _page(found)


def test_strange_names_are_refused(tmp_path):
    writer = Writer(tmp_path, models=("a", "b"))
    writer.vote("r", "c", "a", "z", "left")
    with pytest.raises(BadInputError, match=r"model 'z'.*its models are a, b"):
        writer.analyze()
    writer = Writer(tmp_path, models=("a", "b"))
    writer.vote("r", "c", "a", "b", "left", axis="beauty")
    with pytest.raises(BadInputError, match="'beauty', which the study does not ask"):
        writer.analyze()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"), (b"{}\n", "is no header"), (b"no json\n", "line 1: no JSON"),
        (b"[1]\n", "must be a JSON object"),
    ],
)  # fmt: skip
def test_files_that_are_no_log_are_refused(tmp_path, content, said):
    (tmp_path / "votes.jsonl").write_bytes(content)
    with pytest.raises(BadInputError, match=said):
        read_vote_log(tmp_path / "votes.jsonl")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_vote_log(tmp_path / "none.jsonl")


# Exclusions.


def test_every_exclusion_is_counted_once_with_its_reason(tmp_path):
    rules = {"min_gold": 0.6, "min_seconds": 2.0, "max_drift_frames": 1.0, "max_same_side": 0.9}
    writer = Writer(tmp_path, models=("a", "b"), exclusions=rules)
    for rater in ("good", "careless", "lefty", "shown the door"):
        for clip in range(12):
            said = "left" if rater == "lefty" or clip % 2 else "right"
            fast = {"seconds": 0.5} if rater == "good" and clip == 0 else {}
            far = {"drift_frames": 3.0} if rater == "good" and clip == 1 else {}
            writer.vote(rater, f"c{clip}", "a", "b", said, **fast, **far)
        for clip in range(3):
            right = "right" if rater == "careless" else "left"
            writer.vote(rater, f"c{clip}", "truth", "x", right, kind="gold", gold_answer="left")
    writer.vote("good", "c5", "a", "b", "left", trial="again")
    writer.vote("good", "c5", "a", "b", "left", trial="again")
    writer.event("exclude", {"rater": "shown the door", "reason": "asked to"})
    found = writer.analyze()
    counted = {each.rule: (each.raters, each.votes) for each in found.exclusions}
    assert counted == {
        "organiser": (("shown the door",), 15), "min_gold": (("careless",), 15),
        "max_same_side": (("lefty",), 15), "min_seconds": (("good",), 1),
        "max_drift_frames": (("good",), 1), "repeated": (("good",), 1),
    }  # fmt: skip
    assert found.counts["excluded"] == 48
    assert found.counts["raters_left"] == 1
    assert found.axes["physics"].votes == 11
    assert "excluded by the organiser: asked to" in _page(found)


def test_unset_rules_exclude_nobody(tmp_path):
    writer = Writer(tmp_path, models=("a", "b"), exclusions={})
    for clip in range(20):
        writer.vote("r", f"c{clip}", "a", "b", "left", seconds=0.0, drift_frames=None)
    assert writer.analyze().exclusions == ()


# DreamDojo's definition, and the page.


def test_dreamdojo_preset_lays_its_table_beside_ours(tmp_path):
    found = _full(tmp_path, analysis={"preset": "dreamdojo", "anchor": "cosmos"}).analyze()
    assert found.published == TABLE_4
    assert [pair.second for pair in found.axes["physics"].anchor_rates] == ["cosmos", "cosmos"]
    ours = next(p for p in found.axes["physics"].anchor_rates if p.first == "dojo-14b")
    pairs = {(p.first, p.second): p for p in found.axes["physics"].pairs}
    other = pairs["cosmos", "dojo-14b"]
    assert ours.rate.value == pytest.approx(1 - other.rate.value)
    page = _page(found)
    assert "72.55" in page
    assert "Beside DreamDojo" in page
    assert "Beside DreamDojo" not in _page(_full(tmp_path).analyze())


def test_tie_rules(tmp_path):
    rates = {}
    for rule in ("half", "drop", "own"):
        found = _full(tmp_path, ties={"rule": rule}).analyze()
        pair = found.axes["physics"].pairs[0]
        rates[rule] = pair.rate.value
        wins, ties, n = pair.wins, pair.ties, pair.n
        assert render(found)
    assert rates == pytest.approx(
        {"half": (wins + ties / 2) / n, "drop": wins / (n - ties), "own": wins / n}, abs=1e-6
    )


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for key, value in attributes if key in ("src", "href")]
        assert tag != "script"


def test_page_is_valid_escaped_and_asks_nothing_of_the_network(tmp_path):
    page = render(_full(tmp_path).analyze())
    html5lib.HTMLParser(strict=True).parse(page)
    assert "Novel &lt;scenes&gt; &amp; more" in page
    assert "<scenes>" not in page
    links = _Links()
    links.feed(page)
    assert links.found
    assert all(link.startswith("#") for link in links.found)


@pytest.mark.browser
def test_axe_finds_nothing(tmp_path, chromium):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(render(_full(tmp_path, analysis={"preset": "dreamdojo"}).analyze()))
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=600_000
        )
        for scheme, width in (("light", 1280), ("dark", 390)):
            # The page allows no script at all, so the checker has to be let in.
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
            )
            context.set_default_timeout(600_000)
            page = context.new_page()
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            found = Axe().run(page)
            assert [v["id"] for v in found.response["violations"]] == []
        browser.close()


def test_power_command(capsys):
    assert main(["study", "power", "--raters", "12", "--clips", "50", "--pairs", "3"]) == 0
    said = capsys.readouterr().out
    assert "no number of votes is enough" in said
    assert "1800 trials for 3 pairs" in said
    assert "Assumed: 20% ties" in said
    assert main(["study", "power", "--rate", "0.95"]) == 2
    assert "must lie between" in capsys.readouterr().err
