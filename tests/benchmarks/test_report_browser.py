"""The report in a real browser: opened from disk, used by keyboard, without network or script."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import av
import numpy as np
import pytest

from dojobench.benchmarks.report import write_report

pytestmark = pytest.mark.browser

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PATIENCE = 600_000
"""Milliseconds after which a hang is one, however slow the machine."""


@pytest.fixture(scope="module")
def report(report_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    runs = [report_run(), report_run("garbage", baselines=(), videos="none")]
    file = write_report(runs, tmp_path_factory.mktemp("browser") / "report.html")
    return file.as_uri()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=ARGUMENTS, timeout=PATIENCE
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, report: str) -> Iterator[Callable[..., Any]]:
    contexts, faults, requests = [], [], []

    def visit(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda line: faults.append(line.text) if line.type in ("error", "warning") else None,
        )
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []
    outside = [u for u in requests if not u.startswith(("file:", "data:", "blob:"))]
    assert outside == []
    assert sum(u.startswith("file:") for u in requests) == len(contexts)


def wait_for_frame(player: Any, frame: int) -> None:
    player.page.wait_for_function(
        "([article, frame]) => article.dataset.drawn === frame && article.dataset.frame === frame",
        arg=[player.element_handle(), str(frame)],
    )


def pictures(player: Any) -> list[np.ndarray]:
    """What the three panes show, RGB."""
    shown = []
    for k in range(3):
        address = player.locator("canvas").nth(k).evaluate("c => c.toDataURL('image/png')")
        with av.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as container:
            shown.append(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int))
    return shown


def frames_in(report: str) -> np.ndarray:
    """The frames of the first embedded video, decoded without the browser."""
    html = Path(unquote(urlparse(report).path)).read_text()
    content = re.search(r'src="data:video/mp4;base64,([^"]+)"', html)[1]
    with av.open(io.BytesIO(base64.b64decode(content))) as container:
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(decoded).astype(int)


def test_it_opens_from_disk_in_light_and_dark_and_on_a_phone(visit: Callable[..., Any]) -> None:
    grounds = set()
    for options in (
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 844}, "has_touch": True},
    ):
        page = visit(**options)
        assert page.get_by_role("heading", level=1).is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def test_keyboard_moves_all_panes_by_one_frame(visit: Callable[..., Any], report: str) -> None:
    page, decoded = visit(), frames_in(report)
    player = page.locator("[data-player]").first
    player.focus()

    def shown() -> list[int]:
        """The frame that each pane is nearest to."""
        panes = zip(pictures(player), np.split(decoded, 3, axis=2), strict=True)
        return [int(np.abs(frames - pane).mean(axis=(1, 2, 3)).argmin()) for pane, frames in panes]

    presses = (("Home", 0), (".", 1), ("ArrowRight", 2), (",", 1), ("End", 8), ("ArrowLeft", 7))
    for key, frame in presses:
        page.keyboard.press(key)
        wait_for_frame(player, frame)
        assert shown() == [frame] * 3
    assert "Frame 8 of 9, predicted, PSNR" in page.locator("#say").inner_text()
    # Faster than the video can follow: the last press counts.
    for key in ("Home", ".", ".", ".", ",", "."):
        page.keyboard.press(key)
    wait_for_frame(player, 3)
    assert shown() == [3] * 3


def test_context_is_named_beside_the_prediction(visit: Callable[..., Any]) -> None:
    page = visit()
    player = page.locator("[data-player]").first
    player.focus()
    page.keyboard.press("Home")
    wait_for_frame(player, 0)
    assert player.locator(".badge").inner_text() == "context"
    assert "context, given to the model" in player.locator(".where").inner_text()
    page.keyboard.press("End")
    wait_for_frame(player, 8)
    assert not player.locator(".badge").is_visible()


def test_play_pause_speed_loop_and_scrub(visit: Callable[..., Any]) -> None:
    page = visit()
    player = page.locator("[data-player]").first
    play = player.get_by_role("button", name="Play")
    player.get_by_role("slider").fill("1")
    wait_for_frame(player, 1)
    player.get_by_label("Speed").select_option("0.1")
    play.click()
    pause = player.get_by_role("button", name="Pause")
    pause.wait_for()
    player.page.wait_for_function(
        "a => Number(a.dataset.frame) >= 2 && Number(a.dataset.frame) < 8",
        arg=player.element_handle(),
    )
    assert player.locator("video").evaluate("v => v.playbackRate") == 0.1
    player.focus()
    page.keyboard.press(" ")
    play.wait_for()
    video = player.locator("video")
    assert video.evaluate("v => v.paused")
    stopped = video.evaluate("v => v.currentTime")
    page.wait_for_timeout(300)
    assert video.evaluate("v => v.currentTime") == stopped
    loop = player.get_by_role("button", name="Loop")
    assert loop.get_attribute("aria-pressed") == "true"
    loop.press("Enter")
    assert loop.get_attribute("aria-pressed") == "false"
    assert player.locator("video").evaluate("v => v.loop") is False


def test_every_control_has_a_name_and_can_be_reached(visit: Callable[..., Any]) -> None:
    page = visit()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a, summary, [tabindex="0"]')]
        .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim()))
        .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_tables_sort_by_button_and_say_so(visit: Callable[..., Any]) -> None:
    page = visit()
    table = page.locator("table[data-sortable]").first
    names = "t => [...t.tBodies[0].rows].map(r => r.cells[0].querySelector('.label').textContent)"
    assert table.evaluate(names) == ["mover", "hold", "garbage"]
    head = table.locator("th", has_text="PSNR").first
    button = head.get_by_role("button")
    assert head.get_attribute("aria-sort") is None
    button.focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert table.evaluate(names) == ["mover", "hold", "garbage"]
    page.keyboard.press(" ")
    assert head.get_attribute("aria-sort") == "ascending"
    assert table.evaluate(names) == ["garbage", "hold", "mover"]
    assert page.locator("#say").inner_text() == "Sorted by PSNR, ascending"
    table.locator("thead button").first.click()
    assert table.evaluate(names) == ["garbage", "hold", "mover"]
    assert head.get_attribute("aria-sort") is None
    assert page.locator("[aria-sort]").count() == 1


def test_it_is_whole_without_script(visit: Callable[..., Any]) -> None:
    page = visit(java_script_enabled=False)
    tables = page.locator("table.scores")
    assert tables.count() == 2
    for k in range(tables.count()):
        assert tables.nth(k).is_visible()
    assert "PSNR" in tables.first.inner_text()
    assert page.locator("video[controls]").first.is_visible()
    assert page.locator(".verdict").first.is_visible()
    page.locator("details.numbers summary").first.click()
    assert page.locator("table.plain, dl.facts").first.is_visible()


def test_no_motion_is_added_for_those_who_want_none(visit: Callable[..., Any]) -> None:
    page = visit(reduced_motion="reduce")
    assert page.locator("video").first.evaluate("v => v.loop") is False
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.evaluate(behaviour) == "auto"


def test_it_prints_without_its_controls(visit: Callable[..., Any]) -> None:
    page = visit(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for control in ("nav.toc", ".transport", ".track"):
        assert not page.locator(control).first.is_visible()
    assert page.locator("table.scores").first.is_visible()
    assert len(page.pdf(format="A4")) > 10_000
