"""Questions to DNS, with a deadline for each.

Promises: "there is no such name" and "the name has no such record" are answers, told apart; that nobody answered in time or
that the server could not find out (SERVFAIL, REFUSED) is `LookupFailed`, in words, and never taken for an absence.

Fails: LookupFailed; InvalidInput for a name server that is none.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from postroom.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as SystemResolver

DEADLINE_S: Final = 6.0  # for one question, whatever servers there are
TRY_S: Final = 2.0  # for one server
PORT: Final = 53


class LookupFailed(Unavailable):
    """Nothing is known: the question was not answered."""


class Resolver:
    """Asks the system's name servers, or one that is named. Made by `open_resolver`."""

    def __init__(self, resolver: SystemResolver, deadline_s: float) -> None:
        self._resolver = resolver
        self._resolver.timeout = TRY_S
        self._resolver.lifetime = self._deadline_s = deadline_s

    async def texts(self, name: str) -> tuple[str, ...] | None:
        """The TXT records of a name, their strings joined; none where it has other records only, None where it does not exist.

        Raises LookupFailed.
        """
        from dns.exception import DNSException, Timeout
        from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers

        try:
            answer = await self._resolver.resolve(name, "TXT", search=False)
        except NXDOMAIN:
            return None
        except NoAnswer:
            return ()
        except Timeout:
            raise LookupFailed(f"No name server answered within {self._deadline_s:g} s when asked for {name}. "
                               "Try again.") from None
        except NoNameservers as error:
            said = sorted({str(one[3]) for one in error.kwargs["errors"]})
            raise LookupFailed(f"The name servers could not say what {name} has ({', '.join(said)}). Try again later, or look "
                               "at the servers of that zone.") from None
        except DNSException as error:
            raise LookupFailed(f'"{name}" cannot be looked up: {error}') from None
        return tuple(b"".join(one.strings).decode("utf-8", "replace") for one in answer)


async def open_resolver(nameserver: str | None = None, *, deadline_s: float = DEADLINE_S) -> Resolver:
    """`nameserver` is HOST or HOST:PORT. Raises InvalidInput, Unavailable."""
    from dns.asyncresolver import Resolver as SystemResolver  # 7 MB and 0.1 s: only who asks loads it
    from dns.exception import DNSException

    if nameserver is None:
        try:
            return Resolver(SystemResolver(), deadline_s)
        except DNSException as error:
            raise Unavailable(f"This machine names no DNS server to ask ({error}). Name one: --nameserver HOST.") from None
    host, port = _host_and_port(nameserver)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise InvalidInput(f'The name server "{nameserver}" cannot be found. Name it by its IP address.',
                           field="nameserver") from None
    resolver = SystemResolver(configure=False)
    resolver.nameservers = list(dict.fromkeys(str(one[4][0]) for one in found))
    resolver.port = port
    return Resolver(resolver, deadline_s)


def _host_and_port(nameserver: str) -> tuple[str, int]:
    """HOST, HOST:PORT, [IPv6]:PORT or a bare IPv6 address. Raises InvalidInput."""
    is_bare_ipv6 = nameserver.count(":") > 1 and not nameserver.startswith("[")
    try:
        parts = urlsplit(f"//[{nameserver}]" if is_bare_ipv6 else f"//{nameserver}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0:
        raise InvalidInput(f'"{nameserver}" names no DNS server: HOST or HOST:PORT is needed.', field="nameserver")
    return host, PORT if port is None else port
