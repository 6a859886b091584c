"""TLS between a conversation and its connection: the transport of the one, the protocol of the other.

Promises: the conversation hears nothing but what came through TLS, and nothing of it leaves in clear; a write is one write to
the connection, so that what was "given to the kernel" means the same with TLS and without. Fails: the handshake raises
ssl.SSLError or ConnectionError out of `secured`; later on, what breaks TLS drops the conversation with the reason.

It does one thing: the layer that event loops bring buffers in both directions, and with it a message of 10 KB costs half as much
CPU again (measured with bench/tls.py).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from postroom.gateway.conversation import Conversation

_RECORD_MAX: Final = 16_384  # octets of plain text in a TLS record (RFC 8446, 5.1)


class Tls(asyncio.Transport, asyncio.Protocol):
    """Given to the connection as its protocol, it begins the handshake; `await secured` is the end of that."""

    def __init__(self, conversation: Conversation, context: ssl.SSLContext, name: str) -> None:
        super().__init__()
        self.secured: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._conversation = conversation
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._received, self._to_send, server_hostname=name)
        self._connection: asyncio.Transport

    # -- what the connection tells us -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection = transport  # type: ignore[assignment]  # a stream, as create_connection makes them
        self._conversation.connection_made(self)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        self._received.write(data)
        if not self.secured.done():
            self._shake_hands()
        if self.secured.done() and self._received.pending:
            self._read()

    def eof_received(self) -> None:
        """An end that TLS did not announce may be somebody's cutting short: the connection is lost, like any that breaks."""
        self._conversation.drop("the gateway closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the gateway closed the connection"))
        self._conversation.connection_lost(exc)

    def pause_writing(self) -> None:
        self._conversation.pause_writing()

    def resume_writing(self) -> None:
        self._conversation.resume_writing()

    def _shake_hands(self) -> None:
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._send()  # the alert, which tells the gateway why
            self._fail(error)
            return
        else:
            self.secured.set_result(None)
        self._send()

    def _fail(self, error: Exception) -> None:
        if not self.secured.done():
            self.secured.set_exception(error)
            self.secured.exception()  # nobody may be listening, and that is fine

    def _read(self) -> None:
        """All that is complete goes on in one piece: whoever counts replies has to see what stands behind the last."""
        pieces, ended = [], ""
        try:
            while self._received.pending and not ended:
                pieces.append(self.session.read(_RECORD_MAX))
                ended = "" if pieces[-1] else "the gateway closed the connection"  # with a goodbye (close_notify)
        except ssl.SSLWantReadError:  # a record that is not yet complete, or one that was for TLS itself
            pass
        except ssl.SSLError as error:
            ended = f"the encryption broke ({error.reason or error})"
        self._send()
        if plain := b"".join(pieces):
            self._conversation.data_received(plain)
        if ended:
            self._conversation.drop(ended)

    def _send(self) -> None:
        if self._to_send.pending:
            self._connection.write(self._to_send.read())

    # -- what the conversation asks for ---------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self.session.write(rest):]
        except ssl.SSLError as error:
            self._conversation.drop(f"the encryption broke ({error.reason or error})")
            return
        self._connection.write(self._to_send.read())

    def abort(self) -> None:
        self._connection.abort()

    def is_closing(self) -> bool:
        return self._connection.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._connection.set_write_buffer_limits(high, low)
