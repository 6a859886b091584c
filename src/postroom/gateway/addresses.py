"""Which addresses mail may be taken to: our own table, because a gateway's host is chosen by whoever holds an account, and a name
can lead anywhere, into the networks behind this machine too.

Promises: public unicast addresses are allowed and nothing else; one that carries an IPv4 address within is only as public as
that; what is allowed besides is a list that the installation gives. Python's `is_global` is not enough: it takes NAT64, 6to4
and Teredo for public whatever stands in them.

Source: IANA's special-purpose registries (RFC 6890), RFC 4291, RFC 6052, RFC 3056, RFC 4380, RFC 5214.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED_V4: Final = tuple((IPv4Network(network), name) for network, name in (
    ("0.0.0.0/8", "“this network”"),
    ("10.0.0.0/8", "a private network"),
    ("100.64.0.0/10", "a provider's internal network"),
    ("127.0.0.0/8", "this machine itself"),
    ("168.63.129.16/32", "a cloud's internal service"),
    ("169.254.0.0/16", "the local link"),
    ("172.16.0.0/12", "a private network"),
    ("192.0.0.0/24", "a protocol's own"),
    ("192.0.2.0/24", "for documentation"),
    ("192.31.196.0/24", "a sink of the name system"),
    ("192.52.193.0/24", "a multicast relay"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "a private network"),
    ("192.175.48.0/24", "a sink of the name system"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
))
_CLOSED_V6: Final = tuple((IPv6Network(network), name) for network, name in (
    ("::/128", "no address"),
    ("::1/128", "this machine itself"),
    ("fc00::/7", "a private network"),
    ("fe80::/10", "the local link"),
    ("fec0::/10", "a site's own"),
    ("ff00::/8", "multicast"),
    ("2001:db8::/32", "for documentation"),
    ("3fff::/20", "for documentation"),
    ("2620:4f:8000::/48", "a sink of the name system"),
))
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_TEREDO: Final = IPv6Network("2001::/32")
_PROTOCOLS_V6: Final = IPv6Network("2001::/23")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = 0x5EFE  # the middle of an interface identifier 0000:5efe or 0200:5efe, and an IPv4 address behind it
_ISATAP_MASK: Final = 0xFDFF_FFFF


def parsed(text: str) -> Address:
    """As the kernel will take it: an IPv4 address in IPv6 writing is that IPv4 address. Raises ValueError."""
    address = ip_address(text)
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def why_closed(address: Address) -> str | None:
    """What the address is if it is not a public one, as in “it is a private network”; None if it is public."""
    if isinstance(address, IPv4Address):
        return next((name for network, name in _CLOSED_V4 if address in network), None)
    for network, name in _CLOSED_V6:
        if address in network:
            return name
    for within in _carried(address):
        if (what := why_closed(within)) is not None:
            return f"a way to {within}, {what}"
    if address in _NAT64 or address in _TEREDO:
        return None
    return None if address in _PUBLIC_V6 and address not in _PROTOCOLS_V6 else "reserved"


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses to which, or by way of which, a packet to this address is taken."""
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address.ipv4_mapped is not None or address in _NAT64 or (number >> 32) & _ISATAP_MASK == _ISATAP:
        return [last]
    return []
