"""What a worker does besides sending: the heartbeat of its leases, and the sweep that nothing is forgotten.

The sweep reads the ledger and puts right whatever a crash left: a sending job without enough lanes, one that waits for its
pre-flight and that nobody looks at, one that is done but not completed, a queue that nobody moved on, a window whose worker
vanished and whose job was cancelled or paused, a gateway that was waited for too long, recipients that were refused for too
long, or for good without anybody knowing yet whom that was about; and what a clock that was set has left. Any worker may do it,
one at a time, each second; doing it twice does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta

import psycopg
import structlog

from postroom.domain.pace import RETRY_DELAY_BASE_S
from postroom.errors import PostroomError
from postroom.flow.check.preflight import LANES
from postroom.flow.delivery.waiting import refusing, wait
from postroom.flow.job import finish
from postroom.flow.job.start import start_idle_queue
from postroom.ledger.check import preflight
from postroom.ledger.database import engine
from postroom.ledger.database.db import Pool
from postroom.ledger.delivery import clock, retries, windows
from postroom.ledger.delivery.windows import SendingJob

SWEEP_EVERY_S = 1.0

log = structlog.get_logger(__name__)


async def sweep(pool: Pool, *, give_up_s: float, lease_s: float, retry_base_s: float = RETRY_DELAY_BASE_S) -> None:
    """One round. Each repair is a transaction of its own, in the locking order of everybody else."""
    await _mend(_look_at_clock(pool))
    # Before a lane is sent to see: whoever was refused before it was accepted would be taken for the one whom that was about.
    await _mend(_answer_questions(pool, retry_base_s))
    async with pool.connection() as conn, conn.transaction():
        if not await windows.try_sweep_lock(conn):
            return
        await clock.bound(conn, lease_s=lease_s)
        await engine.bound_heartbeats(conn)
        sending = await windows.sending_jobs(conn, give_up_s)
        live = await engine.live_lanes(conn) if sending else {}
        for job in sending:
            await engine.defer_lanes(conn, job.account_id, job.job_id, missing_lanes(job, live.get(job.job_id, 0)))
        unchecked = await preflight.jobs_to_check(conn)
        looking = await engine.live_lanes(conn, engine.CHECK_TASK) if unchecked else {}
        for account_id, job_id, chunks in unchecked:
            await engine.defer_checks(conn, account_id, job_id, min(LANES, chunks) - looking.get(job_id, 0))
        abandoned = await windows.abandoned_windows(conn)
        idle = await windows.accounts_with_an_idle_queue(conn)
    for job in sending:
        if job.nothing_left:
            await _mend(finish.complete(pool, job.account_id, job.job_id))
        elif job.given_up:
            patience = timedelta(seconds=give_up_s)
            await _mend(finish.fail(pool, job.account_id, job.job_id, reason=f"Gave up after {patience}: {job.reason}"))
    for account_id, job_id, chunk_no in abandoned:
        await _mend(_lose_window(pool, account_id, job_id, chunk_no))
    for account_id in idle:
        await _mend(start_idle_queue(pool, account_id))
    await _mend(_give_up_retries(pool))


async def _mend(repair: Awaitable[object]) -> None:
    """One repair that cannot be made must not keep the ones behind it from being made, round after round."""
    try:
        await repair
    except (PostroomError, psycopg.Error) as error:
        log.warning("a repair was missed", error=str(error))


async def _look_at_clock(pool: Pool) -> None:
    async with pool.connection() as conn:
        unseen = await clock.look(conn)
        if not unseen:
            return
        if unseen > timedelta():
            reason = (f"For {_rounded(unseen)} no worker looked at the database, or its clock was set forward by that. "
                      "This time counts against nobody's patience.")
        else:
            reason = f"The database's clock was set back by {_rounded(-unseen)}. What waits does not wait for that."
        log.warning(reason)
        await clock.record(conn, reason)


def _rounded(length: timedelta) -> timedelta:
    return timedelta(seconds=round(length.total_seconds()))


async def _answer_questions(pool: Pool, retry_base_s: float) -> None:
    async with pool.connection() as conn:
        found = await retries.answer_questions(conn)
    for one in found:
        if one.about_us is not None:
            await wait(pool, one, "gateway", refusing(one.about_us), base_s=retry_base_s)


async def _give_up_retries(pool: Pool) -> None:
    async with pool.connection() as conn:
        for one in await retries.give_up_due(conn):
            log.info("recipients were given up", job=one.job_id, recipients=one.recipients)


async def _lose_window(pool: Pool, account_id: int, job_id: int, chunk_no: int) -> None:
    async with pool.connection() as conn:
        await windows.lose_window(conn, account_id, job_id, chunk_no)


def missing_lanes(job: SendingJob, live: int) -> int:
    """None while the job waits for its gateway; one to probe it when the wait is over; all of them while it moves."""
    if job.waiting:
        return 0
    wanted = 1 if job.probing else job.lanes
    return max(0, min(wanted - live, job.claimable))
