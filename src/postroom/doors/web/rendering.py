"""Turns a template into a page: always escaped, always with the headers that keep it to itself."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroom.domain.access import Actor
from postroom.domain.job import HELD_UP, Status
from postroom.domain.wording import counted, duration
from postroom.doors.api import problems
from postroom.doors.door import Door
from postroom.doors.invalid import sentence
from postroom.doors.web.session import Forged, Session, SignInNeeded
from postroom.errors import Conflict, Forbidden, InvalidInput, NotFound, PostroomError, TooMany, Unavailable
from postroom.flow.account.accounts import account_by_id, all_accounts
from postroom.flow.job.report import JobReport

log = structlog.get_logger(__name__)

STATIC = Path(__file__).parent / "static"
CONDITIONS = {"gateway": "Waits for its gateway", "quota": "Waits for its gateway's quota", "journal": "Waits for a journal",
              "worker": "No worker runs", "time": "Scheduled",
              "job": "Waits for one that stands still"}
PAGE_HEADERS = {
    "Content-Security-Policy":
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _number(value: int) -> str:
    return f"{value:,}"


def _time(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


def condition(told: JobReport) -> str:
    """What holds a job up, beside its status; "" where nothing does."""
    return CONDITIONS.get(told.waits_for or "", "")


def size(octets: int) -> str:
    return f"{max(1, round(octets / 1024)):,} KB"


templates = Environment(
    loader=PackageLoader("postroom.doors.web"), autoescape=select_autoescape(default=True), undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True)
templates.filters |= {"number": _number, "time": _time, "duration": duration, "size": size, "condition": condition}
templates.globals |= {"Status": Status, "HELD_UP": HELD_UP, "counted": counted}


def page(name: str, *, session: Session | None = None, status: int = 200, **shown: Any) -> HTMLResponse:
    return HTMLResponse(templates.get_template(name).render(session=session, **shown), status)


async def account_page(door: Door, session: Session, actor: Actor, name: str, *, status: int = 200,
                       **shown: Any) -> HTMLResponse:
    """A page of one account, with the switch to the others. Raises NotFound."""
    account = await account_by_id(door.pool, actor.account_id)
    accounts = await all_accounts(door.pool)
    return page(name, session=session, status=status, account=account, accounts=accounts, **shown)


class PageHeaders:
    """ASGI middleware: the headers of every answer that is not the API's; what a route has set itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith("/static/"):
                    headers["Cache-Control"] = "no-cache"  # asked for again with its ETag, so that an upgrade shows at once
                for name, value in PAGE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


TITLES = {400: "That request cannot be read", 403: "That form has expired", 404: "There is nothing here",
          405: "That does not work here", 409: "That is not possible now", 408: "That took too long",
          413: "That is too large", 422: "Something in the request is wrong", 429: "Too much at once",
          500: "Something went wrong", 503: "The database is away"}


DID_NOTHING = (408, 413, 422, 429)
WAYS_BACK = {re.compile(r"/accounts/[0-9]+/jobs/[0-9]+(?![^/])"): "To the job",
             re.compile(r"/accounts/[0-9]+/jobs(?![^/])"): "To the history",
             re.compile(r"(?=/u/[^/]+$)"): "Try again"}  # the same address, not written out: its token stays out of the page


def trouble(scope: Scope, status: int, detail: str, *, near: str | None = None, session: Session | None = None,
            title: str | None = None) -> HTMLResponse:
    """A page that says what went wrong, and leads back: to what is near the address of the request, or to what is `near`."""
    back, label = "/", "To the start"
    if status != 404:
        found = ((way.match(near or scope["path"]), label) for way, label in WAYS_BACK.items())
        back, label = next(((way[0], label) for way, label in found if way), (back, label))
    return page("trouble.html", session=session, status=status, detail=detail, back=back, label=label,
                title=title or TITLES.get(status, "That did not work"),
                wrote=scope["method"] == "POST" and status in DID_NOTHING)


def _trouble(request: Request, status: int, detail: str, near: str | None = None, *,
             title: str | None = None) -> HTMLResponse:
    return trouble(request.scope, status, detail, near=near, session=getattr(request.state, "session", None),
                   title=title)


def install_troubles(app: FastAPI) -> None:
    """Friendly pages for what goes wrong; programs at /api get problems, wherever they got lost."""
    app.add_exception_handler(SignInNeeded, _sign_in_needed)
    app.add_exception_handler(Forged, _forged)
    app.add_exception_handler(PostroomError, _postroom_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, problems.gone)
    app.add_exception_handler(Exception, _bug)


async def _sign_in_needed(request: Request, error: Exception) -> Response:
    return page("sign_in.html", status=401, wrote=request.method == "POST" and request.url.path != "/sign-out")


async def _forged(request: Request, error: Exception) -> Response:
    return _trouble(request, 403, "The form did not come from this page, or you signed in again since. "
                                  "Go back, load the page again, and send it once more.")


async def _postroom_error(request: Request, error: Exception) -> Response:
    match error:
        case InvalidInput():
            return _trouble(request, 422, str(error))
        case Forbidden():
            return _trouble(request, 403, str(error), title="You may not do that here")
        case NotFound():
            return _trouble(request, 404, str(error))
        case Conflict(job_id=job_id):
            account_id = request.path_params.get("account_id")
            return _trouble(request, 409, str(error), f"/accounts/{account_id}/jobs/{job_id}" if job_id else None)
        case TooMany():
            return _trouble(request, 429, str(error))
        case Unavailable():
            log.warning("a page was put off", error=str(error))
            return _trouble(request, 503, "Postroom cannot use its database now. Sending goes on when it is back; "
                                          "load this page again in a moment.")
    raise error


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(one["loc"][:1] == ("path",) for one in error.errors()):
        return _trouble(request, 404, "There is nothing at this address.")
    return _trouble(request, 422, " ".join(f"{one['loc'][-1]}: {sentence(one)}" for one in error.errors()[:5]))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if request.url.path.startswith("/api"):
        return problems.of_http(error)
    detail = "There is nothing at this address." if error.status_code == 404 else error.detail
    if error.status_code == 413:
        detail += " Go back in your browser: what you wrote is still there."
    return _trouble(request, error.status_code, detail)


async def _bug(request: Request, error: Exception) -> Response:
    """Bugs of the API come by here too, after it has answered them as a problem."""
    path = request.scope["path"]
    log.error("a request failed", path=path, error=repr(error))
    if path.startswith("/api/"):
        return problems.of_bug()
    return _trouble(request, 500, "It is in the log of the server. Nothing that was already counted is lost.")
