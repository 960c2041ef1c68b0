"""What raters meet: consent, training, trials, votes, the end; and the media of their trials.

All of it works with plain forms; a script gets JSON for the same requests.
"""

import json
import math
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dojobench.human_eval.keyring import SLOTS
from dojobench.human_eval.media_response import media_response
from dojobench.human_eval.scheduler import trials_of
from dojobench.human_eval.site import (
    Refusal,
    Site,
    caller,
    goto,
    now,
    off_loop,
    site_of,
    wants_json,
)
from dojobench.human_eval.store import Assignment, Rater
from dojobench.human_eval.training import ANSWERS, TRIES, wrong_answers
from dojobench.human_eval.vote_form import read_vote

SECONDS_A_TRIAL = 30
"""What raters are told to expect."""

PANEL_ID = "PROLIFIC_PID"
"""The parameter by which panels name their member; of it only a keyed hash is kept."""

_PANEL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def routes() -> list[Route]:
    """Gives the raters' routes."""
    return [
        Route("/", welcome),
        Route("/r/{token}", personal),
        Route("/consent", consent, methods=["POST"]),
        Route("/training", training),
        Route("/training", check_training, methods=["POST"]),
        Route("/trial", trial),
        Route("/vote", vote, methods=["POST"]),
        Route("/done", done),
        Route("/erase", erase, methods=["POST"]),
        Route("/media/{token}", media),
    ]


async def welcome(request: Request) -> Response:
    """Shows what the study is and asks for consent; stores nothing."""
    site = site_of(request)
    panel = request.query_params.get(PANEL_ID)
    if panel is not None:
        if not _PANEL_ID.fullmatch(panel):
            raise Refusal(400, "link")
        # The id leaves the address at once; it is nobody's business but the panel's.
        language = request.query_params.get("lang", "")
        chosen = f"&lang={language}" if language in site.running.study.study.languages else ""
        return goto(f"./?entry={site.running.keyring.entry('panel', panel)}{chosen}")
    entry = request.query_params.get("entry")
    if entry is not None and site.running.keyring.read_entry(entry) is None:
        raise Refusal(400, "link")
    rater = await site.rater(request)
    if entry is None and rater is not None:
        return goto("trial")
    if entry is None and site.settings.invited_only:
        raise Refusal(403, "link")
    return _welcome(request, entry)


def _welcome(request: Request, entry: str | None, *, missing: bool = False) -> Response:
    site = site_of(request)
    study = site.running.study.study
    trials = trials_of(site.running.plan)
    shown = {
        "title": study.title, "trials": trials, "consent_version": study.consent_version,
        "minutes": max(1, math.ceil(trials * SECONDS_A_TRIAL / 60)),
    }  # fmt: skip
    values: dict[str, Any] = {} if entry is None else {"token": entry}
    return site.page(
        request, "welcome", None, status=422 if missing else 200, study=shown, missing=missing,
        **values,
    )  # fmt: skip


async def personal(request: Request) -> Response:
    """Lets a rater in by personal link."""
    keyring = site_of(request).running.keyring
    name = keyring.read_link(request.path_params["token"])
    if name is None:
        raise Refusal(404, "link")
    return goto(f"../?entry={keyring.entry('link', name)}")


async def consent(request: Request) -> Response:
    """Takes consent and lets the rater in, or back in."""
    site = site_of(request)
    site.slow_down("entries", caller(request))
    form = await _fields(request)
    token = form.get("token") or None
    entry = None if token is None else site.running.keyring.read_entry(str(token))
    if token is not None and entry is None:
        raise Refusal(400, "link")
    if form.get("agree") != "yes":
        return _welcome(request, None if token is None else str(token), missing=True)
    rater = await site.rater(request) if entry is None else None
    if rater is None:
        if entry is None and site.settings.invited_only:
            raise Refusal(403, "link")
        study = site.running.study.study
        language = str(form.get("language", ""))
        rater = await off_loop(
            site.running.store.enter, entry,
            language if language in study.languages else study.languages[0],
            study.consent_version, now=now(),
        )  # fmt: skip
    response = goto("trial")
    site.sign_in(response, rater)
    return response


async def training(request: Request) -> Response:
    """Shows the training, once."""
    site = site_of(request)
    rater = await site.rater(request)
    if rater is None:
        return goto("./")
    return _elsewhere(rater) or _training(request, rater, (), {})


def _training(
    request: Request, rater: Rater, wrong: tuple[str, ...], given: dict[str, str]
) -> Response:
    return site_of(request).page(
        request, "training", rater, attempt=rater.tries + 1, wrong=wrong, given=given
    )


def _elsewhere(rater: Rater) -> Response | None:
    """Where a rater belongs who has the training behind them."""
    if rater.passed:
        return goto("trial")
    return goto("done") if rater.tries >= TRIES else None


