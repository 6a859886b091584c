"""The condition "paused" of a job: who, since when and why, until a person ends it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from postroom.domain.access import Actor
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that is not over and that Postroom itself paused."""

    account_name: str
    job_id: int
    reason: str
    since: datetime


async def insert_pause(conn: Connection, account_id: int, job_id: int, *, by: Actor, reason: str, adds: bool) -> bool:
    """Whether there is anything new. `adds`: where it is paused already, the reason is put beside the first one's."""
    cursor = await conn.execute(SQL.insert_pause, {
        "account_id": account_id, "job_id": job_id, "by": by.name, "reason": reason, "adds": adds})
    return await cursor.fetchone() is not None


async def delete_pause(conn: Connection, account_id: int, job_id: int) -> bool:
    """Whether it was paused."""
    cursor = await conn.execute(SQL.delete_pause, {"account_id": account_id, "job_id": job_id})
    return await cursor.fetchone() is not None


async def tell_workers(conn: Connection, account_id: int, job_id: int) -> None:
    await conn.execute(SQL.tell_workers, {"account_id": account_id, "job_id": job_id})


async def paused_for(conn: Connection, beginning: str, *, by: str) -> list[tuple[int, int]]:
    """(account, job) of what `by` paused for a reason that begins so, and that has no alarm besides."""
    cursor = await conn.execute(SQL.paused_for, {"beginning": beginning, "by": by})
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def held(conn: Connection, doubt: str, *, by: str) -> list[HeldJob]:
    """What `by` paused, and what somebody else paused before it and it doubts too."""
    async with conn.cursor(row_factory=class_row(HeldJob)) as cursor:
        await cursor.execute(SQL.held, {"doubt": doubt, "by": by})
        return await cursor.fetchall()


async def seconds_paused(conn: Connection, account_id: int, job_id: int) -> float:
    """How long a job has been paused since it was started, without the pause that still lasts."""
    row = await (await conn.execute(SQL.seconds_paused, {"account_id": account_id, "job_id": job_id})).fetchone()
    return float(row[0]) if row else 0.0
