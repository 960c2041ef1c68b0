"""The organiser's page: how the study goes, and who is excluded or erased; behind a token."""

import hmac

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dojobench.human_eval.pages import render
from dojobench.human_eval.site import Refusal, caller, goto, off_loop, site_of

COOKIE = "organiser"


def routes() -> list[Route]:
    """Gives the organiser's routes."""
    return [
        Route("/organise", organise),
        Route("/organise/exclude", exclude, methods=["POST"]),
        Route("/organise/erase", erase, methods=["POST"]),
    ]


def _check(request: Request) -> bool:
    """Lets the organiser pass.

    Returns:
        Whether the token stands in the address, so that a cookie has to take its place.

    Raises:
        Refusal: If it is not the organiser.
    """
    site = site_of(request)
    if site.running.keyring.is_organiser(request.cookies.get(COOKIE)):
        return False
    site.slow_down("entries", caller(request))
    given = request.query_params.get("token", "")
    if not hmac.compare_digest(given.encode(), site.organiser_token.encode()):
        raise Refusal(404, "not_found")
    return True


async def organise(request: Request) -> Response:
    """Shows how the study goes."""
    fresh = _check(request)
    site = site_of(request)
    results = request.query_params.get("results") == "show"
    found = await off_loop(site.recent.get)
    response = Response(
        render("organiser", "en", overview=found, results=results), media_type="text/html"
    )
    if fresh:
        response.set_cookie(
            COOKIE, site.running.keyring.organiser(), max_age=24 * 3600, path="/",
            secure=site.secure, httponly=True, samesite="strict",
        )  # fmt: skip
    return response


async def exclude(request: Request) -> Response:
    """Appends that a rater's votes do not count."""
    _check(request)
    form = await request.form(max_files=0, max_fields=5)
    reason = str(form.get("reason", "")).strip()[:200]
    if not reason:
        raise Refusal(400, "bad_request")
    site = site_of(request)
    if not await off_loop(site.running.store.exclude, _rater(form), reason):
        raise Refusal(404, "no_rater")
    await off_loop(site.recent.forget)
    return goto("../organise")


async def erase(request: Request) -> Response:
    """Erases a rater by number."""
    _check(request)
    form = await request.form(max_files=0, max_fields=5)
    site = site_of(request)
    if form.get("confirm") != "yes":
        raise Refusal(400, "bad_request")
    if await off_loop(site.running.store.erase, _rater(form)) is None:
        raise Refusal(404, "no_rater")
    await off_loop(site.recent.forget)
    return goto("../organise")


def _rater(form: FormData) -> str:
    """The number that was typed or pasted, without what stands around it."""
    return str(form.get("rater", "")).strip()
