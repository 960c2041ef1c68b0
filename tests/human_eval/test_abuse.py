"""Requests from elsewhere, too large, too many, or with markup in them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from dojobench.human_eval.app import create_app
from dojobench.human_eval.rate_limit import Limit

BASE = "http://study.test"
ORGANISER = "open-sesame"
MakeStudy = Callable[..., Path]


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
    browse: Any, small: Callable[..., Starlette], headers: dict[str, str]
) -> None:
    async def test() -> None:
        async with browse(small(), headers=headers) as client:
            for path in ("/consent", "/training", "/vote", "/erase", "/organise/erase"):
                assert (await client.post(path, data={"agree": "yes"})).status_code == 403

    anyio.run(test)


def test_bodies_and_addresses_have_limits(browse: Any, small: Callable[..., Starlette]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    async def test() -> None:
        async with browse(small()) as client:
            assert (await client.post("/vote", content=b"x" * 20_000)).status_code == 413
            assert (await client.post("/vote", content=endless())).status_code == 413
            assert (await client.get("/?" + "x" * 3000)).status_code == 414

    anyio.run(test)


def test_every_answer_carries_the_policy(browse: Any, small: Callable[..., Starlette]) -> None:
    kept: list[httpx.Response] = []

    async def test() -> None:
        app = small()
        async with browse(app, kept) as client:
            page = await client.enter()
            await client.get(f"/{browse.media_of(page)[0]}")
            await client.get("/nowhere")
            await client.get("/static/study.css")
            await client.get("/static/../app.py")
            await client.post("/vote", content=b"x" * 20_000)
            await client.put("/vote")
            app.state.site.running.store.close()
            app.state.site.running.opened.clips.clear()  # what follows fails inside
            assert (await client.get("/trial")).status_code == 500
        return

    anyio.run(test)
    assert len(kept) > 8
    for response in kept:
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
    assert {r.status_code for r in kept} >= {200, 303, 404, 405, 413, 500}
    assert all("Traceback" not in r.text for r in kept)


def test_the_cookie_is_closed_to_scripts_and_other_sites(
    browse: Any, make_study: MakeStudy
) -> None:
    async def test() -> None:
        plain = create_app(make_study(name="a"), organiser_token=ORGANISER)
        tls = create_app(
            make_study(name="b"), organiser_token=ORGANISER, base_url="https://study.test"
        )
        async with browse(plain) as client:
            found = await client.post("/consent", data={"agree": "yes"}, follow_redirects=False)
            cookie = found.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "samesite=strict" in cookie.lower()
        async with browse(tls, headers={"Origin": "https://study.test"}) as client:
            found = await client.post("/consent", data={"agree": "yes"}, follow_redirects=False)
            assert found.headers["set-cookie"].startswith("__Host-study=")
            assert "Secure" in found.headers["set-cookie"]
            refused = await client.post("/consent", headers={"Origin": "http://study.test"})
            assert refused.status_code == 403

    anyio.run(test)


def test_rates_are_limited(browse: Any, small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        app = small(votes=Limit(burst=3, rate=1e-5), entries=Limit(burst=2, rate=1e-5))
        async with browse(app) as client:
            page = await client.enter()
            for _ in range(3):
                assert (await client.answer(page)).status_code == 200
            refused = await client.answer(page)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 50_000
        async with browse(app) as client:
            assert (await client.enter()).status_code == 200
        async with browse(app) as client:
            assert (await client.enter()).status_code == 429

    anyio.run(test)


def test_a_title_cannot_become_markup(browse: Any, make_study: MakeStudy) -> None:
    async def test() -> None:
        folder = make_study()
        plan = folder / "study.toml"
        text = plan.read_text().replace("Which is better?", "<script>alert(1)</script>")
        plan.write_text(text)
        async with browse(create_app(folder, organiser_token=ORGANISER)) as client:
            page = await client.get("/")
            assert "<script>alert" not in page.text
            assert "&lt;script&gt;alert" in page.text

    anyio.run(test)
