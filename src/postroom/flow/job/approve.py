"""The gate: a person approves exactly this list and this content."""

from __future__ import annotations

from postroom.domain.access import Actor, Right
from postroom.domain.job import Status
from postroom.errors import Conflict
from postroom.flow.account.acting import permitted
from postroom.flow.check.preflight import refusal
from postroom.flow.job.start import start_next
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.check import preflight
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview
from postroom.points import reach


async def approve(pool: Pool, actor: Actor, job_id: int, *, digest: bytes | None = None) -> JobOverview:
    """Approves a job; it takes its place in the queue, and starts at once when it is first.

    `digest` is what the approver saw; another one than the job's is refused. Approving again changes nothing and answers
    the same. Raises NotFound; Conflict where the job was cancelled or never needed it, where not every recipient was looked
    at yet, or where what was found refuses it.
    """
    account_id = permitted(actor, Right.APPROVE_JOBS)
    async with pool.connection() as conn, conn.transaction():
        await lock_account(conn, account_id)
        job = await jobs.lock_job(conn, account_id, job_id)
        if digest is not None and digest != job.digest:
            raise Conflict("What you approved is not what this job would send. Load the page again and look once more.",
                           job_id=job_id)
        if job.status is Status.PENDING_APPROVAL:
            await _was_checked(conn, account_id, job_id)
            await jobs.insert_approval(conn, account_id, job_id, by=actor, digest=job.digest)
            await jobs.move(conn, account_id, job_id, Status.PENDING_APPROVAL, Status.QUEUED, by=actor,
                            approved_digest=job.digest)
            await start_next(conn, account_id)
        elif job.approved_digest is None:
            raise Conflict(f"Job {job_id} is {job.status.label}: there is nothing to approve.", job_id=job_id)
        view = await jobs.view_job(conn, account_id, job_id)
        reach("flow.in_approval")
    reach("flow.after_approval")
    return view


async def _was_checked(conn: Connection, account_id: int, job_id: int) -> None:
    """Raises Conflict. The database refuses the move as well (`an_approved_job_was_checked`)."""
    job = await jobs.view_job(conn, account_id, job_id)
    found = await preflight.summary(conn, account_id, job_id, job.field_policy)
    if not found.is_done:
        raise Conflict(f"Job {job_id} cannot be approved yet: {found.checked:,} of {found.to_check:,} recipients were checked so "
                       "far.", job_id=job_id)
    if found.refusing:
        raise Conflict(f"Job {job_id} cannot be approved: {refusal(found)} Cancel it, correct the message or the list, and send "
                       "again.", job_id=job_id)
