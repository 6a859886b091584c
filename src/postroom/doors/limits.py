"""What one request may take: no more octets and no more time than its address can use, and no more places than others leave.

    its body      refused by its Content-Length, or as soon as it has sent too much, or has taken too long
    its answer    goes out in pieces, so that one that nobody takes is not kept whole
    its place     each account, with all its keys, each session and each address has a few requests at work at once; the others
                  wait, and too many are refused

What comes to a way out (`/u/`) acts whatever its body is: that is thrown away, within the same bounds.

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
from postroom.errors import InvalidInput, PostroomError, TooMany, Unavailable

# A note of 1,000 letters may take 12 octets each, escaped; what is refused of more costs more than it is worth.
SMALL_BYTES_MAX, POSITIONS_BYTES_MAX = 16 * 1024, 64 * 1024
PARAMETERS_MAX = 50
READ_ON_BYTES_MAX, READ_ON_S = 8 * 2**20, 5.0
# The addresses at which lists come in: the API's POST /jobs and POST /previews, the page's form and its look ahead. Whole paths:
# who is not signed in may choose the end of another one, such as /u/send.
TAKES_A_LIST = re.compile(r"/api/v1/(?:jobs|previews)|/accounts/[0-9]+/send(?:/preview)?")
NAMES_POSITIONS = re.compile(r"/(?:api/v1|accounts/[0-9]+)/jobs/[0-9]+/settlements")
IS_A_WAY_OUT = re.compile(r"/u/[^/]+")
IS_A_STREAM = re.compile(r"/(?:api/v1|accounts/[0-9]+)/jobs/[0-9]+/events")
BODY_S = 10.0  # for any body, and more for each octet of it
BODY_OCTETS_PER_S = 16 * 1024  # slower than any line that people send lists by
PIECE_OCTETS = 256 * 1024

AT_WORK = 256  # requests, of everybody
KNOWN_EACH, KNOWN_WAITING = 4, 60  # of an account or a session
ANONYMOUS_EACH, ANONYMOUS_WAITING = 4, 512  # of an address: a provider's one-click requests come from few
ADDRESS_EACH, ADDRESS_WAITING = 32, 512  # with a key or a session, however many those are
STREAMS, STREAMS_EACH, ADDRESS_STREAMS = 400, 20, 100
REST_S = 0.025  # of a place, after an answer that says no
PUT_OFF_S = 1.0


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
        body = _Body(receive, self._bytes_max(scope), int(declared) if declared.isdigit() else 0)

        taken: Receive = body.counted
        if scope["method"] == "POST" and IS_A_WAY_OUT.fullmatch(scope["path"]):
            await body.read_on()
            taken = _again([{"type": "http.request"}], receive)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 413:
                await body.read_on()
            for piece in _in_pieces(message):
                await send(piece)

        await self._app(scope, taken, answered)

    def _bytes_max(self, scope: Scope) -> int:
        if takes_a_list(scope):
            return self._upload_bytes_max
        return POSITIONS_BYTES_MAX if NAMES_POSITIONS.fullmatch(scope["path"]) else SMALL_BYTES_MAX


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
        """Throws it away, most of it: a sender that is cut off while it writes never reads the answer."""
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

    A small body is there before its request takes a place, so that a slow sender keeps nobody from one. The place of somebody
    without a key or a session, and of what is refused, is free again a moment after its answer. `account_of` says whose a key is,
    `is_session` whether a cookie is one.
    """

    def __init__(self, app: ASGIApp, account_of: Callable[[str], Awaitable[int | None]],
                 is_session: Callable[[str], Awaitable[bool]]) -> None:
        self._app = app
        self._account_of, self._is_session = account_of, is_session
        self._whose: dict[bytes, Hashable] = {}  # the keys and sessions that came, by their digests
        self._new = Turns(AT_WORK, each=ANONYMOUS_EACH, waiting=ANONYMOUS_WAITING)  # those that came for the first time
        self._looks = Turns(AT_WORK, each=ANONYMOUS_EACH, waiting=ANONYMOUS_WAITING)  # at /healthz
        self._addresses = Turns(AT_WORK, each=ADDRESS_EACH, waiting=ADDRESS_WAITING)
        self._anonymous = Turns(AT_WORK, each=ANONYMOUS_EACH, waiting=ANONYMOUS_WAITING)
        self._known = Turns(AT_WORK, each=KNOWN_EACH, waiting=KNOWN_WAITING)
        self._lists = Turns(AT_WORK, each=KNOWN_EACH, waiting=KNOWN_WAITING)  # they may take long, and keep no read waiting
        self._streams = Turns(STREAMS, each=STREAMS_EACH, waiting=0)
        self._address_streams = Turns(STREAMS, each=ADDRESS_STREAMS, waiting=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as stream, AsyncExitStack() as place:
            try:
                if scope["query_string"].count(b"&") >= PARAMETERS_MAX:
                    raise InvalidInput(f"The address has more than {PARAMETERS_MAX} parameters.", field="query")
                if not takes_a_list(scope):
                    receive = await _whole_body(receive)
                was_served = await self._take(stream, place, scope)
            except (HTTPException, PostroomError) as error:
                await self._refused(error, scope)(scope, receive, send)
                return

            async def sent(message: Message) -> None:
                nonlocal was_served
                was_served = was_served and message.get("status", 200) < 400
                if message.get("status") == 401:
                    self._whose.pop(_digest(_secret(scope)), None)  # it was revoked: it takes no place of its account any more
                if IS_A_STREAM.fullmatch(scope["path"]) and was_served:
                    await place.aclose()  # what it takes from now on is little
                await send(message)

            await self._app(scope, receive, sent)
            if not was_served:
                await asyncio.sleep(REST_S)

    async def _take(self, stream: AsyncExitStack, place: AsyncExitStack, scope: Scope) -> bool:
        """Whether it is known whose it is."""
        address = scope["client"][0] if scope["client"] else ""
        try:
            if scope["path"] == "/healthz":
                await place.enter_async_context(self._looks.taken(address))
                return False
            if (whose := await self._known_as(scope, address)) is None:
                await place.enter_async_context(self._anonymous.taken(address))
                return False
            if IS_A_STREAM.fullmatch(scope["path"]):
                await stream.enter_async_context(self._streams.taken(whose))
                await stream.enter_async_context(self._address_streams.taken(address))
            known = self._lists if takes_a_list(scope) else self._known
            await place.enter_async_context(known.taken(whose))
            await place.enter_async_context(self._addresses.taken(address))
        except TooMany:
            # Whoever is refused and asks again at once would keep us busy with that alone.
            await asyncio.sleep(uniform(PUT_OFF_S, 3 * PUT_OFF_S))  # noqa: S311 - or they would all come back at once
            raise
        return True

    async def _known_as(self, scope: Scope, address: str) -> Hashable | None:
        """The account of a key, however that is spelt; the session of a cookie; None without either, or with one that there is
        not."""
        secret = _secret(scope)
        digest = _digest(secret)
        if secret and digest not in self._whose:
            async with self._new.taken(address):
                if digest not in self._whose and (whose := await self._look_up(scope, secret, digest)) is not None:
                    self._whose[digest] = whose
        return self._whose.get(digest)

    async def _look_up(self, scope: Scope, secret: str, digest: bytes) -> Hashable | None:
        """None while the database cannot be asked, too: its request is told why."""
        with suppress(Unavailable):
            if _is_of_the_api(scope):
                return await self._account_of(secret)
            if await self._is_session(secret):
                return digest
        return None

    def _refused(self, error: HTTPException | PostroomError, scope: Scope) -> Response:
        if isinstance(error, PostroomError):
            answer = of_postroom_error(error)
            return answer if _is_of_the_api(scope) else trouble(scope, answer.status_code, str(error))
        return of_http(error) if _is_of_the_api(scope) else trouble(scope, error.status_code, error.detail)


def _is_of_the_api(scope: Scope) -> bool:
    return str(scope["path"]).startswith("/api/")


def _secret(scope: Scope) -> str:
    """The key or the cookie, as the routes will read it; "" where there is none."""
    request = HTTPConnection(scope)
    if _is_of_the_api(scope):
        return get_authorization_scheme_param(request.headers.get("authorization"))[1].strip()
    return next((request.cookies[name] for name in COOKIES if request.cookies.get(name)), "")


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


async def _whole_body(receive: Receive) -> Receive:
    """What gives the same again. Raises HTTPException 408, 413."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return _again(messages, receive)


def _again(messages: list[Message], receive: Receive) -> Receive:
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
