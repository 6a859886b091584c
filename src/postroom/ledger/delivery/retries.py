"""The end of patience: recipients that are refused for now, again and again, do not hold their job for ever.

Two limits of the account end it. A recipient that was refused gets no further attempt after the deadline; and a job that has had
nothing but retries left for the time of its tail ends with them. A job that waits for its gateway, or that a person paused, gives
nobody up, and its tail begins anew when it goes on.
"""

from __future__ import annotations

from typing import NamedTuple

from postroom.domain.job import Status
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load
from postroom.ledger.job import jobs
from postroom.points import reach

SQL = load(__file__)


class GivenUp(NamedTuple):
    """So many recipients of a job were booked as failed."""

    account_id: int
    job_id: int
    recipients: int


async def give_up_due(conn: Connection) -> list[GivenUp]:
    """Looks at every active job, and books as failed whoever's time is over; one transaction a job."""
    await conn.execute(SQL.forget_tails)
    await conn.execute(SQL.note_tails)
    found = await (await conn.execute(SQL.jobs_to_give_up_in)).fetchall()
    return [GivenUp(account_id, job_id, await _give_up(conn, account_id, job_id, deadline_s, is_late=is_late,
                                                       tail_is_over=tail_is_over))
            for account_id, job_id, deadline_s, is_late, tail_is_over in found]


async def has_few_left(conn: Connection, account_id: int, job_id: int) -> bool:
    """Whether a job is near its end: nothing but the retries of at most ten, fewer than were sent."""
    row = await (await conn.execute(SQL.has_few_left, {"account_id": account_id, "job_id": job_id})).fetchone()
    return bool(row and row[0])


async def _give_up(conn: Connection, account_id: int, job_id: int, deadline_s: int, *, is_late: bool,
                   tail_is_over: bool) -> int:
    count = 0
    reach("ledger.before_giving_up")
    async with conn.transaction():
        if await jobs.hold_status(conn, account_id, job_id) is Status.SENDING:
            while rows := await (await conn.execute(SQL.give_up, {
                    "account_id": account_id, "job_id": job_id, "deadline_s": deadline_s,
                    "is_late": is_late, "tail_is_over": tail_is_over})).fetchall():
                count += sum(row[0] for row in rows)
                reach("ledger.in_giving_up")
    reach("ledger.after_giving_up")
    return count
