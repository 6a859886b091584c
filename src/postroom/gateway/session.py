"""One SMTP session: hands message after message to a gateway and always knows what became of each.

Promises
    Each envelope gets one answer at most: `replied` with the gateway's own words, or `lost` when the connection went
    in the critical moment (final dot given to the kernel, reply not read). One that gets neither was not handed off,
    and that is certain. A refused recipient never harms the next. Replies are matched by counting them, never by
    what they say (RFC 2920 section 3.1); a session that lost count is closed and never used again.

Fails with `SessionLost` when the connection is gone, after `lost` where that is due. An exception of the source closes
the session and comes out of `hand_off` as it is.

The way of an envelope, and the function that moves it on:

    next()  --_announce_next-->  announced  --_hand_over-->  in doubt  --_book-->  replied
              MAIL RCPT DATA         |         content, dot      |
                                     +--_book--> replied         +--drop--> lost
                                     +--drop--> (not handed off)

One write and one round trip a message: "content and dot of n, MAIL RCPT DATA of n+1" is one group (RFC 2920 allows
content as the first part of a group). No coroutine wakes per message, which is what makes this fast: everything up to
the end of the window happens in the callbacks of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from postroom.errors import Unavailable
from postroom.gateway.connect import Endpoint, GatewayError, GatewayRefused, GatewayUnreachable, TokenOutdated, establish
from postroom.gateway.conversation import Conversation, Deadlines
from postroom.gateway.pieces import Pieces, in_pieces
from postroom.gateway.replies import Phase, ProtocolError, Reply, accepts, good_group, refuses
from postroom.gateway.secrecy import Hide, nothing
from postroom.gateway.source import Envelope, Source

__all__ = ["Deadlines", "Endpoint", "Envelope", "GatewayError", "GatewayRefused", "GatewayUnreachable", "Session", "SessionLost",
           "Source", "open_session"]

TICK_MAX_S: Final = 0.5
_AFTER_DOT: Final = (Phase.DOT, Phase.MAIL, Phase.RCPT, Phase.DATA)
_LAST_DOT: Final = (Phase.DOT,)
_ANNOUNCE: Final = (Phase.MAIL, Phase.RCPT, Phase.DATA)
_RESET_ANNOUNCE: Final = (Phase.RSET, Phase.MAIL, Phase.RCPT, Phase.DATA)


class SessionLost(Unavailable):
    """The connection is gone in this phase. `lost_count` means that the gateway's replies no longer matched our
    commands: the next session with it should set `Endpoint.pipelining` to False.
    """

    def __init__(self, phase: Phase, detail: str, *, lost_count: bool = False) -> None:
        super().__init__(f"The connection to the gateway ended at {phase.value}: {detail}.")
        self.phase = phase
        self.detail = detail
        self.lost_count = lost_count


async def open_session(endpoint: Endpoint, deadlines: Deadlines | None = None) -> Session:
    """A session that may take messages. GatewayRefused or GatewayUnreachable says why there is none."""
    try:
        return await _opened(endpoint, deadlines or Deadlines())
    except TokenOutdated:
        return await _opened(endpoint, deadlines or Deadlines())


async def _opened(endpoint: Endpoint, deadlines: Deadlines) -> Session:
    session = Session(deadlines, endpoint.hide)
    extensions = await establish(endpoint, session, deadlines)
    session.ready(extensions, pipelining=endpoint.pipelining)
    return session


class Session(Conversation):
    """One connection that is logged in. `hand_off` for each window, then `close`; `abort` when there is no time."""

    def __init__(self, deadlines: Deadlines, hide: Hide = nothing) -> None:
        super().__init__(deadlines, hide)
        self.extensions: dict[str, str] = {}
        self.handed_off = 0  # final dots given to the kernel
        self._pipelining = False
        self._tick_s = min(TICK_MAX_S, min(self._seconds.values()) / 4)
        self._now = self._loop.time

        self._source: Source | None = None  # set exactly while a window is being handed off
        self._done: asyncio.Future[None] | None = None
        self._error: Exception | None = None  # what the source raised
        self._deadline = 0.0
        self._owed: tuple[Phase, ...] = ()  # the replies of this group, in order
        self._counted = 0  # how many of them were read
        self._lost_count = False

        self._announced: Envelope | None = None  # MAIL RCPT DATA are out, none of them refused so far
        self._steps: list[bytes] = []  # lock-step: the commands not yet spoken
        self._step_phases: list[Phase] = []
        self._reset_due = False  # something was refused: RSET before the next MAIL
        self._in_doubt: Envelope | None = None  # the critical moment: its dot is out, its reply is not in

        self._long: Envelope | None = None  # its content is going out in pieces
        self._pieces: Pieces = iter(())
        self._dot = b""  # what goes with the last of them
        self._interrupted = False  # the gateway answered before the content was complete
        self._paused = False

    def ready(self, extensions: dict[str, str], *, pipelining: bool) -> None:
        """The set-up is over: these are the gateway's extensions."""
        self.extensions = extensions
        self._pipelining = pipelining and "PIPELINING" in extensions

    @property
    def offers_utf8(self) -> bool:
        """Whether the gateway takes addresses and headers in UTF-8. It has to offer both for that (RFC 6531 section 3.1)."""
        return "SMTPUTF8" in self.extensions and "8BITMIME" in self.extensions

    @property
    def size_max(self) -> int | None:
        """Octets of the largest message that the gateway says it takes; None where it names no limit (RFC 1870)."""
        size = self.extensions.get("SIZE", "")
        return int(size) or None if size.isdecimal() and len(size) <= 20 else None

    @property
    def usable(self) -> bool:
        """Whether another window may be handed off: connected, nothing unexpected was said, no window is open."""
        return not self.ended and not self._transport.is_closing() and self._source is None

    async def hand_off(self, source: Source) -> None:
        """Hands off what the source has, until it has no more. The session can then be used again.

        Cancelling it drops the connection, and `lost` is called if the moment was critical: let the source end the
        window instead.
        """
        if not self.usable:
            raise SessionLost(Phase.MAIL, self.ended or "the connection is closing or busy")
        self._source = source
        self._done = self._loop.create_future()
        self._timer = self._loop.call_later(self._tick_s, self._tick)
        try:
            self._guarded_announce()
            await self._done
        except asyncio.CancelledError:
            self.drop("the hand-off was cancelled")
            raise
        finally:
            self._timer.cancel()
            self._done = None

    async def close(self) -> None:
        """Says goodbye, waits a moment for the answer, and gives the socket back. Never raises."""
        if self.usable:
            with contextlib.suppress(ConnectionError):
                await self.ask(Phase.QUIT, b"QUIT")
        self.drop("closed")
        await self.wait_closed()

    def abort(self) -> None:
        """Drops the connection at once. In the critical moment that is a loss like any other."""
        self.drop("the session was aborted")

    # -- what the connection tells us -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        source = self._source
        if source is None:
            super().data_received(data)
            return
        try:
            if (
                self._owed is _AFTER_DOT
                and self._counted == 0
                and not self._parser.pending
                and (reply := good_group(data, self.hide)) is not None
            ):
                envelope, self._in_doubt = self._in_doubt, None
                assert envelope is not None
                source.replied(envelope, Phase.DOT, reply)
                self._hand_over()
                return
            if self._long is not None:
                self._interrupt()
            self._parser.feed(data)
            self._read_replies(source)
        except Exception as error:  # it belongs to whoever called hand_off
            self._error = error
            self.drop(f"the sender stopped with an error ({type(error).__name__})")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._long is not None:
            self._write_pieces()

    def drop(self, detail: str) -> None:
        """The one way in which a connection ends. Books the doubt, if there is any, and ends the window."""
        if self.ended:
            return
        phase = self._phase()
        super().drop(detail)
        source, self._source = self._source, None
        if source is None:
            return
        error = self._error or SessionLost(phase, detail, lost_count=self._lost_count)
        envelope, self._in_doubt = self._in_doubt, None
        if envelope is not None:
            try:
                source.lost(envelope, detail)
            except Exception as raised:  # it belongs to whoever called hand_off
                error = raised
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def _tick(self) -> None:
        """One coarse timer a session: a call_later a message would cost more than the message."""
        if self._source is None:
            return
        if self._now() > self._deadline:
            phase = self._phase()
            limit = self._deadlines.content_s if self._long is not None else self._seconds[phase]
            self.drop(f"no answer within {limit:g} seconds")
        else:
            self._timer = self._loop.call_later(self._tick_s, self._tick)

    def _phase(self) -> Phase:
        """The phase whose reply we wait for; while content is going out, that of DATA."""
        return self._owed[self._counted] if self._counted < len(self._owed) else Phase.DATA

    # -- reading --------------------------------------------------------------------------------------------------

    def _read_replies(self, source: Source) -> None:
        """Takes the replies that are owed, in order, and looks that there is nothing beyond the last."""
        while True:
            try:
                reply = self._parser.next()
            except ProtocolError as garbage:
                self.drop(str(garbage))
                return
            if reply is None:
                return
            phase = self._owed[self._counted]
            self._book(source, phase, reply)
            if self.ended:
                return
            if reply.code == 421:
                self.drop(f"the gateway closes the session: “{reply}”")
                return
            if self._interrupted:
                self.drop(f"the gateway answered before the message was complete: “{reply}”")
                return
            self._counted += 1
            if self._counted < len(self._owed):
                self._deadline = self._now() + self._seconds[self._owed[self._counted]]
                continue
            if self._parser.pending:  # looked at before any dot goes out
                self._lost_count = True
                self.drop(f"the gateway said more than it was asked after “{reply}”")
                return
            self._go_on()
            return

    def _book(self, source: Source, phase: Phase, reply: Reply) -> None:
        """One counted reply. A refused envelope is told at once; its other replies are only counted."""
        good = accepts(phase, reply.code)
        if not good and not refuses(reply.code):
            self._lost_count = True
            self.drop(f"“{reply}” is no answer to {phase.value}")
        elif phase is Phase.DOT:
            envelope, self._in_doubt = self._in_doubt, None
            assert envelope is not None
            self._reset_due = not good and self._announced is None
            source.replied(envelope, phase, reply)
        elif phase is Phase.RSET:
            if not good:
                self.drop(f"the gateway refuses to start over: “{reply}”")
        elif self._announced is None:
            if phase is Phase.DATA and good:
                # RFC 2920 section 3.1 suggests a lone dot. We drop: should the count be off by one somewhere, that
                # dot would submit an empty message to a real recipient, and no price of a new connection is as high.
                self._lost_count = True
                self.drop("the gateway asks for the content of a message whose recipient it refused")
        elif not good:
            envelope, self._announced = self._announced, None
            self._reset_due = True
            source.replied(envelope, phase, reply)

    def _interrupt(self) -> None:
        """The gateway speaks while content is still going out: no dot will follow, its answer is one to DATA."""
        self._announced, self._long = self._long, None
        self._pieces = iter(())
        self._interrupted = True
        self._owed, self._counted = (Phase.DATA,), 0
        self._deadline = self._now() + self._seconds[Phase.DATA]

    # -- writing --------------------------------------------------------------------------------------------------

    def _guarded_announce(self) -> None:
        try:
            self._announce_next()
        except Exception as error:  # comes out of hand_off, by way of the one ending
            self._error = error
            self.drop(f"the sender stopped with an error ({type(error).__name__})")

    def _go_on(self) -> None:
        """Every reply of the group is in and nothing is left over."""
        if self._announced is None:
            self._announce_next()
        elif self._steps:
            self._speak_step()
        else:
            self._hand_over()

    def _announce_next(self) -> None:
        assert self._source is not None
        envelope = self._source.next()
        if self.ended:
            return
        if envelope is None:
            self._finish()
            return
        phases = _RESET_ANNOUNCE if self._reset_due else _ANNOUNCE
        commands = self._commands(envelope)
        self._announced = envelope
        if self._pipelining:
            self._write(commands, phases)
        else:
            self._steps = commands.splitlines(keepends=True)
            self._step_phases = list(phases)
            self._speak_step()

    def _commands(self, envelope: Envelope) -> bytes:
        told = b" SIZE=%d" % envelope.size if envelope.size is not None and "SIZE" in self.extensions else b""
        if envelope.utf8:
            if not self.offers_utf8:
                raise ValueError("an address in UTF-8 cannot be told to a gateway that does not offer SMTPUTF8")
            told += b" BODY=8BITMIME SMTPUTF8"
        reset, self._reset_due = (b"RSET\r\n" if self._reset_due else b""), False
        return b"%bMAIL FROM:<%b>%b\r\nRCPT TO:<%b>\r\nDATA\r\n" % (reset, envelope.sender, told, envelope.recipient)

    def _speak_step(self) -> None:
        """Lock-step: one command, one reply."""
        self._write(self._steps.pop(0), (self._step_phases.pop(0),))

    def _hand_over(self) -> None:
        """The gateway said "go ahead": the content and its dot, and with it the announcement of the next."""
        envelope, source = self._announced, self._source
        if source is None:  # the answer before this one made the source abort
            return
        assert envelope is not None
        following = source.next() if self._pipelining else None
        content = source.content(envelope)
        if self.ended:
            return
        if content is None:
            self.drop("the message was withheld")
            return
        ready = in_pieces(content, stuffed=envelope.stuffed)
        dot = b".\r\n" + self._commands(following) if following is not None else b".\r\n"
        self._announced = following
        if isinstance(ready, bytes):
            self._write_dot(envelope, ready + dot)
            return
        self._long, self._pieces, self._dot = envelope, ready, dot
        self._owed, self._counted = (), 0
        self._transport.set_write_buffer_limits(high=1, low=0)  # paused means: not yet in the kernel
        self._write_pieces()

    def _write_pieces(self) -> None:
        """Long content: a piece whenever everything before it is in the kernel, the dot with the last piece."""
        while (envelope := self._long) is not None and not self._paused and not self.ended:
            piece, is_last = next(self._pieces)
            if is_last:
                self._long, self._pieces = None, iter(())
                self._transport.set_write_buffer_limits()
                self._write_dot(envelope, bytes(piece) + self._dot)
            else:
                self._deadline = self._now() + self._deadlines.content_s
                self._transport.write(piece)

    def _write_dot(self, envelope: Envelope, data: bytes) -> None:
        """From the call of write on, and not before, the message may have been handed off: the critical moment."""
        assert self._source is not None
        self._source.handing_over(envelope)
        self._in_doubt = envelope
        self.handed_off += 1
        self._write(data, _LAST_DOT if self._announced is None else _AFTER_DOT)

    def _write(self, data: bytes, owed: tuple[Phase, ...]) -> None:
        self._owed, self._counted = owed, 0
        self._deadline = self._now() + self._seconds[owed[0]]
        self._transport.write(data)

    def _finish(self) -> None:
        """The window is over and the session clean."""
        self._source = None
        assert self._done is not None
        if not self._done.done():
            self._done.set_result(None)
