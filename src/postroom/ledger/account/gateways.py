"""The servers that accounts hand their mail to, with their limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import psycopg
from psycopg.rows import class_row

from postroom.errors import Conflict, NotFound
from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A gateway's own, for all workers and machines together; None: none. A warm-up's first day is capped at `warm_up_from`,
    and each day that follows at twice as many."""

    messages_per_s: float | None = None
    messages_per_connection: int | None = None
    daily_quota: int | None = None
    warm_up_from: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway(Limits):
    """`password` and `oauth` (what access tokens are asked for with) are sealed: only the one who holds the installation's secret
    key can open them. `ca_certificates` are PEM."""

    id: int
    name: str
    host: str
    port: int
    security: str
    username: str | None
    password: bytes | None
    connections: int
    signs_dkim: bool
    ca_certificates: str | None
    oauth: bytes | None


async def create_gateway(conn: Connection, account_id: int, *, name: str, host: str, port: int, security: str,
                         username: str | None, password: bytes | None, connections: int, signs_dkim: bool,
                         ca_certificates: str | None, oauth: bytes | None, limits: Limits, replace: bool) -> int:
    """The gateway's number; `password` and `oauth` are sealed. Raises Conflict where the name is taken, with `replace` NotFound
    where not."""
    values = {"account_id": account_id, "name": name, "host": host, "port": port, "security": security, "username": username,
              "password": password, "connections": connections, "signs_dkim": signs_dkim,
              "ca_certificates": ca_certificates, "oauth": oauth, **asdict(limits)}
    try:
        cursor = await conn.execute(SQL.replace_gateway if replace else SQL.create_gateway, values)
    except psycopg.errors.UniqueViolation:
        raise Conflict(f'The account already has a gateway named "{name}".') from None
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f'The account has no gateway named "{name}" to replace.')
    return int(row[0])


async def renew_oauth(conn: Connection, old: bytes, new: bytes) -> None:
    """Unless somebody has changed it meanwhile."""
    await conn.execute(SQL.renew_oauth, {"old": old, "new": new})


async def gateways_of_account(conn: Connection, account_id: int) -> list[Gateway]:
    """In the order of their making; the first is the default."""
    async with conn.cursor(row_factory=class_row(Gateway)) as cursor:
        await cursor.execute(SQL.gateways_of_account, {"account_id": account_id})
        return await cursor.fetchall()
