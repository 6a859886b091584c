"""The pace of a gateway, shared through one row: rate, quota, slowing down and connection slots."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.domain.pace import SLOWED_FOR_S, SPEED_MIN_PER_S, grown_to_per_s
from postroom.errors import NotFound
from postroom.ledger.account import accounts
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.delivery import pace


async def gateway(pool: Pool, **limits: object) -> int:
    async with pool.connection() as conn:
        account_id = await accounts.create_account(conn, "Club", approval_threshold=100, fields={})
        row = await (await conn.execute(
            "INSERT INTO gateway (account_id, name, host, port, security) VALUES (%s, 'main', 'mail.example', 25, 'none') "
            "RETURNING id", (account_id,))).fetchone()
        for column, value in limits.items():
            await conn.execute(f"UPDATE gateway SET {column} = %s", (value,))
    assert row is not None
    return row[0]


async def earlier(conn: Connection, seconds: float) -> None:
    """As if everything had happened so many seconds before."""
    for table, columns in (("gateway_pace", ("slowed_at", "refilled_at", "connections_at")), ("gateway_session", ("until",))):
        for column in columns:
            await conn.execute(f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)", (seconds,))


async def days_ago(conn: Connection, days: int) -> None:
    await conn.execute("UPDATE gateway_pace SET day = day - %s, first_day = first_day - %s", (days, days))


async def test_a_gateway_without_limits_grants_all_that_is_wanted(pool: Pool) -> None:
    gateway_id = await gateway(pool)
    async with pool.connection() as conn:
        assert not (await pace.look(conn, gateway_id)).is_limited
        assert await pace.take_permits(conn, gateway_id, 50) == pace.Permits(50)
        assert not (await pace.look(conn, gateway_id)).is_limited
        with pytest.raises(NotFound):
            await pace.look(conn, gateway_id + 1)


async def test_the_rate_holds_for_everybody_together_and_a_burst_is_a_quarter_of_a_second(pool: Pool) -> None:
    gateway_id = await gateway(pool, messages_per_s=40)
    async with pool.connection() as conn:
        await pace.take_permits(conn, gateway_id, 0)
        await earlier(conn, 3600)

    async def take() -> int:
        async with pool.connection() as conn:
            return (await pace.take_permits(conn, gateway_id, 4)).granted

    began = time.monotonic()
    granted = sum(await asyncio.gather(*(take() for _ in range(8))))
    assert 10 <= granted <= 10 + 40 * (time.monotonic() - began), "a quarter of a second, and what flows in meanwhile"


async def test_an_empty_bucket_says_how_long_until_the_next(pool: Pool) -> None:
    gateway_id = await gateway(pool, messages_per_s=0.01)
    async with pool.connection() as conn:
        first = await pace.take_permits(conn, gateway_id, 5)
        assert (first.granted, first.held_by) == (0, "rate"), "a new bucket is empty"
        assert 90 < first.wait_s <= 100
        await earlier(conn, first.wait_s)
        assert (await pace.take_permits(conn, gateway_id, 5)).granted == 1
        await pace.give_back(conn, gateway_id, 1)
        assert (await pace.take_permits(conn, gateway_id, 5)).granted == 1


async def test_a_quota_is_of_the_day_in_utc(pool: Pool) -> None:
    gateway_id = await gateway(pool, daily_quota=10)
    async with pool.connection() as conn:
        granted = [(await pace.take_permits(conn, gateway_id, 4)).granted for _ in range(3)]
        assert granted == [4, 4, 2]
        none_left = await pace.take_permits(conn, gateway_id, 4)
        row = await (await conn.execute("SELECT extract(epoch FROM date_trunc('day', u) + interval '1 day' - u)::float "
                                        "FROM (SELECT clock_timestamp() AT TIME ZONE 'UTC' AS u) n")).fetchone()
        assert (none_left.granted, none_left.held_by, none_left.quota, none_left.warming_up) == (0, "quota", 10, False)
        assert row is not None
        assert none_left.wait_s == pytest.approx(row[0], abs=5)
        await pace.give_back(conn, gateway_id, 3)
        assert (await pace.take_permits(conn, gateway_id, 4)).granted == 3
        await days_ago(conn, 1)
        assert (await pace.take_permits(conn, gateway_id, 4)).granted == 4


async def test_a_warm_up_doubles_each_day_and_never_passes_the_quota(pool: Pool) -> None:
    gateway_id = await gateway(pool, daily_quota=30, warm_up_from=10)
    async with pool.connection() as conn:
        quotas = []
        for _ in range(4):
            permits = await pace.take_permits(conn, gateway_id, 50)
            quotas.append((permits.granted, permits.warming_up))
            assert (await pace.look(conn, gateway_id)).quota == permits.quota
            await days_ago(conn, 1)
        assert quotas == [(10, True), (20, True), (30, False), (30, False)]
        await days_ago(conn, 100_000)
        assert (await pace.take_permits(conn, gateway_id, 50)).granted == 30


async def test_a_warm_up_without_a_quota_grows_beyond_every_number(pool: Pool) -> None:
    gateway_id = await gateway(pool, warm_up_from=1_000)
    async with pool.connection() as conn:
        await pace.take_permits(conn, gateway_id, 1)
        await days_ago(conn, 10_000)
        permits = await pace.take_permits(conn, gateway_id, 50)
        assert (permits.granted, permits.quota) == (50, 1_000 * 2**30)


async def test_a_throttle_halves_the_speed_at_most_once_a_second(pool: Pool) -> None:
    gateway_id = await gateway(pool)
    async with pool.connection() as conn:
        assert await pace.slow_down(conn, gateway_id, "454 4.7.0 Throttling failure", 40.0) == 20
        assert await pace.slow_down(conn, gateway_id, "454 again", 40.0) is None
        seen = await pace.look(conn, gateway_id)
        assert seen.because == "454 4.7.0 Throttling failure"
        assert seen.per_s == pytest.approx(20, rel=0.1)
        assert (await pace.take_permits(conn, gateway_id, 50)).granted <= 5, "a burst is a quarter of a second"
        await earlier(conn, 1)
        assert await pace.slow_down(conn, gateway_id, "451", 40.0) == pytest.approx(10, rel=0.1)


async def test_it_never_stands_still(pool: Pool) -> None:
    gateway_id = await gateway(pool)
    async with pool.connection() as conn:
        assert await pace.slow_down(conn, gateway_id, "451", 0.0) == 1
        for _ in range(5):
            await earlier(conn, 1)
            slowest = await pace.slow_down(conn, gateway_id, "451", 0.0)
        assert slowest == SPEED_MIN_PER_S


async def test_a_slowed_gateway_is_faster_by_and_by_and_then_free_again(pool: Pool) -> None:
    gateway_id = await gateway(pool)
    async with pool.connection() as conn:
        await pace.slow_down(conn, gateway_id, "454", 20.0)
        for after_s in (20, 39):
            await earlier(conn, after_s - (0 if after_s == 20 else 20))
            grown = await pace.look(conn, gateway_id)
            assert grown.per_s == pytest.approx(grown_to_per_s(10.0, after_s), rel=0.1)
            assert grown.because == "454"
        await earlier(conn, SLOWED_FOR_S - 39)
        assert not (await pace.look(conn, gateway_id)).is_limited
        assert (await pace.take_permits(conn, gateway_id, 50)).granted == 50
        assert await (await conn.execute("SELECT rate, because FROM gateway_pace")).fetchone() == (None, None)


async def test_a_slowed_gateway_is_free_again_at_its_own_limit(pool: Pool) -> None:
    gateway_id = await gateway(pool, messages_per_s=16)
    async with pool.connection() as conn:
        assert await pace.slow_down(conn, gateway_id, "454", 100.0) == 8, "it was never faster than its limit"
        await earlier(conn, 21)
        assert await pace.look(conn, gateway_id) == pace.Pace(16.0, None, None, 0)


async def test_slots_are_the_gateways_connections_whoever_takes_them(pool: Pool) -> None:
    gateway_id = await gateway(pool, connections=7, messages_per_connection=100)

    async def take(number: int) -> pace.Slot | None:
        async with pool.connection() as conn:
            return await pace.take_slot(conn, gateway_id, f"worker {number % 3}", 30)

    taken = await asyncio.gather(*(take(number) for number in range(20)))
    assert sorted(slot for slot in taken if slot) == [pace.Slot(no, 100) for no in range(1, 8)]


async def test_a_slot_is_free_when_it_is_given_back_or_not_renewed(pool: Pool) -> None:
    gateway_id = await gateway(pool, connections=2)
    async with pool.connection() as conn:
        assert [await pace.take_slot(conn, gateway_id, "a", 30) for _ in range(3)] == [(1, None), (2, None), None]
        await pace.free_slot(conn, gateway_id, "b", 1)
        assert await pace.take_slot(conn, gateway_id, "b", 30) is None, "it was another's"
        await pace.free_slot(conn, gateway_id, "a", 1)
        assert await pace.take_slot(conn, gateway_id, "b", 30) == (1, None)
        await earlier(conn, 29)
        await pace.renew_slots(conn, "b", {(gateway_id, 1), (gateway_id, 2)}, 30)
        await earlier(conn, 2)
        assert await pace.take_slot(conn, gateway_id, "c", 30) == (2, None), "only the worker's own were renewed"
        assert await pace.take_slot(conn, gateway_id, "c", 30) is None
        await pace.free_slots_of(conn, "b")
        assert await pace.take_slot(conn, gateway_id, "c", 30) == (1, None)


async def test_a_gateway_that_refuses_a_connection_gets_fewer_and_one_more_each_minute(pool: Pool) -> None:
    gateway_id = await gateway(pool, connections=5)
    async with pool.connection() as conn:
        await pace.take_slot(conn, gateway_id, "a", 3600)
        assert await pace.fewer_connections(conn, gateway_id) is None, "alone, it was refused for another reason"
        slots = [await pace.take_slot(conn, gateway_id, "a", 3600) for _ in range(2)]
        assert slots == [(2, None), (3, None)]
        assert await pace.fewer_connections(conn, gateway_id) == 2
        await pace.free_slot(conn, gateway_id, "a", 3)
        assert await pace.take_slot(conn, gateway_id, "b", 3600) is None
        await earlier(conn, 60)
        assert [await pace.take_slot(conn, gateway_id, "b", 3600) for _ in range(2)] == [(3, None), None]
        await earlier(conn, 600)
        assert [await pace.take_slot(conn, gateway_id, "b", 3600) for _ in range(3)] == [(4, None), (5, None), None]


@given(st.floats(0.1, 1e4), st.floats(0, 120))
def test_growth_is_steady_and_ends(slowed_per_s: float, since_s: float) -> None:
    grown = grown_to_per_s(slowed_per_s, since_s)
    assert (grown is None) == (since_s >= SLOWED_FOR_S)
    assert grown is None or slowed_per_s <= grown < 4 * slowed_per_s + 0.01
