"""One connection to a gateway, spoken command by command, and the time that each step may take.

Promises: one command gets one reply, counted; whatever surprises a conversation ends it at once and for good, and the
first reason is kept. Fails: `ask` raises ConnectionError with that reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from postroom.gateway.replies import Phase, ProtocolError, Reply, ReplyParser, printable
from postroom.gateway.secrecy import Hide, nothing


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that each step may take as a whole, however slowly octets trickle in (RFC 5321 section 4.5.3.2).

    `content_s` is for each block of a long message. `dot_s` is never made shorter for speed: a reply that is not
    waited for turns into doubt about a message that may well have been taken.
    """

    connect_s: float = 60
    tls_s: float = 60
    greeting_s: float = 300
    ehlo_s: float = 300
    auth_s: float = 300
    mail_s: float = 300
    rcpt_s: float = 300
    data_s: float = 120
    content_s: float = 180
    dot_s: float = 600
    quit_s: float = 2

    def by_phase(self) -> dict[Phase, float]:
        """How long to wait for the reply in each phase. RSET is as quick as MAIL."""
        return {
            Phase.CONNECT: self.greeting_s,
            Phase.EHLO: self.ehlo_s,
            Phase.STARTTLS: self.tls_s,
            Phase.AUTH: self.auth_s,
            Phase.MAIL: self.mail_s,
            Phase.RCPT: self.rcpt_s,
            Phase.DATA: self.data_s,
            Phase.DOT: self.dot_s,
            Phase.RSET: self.mail_s,
            Phase.QUIT: self.quit_s,
        }


class Conversation(asyncio.Protocol):
    """One connection, spoken command by command: `ask`. Whatever surprises it ends it for good; `ended` says why.

    The transport only ever ends by `drop`, so that a reason is always known, and the first one stays.
    """

    def __init__(self, deadlines: Deadlines, hide: Hide = nothing) -> None:
        self.ended = ""
        self._deadlines = deadlines
        self._seconds = deadlines.by_phase()
        self._loop = asyncio.get_running_loop()
        self.hide = hide  # our login, in whatever the gateway says
        self._parser = ReplyParser(hide)
        self._transport: asyncio.Transport
        self._closed: asyncio.Future[None] = self._loop.create_future()
        # The greeting may come before anybody listens, so it counts as asked for from the beginning.
        self._asked: asyncio.Future[Reply] | None = self._loop.create_future()

    def hide_what(self, hide: Hide) -> None:
        """From now on this is hidden in what the gateway says."""
        self.hide = self._parser.hide = hide

    @property
    def lines(self) -> tuple[bytes, ...]:
        """The latest reply line by line, uncut."""
        return self._parser.lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream, as create_connection makes them

    def eof_received(self) -> None:
        """The gateway says no more. A transport that is left to end by itself would first write all that we still give it, and
        with the dot of a long message a doubt that need not be."""
        self.drop("the gateway closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(f"the connection broke ({exc})" if exc else "the gateway closed the connection")
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """One reply to what was asked, and not an octet more: anything else ends the connection."""
        if self.ended:
            return
        if self._asked is None or self._asked.done():
            self.drop(f"the gateway spoke without being asked: “{printable(self.hide(data)[:200]).strip()}”")
            return
        self._parser.feed(data)
        try:
            reply = self._parser.next()
        except ProtocolError as garbage:
            self.drop(str(garbage))
            return
        if reply is not None and self._parser.pending:
            self.drop(f"the gateway said more than it was asked after “{reply}”")
        elif reply is not None:
            self._asked.set_result(reply)

    def drop(self, detail: str) -> None:
        """Ends the connection at once. What was not yet given to the kernel is never sent."""
        if self.ended:
            return
        self.ended = detail
        if hasattr(self, "_transport"):
            self._transport.abort()
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(ConnectionError(detail))
            self._asked.exception()  # nobody may be listening, and that is fine

    async def ask(self, phase: Phase, line: bytes | None) -> Reply:
        """Sends one command (None: none, the greeting is awaited) and returns its reply.

        ConnectionError with the reason when the connection ended, TimeoutError when the phase's time is up; the
        connection is gone then too.
        """
        if self.ended:
            raise ConnectionError(self.ended)
        if line is not None:
            self._asked = self._loop.create_future()
            self._transport.write(line + b"\r\n")
        assert self._asked is not None
        try:
            async with asyncio.timeout(self._seconds[phase]):
                return await self._asked
        except TimeoutError:
            self.drop(f"no answer to {phase.value} within {self._seconds[phase]:g} seconds")
            raise ConnectionError(self.ended) from None
        except asyncio.CancelledError:
            self.drop("the set-up was cancelled")
            raise
        finally:
            self._asked = None

    async def wait_closed(self) -> None:
        """Waits a moment until the socket is given back; a socket that does not close is not waited for."""
        if hasattr(self, "_transport"):
            await asyncio.wait([self._closed], timeout=1)
