"""The engine's seam: tasks come with the caller's transaction or not at all, and dead workers' tasks come back."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from postroom.errors import Unavailable
from postroom.ledger.database import db, engine
from postroom.ledger.database.engine import Engine


async def no_check(account_id: int, job_id: int, may_stay: bool) -> bool:
    raise AssertionError("nothing waits at the gate here")


class Undone(Exception):
    """Rolls a transaction back."""


async def lanes(pool: db.Pool) -> dict[int, int]:
    async with pool.connection() as conn:
        return await engine.live_lanes(conn)


@contextlib.asynccontextmanager
async def running(pool: db.Pool, deliver: engine.Work, concurrency: int = 2):
    stop = asyncio.Event()
    work = Engine(pool, deliver, no_check, concurrency=concurrency)
    task = asyncio.create_task(work.run(stop))
    try:
        yield work
    finally:
        stop.set()
        await task


async def test_lanes_that_were_put_in_a_transaction_that_rolled_back_are_not_there(pool: db.Pool) -> None:
    with pytest.raises(Undone):  # noqa: PT012 - it is the rollback that is looked at
        async with pool.connection() as conn, conn.transaction():
            await engine.defer_lanes(conn, 1, 7, 3)
            assert await engine.live_lanes(conn) == {7: 3}
            raise Undone
    assert await lanes(pool) == {}
    async with pool.connection() as conn:
        assert await (await conn.execute("SELECT count(*) FROM procrastinate_jobs")).fetchone() == (0,)


async def test_lanes_are_counted_by_job_until_they_are_done(pool: db.Pool) -> None:
    async with pool.connection() as conn:
        await engine.defer_lanes(conn, 1, 7, 2)
        await engine.defer_lanes(conn, 2, 8, 1)
        await engine.defer_lanes(conn, 2, 9, 0)
    assert await lanes(pool) == {7: 2, 8: 1}
    begun, go_on, seen = asyncio.Event(), asyncio.Event(), []

    async def deliver(account_id: int, job_id: int, may_stay: bool) -> bool:
        seen.append((account_id, job_id))
        begun.set()
        await go_on.wait()
        return False

    async with running(pool, deliver), asyncio.timeout(20):
        await begun.wait()
        assert await lanes(pool) == {7: 2, 8: 1}, "one that runs is live"
        go_on.set()
        while await lanes(pool):  # noqa: ASYNC110 - the table does not tell
            await asyncio.sleep(0.02)
    assert sorted(seen) == [(1, 7), (1, 7), (2, 8)]


async def test_a_worker_that_is_told_to_stop_finishes_what_it_has_and_takes_no_more(pool: db.Pool) -> None:
    async with pool.connection() as conn:
        await engine.defer_lanes(conn, 1, 7, 3)
    begun, finished, stop = asyncio.Event(), [], asyncio.Event()

    async def deliver(account_id: int, job_id: int, may_stay: bool) -> bool:
        begun.set()
        await stop.wait()
        await asyncio.sleep(0.05)
        finished.append(job_id)
        return False

    work = asyncio.create_task(Engine(pool, deliver, no_check, concurrency=1).run(stop))
    async with asyncio.timeout(20):
        await begun.wait()
        stop.set()
        await work
    assert finished == [7]
    assert await lanes(pool) == {7: 2}


async def test_a_dead_workers_task_is_given_to_another(pool: db.Pool) -> None:
    async with pool.connection() as conn:
        await engine.defer_lanes(conn, 1, 7, 1)
        dead = await (await conn.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 min') "
                                         "RETURNING id")).fetchone()
        assert dead is not None
        await conn.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", dead)
    done = asyncio.Event()

    async def deliver(account_id: int, job_id: int, may_stay: bool) -> bool:
        done.set()
        return False

    async with running(pool, deliver) as work, asyncio.timeout(20):
        while not done.is_set():
            await asyncio.gather(work.rescue(), work.rescue())  # two at once: one of them gives it back
            await asyncio.sleep(0.02)


async def test_an_engine_that_does_not_run_or_lost_its_database_rescues_nobody_and_says_so(pool: db.Pool) -> None:
    async def deliver(account_id: int, job_id: int, may_stay: bool) -> bool:
        raise AssertionError

    await Engine(pool, deliver, no_check, concurrency=1).rescue()
    async with running(pool, deliver) as work, pool.connection() as conn:
        await asyncio.sleep(0.2)
        await conn.execute("ALTER TABLE procrastinate_workers RENAME TO gone")
        with pytest.raises(Unavailable, match="could not be looked for"):
            await work.rescue()
        await conn.execute("ALTER TABLE gone RENAME TO procrastinate_workers")


async def test_a_living_workers_task_is_left_alone(pool: db.Pool) -> None:
    async with pool.connection() as conn:
        await engine.defer_lanes(conn, 1, 7, 1)
        alive = await (await conn.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now()) "
                                          "RETURNING id")).fetchone()
        assert alive is not None
        await conn.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", alive)

    async def deliver(account_id: int, job_id: int, may_stay: bool) -> bool:
        raise AssertionError

    async with running(pool, deliver) as work:
        await asyncio.sleep(0.2)  # it is open by then
        await work.rescue()
    async with pool.connection() as conn:
        assert await (await conn.execute("SELECT status::text FROM procrastinate_jobs")).fetchone() == ("doing",)


async def test_a_worker_can_be_told_to_stop_at_any_moment_of_its_start(pool: db.Pool) -> None:
    """By an event, since a cancellation that comes while a connection is waited for may be lost."""
    async def deliver(account_id: int, job_id: int, may_stay: bool) -> bool:
        raise AssertionError("there is nothing to deliver")

    for turns in range(60):
        async with asyncio.timeout(20), running(pool, deliver):
            for _ in range(turns):
                await asyncio.sleep(0)
