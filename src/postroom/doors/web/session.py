"""Who may see the pages: one operator, let in by a link that works once, then known by a cookie.

Promises: a cookie that was not given out here, is too old or signed out is nobody, in every process and whoever has a copy of it;
every form carries a token of its session, and a form that was sent from elsewhere is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from postroom.domain.access import Actor, machine
from postroom.doors.door import Number
from postroom.errors import InvalidInput
from postroom.flow.account import operator
from postroom.flow.job.report import Pool

COOKIES = "postroom_session", "__Host-postroom_session"  # on plain HTTP, on HTTPS


class SignInNeeded(Exception):
    """The request comes from nobody."""


class Forged(Exception):
    """A form that did not come from our own page, or from a session that is over."""


@dataclass(frozen=True, slots=True)
class Session:
    """The operator's, by its cookie. `form_token` stands in every form of it."""

    cookie: str = field(repr=False)

    @property
    def form_token(self) -> str:
        return hashlib.sha256(b"form\0" + self.cookie.encode()).hexdigest()


class Sessions:
    """Sets and reads the cookie. `base_url` None: the pages are on plain HTTP, on this machine."""

    def __init__(self, pool: Pool, base_url: str | None) -> None:
        self._pool = pool
        self._origin = None if base_url is None else _origin(base_url)
        self._secure = bool(self._origin and self._origin.startswith("https:"))
        self.cookie = COOKIES[self._secure]

    async def begin(self, token: str, response: Response) -> bool:
        """Whether the token of a link let somebody in; `response` has the cookie then."""
        cookie = await operator.sign_in(self._pool, token)
        if cookie is not None:
            response.set_cookie(self.cookie, cookie, max_age=operator.SESSION_S, httponly=True, samesite="lax",
                                secure=self._secure, path="/")
        return cookie is not None

    async def end(self, session: Session, response: Response) -> None:
        await operator.sign_out(self._pool, session.cookie)
        response.delete_cookie(self.cookie, httponly=True, samesite="lax", secure=self._secure, path="/")

    async def of(self, request: Request) -> Session | None:
        """None for nobody; who brings no cookie is not asked for in the database."""
        session = Session(request.cookies.get(self.cookie, ""))
        return session if session.cookie and await self.lasts(session) else None

    async def lasts(self, session: Session) -> bool:
        return await operator.is_signed_in(self._pool, session.cookie)

    def check_form(self, request: Request, session: Session, form_token: str) -> None:
        """Raises Forged."""
        if not self.is_from_here(request) or not hmac.compare_digest(form_token.encode(), session.form_token.encode()):
            raise Forged

    def is_from_here(self, request: Request) -> bool:
        """What the browser says of where a form stood; only a browser can be made to send one unwillingly."""
        if site := request.headers.get("sec-fetch-site"):
            return site in ("same-origin", "none")
        origin = request.headers.get("origin")
        return origin is None or origin in (self._origin, _origin(str(request.base_url)))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


async def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


AtEntrance = Annotated[Sessions, Depends(_sessions)]


async def _signed_in(request: Request, sessions: AtEntrance) -> Session:
    session = await sessions.of(request)
    if session is None:
        raise SignInNeeded
    request.state.session = session  # for a page that tells of trouble, perhaps that of a database that is away
    return session


SignedIn = Annotated[Session, Depends(_signed_in)]


async def small_form(request: Request) -> dict[str, str]:
    """Its fields. Raises InvalidInput where they are no text: a request in parts names the charset that they are read in."""
    try:
        form = await request.form(max_files=0, max_fields=20)
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        "".join((*fields, *fields.values())).encode()
    except UnicodeError:
        raise InvalidInput("The form is not valid text: it holds half a character or a stray byte.") from None
    return fields


async def _sent_form(request: Request, sessions: AtEntrance, session: SignedIn) -> dict[str, str]:
    """The fields of a small form of ours."""
    fields = await small_form(request)
    sessions.check_form(request, session, fields.get("form_token", ""))
    return fields


SentForm = Annotated[dict[str, str], Depends(_sent_form)]


async def _acting(session: SignedIn, account_id: Number) -> Actor:
    return machine(account_id, "operator")


Acting = Annotated[Actor, Depends(_acting)]  # the account is that of the address
