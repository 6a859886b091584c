"""Who may see the pages: one operator, let in by the link that `serve` prints, then known by a signed cookie.

Promises: nothing is kept on the server; a cookie that was not signed here, or is too old, is nobody; every form carries a
token of its session, and a form that was sent from elsewhere is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

OPERATOR = "operator"  # who did it, in the trail
SESSION_S = 7 * 24 * 3600


class SignInNeeded(Exception):
    """The request comes from nobody."""


class Forged(Exception):
    """A form that did not come from our own page, or from a session that is over."""


@dataclass(frozen=True, slots=True)
class Session:
    """`form_token` stands in every form of this session."""

    form_token: str


class Sessions:
    """Makes and reads the cookie. `base_url` None: the pages are on plain HTTP, on this machine."""

    def __init__(self, secret_key: str, sign_in_token: str, base_url: str | None) -> None:
        self._key = hashlib.sha256(b"postroom sessions\0" + secret_key.encode()).digest()
        self._sign_in_token = sign_in_token.encode()
        self._origin = None if base_url is None else _origin(base_url)
        self._secure = bool(self._origin and self._origin.startswith("https:"))
        self.cookie = "__Host-postroom_session" if self._secure else "postroom_session"

    def opens(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._sign_in_token)

    def begin(self, response: Response) -> None:
        body = f"{int(time.time()) + SESSION_S}.{secrets.token_urlsafe(16)}"
        response.set_cookie(self.cookie, f"{body}.{self._sign('session', body)}", max_age=SESSION_S, httponly=True,
                            samesite="lax", secure=self._secure, path="/")

    def end(self, response: Response) -> None:
        response.delete_cookie(self.cookie, httponly=True, samesite="lax", secure=self._secure, path="/")

    def of(self, request: Request) -> Session | None:
        body, _, signature = request.cookies.get(self.cookie, "").rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign("session", body).encode()):
            return None
        if int(body.partition(".")[0]) < time.time():
            return None
        return Session(self._sign("form", body))

    def check_form(self, request: Request, session: Session, form_token: str) -> None:
        """Raises Forged."""
        if not self.is_from_here(request) or not hmac.compare_digest(form_token.encode("utf-8", "replace"),
                                                                     session.form_token.encode()):
            raise Forged

    def is_from_here(self, request: Request) -> bool:
        """What the browser says of where a form stood; only a browser can be made to send one unwillingly."""
        if site := request.headers.get("sec-fetch-site"):
            return site in ("same-origin", "none")
        origin = request.headers.get("origin")
        return origin is None or origin in (self._origin, _origin(str(request.base_url)))

    def _sign(self, purpose: str, body: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{body}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


AtEntrance = Annotated[Sessions, Depends(_sessions)]


def _signed_in(request: Request, sessions: AtEntrance) -> Session:
    session = sessions.of(request)
    if session is None:
        raise SignInNeeded
    return session


SignedIn = Annotated[Session, Depends(_signed_in)]


async def _sent_form(request: Request, sessions: AtEntrance, session: SignedIn) -> dict[str, str]:
    """The fields of a small form of ours."""
    form = await request.form(max_files=0, max_fields=20)
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    sessions.check_form(request, session, fields.get("form_token", ""))
    return fields


SentForm = Annotated[dict[str, str], Depends(_sent_form)]
