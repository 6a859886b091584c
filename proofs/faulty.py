"""A gateway that does as it should but in one place: there it commits the fault that it was armed with.

It writes down whom it accepted before it says so, and whatever it does to the connection, it goes on serving the next one.
What a fault does is a step: a coroutine that is given the yes which was due and the two ends of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_network
from types import TracebackType
from typing import NoReturn, Self

from postroom.gateway.dialer import Dialer
from postroom.gateway.replies import Phase
from postroom.tasks import end

Fault = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]  # whether it said yes nevertheless

LOOPBACK_DIALER = Dialer((ip_network("127.0.0.0/8"),))  # of those who speak to such a gateway: it is on this machine
DRIP_EVERY_S = 0.02
MESSAGE_ID = re.compile(rb"^message-id: *(\S+)", re.IGNORECASE | re.MULTILINE)
YES = {Phase.CONNECT: b"220 here\r\n", Phase.STARTTLS: b"220 2.0.0 go ahead\r\n", Phase.AUTH: b"235 2.7.0 welcome\r\n",
       Phase.DATA: b"354 go on\r\n", Phase.QUIT: b"221 2.0.0 bye\r\n"}
# Small segments and a small buffer: of a long message most is then still on its way when the gateway objects.
SEGMENT_OCTETS = 1_400
BUFFER_OCTETS = 64 * 1024
READ_AHEAD_OCTETS = 16 * 1024
CONTENT_OCTETS_READ = 10_000  # of a message whose content meets the fault


class Gone(Exception):
    """The gateway has done with this connection."""


# -- what may go wrong -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Says:
    """Another reply; after 421 it hangs up (RFC 5321 section 3.8). What it refuses it has not taken."""

    reply: bytes

    async def __call__(self, yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(self.reply + b"\r\n")
        if self.reply.startswith(b"421"):
            raise Gone
        return False


async def hangs_up(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    """FIN."""
    raise Gone


async def resets(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    """RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise Gone


async def keeps_silent(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    """It hears everything and says nothing, until the client has gone."""
    while await reader.read(65_536):
        pass
    raise Gone


async def stops_reading(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    """It takes nothing more."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()
    raise Gone


async def talks_nonsense(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"\xff\xfe<html>\r\n")
    return False


async def never_ends_its_reply(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    """One line after the other of the same reply."""
    while not (reader.at_eof() or writer.is_closing()):
        writer.write((yes[:3] + b"-and another thing\r\n") * 20)
        await writer.drain()
        await asyncio.sleep(0)
    raise Gone


async def puts_a_nul_into_it(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """The yes, with octets in its text that no database and no terminal would like."""
    writer.write(yes[:4] + b"nul \0 escape \x1b " + yes[4:])
    return True


async def answers_too_early(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """The yes, and in the same segment another one, to what nobody has said yet."""
    writer.write(yes + b"250 2.0.0 and that too\r\n")
    return True


async def drips(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    """The yes octet by octet, so slowly that it would take a quarter of an hour."""
    for octet in yes[:4] + b"." * 50_000 + b"\r\n":
        if reader.at_eof() or writer.is_closing():
            break
        writer.write(bytes([octet]))
        await asyncio.sleep(DRIP_EVERY_S)
    raise Gone


async def half_closes(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    """It will say no more, and listens on."""
    writer.write_eof()
    await keeps_silent(yes, reader, writer)


async def says_go_ahead_and_speaks_no_tls(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    writer.write(yes)
    await reader.read(5)
    writer.write(b"220 what was that?\r\n" * 5)
    await keeps_silent(yes, reader, writer)


async def hangs_up_in_the_handshake(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    writer.write(yes)
    await reader.read(5)
    raise Gone


async def is_silent_in_the_handshake(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
    writer.write(yes)
    await keeps_silent(yes, reader, writer)


def shows_a_certificate(context: ssl.SSLContext) -> Fault:
    """Of somebody else."""
    async def fault(yes: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> NoReturn:
        writer.write(yes)
        with contextlib.suppress(OSError):
            await writer.start_tls(context)
        raise Gone
    return fault


# -- the gateway -------------------------------------------------------------------------------------------------------


class Faulty:
    """`async with Faulty(...) as gateway` listens on 127.0.0.1. `taken` counts the messages that it has, by Message-ID.

    `arm` it, and when it comes to this phase for the `nth` time it commits the fault, so many `times` in a row; with `content` at
    DATA in the middle of the content that follows, of which it has read 10,000 octets.
    """

    def __init__(self, *, pipelining: bool = True, login: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.taken: Counter[str] = Counter()
        self.struck = False  # the fault was committed
        lines = [b"here", *([b"PIPELINING"] if pipelining else []), *([b"AUTH PLAIN"] if login else []),
                 *([b"STARTTLS"] if tls else []), b"ENHANCEDSTATUSCODES"]
        self._hello = b"".join(b"250-%b\r\n" % line for line in lines[:-1]) + b"250 %b\r\n" % lines[-1]
        self._tls = tls
        self._armed: dict[tuple[Phase, bool], tuple[int, int, Fault]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def arm(self, phase: Phase, fault: Fault, *, nth: int = 1, times: int = 1, content: bool = False) -> None:
        self._armed[phase, content] = nth, times, fault

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_OCTETS)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_OCTETS)
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=READ_AHEAD_OCTETS)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        await end(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(Gone, OSError, asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(Phase.CONNECT, reader, writer)
        recipient = False
        while line := await reader.readline():
            phase = Phase(line.split()[0].decode("ascii").upper())
            if phase is Phase.DATA and not recipient:
                writer.write(b"503 5.5.1 there is no recipient\r\n")
                continue
            yes = await self._answer(phase, reader, writer)
            if phase is Phase.RCPT:
                recipient = yes
            elif phase is Phase.STARTTLS and yes:
                assert self._tls is not None
                await writer.start_tls(self._tls)
            elif phase is Phase.DATA and yes:
                await self._take(reader, writer)
            elif phase is Phase.QUIT:
                raise Gone
            await writer.drain()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The content; then the record of it, and only then the answer to its dot."""
        if (fault := self._due(Phase.DATA, content=True)) is not None:
            await reader.readexactly(CONTENT_OCTETS_READ)
            await fault(b"250 2.0.0 that will do\r\n", reader, writer)
            await keeps_silent(b"", reader, writer)
        content = bytearray()
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise Gone
            content += line
        found = MESSAGE_ID.search(bytes(content))
        assert found is not None, "a message without a Message-ID"
        if not isinstance(self._fault_at(Phase.DOT), Says):
            self.taken[found[1].decode()] += 1
        await self._answer(Phase.DOT, reader, writer)

    async def _answer(self, phase: Phase, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Says yes, unless this is where it goes wrong. Whether it said yes."""
        yes = self._hello if phase is Phase.EHLO else YES.get(phase, b"250 2.0.0 ok\r\n")
        if (fault := self._due(phase)) is not None:
            return await fault(yes, reader, writer)
        writer.write(yes)
        return True

    def _due(self, phase: Phase, *, content: bool = False) -> Fault | None:
        """Counts, and gives the fault where it is its turn."""
        if (armed := self._armed.get((phase, content))) is None:
            return None
        nth, times, fault = armed
        self._armed[phase, content] = nth - 1, times, fault
        self.struck = self.struck or nth == 1
        return fault if 1 - times < nth <= 1 else None

    def _fault_at(self, phase: Phase) -> Fault | None:
        """The fault whose turn comes next, if it is now."""
        nth, times, fault = self._armed.get((phase, False), (2, 0, hangs_up))
        return fault if 1 - times < nth <= 1 else None
