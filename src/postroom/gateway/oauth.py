"""Access tokens of OAuth 2, for gateways that take no password: got at a token endpoint, kept until shortly before their end.

Promises: the endpoint is spoken to by TLS alone, within a time, and follows nowhere; of what it answers no more is read than a
token may have; what it repeats of secrets goes no further (secrecy.py). One asks for all sessions of a process that want one.

Fails with TokenRefused: `verdict` says whether waiting may help (THROTTLED) or a person has to look (GATEWAY_FAULT).

Source: RFC 6749 (4.4 client credentials, 6 refresh tokens, 5.2 errors), RFC 6750.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from postroom.errors import InvalidInput
from postroom.gateway.certificates import context_for
from postroom.gateway.replies import Verdict, printable
from postroom.gateway.secrecy import Hide, hiding, hiding_all

WITHIN_S: Final = 20.0  # all of one request, however slowly it is answered
ANSWER_OCTETS_MAX: Final = 65_536
TOKEN_MAX: Final = 8_192  # octets; in base64 and with what stands around it no more than a gateway reads (RFC 4954, 4)
SECRET_MAX: Final = 8_192
BEFORE_END_S: Final = 60.0
DEFAULT_LIFE_S: Final = 300.0  # where the endpoint does not say
LIFE_MAX_S: Final = 86_400.0
TOLD_MAX: Final = 300

_VISIBLE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Grant:
    """What tokens are asked for with: a refresh token where there is one, else the client's own credentials."""

    token_url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    scope: str = ""

    def __post_init__(self) -> None:
        _check_url(self.token_url)
        for name, value in (("client_id", self.client_id), ("client_secret", self.client_secret),
                            ("refresh_token", self.refresh_token), ("scope", self.scope)):
            told = name.replace("_", " ")
            if value is not None and (len(value) > SECRET_MAX or not value.isprintable()):
                raise InvalidInput(f"The {told} is one line of at most {SECRET_MAX:,} characters.", field=name)
        if not self.client_id:
            raise InvalidInput("A token endpoint wants a client id.", field="client_id")
        if not (self.client_secret or self.refresh_token):
            raise InvalidInput("A token endpoint wants a client secret, a refresh token or both.", field="client_secret")

    @property
    def form(self) -> dict[str, str]:
        asked = {"grant_type": "refresh_token" if self.refresh_token else "client_credentials", "client_id": self.client_id,
                 "client_secret": self.client_secret, "refresh_token": self.refresh_token, "scope": self.scope}
        return {name: value for name, value in asked.items() if value}


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and not parts.fragment
        good = good and (parts.port or 443) > 0 and bool(_VISIBLE.fullmatch(url)) and len(url) <= 2_000
    except ValueError:
        good = False
    if not good:
        raise InvalidInput("The token endpoint is an address that begins with https://, without a user in it and without “#”.",
                           field="token_url")


class TokenRefused(Exception):
    """There is no token. The text says why, as the end of a sentence."""

    def __init__(self, detail: str, verdict: Verdict) -> None:
        super().__init__(detail)
        self.verdict = verdict


@dataclass(frozen=True)
class Token:
    """`got_at` and `good_until` by the loop's clock."""

    user: str
    value: str = field(repr=False)
    got_at: float
    good_until: float

    @cached_property
    def hide(self) -> Hide:
        return hiding(self.user.encode(), self.value.encode())


