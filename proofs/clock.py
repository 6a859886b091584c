"""Hands on a database's clock: what its statements read as now can be set, while the machine's own clock goes on as it is.

Functions of ours that have PostgreSQL's names stand before its own in the search path of each new connection, and in the defaults
of columns.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

FUNCTIONS = """
    CREATE SCHEMA hands;
    GRANT USAGE ON SCHEMA hands TO PUBLIC;
    CREATE TABLE hands.step (by interval NOT NULL);
    INSERT INTO hands.step VALUES ('0');
    CREATE FUNCTION hands.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.clock_timestamp() + by FROM hands.step';
    CREATE FUNCTION hands.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT pg_catalog.now() + by FROM hands.step';
"""
DEFAULTS = """
    SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', adrelid::regclass, attname,
                  replace(replace(pg_get_expr(adbin, adrelid), 'clock_timestamp()', 'hands.clock_timestamp()'),
                          'now()', 'hands.now()'))
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE pg_get_expr(adbin, adrelid) ~ '(clock_timestamp|now)[(]'
"""


async def lay_hands_on(url: str) -> None:
    """On the clock of a migrated database; connections that are open already go by the old one."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute(FUNCTIONS)
        for (statement,) in await (await conn.execute(DEFAULTS)).fetchall():
            await conn.execute(statement)
        await conn.execute(sql.SQL("ALTER DATABASE {} SET search_path = hands, public, pg_catalog").format(
            sql.Identifier(unquote(urlsplit(url).path[1:]))))


async def set_by(url: str, seconds: float) -> None:
    """So much further forward; negative: back."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute("UPDATE hands.step SET by = by + make_interval(secs => %s)", (seconds,))
