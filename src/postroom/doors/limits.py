"""What one request may take: no more octets and no more time than its address can use, and no more places than others leave.

    its body      refused by its Content-Length, or as soon as it has sent too much, or has taken too long
    its answer    goes out in pieces, so that one that nobody takes is not kept whole
    its place     each account, with all its keys, each session and each address has a few requests at work at once; the others
                  wait, and too many are refused

A request that is refused for its size is read on a little and thrown away, whoever refuses it, so that its sender gets to see the
answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import AsyncExitStack, suppress
from hashlib import sha256
from random import uniform

from fastapi.security.utils import get_authorization_scheme_param
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroom.bounded.turns import Turns
from postroom.doors.api.problems import of_http, of_postroom_error
from postroom.doors.web.rendering import trouble
from postroom.doors.web.session import COOKIES
from postroom.errors import TooMany

SMALL_BYTES_MAX = 64 * 1024
READ_ON_BYTES_MAX, READ_ON_S = 8 * 2**20, 5.0
# The addresses at which lists come in: the API's POST /jobs and POST /previews, the page's form and its look ahead. Whole paths:
# who is not signed in may choose the end of another one, such as /u/send.
TAKES_A_LIST = re.compile(r"/api/v1/(?:jobs|previews)|/accounts/[0-9]+/send(?:/preview)?")
IS_A_STREAM = re.compile(r"/(?:api/v1|accounts/[0-9]+)/jobs/[0-9]+/events")
BODY_S = 10.0  # for any body, and more for each octet of it
BODY_OCTETS_PER_S = 16 * 1024  # slower than any line that people send lists by
PIECE_OCTETS = 256 * 1024

AT_WORK = 256  # requests, of everybody
KNOWN_EACH, KNOWN_WAITING = 4, 60  # of an account or a session
ANONYMOUS_EACH, ANONYMOUS_WAITING = 4, 512  # of an address: a provider's one-click requests come from few
ADDRESS_EACH, ADDRESS_WAITING = 32, 512  # with a key or a session, however many those are
STREAMS, STREAMS_EACH = 400, 20
REST_S = 0.025
PUT_OFF_S, PUT_OFF_MAX = 1.0, 300


def takes_a_list(scope: Scope) -> bool:
    return scope["method"] == "POST" and TAKES_A_LIST.fullmatch(scope["path"]) is not None


class BodyLimit:
    """ASGI middleware. What is too large is a 413, and what is too slow a 408, raised where the body is read."""

    def __init__(self, app: ASGIApp, upload_max_mb: int) -> None:
        self._app = app
        self._upload_bytes_max = upload_max_mb * 2**20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        body = _Body(receive, self._upload_bytes_max if takes_a_list(scope) else SMALL_BYTES_MAX,
                     int(declared) if declared.isdigit() else 0)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 413:
                await body.read_on()
            for piece in _in_pieces(message):
                await send(piece)

        await self._app(scope, body.counted, answered)


class _Body:
    """One request's, on its way in."""

    def __init__(self, receive: Receive, bytes_max: int, declared: int) -> None:
        self._receive = receive
        self._bytes_max, self._declared = bytes_max, declared
        self._received, self._has_more = 0, True
        self._began: float | None = None

    async def counted(self) -> Message:
        """The next of it. Raises HTTPException 408, 413."""
        message = await self._taken()
        if max(self._declared, self._received) > self._bytes_max:
            raise HTTPException(413, f"The request is larger than {_size(self._bytes_max)}, the most that this address takes.")
        return message

    async def read_on(self) -> None:
        """A sender that is cut off while it writes never reads the answer."""
        enough = self._received + READ_ON_BYTES_MAX
        with suppress(HTTPException, TimeoutError):
            async with asyncio.timeout(READ_ON_S):
                while self._has_more and self._received < enough:
                    await self._taken()

    async def _taken(self) -> Message:
        if not self._has_more:  # what is waited for now is the end of the connection
            return await self._receive()
        self._began = self._began or asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(self._began + BODY_S + self._received / BODY_OCTETS_PER_S):
                message = await self._receive()
        except TimeoutError:
            self._has_more = False
            raise HTTPException(408, "The request came too slowly.", headers={"Connection": "close"}) from None
        self._received += len(message.get("body", b""))
        self._has_more = message["type"] == "http.request" and message.get("more_body", False)
        return message


