"""The operator of the pages: let in by a link that works once, known by a cookie until it is signed out.

Both are in the database, as hashes: what was used or signed out is dead in every process, and after a restart too.
"""

from __future__ import annotations

import secrets

from postroom.flow.account.secrets import hash_of
from postroom.ledger.account import operator as ledger
from postroom.ledger.database.db import Pool

LINK_S = 30 * 60
SESSION_S = 7 * 24 * 3600


async def new_link(pool: Pool) -> str:
    """The token of a link that signs in once, within LINK_S."""
    token = secrets.token_urlsafe(24)
    async with pool.connection() as conn:
        await ledger.create_link(conn, hash_of(token), LINK_S)
    return token


async def sign_in(pool: Pool, token: str) -> str | None:
    """The cookie of a new session; None where the token was used before, is too old, or never was."""
    cookie = secrets.token_urlsafe(32)
    async with pool.connection() as conn, conn.transaction():
        if not await ledger.use_link(conn, hash_of(token)):
            return None
        await ledger.begin_session(conn, hash_of(cookie), SESSION_S)
    return cookie


async def is_signed_in(pool: Pool, cookie: str) -> bool:
    async with pool.connection() as conn:
        return await ledger.has_session(conn, hash_of(cookie))


async def sign_out(pool: Pool, cookie: str) -> None:
    """From the commit on the cookie, and every copy of it, is nobody's."""
    async with pool.connection() as conn:
        await ledger.end_session(conn, hash_of(cookie))
