"""A clock of a database that can be set: what its statements read as now is moved, and the machine's own goes on as it is.

Functions of ours that have PostgreSQL's names stand before its own in the search path of each new connection, and in the defaults
of columns.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

FUNCTIONS = """
    CREATE SCHEMA shifted;
    GRANT USAGE ON SCHEMA shifted TO PUBLIC;
    CREATE TABLE shifted.step (by interval NOT NULL);
    INSERT INTO shifted.step VALUES ('0');
    CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.clock_timestamp() + by FROM shifted.step';
    CREATE FUNCTION shifted.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT pg_catalog.now() + by FROM shifted.step';
"""
DEFAULTS = """
    SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', adrelid::regclass, attname,
                  replace(replace(pg_get_expr(adbin, adrelid), 'clock_timestamp()', 'shifted.clock_timestamp()'),
                          'now()', 'shifted.now()'))
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE pg_get_expr(adbin, adrelid) ~ '(clock_timestamp|now)[(]'
"""


async def make_clock_settable(url: str) -> None:
    """Of a migrated database; connections that are open already go by the old one."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute(FUNCTIONS)
        for (statement,) in await (await conn.execute(DEFAULTS)).fetchall():
            await conn.execute(statement)
        await conn.execute(sql.SQL("ALTER DATABASE {} SET search_path = shifted, public, pg_catalog").format(
            sql.Identifier(unquote(urlsplit(url).path[1:]))))


async def set_by(url: str, seconds: float) -> None:
    """So much further forward; negative: back."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute("UPDATE shifted.step SET by = by + make_interval(secs => %s)", (seconds,))
