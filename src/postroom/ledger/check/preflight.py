"""The pre-flight in the ledger: which chunks of a job were looked at, and what was found there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from postroom.domain.preflight import Effect, Look, Preflight, effect_of, merged
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)

_decode_look = msgspec.json.Decoder(Look).decode


class ToCheck(NamedTuple):
    """A recipient whose message is rendered once. `fields` is JSON."""

    position: int
    address: str
    fields: str


async def make_ready_to_look(conn: Connection) -> None:
    """Before the rows of the listing are looked at, in the transaction that freezes them."""
    await conn.execute(SQL.index_listing)
    await conn.execute(SQL.allow_to_think)


async def look_no_more(conn: Connection) -> None:
    """All was looked at: from here on nothing may stand still."""
    await conn.execute(SQL.think_no_more)


async def rows_of_listing(conn: Connection, after: int, limit: int) -> list[ToCheck]:
    """Of the list that is being frozen in this transaction, by position."""
    cursor = await conn.execute(SQL.rows_of_listing, {"after": after, "limit": limit})
    return [ToCheck(*row) for row in await cursor.fetchall()]


async def some_fields_of_listing(conn: Connection) -> list[str]:
    """Of the list that is being frozen in this transaction, the fields of a few as JSON."""
    return [fields for (fields,) in await (await conn.execute(SQL.some_fields_of_listing)).fetchall()]


async def plan(conn: Connection, account_id: int, job_id: int) -> int:
    """Every chunk of the job is to be looked at; how many there are."""
    return (await conn.execute(SQL.plan_preflight, {"account_id": account_id, "job_id": job_id})).rowcount


async def record_whole(conn: Connection, account_id: int, job_id: int, look: Look, *, policy: str, n: int) -> None:
    """What was found of the message as a whole, or, with `n` recipients, of all of a small job."""
    await conn.execute(SQL.record_whole, {"account_id": account_id, "job_id": job_id, "n": n, **_columns(look, policy)})


async def claim_to_check(conn: Connection, account_id: int, job_id: int, lease_s: float) -> tuple[int, list[ToCheck]] | None:
    """(chunk number, its recipients) to look at; None where nothing is left, or the job does not wait for it any more."""
    job = {"account_id": account_id, "job_id": job_id}
    row = await (await conn.execute(SQL.claim_to_check, {**job, "lease_s": lease_s})).fetchone()
    if row is None:
        return None
    cursor = await conn.execute(SQL.rows_of_chunk, {**job, "chunk_no": row[0]})
    return row[0], [ToCheck(*found) for found in await cursor.fetchall()]


async def record_chunk(conn: Connection, account_id: int, job_id: int, chunk_no: int, look: Look, *, policy: str) -> None:
    await conn.execute(SQL.record_chunk, {"account_id": account_id, "job_id": job_id, "chunk_no": chunk_no,
                                          **_columns(look, policy)})


async def end(conn: Connection, account_id: int, job_id: int) -> None:
    """Nobody else is looked at: what was found refuses the job."""
    await conn.execute(SQL.end_preflight, {"account_id": account_id, "job_id": job_id})


async def summary(conn: Connection, account_id: int, job_id: int, policy: str) -> Preflight:
    """What all looks so far came to."""
    cursor = await conn.execute(SQL.preflight_rows, {"account_id": account_id, "job_id": job_id})
    rows = await cursor.fetchall()
    to_check, checked = sum(row[0] for row in rows), sum(row[0] for row in rows if row[1] is not None)
    looks: Sequence[Look] = [_decode_look(row[1]) for row in rows if row[1] is not None]
    if checked < to_check or any(look.is_too_slow for look in looks):
        # A field that no recipient has shows only when all were seen.
        looks = [Look(one.findings) for one in looks]
    return Preflight(policy, to_check, checked, merged(looks))


async def jobs_to_check(conn: Connection) -> list[tuple[int, int, int]]:
    """(account, job, chunks that nobody looks at)."""
    return [(row[0], row[1], row[2]) for row in await (await conn.execute(SQL.jobs_to_check)).fetchall()]


def _columns(look: Look, policy: str) -> dict[str, object]:
    refuses = any(effect_of(one.kind, policy) is Effect.REFUSE for one in look.findings)
    return {"findings": msgspec.json.encode(look).decode(), "refuses": refuses}
