"""The three ways in which a job ends. Each starts the account's next one in the same transaction."""

from __future__ import annotations

from collections.abc import Collection

from postroom.domain.access import Actor, Right, postroom_itself
from postroom.domain.job import Status, origins
from postroom.errors import Conflict, storable
from postroom.flow.account.acting import permitted
from postroom.flow.job.start import start_next
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview
from postroom.points import reach


async def cancel(pool: Pool, actor: Actor, job_id: int, *, note: str | None = None) -> JobOverview:
    """Ends a job that is not over, at once: when this returns, no new window can be opened.

    Messages whose window was open may still be answered by the gateway; their workers book what it says. Cancelling again
    answers the same. Raises NotFound; InvalidInput; Conflict, with the final counts, where the job was over before.
    """
    account_id = permitted(actor, Right.WRITE_JOBS)
    if note is not None:
        storable(note, "note")
    return await _cancel(pool, account_id, job_id, origins("cancel"), by=actor, note=note)


async def cancel_at_gate(pool: Pool, actor: Actor, job_id: int, *, note: str) -> JobOverview:
    """The same, of a job that waits for its approval. Raises Conflict where somebody approved it meanwhile."""
    account_id = permitted(actor, Right.WRITE_JOBS)
    return await _cancel(pool, account_id, job_id, (Status.PENDING_APPROVAL,), by=actor, note=note)


async def _cancel(pool: Pool, account_id: int, job_id: int, possible: Collection[Status], *, by: Actor,
                  note: str | None) -> JobOverview:
    async with pool.connection() as conn, conn.transaction():
        await lock_account(conn, account_id)
        job = await jobs.lock_job(conn, account_id, job_id)
        if job.status in possible:
            await _end(conn, account_id, job_id, job.status, Status.CANCELLED, by=by, reason=note)
        view = await jobs.view_job(conn, account_id, job_id)
        reach("flow.in_cancellation")
    reach("flow.after_cancellation")
    if view.status is not Status.CANCELLED:
        raise Conflict(
            f"Job {job_id} is already {view.status.label}: {view.sent:,} sent, {view.failed:,} failed, {view.skipped:,} skipped, "
            f"{view.unconfirmed:,} unconfirmed, {view.unsent:,} unsent of {view.recipient_count:,}.", job_id=job_id)
    return view


async def complete(pool: Pool, account_id: int, job_id: int) -> bool:
    """Completes a sending job of which nothing is unsent or in hand. Decided from the ledger, under the job's lock."""
    async with pool.connection() as conn, conn.transaction():
        await lock_account(conn, account_id)
        job = await jobs.lock_job(conn, account_id, job_id)
        if job.status is not Status.SENDING or not await jobs.has_nothing_left(conn, account_id, job_id):
            return False
        await _end(conn, account_id, job_id, job.status, Status.COMPLETED, by=postroom_itself(account_id))
        reach("flow.in_completion")
    reach("flow.after_completion")
    return True


async def fail(pool: Pool, account_id: int, job_id: int, *, reason: str) -> bool:
    """Stops a job for an error that only a person can resolve. Its unsent recipients stay unsent."""
    async with pool.connection() as conn, conn.transaction():
        await lock_account(conn, account_id)
        job = await jobs.lock_job(conn, account_id, job_id)
        if job.status not in origins("fail"):
            return False
        await _end(conn, account_id, job_id, job.status, Status.FAILED, by=postroom_itself(account_id), reason=reason)
        reach("flow.in_failure")
    reach("flow.after_failure")
    return True


async def _end(conn: Connection, account_id: int, job_id: int, origin: Status, target: Status, *, by: Actor,
               reason: str | None = None) -> None:
    await jobs.move(conn, account_id, job_id, origin, target, by=by, reason=reason)
    await jobs.fence_chunks(conn, account_id, job_id)
    await start_next(conn, account_id)
