"""The pool, the refusals and LISTEN, on a real server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from postroom.errors import Unavailable
from postroom.ledger.database import db


async def kill_others(connection: db.Connection) -> None:
    """And waits until they are gone."""
    await connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                             "WHERE datname = current_database() AND pid <> pg_backend_pid()")


async def test_one_statement_is_one_transaction_and_time_is_utc(pool: db.Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("CREATE TABLE t (n int)")
        async with pool.connection() as other:
            row = await (await other.execute("SELECT count(*), now(), current_setting('application_name') FROM t")).fetchone()
    assert row is not None
    assert row[0] == 0
    assert row[1].tzinfo.utcoffset(None) == UTC.utcoffset(None)
    assert row[2] == "postroom test"


async def test_a_restart_of_the_server_costs_an_idle_pool_no_error(database: str) -> None:
    async with await db.open_pool(database, size_min=3, size_max=3, name="test", unsafe=True) as pool:
        async with await db.connect(database, name="killer") as killer:
            await kill_others(killer)
        for _ in range(6):
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")


async def test_a_connection_lost_in_the_middle_is_unavailable_and_the_pool_goes_on(database: str) -> None:
    async with await db.open_pool(database, size_max=2, name="test", unsafe=True) as pool:
        with pytest.raises(Unavailable, match="It said: terminating connection due to"):  # noqa: PT012 - as it is used
            async with pool.connection() as connection, await db.connect(database, name="killer") as killer:
                await kill_others(killer)
                await connection.execute("SELECT 1")
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")


async def test_what_a_statement_did_wrong_passes_unchanged(pool: db.Pool) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        async with pool.connection() as connection:
            await connection.execute("CREATE TABLE t (n int CONSTRAINT one_n UNIQUE); INSERT INTO t VALUES (1), (1)")
    assert caught.value.diag.constraint_name == "one_n"
    with pytest.raises(psycopg.errors.QueryCanceled):
        async with pool.connection() as connection:
            await connection.execute("SET statement_timeout = 1; SELECT pg_sleep(1)")


async def test_a_busy_pool_says_so(database: str) -> None:
    async with await db.open_pool(database, size_max=1, name="test", unsafe=True) as pool, pool.connection():
        with pytest.raises(Unavailable, match="no connection became free"):
            async with pool.connection(timeout=0.05):
                pass


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:sesame@127.0.0.1:1/d", r'at 127\.0\.0\.1:1, database "d" is not listening. Start it'),
        ("postgresql://u:sesame@/d?host=/no/where", r'at /no/where:5432, database "d" is not listening. Start it'),
        ("postgresql://u:sesame@nowhere.invalid/d", r"at nowhere\.invalid:5432, .* cannot be resolved"),
        ("mysql://u:sesame@h/d", "is no PostgreSQL URL. It looks like postgresql://"),
        ("postgresql://u:sesame@h/d?no_such=1", "is no PostgreSQL URL"),
    ],
)
async def test_a_wrong_url_is_explained_without_the_password(url: str, words: str) -> None:
    with pytest.raises(Unavailable, match=words) as caught:
        await db.open_pool(url, size_max=1, name="test")
    shown = [caught.value, caught.value.__cause__]
    assert not any("sesame" in str(error) for error in shown)


async def test_a_wrong_password_user_or_database_is_explained(database: str) -> None:
    parts = urlsplit(database)
    wrong_password = parts._replace(netloc=f"{parts.username}:open-sesame@{parts.netloc.rpartition('@')[2]}").geturl()
    with pytest.raises(Unavailable, match=r"refused the user or the password\. Correct them") as caught:
        await db.connect(wrong_password, name="test")
    assert "sesame" not in str(caught.value)
    with pytest.raises(Unavailable, match='database "nothing" does not know that database or user'):
        await db.connect(parts._replace(path="/nothing").geturl(), name="test")


async def test_a_server_that_may_forget_or_takes_no_writes_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await db.connect(database, name="test") as connection:
        if await (await connection.execute("SELECT 1 WHERE current_setting('fsync') = 'off'")).fetchone():
            with pytest.raises(Unavailable, match=r"runs with fsync=off.* Set both to on"):
                await db.open_pool(database, size_max=1, name="test")
        name = sql.Identifier(connection.info.dbname)
        await connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    with pytest.raises(Unavailable, match="takes no writes"):
        await db.open_pool(database, size_max=1, name="test", unsafe=True)
    monkeypatch.setattr(db, "VERSION_MIN", 990000)
    with pytest.raises(Unavailable, match=r"is version \d+; Postroom needs PostgreSQL 99 or newer"):
        await db.open_pool(database, size_max=1, name="test", unsafe=True)


async def test_who_listens_is_told_to_read_again_after_a_lost_connection(database: str) -> None:
    async with (
        await db.connect(database, name="speaker") as speaker,
        asyncio.timeout(20),
        aclosing(db.listen(database, ["one", 'o"dd'])) as said,
    ):
        assert isinstance(await anext(said), db.Listening)
        await speaker.execute("SELECT pg_notify('one', 'a'), pg_notify('o\"dd', 'b')")
        heard = [await anext(said), await anext(said)]
        assert [(each.channel, each.payload) for each in heard if isinstance(each, psycopg.Notify)] == [
            ("one", "a"),
            ('o"dd', "b"),
        ]
        await kill_others(speaker)
        assert isinstance(await anext(said), db.Listening)
        await speaker.execute("NOTIFY one, 'c'")
        again = await anext(said)
        assert isinstance(again, psycopg.Notify)
        assert again.payload == "c"


@pytest.mark.parametrize("url", ["postgresql://me:s3@cret/x@db.example/mail", "postgresql://me:12/s3cret@db.example/mail",
                                 "postgresql://me:s3/cret@db.example/mail", "postgresql://me:s3@cret@db.example/mail"])
def test_a_password_with_bare_signs_is_not_told_as_a_host_port_or_database(url: str) -> None:
    with pytest.raises(Unavailable, match="%40") as caught:
        db.describe(url)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)
