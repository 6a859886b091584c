"""A worker's view of its gateways' pace: what it asks the database, when it slows down, and when it had better wait."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from desk import Desk
from postroom.flow.delivery.pacing import Known, Paces
from postroom.gateway.replies import Reply
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import pace

THROTTLE = Reply(454, "4.7.0", "4.7.0 Throttling failure")


@pytest.fixture
def desk(pool, database) -> Desk:
    return Desk(pool, database)


@dataclass(eq=False)
class Window:
    accepted: int


async def gateway(desk: Desk) -> int:
    await desk.account()
    ((gateway_id,),) = await desk.query("SELECT id FROM gateway")
    return gateway_id


def earlier(known: Known, seconds: float) -> None:
    """As if the worker had seen everything so many seconds before."""
    known.looked_at -= seconds
    known.throttled_at -= seconds
    for index, (began, ended, n) in enumerate(known.accepted):
        known.accepted[index] = began - seconds, ended - seconds, n


async def taken_today(desk: Desk) -> int:
    return sum(row[0] for row in await desk.query("SELECT taken_today FROM gateway_pace"))


async def test_a_gateway_without_limits_costs_one_look_a_second_and_leaves_no_trace(desk: Desk) -> None:
    gateway_id = await gateway(desk)
    asked = AskedPool(desk.pool)
    paces = Paces(asked)
    for _ in range(100):
        assert (await paces.permits(gateway_id, 50)).granted == 50
        await paces.give_back(gateway_id, 7)
    assert asked.times == 1
    assert await desk.query("SELECT 1 FROM gateway_pace") == []
    earlier(paces._gateways[gateway_id], 1.1)
    await paces.permits(gateway_id, 50)
    assert asked.times == 2


class AskedPool:
    """A pool that counts how often it was asked for a connection."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self.times = pool, 0

    def connection(self) -> object:
        self.times += 1
        return self._pool.connection()


async def test_permits_that_were_not_used_count_for_nobody(desk: Desk) -> None:
    gateway_id = await gateway(desk)
    await desk.query("UPDATE gateway SET daily_quota = 100 RETURNING 1")
    paces = Paces(desk.pool)
    assert (await paces.permits(gateway_id, 50)).granted == 50
    assert await taken_today(desk) == 50
    await paces.give_back(gateway_id, 20)
    await paces.give_back(gateway_id, 0)
    assert await taken_today(desk) == 30


async def test_a_limit_that_is_set_while_it_sends_is_met_a_second_later(desk: Desk) -> None:
    gateway_id = await gateway(desk)
    paces = Paces(desk.pool)
    await paces.permits(gateway_id, 50)
    await desk.query("UPDATE gateway SET daily_quota = 10 RETURNING 1")
    earlier(paces._gateways[gateway_id], 1.1)
    assert (await paces.permits(gateway_id, 50)).granted == 10


async def test_one_workers_throttle_slows_the_others_from_what_it_measured(desk: Desk) -> None:
    gateway_id = await gateway(desk)
    mine, theirs = Paces(desk.pool), Paces(desk.pool)
    mine.accepted(gateway_id, 1_000, 1.0)
    earlier(mine._gateways[gateway_id], 2)
    for _ in range(4):
        mine.accepted(gateway_id, 10, 1.0)
    assert not await mine.throttled(gateway_id, THROTTLE)
    async with desk.pool.connection() as conn:
        slowed = await pace.look(conn, gateway_id)
    assert slowed.per_s == pytest.approx(20, rel=0.2), "half of the last second's forty"
    assert slowed.because == "454 4.7.0 Throttling failure"
    for paces in (mine, theirs):
        assert (await paces.permits(gateway_id, 50)).granted <= 5


async def test_the_first_throttle_slows_from_what_all_windows_took_that_are_not_over_yet(desk: Desk) -> None:
    gateway_id, paces = await gateway(desk), Paces(desk.pool)
    windows = [Window(n) for n in (12, 8, 0)]
    for window in windows:
        paces.begins(gateway_id, window)
    known = paces._gateways[gateway_id]
    known.under_way.update({window: known.under_way[window] - 0.5 for window in windows})
    paces.ends(gateway_id, windows[2])
    assert not await paces.throttled(gateway_id, THROTTLE)
    async with desk.pool.connection() as conn:
        assert (await pace.look(conn, gateway_id)).per_s == pytest.approx(20, rel=0.2), "half of twenty in half a second"


def test_a_long_window_counts_with_its_last_second_only() -> None:
    known = Known()
    known.accepted.append((0.0, 50.0, 100))
    assert known.per_s(50.0) == pytest.approx(2)
    known.under_way[Window(30)] = 20.0
    assert known.per_s(50.0) == pytest.approx(3)


async def test_a_gateway_that_throttles_for_five_seconds_and_takes_nothing_is_better_left_alone(desk: Desk) -> None:
    gateway_id = await gateway(desk)
    paces = Paces(desk.pool)
    for _ in range(4):
        assert not await paces.throttled(gateway_id, THROTTLE)
        assert not await paces.throttled(gateway_id, THROTTLE), "a burst that meets all sessions at once is one"
        earlier(paces._gateways[gateway_id], 1.1)
    assert await paces.throttled(gateway_id, THROTTLE)
    earlier(paces._gateways[gateway_id], 300)
    assert await paces.throttled(gateway_id, THROTTLE), "and so it stays with each probe"
    paces.accepted(gateway_id, 0, 1.0)
    assert await paces.throttled(gateway_id, THROTTLE)
    paces.accepted(gateway_id, 1, 1.0)
    assert not await paces.throttled(gateway_id, THROTTLE)
