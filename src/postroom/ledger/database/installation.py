"""Which installation this database belongs to, and how far it has come: a number that only grows, but for a restored backup."""

from __future__ import annotations

from typing import NamedTuple

from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


class Installation(NamedTuple):
    """`id` has 16 octets and is the same for ever, also in a restored backup; `beat` is smaller there."""

    id: bytes
    beat: int


async def beat(conn: Connection) -> Installation:
    """Counts on: larger than every beat that this database, with all that it knows now, has told before."""
    return await _read(conn, SQL.beat)


async def look(conn: Connection) -> Installation:
    return await _read(conn, SQL.look)


async def raise_to(conn: Connection, beat: int) -> None:
    """Never lowers it."""
    await conn.execute(SQL.raise_to, {"beat": beat})


async def jobs_that_may_send(conn: Connection) -> list[tuple[int, int]]:
    """(account, job) of each job that is not over."""
    return [(row[0], row[1]) for row in await (await conn.execute(SQL.jobs_that_may_send)).fetchall()]


async def _read(conn: Connection, query: str) -> Installation:
    row = await (await conn.execute(query)).fetchone()
    assert row is not None, "the migration wrote it"
    return Installation(row[0].bytes, row[1])
