"""Starting the next job of an account: part of every transaction that approves or ends one."""

from __future__ import annotations

from postroom.domain.access import postroom_itself
from postroom.domain.job import Status
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.database import engine
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs
from postroom.points import reach


async def start_next(conn: Connection, account_id: int) -> None:
    """Starts the first queued job, if none is active. The caller holds the account's lock.

    A job of which nobody is left to send (every row was booked at the freeze) is complete at once, and the next one starts.
    """
    while (waiting := await jobs.next_in_queue(conn, account_id)) is not None:
        job_id, lanes = waiting
        await jobs.move(conn, account_id, job_id, Status.QUEUED, Status.SENDING, by=postroom_itself(account_id))
        reach("flow.in_start")
        if not await jobs.has_nothing_left(conn, account_id, job_id):
            await engine.defer_lanes(conn, account_id, job_id, lanes)
            return
        await jobs.move(conn, account_id, job_id, Status.SENDING, Status.COMPLETED, by=postroom_itself(account_id))


async def start_idle_queue(pool: Pool, account_id: int) -> None:
    """For the sweeper: a job whose time has come, or whose start was lost."""
    async with pool.connection() as conn, conn.transaction():
        await lock_account(conn, account_id)
        await start_next(conn, account_id)
    reach("flow.after_start")
