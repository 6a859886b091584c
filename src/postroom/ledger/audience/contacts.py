"""The people whom an account may write to, taken in by COPY and merged by address."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from postroom.domain.access import Actor
from postroom.ledger.account.actors import said_by
from postroom.ledger.database.db import Connection, number
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class ContactProblem:
    row_no: int
    value: str
    reason: str


async def create_contact_intake(conn: Connection) -> str:
    """Makes the temporary table and returns the COPY statement that fills it."""
    await conn.execute(SQL.create_contact_intake)
    copy: str = SQL.copy_contact_intake
    return copy


async def merge_contacts(conn: Connection, account_id: int) -> tuple[int, list[ContactProblem]]:
    """(contacts that the account has now, the first hundred rows that were not taken)."""
    await conn.execute(SQL.merge_contacts, {"account_id": account_id})
    async with conn.cursor(row_factory=class_row(ContactProblem)) as cursor:
        await cursor.execute(SQL.contact_problems)
        problems = await cursor.fetchall()
    return await number(await conn.execute(SQL.count_contacts, {"account_id": account_id})), problems


async def suppress_opted_out(conn: Connection, account_id: int, source: str, *, by: Actor) -> int:
    """How many addresses became suppressed, each with what its row says behind the `source`."""
    return await number(await conn.execute(SQL.suppress_opted_out, {"account_id": account_id, "source": source, **said_by(by)}))


async def contact_at(conn: Connection, account_id: int, position: int) -> tuple[str, str] | None:
    """(address, fields as JSON) of the contact at a position from 1 on."""
    cursor = await conn.execute(SQL.contact_at, {"account_id": account_id, "before": position - 1})
    row = await cursor.fetchone()
    return (row[0], row[1]) if row else None


async def delete_contact(conn: Connection, account_id: int, address_key: str) -> bool:
    """Whether it was there."""
    cursor = await conn.execute(SQL.delete_contact, {"account_id": account_id, "address_key": address_key})
    return cursor.rowcount > 0
