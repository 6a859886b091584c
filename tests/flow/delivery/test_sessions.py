"""Sessions are kept between chunks, never used again once something is wrong with them, and closed when idle; and all
workers together open no more of them than the gateway allows."""

from __future__ import annotations

import pytest

from acting import acting
from loopback import local_endpoint
from postroom.flow.account import accounts, gateways
from postroom.flow.account.secrets import SecretBox
from postroom.flow.delivery.sessions import NoSlot, Sessions
from postroom.gateway.sandbox.script import Script
from postroom.gateway.sandbox.server import Sandbox
from postroom.gateway.session import Endpoint, GatewayUnreachable
from postroom.ledger.database.db import Pool
from stage import SECRET_KEY, eventually

SLOTS = "SELECT slot, owner FROM gateway_session ORDER BY slot"


def endpoint_of(sandbox: Sandbox) -> Endpoint:
    return local_endpoint("127.0.0.1", sandbox.port, security="none", helo_name="worker.example")


def sessions_of(pool: Pool, owner: str = "worker") -> Sessions:
    return Sessions(pool, owner, lease_s=30)


@pytest.fixture
async def gateway_id(pool: Pool) -> int:
    return await gateway(pool)


async def gateway(pool: Pool, connections: int = 4) -> int:
    account = await accounts.create_account(pool, "Club")
    return await gateways.create_gateway(pool, SecretBox(SECRET_KEY), acting(account.id), name="main", host="127.0.0.1",
                                         port=2525, security="none", connections=connections)


async def query(pool: Pool, statement: str) -> list[tuple]:
    async with pool.connection() as conn:
        return await (await conn.execute(statement)).fetchall()


async def test_a_session_that_was_given_back_is_taken_again(pool: Pool, gateway_id: int) -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = sessions_of(pool), endpoint_of(sandbox)
        first = await sessions.take(endpoint, gateway_id)
        await sessions.give_back(endpoint, first)
        assert await sessions.take(endpoint, gateway_id) is first
        second = await sessions.take(endpoint, gateway_id)
        assert second is not first, "one that is taken is nobody else's"
        assert sandbox.connections_total == 2
        first.abort()
        second.abort()


async def test_a_session_that_ended_is_not_taken_again_and_its_slot_is_free(pool: Pool, gateway_id: int) -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = sessions_of(pool), endpoint_of(sandbox)
        broken, closed = await sessions.take(endpoint, gateway_id), await sessions.take(endpoint, gateway_id)
        broken.abort()
        await sessions.give_back(endpoint, broken)
        await sessions.give_back(endpoint, closed)
        closed.abort()
        fresh = await sessions.take(endpoint, gateway_id)
        assert fresh not in (broken, closed)
        assert fresh.usable
        assert len(await query(pool, SLOTS)) == 1
        fresh.abort()


async def test_sessions_of_different_gateways_are_kept_apart(pool: Pool, gateway_id: int) -> None:
    async with Sandbox() as one, Sandbox() as other:
        sessions = sessions_of(pool)
        session = await sessions.take(endpoint_of(one), gateway_id)
        await sessions.give_back(endpoint_of(one), session)
        another = await sessions.take(endpoint_of(other), gateway_id)
        assert another is not session
        assert (one.connections_total, other.connections_total) == (1, 1)
        for opened in (session, another):
            opened.abort()


async def test_only_what_lay_idle_for_long_enough_is_closed(pool: Pool, gateway_id: int) -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = sessions_of(pool), endpoint_of(sandbox)
        session = await sessions.take(endpoint, gateway_id)
        await sessions.give_back(endpoint, session)
        await sessions.close_idle()
        assert session.usable
        await sessions.close_idle(older_than_s=0)
        assert not session.usable
        assert await query(pool, SLOTS) == []

        async def gone() -> bool:
            return sandbox.connections == 0
        await eventually(gone)


async def test_a_gateway_that_lost_count_is_spoken_to_command_by_command_from_then_on(pool: Pool, gateway_id: int) -> None:
    async with Sandbox() as sandbox:
        sessions, endpoint = sessions_of(pool), endpoint_of(sandbox)
        assert sessions.distrust_pipelining(endpoint) is True
        assert sessions.distrust_pipelining(endpoint) is False, "it is no news the second time"
        session = await sessions.take(endpoint, gateway_id)
        assert "PIPELINING" in session.extensions
        assert session._pipelining is False
        await sessions.give_back(endpoint, session)
        assert await sessions.take(endpoint, gateway_id) is session, "and its sessions are kept as others are"
        session.abort()


