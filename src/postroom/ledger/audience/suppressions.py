"""Addresses that an account must not mail, and whom the link in a message is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg.rows import class_row

from postroom.domain.access import Actor
from postroom.ledger.account.actors import said_by
from postroom.ledger.database.db import Connection, number
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address as addresses are compared, and who took it off, when and why."""

    address: str
    reason: str
    by: str
    since: datetime


@dataclass(frozen=True, slots=True)
class SuppressionEvent:
    """`verb` is "suppress" or "lift"."""

    at: datetime
    verb: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Addressee:
    """One recipient of one job, and the account that mailed it. `token_key` makes and proves the account's tokens."""

    account_id: int
    account_name: str
    token_key: bytes = field(repr=False)
    address: str
    address_key: str
    is_suppressed: bool


async def suppress(conn: Connection, account_id: int, address_keys: Sequence[str], reason: str, *, by: Actor) -> int:
    """How many addresses became suppressed by this."""
    return await number(await conn.execute(SQL.suppress, {
        "account_id": account_id, "address_keys": list(dict.fromkeys(address_keys)), "reason": reason, **said_by(by)}))


async def lift(conn: Connection, account_id: int, address_key: str, reason: str, *, by: Actor) -> Suppression | None:
    """What is lifted; None where the address was not suppressed."""
    async with conn.cursor(row_factory=class_row(Suppression)) as cursor:
        await cursor.execute(SQL.lift, {"account_id": account_id, "address_key": address_key, "reason": reason, **said_by(by)})
        return await cursor.fetchone()


async def suppressions(conn: Connection, account_id: int, *, address_key: str | None = None, after: str = "",
                       limit: int) -> list[Suppression]:
    """In the order of the addresses, behind the address `after`."""
    async with conn.cursor(row_factory=class_row(Suppression)) as cursor:
        await cursor.execute(SQL.suppressions, {
            "account_id": account_id, "address_key": address_key, "after": after, "limit": limit})
        return await cursor.fetchall()


async def events(conn: Connection, account_id: int, address_key: str) -> list[SuppressionEvent]:
    """In order, those of an address that was lifted too."""
    async with conn.cursor(row_factory=class_row(SuppressionEvent)) as cursor:
        await cursor.execute(SQL.events, {"account_id": account_id, "address_key": address_key})
        return await cursor.fetchall()


async def suppressed_among(conn: Connection, account_id: int, address_keys: Sequence[str]) -> set[str]:
    """Those of the keys that the account must not mail."""
    cursor = await conn.execute(SQL.suppressed_among, {"account_id": account_id, "address_keys": list(address_keys)})
    return {row[0] for row in await cursor.fetchall()}


async def addressee(conn: Connection, job_id: int, position: int) -> Addressee | None:
    """None where the job has nobody at `position` whom it mails."""
    async with conn.cursor(row_factory=class_row(Addressee)) as cursor:
        await cursor.execute(SQL.addressee, {"job_id": job_id, "position": position})
        return await cursor.fetchone()
