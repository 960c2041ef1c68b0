"""Nothing that reaches a browser tells which model it shows, or another rater's media."""

import re
from collections.abc import Callable
from typing import Any

import anyio
import httpx
from starlette.applications import Starlette

from dojobench.human_eval.catalog import CatalogClip


def test_nothing_that_reaches_a_browser_tells_a_model(browse: Any, app: Starlette) -> None:
    kept: list[httpx.Response] = []

    async def test() -> None:
        for _ in range(3):
            async with browse(app, kept) as client:
                await client.get("/")
                page = await client.enter()
                while page.url.path == "/trial":
                    for name in browse.media_of(page):
                        assert (await client.get(f"/{name}")).status_code == 200
                    if page.text.count("Pair 1 of"):
                        await client.get("/media/" + "0" * 64)
                        await client.post("/vote", json={"token": "x"})
                    stored = await client.answer(page)
                    page = await client.get(f"/{stored.json()['next']}")

    anyio.run(test)
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
    text = text.replace(str(re.search(r'name="token" value="([^"]+)"', text)[1]), "T")
    text = re.sub(r"&#34;id&#34;: &#34;[0-9a-f]{32}", "I", text)
    text = re.sub(r"(&#34;number&#34;: )\d+|Pair \d+ of|value=\"\d+\"", "N", text)
    return re.sub(r"(&#34;clip_label&#34;: &#34;|clip\">)[0-9a-f]{6}", "C", text)


def test_media_are_for_the_rater_of_the_trial_alone(browse: Any, app: Starlette) -> None:
    async def test() -> None:
        async with browse(app) as one, browse(app) as two, browse(app) as nobody:
            names = browse.media_of(await one.enter())
            await two.enter()
            assert len(names) == 4
            for name in names:
                assert (await one.get(f"/{name}")).status_code == 200
                assert (await two.get(f"/{name}")).status_code == 404
                assert (await nobody.get(f"/{name}")).status_code == 404
                changed = name[:-1] + ("0" if name[-1] != "0" else "1")
                assert (await one.get(f"/{changed}")).status_code == 404

    anyio.run(test)


def test_media_are_served_in_ranges(browse: Any, small: Callable[..., Starlette]) -> None:
    async def test() -> None:
        async with browse(small()) as client:
            page = await client.enter()
            responses = [await client.get(f"/{name}") for name in browse.media_of(page)]
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

    anyio.run(test)
