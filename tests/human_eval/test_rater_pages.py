"""The raters' way through a study, over HTTP, on both databases."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
from starlette.applications import Starlette

from dojobench.human_eval.app import create_app

ORGANISER = "open-sesame"
MakeStudy = Callable[..., Path]
Bodies = Callable[[Starlette], list[dict[str, Any]]]


def test_a_whole_study_of_one_rater(bodies: Bodies, browse: Any, app: Starlette) -> None:
    async def test() -> None:
        async with browse(app) as client:
            page = await client.enter()
            for number in range(12):
                assert page.status_code == 200
                assert f"Pair {number + 1} of 12" in page.text
                stored = await client.answer(page)
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

    anyio.run(test)


def test_everything_works_with_plain_forms(bodies: Bodies, browse: Any, app: Starlette) -> None:
    async def test() -> None:
        async with browse(app) as client:
            page = await client.enter()
            form = {"token": browse.token_of(page), "physics": "tie", "action": "unsure"}
            page = await client.post("/vote", data=form)
            assert page.url.path == "/trial"
            assert "Pair 2 of 12" in page.text
        first = bodies(app)[0]
        assert (first["answer"], first["drift_frames"]) == ("unsure", None)
        assert "unmeasured" in first["flags"]

    anyio.run(test)


def test_a_rater_may_reload_stop_and_come_back(browse: Any, app: Starlette) -> None:
    async def test() -> None:
        async with browse(app) as client:
            page = await client.enter()
            again = await client.get("/trial")
            assert browse.token_of(again) == browse.token_of(page)
            await client.answer(again)
            cookies = dict(client.cookies)
        async with browse(app, cookies=cookies) as client:
            back = await client.get("/")
            assert back.url.path == "/trial"
            assert "Pair 2 of 12" in back.text

    anyio.run(test)


def test_the_first_frame_stands_in_where_there_is_no_truth(
    browse: Any,
    small: Callable[..., Starlette],
) -> None:
    async def test() -> None:
        async with browse(small({"truth": False, "gold": False})) as client:
            page = await client.enter()
            kinds = [
                (await client.get(f"/{name}")).headers["content-type"]
                for name in browse.media_of(page)
            ]
            assert sorted(kinds) == ["application/json", "image/png", "video/mp4", "video/mp4"]
            assert "first_frame" in page.text

    anyio.run(test)


def test_training_gives_two_tries_and_then_ends(
    bodies: Bodies, browse: Any, app: Starlette
) -> None:
    async def test() -> None:
        async with browse(app) as client:
            page = await client.post("/consent", data={"agree": "yes", "language": "en"})
            assert page.url.path == "/training"
            wrong = {**browse.RIGHT, "vanish": "left"}
            page = await client.post("/training", data=wrong)
            assert "second and last try" in page.text
            assert (await client.get("/trial")).url.path == "/training"
            page = await client.post("/training", data=wrong)
            assert page.url.path == "/done"
            assert app.state.site.completion_code not in page.text
            assert (await client.post("/training", data=browse.RIGHT)).url.path == "/done"
            assert (await client.get("/trial")).url.path == "/done"
        assert bodies(app) == []

    anyio.run(test)


def test_a_second_try_may_be_right(browse: Any, small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browse(small()) as client:
            await client.post("/consent", data={"agree": "yes", "language": "en"})
            await client.post("/training", data={})
            assert (await client.post("/training", data=browse.RIGHT)).url.path == "/trial"

    anyio.run(test)


def test_nobody_takes_part_without_consent(browse: Any, small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        app = small()
        async with browse(app) as client:
            page = await client.post("/consent", data={"language": "en"})
            assert page.status_code == 422
            assert "tick the box" in page.text
            for path in ("/trial", "/training", "/done"):
                assert (await client.get(path)).url.path == "/"
            assert (await client.post("/training", data=browse.RIGHT)).status_code == 403
            assert not client.cookies
        assert app.state.site.running.store.rater_table() == []

    anyio.run(test)


def test_no_completion_code_before_the_end(browse: Any, small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browse(small(completion_code="SECRETCODE")) as client:
            await client.enter()
            page = await client.get("/done")
            assert page.url.path == "/trial"
            assert "SECRETCODE" not in page.text

    anyio.run(test)


def test_a_panel_member_is_the_same_rater_and_leaves_no_id(
    browse: Any, app: Starlette, database: str | None
) -> None:
    kept: list[httpx.Response] = []

    async def test() -> None:
        ids = []
        for pid in ("5f3aPANELMEMBER", "5f3aPANELMEMBER", "other"):
            async with browse(app, kept) as client:
                page = await client.get(
                    "/", params={"PROLIFIC_PID": pid, "STUDY_ID": "s", "SESSION_ID": "t"}
                )
                assert "PANELMEMBER" not in str(page.url)
                page = await client.enter(token=browse.token_of(page))
                ids.append(client.cookies["study"])
        raters = app.state.site.running.store.rater_table()
        assert len(raters) == 2

    anyio.run(test)
    assert not any(b"PANELMEMBER" in response.content for response in kept)
    if database is None:
        for file in app.state.site.running.opened.folder.glob("votes.db*"):
            assert b"PANELMEMBER" not in file.read_bytes()


def test_a_personal_link_is_the_same_rater_on_every_device(
    browse: Any, small: Callable[..., Starlette]
) -> None:
    async def test() -> None:
        app = small(invited_only=True)
        link = app.state.site.running.keyring.link("7")
        for _ in range(2):
            async with browse(app) as client:
                page = await client.get(f"/r/{link}")
                assert page.status_code == 200
                await client.enter(token=browse.token_of(page))
        assert len(app.state.site.running.store.rater_table()) == 1
        async with browse(app) as client:
            assert (await client.get("/r/forged")).status_code == 404
            assert (await client.get("/")).status_code == 403
            refused = await client.post("/consent", data={"agree": "yes", "language": "en"})
            assert refused.status_code == 403

    anyio.run(test)


def test_a_refusal_finds_its_style_at_any_depth(
    browse: Any, small: Callable[..., Starlette]
) -> None:
    async def test() -> None:
        async with browse(small()) as client:
            for path in ("/nowhere", "/r/forged", "/organise/erase/deeper"):
                page = await client.get(path)
                assert page.status_code == 404
                address = re.search(r'rel="stylesheet" href="([^"]+)"', page.text)[1]
                assert not address.startswith("/")
                style = await client.get(str(page.url.join(address)))
                assert style.headers["content-type"].startswith("text/css")

    anyio.run(test)


def test_languages_are_offered_and_remembered(browse: Any, small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browse(small()) as client:
            chinese = await client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
            assert '<html lang="zh">' in chinese.text
            assert '<html lang="en">' in (await client.get("/?lang=en")).text
            await client.enter(language="zh")
            assert '<html lang="zh">' in (await client.get("/trial")).text
            await client.get("/trial?lang=en")
            assert '<html lang="en">' in (await client.get("/trial")).text

    anyio.run(test)


def test_when_the_votes_are_there_nobody_is_asked_any_more(
    bodies: Bodies, browse: Any, make_study: MakeStudy
) -> None:
    from dojobench.human_eval.study_file import StoppingPart

    async def test() -> None:
        folder = make_study(stopping=StoppingPart(max_votes=8))
        app = create_app(folder, organiser_token=ORGANISER)
        async with browse(app) as client:
            page = await client.whole_study()
            assert page.url.path == "/done"
            assert app.state.site.completion_code in page.text
        assert len(bodies(app)) == 8
        async with browse(app) as client:
            late = await client.enter()
            assert late.status_code == 503
            assert "nothing to compare" in late.text

    anyio.run(test)
