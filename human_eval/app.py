"""The study's web application: raters' pages, the organiser's page, media."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dojobench.human_eval import organiser_pages, rater_pages
from dojobench.human_eval.catalog import open_study
from dojobench.human_eval.database import open_engine
from dojobench.human_eval.guard import Guard
from dojobench.human_eval.keyring import Keyring, read_key
from dojobench.human_eval.pages import POLICY
from dojobench.human_eval.running_study import RunningStudy
from dojobench.human_eval.site import Refusal, Settings, Site, refuse
from dojobench.human_eval.stopping import watch
from dojobench.human_eval.store import Store
from dojobench.human_eval.texts import check_texts

_STATIC = Path(__file__).resolve().parent / "static"

_REASONS = {404: "not_found", 405: "not_found"}


class _Static(StaticFiles):
    """Scripts and styles; browsers ask whether they changed, as pages and scripts go together."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def create_app(
    study_dir: Path,
    *,
    database: str | None = None,
    organiser_token: str,
    base_url: str | None = None,
    settings: Settings | None = None,
) -> Starlette:
    """Makes the application of one study.

    Args:
        study_dir: Folder made by ``dojobench study create``.
        database: ``postgresql://…``; ``None``: SQLite in the study's folder.
        organiser_token: Opens the organiser's page.
        base_url: Address that raters use, where it is known: cookies are bound to TLS where it
            begins with ``https``.
        settings: How to serve; the defaults where left out.

    Raises:
        BadInputError: If the folder is no study, or the database belongs to another one,
            or a text that it names is missing.
    """
    opened = open_study(study_dir)
    plan = opened.study
    check_texts(plan.study.languages, plan.axes.questions.values())
    keyring = Keyring(read_key(study_dir))
    store = Store(open_engine(study_dir, database), keyring, opened.hash)
    running = RunningStudy(opened, store, keyring)
    secure = base_url is not None and urlsplit(base_url).scheme == "https"

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(watch(running))
        try:
            yield
        finally:
            watching.cancel()
            store.close()

    app = Starlette(
        routes=[
            *rater_pages.routes(),
            *organiser_pages.routes(),
            Route("/health", _health),
            Mount("/static", _Static(directory=_STATIC)),
        ],
        middleware=[Middleware(Guard, policy=POLICY, base_url=base_url)],
        exception_handlers={
            Refusal: refuse,
            HTTPException: _http_error,
            Exception: refuse,
        },
        lifespan=lifespan,
    )
    app.state.site = Site(
        running, settings or Settings(), organiser_token=organiser_token, secure=secure
    )
    return app


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok")


_Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return await refuse(request, Refusal(status, _REASONS.get(status, "bad_request")))
