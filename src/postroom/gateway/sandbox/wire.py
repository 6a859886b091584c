"""The wire of one conversation with the sandbox gateway: bytes in, replies out, and whether anything is looked at now.

It promises one write for the replies of a pipelined group, replies in the order of their commands, and that content is
never parsed: its bytes are searched for the end of data, across reads. While the wire is held, because an answer is
delayed, TLS begins, or the conversation is over, what the client sends is only kept; plaintext behind STARTTLS is
thrown away (RFC 3207, section 4.2). What the commands mean is the business of the subclass (`session`).
It fails by hanging up. There is no idle timeout: the sandbox ends its open conversations when it closes.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from typing import Final, cast

COMMAND_BYTES_MAX: Final = 2048
RESPONSE_BYTES_MAX: Final = 12_288  # to a challenge of a login (RFC 4954, section 4)
WAITING_BYTES_MAX: Final = 1 << 18
END_OF_DATA: Final = b"\r\n.\r\n"


class Wire(asyncio.Protocol, ABC):
    """One connection. A subclass takes lines and contents, and answers by `_say` or, with a delay, by `_answer`."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._transport: asyncio.Transport | None = None
        self._replies: list[bytes] = []
        self._rest = b""
        self._held = False
        self._timer: asyncio.TimerHandle | None = None
        self._upgrade: asyncio.Task[None] | None = None
        self._line_max = COMMAND_BYTES_MAX
        self._skipping = False
        self._in_content = False
        # The content that is being read: what is kept of it, its size so far, and its last bytes.
        self._pieces: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._kept_bytes_max = 0

    @abstractmethod
    def _opened(self) -> None:
        """The connection stands: greet."""

    @abstractmethod
    def _closed(self) -> None:
        """The connection is gone. May be called twice."""

    @abstractmethod
    def _take_line(self, line: bytes) -> None:
        """One line without its CRLF."""

    @abstractmethod
    def _take_message(self, content: bytes, size: int) -> None:
        """A content has ended. `size` is without the final dot, of which `content` may hold only the beginning."""

    @abstractmethod
    def _forget(self) -> None:
        """TLS stands: forget all that was said before (RFC 3207, section 4.2)."""

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = True
        if self._timer is not None:
            self._timer.cancel()
        self._closed()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self._held:
            self._advance(data)
            return
        self._rest = data
        if len(data) > WAITING_BYTES_MAX and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        # The client does not read its replies: neither do we read its commands.
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        self._held = True
        if self._upgrade is not None:
            self._upgrade.cancel()
        if self._transport is not None:
            self._transport.abort()

    # ---- input

    def _advance(self, data: bytes) -> None:
        """Take every whole command and all content from `data`, then write the replies of the group at once."""
        position, length = 0, len(data)
        while position < length and not self._held:
            if self._in_content:
                position = self._take_content(data, position)
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                break
            line = data[position:end]
            position = end + 2
            if self._skipping or len(line) > self._line_max:
                self._skipping = False
                self._say(b"500 5.5.2 Line too long\r\n")
            else:
                self._take_line(line)
        self._rest = self._rest_of(data[position:]) if position < length else b""
        self._flush()

    def _rest_of(self, rest: bytes) -> bytes:
        """What has to wait for more input; of an endless line only what may be half of its CRLF."""
        if self._held or len(rest) <= self._line_max:
            return rest
        self._skipping = True
        return rest[-1:]

    def _expect_content(self, kept_bytes_max: int) -> None:
        """The next bytes are content. Reads that begin within the first `kept_bytes_max` bytes of it are kept."""
        self._in_content = True
        self._kept_bytes_max = kept_bytes_max
        self._pieces = []
        self._size = 0
        # A dot on the very first line ends the content too: the line break before it is that of DATA.
        self._tail = b"\r\n"

    def _take_content(self, data: bytes, position: int) -> int:
        """Take content up to its end or the end of `data`; returns where the next command starts."""
        seam = self._tail + data[position : position + len(END_OF_DATA) - 1]
        found = seam.find(END_OF_DATA)
        if found >= 0:
            stop = position + found + len(END_OF_DATA) - len(self._tail)
        else:
            found = data.find(END_OF_DATA, position)
            stop = found + len(END_OF_DATA) if found >= 0 else -1
        piece = data[position : stop if stop >= 0 else len(data)]
        if self._size < self._kept_bytes_max:
            self._pieces.append(piece)
        self._size += len(piece)
        if stop < 0:
            self._tail = (self._tail + piece[-4:])[-4:]
            return len(data)
        content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._in_content = False
        self._pieces = []
        self._take_message(content, self._size - len(b".\r\n"))
        return stop

    # ---- output

    def _say(self, reply: bytes) -> None:
        """Queue a reply for the group's one write; after a 421 the conversation is over (RFC 5321, section 3.8)."""
        self._replies.append(reply)
        if reply.startswith(b"421"):
            self._hang_up()

    def _answer(self, reply: bytes, delay_s: float) -> None:
        """Say this after a delay, and look at nothing else until then. An empty reply drops the connection."""
        if delay_s > 0:
            self._flush()
            self._held = True
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._answer_now, reply)
        elif reply:
            self._say(reply)
        else:
            self._hang_up()

    def _answer_now(self, reply: bytes) -> None:
        self._timer = None
        self._held = False
        self._answer(reply, 0.0)
        self._go_on()

    def _flush(self) -> None:
        if self._replies and self._transport is not None:
            self._transport.write(b"".join(self._replies))
            self._replies.clear()

    def _hang_up(self) -> None:
        self._flush()
        self._held = True
        if self._transport is not None:
            self._transport.close()

    def _go_on(self) -> None:
        """Look at the input again, and at what came in meanwhile."""
        if self._held or self._transport is None:
            return
        self._transport.resume_reading()
        rest, self._rest = self._rest, b""
        self._advance(rest)

    # ---- TLS

    def _start_tls(self, context: ssl.SSLContext) -> None:
        """Say so and begin the handshake. Nothing may be read between the two: it would be plaintext."""
        assert self._transport is not None
        self._held = True
        self._transport.pause_reading()
        self._say(b"220 2.0.0 Ready to start TLS\r\n")
        self._flush()
        self._upgrade = asyncio.get_running_loop().create_task(self._shake_hands(self._transport, context))

    async def _shake_hands(self, plain: asyncio.Transport, context: ssl.SSLContext) -> None:
        self._rest = b""
        try:
            secure = await asyncio.get_running_loop().start_tls(plain, self, context, server_side=True)
        except (OSError, asyncio.CancelledError):
            # The client broke the handshake off, or the sandbox closes. The protocol does not hear of it by itself.
            plain.abort()
            self._closed()
            return
        self._transport = secure
        self._secure = True
        self._held = False
        self._forget()
        self._go_on()
