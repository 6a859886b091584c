"""The end of patience: recipients that are refused for now, again and again, do not hold their job for ever. And the answer to
the question whom a refusal for good was about.

Two limits of the account end it. A recipient that was refused gets no further attempt after the deadline; and a job that has had
nothing but retries left for the time of its tail ends with them. A job that waits for its gateway, or that a person paused, gives
nobody up, and its tail begins anew when it goes on.

Whoever was refused for good by an answer that does not tell whom it is about stays unsent at first. When the gateway accepts
others afterwards it was about the recipient, who has failed; when it refuses a few alike and accepts nobody it is about us, and
they are tried again as if they had never been asked for. Where neither comes, a second refusal is the last.
"""

from __future__ import annotations

from typing import NamedTuple

from postroom.domain.job import Status
from postroom.domain.pace import ALIKE_MAX, REFUSED_IN_A_ROW_MAX
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load
from postroom.ledger.job import jobs
from postroom.points import reach

SQL = load(__file__)


class Refused(NamedTuple):
    """What was found of a job's open questions: so many have failed, and what the gateway says of us where it is about us."""

    account_id: int
    job_id: int
    failed: int
    about_us: str | None


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


async def answer_questions(conn: Connection) -> list[Refused]:
    """Looks at every active job with open questions."""
    found = await (await conn.execute(SQL.jobs_in_question)).fetchall()
    return [await answer(conn, account_id, job_id) for account_id, job_id in found]


async def answer(conn: Connection, account_id: int, job_id: int) -> Refused:
    """In two transactions, each of which locks chunks in their order."""
    key: dict[str, object] = {"account_id": account_id, "job_id": job_id}
    failed, about_us = 0, None
    reach("ledger.before_answers")
    async with conn.transaction():
        if await jobs.hold_status(conn, account_id, job_id) is Status.SENDING:
            row = await (await conn.execute(SQL.find_it_about_us, {
                **key, "alike_max": ALIKE_MAX, "row_max": REFUSED_IN_A_ROW_MAX})).fetchone()
            about_us = row[0] if row else None
    reach("ledger.in_answers")
    async with conn.transaction():
        if await jobs.hold_status(conn, account_id, job_id) is Status.SENDING:
            while rows := await (await conn.execute(SQL.find_it_about_them, key)).fetchall():
                failed += sum(row[0] for row in rows)
    reach("ledger.after_answers")
    return Refused(account_id, job_id, failed, about_us)


async def has_few_left(conn: Connection, account_id: int, job_id: int) -> tuple[bool, bool]:
    """Whether a job is near its end: nothing but the retries of at most ten, fewer than were sent. And whether the gateway has
    accepted others after it refused each of these, so that it is about them."""
    row = await (await conn.execute(SQL.has_few_left, {"account_id": account_id, "job_id": job_id})).fetchone()
    few, about_them = row or (False, False)
    return bool(few), bool(few and about_them)


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