class Tokens:
    """The access tokens of one login in one process. `renewed` is told of a refresh token that the endpoint gives in exchange."""

    def __init__(self, user: str, grant: Grant, ca_certificates: str | None = None,
                 renewed: Callable[[Grant], Awaitable[None]] | None = None) -> None:
        self.user = user
        self.grant = grant
        self._ca_certificates = ca_certificates
        self._renewed = renewed
        self._token: Token | None = None
        self._asking: asyncio.Task[Token] | None = None

    async def current(self) -> Token:
        """One that is good for a while. Raises TokenRefused."""
        if self._token is not None and asyncio.get_running_loop().time() < self._token.good_until:
            return self._token
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())  # nobody may be waiting any more
        return await asyncio.shield(self._asking)

    def drop(self, token: Token) -> None:
        """It is not accepted: the next one who wants a token gets another."""
        if self._token is token:
            self._token = None

    async def _ask(self) -> Token:
        grant, loop = self.grant, asyncio.get_running_loop()
        said = await self._answer(grant)
        token, life_s = said.get("access_token"), said.get("expires_in")
        if not isinstance(token, str) or not _VISIBLE.fullmatch(token) or len(token) > TOKEN_MAX:
            raise self._refused("it gave no access token that can be used", Verdict.GATEWAY_FAULT)
        if str(said.get("token_type", "bearer")).lower() != "bearer":
            raise self._refused("it gave an access token that is no bearer token", Verdict.GATEWAY_FAULT)
        life_s = min(_seconds(life_s), LIFE_MAX_S)
        self._token = Token(self.user, token, loop.time(), loop.time() + life_s - min(BEFORE_END_S, life_s / 2))
        await self._keep(grant, said.get("refresh_token"))
        return self._token

    async def _keep(self, grant: Grant, refresh_token: object) -> None:
        """The one that was given in exchange; the old one may end (RFC 6749, 6)."""
        if isinstance(refresh_token, str) and grant.refresh_token and refresh_token != grant.refresh_token:
            try:
                self.grant = Grant(grant.token_url, grant.client_id, grant.client_secret, refresh_token, grant.scope)
            except InvalidInput:
                return  # it is none
            if self._renewed is not None:
                await self._renewed(self.grant)

    async def _answer(self, grant: Grant) -> dict[str, Any]:
        import httpx  # 7 MB that a process without such a gateway does not need

        try:
            async with asyncio.timeout(WITHIN_S), httpx.AsyncClient(verify=_trusting(self._ca_certificates)) as client:
                request = client.stream("POST", grant.token_url, data=grant.form,
                                        headers={"Accept": "application/json", "Accept-Encoding": "identity"})
                async with request as answer:
                    body = bytearray()
                    async for piece in answer.aiter_raw():
                        body += piece
                        if len(body) > ANSWER_OCTETS_MAX:
                            raise self._refused("it answered with more than a token", Verdict.GATEWAY_FAULT)
        except TimeoutError:
            raise self._refused(f"no answer within {WITHIN_S:g} seconds", Verdict.THROTTLED) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._refused(*self._why_unreached(error)) from None
        try:
            said = json.loads(bytes(body))
        except (ValueError, RecursionError):
            said = None
        if answer.status_code == 200 and isinstance(said, dict):
            return said
        raise self._refused(*self._why_not(answer.status_code, said if isinstance(said, dict) else {}))

    def _why_unreached(self, error: Exception) -> tuple[str, Verdict]:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            return (f"its certificate does not prove who it is ({cause.verify_message}); those of this machine vouch for it, "
                    "and the gateway's own CA certificates (postroom gateway set --ca-file FILE)"), Verdict.GATEWAY_FAULT
        return f"it cannot be reached ({self._told(str(error) or type(error).__name__)})", Verdict.THROTTLED

    def _why_not(self, status: int, said: dict[str, Any]) -> tuple[str, Verdict]:
        """In the endpoint's own words (RFC 6749, 5.2). A server that is in trouble or busy may be well again."""
        verdict = Verdict.THROTTLED if status >= 500 or status in (408, 429) else Verdict.GATEWAY_FAULT
        words = ": ".join(self._told(said[key]) for key in ("error", "error_description") if isinstance(said.get(key), str))
        return f"it refused with {status}" + (f", “{words}”" if words else " and no words that can be read"), verdict

    def _refused(self, detail: str, verdict: Verdict) -> TokenRefused:
        host = urlsplit(self.grant.token_url).netloc
        return TokenRefused(f"its token endpoint, {host}, gives no access token: {detail}", verdict)

    def _told(self, words: str) -> str:
        """Bounded, on one line, and without a secret."""
        hide = hiding_all(one.encode() for one in (self.grant.client_secret, self.grant.refresh_token) if one)
        return printable(hide(" ".join(words.split()).encode("utf-8", "replace")))[:TOLD_MAX]


def _seconds(given: object) -> float:
    try:
        return max(0.0, float(given)) if isinstance(given, int | float | str) else DEFAULT_LIFE_S
    except (ValueError, OverflowError):
        return DEFAULT_LIFE_S


def _trusting(own: str | None) -> ssl.SSLContext:
    """Elsewhere than the gateway, mostly on the Internet: its own CA vouches beside this machine's."""
    if own is None:
        return context_for(None)
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=own)
    return context
