"""The domains that an account sends from, and the keys that sign for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from postroom.errors import Conflict
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class NewKey:
    """`private_key` is sealed, `public_key` base64 as it stands in the DNS record."""

    selector: str
    algorithm: str
    private_key: bytes = field(repr=False)
    public_key: str


@dataclass(frozen=True, slots=True)
class DkimKey(NewKey):
    """A key and the domain that it signs for."""

    id: int
    domain: str
    created_at: datetime


async def create_domain(conn: Connection, account_id: int, domain: str, keys: Sequence[NewKey]) -> None:
    """Within a transaction: the domain and its keys come together. Raises Conflict where the account has the domain."""
    try:
        cursor = await conn.execute(SQL.create_domain, {"account_id": account_id, "domain": domain})
    except psycopg.errors.UniqueViolation:
        raise Conflict(f"{domain} is a sending domain of this account already. "
                       f"Its records are told by: postroom domain check {domain}") from None
    row = await cursor.fetchone()
    assert row is not None
    for key in keys:
        await conn.execute(SQL.create_key, {
            "account_id": account_id, "domain_id": row[0], "selector": key.selector, "algorithm": key.algorithm,
            "private_key": key.private_key, "public_key": key.public_key})


async def keys_of_account(conn: Connection, account_id: int) -> list[DkimKey]:
    """By domain; every domain of the account has at least one."""
    return await _keys(conn, SQL.keys_of_account, account_id=account_id)


async def keys_for(conn: Connection, account_id: int, from_domain: str) -> list[DkimKey]:
    """Those of the account's sending domain that is `from_domain` (A-labels, lower case) or the nearest above it; maybe none."""
    return await _keys(conn, SQL.keys_for, account_id=account_id, from_domain=from_domain)


async def keys_by_id(conn: Connection, account_id: int, key_ids: Sequence[int]) -> list[DkimKey]:
    """Those of them that are the account's."""
    return await _keys(conn, SQL.keys_by_id, account_id=account_id, key_ids=list(key_ids))


async def _keys(conn: Connection, query: str, **values: object) -> list[DkimKey]:
    async with conn.cursor(row_factory=class_row(DkimKey)) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()
