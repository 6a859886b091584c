"""The installation's beat: it grows with every look of a worker, whoever looks, and is never lowered."""

from __future__ import annotations

import asyncio

import pytest

from acting import acting
from desk import Desk
from postroom.flow.job import finish
from postroom.ledger.database import db, installation
from postroom.ledger.database.installation import Installation


async def beat(pool: db.Pool) -> Installation:
    async with pool.connection() as conn:
        return await installation.beat(conn)


async def test_each_beat_is_larger_than_every_one_before(pool: db.Pool) -> None:
    beats = await asyncio.gather(*(beat(pool) for _ in range(8)))
    assert sorted(one.beat for one in beats) == list(range(1, 9))
    assert {len(one.id) for one in beats} == {16}
    async with pool.connection() as conn:
        assert await installation.look(conn) == Installation(beats[0].id, 8), "a look does not count"


@pytest.mark.parametrize(("to", "then"), [(100, 101), (1, 6)])
async def test_it_is_raised_and_never_lowered(pool: db.Pool, to: int, then: int) -> None:
    for _ in range(5):
        await beat(pool)
    async with pool.connection() as conn:
        await installation.raise_to(conn, to)
    assert (await beat(pool)).beat == then


async def test_every_job_that_is_not_over_may_send(pool: db.Pool, database: str) -> None:
    desk = Desk(pool, database)
    account, other = await desk.account(), await desk.account("Other")
    sending, queued, waiting = await desk.submit(account, 3), await desk.submit(account, 3), await desk.submit(account, 100)
    cancelled, others = await desk.submit(account, 3), await desk.submit(other, 3)
    await finish.cancel(pool, acting(account, "me"), cancelled.id)
    async with pool.connection() as conn:
        assert await installation.jobs_that_may_send(conn) == [
            (account, sending.id), (account, queued.id), (account, waiting.id), (other, others.id)]
