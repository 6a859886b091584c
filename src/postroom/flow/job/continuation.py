"""Continuing the rest of a job that is over: a new job of exactly those that it left unsent, or that it failed.

The same message, as it was made then, with the same options, through the same gateway. It is a send like any other: frozen and
checked again, without those who were suppressed since, and from the account's threshold on a person approves it. Everybody of a
rest is continued once, so that nobody can mail it twice by asking twice; a continuation that left a rest is continued itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from postroom.domain.access import Actor, Right
from postroom.errors import Conflict, InvalidInput
from postroom.flow.account.acting import permitted
from postroom.flow.account.deployment import Deployment
from postroom.flow.content.outgoing import bodies_of, content_of, files_of
from postroom.flow.content.preparing import MESSAGE, Prepared, Submission, read_through
from postroom.flow.job.correction import corrected_by
from postroom.flow.job.submit import IdempotencyKey, earlier_job, freeze, remember
from postroom.ledger.account import accounts, gateways
from postroom.ledger.content import contents
from postroom.ledger.database.db import Connection, Pool
from postroom.ledger.job import jobs, recipients
from postroom.ledger.job.jobs import JobOverview

RESTS = ("unsent", "failed")


async def continue_the_rest(pool: Pool, deployment: Deployment, actor: Actor, job_id: int, *, which: str,
                            waits_at_gate: bool = False, idempotency: IdempotencyKey | None = None) -> JobOverview:
    """The new job; `which` is one of RESTS. With `waits_at_gate` it waits for its approval however small it is.

    Raises NotFound; InvalidInput, also where all of them were suppressed since; Conflict where the job is not over, has something
    in hand, has no such rest, where that is continued already, or where another job took its place.
    """
    account_id = permitted(actor, Right.WRITE_JOBS)
    if which not in RESTS:
        raise InvalidInput(f'What is continued is one of {", ".join(RESTS)}, not "{which}".', field="which")
    async with pool.connection() as conn:  # before the message is worked on again
        if (known := await earlier_job(conn, account_id, idempotency)) is not None:
            return await jobs.view_job(conn, account_id, known)
        _must_be_over(await jobs.view_job(conn, account_id, job_id))
    message = await message_of(pool, deployment, account_id, job_id)
    async with deployment.freezing.taken(account_id), pool.connection() as conn, conn.transaction():
        if (known := await earlier_job(conn, account_id, idempotency)) is not None:
            return await jobs.view_job(conn, account_id, known)
        await jobs.lock_rest(conn, job_id)
        job = await jobs.view_job(conn, account_id, job_id)
        _must_be_over(job)
        if (later := await corrected_by(conn, account_id, job_id)) is not None:
            raise Conflict(f"Job {job_id} was changed before it was sent: job {later} took its place, and only that one can be "
                           "continued.", job_id=later)
        made = await job_of_rest(conn, deployment, job, message, which, by=actor, waits_at_gate=waits_at_gate)
        await remember(conn, account_id, idempotency, made)
        return await jobs.view_job(conn, account_id, made)


async def can_continue_failed(pool: Pool, actor: Actor, job_id: int) -> bool:
    """Whether trying a job's failed again can reach any of them: who has no usable address, was suppressed since or cannot be
    written to with this message stays failed."""
    account_id = permitted(actor, Right.READ_JOBS)
    async with pool.connection() as conn:
        return await recipients.is_any_failed_worth_trying(conn, account_id, job_id)


def _must_be_over(job: JobOverview) -> None:
    """What is over and not in hand stays so. A lost machine that comes back with its journal may yet add to the rest: that is for
    another job."""
    if not job.status.is_over:
        raise Conflict(f"Job {job.id} is {job.status.label}: its rest can be continued once it is over.", job_id=job.id)
    if job.in_hand:
        raise Conflict(f"Workers still have messages of job {job.id} in hand. Its rest can be continued when they are settled.",
                       job_id=job.id)


async def message_of(pool: Pool, deployment: Deployment, account_id: int, job_id: int) -> tuple[Prepared, int]:
    """A job's message as it was made then, and the number of its gateway. Read before the transaction that makes another job of
    it: that must not stand still. Raises NotFound."""
    async with pool.connection() as conn:
        stored = await contents.job_content(conn, account_id, job_id)
        files = await files_of(conn, stored)
    content, bodies = content_of(stored), bodies_of(stored)
    read = await deployment.bounded.run(("check", account_id), MESSAGE, read_through, content, bodies)
    return Prepared(content, bodies, files, *read), stored.gateway_id


async def job_of_rest(conn: Connection, deployment: Deployment, job: JobOverview, message: tuple[Prepared, int], which: str, *,
                      by: Actor, waits_at_gate: bool, positions: Sequence[int] = ()) -> int:
    """The number of a new job of a job's rest, in the caller's transaction; `message` is what `message_of` says of the job, and
    `positions` name the doubtful ones of "unconfirmed".

    Raises InvalidInput; Conflict where there is no such rest.
    """
    prepared, gateway_id = message
    submission = Submission(by, prepared.content, duplicates=job.duplicates,
                            unusable_addresses=job.unusable_addresses, field_policy=job.field_policy, continues=job.id,
                            continued_class=which, waits_at_gate=waits_at_gate)
    account = await accounts.hold_account(conn, job.account_id)
    gateway = next(one for one in await gateways.gateways_of_account(conn, job.account_id) if one.id == gateway_id)
    if await recipients.intake_of_rest(conn, job.account_id, job.id, which, positions) == 0:
        for one in reversed((await jobs.continuations(conn, job.account_id, [job.id])).get(job.id, ())):
            if one.which == which:
                raise Conflict(f"Job {one.id} continues what job {job.id} left {which}.", job_id=one.id)
        raise Conflict(f"Job {job.id} has no {which} recipients to continue with.", job_id=job.id)
    return await freeze(conn, deployment, submission, prepared, account, gateway)
