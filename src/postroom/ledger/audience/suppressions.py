"""Addresses that an account must not mail, and whom the link in a message is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg.rows import class_row

from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Addressee:
    """One recipient of one job, and the account that mailed it. `token_key` makes and proves the account's tokens."""

    account_id: int
    account_name: str
    token_key: bytes = field(repr=False)
    address: str
    address_key: str
    is_suppressed: bool


async def suppress(conn: Connection, account_id: int, address_keys: Sequence[str], reason: str) -> int:
    """How many addresses became suppressed by this."""
    cursor = await conn.execute(SQL.suppress, {"account_id": account_id, "address_keys": list(address_keys), "reason": reason})
    return cursor.rowcount


async def suppressed_among(conn: Connection, account_id: int, address_keys: Sequence[str]) -> set[str]:
    """Those of the keys that the account must not mail."""
    cursor = await conn.execute(SQL.suppressed_among, {"account_id": account_id, "address_keys": list(address_keys)})
    return {row[0] for row in await cursor.fetchall()}


async def addressee(conn: Connection, job_id: int, position: int) -> Addressee | None:
    """None where the job has nobody at `position` whom it mails."""
    async with conn.cursor(row_factory=class_row(Addressee)) as cursor:
        await cursor.execute(SQL.addressee, {"job_id": job_id, "position": position})
        return await cursor.fetchone()
