"""An absence is only believed when a name server said so."""

from __future__ import annotations

import pytest

from name_server import SERVFAIL, SILENCE, name_server
from postroom.errors import InvalidInput
from postroom.gateway import dns
from postroom.gateway.dns import LookupFailed, open_resolver

ZONE = {"club.example": ["v=spf1 -all", "x" * 600], "bare.example": [], "broken.example": SERVFAIL, "slow.example": SILENCE}


async def test_every_record_of_a_name_comes_whole() -> None:
    async with name_server(ZONE) as server:
        resolver = await open_resolver(server.address)
        assert sorted(await resolver.texts("club.example") or ()) == ["v=spf1 -all", "x" * 600]


async def test_no_such_name_and_no_such_record_are_two_answers() -> None:
    async with name_server(ZONE) as server:
        resolver = await open_resolver(server.address)
        assert await resolver.texts("nowhere.example") is None
        assert await resolver.texts("bare.example") == ()


async def test_silence_and_trouble_of_a_server_are_no_answers() -> None:
    async with name_server(ZONE) as server:
        resolver = await open_resolver(server.address, deadline_s=0.3)
        with pytest.raises(LookupFailed, match=r"No name server answered within 0.3 s when asked for slow\.example"):
            await resolver.texts("slow.example")
        with pytest.raises(LookupFailed, match=r"could not say what broken\.example has \(.*SERVFAIL"):
            await resolver.texts("broken.example")


@pytest.mark.parametrize("name", ["a..example", "x" * 64 + ".example", "\\300.example", ".".join(["x" * 60] * 5)])
async def test_a_name_that_cannot_be_is_said_to_be_none(name: str) -> None:
    async with name_server(ZONE) as server:
        resolver = await open_resolver(server.address)
        with pytest.raises(LookupFailed, match="cannot be looked up"):
            await resolver.texts(name)
        assert server.asked == []


async def test_a_server_may_be_named_by_a_host_name() -> None:
    async with name_server(ZONE) as server:
        resolver = await open_resolver(server.address.replace("127.0.0.1", "localhost"))
        assert await resolver.texts("bare.example") == ()


@pytest.mark.parametrize("nameserver", ["", ":53", "ns:many", "127.0.0.1:0", "127.0.0.1:65536", "[::1", "x" * 70])
async def test_a_name_server_that_is_none_is_refused(nameserver: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await open_resolver(nameserver)
    assert caught.value.faults[0].field == "nameserver"


@pytest.mark.parametrize(("nameserver", "parts"), [
    ("9.9.9.9", ("9.9.9.9", 53)), ("ns.example:5353", ("ns.example", 5353)), ("2620:fe::fe", ("2620:fe::fe", 53)),
    ("[2620:fe::fe]:5353", ("2620:fe::fe", 5353)),
])
def test_the_port_is_53_unless_one_is_named(nameserver: str, parts: tuple[str, int]) -> None:
    assert dns._host_and_port(nameserver) == parts