async def test_workers_together_open_no_more_than_the_gateway_allows(pool: Pool) -> None:
    gateway_id = await gateway(pool, connections=2)
    async with Sandbox() as sandbox:
        one, other, endpoint = sessions_of(pool, "one"), sessions_of(pool, "other"), endpoint_of(sandbox)
        mine, theirs = await one.take(endpoint, gateway_id), await other.take(endpoint, gateway_id)
        with pytest.raises(NoSlot):
            await one.take(endpoint, gateway_id)
        assert sandbox.connections_total == 2, "it was not even tried"
        theirs.abort()
        await other.give_back(endpoint, theirs)
        more = await one.take(endpoint, gateway_id)
        assert await query(pool, SLOTS) == [(1, "one"), (2, "one")]
        for session in (mine, more):
            session.abort()


async def test_slots_run_out_under_a_worker_that_renews_nothing(pool: Pool) -> None:
    gateway_id = await gateway(pool, connections=1)
    async with Sandbox() as sandbox:
        one, other, endpoint = sessions_of(pool, "one"), sessions_of(pool, "other"), endpoint_of(sandbox)
        session = await one.take(endpoint, gateway_id)
        await query(pool, "UPDATE gateway_session SET until = clock_timestamp() - interval '1 s' RETURNING 1")
        await one.renew()
        with pytest.raises(NoSlot):
            await other.take(endpoint, gateway_id)
        await query(pool, "UPDATE gateway_session SET until = clock_timestamp() - interval '1 s' RETURNING 1")
        taken_over = await other.take(endpoint, gateway_id)
        session.abort()
        await one.give_back(endpoint, session)
        assert await query(pool, SLOTS) == [(1, "other")], "what it gives back is not its own any more"
        taken_over.abort()


async def test_a_session_ends_after_the_messages_that_the_gateway_takes_on_one(pool: Pool, gateway_id: int) -> None:
    await query(pool, "UPDATE gateway SET messages_per_connection = 3 RETURNING 1")
    async with Sandbox() as sandbox:
        sessions, endpoint = sessions_of(pool), endpoint_of(sandbox)
        session = await sessions.take(endpoint, gateway_id)
        assert sessions.room(session) == 3
        session.handed_off = 2
        await sessions.give_back(endpoint, session)
        assert await sessions.take(endpoint, gateway_id) is session
        assert sessions.room(session) == 1
        session.handed_off = 3
        await sessions.give_back(endpoint, session)
        assert not session.usable
        assert await query(pool, SLOTS) == []


async def test_a_gateway_that_refuses_one_more_connection_is_no_trouble_while_others_work(pool: Pool, gateway_id: int) -> None:
    async with Sandbox(script=Script(connections_max=2)) as sandbox:
        sessions, endpoint = sessions_of(pool), endpoint_of(sandbox)
        working = [await sessions.take(endpoint, gateway_id) for _ in range(2)]
        with pytest.raises(NoSlot, match=r"421 4\.7\.0 Too many connections"):
            await sessions.take(endpoint, gateway_id)
        tried = sandbox.connections_total
        with pytest.raises(NoSlot):
            await sessions.take(endpoint, gateway_id)
        assert sandbox.connections_total == tried, "for a minute it is not tried again"
        assert len(await query(pool, SLOTS)) == 2
        for session in working:
            session.abort()


async def test_a_gateway_that_has_no_place_at_all_is_an_error_that_says_so(pool: Pool, gateway_id: int) -> None:
    async with Sandbox(script=Script(connections_max=1)) as sandbox:
        elsewhere = sessions_of(pool, "another installation")
        first = await elsewhere.take(endpoint_of(sandbox), gateway_id)
        await query(pool, "DELETE FROM gateway_session RETURNING 1")
        with pytest.raises(Exception, match=r"421 4\.7\.0 Too many connections"):
            await sessions_of(pool).take(endpoint_of(sandbox), gateway_id)
        assert await query(pool, SLOTS) == []
        first.abort()
        port = sandbox.port
    with pytest.raises(GatewayUnreachable, match=str(port)):
        await sessions_of(pool).take(local_endpoint("127.0.0.1", port, security="none", helo_name="worker.example"), gateway_id)
    assert await query(pool, SLOTS) == []
