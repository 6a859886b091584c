"""Which hosts are dialled: none that leads behind this machine, every public one, and only the address that was looked at."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from loopback import DIALER, local_endpoint
from postroom.gateway.dialer import PUBLIC_PORTS, Dialer, NotAllowed, by_the_system
from postroom.gateway.replies import Phase, Verdict
from postroom.gateway.session import Endpoint, GatewayUnreachable, open_session

from .scripted import PIPELINED, QUIT, Scripted


def words(text: str) -> list[str]:
    return text.split()


# One or more of each network behind a machine; first and last addresses where the edge matters.
CLOSED_V4 = words("""
0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.0 100.64.0.1 100.100.100.200 100.127.255.255
127.0.0.0 127.0.0.1 127.0.0.53 127.1.2.3 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255
172.16.0.0 172.16.0.1 172.17.0.1 172.31.255.255 192.0.0.0 192.0.0.8 192.0.0.170 192.0.2.1 192.0.2.255 192.31.196.1 192.52.193.1
192.88.99.1 192.168.0.0 192.168.0.1 192.168.1.1 192.168.255.255 192.175.48.1 198.18.0.0 198.18.0.1 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.0 224.0.0.1 239.255.255.250 239.255.255.255 240.0.0.0 240.0.0.1 255.255.255.254 255.255.255.255
""")
CLOSED_V6 = words("""
:: ::1 ::2 ::7f00:1 ::8.8.8.8 ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8 64:ff9b:1:: 64:ff9b:1::7f00:1 64:ff9b:1::8.8.8.8
64:ff9b:1:ffff::1 100::1 100::ffff 100:0:0:1::1 1::1 200::1 400::1 2001:1::1 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1
2001:20::1 2001:1ff::1 2001:db8::1 2001:db8:ffff::1 2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1 8000::1 e000::1
fc00::1 fd00::1 fd00:ec2::254 fdff:ffff::1 fe00::1 fe80::1 fe80::1%1 febf::1 fec0::1 feff::1 ff00::1 ff01::1 ff02::1
ff05::2 ff0e::1
""")
# The same host in other writings. What the resolver of a system makes of each is checked where it takes it at all.
ODD = words("""
2130706433 017700000001 0x7f000001 0x7F000001 0177.0.0.1 0x7f.0.0.1 0x7f.1 0177.1 127.1 127.0.1 127.000.000.001 00.0.0.0 0 0x0 00
0x0a000001 167772161 10.1 012.0.0.1 0xa9fea9fe 2852039166 0251.0376.0251.0376 169.254.43518 0xa9.254.0xa9.254 192.168.257
0xc0a80101 3232235777 172.1048577 0xac100001 1681915904 4294967295 0xffffffff 037777777777 3758096385 100.4194305
127。0。0。1 127．0．0．1 127｡0｡0｡1 １２７.0.0.1 ①②⑦.⓪.⓪.① 127.0.0.1. localhost. LOCALHOST localhost lｏcalhost
[::1] [::] [127.0.0.1] ::1%lo ::1%1 0:0:0:0:0:0:0:1 ::0001 ::ffff:127.1 0000::ffff:7f00:1 user@127.0.0.1 127.0.0.1:25 127.0.0.1/32
127.0.0.1%00 127.0.0.1#a 127.0.0.1? //127.0.0.1 smtp://127.0.0.1 -127.0.0.1 127..0.1 .127.0.0.1 127.0.0.1.. 0x 1.2.3.4.5 256.0.0.1
""")


def within(address: str) -> list[str]:
    """IPv6 addresses that carry an IPv4 one: mapped, NAT64, 6to4, Teredo (as client and as server), ISATAP."""
    number = int(ipaddress.IPv4Address(address))
    high, low, turned = number >> 16, number & 0xFFFF, number ^ 0xFFFFFFFF
    return [f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{high:x}:{low:x}::1",
            f"2001:0:808:808::{turned >> 16:x}:{turned & 0xFFFF:x}", f"2001:0:{high:x}:{low:x}::f7f7:f7f7",
            f"2a00:1450::5efe:{address}", f"2a00:1450::200:5efe:{address}"]


CARRIED = [form for address in CLOSED_V4 for form in within(address)]

PUBLIC_V4 = words("""
1.1.1.1 8.8.8.8 9.9.9.9 9.255.255.255 11.0.0.0 1.0.0.1 5.9.1.1 17.0.0.1 23.1.2.3 31.13.24.1 40.107.1.1 52.94.1.1 54.240.1.1
64.233.160.1 74.125.1.1 80.1.1.1 91.198.174.192 100.63.255.255 100.128.0.0 104.16.0.1 108.177.1.1 126.255.255.255 128.0.0.1
142.250.1.1 149.72.1.1 151.101.1.1 159.135.1.1 167.89.1.1 168.63.129.15 168.63.129.17 168.245.1.1 169.253.255.255 169.255.0.0
172.15.255.255 172.32.0.0 173.194.1.1 185.70.40.1 191.255.255.255 192.0.1.1 192.0.3.0 192.31.195.1 192.88.98.1 192.88.100.1
192.167.255.255 192.169.0.0 193.0.0.1 194.1.1.1 195.1.1.1 198.17.255.255 198.20.0.0 198.2.1.1 198.51.99.255 198.51.101.0
199.255.1.1 203.0.112.255 203.0.114.0 205.201.1.1 208.67.222.222 209.85.1.1 212.1.1.1 216.58.1.1 217.1.1.1 223.255.255.255
""")
PUBLIC_V6 = words("""
2000::1 2001:200::1 2001:4860:4860::8888 2001:67c::1 2001:db7::1 2001:db9::1 2003::1 2400:cb00::1 2404:6800::1 2600:9000::1
2606:4700:4700::1111 2607:f8b0::1 2610::1 2620:0:ccc::2 2620:4f:8001::1 2620:fe::fe 2800::1 2a00:1450:4001::1 2a01:111::1
2a02::1 2a03:2880::1 2a04:4e42::1 2a0c::1 2c0f:fb50::1 3ffe::1 3fff:1000::1
""")
PUBLIC = [*PUBLIC_V4, *PUBLIC_V6, *(form for one in ("8.8.8.8", "54.240.1.1", "172.32.0.0") for form in within(one))]


def answering(*answers: Sequence[str]):
    """A resolver that gives one answer after the other, and the last one for ever."""
    given = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return given.pop(0) if len(given) > 1 else given[0]
    return resolve


@asynccontextmanager
async def canary():
    """A listener on every IPv4 address of this machine; whoever comes is written down."""
    visits: list[object] = []

    def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(visited, "0.0.0.0", 0) as server:
        yield server.sockets[0].getsockname()[1], visits


def test_the_tables_are_as_long_as_they_should_be():
    assert len(set(CLOSED_V4 + CLOSED_V6 + ODD + CARRIED)) >= 250
    assert len(set(PUBLIC)) >= 100


@pytest.mark.parametrize("port", [25, 465])
@pytest.mark.parametrize("addresses", [CLOSED_V4, CLOSED_V6, CARRIED], ids=["IPv4", "IPv6", "one within the other"])
async def test_no_name_leads_to_an_address_behind_this_machine(addresses: list[str], port: int):
    for address in addresses:
        with pytest.raises(NotAllowed, match="POSTROOM_ALLOWED_NETWORKS"):
            await Dialer(resolve=answering([address])).addresses("gateway.example", port)


@pytest.mark.parametrize("host", ODD)
async def test_no_writing_of_an_internal_host_is_a_way_to_it(host: str):
    async with canary() as (port, visits):
        with pytest.raises((NotAllowed, OSError, ValueError)):
            await Dialer().connect(asyncio.Protocol(), host, port, 10)
    assert visits == []


async def test_every_public_address_is_allowed_at_the_ports_of_mail():
    for address in PUBLIC:
        for port in PUBLIC_PORTS:
            assert len(await Dialer(resolve=answering([address])).addresses("gateway.example", port)) == 1


@pytest.mark.parametrize("port", [1, 22, 24, 26, 80, 443, 3306, 5432, 6379, 8025, 11211, 65535])
async def test_a_public_address_is_not_dialled_at_another_port(port: int):
    with pytest.raises(NotAllowed, match=f"not at {port}"):
        await Dialer(resolve=answering(["8.8.8.8"])).addresses("gateway.example", port)


@pytest.mark.parametrize("answer", [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["2a00:1450::1", "::ffff:10.0.0.1"]])
async def test_a_name_with_one_address_that_is_not_allowed_is_refused_whole(answer: list[str]):
    with pytest.raises(NotAllowed):
        await Dialer(resolve=answering(answer)).addresses("gateway.example", 25)


async def test_a_second_answer_of_the_name_server_does_not_change_where_it_goes():
    async with canary() as (elsewhere, visits), Scripted((*PIPELINED, *QUIT)) as server:
        assert elsewhere != server.port
        dialer = Dialer(DIALER.allowed, answering(["127.0.0.1"], ["10.0.0.1"]))
        session = await open_session(Endpoint("gateway.example", server.port, "none", allow_plaintext=True, dialer=dialer))
        await session.close()
        with pytest.raises(GatewayUnreachable, match=r"its name leads to 10\.0\.0\.1 \(a private network\)"):
            await open_session(Endpoint("gateway.example", server.port, "none", allow_plaintext=True, dialer=dialer))
    assert visits == []


async def test_an_address_that_does_not_answer_is_followed_by_the_next():
    async with Scripted((*PIPELINED, *QUIT)) as server:
        dialer = Dialer(DIALER.allowed, answering(["127.0.0.2", "127.0.0.1"]))
        session = await open_session(Endpoint("gateway.example", server.port, "none", allow_plaintext=True, dialer=dialer))
        await session.close()


async def test_an_allowed_network_opens_itself_and_no_other():
    dialer = Dialer((ip_network("10.1.0.0/16"),), answering(["10.1.2.3"], ["::ffff:10.1.2.3"], ["10.2.0.1"]))
    assert [str(one) for one in await dialer.addresses("gateway.example", 12_345)] == ["10.1.2.3"]
    assert [str(one) for one in await dialer.addresses("gateway.example", 12_345)] == ["10.1.2.3"]
    with pytest.raises(NotAllowed):
        await dialer.addresses("gateway.example", 25)


async def test_a_host_of_this_machine_is_refused_in_words_that_say_what_would_allow_it():
    async with canary() as (port, visits):
        with pytest.raises(GatewayUnreachable) as caught:
            await open_session(Endpoint("127.0.0.1", port, "none"))
    assert (caught.value.phase, caught.value.verdict) == (Phase.CONNECT, Verdict.GATEWAY_FAULT)
    assert str(caught.value) == (
        f"The gateway 127.0.0.1:{port} cannot be used: it is 127.0.0.1 (this machine itself), where this installation sends no "
        "mail unless POSTROOM_ALLOWED_NETWORKS has that network.")
    assert visits == []


async def test_it_is_reached_where_it_is_allowed():
    async with Scripted((*PIPELINED, *QUIT)) as server:
        await (await open_session(local_endpoint("localhost", server.port, "none"))).close()


async def test_a_name_without_an_address_is_not_used():
    with pytest.raises(OSError, match="no address"):
        await Dialer(resolve=answering([])).addresses("gateway.example", 25)
    with pytest.raises(socket.gaierror):
        await by_the_system("gateway.invalid", 25)
