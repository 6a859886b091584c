"""Changing a job before it is sent: a new one takes its place, and the old one has nothing left that could be continued.

A job is changed once; whoever comes back to its form later takes the place of the newest of those that came of it, once that is
cancelled. So of all of them only one can be sent. One that has the list of a continuation continues what that one did.
"""

from __future__ import annotations

from dataclasses import replace

from postroom.domain.job import Status
from postroom.errors import Conflict
from postroom.flow.content.preparing import Submission
from postroom.ledger.database.db import Connection
from postroom.ledger.job import jobs
from postroom.ledger.job.jobs import JobOverview


async def taking_the_place(conn: Connection, submission: Submission) -> Submission:
    """The submission of a job that was changed, in the caller's transaction and before its account is held. One that was not
    cancelled before it started is no such job: what is like it takes no place.

    Raises NotFound; Conflict where another job took the place, or continues the rest.
    """
    account_id, first_id = submission.actor.account_id, submission.corrects
    if first_id is None:
        return submission
    newest = await _newest(conn, account_id, first_id)
    if newest.status is not Status.CANCELLED or newest.started_at is not None:
        if newest.id != first_id:
            raise Conflict(f"Job {newest.id} took the place of job {first_id} and is {newest.status.label}. Cancel that one "
                           "first, or send to these recipients anew.", job_id=newest.id)
        return replace(submission, corrects=None)
    for one in (await jobs.continuations(conn, account_id, [newest.id])).get(newest.id, ()):
        raise Conflict(f"Job {one.id} continues what job {newest.id} left {one.which}.", job_id=one.id)
    if submission.list_of is None:
        return replace(submission, corrects=newest.id)
    return replace(submission, corrects=newest.id, continues=newest.continues, continued_class=newest.continued_class)


async def _newest(conn: Connection, account_id: int, job_id: int) -> JobOverview:
    """Of the line of jobs that began with this one; while the transaction lasts nobody takes its place or continues it."""
    await jobs.lock_rest(conn, job_id)
    while (later := await corrected_by(conn, account_id, job_id)) is not None:
        await jobs.lock_rest(conn, job_id := later)
    return await jobs.view_job(conn, account_id, job_id)


async def corrected_by(conn: Connection, account_id: int, job_id: int) -> int | None:
    """The job that took the place of this one."""
    told = (await jobs.corrections(conn, account_id, [job_id])).get(job_id)
    return None if told is None else told.corrected_by