async def check_training(request: Request) -> Response:
    """Checks the comprehension questions; there are two tries."""
    site = site_of(request)
    rater = await site.known_rater(request)
    site.slow_down("trials", rater.id)
    if (elsewhere := _elsewhere(rater)) is not None:
        return elsewhere
    form = await _fields(request)
    given = {name: str(form[name]) for name in ANSWERS if name in form}
    wrong = wrong_answers(given)
    after = await off_loop(site.running.store.train, rater.id, passed=not wrong, tries=TRIES)
    if after is None:
        raise Refusal(403, "expired")
    return _elsewhere(after) or _training(request, after, wrong, given)


async def trial(request: Request) -> Response:
    """Shows the rater's open trial, or hands out the next."""
    site = site_of(request)
    rater = await site.rater(request)
    if rater is None:
        return goto("./")
    site.slow_down("trials", rater.id)
    if not rater.passed:
        return goto("training" if rater.tries < TRIES else "done")
    found = await off_loop(
        site.running.next_trial, rater.id, now=now(), lease=site.settings.lease_seconds
    )
    if found is None:
        after = await off_loop(site.running.store.rater, rater.id)
        if after is None or after.finished is None:
            raise Refusal(503, "closed" if site.running.is_over else "full")
        return goto("done")
    return site.page(request, "trial", rater, trial=_shown(site, found))


def _shown(site: Site, found: Assignment) -> dict[str, Any]:
    """What the trial's page is told; nothing in it depends on which models are shown."""
    clip = site.running.opened.clips[found.shown.clip]
    keyring = site.running.keyring
    url = {slot: {"url": f"media/{keyring.media(found.trial, slot)}"} for slot in SLOTS}
    return {
        "id": found.trial, "token": keyring.trial(found.trial), "number": found.number + 1,
        "of": trials_of(site.running.plan),
        "left": url["left"], "right": url["right"], "actions": url["actions"],
        "reference": {**url["reference"], "kind": "truth" if clip.truth else "first_frame"},
        "frames": clip.frames, "rate": clip.rate, "axes": list(site.running.plan.axes),
        "questions": site.running.study.axes.questions,
    }  # fmt: skip


async def vote(request: Request) -> Response:
    """Stores the answers to a trial; sent twice, they count once."""
    site = site_of(request)
    rater = await site.known_rater(request)
    site.slow_down("votes", rater.id)
    try:
        form = read_vote(await _fields(request), site.running.plan.axes)
    except ValueError as error:
        raise Refusal(400, "bad_request", back=True) from error
    which = site.running.keyring.read_trial(form.token)
    found = None if which is None else await off_loop(site.running.store.assignment, which)
    if found is None or found.rater != rater.id:
        raise Refusal(403, "expired", back=True)
    moment = now()
    limit = site.running.study.exclusions.max_drift_frames
    measured = form.measured(max(0.0, moment - found.issued), limit)
    await off_loop(site.running.store.vote, found.trial, dict(form.answers), measured, now=moment)
    place = "trial"
    if found.number + 1 >= trials_of(site.running.plan):
        await off_loop(site.running.next_trial, rater.id, now=moment, lease=0.0)
        place = "done"
    return JSONResponse({"next": place}) if wants_json(request) else goto(place)


async def done(request: Request) -> Response:
    """Thanks the rater and gives the completion code, once all is done."""
    site = site_of(request)
    rater = await site.rater(request)
    if rater is None:
        return goto("./")
    failed = not rater.passed and rater.tries >= TRIES
    if not failed and rater.finished is None:
        return goto("trial")
    end = {
        "code": None if failed else site.completion_code,
        "url": None if failed else site.settings.completion_url,
        "number": None if failed else rater.id,
    }
    return site.page(request, "done", rater, done=end, failed=failed)


async def erase(request: Request) -> Response:
    """Erases the rater who asks."""
    site = site_of(request)
    rater = await site.known_rater(request)
    site.slow_down("votes", rater.id)
    form = await _fields(request)
    if form.get("confirm") != "yes":
        raise Refusal(400, "bad_request", back=True)
    await off_loop(site.running.store.erase, rater.id)
    response = goto("./")
    response.delete_cookie(site.cookie, path="/", secure=site.secure, httponly=True)
    return response


async def media(request: Request) -> Response:
    """Gives a file of a trial to the rater whose trial it is."""
    site = site_of(request)
    keyring = site.running.keyring
    rater = keyring.read_session(request.cookies.get(site.cookie))
    found = keyring.read_media(request.path_params["token"])
    if rater is None or found is None:
        raise Refusal(404, "not_found")
    site.slow_down("media", rater)
    assignment = await off_loop(site.running.store.assignment, found[0])
    if assignment is None or assignment.rater != rater:
        raise Refusal(404, "not_found")
    return media_response(site.running.media(assignment, found[1]), request.headers.get("range"))


async def _fields(request: Request) -> dict[str, Any]:
    """Reads a form or a JSON object; files and anything else are refused."""
    if "json" in request.headers.get("content-type", ""):
        try:
            found = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "bad_request", back=True) from error
        if not isinstance(found, dict):
            raise Refusal(400, "bad_request", back=True)
        return found
    form = await request.form(max_files=0, max_fields=40)
    return {name: value for name, value in form.items() if isinstance(value, str)}
