"""A server that takes for the end of the data, and for the end of a command, whatever some server somewhere takes for it.

It is the worst that can stand behind a gateway: a message that smuggles arrives here as two (CVE-2023-51764 and its
relatives). It counts what it was told: `commands`, one for each line, and `messages`, one for each end of data.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from types import TracebackType

# Line ends as they are read by one program or another: NUL is skipped or ends a string, and some read Unicode's.
BREAKS = ("\r\n", "\r\r\n", "\n", "\r\0\n", "\r", "\0\r\n", "\0\n", "\0\r", "\r\n\0", "\n\0", "\r\0",
          "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")  # fmt: skip
PADDING = (" \r\n", "\t\r\n", " \n", "\t\n")  # white space at the end of a line, which some strip
ENDS_OF_DATA = [f"{before}.{after}" for before, after in product(BREAKS, BREAKS + PADDING)]


def _one_of(texts: Iterable[str]) -> bytes:
    return b"|".join(re.escape(text.encode()) for text in texts)


# The dot is looked at before its line ends are, so that a whole CRLF is taken where there is one.
_END_OF_DATA = re.compile(rb"(?:%b)()\.(?:%b)" % (_one_of(BREAKS), _one_of(BREAKS + PADDING)))
_END_OF_LINE = re.compile(_one_of((*BREAKS, "\0")))
_REPLIES = {
    b"EHLO": b"250-lenient\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 bye\r\n",
}


@dataclass(frozen=True)
class Taken:
    recipients: tuple[bytes, ...]
    content: bytes  # as it was before its dots were doubled


class Lenient:
    """`async with Lenient() as server:` listens on `server.port` of 127.0.0.1. One conversation at a time."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.messages: list[Taken] = []
        self.port = 0

    async def __aenter__(self) -> Lenient:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._recipients: list[bytes] = []
        self._in_content = False
        writer.write(b"220 here\r\n")
        held = b""
        while octets := await reader.read(65536):
            held = self._take(held + octets, writer)
        writer.close()

    def _take(self, held: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Answers all that is whole; returns the rest."""
        while end := (_END_OF_DATA if self._in_content else _END_OF_LINE).search(held):
            if self._in_content:
                content = held[: end.start(1)].replace(b"\r\n..", b"\r\n.")
                self.messages.append(Taken(tuple(self._recipients), content[2:]))
                self._recipients, self._in_content = [], False
                writer.write(b"250 taken\r\n")
                held = held[end.end() :]
                continue
            line, held = held[: end.start()], held[end.end() :]
            if not line:  # the rest of a line end
                continue
            self.commands.append(line)
            verb = line[:4].upper()
            if verb == b"RCPT":
                self._recipients.append(line[len(b"RCPT TO:<") : -1])
            if verb == b"DATA":
                self._in_content, held = True, b"\r\n" + held  # a dot in the very first line ends the data too
            writer.write(_REPLIES.get(verb, b"250 ok\r\n"))
        return held
