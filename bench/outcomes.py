"""G7: how fast outcomes are written, and what share of the sender's CPU goes into the database.

    python bench/outcomes.py [--json] [--recipients N]

The database path alone: every chunk of a job is claimed, its windows of 100 turned and booked as sent by twenty lanes at once, as
a worker does it, and nothing is rendered or sent between. What that costs this process is put beside the CPU that a worker needs
for the same job with everything. A minute; exit status as that of `send.py`.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from contender import CONNECTIONS, Postroom, approve_job, create_account, create_job, pre_flown, rows
from harness import BenchmarkError, Figure, Run, note, run_benchmark
from postroom.domain.outcome import Evidence, Kind, Outcome
from postroom.domain.pace import WINDOW_SIZE_MAX
from postroom.ledger.database import db
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import windows
from sink import free_port, smtp_sink

ROWS_PER_S = 80_000
SHARE_MAX_PERCENT = 10.0
POOL = 10  # as a worker has
REPLY = "2.0.0 Ok: queued as 1A2B3C"


async def lane(pool: Pool, account_id: int, job_id: int) -> int:
    """Books everybody of every chunk that it gets as sent; how many that were."""
    booked = 0
    while True:
        async with pool.connection() as conn:
            claim = await windows.claim_chunk(conn, account_id, job_id, owner="bench", lease_s=30)
        if claim is None:
            return booked
        outcomes: list[Outcome] = []
        while True:
            async with pool.connection() as conn:
                window = await windows.turn_window(conn, claim, outcomes, WINDOW_SIZE_MAX)
            if window is None:
                break
            outcomes = [Outcome(one.position, one.attempt_no, Kind.SENT, Evidence.REPLY, 250, "2.0.0", REPLY)
                        for one in window.recipients]
            booked += len(outcomes)
        async with pool.connection() as conn:
            await windows.release_chunk(conn, claim)


async def database_path(postroom: Postroom, recipients: int) -> Run:
    """Without a worker: nobody else is there to take a chunk."""
    account_id = await create_account(postroom.parts, free_port())
    job = await create_job(postroom.parts, account_id, rows(recipients))
    async with postroom.worker():
        await pre_flown(postroom.url, job.id, recipients)
    await approve_job(postroom.parts, account_id, job.id)
    async with await db.open_pool(postroom.url, size_max=POOL, name="bench outcomes", generic_plans=True) as pool:
        cpu_before, started = time.process_time(), time.perf_counter()
        booked = sum(await asyncio.gather(*(lane(pool, account_id, job.id) for _ in range(CONNECTIONS))))
        run = Run(booked, time.perf_counter() - started, time.process_time() - cpu_before)
    if booked != recipients:
        raise BenchmarkError(f"{booked} of {recipients} outcomes were booked")
    return run


async def measure(recipients: int) -> list[Figure]:
    async with Postroom() as postroom:
        path = await database_path(postroom, recipients)
        note(f"the database path alone: {path.rate:,.0f} rows/s, {path.cpu_us_per_message:.1f} us CPU each")
        whole = await postroom.run_job(smtp_sink, recipients)
    share = path.cpu_us_per_message / whole.cpu_us_per_message * 100
    return [
        Figure.at_least("G7", "outcomes written, each window with its intent", path.rate, "rows/s", ROWS_PER_S),
        Figure.at_most("G7", "share of the database path in the sender's CPU", share, "%", SHARE_MAX_PERCENT),
        Figure.plain("G7", "CPU of the database path", path.cpu_us_per_message, "us/message"),
        Figure.plain("G7", "CPU of the whole job", whole.cpu_us_per_message, "us/message"),
    ]


if __name__ == "__main__":
    sys.exit(run_benchmark(measure, "How fast outcomes are written, and the database's share",
                           loop_factory=uvloop.new_event_loop, recipients=100_000))
