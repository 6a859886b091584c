"""Sessions are kept between chunks, never used again once something is wrong with them, and closed when idle."""

from __future__ import annotations

import pytest

from postroom.flow.sessions import Sessions
from postroom.gateway.sandbox import Sandbox, Script
from postroom.gateway.session import Endpoint, GatewayUnreachable
from stage import eventually


def endpoint_of(sandbox: Sandbox) -> Endpoint:
    return Endpoint("127.0.0.1", sandbox.port, security="none", helo_name="worker.example")


async def test_a_session_that_was_given_back_is_taken_again() -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = Sessions(), endpoint_of(sandbox)
        first = await sessions.take(endpoint)
        sessions.give_back(endpoint, first)
        assert await sessions.take(endpoint) is first
        assert await sessions.take(endpoint) is not first, "one that is taken is nobody else's"
        assert sandbox.connections_total == 2
        first.abort()


async def test_a_session_that_ended_is_not_taken_again() -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = Sessions(), endpoint_of(sandbox)
        broken, closed = await sessions.take(endpoint), await sessions.take(endpoint)
        broken.abort()
        sessions.give_back(endpoint, broken)
        sessions.give_back(endpoint, closed)
        closed.abort()
        fresh = await sessions.take(endpoint)
        assert fresh not in (broken, closed)
        assert fresh.usable
        fresh.abort()


async def test_sessions_of_different_gateways_are_kept_apart() -> None:
    async with Sandbox() as one, Sandbox() as other:
        sessions = Sessions()
        session = await sessions.take(endpoint_of(one))
        sessions.give_back(endpoint_of(one), session)
        another = await sessions.take(endpoint_of(other))
        assert another is not session
        assert (one.connections_total, other.connections_total) == (1, 1)
        for opened in (session, another):
            opened.abort()


async def test_only_what_lay_idle_for_long_enough_is_closed() -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = Sessions(), endpoint_of(sandbox)
        session = await sessions.take(endpoint)
        sessions.give_back(endpoint, session)
        await sessions.close_idle()
        assert session.usable
        await sessions.close_idle(older_than_s=0)
        assert not session.usable

        async def gone() -> bool:
            return sandbox.connections == 0
        await eventually(gone)


async def test_a_gateway_that_lost_count_is_spoken_to_command_by_command_from_then_on() -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = Sessions(), endpoint_of(sandbox)
        assert sessions.distrust_pipelining(endpoint) is True
        assert sessions.distrust_pipelining(endpoint) is False, "it is no news the second time"
        session = await sessions.take(endpoint)
        assert "PIPELINING" in session.extensions
        assert session._pipelining is False
        sessions.give_back(endpoint, session)
        assert await sessions.take(endpoint) is session, "and its sessions are kept as others are"
        session.abort()


async def test_a_gateway_without_a_free_place_is_an_error_that_says_so() -> None:
    async with Sandbox(script=Script(connections_max=1)) as sandbox:
        sessions, endpoint = Sessions(), endpoint_of(sandbox)
        first = await sessions.take(endpoint)
        with pytest.raises(Exception, match=r"421 4\.7\.0 Too many connections"):
            await sessions.take(endpoint)
        first.abort()
        port = sandbox.port
    with pytest.raises(GatewayUnreachable, match=str(port)):
        await Sessions().take(endpoint)
