"""A server that says and expects exactly the octets of its script: for proving what a session does with each of them.

A script is a list of steps for one connection. What is expected must arrive octet for octet; anything else ends the
connection, and leaving the `async with` block fails with both versions side by side.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol


class Surprise(AssertionError):
    """The client said something else than the script has."""


class Step(Protocol):
    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


@dataclass(frozen=True)
class Say:
    """Writes; with `apart` octet by octet, each in a segment of its own."""

    octets: bytes
    apart: bool = False

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in [bytes([octet]) for octet in self.octets] if self.apart else [self.octets]:
            writer.write(piece)
            await asyncio.sleep(0.0005 if self.apart else 0)


@dataclass(frozen=True)
class Drip:
    """Writes an octet every 10 ms until the client has gone."""

    octets: bytes

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for octet in self.octets:
            if reader.at_eof() or writer.is_closing():
                break
            writer.write(bytes([octet]))
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Hear:
    """Reads exactly this."""

    octets: bytes

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard = await reader.readexactly(len(self.octets))
        except asyncio.IncompleteReadError as short:
            heard = short.partial
        if heard != self.octets:
            raise Surprise(f"expected {self.octets[-400:]!r}\n but was {heard[-400:]!r}")


@dataclass(frozen=True)
class HearNothing:
    """The client must say nothing more, and go."""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if rest := await reader.read(65536):
            raise Surprise(f"nothing was expected, but {rest[-400:]!r} came")


@dataclass(frozen=True)
class Hang:
    """Says nothing until the client has gone, whatever the client says."""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass


@dataclass(frozen=True)
class Deaf:
    """Does not even read, for this long, so that the client's writing stalls."""

    seconds: float

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(self.seconds)
        writer.transport.resume_reading()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Reset:
    """Sends RST."""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@dataclass(frozen=True)
class HalfClose:
    """Sends FIN and goes on reading."""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()


@dataclass(frozen=True)
class Tell:
    """Lets the test know that the script has come this far."""

    event: asyncio.Event

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.event.set()


@dataclass(frozen=True)
class StartTls:
    context: ssl.SSLContext

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(self.context)


GREETING = Say(b"220 here\r\n")
EHLO = Hear(b"EHLO localhost\r\n")
QUIT = (Hear(b"QUIT\r\n"), Say(b"221 bye\r\n"))


def opening(*extensions: bytes) -> tuple[Step, ...]:
    """Greeting and EHLO with these extensions."""
    lines = [b"here", *extensions]
    said = b"".join(b"250-%b\r\n" % line for line in lines[:-1]) + b"250 %b\r\n" % lines[-1]
    return (GREETING, EHLO, Say(said))


PIPELINED = opening(b"PIPELINING", b"SIZE 1000000", b"ENHANCEDSTATUSCODES")
LOCK_STEP = opening(b"8BITMIME")


class Scripted:
    """Plays one script for each connection in turn, on 127.0.0.1, and closes after its last step.

    `async with Scripted(script, ...) as server`, with `tls` from the first octet.
    """

    def __init__(self, *scripts: Sequence[Step], tls: ssl.SSLContext | None = None) -> None:
        self.scripts = list(scripts)
        self.tls = tls
        self.surprises: list[str] = []
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Scripted:
        self.server = await asyncio.start_server(self._play, "127.0.0.1", 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.server.close()
        if self.tasks:
            _, stuck = await asyncio.wait(self.tasks, timeout=5)
            self.surprises += ["a script did not come to its end"] * len(stuck)
            for task in stuck:
                task.cancel()
        if self.surprises:
            raise Surprise("\n".join(self.surprises)) from (error if isinstance(error, Exception) else None)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            if not self.scripts:
                raise Surprise("there was a connection too many")
            for step in self.scripts.pop(0):
                await step.play(reader, writer)
            writer.close()
            await writer.wait_closed()
        except Surprise as surprise:
            self.surprises.append(str(surprise))
        except OSError:
            pass  # the client went, as clients do; what it missed is its own affair
        finally:
            writer.transport.abort()
            self.tasks.discard(task)
