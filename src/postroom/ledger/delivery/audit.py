"""Recounting: a few chunks at a time, the outcomes of their recipients against the counters that everybody is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


class Count(NamedTuple):
    """Of one chunk. `strays` are outcomes of nobody who is on the job's list."""

    recipients: int
    sent: int
    failed: int
    skipped: int
    unconfirmed: int
    strays: int


class Recount(NamedTuple):
    """A chunk at one instant: what its row says, and what its recipients' rows say."""

    account_id: int
    job_id: int
    chunk_no: int
    is_finished: bool
    counted: Count
    found: Count


async def try_audit_lock(conn: Connection) -> bool:
    """Whether this transaction is the only auditor."""
    row = await (await conn.execute(SQL.try_audit_lock)).fetchone()
    return bool(row and row[0])


async def recount(conn: Connection, *, chunks: int, every_s: float) -> list[Recount]:
    """Those that are due, the longest unseen first; at most `chunks`."""
    rows = await (await conn.execute(SQL.recount, {"chunks": chunks, "every_s": every_s}, prepare=True)).fetchall()
    return [Recount(account_id, job_id, chunk_no, is_finished, Count(*map(int, counted)), Count(*map(int, found)))
            for account_id, job_id, chunk_no, is_finished, counted, found in rows]


async def mark_audited(conn: Connection, seen: Sequence[Recount]) -> None:
    await conn.execute(SQL.mark_audited, {
        "accounts": [one.account_id for one in seen], "jobs": [one.job_id for one in seen],
        "chunks": [one.chunk_no for one in seen], "finished": [one.is_finished for one in seen]})


async def has_alarm(conn: Connection, account_id: int, job_id: int) -> bool:
    row = await (await conn.execute(SQL.has_alarm, {"account_id": account_id, "job_id": job_id})).fetchone()
    return bool(row and row[0])


async def insert_alarm(conn: Connection, account_id: int, job_id: int, reason: str) -> bool:
    """False: the job has an alarm already, and its first reason stays."""
    values = {"account_id": account_id, "job_id": job_id, "reason": reason}
    return await (await conn.execute(SQL.insert_alarm, values)).fetchone() is not None
