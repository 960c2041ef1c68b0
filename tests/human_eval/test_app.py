"""The raters' way through a study, over HTTP, on both databases."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from dojobench.human_eval.app import create_app
from dojobench.human_eval.catalog import CatalogClip
from dojobench.human_eval.rate_limit import Limit
from dojobench.human_eval.site import Settings

ORGANISER = "open-sesame"
BASE = "http://study.test"
OURS = {"Origin": BASE}
RIGHT = {"vanish": "right", "command": "left", "same": "tie"}
MakeStudy = Callable[..., Path]


class Recording(httpx.ASGITransport):
    """Keeps every response."""

    def __init__(self, app: Starlette, kept: list[httpx.Response]) -> None:
        super().__init__(app=app, raise_app_exceptions=False)
        self.kept = kept

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        await response.aread()
        response.request = request
        self.kept.append(response)
        return response


@asynccontextmanager
async def browser(
    app: Starlette, kept: list[httpx.Response] | None = None, **more: Any
) -> AsyncIterator[httpx.AsyncClient]:
    transport = Recording(app, [] if kept is None else kept)
    values = {"headers": OURS, "follow_redirects": True, **more}
    async with httpx.AsyncClient(transport=transport, base_url=BASE, **values) as client:
        yield client


def run(test: Callable[[], Awaitable[None]]) -> None:
    anyio.run(test)


async def enter(client: httpx.AsyncClient, **form: str) -> httpx.Response:
    """Agrees and answers the training; gives the first trial's page."""
    found = await client.post("/consent", data={"agree": "yes", "language": "en", **form})
    if str(found.url).endswith("/training"):
        found = await client.post("/training", data=RIGHT)
    return found


def token_of(page: httpx.Response) -> str:
    return str(re.search(r'name="token" value="([^"]+)"', page.text)[1])


def ballot(page: httpx.Response, **more: object) -> dict[str, object]:
    return {
        "token": token_of(page),
        "answers": {"physics": "left", "action": "tie"},
        "break_at": {"left": None, "right": 0.35},
        "drift_frames": 0.2,
        "seconds": 0.0,
        "plays": 1,
        "dropped_frames": 0,
        **more,
    }


async def answer(client: httpx.AsyncClient, page: httpx.Response, **more: object) -> httpx.Response:
    return await client.post(
        "/vote", json=ballot(page, **more), headers={"Accept": "application/json"}
    )


async def whole_study(client: httpx.AsyncClient) -> httpx.Response:
    page = await enter(client)
    while page.url.path == "/trial":
        stored = await answer(client, page)
        page = await client.get(f"/{stored.json()['next']}")
    return page


def media_of(page: httpx.Response) -> list[str]:
    return sorted(set(re.findall(r"media/[0-9a-f]{64}", page.text)))


@pytest.fixture
def app(make_study: MakeStudy, database: str | None) -> Starlette:
    return create_app(make_study(), database=database, organiser_token=ORGANISER)


@pytest.fixture
def small(make_study: MakeStudy) -> Callable[..., Starlette]:
    """Makes an application on SQLite with other settings."""

    def make(study: dict[str, Any] | None = None, **settings: Any) -> Starlette:
        folder = make_study(**(study or {}))
        return create_app(folder, organiser_token=ORGANISER, settings=Settings(**settings))

    return make


def bodies(app: Starlette) -> list[dict[str, Any]]:
    found = app.state.site.running.store.events()
    return [dict(event.body) for event in found if event.body is not None]


