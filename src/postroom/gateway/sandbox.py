"""The sandbox gateway: a real SMTP server on loopback that accepts mail by a script and delivers nothing.

It serves tests, the demo and `postroom sandbox`. It promises that each message it accepts is counted, and recorded
where that is asked for, before the reply that accepts it can leave: its word can be held against the ledger.
How it answers is a `Script` (sandbox_script.py), which may be exchanged while it runs.
It fails at once, with InvalidInput for an address that is not loopback, and with Unavailable for a port that is taken.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from postroom.errors import InvalidInput, Unavailable
from postroom.gateway.sandbox_record import Record, RecordFile, Tally, message_id_of, tally
from postroom.gateway.sandbox_script import DROP, DROP_AFTER_RECORDING, Answer, Refusal, Script, ScriptRun, parse
from postroom.gateway.sandbox_session import Session

__all__ = [
    "DROP",
    "DROP_AFTER_RECORDING",
    "Answer",
    "Record",
    "Refusal",
    "Sandbox",
    "Script",
    "Tally",
    "parse",
    "serve",
    "tally",
]

BACKLOG: Final = 1024
CLOSE_TIMEOUT_S: Final = 5.0


class Sandbox:
    """`async with Sandbox(script=...) as sandbox:` listens on `sandbox.port` until the block ends.

    `record` appends one line per accepted message to that file (see sandbox_record.py, `tally`).
    `keep=True` holds `records` and `contents` in memory, a directory gets a file `<number>.eml` per message instead.
    `tls` offers STARTTLS, or with `implicit_tls` speaks TLS from the first byte; AUTH is then only offered under TLS.
    `mail_at` is the time (seconds since 1970) of the newest MAIL command, 0 before the first.
    """

    def __init__(
        self,
        *,
        script: Script | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        record: Path | None = None,
        keep: bool | Path = False,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        if implicit_tls and tls is None:
            raise InvalidInput("Implicit TLS needs a certificate.", field="tls")
        self.host = _loopback(host)
        self.port = port
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.credentials = credentials
        self.accepted = 0
        self.records: list[Record] = []
        self.contents: list[bytes] = []
        self.connections_total = 0
        self.mail_at = 0.0
        self.greeting = b"220 sandbox.invalid ESMTP Postroom sandbox gateway, delivers nothing\r\n"
        self.keeps_content = bool(keep)
        self.run = ScriptRun(script or Script())
        self._keep = keep
        self._record_path = record
        self._record_file: RecordFile | None = None
        self._server: asyncio.Server | None = None
        self._sessions: set[Session] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def script(self) -> Script:
        return self.run.script

    @script.setter
    def script(self, script: Script) -> None:
        """Exchange the script for all conversations, from their next command on. Its draws start anew."""
        self.run = ScriptRun(script)

    @property
    def open(self) -> bool:
        return self._server is not None

    @property
    def connections(self) -> int:
        """How many conversations are open now."""
        return len(self._sessions)

    # ---- its life

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(self._keep, Path):
            self._keep.mkdir(parents=True, exist_ok=True)
        if self._record_path is not None:
            self._record_file = _record_file(self._record_path)
        try:
            self._server = await loop.create_server(
                lambda: Session(self, secure=self.implicit_tls),
                self.host,
                self.port,
                backlog=BACKLOG,
                ssl=self.tls if self.implicit_tls else None,
            )
        except OSError as error:
            self._close_record()
            raise _no_port(self.host, self.port, error) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every open conversation. May be called twice."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for session in tuple(self._sessions):
            session.abort()
        # Not server.wait_closed(): since Python 3.12 it also waits for clients that stopped amid a TLS handshake.
        await asyncio.wait_for(self._empty.wait(), CLOSE_TIMEOUT_S)
        self._close_record()

    def _close_record(self) -> None:
        if self._record_file is not None:
            self._record_file.close()
            self._record_file = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- what conversations ask of it

    def joined(self, session: Session) -> int:
        """Count a new conversation; returns its number, from 1."""
        self._sessions.add(session)
        self._empty.clear()
        self.connections_total += 1
        return self.connections_total

    def left(self, session: Session) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()

    def extensions(self, *, secure: bool) -> bytes:
        lines = ["sandbox.invalid", "PIPELINING", f"SIZE {self.script.size_max}", "8BITMIME"]
        if self.script.utf8:
            lines.append("SMTPUTF8")
        if self.tls is not None and not secure:
            lines.append("STARTTLS")
        elif self.credentials is not None:
            lines.append("AUTH PLAIN LOGIN")
        lines.append("ENHANCEDSTATUSCODES")
        return "".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode()

    def accept(
        self, mail_from: str, rcpt: tuple[str, ...], content: bytes, size: int, mail_t: float, connection: int
    ) -> bytes:
        """Record a message and return the reply that accepts it. `content` is as sent, or its head.

        An OSError means that it could not be recorded: it is not accepted then.
        """
        number = self.accepted + 1
        if self._record_file is not None or self._keep:
            record = Record(time.time(), mail_t, mail_from, rcpt, message_id_of(content), size, connection)
            if isinstance(self._keep, Path):
                (self._keep / f"{number:08}.eml").write_bytes(_unstuffed(content, size))
            if self._record_file is not None:
                self._record_file.append(record)
            if self._keep is True:
                self.records.append(record)
                self.contents.append(_unstuffed(content, size))
        self.accepted = number
        return b"250 2.0.0 Ok: queued as S%08d\r\n" % number


async def serve(sandbox: Sandbox, *, started: Callable[[Sandbox], None] | None = None) -> None:
    """Run a sandbox gateway until cancelled. `started` is called once, when it listens and its port is known."""
    async with sandbox:
        if started is not None:
            started(sandbox)
        await asyncio.Event().wait()


def _loopback(host: str) -> str:
    # The name is taken to mean what it says, instead of asking a resolver that may say otherwise.
    address = "127.0.0.1" if host == "localhost" else host
    try:
        if ip_address(address).is_loopback:
            return address
    except ValueError:
        pass
    raise InvalidInput(
        f"The sandbox gateway accepts mail from anyone and delivers nothing, so it listens on loopback only: {host!r} "
        "is not 127.0.0.1, ::1 or localhost.",
        field="host",
    )


def _record_file(path: Path) -> RecordFile:
    try:
        return RecordFile(path)
    except OSError as error:
        message = f"The record file {path} cannot be written: {error.strerror or error}. Name another one."
        raise Unavailable(message) from error


def _no_port(host: str, port: int, error: OSError) -> Unavailable:
    match error.errno:
        case errno.EADDRINUSE:
            why = "is taken by another program; stop that one or choose another port (0 takes any free one)"
        case errno.EACCES:
            why = "needs rights that this user does not have; choose one above 1023"
        case _:
            why = f"cannot be opened: {error.strerror or error}; choose another"
    return Unavailable(f"Port {port} on {host} {why}.")


def _unstuffed(content: bytes, size: int) -> bytes:
    """The message as it was before dot-stuffing (RFC 5321, section 4.5.2), without the final dot."""
    body = content[:size].replace(b"\r\n..", b"\r\n.")
    return body[1:] if body.startswith(b"..") else body
