"""Taking accounts, gateways and sending domains away. Everything here is one transaction of the caller's."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from postroom.domain.access import Actor
from postroom.domain.job import Status
from postroom.errors import Conflict, NotFound
from postroom.ledger.account.actors import said_by
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much of each goes with an account; `recipients` of all its jobs together, `keys` that are not revoked."""

    jobs: int
    recipients: int
    contacts: int
    suppressions: int
    gateways: int
    domains: int
    keys: int


async def lock_account_alone(conn: Connection, account_id: int) -> str:
    """Its name. Raises NotFound; Conflict while a list of it is being taken in."""
    await conn.execute(SQL.wait_briefly)
    try:
        row = await (await conn.execute(SQL.lock_account_alone, {"account_id": account_id})).fetchone()
    except psycopg.errors.LockNotAvailable:
        raise Conflict("A list of this account is just being taken in. Wait until that is done.") from None
    if row is None:
        raise NotFound("There is no such account.")
    return str(row[0])


async def holdings(conn: Connection, account_id: int) -> Holdings:
    async with conn.cursor(row_factory=class_row(Holdings)) as cursor:
        await cursor.execute(SQL.holdings, {"account_id": account_id})
        found = await cursor.fetchone()
        assert found is not None
        return found


async def active_jobs(conn: Connection, account_id: int, *, gateway_id: int | None = None,
                      domain_id: int | None = None) -> list[tuple[int, Status]]:
    """Those that are not over or still in a worker's hands: all, or of one gateway or domain."""
    cursor = await conn.execute(SQL.active_jobs, {"account_id": account_id, "gateway_id": gateway_id, "domain_id": domain_id})
    return [(row[0], Status(row[1])) for row in await cursor.fetchall()]


async def delete_account(conn: Connection, account_id: int, *, by: Actor) -> None:
    """With all that is its own. Who did it is kept."""
    await conn.execute(SQL.record, {"account_id": account_id, **said_by(by)})
    await conn.execute(SQL.delete_account, {"account_id": account_id})


async def gateway_named(conn: Connection, account_id: int, name: str) -> tuple[int, int]:
    """(its number, how many jobs went or go through it). Raises NotFound."""
    row = await (await conn.execute(SQL.gateway_named, {"account_id": account_id, "name": name})).fetchone()
    if row is None:
        raise NotFound(f'The account has no gateway named "{name}".')
    return row[0], row[1]


async def delete_gateway(conn: Connection, account_id: int, gateway_id: int) -> None:
    await conn.execute(SQL.delete_gateway, {"account_id": account_id, "gateway_id": gateway_id})


async def domain_named(conn: Connection, account_id: int, domain: str) -> int:
    """Its number. Raises NotFound."""
    row = await (await conn.execute(SQL.domain_named, {"account_id": account_id, "domain": domain})).fetchone()
    if row is None:
        raise NotFound(f"{domain} is no sending domain of this account.")
    return int(row[0])


async def delete_domain(conn: Connection, account_id: int, domain_id: int) -> None:
    await conn.execute(SQL.delete_domain, {"account_id": account_id, "domain_id": domain_id})
