"""API keys: only the hashes of their secrets are here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from postroom.errors import Conflict, NotFound
from postroom.ledger.database.db import Connection, number
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who an API key speaks for."""

    id: int
    account_id: int
    name: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it can be shown; its secret cannot."""

    id: int
    account_name: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def create_api_key(conn: Connection, account_id: int, name: str, secret_hash: bytes) -> int:
    """Raises Conflict where the account has a key of that name."""
    try:
        cursor = await conn.execute(SQL.create_api_key,
                                    {"account_id": account_id, "name": name, "secret_hash": secret_hash})
    except psycopg.errors.UniqueViolation:
        raise Conflict(f'The account already has a key named "{name}", which may be a revoked one. Choose another name: it '
                       "stands with the jobs that a key makes.") from None
    return await number(cursor)


async def api_key_by_hash(conn: Connection, secret_hash: bytes) -> KeyHolder | None:
    """None for a key that never was or is revoked."""
    async with conn.cursor(row_factory=class_row(KeyHolder)) as cursor:
        await cursor.execute(SQL.api_key_by_hash, {"secret_hash": secret_hash})
        return await cursor.fetchone()


async def api_keys(conn: Connection, account_id: int) -> list[ApiKey]:
    """In the order of their making."""
    async with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(SQL.api_keys, {"account_id": account_id})
        return await cursor.fetchall()


async def revoke_api_key(conn: Connection, key_id: int, account_id: int) -> ApiKey:
    """The key as it is then. Raises NotFound."""
    async with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(SQL.revoke_api_key, {"key_id": key_id, "account_id": account_id})
        if (key := await cursor.fetchone()) is None:
            raise NotFound(f"There is no key {key_id} in this account.")
        return key
