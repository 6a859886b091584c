"""The doubts of a job, and a person's word on them. The caller holds the account's and the job's lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from postroom.domain.outcome import Kind
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


class Doubt(NamedTuple):
    """A recipient of which nobody can know whether the gateway has it."""

    chunk_no: int
    position: int
    attempt_no: int


async def doubts(conn: Connection, account_id: int, job_id: int, positions: Sequence[int] | None) -> list[Doubt]:
    """Those that can be settled, of `positions` or of all; they stay so until this transaction ends."""
    job = {"account_id": account_id, "job_id": job_id}
    await conn.execute(SQL.lock_doubtful_chunks, job)
    cursor = await conn.execute(SQL.doubts, {**job, "positions": None if positions is None else list(positions)})
    return [Doubt(*row) for row in await cursor.fetchall()]


async def settle(conn: Connection, account_id: int, job_id: int, doubted: Sequence[Doubt], kind: Kind, reply: str) -> None:
    """`kind` is SENT, FAILED, or RELEASED: then they are sent again in this job."""
    chunks, positions, attempts = zip(*doubted, strict=True)
    await conn.execute(SQL.settle, {
        "account_id": account_id, "job_id": job_id, "chunks": list(chunks), "positions": list(positions),
        "attempts": list(attempts), "kind": kind.value, "reply": reply})
