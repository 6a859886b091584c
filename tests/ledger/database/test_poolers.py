"""Behind a pooler: Debian's PgBouncer, as it comes, in each of its modes."""

from __future__ import annotations

import psycopg
import pytest

from postroom.errors import Unavailable
from postroom.ledger.database import db
from proofs.pgbouncer import pooler

SETTINGS = {"synchronous_commit": "on", "timezone": "UTC", "default_transaction_isolation": "read committed",
            "idle_in_transaction_session_timeout": "5s", "plan_cache_mode": "force_generic_plan"}


async def settings_of(pool: db.Pool) -> dict[str, str]:
    async with pool.connection() as connection:
        rows = await (await connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(SETTINGS)])).fetchall()
    return dict(rows)


async def committing(database: str, waiting: str) -> None:
    """What the role's commits wait for, unless its session says otherwise."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as admin:
        await admin.execute(f"ALTER ROLE CURRENT_USER SET synchronous_commit = {waiting}")


async def remembering(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as admin:
        await admin.execute("ALTER ROLE CURRENT_USER RESET synchronous_commit")


@pytest.mark.parametrize("through_a_pooler", [False, True])
@pytest.mark.parametrize(("waiting", "in_force"), [("off", "on"), ("remote_apply", "remote_apply")])
async def test_our_settings_are_in_force_whatever_the_role_and_a_pooler_say_but_where_it_promises_more(
        database: str, through_a_pooler: bool, waiting: str, in_force: str) -> None:
    await committing(database, waiting)
    try:
        async with pooler(database, "session") as pooled, await db.open_pool(
                pooled if through_a_pooler else database, size_max=2, name="test", unsafe=True, generic_plans=True) as pool:
            assert await settings_of(pool) == SETTINGS | {"synchronous_commit": in_force}
    finally:
        await remembering(database)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("pool_size", [1, 20])
async def test_a_pooler_that_keeps_no_session_is_refused_with_what_to_do(database: str, mode: str, pool_size: int) -> None:
    async with pooler(database, mode, pool_size=pool_size) as pooled:
        with pytest.raises(Unavailable, match="Set pool_mode = session"):
            await db.open_pool(pooled, size_max=2, name="test", unsafe=True)


async def test_a_pooler_with_one_session_for_all_is_told_apart(database: str) -> None:
    async with pooler(database, "session", pool_size=1) as pooled:
        with pytest.raises(Unavailable, match="Give it more"):
            await db.open_pool(pooled, size_max=2, name="test", unsafe=True)
