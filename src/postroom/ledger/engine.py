"""The engine's seam: which worker does what when. Procrastinate is named here and nowhere else in our code.

A *lane* is a job's right to one session: a task `deliver(account, job)` that takes whichever chunk is free. While other lanes
wait it rejoins the tail of the engine's queue in the transaction that finishes a chunk, so that accounts take turns; while
none does it goes straight on, for two seconds at most. Tasks carry no state:
the engine may lose, repeat or delay one, and the ledger makes that harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import procrastinate
from procrastinate.exceptions import AppNotOpen, ConnectorException

from postroom.errors import Unavailable
from postroom.ledger.db import Connection, Pool

TASK = "deliver"
QUEUE = "postroom"
HEARTBEAT_S = 1.0
STALLED_AFTER_S = 3.0
POLL_S = 2.0
STAY_S = 2.0  # a lane keeps its place no longer, so that a worker that joins late gets its share

Deliver = Callable[[int, int, bool], Awaitable[bool]]

LIVE_LANES = """
    SELECT (args ->> 'job_id')::bigint, count(*) FROM procrastinate_jobs
    WHERE task_name = %(task)s AND status IN ('todo', 'doing') GROUP BY 1
"""

LOOK_AROUND = """
    SELECT coalesce(bool_or(status = 'todo'), false), count(*) FILTER (WHERE (args ->> 'job_id')::bigint = %(job_id)s)
    FROM procrastinate_jobs WHERE queue_name = %(queue)s AND status IN ('todo', 'doing')
"""

_deferring = procrastinate.App(connector=procrastinate.PsycopgConnector())


async def defer_lanes(conn: Connection, account_id: int, job_id: int, lanes: int) -> None:
    """Puts `lanes` tasks at the tail of the queue, in the caller's transaction: with its rows or not at all."""
    if lanes > 0:
        task = _deferring.configure_task(TASK, queue=QUEUE, connection=conn)
        lane: procrastinate.types.JSONDict = {"account_id": account_id, "job_id": job_id}
        try:
            await task.batch_defer_async(*[lane] * lanes)
        except ConnectorException as error:
            raise Unavailable(f"A task could not be put into the engine's queue: {error}") from error


async def look_around(conn: Connection, job_id: int) -> tuple[bool, int]:
    """(whether any account's lane waits for a place, the lanes of this job that wait or run)."""
    row = await (await conn.execute(LOOK_AROUND, {"job_id": job_id, "queue": QUEUE})).fetchone()
    assert row is not None
    return bool(row[0]), int(row[1])


async def live_lanes(conn: Connection) -> dict[int, int]:
    """Tasks waiting or running, by job."""
    cursor = await conn.execute(LIVE_LANES, {"task": TASK})
    return {row[0]: row[1] for row in await cursor.fetchall()}


class Engine:
    """The worker's side: runs `deliver` for each lane it is given, at most `concurrency` at once."""

    def __init__(self, pool: Pool, deliver: Deliver, *, concurrency: int) -> None:
        self._pool = pool
        self._concurrency = concurrency
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector())

        @self._app.task(name=TASK, queue=QUEUE, retry=procrastinate.RetryStrategy(max_attempts=10, wait=1))
        async def run(account_id: int, job_id: int) -> None:
            until = time.monotonic() + STAY_S
            while await deliver(account_id, job_id, time.monotonic() < until):
                pass

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then waits for the lanes that are running: they drain at their window's end."""
        async with self._app.open_async(self._pool):
            worker = asyncio.create_task(self._app.run_worker_async(
                queues=[QUEUE], concurrency=self._concurrency, wait=True, fetch_job_polling_interval=POLL_S,
                delete_jobs="always", install_signal_handlers=False, listen_notify=True,
                update_heartbeat_interval=HEARTBEAT_S, stalled_worker_timeout=STALLED_AFTER_S))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    async def rescue(self) -> None:
        """Gives the tasks of dead workers back. Procrastinate does not do so by itself, and a periodic task would stall too.

        Nothing while this engine does not run. Raises Unavailable.
        """
        manager = self._app.job_manager
        try:
            stalled = list(await manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=STALLED_AFTER_S))
        except AppNotOpen:
            return
        except ConnectorException as error:
            raise Unavailable(f"The tasks of dead workers could not be looked for: {error}") from error
        for task in stalled:
            try:
                await manager.retry_job(task)
            except ConnectorException:
                continue  # another worker's rescue was first
