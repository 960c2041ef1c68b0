"""A whole study: three runs of the dojo, a server of its own, three raters in a real browser.

One rater uses the keyboard alone, one the mouse and a second tab, one a phone in Chinese.
"""

import json
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dojobench.cli import main
from dojobench.human_eval.texts import fill, load_texts
from dojobench.human_eval.training import ANSWERS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(3000)]

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
MODELS = ("hold", "blurred-oracle", "under-react")
TRIALS = 12
FRAMES = 12
PATIENCE = 300_000


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a study of three runs of the simulated world, by the commands that a user types."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [folder / name for name in MODELS]
    for model, run in zip(MODELS, runs, strict=True):
        only = ["--splits", "val", "--metrics", "psnr", "--benchmarks", "fidelity", "--no-checks"]
        command = ["run", model, "--suite", "dojo-mini", "--videos", "all", "--out", str(run)]
        assert main([*command, *only, "--baselines", "hold"]) == 0
    size = ["--pairs", "6", "--per-rater", str(TRIALS), "--max-seconds", "1.2"]
    command = ["study", "create", "--suite", "dojo-mini", "--out", str(folder / "study"), *size]
    assert main([*command, "--title", "Robots", "--runs", *map(str, runs)]) == 0
    return folder / "study"


@pytest.fixture
def served(study: Path, tmp_path: Path, database: str | None) -> Iterator[tuple[Path, str, str]]:
    """Serves a copy of the study; gives its folder, and the raters' and organiser's pages."""
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    where = [] if database is None else ["--database", database]
    command = [sys.executable, "-m", "dojobench.cli", "study", "serve", str(folder)]
    with subprocess.Popen(
        [*command, "--port", "0", *where], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            ready, _, _ = select.select([server.stdout], [], [], PATIENCE / 1000)
            assert ready
            lines = [server.stdout.readline() for _ in range(2)]
            yield folder, *(re.findall(r"http://\S+", line)[0] for line in lines)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=ARGUMENTS, timeout=PATIENCE
        )
        yield browser
        browser.close()