def test_a_whole_study_of_one_rater(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as client:
            page = await enter(client)
            for number in range(12):
                assert page.status_code == 200
                assert f"Pair {number + 1} of 12" in page.text
                stored = await answer(client, page)
                assert stored.status_code == 200, stored.text
                page = await client.get(f"/{stored.json()['next']}")
            assert page.url.path == "/done"
            assert app.state.site.completion_code in page.text
            assert bodies(app)[0]["rater"] in page.text
        votes = bodies(app)
        kinds = Counter(vote["kind"] for vote in votes)
        assert kinds == {"ordinary": 16, "gold": 4, "duplicate": 4}
        gold = [vote for vote in votes if vote["kind"] == "gold"]
        assert sum(vote["gold_answer"] is not None for vote in gold) == 2
        assert votes[0]["break_at"] == {"left": None, "right": 0.35}
        assert app.state.site.running.store.end()[0] == 24

    run(test)


def test_everything_works_with_plain_forms(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as client:
            page = await enter(client)
            form = {"token": token_of(page), "physics": "tie", "action": "unsure"}
            page = await client.post("/vote", data=form)
            assert page.url.path == "/trial"
            assert "Pair 2 of 12" in page.text
        first = bodies(app)[0]
        assert (first["answer"], first["drift_frames"]) == ("unsure", None)
        assert "unmeasured" in first["flags"]

    run(test)


def test_a_rater_may_reload_stop_and_come_back(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as client:
            page = await enter(client)
            again = await client.get("/trial")
            assert token_of(again) == token_of(page)
            await answer(client, again)
            cookies = dict(client.cookies)
        async with browser(app, cookies=cookies) as client:
            back = await client.get("/")
            assert back.url.path == "/trial"
            assert "Pair 2 of 12" in back.text

    run(test)


def test_a_second_tab_cannot_vote_twice(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as client:
            page = await enter(client)
            first = await answer(client, page)
            second = await answer(client, page, answers={"physics": "right", "action": "right"})
            assert first.json() == second.json() == {"next": "trial"}
        assert [vote["answer"] for vote in bodies(app)] == ["tie", "left"]

    run(test)


def test_nothing_that_reaches_a_browser_tells_a_model(app: Starlette) -> None:
    kept: list[httpx.Response] = []

    async def test() -> None:
        for _ in range(3):
            async with browser(app, kept) as client:
                await client.get("/")
                page = await enter(client)
                while page.url.path == "/trial":
                    for name in media_of(page):
                        assert (await client.get(f"/{name}")).status_code == 200
                    if page.text.count("Pair 1 of"):
                        await client.get("/media/" + "0" * 64)
                        await client.post("/vote", json={"token": "x"})
                    stored = await answer(client, page)
                    page = await client.get(f"/{stored.json()['next']}")

    run(test)
    running = app.state.site.running
    clips: list[CatalogClip] = list(running.opened.clips.values())
    words = {*running.plan.models, *running.opened.clips, "secretive", "gold", "frame-shuffled"}
    words |= {"other-clip", "duplicate", "adaptive", running.opened.hash.removeprefix("sha256:")}
    for clip in clips:
        words |= {clip.actions, clip.first_frame, str(clip.truth), *clip.outputs.values()}
        words |= {each for gold in clip.gold for each in (gold.real, gold.fake)}
    assert len(kept) > 3 * 12 * 5
    for response in kept:
        seen = f"{response.url} {response.headers} ".encode()
        if not response.headers.get("content-type", "").startswith("video/"):
            seen += response.content
        found = {word for word in words if word.encode() in seen}
        assert not found, (response.url, found)
    videos = [r for r in kept if r.headers.get("content-type") == "video/mp4"]
    assert len(videos) == 3 * 12 * 3
    # Names never come back, and headers are the same for all, so none leads to a model.
    assert len({str(video.url) for video in videos}) == len(videos)
    assert len({tuple(sorted(video.headers.items())) for video in videos}) == 1
    headers = {name for video in videos for name in video.headers}
    assert not headers & {"etag", "last-modified", "content-disposition", "server"}
    pages = [r for r in kept if r.url.path == "/trial" and r.status_code == 200]
    assert len({_shape(page) for page in pages}) == 1


def _shape(page: httpx.Response) -> str:
    """A trial's page without what is random or counted."""
    text = re.sub(r"media/[0-9a-f]{64}", "M", page.text)
    text = text.replace(token_of(page), "T")
    text = re.sub(r"&#34;id&#34;: &#34;[0-9a-f]{32}", "I", text)
    text = re.sub(r"(&#34;number&#34;: )\d+|Pair \d+ of|value=\"\d+\"", "N", text)
    return re.sub(r"(&#34;clip_label&#34;: &#34;|clip\">)[0-9a-f]{6}", "C", text)


def test_media_are_for_the_rater_of_the_trial_alone(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as one, browser(app) as two, browser(app) as nobody:
            names = media_of(await enter(one))
            await enter(two)
            assert len(names) == 4
            for name in names:
                assert (await one.get(f"/{name}")).status_code == 200
                assert (await two.get(f"/{name}")).status_code == 404
                assert (await nobody.get(f"/{name}")).status_code == 404
                changed = name[:-1] + ("0" if name[-1] != "0" else "1")
                assert (await one.get(f"/{changed}")).status_code == 404

    run(test)


def test_media_are_served_in_ranges(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browser(small()) as client:
            page = await enter(client)
            responses = [await client.get(f"/{name}") for name in media_of(page)]
            video = next(r for r in responses if r.headers["content-type"] == "video/mp4")
            size = len(video.content)
            assert size == 1024
            for wanted, start, stop in (
                ("bytes=0-", 0, size), ("bytes=5-9", 5, 10), ("bytes=1000-5000", 1000, size),
                ("bytes=-24", size - 24, size),
            ):  # fmt: skip
                part = await client.get(video.url, headers={"Range": wanted})
                assert part.status_code == 206
                assert part.content == video.content[start:stop]
                assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert (
                await client.get(video.url, headers={"Range": "bytes=2000-"})
            ).status_code == 416
            for odd in ("bytes=1-2,4-5", "lines=1-2", "bytes=-"):
                assert (await client.get(video.url, headers={"Range": odd})).status_code == 200

    run(test)


def test_the_first_frame_stands_in_where_there_is_no_truth(
    small: Callable[..., Starlette],
) -> None:
    async def test() -> None:
        async with browser(small({"truth": False, "gold": False})) as client:
            page = await enter(client)
            kinds = [
                (await client.get(f"/{name}")).headers["content-type"] for name in media_of(page)
            ]
            assert sorted(kinds) == ["application/json", "image/png", "video/mp4", "video/mp4"]
            assert "first_frame" in page.text

    run(test)


def test_training_gives_two_tries_and_then_ends(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as client:
            page = await client.post("/consent", data={"agree": "yes", "language": "en"})
            assert page.url.path == "/training"
            wrong = {**RIGHT, "vanish": "left"}
            page = await client.post("/training", data=wrong)
            assert "second and last try" in page.text
            assert (await client.get("/trial")).url.path == "/training"
            page = await client.post("/training", data=wrong)
            assert page.url.path == "/done"
            assert app.state.site.completion_code not in page.text
            assert (await client.post("/training", data=RIGHT)).url.path == "/done"
            assert (await client.get("/trial")).url.path == "/done"
        assert bodies(app) == []

    run(test)


def test_a_second_try_may_be_right(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browser(small()) as client:
            await client.post("/consent", data={"agree": "yes", "language": "en"})
            await client.post("/training", data={})
            assert (await client.post("/training", data=RIGHT)).url.path == "/trial"

    run(test)


def test_nobody_takes_part_without_consent(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        app = small()
        async with browser(app) as client:
            page = await client.post("/consent", data={"language": "en"})
            assert page.status_code == 422
            assert "tick the box" in page.text
            for path in ("/trial", "/training", "/done"):
                assert (await client.get(path)).url.path == "/"
            assert (await client.post("/training", data=RIGHT)).status_code == 403
            assert not client.cookies
        assert app.state.site.running.store.rater_table() == []

    run(test)


def test_no_completion_code_before_the_end(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browser(small(completion_code="SECRETCODE")) as client:
            await enter(client)
            page = await client.get("/done")
            assert page.url.path == "/trial"
            assert "SECRETCODE" not in page.text

    run(test)


def test_a_panel_member_is_the_same_rater_and_leaves_no_id(
    app: Starlette, database: str | None
) -> None:
    kept: list[httpx.Response] = []

    async def test() -> None:
        ids = []
        for pid in ("5f3aPANELMEMBER", "5f3aPANELMEMBER", "other"):
            async with browser(app, kept) as client:
                page = await client.get(
                    "/", params={"PROLIFIC_PID": pid, "STUDY_ID": "s", "SESSION_ID": "t"}
                )
                assert "PANELMEMBER" not in str(page.url)
                page = await enter(client, token=token_of(page))
                ids.append(client.cookies["study"])
        raters = app.state.site.running.store.rater_table()
        assert len(raters) == 2

    run(test)
    assert not any(b"PANELMEMBER" in response.content for response in kept)
    if database is None:
        for file in app.state.site.running.opened.folder.glob("votes.db*"):
            assert b"PANELMEMBER" not in file.read_bytes()


def test_a_personal_link_is_the_same_rater_on_every_device(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        app = small(invited_only=True)
        link = app.state.site.running.keyring.link("7")
        for _ in range(2):
            async with browser(app) as client:
                page = await client.get(f"/r/{link}")
                assert page.status_code == 200
                await enter(client, token=token_of(page))
        assert len(app.state.site.running.store.rater_table()) == 1
        async with browser(app) as client:
            assert (await client.get("/r/forged")).status_code == 404
            assert (await client.get("/")).status_code == 403
            refused = await client.post("/consent", data={"agree": "yes", "language": "en"})
            assert refused.status_code == 403

    run(test)


def test_a_refusal_finds_its_style_at_any_depth(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browser(small()) as client:
            for path in ("/nowhere", "/r/forged", "/organise/erase/deeper"):
                page = await client.get(path)
                assert page.status_code == 404
                address = re.search(r'rel="stylesheet" href="([^"]+)"', page.text)[1]
                assert not address.startswith("/")
                style = await client.get(str(page.url.join(address)))
                assert style.headers["content-type"].startswith("text/css")

    run(test)


def test_languages_are_offered_and_remembered(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browser(small()) as client:
            chinese = await client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
            assert '<html lang="zh">' in chinese.text
            assert '<html lang="en">' in (await client.get("/?lang=en")).text
            await enter(client, language="zh")
            assert '<html lang="zh">' in (await client.get("/trial")).text
            await client.get("/trial?lang=en")
            assert '<html lang="en">' in (await client.get("/trial")).text

    run(test)


@pytest.mark.parametrize(
    "sent",
    [
        {"answers": {"physics": "left"}},
        {"answers": {"physics": "left", "action": "letf"}},
        {"answers": {"physics": "left", "action": "tie", "taste": "left"}},
        {"seconds": -1},
        {"drift_frames": "NaN"},
        {"plays": "many"},
        {"break_at": {"left": 1e9}},
        {"token": ""},
        {"token": ["x"]},
    ],
    ids=str,
)
def test_what_is_no_vote_is_refused_and_stored_nowhere(
    small: Callable[..., Starlette], sent: dict[str, object]
) -> None:
    async def test() -> None:
        app = small()
        async with browser(app) as client:
            refused = await answer(client, await enter(client), **sent)
            assert refused.status_code in (400, 403)
            assert refused.json()["error"]
        assert bodies(app) == []

    run(test)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 15_000, b"\xff\xfe", b"null"])
def test_broken_json_is_a_bad_request(small: Callable[..., Starlette], content: bytes) -> None:
    async def test() -> None:
        async with browser(small()) as client:
            await enter(client)
            sent = {"Content-Type": "application/json"}
            assert (await client.post("/vote", content=content, headers=sent)).status_code == 400

    run(test)


def test_another_raters_trial_cannot_be_answered(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as one, browser(app) as two:
            page = await enter(one)
            await enter(two)
            assert (await answer(two, page)).status_code == 403
            forged = ballot(page) | {"token": token_of(page)[:-1] + "_"}
            assert (await one.post("/vote", json=forged)).status_code == 403
        assert bodies(app) == []

    run(test)


def test_a_clock_that_runs_ahead_is_flagged(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        app = small()
        async with browser(app) as client:
            await answer(
                client, await enter(client), seconds=5000, drift_frames=1.5, dropped_frames=3
            )
        vote = bodies(app)[0]
        assert vote["seconds"] < 60
        assert vote["flags"] == ["clock", "drift", "dropped"]

    run(test)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.test"},
        {"Origin": "null"},
        {"Origin": BASE, "Sec-Fetch-Site": "cross-site"},
        {"Origin": BASE, "Sec-Fetch-Site": "same-site"},
        {},
    ],
    ids=str,
)
def test_posts_from_elsewhere_are_refused(
    small: Callable[..., Starlette], headers: dict[str, str]
) -> None:
    async def test() -> None:
        async with browser(small(), headers=headers) as client:
            for path in ("/consent", "/training", "/vote", "/erase", "/organise/erase"):
                assert (await client.post(path, data={"agree": "yes"})).status_code == 403

    run(test)


def test_bodies_and_addresses_have_limits(small: Callable[..., Starlette]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    async def test() -> None:
        async with browser(small()) as client:
            assert (await client.post("/vote", content=b"x" * 20_000)).status_code == 413
            assert (await client.post("/vote", content=endless())).status_code == 413
            assert (await client.get("/?" + "x" * 3000)).status_code == 414

    run(test)


def test_every_answer_carries_the_policy(small: Callable[..., Starlette]) -> None:
    kept: list[httpx.Response] = []

    async def test() -> None:
        app = small()
        async with browser(app, kept) as client:
            page = await enter(client)
            await client.get(f"/{media_of(page)[0]}")
            await client.get("/nowhere")
            await client.get("/static/study.css")
            await client.get("/static/../app.py")
            await client.post("/vote", content=b"x" * 20_000)
            await client.put("/vote")
            app.state.site.running.store.close()
            app.state.site.running.opened.clips.clear()  # what follows fails inside
            assert (await client.get("/trial")).status_code == 500
        return

    run(test)
    assert len(kept) > 8
    for response in kept:
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
    assert {r.status_code for r in kept} >= {200, 303, 404, 405, 413, 500}
    assert all("Traceback" not in r.text for r in kept)


def test_the_cookie_is_closed_to_scripts_and_other_sites(make_study: MakeStudy) -> None:
    async def test() -> None:
        plain = create_app(make_study(name="a"), organiser_token=ORGANISER)
        tls = create_app(
            make_study(name="b"), organiser_token=ORGANISER, base_url="https://study.test"
        )
        async with browser(plain) as client:
            found = await client.post("/consent", data={"agree": "yes"}, follow_redirects=False)
            cookie = found.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "samesite=strict" in cookie.lower()
        async with browser(tls, headers={"Origin": "https://study.test"}) as client:
            found = await client.post("/consent", data={"agree": "yes"}, follow_redirects=False)
            assert found.headers["set-cookie"].startswith("__Host-study=")
            assert "Secure" in found.headers["set-cookie"]
            refused = await client.post("/consent", headers={"Origin": "http://study.test"})
            assert refused.status_code == 403

    run(test)


def test_rates_are_limited(small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        app = small(votes=Limit(burst=3, rate=0.01), entries=Limit(burst=2, rate=0.01))
        async with browser(app) as client:
            page = await enter(client)
            for _ in range(3):
                assert (await answer(client, page)).status_code == 200
            refused = await answer(client, page)
            assert refused.status_code == 429
            assert 90 <= int(refused.headers["retry-after"]) <= 102
        async with browser(app) as client:
            assert (await enter(client)).status_code == 200
        async with browser(app) as client:
            assert (await enter(client)).status_code == 429

    run(test)


def test_a_rater_may_erase_their_votes(app: Starlette) -> None:
    async def test() -> None:
        async with browser(app) as client:
            page = await enter(client)
            await answer(client, page)
            assert (await client.post("/erase", data={})).status_code == 400
            assert (await client.post("/erase", data={"confirm": "yes"})).url.path == "/"
            assert not client.cookies
        events = app.state.site.running.store.events()
        assert [event.body is None for event in events] == [True, True, False]

    run(test)


def test_when_the_votes_are_there_nobody_is_asked_any_more(make_study: MakeStudy) -> None:
    from dojobench.human_eval.study_file import StoppingPart

    async def test() -> None:
        folder = make_study(stopping=StoppingPart(max_votes=8))
        app = create_app(folder, organiser_token=ORGANISER)
        async with browser(app) as client:
            page = await whole_study(client)
            assert page.url.path == "/done"
            assert app.state.site.completion_code in page.text
        assert len(bodies(app)) == 8
        async with browser(app) as client:
            late = await enter(client)
            assert late.status_code == 503
            assert "nothing to compare" in late.text

    run(test)


def test_a_title_cannot_become_markup(make_study: MakeStudy) -> None:
    async def test() -> None:
        folder = make_study()
        plan = folder / "study.toml"
        text = plan.read_text().replace("Which is better?", "<script>alert(1)</script>")
        plan.write_text(text)
        async with browser(create_app(folder, organiser_token=ORGANISER)) as client:
            page = await client.get("/")
            assert "<script>alert" not in page.text
            assert "&lt;script&gt;alert" in page.text

    run(test)
