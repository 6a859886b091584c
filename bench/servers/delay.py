"""A line on which everything takes its time: a proxy that hands on what it reads after a fixed delay, in each direction.

    delay.py PORT TARGET_PORT SECONDS

It never slows anybody but by the delay: what is read is kept with the moment at which it is due, and any number of pieces may be
under way. Connections that end are ended on the other side, after the delay too.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

HOST = "127.0.0.1"


class End(asyncio.Protocol):
    """One end of a connection; what comes in goes out of `other` after `delay_s`."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        assert self.other.transport is not None
        asyncio.get_running_loop().call_later(self.delay_s, self.other.transport.write, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            asyncio.get_running_loop().call_later(self.delay_s, self.other.transport.close)


class Caller(End):
    """The end that somebody connected to. In SMTP the server speaks first, so the other end stands before anything comes in."""

    def __init__(self, delay_s: float, target_port: int) -> None:
        super().__init__(delay_s)
        self.target_port = target_port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        target = End(self.delay_s)
        target.other, self.other = self, target
        await asyncio.get_running_loop().create_connection(lambda: target, HOST, self.target_port)
        if self.transport.is_closing():  # it was only seen whether somebody listens
            assert target.transport is not None
            target.transport.close()


async def main() -> None:
    port, target_port, delay_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    server = await asyncio.get_running_loop().create_server(lambda: Caller(delay_s, target_port), HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
