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
from procrastinate.worker import Worker

from postroom.errors import NotFound, Unavailable
from postroom.ledger.database.db import Connection, Pool

TASK = "deliver"
QUEUE = "postroom"
CHECK_TASK = "check"
CHECK_QUEUE = "postroom_check"  # of its own, so that looks at a large list never take a place of a lane that sends
CHECKS_AT_ONCE = 1  # in one process: they compute, and so gain nothing from company
HEARTBEAT_S = 1.0
STALLED_AFTER_S = 3.0
POLL_S = 2.0
STAY_S = 2.0  # a lane keeps its place no longer, so that a worker that joins late gets its share

Work = Callable[[int, int, bool], Awaitable[bool]]

LIVE_LANES = """
    SELECT (args ->> 'job_id')::bigint, count(*) FROM procrastinate_jobs
    WHERE task_name = %(task)s AND status IN ('todo', 'doing') GROUP BY 1
"""

# Each process stands among the workers once for each of the two queues.
LOOK_AROUND = """
    SELECT coalesce(bool_or(status = 'todo'), false), count(*) FILTER (WHERE (args ->> 'job_id')::bigint = %(job_id)s),
           (SELECT count(*) > 2 FROM procrastinate_workers WHERE last_heartbeat > now() - interval '5 seconds')
    FROM procrastinate_jobs WHERE queue_name = %(queue)s AND status IN ('todo', 'doing')
"""

OTHERS_WAIT = """
    SELECT EXISTS (SELECT FROM procrastinate_jobs
                   WHERE queue_name = %(queue)s AND status = 'todo' AND (args ->> 'job_id')::bigint <> %(job_id)s)
"""

BOUND_HEARTBEATS = "UPDATE procrastinate_workers SET last_heartbeat = clock_timestamp() WHERE last_heartbeat > clock_timestamp()"

_deferring = procrastinate.App(connector=procrastinate.PsycopgConnector())


async def defer_lanes(conn: Connection, account_id: int, job_id: int, lanes: int) -> None:
    """Puts `lanes` tasks at the tail of the queue, in the caller's transaction: with its rows or not at all."""
    await _defer(conn, TASK, QUEUE, account_id, job_id, lanes)


async def defer_checks(conn: Connection, account_id: int, job_id: int, lanes: int) -> None:
    """The same for looks at a job that waits at the gate (`flow/check/preflight.py`)."""
    await _defer(conn, CHECK_TASK, CHECK_QUEUE, account_id, job_id, lanes)


async def _defer(conn: Connection, name: str, queue: str, account_id: int, job_id: int, lanes: int) -> None:
    if lanes > 0:
        task = _deferring.configure_task(name, queue=queue, connection=conn)
        lane: procrastinate.types.JSONDict = {"account_id": account_id, "job_id": job_id}
        try:
            await task.batch_defer_async(*[lane] * lanes)
        except ConnectorException as error:
            raise Unavailable(f"A task could not be put into the engine's queue: {error}") from error


async def look_around(conn: Connection, job_id: int) -> tuple[bool, int, bool]:
    """(whether any account's lane waits for a place, the lanes of this job that wait or run, whether other processes work)."""
    row = await (await conn.execute(LOOK_AROUND, {"job_id": job_id, "queue": QUEUE})).fetchone()
    assert row is not None
    return bool(row[0]), int(row[1]), bool(row[2])


async def others_wait(conn: Connection, job_id: int) -> bool:
    """Whether a lane of another job waits for a place."""
    row = await (await conn.execute(OTHERS_WAIT, {"job_id": job_id, "queue": QUEUE})).fetchone()
    return bool(row and row[0])


async def live_lanes(conn: Connection, task: str = TASK) -> dict[int, int]:
    """Tasks waiting or running, by job."""
    cursor = await conn.execute(LIVE_LANES, {"task": task})
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def bound_heartbeats(conn: Connection) -> None:
    """The database's clock was set back: a heartbeat that is still to come would keep a dead worker alive until then."""
    await conn.execute(BOUND_HEARTBEATS)


class Engine:
    """The worker's side: runs `deliver` for each lane it is given, at most `concurrency` at once, and `check` beside them."""

    def __init__(self, pool: Pool, deliver: Work, check: Work, *, concurrency: int) -> None:
        self._pool = pool
        self._concurrency = {QUEUE: concurrency, CHECK_QUEUE: CHECKS_AT_ONCE}
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector())
        self._take(TASK, QUEUE, deliver)
        self._take(CHECK_TASK, CHECK_QUEUE, check)

    def _take(self, name: str, queue: str, work: Work) -> None:
        @self._app.task(name=name, queue=queue, retry=procrastinate.RetryStrategy(max_attempts=10, wait=1))
        async def run(account_id: int, job_id: int) -> None:
            until = time.monotonic() + STAY_S
            with contextlib.suppress(NotFound):  # deleted with its account since: nothing is left to do for it
                while await work(account_id, job_id, time.monotonic() < until):
                    pass

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then waits for the lanes that are running: they drain at their window's end."""
        async with self._app.open_async(self._pool):
            workers = [Worker(
                self._app, queues=[queue], concurrency=concurrency, fetch_job_polling_interval=POLL_S, delete_jobs="always",
                install_signal_handlers=False, update_heartbeat_interval=HEARTBEAT_S, stalled_worker_timeout=STALLED_AFTER_S)
                for queue, concurrency in self._concurrency.items()]
            running = [asyncio.create_task(worker.run()) for worker in workers]
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for worker in workers:
                worker.stop()  # not by cancelling: while a worker starts, a cancellation may be lost (see postroom/tasks.py)
            for ended in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended

    async def rescue(self) -> None:
        """Gives the tasks of dead workers back. Procrastinate does not do so by itself, and a periodic task would stall too.

        Nothing while this engine does not run. Raises Unavailable.
        """
        manager = self._app.job_manager
        try:
            stalled = [task for queue in self._concurrency
                       for task in await manager.get_stalled_jobs(queue=queue, seconds_since_heartbeat=STALLED_AFTER_S)]
        except AppNotOpen:
            return
        except ConnectorException as error:
            raise Unavailable(f"The tasks of dead workers could not be looked for: {error}") from error
        for task in stalled:
            try:
                await manager.retry_job(task)
            except ConnectorException:
                continue  # another worker's rescue was first
