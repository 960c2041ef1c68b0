"""The site in Chromium: sort, filter, compare, keyboard, accessibility, without a script."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dojobench.benchmarks.video_writer import VideoWriter
from dojobench.leaderboard.card import CARD_TEMPLATE
from dojobench.leaderboard.site_build import BuildConfig, build
from dojobench.leaderboard.site_serve import make_server

pytestmark = pytest.mark.browser
PATIENCE = 600_000
"""Milliseconds after which a hang is one, however slow the machine."""
PAGES = ["index.html", "suites/dojo-mini.html", "models/alpha-1.html", "compare.html",
         "published/dreamdojo.html", "speed.html", "human.html", "about.html"]  # fmt: skip
FRAMES = 24
TABLE = "#dojo-mini-fidelity-table"


def add_video(folder: Path) -> None:
    """Adds the prediction of one clip, of which each frame has a grey of its own."""
    name = "dojo-mini.fidelity/val-0000.s0.pred.mp4"
    with VideoWriter(folder / "videos" / name, rate=10, resolution=(64, 64)) as video:
        shades = torch.arange(FRAMES, dtype=torch.uint8) * 8
        video.write(shades[:, None, None, None].expand(-1, 3, 64, 64))
    content = (folder / "videos" / name).read_bytes()
    listed = json.loads((folder / "submission.json").read_text())
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    listed["videos"] = {"where": "videos", "files": {name: entry}}
    (folder / "submission.json").write_text(json.dumps(listed))


@pytest.fixture
def address(
    fake_run: Callable, submit: Callable, tmp_path: Path
) -> Iterator[str]:  # fmt: skip
    for k, (name, kind, quality) in enumerate(
        [("alpha", "world-model", 0.6), ("beta", "world-model", 0.2), ("still", "static", 0.0)]
    ):
        card = CARD_TEMPLATE.replace('name = "my-model"', f"name = {json.dumps(name)}")
        card = card.replace('kind = "world-model"', f'kind = "{kind}"')
        folder = submit(fake_run(name=name, quality=quality, seed=k), card=card, name=f"{name}-1")
        if kind == "world-model":
            add_video(folder)
    build(BuildConfig(submissions=tmp_path / "in", out=tmp_path / "site", workers=1))
    server = make_server(tmp_path / "site", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def browser(chromium: str) -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: object) -> Callable[..., object]:
    """Opens a page in a window of its own."""

    def opened(**options: object) -> object:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        return context.new_page()

    return opened


def rows(page: object) -> list[str]:
    return page.eval_on_selector_all(
        f"{TABLE} tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.dataset.id)"
    )


def test_sort_filter_and_keyboard(visit: Callable, address: str) -> None:
    page = visit()
    faults: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(f"{address}suites/dojo-mini.html")
    assert rows(page) == ["alpha-1", "beta-1", "still-1"]
    head = page.locator(f"{TABLE} th[data-key=psnr]")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows(page) == ["still-1", "beta-1", "alpha-1"]
    assert "ascending" in page.locator("#say").inner_text()
    page.get_by_label("Find a model").fill("alph")
    assert rows(page) == ["still-1", "alpha-1"]
    address_now = page.url
    assert "find=alph" in address_now
    page.goto("about:blank")
    page.goto(address_now)
    assert rows(page) == ["still-1", "alpha-1"]
    page.get_by_role("button", name="Clear").click()
    assert len(rows(page)) == 3
    page.get_by_label("Tier").select_option("audited")
    assert rows(page) == ["still-1"]
    assert faults == []
    assert all(url.startswith((address, "data:", "about:")) for url in asked)


def test_the_first_tab_leads_to_the_content(visit: Callable, address: str) -> None:
    page = visit()
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_compare_says_what_the_tables_say(visit: Callable, address: str) -> None:
    page = visit()
    page.goto(f"{address}models/alpha-1.html")
    static = page.locator("tr", has=page.get_by_role("rowheader", name="beta", exact=True))
    ends = static.locator("td").nth(1).inner_text()
    page.goto(f"{address}compare.html?m=beta-1&m=alpha-1")
    page.wait_for_selector("#compared table")
    cell = page.locator("#compared tbody tr").first.locator("td").nth(1)
    assert cell.locator(".interval").inner_text() == ends
    assert "better" in cell.inner_text()
    page.get_by_label("Model 3").select_option("still-1")
    # Not wait_for_function, which the pages' own content policy forbids where it has to poll.
    heads = page.locator("#compared thead th")
    pytest.importorskip("playwright.sync_api").expect(heads).to_have_count(4, timeout=PATIENCE)
    assert "m=still-1" in page.url


def times(page: object) -> list[float]:
    return page.eval_on_selector_all("#compared video", "all => all.map(v => v.currentTime)")


def until(page: object, told: str) -> None:
    """Waits until something is true of all videos, however long that takes."""
    while not page.eval_on_selector_all("#compared video", f"all => all.every(v => {told})"):
        page.wait_for_timeout(50)


@pytest.mark.timeout(PATIENCE / 1000)
def test_clips_play_and_step_together(visit: Callable, address: str) -> None:
    page = visit()
    page.goto(f"{address}compare.html?m=beta-1&m=alpha-1")
    page.get_by_role("heading", name="Clips in step").wait_for()
    until(page, "v.readyState >= 2")
    assert times(page) == [0, 0]
    for frame in (1, 2, 3, 2):
        page.get_by_role("button", name="Frame back" if frame == 2 and times(page)[0] > 0.3
                         else "Next frame").click()  # fmt: skip
        until(page, "!v.seeking")
        assert times(page) == pytest.approx([(frame + 0.5) / 10] * 2, abs=1e-4)
    for _ in range(FRAMES):
        page.get_by_role("button", name="Next frame").click()
        until(page, "!v.seeking")
    assert times(page) == pytest.approx([(FRAMES - 0.5) / 10] * 2, abs=1e-4)
    page.get_by_role("button", name="Play together").click()
    until(page, "!v.paused")
    until(page, f"v.currentTime < {FRAMES - 1} / 10")
    page.get_by_role("button", name="Pause").click()
    until(page, "v.paused && !v.seeking")
    first, second = times(page)
    assert first == pytest.approx(second, abs=1e-3)
    assert page.get_by_role("button", name="Play together").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Callable, address: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(color_scheme=scheme, viewport={"width": 390, "height": 800})
    for name in PAGES:
        page.goto(address + name)
        page.wait_for_load_state("networkidle")
        found = axe.Axe().run(page).response["violations"]
        bad = [
            (v["id"], v["nodes"][0]["html"][:200])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert bad == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_without_a_script_everything_is_there(visit: Callable, address: str) -> None:
    page = visit(java_script_enabled=False)
    page.goto(f"{address}suites/dojo-mini.html")
    assert page.locator(f"{TABLE} tbody tr").count() == 3
    assert page.locator(f"{TABLE} th button").count() == 0
    assert page.locator("[data-tools]").is_hidden()
    page.goto(f"{address}compare.html")
    assert page.get_by_text("alpha minus beta").is_visible()
