"""The operator's sessions and the links that begin them: only hashes of their secrets are here."""

from __future__ import annotations

from postroom.ledger.database.db import Connection
from postroom.ledger.database.queries import load

SQL = load(__file__)


async def create_link(conn: Connection, token_hash: bytes, seconds: float) -> None:
    await conn.execute(SQL.create_link, {"token_hash": token_hash, "seconds": seconds})


async def use_link(conn: Connection, token_hash: bytes) -> bool:
    """Whether it was a link that lets in; from the commit on it is none."""
    return await (await conn.execute(SQL.use_link, {"token_hash": token_hash})).fetchone() is not None


async def begin_session(conn: Connection, cookie_hash: bytes, seconds: float) -> None:
    await conn.execute(SQL.begin_session, {"cookie_hash": cookie_hash, "seconds": seconds})


async def has_session(conn: Connection, cookie_hash: bytes) -> bool:
    return await (await conn.execute(SQL.has_session, {"cookie_hash": cookie_hash})).fetchone() is not None


async def end_session(conn: Connection, cookie_hash: bytes) -> None:
    await conn.execute(SQL.end_session, {"cookie_hash": cookie_hash})
