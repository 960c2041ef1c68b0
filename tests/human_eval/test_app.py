"""The raters' way through a study, over HTTP, on both databases."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from dojobench.human_eval.app import create_app
from dojobench.human_eval.site import Settings

ORGANISER = "open-sesame"
BASE = "http://study.test"
OURS = {"Origin": BASE}
RIGHT = {"vanish": "right", "command": "left", "same": "tie"}


@asynccontextmanager
async def browser(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=BASE, headers=OURS, follow_redirects=True
    ) as client:
        yield client


def run(test: Callable[[], object]) -> None:
    import anyio

    anyio.run(test)


async def enter(client: httpx.AsyncClient, **form: str) -> httpx.Response:
    """Agrees and answers the training; gives the first trial's page."""
    found = await client.post("/consent", data={"agree": "yes", "language": "en", **form})
    if str(found.url).endswith("/training"):
        found = await client.post("/training", data=RIGHT)
    return found


def token_of(page: httpx.Response) -> str:
    return str(re.search(r'name="token" value="([^"]+)"', page.text)[1])


async def answer(client: httpx.AsyncClient, page: httpx.Response, **more: object) -> httpx.Response:
    ballot = {
        "token": token_of(page),
        "answers": {"physics": "left", "action": "tie"},
        "break_at": {"left": None, "right": 0.35},
        "drift_frames": 0.2,
        "seconds": 0.5,
        "plays": 1,
        "dropped_frames": 0,
        **more,
    }
    return await client.post("/vote", json=ballot, headers={"Accept": "application/json"})


@pytest.fixture
def app(make_study: Callable[..., Path], database: str | None) -> Starlette:
    return create_app(
        make_study(), database=database, organiser_token=ORGANISER, settings=Settings()
    )


def events(app: Starlette) -> list[dict[str, object]]:
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
            assert "r_" in page.text
        kinds = [event["kind"] for event in events(app)]
        assert kinds.count("gold") == kinds.count("duplicate") == 4
        assert len(kinds) == 24
        assert app.state.site.running.store.end()[0] == 24

    run(test)
