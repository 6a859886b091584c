"""The sandbox gateway: a real SMTP server on loopback that accepts mail by a script and delivers nothing.

It serves tests, the demo and `postroom sandbox`. It promises that each message it accepts is counted, and recorded
where that is asked for, before the reply that accepts it can leave: its word can be held against the ledger.
How it answers is a `Script` (`script`), which may be exchanged while it runs.
It fails at once, with InvalidInput for an address that is not loopback, and with Unavailable for a port that is taken.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from postroom.errors import InvalidInput, Unavailable
from postroom.gateway.sandbox.mailbox import Mailbox
from postroom.gateway.sandbox.script import Script
from postroom.gateway.sandbox.session import Session

BACKLOG: Final = 1024
CLOSE_TIMEOUT_S: Final = 5.0


class Sandbox(Mailbox):
    """`async with Sandbox(script=...) as sandbox:` listens on `sandbox.port` until the block ends.

    `record` appends one line per accepted message and refused recipient to that file (see `record.tally`).
    `keep=True` holds `records` and `contents` in memory, a directory gets a file `<number>.eml` per message instead.
    `tls` offers STARTTLS, or with `implicit_tls` speaks TLS from the first byte; AUTH is then only offered under TLS.
    `tokens` are the users of the access tokens that it takes now, by token, and may be changed while it runs.
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
        tokens: dict[str, str] | None = None,
        token_mechanisms: tuple[str, ...] = ("XOAUTH2", "OAUTHBEARER"),
    ) -> None:
        if implicit_tls and tls is None:
            raise InvalidInput("Implicit TLS needs a certificate.", field="tls")
        super().__init__(script=script, record=record, keep=keep, tls=tls, implicit_tls=implicit_tls,
                         credentials=credentials, tokens=tokens, token_mechanisms=token_mechanisms)
        self.host = _loopback(host)
        self.port = port
        self._server: asyncio.Server | None = None

    # ---- its life

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._open_record()
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
        self.open = True
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every open conversation. May be called twice."""
        if self._server is None:
            return
        server, self._server, self.open = self._server, None, False
        server.close()
        for session in tuple(self._sessions):
            session.abort()
        # Not server.wait_closed(): since Python 3.12 it also waits for clients that stopped amid a TLS handshake.
        await asyncio.wait_for(self._empty.wait(), CLOSE_TIMEOUT_S)
        self._close_record()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


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


def _no_port(host: str, port: int, error: OSError) -> Unavailable:
    match error.errno:
        case errno.EADDRINUSE:
            why = "is taken by another program; stop that one or choose another port (0 takes any free one)"
        case errno.EACCES:
            why = "needs rights that this user does not have; choose one above 1023"
        case _:
            why = f"cannot be opened: {error.strerror or error}; choose another"
    return Unavailable(f"Port {port} on {host} {why}.")
