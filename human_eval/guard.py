"""What stands before every request: size limits, same-origin checks, and headers on every answer.

A plain ASGI middleware, so that streamed media pass through it untouched.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 16 * 1024
"""Most bytes of a request's body: a vote needs less than one kilobyte."""

MAX_QUERY = 2048

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def security_headers(policy: str) -> Mapping[str, str]:
    """Gives the headers of every answer, with this content security policy."""
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
    }


def same_origin(headers: Headers, base_url: str | None) -> bool:
    """Tells whether a request that changes something comes from one of our own pages.

    Browsers say so in ``Sec-Fetch-Site``, which no script can set. Older ones send ``Origin`` with
    every POST. What sends neither is no browser that a rater uses.

    Args:
        headers: Of the request.
        base_url: Address that raters use, if known; otherwise ``Host`` tells.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return False
    if base_url is not None:
        wanted = urlsplit(base_url)
        return origin == f"{wanted.scheme}://{wanted.netloc}"
    return urlsplit(origin).netloc == headers.get("host", "")


class Guard:
    """Refuses what is too large or from elsewhere, before any page sees it."""

    def __init__(self, app: ASGIApp, *, policy: str, base_url: str | None = None) -> None:
        """Wraps an application."""
        self._app = app
        self._headers = security_headers(policy)
        self._base_url = base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    answer[name] = value
                answer.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, secured)
            return
        body = None if scope["method"] in SAFE else await _body(receive)
        if scope["method"] not in SAFE and body is None:
            await PlainTextResponse("The request is too large.", 413)(scope, receive, secured)
            return
        await self._app(scope, receive if body is None else _replay(body, receive), secured)

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        if len(scope.get("query_string", b"")) > MAX_QUERY:
            return PlainTextResponse("The address is too long.", 414)
        if scope["method"] in SAFE:
            return None
        if not same_origin(headers, self._base_url):
            return PlainTextResponse("The request comes from another site.", 403)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return PlainTextResponse("The request is too large.", 413)
        return None


async def _body(receive: Receive) -> bytes | None:
    """Reads a whole body; ``None`` where it grows too large or the sender went away."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read once more, and what comes behind it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
