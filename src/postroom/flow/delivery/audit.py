"""The auditor: recounts the ledger in the background, a few chunks a second, and trusts no counter.

Promises: every chunk that is worked on is compared with its recipients' outcomes within its job's life, and once more when the
job is over. A difference means that something writes the ledger that should not, or not as it should: the job is paused, since
more of the same would make it worse, and an alarm says which chunk and both counts. It is raised once for a job, and a person
who lets the job go on is not overruled.
Fails: without a database a round is missed. An alarm that could not be raised is found again in the next round.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import structlog

from postroom.domain.access import postroom_itself
from postroom.errors import Conflict
from postroom.flow.job.pause import pause
from postroom.ledger.account.accounts import lock_account
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import audit as ledger
from postroom.ledger.delivery.audit import Count
from postroom.ledger.job import jobs

AUDIT_EVERY_S = 1.0
CHUNKS_MAX = 5  # in a round: 5,000 recipients, some milliseconds of the database
AGAIN_AFTER_S = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Difference:
    """A chunk whose counters are not what its recipients' outcomes are."""

    account_id: int
    job_id: int
    chunk_no: int
    counted: Count
    found: Count

    def __str__(self) -> str:
        sentence = (f"The numbers of chunk {self.chunk_no} do not add up: it counts {_listed(self.counted)}, "
                    f"but its recipients' outcomes are {_listed(self.found)}.")
        if self.found.strays:
            sentence += f" {self.found.strays:,} outcomes are of nobody on the list."
        return sentence


def _listed(count: Count) -> str:
    return (f"{count.sent:,} sent, {count.failed:,} failed, {count.skipped:,} skipped and {count.unconfirmed:,} unconfirmed "
            f"of {count.recipients:,}")


async def audit(pool: Pool) -> list[Difference]:
    """One round: the differences that were met, those included whose job has its alarm already."""
    async with pool.connection() as conn, conn.transaction():
        if not await ledger.try_audit_lock(conn):
            return []
        seen = await ledger.recount(conn, chunks=CHUNKS_MAX, every_s=AGAIN_AFTER_S)
        differences = [Difference(one.account_id, one.job_id, one.chunk_no, one.counted, one.found)
                       for one in seen if one.counted != one.found]
        for difference in differences:
            await _alarm(pool, difference)
        if seen:
            await ledger.mark_audited(conn, seen)
    return differences


async def _alarm(pool: Pool, difference: Difference) -> None:
    """The pause first: an alarm that stands means that all of this was done, whatever interrupted it before."""
    account_id, job_id, reason = difference.account_id, difference.job_id, str(difference)
    async with pool.connection() as conn:
        if await ledger.has_alarm(conn, account_id, job_id):
            return
    with contextlib.suppress(Conflict):  # a job that is over cannot be paused, and need not be
        await pause(pool, postroom_itself(account_id), job_id, reason=reason)
    async with pool.connection() as conn, conn.transaction():
        await lock_account(conn, account_id)
        await jobs.lock_job(conn, account_id, job_id)
        if await ledger.insert_alarm(conn, account_id, job_id, reason):
            await jobs.record_event(conn, account_id, job_id, "alarm", by=postroom_itself(account_id), reason=reason)
    log.error("the numbers of a job do not add up", job=job_id, chunk=difference.chunk_no, reason=reason)
