"""A DNS server on a loopback port that knows the names it is given, and can be slow or broken about some of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SILENCE = "silence"
SERVFAIL = "servfail"

# TXT records by name; a name without any exists, and one that is not there does not.
Zone = Mapping[str, Sequence[str] | str]


class NameServer(asyncio.DatagramProtocol):
    """`asked` is every name that was asked for, in order."""

    def __init__(self, zone: Zone) -> None:
        self.zone = dict(zone)
        self.asked: list[str] = []
        self._transport: Any = None

    @property
    def address(self) -> str:
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        records = self.zone.get(name)
        if records == SILENCE:
            return
        reply = dns.message.make_response(query, recursion_available=True)
        if records is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif records == SERVFAIL:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif records:
            texts = [" ".join(f'"{text[start:start + 255]}"' for start in range(0, len(text) or 1, 255)) for text in records]
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", *texts))
        self._transport.sendto(reply.to_wire(), addr)


@contextlib.asynccontextmanager
async def name_server(zone: Zone) -> AsyncIterator[NameServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
