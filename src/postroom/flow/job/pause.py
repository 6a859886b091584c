"""Pausing a job and letting it go on. A condition beside the status, and so possible in every status that is not over.

Promises: when `pause` returns, no new window can be opened; what workers have in hand they settle, and what of it they had not
begun goes back to unsent. A queued job keeps its place and lets others pass; one that waits for its approval is queued paused.
Only a person lets it go on.
"""

from __future__ import annotations

from postroom.domain.access import Actor, Kind, Right
from postroom.domain.job import Status
from postroom.errors import Conflict, storable
from postroom.flow.account.acting import permitted
from postroom.flow.job.start import start_next
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.database import engine
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs, pauses
from postroom.ledger.job.jobs import JobOverview
from postroom.points import reach


async def pause(pool: Pool, actor: Actor, job_id: int, *, reason: str | None = None) -> JobOverview:
    """Pausing again answers the same: who was first, when and why stay. What Postroom itself found is said beside it.

    Raises NotFound; InvalidInput; Conflict where the job is over.
    """
    account_id = permitted(actor, Right.WRITE_JOBS)
    if reason is not None:
        storable(reason, "reason")
    async with pool.connection() as conn, conn.transaction():
        status = await _lock(conn, account_id, job_id)
        if await pauses.insert_pause(conn, account_id, job_id, by=actor, reason=reason or "", adds=actor.kind is Kind.POSTROOM):
            await jobs.record_event(conn, account_id, job_id, "pause", by=actor, reason=reason)
            if status is Status.SENDING:
                await jobs.fence_chunks(conn, account_id, job_id)
                await pauses.tell_workers(conn, account_id, job_id)
        view = await jobs.view_job(conn, account_id, job_id)
        reach("flow.in_pause")
    reach("flow.after_pause")
    return view


async def resume(pool: Pool, actor: Actor, job_id: int) -> JobOverview:
    """It goes on at once, or starts if it is its turn. Resuming one that is not paused answers the same.

    Raises NotFound; Conflict where the job is over.
    """
    account_id = permitted(actor, Right.WRITE_JOBS)
    async with pool.connection() as conn, conn.transaction():
        status = await _lock(conn, account_id, job_id)
        if await pauses.delete_pause(conn, account_id, job_id):
            await jobs.record_event(conn, account_id, job_id, "resume", by=actor)
            if status is Status.QUEUED:
                await start_next(conn, account_id)
            elif status is Status.SENDING:
                await _go_on(conn, account_id, job_id)
        view = await jobs.view_job(conn, account_id, job_id)
        reach("flow.in_resume")
    reach("flow.after_resume")
    return view


async def _go_on(conn: Connection, account_id: int, job_id: int) -> None:
    """Lanes that looked in while it was paused may still be there, and are not made twice."""
    lanes = (await jobs.view_job(conn, account_id, job_id)).lanes
    await engine.defer_lanes(conn, account_id, job_id, lanes - (await engine.live_lanes(conn)).get(job_id, 0))


async def _lock(conn: Connection, account_id: int, job_id: int) -> Status:
    await lock_account(conn, account_id)
    job = await jobs.lock_job(conn, account_id, job_id)
    if job.status.is_over:
        raise Conflict(f"Job {job_id} is {job.status.label}: nothing of it is sent any more.", job_id=job_id)
    return job.status
