"""The organiser's page: behind a token, informative, and silent about who wins."""

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
from starlette.applications import Starlette

from dojobench.human_eval.app import create_app
from dojobench.human_eval.overview import current_log, overview, quick_analysis
from dojobench.human_eval.recent_overview import RecentOverview
from dojobench.human_eval.running_study import RunningStudy
from dojobench.human_eval.stopping import is_precise, look
from dojobench.human_eval.study_file import StoppingPart
from dojobench.human_eval.vote_chain import verify

MEASURED = {
    "break_at": {"left": None, "right": None}, "drift_frames": 0.1, "seconds": 4.0, "plays": 1,
    "dropped_frames": 0, "flags": [],
}  # fmt: skip
ORGANISER = "open-sesame"


def fill(running: RunningStudy, raters: int, trials: int = 12) -> list[str]:
    """Raters who always prefer the model with the lower number, and know the gold."""
    ids = []
    for _ in range(raters):
        rater = running.store.enter(None, "en", "1", now=1.0).id
        running.store.train(rater, passed=True, tries=2)
        for _ in range(trials):
            found = running.next_trial(rater, now=2.0, lease=60)
            if found is None:
                break
            shown = found.shown
            best = shown.gold_answer or ("left" if shown.left < shown.right else "right")
            running.store.vote(
                found.trial, dict.fromkeys(running.plan.axes, best), MEASURED, now=3.0
            )
        ids.append(rater)
    return ids


async def fetch(app: Starlette, *requests: tuple[str, str, dict[str, str]]) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app=app)
    found = []
    async with httpx.AsyncClient(
        transport=transport, base_url="http://study.test", follow_redirects=True,
        headers={"Origin": "http://study.test"},
    ) as client:  # fmt: skip
        for method, path, data in requests:
            found.append(await client.request(method, path, data=data or None))
    return found


GET = f"/organise?token={ORGANISER}"


def test_the_page_needs_the_token_once(app: Starlette) -> None:
    found = anyio.run(
        fetch, app, ("GET", "/organise", {}), ("GET", "/organise?token=wrong", {}),
        ("GET", "/organise?token=%C3%A9", {}), ("POST", "/organise/erase", {"rater": "r_1"}),
        ("GET", GET, {}), ("GET", "/organise", {}),
    )  # fmt: skip
    assert [response.status_code for response in found] == [404, 404, 404, 404, 200, 200]


def test_the_page_of_an_empty_study_invents_nothing(app: Starlette) -> None:
    page = anyio.run(fetch, app, ("GET", GET, {}))[0]
    assert "0 trials answered" in page.text
    assert "not yet" in page.text
    assert "nan" not in page.text.lower().replace("finance", "")


def test_the_page_shows_how_it_goes_and_hides_who_wins(app: Starlette) -> None:
    fill(app.state.site.running, raters=3)
    hidden, shown = anyio.run(fetch, app, ("GET", GET, {}), ("GET", "/organise?results=show", {}))
    assert "36 trials answered" in hidden.text
    assert "all models" in hidden.text
    assert "The log is whole: 72 events" in hidden.text
    assert "First preferred" not in hidden.text
    assert "never lost" not in hidden.text
    assert "First preferred" in shown.text
    assert "Stopping because of them" in shown.text


def test_the_numbers_are_those_of_the_log(app: Starlette) -> None:
    running = app.state.site.running
    raters = fill(running, raters=3)
    running.store.exclude(raters[0], "<b>cheats</b>")
    found = overview(running)
    assert found.raters == {"finished": 3} or found.raters == {"working": 3}
    assert found.trials == (36, 0, 12)
    assert found.votes["physics"] == {"ordinary": 24, "duplicate": 6, "gold": 6}
    assert sum(numbers[0] for _, numbers in found.pairs) == 24
    bodies = [event.body for event in running.store.events() if event.type == "vote"]
    clips = {(body["pair"], body["clip"]) for body in bodies if body["kind"] == "ordinary"}
    for name, covered in found.covered.items():
        assert covered == (sum(pair == name for pair, _ in clips), 8)
    assert all(len(islands) == 1 for islands in found.islands.values())
    line = next(line for line in found.lines if line.id == raters[0])
    assert line.gold == (2, 2)
    assert line.seconds == 4.0
    assert line.excluded == "<b>cheats</b>"
    assert found.found.counts["excluded"] == 24
    page = anyio.run(fetch, app, ("GET", GET, {}))[0]
    assert "<b>cheats" not in page.text
    assert "24 votes of 1 rater:" in page.text


def test_excluding_and_erasing_from_the_page(app: Starlette) -> None:
    running = app.state.site.running
    raters = fill(running, raters=2, trials=3)
    found = anyio.run(
        fetch, app, ("GET", GET, {}),
        ("POST", "/organise/exclude", {"rater": raters[0], "reason": "too fast"}),
        ("POST", "/organise/exclude", {"rater": raters[0], "reason": " "}),
        ("POST", "/organise/exclude", {"rater": "r_none", "reason": "x"}),
        ("POST", "/organise/erase", {"rater": raters[1]}),
        ("POST", "/organise/erase", {"rater": f" {raters[1]} ", "confirm": "yes"}),
        ("POST", "/organise/erase", {"rater": raters[1], "confirm": "yes"}),
    )  # fmt: skip
    assert [response.status_code for response in found] == [200, 200, 400, 404, 400, 200, 404]
    assert "too fast" in found[1].text
    assert raters[1] not in re.sub(r"<main.*?</main>", "", found[5].text)
    assert "no rater with this number" in found[6].text
    assert [line["id"] for line in running.store.rater_table()] == [raters[0]]
    assert verify(running.store.events(), running.opened.hash, end=running.store.end()) == []


def test_reloading_does_not_analyse_anew(app: Starlette) -> None:
    running = app.state.site.running
    now = [0.0]
    recent = RecentOverview(running, seconds=10, clock=lambda: now[0])
    first = recent.get()
    fill(running, raters=1, trials=3)
    now[0] = 9.9
    assert recent.get() is first
    now[0] = 10.0
    assert recent.get().trials[0] == 3
    fill(running, raters=1, trials=1)
    recent.forget()
    assert recent.get().trials[0] == 4


def test_a_damaged_log_is_said_loudly(app: Starlette) -> None:
    from sqlalchemy import delete

    from dojobench.human_eval.database import votes

    running = app.state.site.running
    fill(running, raters=1, trials=3)
    with running.store._engine.begin() as connection:
        connection.execute(delete(votes).where(votes.c.n == 2))
    page = anyio.run(fetch, app, ("GET", GET, {}))[0]
    assert 'role="alert"' in page.text
    assert "event 2 was removed" in page.text


def test_narrow_intervals_end_a_study_and_wide_ones_do_not(
    make_study: Callable[..., Path],
) -> None:
    folder = make_study(models=2, clips=8, stopping=StoppingPart(half_width=0.45))
    app = create_app(folder, organiser_token=ORGANISER)
    running = app.state.site.running
    look(running)
    assert not running.is_over
    fill(running, raters=4)
    found = quick_analysis(running, current_log(running)[0])
    assert is_precise(found, 0.49)
    assert not is_precise(found, 0.001)
    look(running)
    assert running.is_over
    rater = running.store.enter(None, "en", "1", now=1.0).id
    assert running.next_trial(rater, now=2.0, lease=60) is None