def check_usable(page: Any) -> None:
    """Finds nothing that a person with a disability could not use, and nothing cut off."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert serious == [], [(v["id"], [n["html"] for n in v["nodes"]]) for v in serious]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


class Rater:
    """A simulated person with a browser of their own."""

    def __init__(self, browser: Any, address: str, language: str = "en", **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.address, self.texts, self.language = address, load_texts(language), language
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.watch(self.page)

    def watch(self, page: Any) -> None:
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on(
            "console",
            lambda line: self.faults.append(line.text) if line.type == "error" else None,
        )

    def heading(self, number: int) -> str:
        return fill(self.texts["trial"]["title"], number=number, of=TRIALS)

    def wait_for_trial(self, number: int) -> None:
        self.page.get_by_role("heading", level=1, name=self.heading(number)).wait_for()
        self.page.wait_for_selector("main[data-ready='true'][data-drawn]")

    def shown(self, frame: int) -> None:
        self.page.wait_for_selector(f"main[data-drawn='{frame}'][data-playing='false']")

    def check(self) -> None:
        check_usable(self.page)
        self.check_blind()

    def check_blind(self) -> None:
        html = self.page.content()
        assert [name for name in MODELS if re.search(rf"\b{name}\b", html)] == []

    def finish(self) -> None:
        outside = [
            url for url in self.asked if not url.startswith((self.address, "blob:", "data:"))
        ]
        assert outside == []
        assert self.faults == []
        self.context.close()


def by_keyboard(rater: Rater) -> None:
    """Never touches a mouse; reduced motion, so that nothing plays unasked."""
    page, press = rater.page, rater.page.keyboard.press
    page.goto(rater.address)
    rater.check()
    page.get_by_role("checkbox").focus()
    press("Space")
    press("Enter")
    page.get_by_role("heading", name=rater.texts["training"]["title"]).wait_for()
    rater.check()
    for name, right in ANSWERS.items():
        page.locator(f"input[name={name}]").first.focus()
        press("Space")
        options = [o.get_attribute("value") for o in page.locator(f"input[name={name}]").all()]
        for _ in range(options.index(right)):
            press("ArrowDown")
    press("Enter")
    for number in range(1, TRIALS + 1):
        rater.wait_for_trial(number)
        assert page.locator("main").get_attribute("data-playing") == "false"
        if number == 1:
            judge_carefully(rater)
        else:
            press("Space")
            page.wait_for_selector("main[data-playing='true'], main[data-drawn='11']")
            rater.shown(FRAMES - 1)
            press("1")
            press(str(5 + number % 4))
        rater.check_blind()
        press("Enter")


def judge_carefully(rater: Rater) -> None:
    """Steps, marks a break, is told what is missing, and reads the keys."""
    page, press = rater.page, rater.page.keyboard.press
    fault = page.locator("#fault")
    press("Enter")
    assert fault.inner_text() == rater.texts["trial"]["watch_first"]
    press("Home")
    for frame in range(1, FRAMES):
        press("." if frame % 2 else "ArrowRight")
        rater.shown(frame)
    for frame in (FRAMES - 2, FRAMES - 3):
        press(",")
        rater.shown(frame)
    timeline = page.locator("#timeline")
    assert "dx" in timeline.get_attribute("aria-valuetext")
    press("[")
    marked = fill(rater.texts["trial"]["break_marked"], frame=FRAMES - 2)
    assert page.locator("#mark-left").inner_text() == marked
    press("]")
    press("]")
    assert page.locator("#mark-right").inner_text() == rater.texts["trial"]["break_none"]
    press("s")
    assert page.locator("[data-speed='0.5']").get_attribute("aria-pressed") == "true"
    press("s")
    press("s")
    press("2")
    assert page.locator("input[name=physics]:checked").get_attribute("value") == "right"
    press("Enter")
    assert rater.texts["trial"]["action"] in fault.inner_text()
    press("?")
    assert page.locator(".shortcuts").get_attribute("open") is not None
    rater.check()
    press("8")


def by_mouse(rater: Rater) -> None:
    """Clicks; fails the training once; reloads in the middle; opens a second tab."""
    page = rater.page
    page.goto(rater.address)
    page.get_by_role("checkbox").click()
    page.get_by_role("button", name=rater.texts["welcome"]["start"]).click()
    for attempt in (1, 2):
        for name, right in ANSWERS.items():
            page.locator(f"input[name={name}][value={'left' if attempt == 1 else right}]").check()
        page.get_by_role("button", name=rater.texts["training"]["check"]).click()
        if attempt == 1:
            page.get_by_text(rater.texts["training"]["wrong"]).wait_for()
            rater.check()
    for number in range(1, TRIALS + 1):
        rater.wait_for_trial(number)
        rater.shown(FRAMES - 1)  # it plays by itself where no reduced motion is asked for
        if number == 2:
            drag_and_mark(rater)
        page.locator("label.choice-left").first.click()
        page.locator("label.choice-tie").last.click()
        if number == 4:
            page.reload()
            rater.wait_for_trial(number)
            assert page.locator("input[value=left]").first.is_checked()
            assert page.locator("input[value=tie]").last.is_checked()
        if number == 6:
            second_tab(rater, number)
            continue
        page.locator("#submit").click()


def drag_and_mark(rater: Rater) -> None:
    page = rater.page
    box = page.locator(".curve-box").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 5 / (FRAMES - 1), box["y"] + box["height"] / 2)
    rater.shown(5)
    page.locator("#break-right").click()
    assert page.locator("#flag-right").is_visible()
    page.locator("#timeline").fill("3")
    rater.shown(3)
    assert not page.locator("#flag-right").is_visible()
    rater.check()


def second_tab(rater: Rater, number: int) -> None:
    """Votes in a second tab; the first one then cannot vote twice, and goes on."""
    first = rater.page
    rater.page = rater.context.new_page()
    rater.watch(rater.page)
    rater.page.goto(f"{rater.address}trial")
    rater.wait_for_trial(number)
    first.locator("#notice").wait_for()
    assert rater.texts["trial"]["other_tab"] in first.locator("#notice").inner_text()
    rater.shown(FRAMES - 1)
    rater.page.locator("label.choice-right").first.click()
    rater.page.locator("label.choice-unsure").last.click()
    rater.page.locator("#submit").click()
    rater.wait_for_trial(number + 1)
    rater.page.close()
    rater.page = first
    first.bring_to_front()
    first.locator("#submit").click()
    rater.wait_for_trial(number + 1)


def by_phone(rater: Rater) -> None:
    page = rater.page
    page.goto(f"{rater.address}?lang=zh")
    rater.check()
    page.get_by_role("checkbox").tap()
    page.get_by_role("button", name=rater.texts["welcome"]["start"]).tap()
    for name, right in ANSWERS.items():
        page.locator(f"input[name={name}][value={right}]").tap()
    page.get_by_role("button", name=rater.texts["training"]["check"]).tap()
    for number in range(1, TRIALS + 1):
        rater.wait_for_trial(number)
        if number == 1:
            rater.check()
        page.locator("#play").tap()
        rater.shown(FRAMES - 1)
        page.locator("label.choice-right").first.tap()
        page.locator("label.choice-right").last.tap()
        page.locator("#submit").tap()


RATERS: list[tuple[Callable[[Rater], None], str, dict[str, Any]]] = [
    (by_keyboard, "en", {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}),
    (by_mouse, "en", {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"}),
    (
        by_phone,
        "zh",
        {
            "viewport": {"width": 390, "height": 844},
            "has_touch": True,
            "is_mobile": True,
            "reduced_motion": "reduce",
        },
    ),
]


def test_three_raters_finish_a_study_and_it_is_analysed(
    served: tuple[Path, str, str], database: str | None, browser: Any, tmp_path: Path
) -> None:
    folder, address, organiser = served
    for work, language, options in RATERS:
        rater = Rater(browser, address, language, **options)
        work(rater)
        rater.page.get_by_role("heading", name=rater.texts["done"]["title"]).wait_for()
        rater.check()
        rater.finish()

    where = [] if database is None else ["--database", database]
    log, out = tmp_path / "votes.jsonl", tmp_path / "results"
    assert main(["study", "export", str(folder), "--out", str(log), *where]) == 0
    assert main(["study", "verify", str(log)]) == 0
    assert main(["study", "analyze", str(log), "--study", str(folder), "--out", str(out)]) == 0

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    votes = [line for line in lines if line.get("type") == "vote"]
    check_votes(votes)
    found = json.loads((out / "preferences.json").read_text())
    text = json.dumps(found)
    assert all(name in text for name in MODELS)
    for width, scheme in ((1280, "dark"), (390, "light")):
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        for place in (organiser, (out / "report.html").as_uri()):
            page.goto(place)
            page.get_by_role("heading", level=1, name="Robots").wait_for()
            check_usable(page)
        context.close()


def check_votes(votes: list[dict[str, Any]]) -> None:
    assert len(votes) == 3 * TRIALS * 2
    assert len({vote["rater"] for vote in votes}) == 3
    for vote in votes:
        assert vote["seconds"] > 0
        # How much of a stall is seen depends on what a busy machine draws; test_drift.py plants it.
        drift = vote["drift_frames"]
        assert ("unmeasured" in vote["flags"]) == (drift is None)
        assert ("drift" in vote["flags"]) == (drift is not None and drift > 1)
    assert any(vote["drift_frames"] is not None for vote in votes)
    # Only who stepped through all frames of one trial played nothing, and nothing could drift.
    unplayed = [vote for vote in votes if vote["plays"] == 0]
    assert len(unplayed) == 2
    assert all(vote["drift_frames"] is None for vote in unplayed)
    marks = [vote["break_at"] for vote in votes]
    assert any(mark["left"] == pytest.approx((FRAMES - 3 + 0.5) / 10) for mark in marks)
    assert any(mark["right"] == pytest.approx(0.55) for mark in marks)


def test_without_a_script_a_rater_can_still_answer(
    served: tuple[Path, str, str], browser: Any
) -> None:
    rater = Rater(browser, served[1], java_script_enabled=False)
    page, texts = rater.page, rater.texts
    page.goto(rater.address)
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name=texts["welcome"]["start"]).click()
    for name, right in ANSWERS.items():
        page.locator(f"input[name={name}][value={right}]").check()
    page.get_by_role("button", name=texts["training"]["check"]).click()
    for number in (1, 2):
        page.get_by_role("heading", level=1, name=rater.heading(number)).wait_for()
        assert page.locator("video[controls]").count() == 3
        assert not page.locator("#play").is_visible()
        page.locator("label.choice-left").first.click()
        page.locator("label.choice-unsure").last.click()
        page.locator("#submit").click()
    page.get_by_role("heading", level=1, name=rater.heading(3)).wait_for()
    rater.finish()
