"""What all pages share: the running study, who is asking, refusals, and answers in two forms."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from dojobench.human_eval.guard import security_headers
from dojobench.human_eval.pages import POLICY, render
from dojobench.human_eval.rate_limit import Limit, RateLimiter
from dojobench.human_eval.recent_overview import RecentOverview
from dojobench.human_eval.running_study import RunningStudy
from dojobench.human_eval.store import Rater
from dojobench.human_eval.texts import load_texts

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a study is served; nothing here changes what is asked or counted.

    Attributes:
        completion_code: Shown at the end, for panels; ``None``: one derived from the study's key.
        completion_url: Link at the end, back to the panel.
        invited_only: Whether only personal links and panel parameters let raters in.
        lease_seconds: How long a trial counts as being worked on.
        entries: Limit of arrivals from one network address.
        trials: Limit of trial pages of one rater.
        votes: Limit of votes of one rater.
        media: Limit of media requests of one rater.
    """

    completion_code: str | None = None
    completion_url: str | None = None
    invited_only: bool = False
    lease_seconds: float = 1800.0
    entries: Limit = field(default_factory=lambda: Limit(burst=300, rate=5))
    trials: Limit = field(default_factory=lambda: Limit(burst=60, rate=2))
    votes: Limit = field(default_factory=lambda: Limit(burst=30, rate=1))
    media: Limit = field(default_factory=lambda: Limit(burst=400, rate=40))


class Refusal(Exception):
    """A request that cannot be met; the rater reads why."""

    def __init__(
        self, status: int, reason: str, *, back: bool = False, wait: float | None = None
    ) -> None:
        """Says why.

        Args:
            status: HTTP status.
            reason: Key below ``error`` of the texts.
            back: Whether going on with the study makes sense.
            wait: Seconds after which to try again.
        """
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.back = back
        self.wait = wait


class Site:
    """One served study."""

    def __init__(
        self, running: RunningStudy, settings: Settings, *, organiser_token: str, secure: bool
    ) -> None:
        """Puts a study on the web.

        Args:
            running: The study.
            settings: How it is served.
            organiser_token: Opens the organiser's page.
            secure: Whether raters come over TLS, so that cookies travel no other way.
        """
        self.running = running
        self.recent = RecentOverview(running)
        self.settings = settings
        self.organiser_token = organiser_token
        self.secure = secure
        self.limits = {
            name: RateLimiter(getattr(settings, name))
            for name in ("entries", "trials", "votes", "media")
        }

    @property
    def cookie(self) -> str:
        """Name of the raters' cookie; ``__Host-`` binds it to this host under TLS."""
        return "__Host-study" if self.secure else "study"

    @property
    def completion_code(self) -> str:
        """The code that raters hand in at their panel."""
        derived = self.running.keyring.digest("completion", self.running.opened.hash)[:8].upper()
        return self.settings.completion_code or derived

    def slow_down(self, limit: str, caller: str) -> None:
        """Counts a request of a caller.

        Raises:
            Refusal: If there were too many.
        """
        wait = self.limits[limit].wait(caller)
        if wait > 0:
            raise Refusal(429, "too_many", wait=wait)

    async def rater(self, request: Request) -> Rater | None:
        """Gives who is asking, by cookie; a language chosen on the way is kept."""
        cookie = self.running.keyring.read_session(request.cookies.get(self.cookie))
        if cookie is None:
            return None
        store, asked = self.running.store, request.query_params.get("lang")
        found = await run_in_threadpool(store.rater, cookie)
        offered = self.running.study.study.languages
        if found is not None and asked in offered and asked != found.language:
            await run_in_threadpool(store.speak, found.id, str(asked))
        return found

    async def known_rater(self, request: Request) -> Rater:
        """Gives who is asking.

        Raises:
            Refusal: If nobody we know.
        """
        rater = await self.rater(request)
        if rater is None:
            raise Refusal(403, "expired")
        return rater

    def sign_in(self, response: Response, rater: Rater) -> None:
        """Sets the rater's cookie."""
        response.set_cookie(
            self.cookie, self.running.keyring.session(rater.id), max_age=90 * 24 * 3600,
            path="/", secure=self.secure, httponly=True, samesite="strict",
        )  # fmt: skip

    def page(
        self, request: Request, name: str, rater: Rater | None, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Renders a page in the rater's language."""
        text = render(
            name, self.language(request, rater), offered=self.running.study.study.languages,
            **values,
        )  # fmt: skip
        return HTMLResponse(text, status)

    def language(self, request: Request, rater: Rater | None) -> str:
        """Gives the language to answer in: asked for, chosen before, or the browser's first."""
        offered = self.running.study.study.languages
        asked = request.query_params.get("lang")
        if asked in offered:
            return str(asked)
        if rater is not None and rater.language in offered:
            return rater.language
        for part in request.headers.get("accept-language", "")[:200].split(","):
            code = part.split(";")[0].strip()
            for match in (code, code.split("-")[0]):
                if match in offered:
                    return match
        return offered[0]


def site_of(request: Request) -> Site:
    """Gives the site that a request came to."""
    found: Site = request.app.state.site
    return found


async def off_loop(function: Callable[..., T], *args: Any, **values: Any) -> T:
    """Runs what waits for the disk in a thread, so that other raters are answered meanwhile."""
    return await run_in_threadpool(function, *args, **values)


def goto(place: str) -> RedirectResponse:
    """Sends the browser on, relative to where it is, so that a study may lie below any path."""
    return RedirectResponse(place, 303)


def _to_root(request: Request) -> str:
    """Leads from where the browser is to the study's own address."""
    path = str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))
    return "../" * (path.count("/") - 1)


def wants_json(request: Request) -> bool:
    """Tells whether a script asks, not a form."""
    kind = request.headers.get("content-type", "")
    return "application/json" in request.headers.get("accept", "") or "json" in kind


def caller(request: Request) -> str:
    """Gives the network address of a request; kept nowhere, and counted under a hash only."""
    return request.client.host if request.client else "unknown"


def now() -> float:
    """Gives seconds since 1970."""
    return time.time()


async def refuse(request: Request, error: Exception) -> Response:
    """Answers a request that was refused, in the form and language it asks for."""
    refusal = error if isinstance(error, Refusal) else Refusal(500, "internal", back=True)
    site = site_of(request)
    # Where the server itself failed, it is not asked again who the rater is.
    rater = None if refusal.status >= 500 else await site.rater(request)
    message = load_texts(site.language(request, rater))["error"][refusal.reason]
    response: Response
    if wants_json(request):
        response = JSONResponse({"error": message, "next": "trial"}, refusal.status)
    else:
        response = site.page(
            request, "error", rater, status=refusal.status, message=message, back=refusal.back,
            root=_to_root(request),
        )  # fmt: skip
    if refusal.wait is not None:
        response.headers["retry-after"] = str(max(1, round(refusal.wait + 0.5)))
    # An error of the server itself is answered outside of the guard.
    response.headers.update(security_headers(POLICY))
    return response
