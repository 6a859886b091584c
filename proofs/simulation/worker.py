"""A worker of the simulation, put together as doors/wiring.py does it, and its places in the engine."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg

from postroom.errors import PostroomError
from postroom.flow.delivery.deliver import Deliveries
from postroom.flow.delivery.guard import GUARD_EVERY_S, Guard
from postroom.flow.delivery.journals import settle_dead_siblings
from postroom.flow.delivery.pacing import Paces
from postroom.flow.delivery.recover import sweep
from postroom.flow.delivery.sessions import Sessions
from postroom.gateway.conversation import Deadlines
from postroom.gateway.journal import Journal
from proofs.simulation.database import Pool
from proofs.simulation.ledger.tables import Lane, Tables
from proofs.simulation.outgoing import OutgoingJobs
from proofs.simulation.time import Process
from proofs.simulation.world import LANES, World

LEASE_S = 6.0
RETRY_BASE_S = 0.2
STAY_S = 2.0
STALLED_AFTER_S = 3.0
SETTLE_EVERY_S = 0.8
GIVE_UP_S = 600.0
DATABASE_RETRY_S = 0.5
LANE_POLL_S = 2.0
DEADLINES = Deadlines(mail_s=8, rcpt_s=8, data_s=8, dot_s=12)
AWAY = (PostroomError, psycopg.OperationalError)


async def work(world: World, process: Process) -> None:
    """As doors/wiring.py puts one together."""
    pool: Any = Pool(world.database, process)
    directory = world.place / process.host
    guard = Guard(pool, directory, process.name, lease_s=LEASE_S)
    while True:
        try:
            found = await guard.look()
            break
        except AWAY:
            await asyncio.sleep(DATABASE_RETRY_S)
    guard.journal = journal = Journal.open(directory, found.id, process.name, found.beat)
    outgoing_jobs: Any = OutgoingJobs(LANES)
    deliveries = Deliveries(
        pool=pool, outgoing_jobs=outgoing_jobs, sessions=Sessions(pool, process.name, LEASE_S, DEADLINES), paces=Paces(pool),
        journal=journal, owner=process.name, lease_s=LEASE_S, retry_base_s=RETRY_BASE_S, witness=guard.witness,
        beat=found.beat)
    world.workers[process] = deliveries

    async def settle_the_dead() -> None:
        await settle_dead_siblings(pool, directory, found.id, retry_base_s=RETRY_BASE_S)

    async def look_at_database() -> None:
        deliveries.trust(await guard.look())

    every = [
        (LEASE_S / 3, deliveries.renew_leases), (LEASE_S / 3, deliveries.sessions.renew), (2.0, lambda: _rescue(world, pool)),
        (2.0, lambda: sweep(pool, give_up_s=GIVE_UP_S, lease_s=LEASE_S)), (1.0, deliveries.sessions.close_idle),
        (SETTLE_EVERY_S, settle_the_dead), (GUARD_EVERY_S, look_at_database)]
    await _round(world, settle_the_dead)
    for seconds, act in every:
        world.loop.start(_every(world, seconds, act), process)
    for _ in range(LANES):
        world.loop.start(_lanes(world, pool, deliveries, process), process)


async def _every(world: World, seconds: float, act: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await _round(world, act)


async def _round(world: World, act: Callable[[], Awaitable[object]]) -> None:
    try:
        await act()
    except AWAY:
        pass
    except Exception as error:
        world.faults.append(f"a round failed: {error!r} at {whereabouts(error)}")


async def _lanes(world: World, pool: Any, deliveries: Deliveries, process: Process) -> None:
    """A place of the engine: one task after the other."""
    def take(tables: Tables) -> tuple[int, Lane] | None:
        number = next((number for number, lane in tables.lane.items() if lane.owner is None), None)
        if number is None:
            return None
        lane = tables.lane[number]
        tables.lane[number] = lane._replace(owner=process.name)
        return number, lane

    while True:
        try:
            found = await _engine(pool, "take_lane", take)
        except AWAY:
            await asyncio.sleep(DATABASE_RETRY_S)
            continue
        if found is None:
            await _free_lane(world)
            continue
        number, lane = found
        world.running.add((process.name, number))
        until, again = world.loop.now + STAY_S, False
        try:
            while await deliveries.deliver(lane.account_id, lane.job_id, world.loop.now < until):
                pass
        except AWAY:
            again = True
        except Exception as error:
            world.faults.append(f"a lane failed: {error!r} at {whereabouts(error)}")
        world.running.discard((process.name, number))
        await _end_lane(pool, number, lane if again else None)


async def _end_lane(pool: Any, number: int, again: Lane | None) -> None:
    """Its task is over, or tried again."""
    def end(tables: Tables) -> None:
        if again is None:
            tables.lane.pop(number, None)
        else:
            tables.lane[number] = again

    while True:
        try:
            await _engine(pool, "end_lane", end)
            return
        except AWAY:
            await asyncio.sleep(DATABASE_RETRY_S)


async def _rescue(world: World, pool: Any) -> None:
    """Tasks of the dead and the frozen, and those that were taken by somebody who never heard of it."""
    stalled = {process.name for process in world.workers if process.is_dead or (
        process.is_frozen and world.loop.now - world.frozen_since[process] > STALLED_AFTER_S)}

    def give_back(tables: Tables) -> None:
        for number, lane in tables.lane.items():
            if lane.owner in stalled or (lane.owner is not None and (lane.owner, number) not in world.running):
                tables.lane[number] = lane._replace(owner=None)

    await _engine(pool, "rescue", give_back)


async def _engine(pool: Any, name: str, act: Callable[[Tables], Any]) -> Any:
    async with pool.connection() as conn:
        return (await conn.run((name, lambda tables, now, given: [act(tables)]), {}))[0]


async def _free_lane(world: World) -> None:
    waiting = world.loop.create_future()
    world.idle.append(waiting)

    def look_anyway() -> None:
        if not waiting.done():
            waiting.set_result(None)

    world.loop.after(LANE_POLL_S, look_anyway)
    await waiting


def whereabouts(error: BaseException) -> str:
    """The last places of its way, innermost last."""
    return ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:])
