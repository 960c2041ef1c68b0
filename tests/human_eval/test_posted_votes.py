"""What is taken for a vote, and how often it counts."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette

Bodies = Callable[[Starlette], list[dict[str, Any]]]


def test_a_second_tab_cannot_vote_twice(bodies: Bodies, browse: Any, app: Starlette) -> None:
    async def test() -> None:
        async with browse(app) as client:
            page = await client.enter()
            first = await client.answer(page)
            second = await client.answer(page, answers={"physics": "right", "action": "right"})
            assert first.json() == second.json() == {"next": "trial"}
        assert [vote["answer"] for vote in bodies(app)] == ["tie", "left"]

    anyio.run(test)


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
    bodies: Bodies, browse: Any, small: Callable[..., Starlette], sent: dict[str, object]
) -> None:
    async def test() -> None:
        app = small()
        async with browse(app) as client:
            refused = await client.answer(await client.enter(), **sent)
            assert refused.status_code in (400, 403)
            assert refused.json()["error"]
        assert bodies(app) == []

    anyio.run(test)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 15_000, b"\xff\xfe", b"null"])
def test_broken_json_is_a_bad_request(
    browse: Any, small: Callable[..., Starlette], content: bytes
) -> None:
    async def test() -> None:
        async with browse(small()) as client:
            await client.enter()
            sent = {"Content-Type": "application/json"}
            assert (await client.post("/vote", content=content, headers=sent)).status_code == 400

    anyio.run(test)


def test_another_raters_trial_cannot_be_answered(
    bodies: Bodies, browse: Any, app: Starlette
) -> None:
    async def test() -> None:
        async with browse(app) as one, browse(app) as two:
            page = await one.enter()
            await two.enter()
            assert (await two.answer(page)).status_code == 403
            # Not the last character, some of whose bits stand for nothing.
            *token, one_before, last = browse.token_of(page)
            other = "A" if one_before != "A" else "B"
            forged = browse.ballot(page) | {"token": "".join([*token, other, last])}
            assert (await one.post("/vote", json=forged)).status_code == 403
        assert bodies(app) == []

    anyio.run(test)


def test_a_clock_that_runs_ahead_is_flagged(
    bodies: Bodies, browse: Any, small: Callable[..., Starlette]
) -> None:
    async def test() -> None:
        app = small()
        async with browse(app) as client:
            await client.answer(
                await client.enter(), seconds=5000, drift_frames=1.5, dropped_frames=3
            )
        vote = bodies(app)[0]
        assert vote["seconds"] < 5000
        assert vote["flags"] == ["clock", "drift", "dropped"]

    anyio.run(test)


def test_a_rater_may_erase_their_votes(browse: Any, app: Starlette) -> None:
    async def test() -> None:
        async with browse(app) as client:
            page = await client.enter()
            await client.answer(page)
            assert (await client.post("/erase", data={})).status_code == 400
            assert (await client.post("/erase", data={"confirm": "yes"})).url.path == "/"
            assert not client.cookies
        events = app.state.site.running.store.events()
        assert [event.body is None for event in events] == [True, True, False]

    anyio.run(test)
