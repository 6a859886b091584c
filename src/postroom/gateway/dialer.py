"""The way to a gateway's host: resolve, look at every address, and connect to one that was looked at.

Promises: nothing is dialled but a public address at a mail port, or an address in a network that the installation allows, at any
port. The address that is dialled is the one that was checked: the name is not asked again, so a second answer of its
server changes nothing. One address that is not allowed refuses the whole name: an honest gateway has none, a name that mixes
them is trying something, and whether mail goes out should not hang on which of them is tried first.

How a host is written does not matter (octal, hexadecimal, one number, other dots): it means what the system's resolver says, and
that is what is checked.

Fails with NotAllowed, OSError (TimeoutError included), and UnicodeError for what cannot be a name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from postroom.gateway.addresses import Address, Network, is_within, parsed, why_closed

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

PUBLIC_PORTS: Final = (25, 465, 587, 2525, 2465, 2587)
_SETTING: Final = "POSTROOM_ALLOWED_NETWORKS"


class NotAllowed(Exception):
    """The host must not be dialled; the text says what it is and what would allow it, as the end of a sentence."""


async def by_the_system(host: str, port: int) -> list[str]:
    """The host's addresses, in the order in which the system would try them (RFC 6724). Raises OSError, UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


@dataclass(frozen=True, slots=True)
class Dialer:
    """`allowed` are networks beside the public ones; `resolve` gives the addresses of a host."""

    allowed: tuple[Network, ...] = ()
    resolve: Resolve = by_the_system

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Those of the host, each of which may be dialled at that port."""
        found = list(dict.fromkeys(parsed(text) for text in await self.resolve(host, port)))
        for address in found:
            if is_within(address, self.allowed):
                continue
            is_it = f"it is {address}" if str(address) == host else f"its name leads to {address}"
            if (what := why_closed(address)) is not None:
                raise NotAllowed(f"{is_it} ({what}), where this installation sends no mail unless {_SETTING} has that network")
            if port not in PUBLIC_PORTS:
                ports = ", ".join(map(str, PUBLIC_PORTS))
                raise NotAllowed(f"{is_it}, and on the Internet mail is taken at the ports {ports} only, not at {port}, "
                                 f"unless {_SETTING} has that network")
        if not found:
            raise OSError("its name has no address")
        return found

    async def connect(self, protocol: asyncio.Protocol, host: str, port: int, within_s: float) -> None:
        """Gives `protocol` a connection, to the first address that answers; each gets its share of the time that is left."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        async with asyncio.timeout_at(ends_at):
            addresses = await self.addresses(host, port)
            for tried, address in enumerate(addresses, start=1):
                share_s = (ends_at - loop.time()) / (len(addresses) - tried + 1)
                try:
                    async with asyncio.timeout(share_s):
                        await loop.create_connection(lambda: protocol, str(address), port, flags=socket.AI_NUMERICHOST)
                    return
                except OSError:
                    if tried == len(addresses):
                        raise