class Places:
    """ASGI middleware: nobody has more requests at work at once than leave room for others. What is too much is a 429.

    A small body is there before its request takes a place, so that a slow sender keeps nobody from one. A place of somebody
    without a key, or with a wrong one, is free again a moment after its answer.
    """

    def __init__(self, app: ASGIApp, account_of: Callable[[str], Awaitable[int | None]]) -> None:
        self._app = app
        self._account_of = account_of
        self._accounts: dict[bytes, int] = {}  # of the keys that came, by their digests
        self._new_keys = Turns(AT_WORK, each=ANONYMOUS_EACH, waiting=ANONYMOUS_WAITING)
        self._addresses = Turns(AT_WORK, each=ADDRESS_EACH, waiting=ADDRESS_WAITING)
        self._anonymous = Turns(AT_WORK, each=ANONYMOUS_EACH, waiting=ANONYMOUS_WAITING)
        self._known = Turns(AT_WORK, each=KNOWN_EACH, waiting=KNOWN_WAITING)
        self._lists = Turns(AT_WORK, each=KNOWN_EACH, waiting=KNOWN_WAITING)  # they may take long, and keep no read waiting
        self._streams = Turns(STREAMS, each=STREAMS_EACH, waiting=0)
        self._put_off = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as stream, AsyncExitStack() as place:
            try:
                if not takes_a_list(scope):
                    receive = await _whole_body(receive)
                was_let_in = await self._take(stream, place, scope)
            except (HTTPException, TooMany) as error:
                await self._refused(error, scope)(scope, receive, send)
                return

            async def sent(message: Message) -> None:
                nonlocal was_let_in
                was_let_in = was_let_in and message.get("status") != 401
                if message.get("status") == 401:
                    self._accounts.pop(_digest(_key(scope)), None)  # it was revoked: it takes no place of its account's any more
                if IS_A_STREAM.fullmatch(scope["path"]) and was_let_in:
                    await place.aclose()  # what it takes from now on is little
                await send(message)

            await self._app(scope, receive, sent)
            if not was_let_in:
                await asyncio.sleep(REST_S)

    async def _take(self, stream: AsyncExitStack, place: AsyncExitStack, scope: Scope) -> bool:
        """Whether it brings an account's key, or a session, genuine or not."""
        address = scope["client"][0] if scope["client"] else ""
        try:
            if (whose := await self._whose(scope, address)) is None:
                await place.enter_async_context(self._anonymous.taken(address))
                return False
            if IS_A_STREAM.fullmatch(scope["path"]):
                await stream.enter_async_context(self._streams.taken(whose))
            known = self._lists if takes_a_list(scope) else self._known
            await place.enter_async_context(known.taken(whose))
            await place.enter_async_context(self._addresses.taken(address))
        except TooMany:
            # Whoever is refused and asks again at once would keep us busy with that alone.
            if self._put_off < PUT_OFF_MAX:
                self._put_off += 1
                try:
                    await asyncio.sleep(uniform(PUT_OFF_S, 3 * PUT_OFF_S))  # noqa: S311 - or they would all come back at once
                finally:
                    self._put_off -= 1
            raise
        return True

    async def _whose(self, scope: Scope, address: str) -> Hashable | None:
        """The account that the key is of, however it is spelt; the session, genuine or not; None without either."""
        if not scope["path"].startswith("/api/"):
            cookies = HTTPConnection(scope).cookies
            session = next((cookies[name] for name in COOKIES if cookies.get(name)), "")
            return _digest(session) if session else None
        key = _key(scope)
        digest = _digest(key)
        if key and digest not in self._accounts:
            async with self._new_keys.taken(address):
                if digest not in self._accounts and (account := await self._account_of(key)) is not None:
                    self._accounts[digest] = account
        return self._accounts.get(digest)

    def _refused(self, error: HTTPException | TooMany, scope: Scope) -> Response:
        is_api = scope["path"].startswith("/api/")
        if isinstance(error, TooMany):
            return of_postroom_error(error) if is_api else trouble(429, str(error))
        return of_http(error) if is_api else trouble(error.status_code, error.detail)


def _key(scope: Scope) -> str:
    """The API's, as its routes will read it; "" where there is none."""
    return get_authorization_scheme_param(HTTPConnection(scope).headers.get("authorization"))[1].strip()


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


async def _whole_body(receive: Receive) -> Receive:
    """What gives the same again. Raises HTTPException 408, 413."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    waiting = iter(messages)

    async def again() -> Message:
        return next(waiting, None) or await receive()

    return again


def _in_pieces(message: Message) -> Iterator[Message]:
    body = message.get("body", b"")
    last = (max(len(body), 1) - 1) // PIECE_OCTETS * PIECE_OCTETS
    for start in range(0, last, PIECE_OCTETS):
        yield {"type": "http.response.body", "body": body[start : start + PIECE_OCTETS], "more_body": True}
    yield {**message, "body": body[last:]} if last else message


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 1024} KiB"
