"""What the conversations of one sandbox gateway share: how it answers, what it has accepted, who is connected.

It promises that each message it accepts is counted, and recorded where that is asked for, before the reply that accepts it can
leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

from postroom.errors import Unavailable
from postroom.gateway.sandbox.record import Record, RecordFile, message_id_of
from postroom.gateway.sandbox.script import Script, ScriptRun
from postroom.gateway.sandbox.wire import Wire


class Mailbox:
    """As `server.Sandbox` says, which listens for it."""

    def __init__(self, *, script: Script | None, record: Path | None, keep: bool | Path, tls: ssl.SSLContext | None,
                 implicit_tls: bool, credentials: tuple[str, str] | None, tokens: dict[str, str] | None,
                 token_mechanisms: tuple[str, ...]) -> None:
        self.open = False  # whether it still takes connections
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.credentials = credentials
        self.tokens = tokens
        self.token_mechanisms = token_mechanisms
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
        self._sessions: set[Wire] = set()
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
    def connections(self) -> int:
        """How many conversations are open now."""
        return len(self._sessions)

    def joined(self, session: Wire) -> int:
        """Count a new conversation; returns its number, from 1."""
        self._sessions.add(session)
        self._empty.clear()
        self.connections_total += 1
        return self.connections_total

    def left(self, session: Wire) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The logins that it takes; without any it takes mail from anyone."""
        return (("PLAIN", "LOGIN") if self.credentials is not None else ()) + (
            self.token_mechanisms if self.tokens is not None else ())

    def extensions(self, *, secure: bool) -> bytes:
        lines = ["sandbox.invalid", "PIPELINING", f"SIZE {self.script.size_max}", "8BITMIME"]
        if self.script.utf8:
            lines.append("SMTPUTF8")
        if self.tls is not None and not secure:
            lines.append("STARTTLS")
        elif self.mechanisms:
            lines.append(f"AUTH {' '.join(self.mechanisms)}")
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

    def refuse(self, mail_from: str, rcpt: tuple[str, ...], content: bytes, size: int, mail_t: float, connection: int,
               reply: bytes) -> None:
        """Record which recipients this reply refuses. A file that cannot take it keeps nobody from being refused."""
        if self._record_file is not None:
            record = Record(time.time(), mail_t, mail_from, rcpt, message_id_of(content), size, connection,
                            reply.decode().rstrip())
            with contextlib.suppress(OSError):
                self._record_file.append(record)

    def _open_record(self) -> None:
        """Raises Unavailable."""
        if isinstance(self._keep, Path):
            self._keep.mkdir(parents=True, exist_ok=True)
        if self._record_path is not None:
            try:
                self._record_file = RecordFile(self._record_path)
            except OSError as error:
                raise Unavailable(f"The record file {self._record_path} cannot be written: {error.strerror or error}. "
                                  "Name another one.") from error

    def _close_record(self) -> None:
        if self._record_file is not None:
            self._record_file.close()
            self._record_file = None


def _unstuffed(content: bytes, size: int) -> bytes:
    """The message as it was before dot-stuffing (RFC 5321, section 4.5.2), without the final dot."""
    body = content[:size].replace(b"\r\n..", b"\r\n.")
    return body[1:] if body.startswith(b"..") else body
